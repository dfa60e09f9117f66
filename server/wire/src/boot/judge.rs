//! Will it boot? The facts of an image against the inventory of a machine.
//!
//! In: facts, manifest, target. Out: yes, no, or unknown, and why.
//! Promise: pure; *no* only where both sides are known and do not fit, *yes* only where nothing was left open.

use super::storage::{self, Cover};
use super::{BiosCode, Code, Facts, Kernel, Layer, Program, System};
use crate::agents::DiskSeen;
use crate::firmware::Loader;
use crate::hardware::{Hardware, SecureBoot};
use crate::manifest::Manifest;
use crate::table::TableKind;
use serde::{Deserialize, Serialize};
use std::fmt;

/// EFI system partition, as GPT and as MBR type.
const ESP: [&str; 2] = ["c12a7328-f81f-11d2-ba4b-00a0c93ec93b", "0xef"];
/// Where GRUB's core lies on a GPT disk that a BIOS starts.
const BIOS_BOOT: &str = "21686148-6449-6e6f-744e-656564454649";
/// A disk of data starts nowhere, and is not meant to.
const NOTHING_STARTS: &str = "nothing that starts was found in the image";
/// Most reasons of a verdict, and their longest text in characters.
const REASONS_MAX: usize = 32;
const REASON_MAX: usize = 400;

/// A machine that an image shall start on, as far as it is known.
#[derive(Clone, Copy, Debug, Default)]
pub struct Target<'a> {
    /// `uefi` or `bios`.
    pub firmware: Option<&'a str>,
    /// What else it has.
    pub hardware: Option<&'a Hardware>,
    /// The disks that the image goes onto, in the order of its ordinals; empty where that is not known yet.
    pub disks: &'a [DiskSeen],
}

/// Whether it boots.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Answer {
    /// Nothing stands against it, and nothing was left open.
    Yes,
    /// Something is known to be missing.
    No,
    /// Something is not known. Also from a newer version.
    #[serde(other)]
    Unknown,
}

/// The answer, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// Whether it boots.
    pub answer: Answer,
    /// Why not, what is not known, then what is worth knowing: sentences for people.
    pub reasons: Vec<String>,
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Yes => "yes",
            Self::No => "no",
            Self::Unknown => "unknown",
        })
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.answer)?;
        if self.reasons.is_empty() { Ok(()) } else { write!(f, ": {}", self.reasons.join("; ")) }
    }
}

/// What speaks against, what is open, what is worth knowing.
#[derive(Debug, Default)]
pub(super) struct Reasons {
    no: Vec<String>,
    open: Vec<String>,
    notes: Vec<String>,
}

impl Reasons {
    fn no(&mut self, reason: impl Into<String>) {
        self.no.push(reason.into());
    }

    fn open(&mut self, reason: impl Into<String>) {
        self.open.push(reason.into());
    }

    fn answer(&self) -> Answer {
        match (self.no.is_empty(), self.open.is_empty()) {
            (false, _) => Answer::No,
            (true, false) => Answer::Unknown,
            (true, true) => Answer::Yes,
        }
    }

    fn add(&mut self, other: Self) {
        self.no.extend(other.no);
        self.open.extend(other.open);
        self.notes.extend(other.notes);
    }

    /// All of it is open or worth knowing, none of it decides.
    fn soften(mut self) -> Self {
        self.open.append(&mut self.no);
        self
    }

    fn verdict(self) -> Verdict {
        let answer = self.answer();
        let mut reasons: Vec<String> = Vec::new();
        for reason in self.no.into_iter().chain(self.open).chain(self.notes) {
            let cut: String = reason.chars().take(REASON_MAX).collect();
            if reasons.len() < REASONS_MAX && !reasons.contains(&cut) {
                reasons.push(cut);
            }
        }
        Verdict { answer, reasons }
    }
}

/// Judges whether what `manifest` describes starts on `target`. `facts` are [`Manifest::boot`].
#[must_use]
pub fn judge(facts: Option<&Facts>, manifest: &Manifest, target: &Target<'_>) -> Verdict {
    let mut reasons = Reasons::default();
    sectors(manifest, target, &mut reasons);
    match target.firmware {
        Some("uefi") => {
            uefi(facts, manifest, &mut reasons);
            let enforced = target.hardware.and_then(|hardware| hardware.secure_boot);
            if enforced == Some(SecureBoot::On) {
                secure(facts, manifest, &mut reasons);
            }
        }
        Some("bios") => bios(facts, manifest, &mut reasons),
        _ => reasons.open("it is not known whether the target starts by UEFI or by BIOS"),
    }
    match facts {
        Some(facts) => systems(facts, target, &mut reasons),
        None => reasons.open("the image does not say what its systems need: its capture did not look into them"),
    }
    reasons.verdict()
}

fn sectors(manifest: &Manifest, target: &Target<'_>, reasons: &mut Reasons) {
    for (image, disk) in manifest.disks.iter().zip(target.disks) {
        if image.logical_sector != disk.sector {
            let (ordinal, wanted, name, found) = (image.ordinal, image.logical_sector, &disk.name, disk.sector);
            reasons.no(format!("image disk {ordinal} has sectors of {wanted} bytes, {name} has {found}"));
        }
    }
}

fn has_entry(manifest: &Manifest, kinds: &[&str]) -> bool {
    let mut entries = manifest.disks.iter().flat_map(|disk| &disk.table.entries);
    entries.any(|entry| kinds.contains(&entry.r#type.as_str()))
}

fn has_system(facts: Option<&Facts>) -> bool {
    facts.is_some_and(|facts| !facts.systems.is_empty())
}

fn uefi(facts: Option<&Facts>, manifest: &Manifest, reasons: &mut Reasons) {
    let from = manifest.source.firmware.as_deref();
    let loaders = manifest.firmware.as_ref().map_or(&[][..], |firmware| &firmware.loaders);
    if !has_entry(manifest, &ESP) {
        let code = facts.is_some_and(|facts| facts.bios.iter().any(|bios| bios.code != Code::None));
        let system = has_system(facts);
        if code || from == Some("bios") && system {
            reasons.no("the image starts by BIOS and the target by UEFI: switch its firmware to BIOS (CSM)");
        } else if facts.is_some() && !system {
            reasons.open(NOTHING_STARTS);
        } else if loaders.is_empty() {
            reasons.open("the image has no EFI system partition");
        }
    } else if loaders.is_empty() {
        let entries = |disk: &crate::manifest::DiskImage| {
            let esp = disk.table.entries.iter().filter(|entry| ESP.contains(&entry.r#type.as_str()));
            let numbers: Vec<u32> = esp.map(|entry| entry.number).collect();
            let clean = |part: &crate::manifest::PartitionImage| {
                part.content.kind == "vfat" && part.content.state.as_deref() == Some("clean")
            };
            disk.partitions.iter().filter(|part| numbers.contains(&part.number)).all(clean)
        };
        if facts.is_some() && manifest.disks.iter().all(entries) {
            reasons.no("the image's EFI system partition holds no EFI program");
        } else {
            reasons.open("no EFI program is known in the image's EFI system partition");
        }
    }
}

/// The loader that firmware starts: what an entry names, else the fallback, else the one that the agent makes an entry for.
fn started(manifest: &Manifest) -> Option<&Loader> {
    let firmware = manifest.firmware.as_ref()?;
    let fallback = || firmware.loaders.iter().find(|loader| loader.is_fallback());
    fallback().or_else(|| firmware.entries.first().map(|entry| &entry.loader)).or_else(|| firmware.loaders.first())
}

fn secure(facts: Option<&Facts>, manifest: &Manifest, reasons: &mut Reasons) {
    let Some(facts) = facts else {
        return reasons.open("the target enforces Secure Boot, and the image does not say what of it is signed");
    };
    let same = |program: &&Program, loader: &Loader| {
        let (one, other) = (&program.loader, loader);
        (one.disk, one.partition) == (other.disk, other.partition) && one.path.eq_ignore_ascii_case(&other.path)
    };
    let Some(loader) = started(manifest) else { return };
    let path = &loader.path;
    match facts.programs.iter().find(|program| same(program, loader)) {
        Some(program) if program.signed => {}
        Some(_) if facts.programs.iter().any(|program| program.signed) => {
            let signed = facts.programs.iter().find(|program| program.signed).map_or("", |one| &one.loader.path);
            reasons.open(format!("the target enforces Secure Boot: {path} is not signed, {signed} is"));
        }
        Some(_) => reasons.no(format!("the target enforces Secure Boot, and {path} is not signed")),
        None => reasons.open(format!("the target enforces Secure Boot, and it is not known whether {path} is signed")),
    }
}

fn bios(facts: Option<&Facts>, manifest: &Manifest, reasons: &mut Reasons) {
    let esp = has_entry(manifest, &ESP);
    let mbr = manifest.disks.iter().any(|disk| disk.table.kind == TableKind::Mbr);
    let place = mbr || has_entry(manifest, &[BIOS_BOOT]);
    let other = "the image starts by UEFI and the target by BIOS: switch its firmware to UEFI";
    let codes = facts.map_or(&[][..], |facts| &facts.bios);
    let starts = |code: &&BiosCode| code.code == Code::Other || code.code == Code::Grub && code.next;
    if let Some(code) = codes.iter().find(starts) {
        if code.code == Code::Other && !place && esp {
            reasons.open("the first sector holds code that is not GRUB's, and nothing else of the image is for a BIOS");
        }
    } else if codes.len() == manifest.disks.len() && !codes.is_empty() {
        let system = has_system(facts);
        let loader = manifest.firmware.as_ref().is_some_and(|firmware| !firmware.loaders.is_empty());
        match codes.iter().find(|code| code.code == Code::Grub) {
            Some(code) => reasons.no(format!("the boot code of disk {} loads a sector that holds nothing", code.disk)),
            None if esp && (system || loader) => reasons.no(other),
            None if !system => reasons.open(NOTHING_STARTS),
            None => reasons.no("the image has no boot code for a BIOS in its first sector"),
        }
    } else if esp && !place {
        reasons.no(other);
    } else {
        reasons.open("the image's boot code was not looked at");
    }
}

/// One system must start. Of several, a boot loader's menu decides, which nobody here has read.
fn systems(facts: &Facts, target: &Target<'_>, reasons: &mut Reasons) {
    let mut judged: Vec<Reasons> = facts.systems.iter().map(|system| one_system(system, target)).collect();
    if facts.systems.iter().any(|system| system.kernels.is_empty()) {
        facts.unread.iter().for_each(|why| reasons.open(why.clone()));
    }
    if judged.len() == 1 {
        return judged.drain(..).for_each(|one| reasons.add(one));
    }
    if judged.is_empty() {
        reasons.open("no Linux system was found in the image");
        facts.unread.iter().for_each(|why| reasons.open(why.clone()));
        return;
    }
    let same = judged.windows(2).all(|pair| pair[0].answer() == pair[1].answer());
    for (mut one, system) in judged.into_iter().zip(&facts.systems) {
        let lists = [&mut one.no, &mut one.open, &mut one.notes];
        lists.into_iter().flatten().for_each(|reason| *reason = format!("{}: {reason}", system.name));
        reasons.add(if same { one } else { one.soften() });
    }
}

/// The newest kernel is what boot loaders start; an older one that fits is a way out, not a yes.
fn one_system(system: &System, target: &Target<'_>) -> Reasons {
    let mut reasons = Reasons::default();
    if let (Some(named), Some(disk)) = (&system.root.named, target.disks.first())
        && let Some(family) = named.strip_prefix("/dev/").and_then(disk_family)
        && disk_family(&disk.name) != Some(family)
    {
        reasons.open(format!("its fstab calls the root file system {named}, and the target's disk is {}", disk.name));
    }
    let Some((newest, older)) = system.kernels.split_first() else {
        reasons.open("no kernel was found in it");
        return reasons;
    };
    let first = one_kernel(newest, system, target);
    let way_out = older.iter().find(|kernel| one_kernel(kernel, system, target).answer() == Answer::Yes);
    match way_out {
        Some(kernel) if first.answer() == Answer::No => {
            reasons.add(first.soften());
            reasons.open(format!("its older kernel {} would start", kernel.release));
        }
        _ => reasons.add(first),
    }
    reasons
}

/// Kernel names of disks whose driver decides the name (kernel: Documentation/admin-guide/devices.txt).
fn disk_family(name: &str) -> Option<&'static str> {
    ["sd", "vd", "xvd", "nvme", "hd", "mmcblk"].into_iter().find(|family| {
        let rest = name.strip_prefix(family);
        rest.is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_alphanumeric()))
    })
}

fn one_kernel(kernel: &Kernel, system: &System, target: &Target<'_>) -> Reasons {
    let mut reasons = Reasons::default();
    let drivers = kernel.drivers.as_ref().and_then(|drivers| drivers.read().ok()).unwrap_or_default();
    let book = storage::Book { kernel, drivers: &drivers };
    let layers = system.root.stack.iter().map(|layer| match layer {
        Layer::Lvm => "dm_mod",
        Layer::Md => "md_mod",
        Layer::Luks => "dm_crypt",
    });
    let file_system = match system.root.filesystem.as_str() {
        "ext2" | "ext3" | "ext4" => Some("ext4"),
        known @ ("xfs" | "btrfs" | "f2fs" | "jfs" | "erofs" | "squashfs") => Some(known),
        _ => None,
    };
    for name in layers.chain(file_system) {
        judge_cover(&book.module(name), "the root file system", &mut reasons);
    }
    storage::needs(target).judge(&book, &mut reasons);
    if system.root.stack.contains(&Layer::Luks) {
        reasons.notes.push("its root is encrypted: somebody or something must give the passphrase".to_owned());
    }
    for card in storage::cards(target) {
        if let Cover::Nobody(_) = book.cover(card, true) {
            let release = &kernel.release;
            reasons.notes.push(format!("boots without network on {card}: kernel {release} has no driver for it"));
        }
    }
    reasons
}

/// What it means that a driver is or is not there when the root file system is looked for.
pub(super) fn judge_cover(cover: &Cover, what: &str, reasons: &mut Reasons) {
    match cover {
        Cover::Held(how) => reasons.notes.push(how.clone()),
        Cover::Ashore(why) | Cover::Nobody(why) => reasons.no(format!("{what}: {why}")),
        Cover::Open(why) => reasons.open(format!("{what}: {why}")),
    }
}

impl Reasons {
    pub(super) fn left_open(&mut self, reason: String) {
        self.open.push(reason);
    }

    pub(super) fn against(&mut self, reason: String) {
        self.no.push(reason);
    }
}
