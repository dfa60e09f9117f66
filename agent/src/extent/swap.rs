//! Swap: only its header matters, unless a sleeping machine lies in it.
//!
//! In: a partition with a swap or suspend signature. Out: the header page, or a doubt.
//! Promise: a hibernated machine, and anything this file does not know, is never taken for empty swap.
//!
//! | offset | field (after the boot block of 1024 bytes) |
//! |---|---|
//! | 1024 | version, 1 |
//! | 1028 | last page |
//! | 1032 | number of bad pages |
//! | 1036, 1052 | UUID, label (16 bytes each) |
//! | 1536 | bad pages, 4 bytes each |
//! | page - 10 | `SWAPSPACE2`, or what a suspending kernel put in its place |

use super::ExtentError;
use super::bytes::Fields;
use super::error::believe;
use super::map::{Content, Extent, Layout, Part, Pieces};
use super::peek::Peek;

/// The page size is that of the machine that made it; it is stored nowhere.
const PAGES: [usize; 4] = [4 << 10, 8 << 10, 16 << 10, 64 << 10];
const SIGNATURE: usize = 10;
const HIBERNATED: &str = "swap (hibernated)";
/// Kernel, uswsusp and TuxOnIce; compared with the start of the ten bytes.
const SUSPENDED: [&[u8]; 5] = [b"S1SUSPEND", b"S2SUSPEND", b"ULSUSPEND", b"LINHIB0001", b"TuxOnIce"];
/// TuxOnIce puts this at the very start instead.
const TUXONICE: &[u8] = b"\xed\xc3\x02\xe9\x98\x56\xe5\x0c";

enum Header {
    /// Version 1, in a page of this size.
    Pages(usize),
    /// The bitmap of version 0, from before 1998, in a page of this size.
    Old(usize),
    Suspended(String),
}

/// All signatures at all places; more than one is a contradiction that `read` refuses.
fn headers(peek: &Peek<'_>) -> Result<Vec<Header>, ExtentError> {
    let mut found = Vec::new();
    let start = peek.bytes(1024, 512)?.unwrap_or_default();
    if peek.has(0, TUXONICE)? {
        found.push(Header::Suspended("TuxOnIce".to_owned()));
    }
    for page in PAGES {
        let Some(raw) = peek.bytes((page - SIGNATURE) as u64, SIGNATURE)? else { continue };
        if raw == b"SWAPSPACE2" {
            let version = Fields(&start).le32(0);
            found.push(match version {
                1 => Header::Pages(page),
                _ => Header::Suspended(format!("header version {version}")),
            });
        } else if raw == b"SWAP-SPACE" {
            found.push(Header::Old(page));
        } else if let Some(magic) = SUSPENDED.iter().find(|magic| raw.starts_with(magic)) {
            found.push(Header::Suspended(String::from_utf8_lossy(magic).into_owned()));
        }
    }
    if found.is_empty() && headless(Fields(&start), peek.size()) {
        found.push(Header::Suspended("unknown signature".to_owned()));
    }
    Ok(found)
}

/// All of a version 1 header that fits this very partition, but none of the signatures: something else than the
/// kernel's swap code has put its own there.
fn headless(start: Fields<'_>, size: u64) -> bool {
    let last = u64::from(start.le32(4));
    let fits = PAGES.iter().any(|&page| last > 0 && last + 1 == size / page as u64);
    start.le32(0) == 1 && fits && start.le32(8) == 0 && start.bytes(44, 468).iter().all(|&b| b == 0)
}

pub(super) fn recognise(peek: &Peek<'_>) -> Result<Option<Content>, ExtentError> {
    let found = headers(peek)?;
    let Some(first) = found.first() else { return Ok(None) };
    let raw = peek.bytes(1024, 44)?.unwrap_or_default();
    let fields = Fields(&raw);
    let suspended = found.iter().find_map(|header| match header {
        Header::Suspended(by) => Some(by),
        _ => None,
    });
    let mut content = Content::of(if suspended.is_some() { HIBERNATED } else { "swap" });
    content.state = suspended.map(|by| format!("hibernated ({by})"));
    if matches!(first, Header::Old(_)) {
        content.version = Some("0".to_owned());
    } else if fields.le32(0) == 1 {
        content.version = Some("1".to_owned());
        content.uuid = fields.uuid(12);
        content.label = fields.text(28, 16);
    }
    Ok(Some(content))
}

struct HeaderPage(usize);

impl Layout for HeaderPage {
    fn pieces(&self) -> Pieces<'_> {
        Box::new(std::iter::once(Ok(Extent::data(0, self.0 as u64))))
    }
}

/// # Errors
/// A doubt where the machine sleeps in it or the header makes no sense.
pub(super) fn read(Part { bytes: part, .. }: Part) -> Result<Option<Box<dyn Layout>>, ExtentError> {
    let peek = Peek::new(&*part)?;
    let found = headers(&peek)?;
    for header in &found {
        if let Header::Suspended(by) = header {
            return Err(ExtentError::doubt(format!(
                "a hibernated system ({by}) lies in this swap: every file system of this machine is in use by it"
            )));
        }
    }
    believe!(found.len() == 1, "swap has {} signatures, 1 expected", found.len());
    let page = match found[0] {
        Header::Pages(page) => page,
        Header::Old(page) => return Ok(Some(Box::new(HeaderPage(page)))),
        Header::Suspended(_) => return Ok(None),
    };
    check_header(&peek, page)?;
    Ok(Some(Box::new(HeaderPage(page))))
}

fn check_header(peek: &Peek<'_>, page: usize) -> Result<(), ExtentError> {
    let raw = peek.bytes(0, page)?.unwrap_or_default();
    let fields = Fields(&raw);
    let version = fields.le32(1024);
    believe!(version == 1, "swap header has version {version}, 1 expected");
    let last = u64::from(fields.le32(1028));
    let pages = peek.size() / page as u64;
    believe!(
        last > 0 && last < pages,
        "swap header's last page is {last}, the partition has {pages} pages of {page} bytes"
    );
    let bad = fields.le32(1032) as usize;
    let room = (page - SIGNATURE - 1536) / 4;
    believe!(bad <= room, "swap header lists {bad} bad pages, at most {room} fit");
    for index in 0..bad {
        let number = u64::from(fields.le32(1536 + 4 * index));
        believe!(number > 0 && number <= last, "swap header's bad page {index} is {number}, the last page is {last}");
    }
    Ok(())
}
