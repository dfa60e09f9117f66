//! A swap area made anew: another size, the same UUID and label.
//!
//! In: a device or a part of one that holds a swap header, its new size. Out: a header for that size.
//! Promise: what is no swap header of version 1 is left alone; a suspended machine is never overwritten.
//!
//! The header's layout stands in `extent/swap.rs`.

use ramet_wire::ByteRange;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

/// The page size is that of the machine that made it.
const PAGES: [u32; 4] = [4 << 10, 8 << 10, 16 << 10, 64 << 10];
const MAGIC: &[u8; 10] = b"SWAPSPACE2";
const VERSION: usize = 1024;
const LAST_PAGE: usize = 1028;
const BAD_PAGES: usize = 1032;
/// The kernel wants this many pages at least.
const PAGES_MIN: u64 = 10;

/// The header of `old`, for an area of `bytes`.
///
/// # Errors
/// What is wrong with it.
pub fn resized(old: &[u8], bytes: u64) -> Result<Vec<u8>, String> {
    let page = PAGES.into_iter().find(|page| {
        let end = *page as usize;
        old.get(end - MAGIC.len()..end) == Some(MAGIC.as_slice())
    });
    let page = page.ok_or("it has no signature of swap")?;
    let number = |at: usize| old.get(at..at + 4).and_then(|b| b.try_into().ok()).map_or(0, u32::from_le_bytes);
    if number(VERSION) != 1 || number(BAD_PAGES) != 0 {
        return Err(format!(
            "it has version {} and {} bad pages, 1 and 0 expected",
            number(VERSION),
            number(BAD_PAGES)
        ));
    }
    let pages = bytes / u64::from(page);
    if pages < PAGES_MIN {
        return Err(format!("{bytes} bytes are {pages} pages, at least {PAGES_MIN} are needed"));
    }
    // The kernel counts pages in 32 bits and uses no more.
    let last = u32::try_from(pages - 1).unwrap_or(u32::MAX - 1);
    let mut header = old[..page as usize].to_vec();
    header[LAST_PAGE..LAST_PAGE + 4].copy_from_slice(&last.to_le_bytes());
    Ok(header)
}

/// Makes the swap area at `place` anew; its header is still the old one.
///
/// # Errors
/// `InvalidData` when it is no swap; the device's.
pub fn remake(device: &File, place: ByteRange) -> io::Result<()> {
    let len = usize::try_from(place.len().min(u64::from(PAGES[3]))).map_err(io::Error::other)?;
    let mut old = vec![0; len];
    device.read_exact_at(&mut old, place.start())?;
    let header = resized(&old, place.len()).map_err(|text| io::Error::new(io::ErrorKind::InvalidData, text))?;
    device.write_all_at(&header, place.start())?;
    device.sync_data()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn the_same_header_as_mkswap_makes_for_that_size() {
        let dir = tempfile::tempdir().unwrap();
        let (one, two) = (dir.path().join("one"), dir.path().join("two"));
        let uuid = "6f1d0c6e-9e0b-4a1f-8f52-0f3f0f1a2b3c";
        for (path, mib) in [(&one, 64_u64), (&two, 24)] {
            File::create(path).unwrap().set_len(mib << 20).unwrap();
            let made = Command::new("/sbin/mkswap").args(["-U", uuid, "-L", "swapped"]).arg(path).output().unwrap();
            assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        }
        let device = File::options().read(true).write(true).open(&one).unwrap();
        remake(&device, ByteRange::between(0, 24 << 20)).unwrap();
        let head = |path| std::fs::read(path).unwrap()[..4096].to_vec();
        assert!(head(&one) == head(&two));
    }

    #[test]
    fn what_is_no_swap_or_sleeps_is_left_alone() {
        let mut sleeps = vec![0; 65536];
        sleeps[VERSION] = 1;
        sleeps[4086..4096].copy_from_slice(b"S1SUSPEND\0");
        for old in [vec![0; 65536], vec![], sleeps.clone()] {
            assert!(resized(&old, 1 << 30).unwrap_err().contains("no signature"));
        }
        sleeps[4086..4096].copy_from_slice(MAGIC);
        assert!(resized(&sleeps, 4096 * 9).unwrap_err().contains("at least 10"));
        assert!(resized(&sleeps, 4096 * 10).is_ok());
        sleeps[BAD_PAGES] = 1;
        assert!(resized(&sleeps, 1 << 30).unwrap_err().contains("1 bad pages"));
    }
}
