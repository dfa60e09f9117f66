//! Whether `$LogFile` holds anything to be replayed.
//!
//! In: the log's stream. Out: why it must be replayed, if it must; its records are not looked at.
//! Promise: clean only if both restart pages are valid and say so, or if the log was emptied (all ones).
//!
//! | restart page | field | | restart area | field |
//! |---|---|---|---|---|
//! | 0 | `RSTR`; `CHKD` by chkdsk | | 8 | clients |
//! | 16 | system page length: where the second page lies | | 12 | first client in use, 0xffff: none |
//! | 24 | offset of the restart area | | 14 | flags: 2 volume is clean |
//! | 26, 28 | minor, major version | | 20 | length |
//!
//! Windows 8 and later raise the version to 2.0 at mount and lower it to 1.1 at a clean dismount, so that older drivers
//! keep away from volumes whose metadata a fast startup holds in memory.
//!
//! Source: ntfs-3g, `logfile.h` and `ntfs_volume_check_logfile` in `volume.c`.

use super::super::ExtentError;
use super::super::bytes::{Fields, in_memory};
use super::super::error::believe;
use super::fixup;
use super::stream::Stream;
use crate::disk::source::ReadAt;

/// What must be all ones in an emptied log, at the most; drivers look no further than the first page.
const EMPTY: u64 = 64 << 10;
const PAGE_MAX: u64 = 64 << 10;
const NO_CLIENT: u16 = 0xffff;
const CLEAN: u16 = 2;
/// Without the clients, which follow.
const AREA_LEN: usize = 48;

/// Why the log must be replayed, if it must.
pub(super) fn dirt(part: &dyn ReadAt, log: &Stream) -> Result<Option<String>, ExtentError> {
    let mut head = vec![0; in_memory(log.size.min(EMPTY))?];
    log.read(part, 0, &mut head)?;
    believe!(head.len() >= 1024, "$LogFile has {} bytes, at least 1024 expected", log.size);
    if head.iter().all(|byte| *byte == 0xff) {
        return Ok(None);
    }
    if Fields(&head).bytes(0, 4) == b"CHKD" {
        return Ok(Some("$LogFile was given up by chkdsk, and no Windows has made a new one since".to_owned()));
    }
    let page_len = u64::from(Fields(&head).le32(16));
    believe!(
        page_len.is_power_of_two() && (512..=PAGE_MAX).contains(&page_len) && page_len * 2 <= log.size,
        "$LogFile has {} bytes in pages of {page_len}, 512 to {PAGE_MAX} and two of them expected",
        log.size
    );
    for (number, offset) in [0, page_len].into_iter().enumerate() {
        let mut page = vec![0; in_memory(page_len)?];
        log.read(part, offset, &mut page)?;
        let what = format!("restart page {number} of $LogFile");
        fixup::undo(&mut page, b"RSTR", &what)?;
        if let Some(reason) = open(&page, page_len, &what)? {
            return Ok(Some(reason));
        }
    }
    Ok(None)
}

/// Why the log was not closed, by one restart page.
fn open(page: &[u8], page_len: u64, what: &str) -> Result<Option<String>, ExtentError> {
    let fields = Fields(page);
    let own_len = u64::from(fields.le32(16));
    believe!(own_len == page_len, "{what} says pages of {own_len} bytes, the first one {page_len}");
    let version = (fields.le16(28), fields.le16(26));
    if version == (2, 0) {
        return Ok(Some(
            "$LogFile has version 2.0: Windows was shut down by fast startup, or the disk was pulled out".to_owned(),
        ));
    }
    believe!([(1, 0), (1, 1)].contains(&version), "{what} has version {}.{}, 1.1 is known", version.0, version.1);
    let at = usize::from(fields.le16(24));
    let area = page.get(at..).unwrap_or_default();
    let len = usize::from(Fields(area).le16(20));
    believe!(
        at >= 30 && at.is_multiple_of(8) && len >= AREA_LEN && len <= area.len(),
        "{what} has a restart area of {len} bytes at byte {at} of {page_len}"
    );
    let area = Fields(area);
    let (clients, client, flags) = (area.le16(8), area.le16(12), area.le16(14));
    believe!(client == NO_CLIENT || client < clients, "{what} has client {client} in use, of {clients}");
    if client != NO_CLIENT && flags & CLEAN == 0 {
        return Ok(Some(format!("$LogFile is to be replayed (client {client} in use, flags {flags:#x} in {what})")));
    }
    Ok(None)
}
