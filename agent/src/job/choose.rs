//! Which disk is the image's disk N.
//!
//! In: the disks there are, and pairs by serial number or world-wide name. Out: one path per ordinal, or a sentence.
//! Promise: nothing is guessed: without pairs exactly one image disk and one candidate are accepted.

use super::stock::Found;
use ramet_wire::settings::{DiskChoice, Pick};
use std::path::PathBuf;

/// Why no disks could be chosen. All have been looked at for reading only.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoDisk {
    /// No candidate.
    #[error("no disk was found{0}; check its cable and power, or name one with clone.disk")]
    None(String),
    /// More than one.
    #[error("{0} disks could be meant: {1}; name one with clone.disk=0:serial=...")]
    Several(usize, String),
    /// A named one is not there.
    #[error("no disk with {0} is there, found were: {1}; correct clone.disk")]
    Absent(String, String),
    /// A name that two have.
    #[error("{0} is said by {1} disks: {2}; name one by wwn")]
    Twice(String, usize, String),
    /// More or fewer pairs than the image has disks.
    #[error("the image has {disks} disks and clone.disk names {pairs}; name exactly disks 0 to {}", .disks.saturating_sub(1))]
    Count {
        /// Of the image.
        disks: u32,
        /// In `clone.disk`.
        pairs: usize,
    },
}

impl NoDisk {
    /// A disk that is still to appear would help.
    #[must_use]
    pub const fn may_pass(&self) -> bool {
        matches!(self, Self::None(_) | Self::Absent(..))
    }
}

/// Chooses for the image's `disks` disks; none where a capture takes as many as are named.
///
/// # Errors
/// [`NoDisk`].
pub fn choose(found: &[Found], wanted: &[DiskChoice], disks: Option<u32>) -> Result<Vec<(u32, PathBuf)>, NoDisk> {
    if wanted.is_empty() {
        return match disks {
            Some(disks) if disks != 1 => Err(NoDisk::Count { disks, pairs: 0 }),
            _ => only(found).map(|disk| vec![(0, disk.path.clone())]),
        };
    }
    let count = disks.unwrap_or_else(|| u32::try_from(wanted.len()).unwrap_or(u32::MAX));
    let mut ordinals: Vec<u32> = wanted.iter().map(|choice| choice.ordinal).collect();
    ordinals.sort_unstable();
    if !ordinals.iter().copied().eq(0..count) {
        return Err(NoDisk::Count { disks: count, pairs: wanted.len() });
    }
    let mut pairs =
        wanted.iter().map(|choice| Ok((choice.ordinal, pick(found, &choice.pick)?))).collect::<Result<Vec<_>, _>>()?;
    pairs.sort_unstable();
    Ok(pairs)
}

fn only(found: &[Found]) -> Result<&Found, NoDisk> {
    let candidates: Vec<&Found> = found.iter().filter(|disk| disk.against.is_none()).collect();
    match candidates[..] {
        [disk] => Ok(disk),
        [] => {
            let why = |disk: &Found| Some(format!("{} {}", disk.describe(), disk.against.as_deref()?));
            let left: Vec<String> = found.iter().filter_map(why).collect();
            let left =
                if left.is_empty() { String::new() } else { format!(" that is taken unnamed: {}", left.join(", ")) };
            Err(NoDisk::None(left))
        }
        _ => Err(NoDisk::Several(candidates.len(), list(&candidates))),
    }
}

fn pick(found: &[Found], pick: &Pick) -> Result<PathBuf, NoDisk> {
    let (said, words): (fn(&Found) -> Option<&String>, _) = match pick {
        Pick::Serial(serial) => (|disk| disk.serial.as_ref(), format!("serial {serial}")),
        Pick::Wwn(wwn) => (|disk| disk.wwn.as_ref(), format!("wwn {wwn}")),
    };
    let (Pick::Serial(text) | Pick::Wwn(text)) = pick;
    let fits: Vec<&Found> =
        found.iter().filter(|disk| said(disk).is_some_and(|said| said.trim() == text.trim())).collect();
    match fits[..] {
        [disk] => Ok(disk.path.clone()),
        [] => Err(NoDisk::Absent(
            words,
            if found.is_empty() { "none".to_owned() } else { list(&found.iter().collect::<Vec<_>>()) },
        )),
        _ => Err(NoDisk::Twice(words, fits.len(), list(&fits))),
    }
}

fn list(disks: &[&Found]) -> String {
    disks.iter().map(|disk| disk.describe()).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn disk(name: &str, serial: &str, wwn: Option<&str>, against: Option<&str>) -> Found {
        Found {
            path: format!("/dev/{name}").into(),
            name: name.to_owned(),
            size: 1 << 30,
            sector: 512,
            model: None,
            serial: Some(serial.to_owned()),
            wwn: wwn.map(str::to_owned),
            transport: None,
            controllers: Vec::new(),
            holds: None,
            against: against.map(str::to_owned),
        }
    }

    fn pairs(text: &str) -> Vec<DiskChoice> {
        ramet_wire::settings::disks(text).unwrap()
    }

    #[test]
    fn the_only_candidate_is_taken_and_nothing_is_guessed() {
        let (a, b) = (disk("sda", "A", None, None), disk("sdb", "B", None, None));
        let usb = disk("sdc", "C", None, Some("is attached by usb"));
        let paths = vec![(0, PathBuf::from("/dev/sda"))];
        assert_eq!(choose(&[a.clone(), usb.clone()], &[], Some(1)), Ok(paths));
        let several = choose(&[a.clone(), b], &[], Some(1)).unwrap_err();
        assert!(several.to_string().contains("2 disks could be meant: sda (1.00 GiB, serial A), sdb"), "{several}");
        assert!(!several.may_pass());
        let none = choose(&[usb], &[], None).unwrap_err();
        assert!(
            none.to_string().contains("taken unnamed: sdc (1.00 GiB, serial C) is attached by usb; check"),
            "{none}"
        );
        assert!(none.may_pass());
        assert_eq!(choose(&[], &[], None), Err(NoDisk::None(String::new())));
        assert_eq!(choose(&[a], &[], Some(2)), Err(NoDisk::Count { disks: 2, pairs: 0 }));
    }

    #[test]
    fn named_disks_go_to_their_ordinals_whatever_stands_against_them() {
        let disks = [
            disk("sda", "A", Some("naa.5"), None),
            disk("sdb", "B ", None, Some("is removable")),
            disk("sdc", "A", None, None),
        ];
        let chosen = choose(&disks, &pairs("1:wwn=naa.5,0:serial=B"), Some(2)).unwrap();
        assert_eq!(chosen, [(0, "/dev/sdb".into()), (1, "/dev/sda".into())]);
        assert_eq!(choose(&disks, &pairs("1:wwn=naa.5,0:serial=B"), None).unwrap(), chosen);
        assert!(matches!(choose(&disks, &pairs("0:serial=A"), Some(1)), Err(NoDisk::Twice(_, 2, _))));
        let absent = choose(&disks, &pairs("0:serial=X"), Some(1)).unwrap_err();
        assert!(absent.may_pass() && absent.to_string().starts_with("no disk with serial X is there, found were: sda"));
        assert_eq!(choose(&disks, &pairs("0:serial=B"), Some(2)), Err(NoDisk::Count { disks: 2, pairs: 1 }));
        assert_eq!(choose(&disks, &pairs("1:serial=B"), None), Err(NoDisk::Count { disks: 1, pairs: 1 }));
    }
}
