//! What an EFI program's headers say.
//!
//! In: its first bytes (Microsoft's "PE Format"; UEFI specification 2.10, section 2.1.1). Out: whether it is signed, its
//! sections.
//! Promise: offsets are checked against what is there; what is no such program is none.

/// How many first bytes hold the headers of every program that linkers make.
pub const HEAD: usize = 4096;
const SECTION_LEN: usize = 40;
/// Most sections that are looked at; the format allows 96.
const SECTIONS_MAX: usize = 96;

/// An EFI program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Efi {
    /// Its attribute certificate table is not empty.
    pub signed: bool,
    /// Name, offset and length in the file, in bytes.
    pub sections: Vec<(String, u64, u64)>,
}

impl Efi {
    /// Reads the headers at the start of `head`; none for what is no PE image.
    #[must_use]
    pub fn of(head: &[u8]) -> Option<Self> {
        let u16_at = |at: usize| Some(u16::from_le_bytes(*head.get(at..)?.first_chunk()?));
        let u32_at = |at: usize| Some(u32::from_le_bytes(*head.get(at..)?.first_chunk()?));
        let pe = usize::try_from(u32_at(0x3c)?).ok().filter(|pe| *pe < HEAD)?;
        if !head.starts_with(b"MZ") || head.get(pe..pe + 4)? != b"PE\0\0" {
            return None;
        }
        let optional = pe + 24;
        // PE32 and PE32+ differ in the place of the data directories, of which the fifth is that of certificates.
        let (count_at, directories) = match u16_at(optional)? {
            0x10b => (optional + 92, optional + 96),
            0x20b => (optional + 108, optional + 112),
            _ => return None,
        };
        let signed =
            u32_at(count_at)? > 4 && u32_at(directories + 4 * 8)? != 0 && u32_at(directories + 4 * 8 + 4)? != 0;
        let table = optional + usize::from(u16_at(pe + 20)?);
        let count = usize::from(u16_at(pe + 6)?).min(SECTIONS_MAX);
        let section = |index: usize| {
            let at = table + index * SECTION_LEN;
            let name = head.get(at..at + 8)?;
            let end = name.iter().position(|byte| *byte == 0).unwrap_or(8);
            // The shorter of both: in the file it is padded, in memory it may be larger.
            let len = u32_at(at + 8)?.min(u32_at(at + 16)?);
            Some((String::from_utf8_lossy(&name[..end]).into_owned(), u32_at(at + 20)?.into(), len.into()))
        };
        Some(Self { signed, sections: (0..count).map_while(section).collect() })
    }

    /// Offset and length of a section.
    #[must_use]
    pub fn section(&self, name: &str) -> Option<(u64, u64)> {
        self.sections.iter().find(|(found, ..)| found == name).map(|(_, at, len)| (*at, *len))
    }
}

/// Whether a program's section `.sbat` names it as shim (shim: SBAT.md).
#[must_use]
pub fn is_shim(sbat: &[u8]) -> bool {
    sbat.split(|byte| *byte == b'\n').any(|line| line.starts_with(b"shim,"))
}
