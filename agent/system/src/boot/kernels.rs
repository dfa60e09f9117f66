//! Which kernels a system has, and what each starts with.
//!
//! In: a system's tree. Out: kernels with release, path and initramfs, the newest first.
//! Promise: looks at the places that boot loaders read and no others; a file that is none is passed over.
//!
//! | where | whose |
//! |---|---|
//! | `/boot/vmlinuz-X` with `initrd.img-X`, `initramfs-X.img` or `initrd-X` | Debian, Fedora, Arch, SUSE |
//! | `…/TOKEN/RELEASE/linux` with `initrd` beside it, below `/boot`, `/efi`, `/boot/efi` | kernel-install(8) |
//! | `…/EFI/Linux/*.efi`, kernel and initramfs in one program | UKI, systemd-stub(7) |

use super::pe::{Efi, HEAD};
use crate::root::{Root, RootError};
use std::cmp::Ordering;
use std::io::{Read as _, Seek as _, SeekFrom};

/// Most files that are taken for kernels.
const FOUND_MAX: usize = 64;
/// What holds the setup code of a kernel for PCs, in bytes.
const SETUP: u64 = 64 << 10;
const RELEASE_MAX: usize = 128;
const PREFIXES: [&str; 5] = ["vmlinuz-", "vmlinux-", "Image-", "kernel-", "linux-"];
/// Where EFI system partitions and their like are mounted.
const TOPS: [&str; 3] = ["/boot", "/efi", "/boot/efi"];

/// Where an initramfs lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Where {
    /// A file of its own.
    File(String),
    /// A part of a UKI: offset and length in bytes.
    Inside(String, u64, u64),
}

impl Where {
    pub fn path(&self) -> &str {
        match self {
            Self::File(path) | Self::Inside(path, ..) => path,
        }
    }
}

/// A kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Image {
    pub release: String,
    pub path: String,
    pub initramfs: Option<Where>,
}

/// All of a system, the newest first; rescue systems last.
pub(super) fn find(root: &Root) -> Result<Vec<Image>, RootError> {
    let mut found = Vec::new();
    in_boot(root, &mut found)?;
    for top in TOPS {
        by_release(root, top, &mut found)?;
        unified(root, top, &mut found)?;
    }
    let rescue = |image: &Image| image.path.contains("rescue");
    found.sort_by(|one, other| {
        rescue(one)
            .cmp(&rescue(other))
            .then_with(|| newer(&other.release, &one.release))
            .then_with(|| one.path.cmp(&other.path))
    });
    found.dedup_by(|one, other| one.path == other.path);
    Ok(found)
}

fn in_boot(root: &Root, found: &mut Vec<Image>) -> Result<(), RootError> {
    let names = root.list("/boot")?;
    for name in &names {
        let Some(rest) = PREFIXES.iter().find_map(|prefix| name.strip_prefix(prefix)) else { continue };
        let path = format!("/boot/{name}");
        if found.len() >= FOUND_MAX || rest.is_empty() || rest.ends_with(".old") || !root.is_file(&path)? {
            continue;
        }
        let candidates = [
            format!("initrd.img-{rest}"),
            format!("initramfs-{rest}.img"),
            format!("initrd-{rest}"),
            format!("initrd-{rest}.img"),
            format!("initramfs-{rest}"),
        ];
        let initramfs = candidates.into_iter().find(|name| names.contains(name));
        let initramfs = initramfs.map(|name| Where::File(format!("/boot/{name}")));
        let release = release_of(root, &path, 0)?.unwrap_or_else(|| rest.to_owned());
        found.push(Image { release, path, initramfs });
    }
    Ok(())
}

/// Boot Loader Specification, type 1, as kernel-install lays it out.
fn by_release(root: &Root, top: &str, found: &mut Vec<Image>) -> Result<(), RootError> {
    for token in folders(root, top)? {
        for release in folders(root, &format!("{top}/{token}"))? {
            let path = format!("{top}/{token}/{release}/linux");
            if found.len() >= FOUND_MAX || !root.is_file(&path)? {
                continue;
            }
            let initramfs = format!("{top}/{token}/{release}/initrd");
            let initramfs = root.is_file(&initramfs)?.then_some(Where::File(initramfs));
            let release = release_of(root, &path, 0)?.unwrap_or(release);
            found.push(Image { release, path, initramfs });
        }
    }
    Ok(())
}

fn unified(root: &Root, top: &str, found: &mut Vec<Image>) -> Result<(), RootError> {
    let folder = format!("{top}/EFI/Linux");
    if !root.is_dir(&folder)? {
        return Ok(());
    }
    for name in root.list(&folder)?.into_iter().filter(|name| name.to_ascii_lowercase().ends_with(".efi")) {
        let path = format!("{folder}/{name}");
        let Some(mut file) = root.is_file(&path)?.then(|| root.file(&path)).transpose()?.flatten() else { continue };
        let mut head = Vec::new();
        let read = std::io::Read::by_ref(&mut file).take(HEAD as u64).read_to_end(&mut head);
        let Some(efi) = read.ok().and_then(|_| Efi::of(&head)) else { continue };
        let Some((linux, _)) = efi.section(".linux") else { continue };
        let named = efi.section(".uname").and_then(|(at, len)| {
            let mut text = Vec::new();
            file.seek(SeekFrom::Start(at)).ok()?;
            file.take(len.min(RELEASE_MAX as u64)).read_to_end(&mut text).ok()?;
            clean(&text)
        });
        let release = match named {
            Some(release) => Some(release),
            None => release_of(root, &path, linux)?,
        };
        let initramfs = efi.section(".initrd").map(|(at, len)| Where::Inside(path.clone(), at, len));
        if let Some(release) = release.filter(|_| found.len() < FOUND_MAX) {
            found.push(Image { release, path, initramfs });
        }
    }
    Ok(())
}

/// Folders in a folder, at most as many as kernels.
fn folders(root: &Root, path: &str) -> Result<Vec<String>, RootError> {
    if !root.is_dir(path)? {
        return Ok(Vec::new());
    }
    let mut folders = Vec::new();
    for name in root.list(path)?.into_iter().take(4 * FOUND_MAX) {
        if root.lstat(format!("{path}/{name}"))?.is_some_and(|stat| stat.kind == crate::root::Kind::Dir) {
            folders.push(name);
        }
    }
    folders.truncate(FOUND_MAX);
    Ok(folders)
}

/// What a kernel for PCs calls itself (kernel: Documentation/arch/x86/boot.rst, `kernel_version`); none for others.
fn release_of(root: &Root, path: &str, at: u64) -> Result<Option<String>, RootError> {
    let Some(mut file) = root.file(path)? else { return Ok(None) };
    let mut setup = Vec::new();
    if file.seek(SeekFrom::Start(at)).and_then(|_| file.take(SETUP).read_to_end(&mut setup)).is_err() {
        return Ok(None);
    }
    Ok(release_in(&setup))
}

fn release_in(setup: &[u8]) -> Option<String> {
    if setup.get(0x202..0x206)? != b"HdrS" {
        return None;
    }
    let pointer = usize::from(u16::from_le_bytes(*setup.get(0x20e..)?.first_chunk()?));
    clean(setup.get(pointer.checked_add(0x200)?..)?)
}

/// The first word, if it is one that a release can be: it becomes a part of a path.
fn clean(text: &[u8]) -> Option<String> {
    let end = text.iter().position(|byte| byte.is_ascii_whitespace() || *byte == 0).unwrap_or(text.len());
    let word = std::str::from_utf8(&text[..end]).ok()?;
    let fits = word.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._+-~".contains(&byte));
    (fits && (1..=RELEASE_MAX).contains(&word.len()) && !word.starts_with('.')).then(|| word.to_owned())
}

/// Compares releases as people do: runs of digits by their value.
fn newer(one: &str, other: &str) -> Ordering {
    let (mut one, mut other) = (one.as_bytes(), other.as_bytes());
    loop {
        let digits = |text: &[u8]| text.iter().take_while(|byte| byte.is_ascii_digit()).count();
        match (digits(one), digits(other)) {
            (0, 0) => match (one.first(), other.first()) {
                (None, None) => return Ordering::Equal,
                (None, _) => return Ordering::Less,
                (_, None) => return Ordering::Greater,
                // A tilde is before the end of the text, as in package versions: `6.1~rc1`.
                (Some(a), Some(b)) if a != b => return (*a != b'~', a).cmp(&(*b != b'~', b)),
                _ => (one, other) = (&one[1..], &other[1..]),
            },
            (mine, theirs) => {
                let strip = |text: &'_ [u8]| text.iter().take_while(|byte| **byte == b'0').count();
                let (a, b) = (&one[strip(&one[..mine])..mine], &other[strip(&other[..theirs])..theirs]);
                match a.len().cmp(&b.len()).then_with(|| a.cmp(b)) {
                    Ordering::Equal => (one, other) = (&one[mine..], &other[theirs..]),
                    different => return different,
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn newer_releases_come_first_and_numbers_count_by_value() {
        let mut releases = ["6.1.0-9", "6.1.0-56", "6.10.1", "5.14.0-427.el9", "6.1.0-56-amd64", "6.1.0-rc1"];
        releases.sort_by(|one, other| newer(other, one));
        assert_eq!(releases, ["6.10.1", "6.1.0-56-amd64", "6.1.0-56", "6.1.0-9", "6.1.0-rc1", "5.14.0-427.el9"]);
        assert_eq!(newer("6.01", "6.1"), Ordering::Equal);
    }

    #[test]
    fn a_release_that_could_be_another_path_is_none() {
        for text in ["../../etc", "..", "a/b", "", ".hidden", "6.1\u{1b}[2J"] {
            assert_eq!(clean(text.as_bytes()), None, "{text}");
        }
        assert_eq!(clean(b"6.1.0-57-amd64 (debian)").as_deref(), Some("6.1.0-57-amd64"));
        assert_eq!(release_in(&[0; 600]), None);
    }
}
