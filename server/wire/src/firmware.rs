//! How a UEFI machine starts from an image: part of the manifest under the feature flag `firmware`.
//!
//! In: what the source's firmware and its EFI system partitions said. Out: checked entries and loaders.
//! Promise: every path names a partition of the image; nothing in it is longer than firmware takes.

use crate::manifest::{DiskImage, ManifestError};
use serde::{Deserialize, Serialize};

/// The feature flag of manifests that have it.
pub const FEATURE: &str = "firmware";
/// Most entries, and most loaders.
pub const LIST_MAX: usize = 64;
/// Longest label or path, in UTF-16 units.
pub const TEXT_MAX: usize = 512;

/// What firmware needs to start from the image.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Firmware {
    /// `Boot####` entries of the source that point into the image, in the order in which its firmware tried them.
    pub entries: Vec<BootEntry>,
    /// EFI programs in its EFI system partitions.
    pub loaders: Vec<Loader>,
}

/// A `Boot####` entry (UEFI specification 2.10, section 3.1.3).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BootEntry {
    /// What the firmware's menu shows.
    pub label: String,
    /// What it starts.
    pub loader: Loader,
}

/// An EFI program in a partition of the image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Loader {
    /// The image's disk.
    pub disk: u32,
    /// The partition's number.
    pub partition: u32,
    /// From the partition's root: `\EFI\debian\shimx64.efi`.
    pub path: String,
}

impl Loader {
    /// Firmware starts this one without an entry (UEFI specification 2.10, section 3.5.1.1).
    #[must_use]
    pub fn is_fallback(&self) -> bool {
        let path = self.path.to_ascii_uppercase();
        path.strip_prefix(r"\EFI\BOOT\BOOT").is_some_and(|rest| !rest.contains('\\') && rest.ends_with(".EFI"))
    }
}

impl Firmware {
    /// Nothing is known.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.entries.is_empty() && self.loaders.is_empty()
    }

    /// Checks every rule of FORMAT.md, "Manifest".
    ///
    /// # Errors
    /// [`ManifestError::Firmware`].
    pub fn check(&self, disks: &[DiskImage]) -> Result<(), ManifestError> {
        let wrong = |message: String| Err(ManifestError::Firmware(message));
        let most = self.entries.len().max(self.loaders.len());
        if most > LIST_MAX {
            return wrong(format!("{most} entries, {LIST_MAX} are allowed"));
        }
        if let Some(entry) = self.entries.iter().find(|entry| !is_text(&entry.label)) {
            return wrong(format!("label {:?} is empty, too long or holds control characters", entry.label));
        }
        for loader in self.entries.iter().map(|entry| &entry.loader).chain(&self.loaders) {
            if !is_text(&loader.path) || !loader.path.starts_with('\\') {
                return wrong(format!("{:?} is no path of an EFI program", loader.path));
            }
            let disk = disks.iter().find(|disk| disk.ordinal == loader.disk);
            let there = disk.is_some_and(|disk| disk.partitions.iter().any(|part| part.number == loader.partition));
            if !there {
                let Loader { disk, partition, path } = loader;
                return wrong(format!(
                    "{path} lies in partition {partition} of disk {disk}, which is not in the image"
                ));
            }
        }
        Ok(())
    }
}

fn is_text(text: &str) -> bool {
    (1..=TEXT_MAX).contains(&text.encode_utf16().count()) && !text.chars().any(char::is_control)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_path_that_firmware_tries_by_itself_is_a_fallback() {
        for (path, fallback) in [
            (r"\EFI\BOOT\BOOTX64.EFI", true),
            (r"\efi\boot\bootaa64.efi", true),
            (r"\EFI\debian\shimx64.efi", false),
            (r"\EFI\BOOT\BOOT\X.EFI", false),
            (r"\EFI\BOOT\fbx64.efi", false),
        ] {
            assert_eq!(Loader { disk: 0, partition: 1, path: path.to_owned() }.is_fallback(), fallback, "{path}");
        }
    }
}
