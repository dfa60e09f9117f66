//! How a disk is divided: GPT, MBR, or not at all.
//!
//! In: a disk's bytes. Out: the table in structured form.
//! Promise: nothing here writes to a disk.
