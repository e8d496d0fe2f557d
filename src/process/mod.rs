//! What this process may do: whose it is, how many files it may open, where it may write, and that no
//! image of its memory is left behind.
//!
//! It knows the operating system's ways of giving things up. What is given up here does not come back
//! while the process lives, so all of it is done when everything that needs more has been done. It must
//! never know what the program does with what is left.
//!
//! On Linux users, capabilities and Landlock belong to a thread and are handed on to the threads that it
//! starts: the caller has no other thread yet.

mod descriptors;
mod memory;
mod owner;
mod privileges;
mod sandbox;

pub use descriptors::raise_descriptor_limit;
pub use memory::keep_memory_private;
pub use owner::{Owner, OwnerError};
pub use privileges::give_up_privileges;
pub use sandbox::{Confined, SandboxError, confine, temporary_places};
