//! What a module says about itself.
//!
//! In: the section `.modinfo` of a module: `name=value`, each ended by NUL (include/linux/moduleinfo.h).
//! Out: what it depends on, its aliases, what it wants loaded beside it, the firmware it asks for.
//! Promise: names are in one spelling, with `_`, as the kernel and kmod compare them.

use crate::elf::{Elf, Source};
use std::io;

/// One spelling for a module's name: `usb-storage` is `usb_storage`.
#[must_use]
pub fn normal(name: &str) -> String {
    name.replace('-', "_")
}

/// What a module says about itself; each list in the module's order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Info {
    /// Names of modules whose symbols it uses.
    pub depends: Vec<String>,
    /// Patterns by which it is found.
    pub aliases: Vec<String>,
    /// `softdep` as written: `pre: a b post: c`.
    pub softdeps: Vec<String>,
    /// Files that it may ask for, relative to `/lib/firmware`.
    pub firmware: Vec<String>,
    /// The kernel that it was built for.
    pub kernel: Option<String>,
}

impl Info {
    /// Reads the section out of a module.
    ///
    /// # Errors
    /// `InvalidData` when it is no module; those of the source.
    pub fn of<S: Source + ?Sized>(source: &S) -> io::Result<Self> {
        let section = Elf::open(source)?.section(".modinfo")?;
        let section = section.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "it has no .modinfo"))?;
        Ok(Self::parse(&section))
    }

    /// Reads the section's bytes. What it does not know it leaves alone.
    #[must_use]
    pub fn parse(section: &[u8]) -> Self {
        let mut info = Self::default();
        for line in section.split(|byte| *byte == 0) {
            let Some((name, value)) = std::str::from_utf8(line).ok().and_then(|line| line.split_once('=')) else {
                continue;
            };
            let value = value.to_owned();
            match name {
                "depends" => info.depends.extend(value.split(',').filter(|name| !name.is_empty()).map(normal)),
                "alias" => info.aliases.push(value),
                "softdep" => info.softdeps.push(value),
                "firmware" => info.firmware.push(value),
                "vermagic" => info.kernel = value.split(' ').next().map(str::to_owned),
                _ => {}
            }
        }
        info
    }

    /// All names in its softdeps, before and after it.
    pub fn soft_names(&self) -> impl Iterator<Item = &str> {
        let words = self.softdeps.iter().flat_map(|softdep| softdep.split_whitespace());
        words.filter(|word| !matches!(*word, "pre:" | "post:" | "platform:"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_concerns_it() {
        let section =
            b"license=GPL\0softdep=pre: crypto-crc32c post: extra\0alias=fs-ext4\0depends=mbcache,crc64-rocksoft\0\
            firmware=a/b.bin\0firmware=a/c.bin\0vermagic=6.1.0-56-amd64 SMP preempt mod_unload\0\0junk\0\xff=x";
        let info = Info::parse(section);
        assert_eq!(info.depends, ["mbcache", "crc64_rocksoft"]);
        assert_eq!(info.aliases, ["fs-ext4"]);
        assert_eq!(info.soft_names().collect::<Vec<_>>(), ["crypto-crc32c", "extra"]);
        assert_eq!(info.firmware, ["a/b.bin", "a/c.bin"]);
        assert_eq!(info.kernel.as_deref(), Some("6.1.0-56-amd64"));
        assert_eq!(Info::parse(b"depends=\0").depends, [""; 0]);
    }
}
