//! Which devices lack their firmware.
//!
//! In: the builder's list `/etc/ramet/missing-firmware`, and the kernel's log. Out: device, driver and file.
//! Promise: only what the kernel really asked for and did not get is named; a module that loads without is no accident.

use crate::init::kmsg;
use std::collections::BTreeSet;

/// `module file` per line.
const MISSING: &str = "/etc/ramet/missing-firmware";

/// A device whose firmware is not there.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Lack {
    /// Driver and device, as the kernel calls them: `bnx2 0000:01:00.0`.
    pub device: String,
    /// The file below `/lib/firmware`.
    pub file: String,
    /// The builder knew that it leaves this file out.
    pub left_out: bool,
}

impl std::fmt::Display for Lack {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { device, file, .. } = self;
        write!(f, "{device} lacks its firmware {file}; build the boot image with --firmware and a package that has it")
    }
}

/// All that lack theirs, by the kernel's log so far.
#[must_use]
pub fn lacking() -> Vec<Lack> {
    let missing = std::fs::read_to_string(MISSING).unwrap_or_default();
    let log = kmsg::all();
    find(&missing, log.iter().map(|line| line.text.as_str()))
}

/// `request_firmware` says `DRIVER DEVICE: Direct firmware load for FILE failed with error -2`.
fn find<'a>(missing: &str, log: impl Iterator<Item = &'a str>) -> Vec<Lack> {
    let left_out: BTreeSet<&str> = missing.lines().filter_map(|line| line.split_whitespace().nth(1)).collect();
    let mut found = BTreeSet::new();
    for line in log {
        let Some((device, rest)) = line.split_once(": Direct firmware load for ") else { continue };
        let Some((file, _)) = rest.split_once(" failed with error") else { continue };
        let (device, file) = (device.trim().to_owned(), file.to_owned());
        found.insert(Lack { left_out: left_out.contains(file.as_str()), device, file });
    }
    found.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_only_what_the_kernel_asked_for() {
        let missing = "bnx2 bnx2/bnx2-mips-09-6.2.1b.fw\nr8169 rtl_nic/rtl8168g-2.fw\n";
        let log = [
            "bnx2 0000:01:00.0: Direct firmware load for bnx2/bnx2-mips-09-6.2.1b.fw failed with error -2",
            "bnx2 0000:01:00.0: Direct firmware load for bnx2/bnx2-mips-09-6.2.1b.fw failed with error -2",
            "r8169 0000:02:00.0 eth0: RTL8168g, irq 42",
        ];
        let found = find(missing, log.into_iter());
        assert_eq!(found.len(), 1);
        assert!(found[0].left_out);
        assert_eq!(
            found[0].to_string(),
            "bnx2 0000:01:00.0 lacks its firmware bnx2/bnx2-mips-09-6.2.1b.fw; \
             build the boot image with --firmware and a package that has it"
        );
        assert_eq!(find(missing, ["Direct firmware load for"].into_iter()), []);
    }
}
