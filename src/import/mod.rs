//! An archive of mail, taken into the pool: which files are new, what each mail holds, and in what
//! order it is handed to the gateway.
//!
//! This room knows archives, mails and the batches that a gateway takes. It must never know the
//! database behind the gateway's door, a terminal, or how a report looks.
//!
//! Mails are read and taken apart by several threads; one thread hands them on in the order of the
//! archive, so that the result never depends on which thread was faster. What is under way at a
//! time is bounded by [`UNDER_WAY`], whatever the archive holds.

mod find;
mod run;
mod sink;
mod take;
mod wish;

pub use run::{Counts, Event, ImportError, LONGEST_MAIL, Run, Summary, UNDER_WAY};
pub use sink::{Daemon, Dry, Here, Sink};
pub use take::{House, Known, Restored, View, take};
pub use wish::{Wish, WrongDate, day};
