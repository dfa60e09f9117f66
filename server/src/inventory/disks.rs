//! Which disk of a machine becomes which disk of an image.
//!
//! In: sizes of the image's disks, the machine's disks, what the operator named. Out: pairs by serial number or WWN.
//! Promise: a pair is only made where there is one way to make it, or where the operator made it.

use super::candidates;
use ramet_wire::agents::DiskSeen;
use ramet_wire::jobs::JobDisk;
use ramet_wire::settings::{Pick, disks};

/// Why no disks were chosen.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoDisks {
    /// Not as many candidates as the image has disks.
    #[error("the image has {wanted} disks, the machine has {found} that could take them; name them with --disk")]
    Count {
        /// The image's.
        wanted: usize,
        /// The machine's.
        found: usize,
    },
    /// One is too small.
    #[error("disk {name} has {found} bytes, the image's disk {ordinal} wants {wanted}")]
    Size {
        /// As the machine's kernel calls it.
        name: String,
        /// Which of the image.
        ordinal: u32,
        /// Its bytes.
        found: u64,
        /// Bytes wanted.
        wanted: u64,
    },
    /// A disk that was named is not there.
    #[error("the machine has no disk {0}")]
    Missing(String),
    /// A disk that could be any.
    #[error("disk {0} has neither a serial number nor a WWN, and the machine has others; it cannot be told from them")]
    Nameless(String),
    /// What was named cannot be read.
    #[error("--disk: {0}")]
    Words(String),
}

fn named<'a>(seen: &'a [DiskSeen], pick: &Pick) -> Option<&'a DiskSeen> {
    seen.iter().find(|disk| match pick {
        Pick::Serial(serial) => disk.serial.as_deref() == Some(serial),
        Pick::Wwn(wwn) => disk.wwn.as_deref() == Some(wwn),
    })
}

fn pair(ordinal: u32, disk: &DiskSeen) -> JobDisk {
    JobDisk { ordinal, serial: disk.serial.clone(), wwn: disk.wwn.clone(), size: disk.size }
}

/// Pairs the image's disks (bytes by ordinal) with a machine's. Without `words` there must be as many candidates as the
/// image has disks; they are taken in the machine's own order.
///
/// # Errors
/// [`NoDisks`].
pub fn choose(wanted: &[(u32, u64)], seen: &[DiskSeen], words: &str) -> Result<Vec<JobDisk>, NoDisks> {
    let chosen: Vec<(u32, &DiskSeen)> = if words.is_empty() {
        let usable: Vec<&DiskSeen> = candidates(seen).collect();
        if usable.len() != wanted.len() {
            return Err(NoDisks::Count { wanted: wanted.len(), found: usable.len() });
        }
        if let Some(nameless) = usable.iter().find(|disk| disk.serial.is_none() && disk.wwn.is_none())
            && (usable.len() > 1 || seen.len() > 1)
        {
            return Err(NoDisks::Nameless(nameless.name.clone()));
        }
        wanted.iter().map(|(ordinal, _)| *ordinal).zip(usable).collect()
    } else {
        let choices = disks(words).map_err(NoDisks::Words)?;
        if choices.len() != wanted.len() {
            return Err(NoDisks::Count { wanted: wanted.len(), found: choices.len() });
        }
        let find = |choice: &ramet_wire::settings::DiskChoice| {
            let missing = || match &choice.pick {
                Pick::Serial(serial) => format!("with serial {serial}"),
                Pick::Wwn(wwn) => format!("with WWN {wwn}"),
            };
            named(seen, &choice.pick).map(|disk| (choice.ordinal, disk)).ok_or_else(|| NoDisks::Missing(missing()))
        };
        choices.iter().map(find).collect::<Result<_, _>>()?
    };
    for (ordinal, size) in wanted {
        let Some((_, disk)) = chosen.iter().find(|(chosen, _)| chosen == ordinal) else {
            return Err(NoDisks::Words(format!("the image's disk {ordinal} is not named")));
        };
        if disk.size < *size {
            let (name, ordinal, found, wanted) = (disk.name.clone(), *ordinal, disk.size, *size);
            return Err(NoDisks::Size { name, ordinal, found, wanted });
        }
    }
    Ok(chosen.into_iter().map(|(ordinal, disk)| pair(ordinal, disk)).collect())
}

/// The disk of `seen` that a pair means.
#[must_use]
pub fn of<'a>(seen: &'a [DiskSeen], pair: &JobDisk) -> Option<&'a DiskSeen> {
    match (&pair.serial, &pair.wwn) {
        (None, None) => candidates(seen).find(|disk| disk.size == pair.size),
        (serial, wwn) => {
            let same = |one: &Option<String>, other: &Option<String>| one.is_none() || one == other;
            seen.iter().find(|disk| same(serial, &disk.serial) && same(wwn, &disk.wwn))
        }
    }
}

/// The pairs as `clone.disk` takes them; empty where the agent finds the only candidate by itself.
#[must_use]
pub fn words(pairs: &[JobDisk]) -> String {
    // A comma would end the word.
    let plain = |text: &&String| !text.contains(',') && !text.is_empty();
    let word = |pair: &JobDisk| {
        let serial = pair.serial.as_ref().filter(plain).map(|serial| format!("{}:serial={serial}", pair.ordinal));
        serial.or_else(|| pair.wwn.as_ref().filter(plain).map(|wwn| format!("{}:wwn={wwn}", pair.ordinal)))
    };
    let words: Option<Vec<String>> = pairs.iter().map(word).collect();
    words.unwrap_or_default().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn disk(name: &str, size: u64, serial: Option<&str>, named_only: bool) -> DiskSeen {
        let serial = serial.map(str::to_owned);
        DiskSeen { name: name.into(), size, sector: 512, serial, named_only, ..DiskSeen::default() }
    }

    #[test]
    fn the_only_candidate_is_taken_and_a_stick_is_none() {
        let seen = [disk("sda", 100, Some("A"), false), disk("sdb", 100, Some("U"), true)];
        let pairs = choose(&[(0, 100)], &seen, "").unwrap();
        assert_eq!((pairs.len(), pairs[0].serial.as_deref()), (1, Some("A")));
        assert_eq!(words(&pairs), "0:serial=A");
        assert_eq!(of(&seen, &pairs[0]).unwrap().name, "sda");
        assert_eq!(choose(&[(0, 100)], &seen, "0:serial=U").unwrap()[0].serial.as_deref(), Some("U"));
    }

    #[test]
    fn what_does_not_fit_is_refused_with_both_numbers() {
        let seen = [disk("sda", 100, Some("A"), false), disk("sdb", 50, Some("B"), false)];
        let refused = |wanted: &[(u32, u64)], words: &str| choose(wanted, &seen, words).unwrap_err();
        assert_eq!(refused(&[(0, 10)], ""), NoDisks::Count { wanted: 1, found: 2 });
        assert!(matches!(refused(&[(0, 10), (1, 60)], ""), NoDisks::Size { found: 50, wanted: 60, .. }));
        assert!(matches!(refused(&[(0, 10)], "0:serial=C"), NoDisks::Missing(_)));
        assert!(matches!(refused(&[(0, 10)], "1:serial=A"), NoDisks::Words(_)));
        assert!(matches!(refused(&[(0, 10)], "sda"), NoDisks::Words(_)));
        let nameless = [disk("sda", 100, None, false), disk("sdb", 100, Some("B"), false)];
        assert!(matches!(choose(&[(0, 1), (1, 1)], &nameless, ""), Err(NoDisks::Nameless(_))));
        let alone = [disk("vda", 100, None, false)];
        assert_eq!(words(&choose(&[(0, 1)], &alone, "").unwrap()), "", "the agent finds it");
    }
}
