//! Ships built from Debian's own kernel package, judged by the tools of others.
//!
//! In: the package (fetched once into target/kernels), kmod, cpio, zstd, binutils, sbsigntool, xorriso, mtools, QEMU.
//! Out: passed or failed tests.
//! Promise: what is expected comes from those tools; everything made here goes away.

#![allow(clippy::unwrap_used)]

mod boot;
mod build;
mod common;
mod firmware;
mod media;
mod modules;
mod refused;
