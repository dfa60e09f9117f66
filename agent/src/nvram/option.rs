//! One `Boot####` variable: bytes to fields and back.
//!
//! In: an EFI_LOAD_OPTION (UEFI specification 2.10, section 3.1.3). Out: its label and what it starts, and the reverse.
//! Promise: every length is bounded by the variable; a path it does not understand is no error but no path.

use ramet_wire::ByteRange;

/// The entry is tried.
const ACTIVE: u32 = 1;
/// Media device path, hard drive (section 10.3.5.1).
const HARD_DRIVE: (u8, u8) = (4, 1);
/// Media device path, file path (section 10.3.5.4).
const FILE: (u8, u8) = (4, 4);
/// End of the whole path (section 10.3.1).
const END: (u8, u8) = (0x7f, 0xff);
/// A hard drive node with a GPT partition's GUID.
const GPT: [u8; 2] = [2, 2];

/// What an entry starts, as far as this code understands it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Starts {
    /// A program in a GPT partition.
    File {
        /// The partition's GUID, in the bytes' order on disk.
        guid: [u8; 16],
        /// From its root: `\EFI\debian\shimx64.efi`.
        path: String,
    },
    /// The network.
    Network,
    /// Anything else: a CD, a shell in the firmware, a disk as a whole.
    Other,
}

/// An entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoadOption {
    /// What the firmware's menu shows.
    pub label: String,
    /// What it starts.
    pub starts: Starts,
}

/// Reads the value of a `Boot####` variable, without the four bytes of attributes that efivarfs puts before it.
#[must_use]
pub fn parse(value: &[u8]) -> Option<LoadOption> {
    let (_, rest) = value.split_first_chunk::<4>()?;
    let (len, rest) = rest.split_first_chunk::<2>()?;
    let units: Vec<u16> = rest.as_chunks::<2>().0.iter().map(|pair| u16::from_le_bytes(*pair)).collect();
    let end = units.iter().position(|unit| *unit == 0)?;
    let label = String::from_utf16_lossy(&units[..end]);
    let path = rest.get((end + 1) * 2..)?;
    let path = path.get(..usize::from(u16::from_le_bytes(*len)))?;
    Some(LoadOption { label, starts: starts(path) })
}

fn starts(path: &[u8]) -> Starts {
    let (mut guid, mut file) = (None, String::new());
    for (kind, data) in nodes(path) {
        match kind {
            // MAC, IPv4, IPv6 and URI nodes.
            (3, 11 | 12 | 13 | 24) => return Starts::Network,
            HARD_DRIVE if data.get(36..38) == Some(&GPT) => guid = data[20..36].try_into().ok(),
            FILE => {
                let units = data.as_chunks::<2>().0.iter().map(|pair| u16::from_le_bytes(*pair));
                let text: Vec<u16> = units.take_while(|unit| *unit != 0).collect();
                file.push_str(&String::from_utf16_lossy(&text));
            }
            _ => {}
        }
    }
    match guid {
        Some(guid) if file.starts_with('\\') => Starts::File { guid, path: file },
        _ => Starts::Other,
    }
}

/// The nodes of a device path, up to its end.
fn nodes(path: &[u8]) -> impl Iterator<Item = ((u8, u8), &[u8])> {
    let mut rest = path;
    std::iter::from_fn(move || {
        let [kind, sub, low, high] = *rest.first_chunk::<4>()?;
        let len = usize::from(u16::from_le_bytes([low, high]));
        if (kind, sub) == END || len < 4 {
            return None;
        }
        let node = rest.get(4..len)?;
        rest = &rest[len..];
        Some(((kind, sub), node))
    })
}

/// Where a new entry points.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The partition's number.
    pub number: u32,
    /// Where it lies, in bytes.
    pub range: ByteRange,
    /// Bytes per logical sector.
    pub sector: u32,
    /// The partition's GUID, in the bytes' order on disk.
    pub guid: [u8; 16],
    /// From its root.
    pub path: String,
}

/// The value of a `Boot####` variable that starts `target`.
#[must_use]
pub fn build(label: &str, target: &Target) -> Vec<u8> {
    let text = |text: &str| text.encode_utf16().chain([0]).flat_map(u16::to_le_bytes).collect::<Vec<u8>>();
    let sector = u64::from(target.sector.max(1));
    let mut drive = target.number.to_le_bytes().to_vec();
    drive.extend((target.range.start() / sector).to_le_bytes());
    drive.extend((target.range.len() / sector).to_le_bytes());
    drive.extend(target.guid);
    drive.extend(GPT);
    let mut path = node(HARD_DRIVE, &drive);
    path.extend(node(FILE, &text(&target.path)));
    path.extend(node(END, &[]));
    let mut value = ACTIVE.to_le_bytes().to_vec();
    // Paths are at most 512 units by the manifest's rules, so the sum fits.
    value.extend(u16::try_from(path.len()).unwrap_or(u16::MAX).to_le_bytes());
    value.extend(text(label));
    value.extend(path);
    value
}

fn node((kind, sub): (u8, u8), data: &[u8]) -> Vec<u8> {
    let len = u16::try_from(data.len() + 4).unwrap_or(u16::MAX).to_le_bytes();
    [&[kind, sub, len[0], len[1]][..], data].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target() -> Target {
        Target {
            number: 15,
            range: ByteRange::between(1 << 20, 65 << 20),
            sector: 512,
            guid: [7; 16],
            path: r"\EFI\debian\shimx64.efi".to_owned(),
        }
    }

    #[test]
    fn what_is_built_is_read_back() {
        let option = parse(&build("debian ü", &target())).unwrap();
        let starts = Starts::File { guid: [7; 16], path: target().path };
        assert_eq!(option, LoadOption { label: "debian ü".to_owned(), starts });
    }

    #[test]
    fn an_entry_cut_at_any_byte_is_no_path_and_no_panic() {
        let value = build("debian", &target());
        for len in 0..value.len() {
            assert!(parse(&value[..len]).is_none_or(|option| option.starts == Starts::Other), "{len}");
        }
    }

    #[test]
    fn an_entry_of_a_network_card_is_told_from_others() {
        let mut path = node((2, 1), &[0; 8]);
        path.extend(node((3, 11), &[0; 33]));
        path.extend(node((3, 12), &[0; 23]));
        assert_eq!(starts(&path), Starts::Network);
        assert_eq!(starts(&node((4, 3), &[0; 16])), Starts::Other);
    }
}
