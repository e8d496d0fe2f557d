//! The gateway ties the rooms together: the one door in (`admit`), the routing worker, the
//! composer of what goes out, start-up and shutdown.
//!
//! It knows messages, the pool, the store and the policy, and it reads the wall clock.
//! It must never know the details of any transport: mail comes in as bytes with an envelope,
//! and leaves through the queue.

pub mod api;
pub mod clock;
pub mod control;
pub mod lock;
pub mod people;
