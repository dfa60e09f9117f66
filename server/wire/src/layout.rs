//! Sizes of partitions, as `--layout FILE` declares them.
//!
//! In: TOML of an operator, or JSON inside an order. Out: sizes by disk and number.
//! Promise: every number is bounded; a partition is named once; what is left is given away once.
//!
//! ```toml
//! [[partitions]]
//! number = 2          # disk = 0 where it is not said
//! size = "12GiB"      # or "40%" of what the others leave, or "rest"
//! ```

use crate::manifest::{DISK_MAX, DISKS_MAX};
use crate::table::PARTITIONS_MAX;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

/// Largest file, in bytes.
pub const LAYOUT_MAX: usize = 256 << 10;
/// Longest size as text, in bytes.
const TEXT_MAX: usize = 32;

/// Sizes of partitions. Their order and numbers stay.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Layout {
    /// Those that are not named keep their size.
    pub partitions: Vec<LayoutPartition>,
}

/// One partition of a [`Layout`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LayoutPartition {
    /// The image disk's ordinal.
    #[serde(default)]
    pub disk: u32,
    /// The partition's number.
    pub number: u32,
    /// How large it becomes.
    pub size: PartSize,
}

/// How large a partition becomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum PartSize {
    /// So many bytes; what is written is rounded down to whole MiB.
    Bytes(u64),
    /// Of what the partitions with sizes in bytes leave, 1 to 100.
    Percent(u8),
    /// All that is left.
    Rest,
}

/// Why a layout is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LayoutError {
    /// Too large.
    #[error("layout has {0} bytes, {LAYOUT_MAX} are allowed")]
    Size(usize),
    /// No TOML, or not of this shape.
    #[error("reading layout as TOML: {0}")]
    Toml(String),
    /// No size.
    #[error("size {0:?} is none: wanted 12GiB, 800MiB, 40% or rest; at least 1MiB, at most 65536TiB")]
    Text(String),
    /// Too many, or none.
    #[error("layout names {0} partitions, 1 to {PARTITIONS_MAX} are allowed")]
    Count(usize),
    /// A partition twice.
    #[error("layout names partition {number} of disk {disk} twice")]
    Twice {
        /// The image disk's ordinal.
        disk: u32,
        /// The partition's number.
        number: u32,
    },
    /// A disk that no image has.
    #[error("layout names disk {0}; an image has at most {DISKS_MAX} disks, from 0")]
    Disk(u32),
    /// More is given away than there is.
    #[error("layout gives away {percent} % of disk {disk}, and the rest {rests} times")]
    Shares {
        /// The image disk's ordinal.
        disk: u32,
        /// Sum of all percentages.
        percent: u32,
        /// How often `rest` stands there.
        rests: usize,
    },
}

impl Layout {
    /// Reads and checks a file's text.
    ///
    /// # Errors
    /// [`LayoutError`].
    pub fn from_toml(text: &str) -> Result<Self, LayoutError> {
        if text.len() > LAYOUT_MAX {
            return Err(LayoutError::Size(text.len()));
        }
        let layout: Self = toml::from_str(text).map_err(|error| LayoutError::Toml(error.to_string()))?;
        layout.check()?;
        Ok(layout)
    }

    /// Checks what JSON alone can not say.
    ///
    /// # Errors
    /// [`LayoutError`].
    pub fn check(&self) -> Result<(), LayoutError> {
        let count = self.partitions.len();
        if !(1..=PARTITIONS_MAX).contains(&count) {
            return Err(LayoutError::Count(count));
        }
        let mut seen = BTreeSet::new();
        for &LayoutPartition { disk, number, .. } in &self.partitions {
            if usize::try_from(disk).is_ok_and(|disk| disk >= DISKS_MAX) {
                return Err(LayoutError::Disk(disk));
            }
            if !seen.insert((disk, number)) {
                return Err(LayoutError::Twice { disk, number });
            }
        }
        for disk in seen.iter().map(|(disk, _)| *disk).collect::<BTreeSet<_>>() {
            let own = || self.of(disk).map(|partition| partition.size);
            let share = |size| if let PartSize::Percent(percent) = size { u32::from(percent) } else { 0 };
            let (percent, rests) = (own().map(share).sum(), own().filter(|size| *size == PartSize::Rest).count());
            if percent > 100 || rests > 1 {
                return Err(LayoutError::Shares { disk, percent, rests });
            }
        }
        Ok(())
    }

    /// What it says of one disk.
    pub fn of(&self, disk: u32) -> impl Iterator<Item = &LayoutPartition> {
        self.partitions.iter().filter(move |partition| partition.disk == disk)
    }
}

impl FromStr for PartSize {
    type Err = LayoutError;

    fn from_str(text: &str) -> Result<Self, LayoutError> {
        let short: String = text.chars().take(TEXT_MAX).collect();
        let wrong = || LayoutError::Text(short.clone());
        if text == "rest" {
            return Ok(Self::Rest);
        }
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = text.split_at(digits);
        if text.len() > TEXT_MAX || number.is_empty() {
            return Err(wrong());
        }
        let number: u64 = number.parse().map_err(|_| wrong())?;
        let shift = match unit {
            "%" => {
                let percent = u8::try_from(number).ok().filter(|percent| (1..=100).contains(percent));
                return percent.map(Self::Percent).ok_or_else(wrong);
            }
            "MiB" => 20,
            "GiB" => 30,
            "TiB" => 40,
            _ => return Err(wrong()),
        };
        let bytes = number.checked_mul(1 << shift).filter(|bytes| (1..=DISK_MAX).contains(bytes));
        bytes.map(Self::Bytes).ok_or_else(wrong)
    }
}

impl TryFrom<String> for PartSize {
    type Error = LayoutError;

    fn try_from(text: String) -> Result<Self, LayoutError> {
        text.parse()
    }
}

impl fmt::Display for PartSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bytes(bytes) => write!(f, "{}MiB", bytes >> 20),
            Self::Percent(percent) => write!(f, "{percent}%"),
            Self::Rest => f.write_str("rest"),
        }
    }
}

impl From<PartSize> for String {
    fn from(size: PartSize) -> Self {
        size.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_numbers_with_a_unit_shares_or_the_rest() {
        let table = [
            ("12GiB", Some(PartSize::Bytes(12 << 30))),
            ("800MiB", Some(PartSize::Bytes(800 << 20))),
            ("1TiB", Some(PartSize::Bytes(1 << 40))),
            ("65536TiB", Some(PartSize::Bytes(1 << 56))),
            ("40%", Some(PartSize::Percent(40))),
            ("100%", Some(PartSize::Percent(100))),
            ("rest", Some(PartSize::Rest)),
            ("0MiB", None),
            ("0%", None),
            ("101%", None),
            ("65537TiB", None),
            ("18446744073709551615TiB", None),
            ("99999999999999999999MiB", None),
            ("12", None),
            ("12GB", None),
            ("12 GiB", None),
            ("-1GiB", None),
            ("1.5GiB", None),
            ("", None),
            ("GiB", None),
            ("Rest", None),
            ("00000000000000000000000000000000000001GiB", None),
        ];
        for (text, wanted) in table {
            assert_eq!(text.parse::<PartSize>().ok(), wanted, "{text}");
        }
        for size in [PartSize::Bytes(3 << 30), PartSize::Percent(7), PartSize::Rest] {
            assert_eq!(size.to_string().parse::<PartSize>(), Ok(size));
        }
    }

    #[test]
    fn a_file_that_contradicts_itself_or_knows_more_than_we_do_is_refused() {
        let one = |fields: &str| format!("[[partitions]]\n{fields}\n");
        let good = one("number = 2\nsize = \"rest\"") + &one("disk = 1\nnumber = 2\nsize = \"12GiB\"");
        let layout = Layout::from_toml(&good).unwrap();
        assert_eq!(layout.of(1).count(), 1);
        let json = serde_json::to_string(&layout).unwrap();
        assert_eq!(serde_json::from_str::<Layout>(&json).unwrap(), layout);
        let table = [
            (String::from("partitions = []"), "names 0 partitions"),
            (one("number = 2\nsize = \"rest\"").repeat(2), "twice"),
            (one("number = 1\nsize = \"60%\"") + &one("number = 2\nsize = \"41%\""), "gives away 101 %"),
            (one("number = 1\nsize = \"rest\"") + &one("number = 2\nsize = \"rest\""), "the rest 2 times"),
            (one("disk = 64\nnumber = 1\nsize = \"rest\""), "names disk 64"),
            (one("number = 1\nsize = \"rest\"\nalign = 4"), "unknown field"),
            (one("number = -1\nsize = \"rest\""), "invalid"),
            (one("number = 1\nsize = 12"), "invalid type"),
            (one("number = 1\nsize = \"12\""), "wanted 12GiB"),
            (one("number = 1"), "missing field"),
            ("x".repeat(LAYOUT_MAX + 1), "262145 bytes"),
        ];
        for (text, reason) in table {
            let error = Layout::from_toml(&text).unwrap_err().to_string();
            assert!(error.contains(reason), "{error}: {reason}");
        }
    }
}
