//! What a system mounts where.
//!
//! In: the text of its fstab. Out: entries, and the volume that each means.
//! Promise: a name that could mean two volumes means none.

use super::Volume;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

/// Most entries that are looked at.
const ENTRIES_MAX: usize = 256;

/// One line of fstab(5).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// First field: `UUID=…`, `/dev/…`, `server:/…`.
    pub spec: String,
    /// Second field, absolute.
    pub path: PathBuf,
    /// Third field.
    pub kind: String,
    /// Fourth field, divided at commas.
    pub options: Vec<String>,
}

/// Entries of an fstab in order, of which those for swap and for what has no path are left out.
#[must_use]
pub fn parse(text: &str) -> Vec<Entry> {
    text.lines()
        .filter(|line| !line.trim_start().starts_with('#'))
        .filter_map(|line| {
            let mut fields = line.split_ascii_whitespace().map(unescape);
            let (spec, path) = (fields.next()?, fields.next()?);
            let kind = fields.next().unwrap_or_default();
            let options = fields.next().unwrap_or_default().split(',').map(str::to_owned).collect();
            path.starts_with('/').then(|| Entry { spec, path: PathBuf::from(path), kind, options })
        })
        .take(ENTRIES_MAX)
        .collect()
}

/// getmntent(3): `\040` is a blank, `\011` a tab, `\012` a newline, `\134` a backslash.
fn unescape(field: &str) -> String {
    ["\\040", "\\011", "\\012", "\\134"]
        .iter()
        .zip([" ", "\t", "\n", "\\"])
        .fold(field.to_owned(), |text, (from, to)| text.replace(from, to))
}

impl Entry {
    /// It is no volume of any disk: a network share, a bind, what the kernel makes up.
    #[must_use]
    pub fn is_elsewhere(&self) -> bool {
        let bind = self.options.iter().any(|option| option == "bind" || option == "rbind");
        let named = self.spec.starts_with("/dev/") || self.spec.contains('=') && !self.spec.contains(":/");
        bind || !named || ["swap", "tmpfs", "nfs", "nfs4", "cifs", "overlay", "zfs"].contains(&self.kind.as_str())
    }

    /// The part of btrfs that is meant: `subvol=…` or `subvolid=…`.
    #[must_use]
    pub fn subvolume(&self) -> Option<&str> {
        self.options
            .iter()
            .find(|option| option.starts_with("subvol=") || option.starts_with("subvolid="))
            .map(String::as_str)
    }

    /// The volume that is meant, by its place in `volumes`; `beside` is the disk of the root file system.
    ///
    /// # Errors
    /// A sentence: none of these, or more than one.
    pub fn volume(&self, volumes: &[Volume], beside: Option<u32>) -> Result<usize, String> {
        let meant: Vec<usize> =
            (0..volumes.len()).filter(|index| means(&self.spec, &volumes[*index], beside)).collect();
        match meant[..] {
            [one] => Ok(one),
            [] => Err(format!("{} is none of these disks' volumes", self.spec)),
            [first, second, ..] => {
                Err(format!("{} means both {} and {}", self.spec, volumes[first].name, volumes[second].name))
            }
        }
    }
}

fn means(spec: &str, volume: &Volume, beside: Option<u32>) -> bool {
    let is = |value: &Option<String>, wanted: &str| {
        value.as_deref().is_some_and(|value| !value.is_empty() && value.eq_ignore_ascii_case(wanted))
    };
    let exactly = |value: &Option<String>, wanted: &str| value.as_deref() == Some(wanted) && !wanted.is_empty();
    if let Some((tag, value)) = spec.split_once('=') {
        let value = value.trim_matches('"');
        return match tag {
            "UUID" => is(&volume.uuid, value),
            "LABEL" => exactly(&volume.label, value),
            "PARTUUID" => is(&volume.partuuid, value),
            "PARTLABEL" => exactly(&volume.partlabel, value),
            _ => false,
        };
    }
    let Some(device) = spec.strip_prefix("/dev/") else { return false };
    match device.split_once('/') {
        Some(("disk", named)) => match named.split_once('/') {
            Some(("by-uuid", value)) => is(&volume.uuid, value),
            Some(("by-label", value)) => exactly(&volume.label, &udev_unescape(value)),
            Some(("by-partuuid", value)) => is(&volume.partuuid, value),
            Some(("by-partlabel", value)) => exactly(&volume.partlabel, &udev_unescape(value)),
            _ => false,
        },
        Some(("mapper", name)) => exactly(&volume.mapper, name),
        Some((group, logical)) if !logical.contains('/') => {
            exactly(&volume.mapper, &format!("{}-{}", group.replace('-', "--"), logical.replace('-', "--")))
        }
        Some(_) => false,
        None => volume.disk == beside && volume.number.is_some() && number(device) == volume.number,
    }
}

/// `\x20` and the like, as udev writes them into names of links.
fn udev_unescape(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut left = text.as_bytes();
    while let [first, rest @ ..] = left {
        let code =
            left.strip_prefix(b"\\x").and_then(|rest| rest.get(..2)).and_then(|hex| std::str::from_utf8(hex).ok());
        left = match code.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                &left[4..]
            }
            None => {
                bytes.push(*first);
                rest
            }
        };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The partition number in a kernel's name: `sda3`, `nvme0n1p3`, `mmcblk0p3`.
fn number(device: &str) -> Option<u32> {
    let bytes = Path::new(device).as_os_str().as_bytes();
    let digits = bytes.iter().rev().take_while(|byte| byte.is_ascii_digit()).count();
    let (head, tail) = device.split_at_checked(bytes.len() - digits)?;
    let plain = ["sd", "hd", "vd", "xvd"].iter().any(|kind| {
        head.strip_prefix(kind)
            .is_some_and(|disk| !disk.is_empty() && disk.bytes().all(|byte| byte.is_ascii_lowercase()))
    });
    let behind_p = head.strip_suffix('p').is_some_and(|disk| disk.ends_with(|c: char| c.is_ascii_digit()));
    (plain || behind_p).then(|| tail.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_fields_and_escapes() {
        let text = "# <file system>\nUUID=ab /  ext4 errors=remount-ro 0 1\n\n/dev/sr0 /media/cd\\040rom udf,iso9660 user 0 0\nUUID=cd none swap sw 0 0\n/dev/sda1 /efi\n";
        let entries = parse(text);
        assert_eq!(entries.len(), 3);
        assert_eq!(entries[0].options, ["errors=remount-ro"]);
        assert_eq!(entries[1].path, Path::new("/media/cd rom"));
    }

    #[test]
    fn names_mean_volumes() {
        let volume = Volume {
            name: "disk 0 partition 3".into(),
            uuid: Some("1A2B-3C4D".into()),
            label: Some("a b".into()),
            partuuid: Some("0011-03".into()),
            partlabel: Some("EFI".into()),
            mapper: Some("my--vg-root".into()),
            disk: Some(0),
            number: Some(3),
            ..Volume::default()
        };
        let volumes = [Volume::default(), volume];
        let entry = |spec: &str| parse(&format!("{spec} / auto defaults 0 0")).remove(0);
        for spec in [
            "UUID=1a2b-3c4d",
            "LABEL=a\\040b",
            "PARTUUID=0011-03",
            "PARTLABEL=EFI",
            "/dev/disk/by-label/a\\x20b",
            "/dev/disk/by-uuid/1A2B-3C4D",
            "/dev/mapper/my--vg-root",
            "/dev/my-vg/root",
            "/dev/sda3",
            "/dev/nvme0n1p3",
            "/dev/vda3",
            "/dev/mmcblk0p3",
            "UUID=\"1A2B-3C4D\"",
        ] {
            assert_eq!(entry(spec).volume(&volumes, Some(0)), Ok(1), "{spec}");
        }
        for spec in ["UUID=", "LABEL=A\\040B", "/dev/sda2", "/dev/sda", "/dev/loop3", "/dev/my/vg/root", "LABEL="] {
            assert!(entry(spec).volume(&volumes, Some(0)).is_err(), "{spec}");
        }
        assert!(entry("/dev/sda3").volume(&volumes, Some(1)).is_err(), "another disk");
        let twice = [volumes[1].clone(), volumes[1].clone()];
        assert!(entry("LABEL=a\\040b").volume(&twice, Some(0)).unwrap_err().contains("both"));
    }

    #[test]
    fn shares_and_binds_are_elsewhere() {
        let is = |line: &str| parse(line)[0].is_elsewhere();
        assert!(
            is("server:/home /home nfs defaults") && is("//server/x /x cifs credentials=/a") && is("tmpfs /tmp tmpfs")
        );
        assert!(is("/srv /var/srv none bind") && !is("/dev/sda1 / ext4") && !is("UUID=1 / ext4 subvol=@"));
    }
}
