//! The drivers of a kernel, and where each lies.
//!
//! In: names, places and modalias patterns. Out: text, one driver after the other, in a zstd frame, in base64; and back.
//! Promise: bounded before it is unpacked and while it is; the same drivers give the same text.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

/// Longest list, unpacked, in bytes. All of Debian's storage and network drivers have 0.4 MB.
const TEXT_MAX: usize = 4 << 20;
/// Longest list as it stands in the manifest, in bytes.
pub const DRIVERS_MAX: usize = 512 << 10;
/// Most lines.
const LINES_MAX: usize = 128 << 10;
/// Longest line, in bytes.
const LINE_MAX: usize = 512;
/// zstd's; the list is small, and read more often than written.
const LEVEL: i32 = 19;

/// Where a driver lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// In the kernel itself.
    BuiltIn,
    /// In its initramfs.
    Initramfs,
    /// In `/lib/modules` of the root file system only.
    Root,
}

impl Place {
    const fn letter(self) -> char {
        match self {
            Self::BuiltIn => 'b',
            Self::Initramfs => 'i',
            Self::Root => 'r',
        }
    }
}

/// A driver.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Driver {
    /// Where it lies.
    pub place: Place,
    /// Its module's name, with `_`.
    pub name: String,
    /// Patterns of the devices that it drives, ascending (kernel: `scripts/mod/file2alias.c`).
    pub aliases: Vec<String>,
}

/// A list of drivers: per driver a line `b NAME`, `i NAME` or `r NAME`, then one line per pattern, which starts with a
/// space; in one zstd frame, in base64.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Drivers(String);

/// What is wrong with a list.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DriverError {
    /// Too long as it stands.
    #[error("it has {0} bytes, {DRIVERS_MAX} are allowed")]
    Long(usize),
    /// No base64, or no zstd frame.
    #[error("unpacking it: {0}")]
    Packing(String),
    /// Too long unpacked.
    #[error("unpacked it has more than {TEXT_MAX} bytes or {LINES_MAX} lines")]
    Unpacked,
    /// A line of another form.
    #[error("line {0} is neither a driver nor a pattern")]
    Line(usize),
}

impl Drivers {
    /// Packs a list; sorts it, and leaves out what lines cannot hold.
    ///
    /// # Errors
    /// [`DriverError`]: it is too long.
    pub fn pack(mut drivers: Vec<Driver>) -> Result<Self, DriverError> {
        drivers.iter_mut().for_each(|driver| {
            driver.aliases.retain(|alias| is_word(alias));
            driver.aliases.sort_unstable();
            driver.aliases.dedup();
        });
        drivers.retain(|driver| is_word(&driver.name));
        drivers.sort_unstable();
        let mut text = String::new();
        for driver in &drivers {
            text.extend([driver.place.letter(), ' ']);
            text.extend([driver.name.as_str(), "\n"]);
            driver.aliases.iter().for_each(|alias| text.extend([" ", alias.as_str(), "\n"]));
        }
        let packed = zstd::bulk::compress(text.as_bytes(), LEVEL).map_err(packing)?;
        let packed = Self(STANDARD.encode(packed));
        packed.read()?;
        Ok(packed)
    }

    /// Unpacks and checks the list.
    ///
    /// # Errors
    /// [`DriverError`].
    pub fn read(&self) -> Result<Vec<Driver>, DriverError> {
        if self.0.len() > DRIVERS_MAX {
            return Err(DriverError::Long(self.0.len()));
        }
        let frame = STANDARD.decode(&self.0).map_err(packing)?;
        let len = zstd::zstd_safe::get_frame_content_size(&frame).ok().flatten().unwrap_or(u64::MAX);
        let len = usize::try_from(len).ok().filter(|len| *len <= TEXT_MAX).ok_or(DriverError::Unpacked)?;
        let text = String::from_utf8(zstd::bulk::decompress(&frame, len).map_err(packing)?).map_err(packing)?;
        let mut drivers: Vec<Driver> = Vec::new();
        for (number, line) in (1..).zip(text.lines()) {
            if number > LINES_MAX {
                return Err(DriverError::Unpacked);
            }
            let wrong = DriverError::Line(number);
            let (head, word) = line.split_once(' ').filter(|(_, word)| is_word(word)).ok_or(wrong.clone())?;
            let place = match head {
                "b" => Place::BuiltIn,
                "i" => Place::Initramfs,
                "r" => Place::Root,
                "" => {
                    drivers.last_mut().ok_or(wrong)?.aliases.push(word.to_owned());
                    continue;
                }
                _ => return Err(wrong),
            };
            drivers.push(Driver { place, name: word.to_owned(), aliases: Vec::new() });
        }
        Ok(drivers)
    }

    /// Bytes as it stands in the manifest.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.0.len()
    }

    /// It stands there as nothing.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

fn packing(error: impl ToString) -> DriverError {
    DriverError::Packing(error.to_string())
}

fn is_word(text: &str) -> bool {
    (1..=LINE_MAX - 2).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn driver(place: Place, name: &str, aliases: &[&str]) -> Driver {
        Driver { place, name: name.to_owned(), aliases: aliases.iter().map(|alias| (*alias).to_owned()).collect() }
    }

    fn frame(text: &str) -> Drivers {
        Drivers(STANDARD.encode(zstd::bulk::compress(text.as_bytes(), 1).unwrap()))
    }

    #[test]
    fn a_list_comes_back_sorted_and_without_what_lines_cannot_hold() {
        let ahci = driver(Place::Initramfs, "ahci", &["pci:b", "pci:a", "pci:a", "with space", "with\nline", ""]);
        let packed = Drivers::pack(vec![driver(Place::Root, "e1000", &[]), ahci]).unwrap();
        let wanted = vec![driver(Place::Initramfs, "ahci", &["pci:a", "pci:b"]), driver(Place::Root, "e1000", &[])];
        assert_eq!(packed.read().unwrap(), wanted);
        assert_eq!(Drivers::pack(Vec::new()).unwrap().read().unwrap(), []);
    }

    #[test]
    fn refuses_lists_of_another_form() {
        assert_eq!(frame(" pci:a\n").read(), Err(DriverError::Line(1)));
        assert_eq!(frame("b ahci\nx y\n").read(), Err(DriverError::Line(2)));
        assert_eq!(frame("b ahci\nb\n").read(), Err(DriverError::Line(2)));
        assert_eq!(frame("b a\u{1b}[2J\n").read(), Err(DriverError::Line(1)));
        assert!(matches!(Drivers("?".to_owned()).read(), Err(DriverError::Packing(_))));
        assert!(matches!(Drivers(String::new()).read(), Err(DriverError::Unpacked)));
    }

    #[test]
    fn refuses_a_bomb_by_its_own_word_and_by_its_lines() {
        assert_eq!(frame(&"b".repeat(TEXT_MAX + 1)).read(), Err(DriverError::Unpacked));
        assert_eq!(frame(&"b a\n".repeat(LINES_MAX + 1)).read(), Err(DriverError::Unpacked));
        assert_eq!(Drivers("A".repeat(DRIVERS_MAX + 4)).read(), Err(DriverError::Long(DRIVERS_MAX + 4)));
    }
}
