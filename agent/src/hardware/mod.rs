//! What a machine consists of, for the server's inventory.
//!
//! In: sysfs, procfs, SMBIOS, efivars, LLDP. Out: one report.
//! Promise: looking changes nothing; every text is cut and clean, every list has its most, unknown stays unknown.

pub mod cards;
pub mod devices;
pub mod lldp;
pub mod machine;
mod smbios;
#[cfg(test)]
mod testing;
pub mod tree;
