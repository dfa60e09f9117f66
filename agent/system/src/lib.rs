//! The operating system on a disk: what it is, what starts it, and who it is.
//!
//! In: the mounted file systems of a clone or of a source. Out: facts; or the same system with a name, keys and addresses of its own.
//! Promise: nothing outside of these file systems is read or written, whatever lies in them.

pub mod assemble;
pub mod first_boot;
pub mod identity;
pub mod os;
pub mod root;
#[cfg(test)]
mod testing;

pub use root::Root;
