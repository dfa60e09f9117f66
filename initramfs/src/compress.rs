//! One zstd frame that every kernel with zstd unpacks, the same bytes on every machine.
//!
//! In: bytes, a level, a number of threads. Out: one frame.
//! Promise: the number of threads changes the time, never the bytes.

use crate::error::{Doing, Result};
use std::io::Write;
use zstd::stream::raw::CParameter;

/// zstd's level for what ships; tests take a lower one.
pub const LEVEL: i32 = 19;
/// The window: 8 MiB. The kernel allows 128 MiB (`ZSTD_WINDOWSIZE_MAX` in lib/decompress_unzstd.c) but holds the window
/// in memory beside the unpacked files, which a machine of 512 MiB would feel.
const WINDOW_LOG: u32 = 23;
/// What one thread compresses at a time. Fixed: zstd's own choice depends on its version and on the level.
const JOB_BYTES: u32 = 32 << 20;

/// Compresses `bytes` with `threads` threads (at least one).
///
/// # Errors
/// When zstd has no memory.
pub fn compress(bytes: &[u8], level: i32, threads: u32) -> Result<Vec<u8>> {
    in_jobs(bytes, level, threads, JOB_BYTES)
}

fn in_jobs(bytes: &[u8], level: i32, threads: u32, job: u32) -> Result<Vec<u8>> {
    let run = || -> std::io::Result<Vec<u8>> {
        let out = Vec::with_capacity(bytes.len() / 3 + 1024);
        let mut encoder = zstd::stream::Encoder::new(out, level)?;
        encoder.set_parameter(CParameter::WindowLog(WINDOW_LOG))?;
        // One worker and two give the same frame; none gives another one. So there is always at least one.
        encoder.set_parameter(CParameter::NbWorkers(threads.max(1)))?;
        encoder.set_parameter(CParameter::JobSize(job))?;
        encoder.set_parameter(CParameter::ChecksumFlag(true))?;
        encoder.set_pledged_src_size(Some(bytes.len() as u64))?;
        encoder.write_all(bytes)?;
        encoder.finish()
    };
    run().doing(|| format!("compressing {} bytes", bytes.len()))
}

/// As many threads as there are cores.
#[must_use]
pub fn threads() -> u32 {
    std::thread::available_parallelism().map_or(1, |n| u32::try_from(n.get()).unwrap_or(1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    /// Words in an order that no compressor foresees, longer than a window.
    fn text(len: usize) -> Vec<u8> {
        let mut state = 7_u64;
        let mut out = Vec::with_capacity(len + 32);
        while out.len() < len {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            out.extend_from_slice(format!("{:x} ", (state >> 40) % 5000).as_bytes());
        }
        out.truncate(len);
        out
    }

    #[test]
    fn the_number_of_threads_does_not_change_a_byte() {
        let bytes = text((9 << 20) + 12345);
        let one = in_jobs(&bytes, 3, 1, 1 << 20).unwrap();
        for threads in [0, 2, 3, 8] {
            assert!(one == in_jobs(&bytes, 3, threads, 1 << 20).unwrap(), "{threads} threads");
        }
    }

    #[test]
    fn zstd_tests_it_and_its_window_is_8_mib() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.zst");
        let bytes = text(12 << 20);
        std::fs::write(&path, compress(&bytes, 3, 2).unwrap()).unwrap();
        assert!(Command::new("zstd").args(["-tq"]).arg(&path).status().unwrap().success());
        let listing = Command::new("zstd").args(["-lv"]).arg(&path).output().unwrap();
        let listing = String::from_utf8_lossy(&listing.stdout).into_owned();
        assert!(listing.contains("Window Size: 8.00 MiB"), "{listing}");
        assert!(listing.contains("Zstandard Frames: 1") || listing.contains("# Zstandard Frames: 1"), "{listing}");
        let back = Command::new("zstd").args(["-dcq"]).arg(&path).output().unwrap().stdout;
        assert!(back == bytes);
    }
}
