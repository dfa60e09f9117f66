//! Which kernel modules go aboard.
//!
//! In: the folder of a kernel's modules. Out: those that find disks, networks and keyboards, with all that they need,
//! and the tables by which they are found again.
//! Promise: what a module needs comes with it; what is missing is an error here and not a silence on the machine.

pub mod choose;
pub mod files;
pub mod info;
pub mod rules;
pub mod tree;

pub use choose::{Chosen, choose};
pub use rules::Set;
pub use tree::Modules;
