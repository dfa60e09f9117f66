//! How much memory there is, and how many threads it feeds.
//!
//! In: `/proc/meminfo`, what a stage needs at least and per thread. Out: a number of threads, or a refusal.
//! Promise: a stage that would not fit is refused before its first byte, with both numbers.

use ramet_wire::MIB;

/// A machine that is too small.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{} MiB are free, {} MiB are needed; give the machine more memory", available / MIB, needed / MIB)]
pub struct TooLittle {
    /// Bytes needed at least.
    pub needed: u64,
    /// Bytes that are available.
    pub available: u64,
}

/// Bytes that can be taken without swapping: `MemAvailable` (kernel: Documentation/filesystems/proc.rst). None where the
/// kernel does not say.
#[must_use]
pub fn available() -> Option<u64> {
    parse(&std::fs::read_to_string("/proc/meminfo").ok()?)
}

fn parse(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

/// How many of `wanted` threads fit that take `each` bytes on top of `base`; at least `least`.
///
/// # Errors
/// [`TooLittle`] when `least` do not fit.
pub fn fitting(wanted: usize, least: usize, base: u64, each: u64, available: Option<u64>) -> Result<usize, TooLittle> {
    let Some(available) = available else { return Ok(wanted) };
    let needed = base + least as u64 * each;
    if available < needed {
        return Err(TooLittle { needed, available });
    }
    let fit = usize::try_from((available - base) / each.max(1)).unwrap_or(usize::MAX);
    Ok(fit.min(wanted))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_figure_is_read_in_bytes_and_nothing_is_made_up() {
        let text = "MemTotal:         491520 kB\nMemFree:          100 kB\nMemAvailable:     262144 kB\n";
        assert_eq!(parse(text), Some(256 * MIB));
        for odd in ["", "MemTotal: 1 kB", "MemAvailable: x kB", "MemAvailable: 18446744073709551615 kB"] {
            assert_eq!(parse(odd), None, "{odd:?}");
        }
        assert!(available().is_some_and(|bytes| bytes > MIB));
    }

    #[test]
    fn fewer_threads_where_memory_is_short_and_a_refusal_with_both_numbers_below_that() {
        let fit = |mib: u64| fitting(8, 2, 48 * MIB, 10 * MIB, Some(mib * MIB));
        assert_eq!(fit(1024), Ok(8));
        assert_eq!(fit(100), Ok(5));
        assert_eq!(fit(68), Ok(2));
        let error = fit(67).unwrap_err().to_string();
        assert_eq!(error, "67 MiB are free, 68 MiB are needed; give the machine more memory");
        assert_eq!(fitting(8, 2, MIB, MIB, None), Ok(8));
    }
}
