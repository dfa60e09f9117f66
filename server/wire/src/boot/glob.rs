//! Shell patterns, as `modules.alias` has them.
//!
//! In: a pattern with `*`, `?` and `[a-z]`, and a name. Out: whether they fit.
//! Promise: time is at most pattern × name; what is no valid pattern fits nothing but itself.

/// Whether `name` fits `pattern`, as `fnmatch(3)` without flags says.
#[must_use]
pub fn fits(pattern: &str, name: &str) -> bool {
    let (pattern, name) = (pattern.as_bytes(), name.as_bytes());
    let (mut p, mut n) = (0, 0);
    // Where to go on after a mismatch: behind the last `*`, one byte later in the name.
    let mut again: Option<(usize, usize)> = None;
    while n < name.len() || p < pattern.len() {
        match step(&pattern[p..], name.get(n).copied()) {
            Step::Star => {
                again = Some((p + 1, n));
                p += 1;
            }
            Step::One(length) => {
                p += length;
                n += 1;
            }
            Step::No => match again {
                Some((star, from)) if from < name.len() => {
                    again = Some((star, from + 1));
                    (p, n) = (star, from + 1);
                }
                _ => return false,
            },
        }
    }
    true
}

enum Step {
    /// `*`.
    Star,
    /// This many bytes of the pattern fit one byte of the name.
    One(usize),
    /// No fit.
    No,
}

fn step(pattern: &[u8], byte: Option<u8>) -> Step {
    match (pattern.first(), byte) {
        (Some(b'*'), _) => Step::Star,
        (Some(b'?'), Some(_)) => Step::One(1),
        (Some(b'['), Some(byte)) => match class(pattern, byte) {
            Some((true, length)) => Step::One(length),
            Some((false, _)) => Step::No,
            None if byte == b'[' => Step::One(1),
            None => Step::No,
        },
        (Some(b'\\'), Some(byte)) if pattern.get(1) == Some(&byte) => Step::One(2),
        (Some(literal), Some(byte)) if *literal == byte => Step::One(1),
        _ => Step::No,
    }
}

/// Whether `byte` is in the class at the start of `pattern`, and the class's length; `None` where it has no end.
fn class(pattern: &[u8], byte: u8) -> Option<(bool, usize)> {
    let inverted = matches!(pattern.get(1), Some(b'!' | b'^'));
    let start = if inverted { 2 } else { 1 };
    // A `]` at the start is a member.
    let end = start + 1 + pattern.get(start + 1..)?.iter().position(|&c| c == b']')?;
    let members = &pattern[start..end];
    let mut found = false;
    let mut i = 0;
    while i < members.len() {
        if i + 2 < members.len() && members[i + 1] == b'-' {
            found |= (members[i]..=members[i + 2]).contains(&byte);
            i += 3;
        } else {
            found |= members[i] == byte;
            i += 1;
        }
    }
    Some((found != inverted, end + 1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn fits_what_real_aliases_fit() {
        let fit = [
            ("pci:v00008086d000010D3sv*sd*bc*sc*i*", "pci:v00008086d000010D3sv00008086sd0000A01Fbc02sc00i00"),
            ("pci:v*d*sv*sd*bc01sc08i02*", "pci:v00001B36d00000010sv00001AF4sd00001100bc01sc08i02"),
            ("virtio:d00000002v*", "virtio:d00000002v00001AF4"),
            ("usb:v*p*d*dc*dsc*dp*ic08isc06ip50in*", "usb:v46F4p0001d0000dc00dsc00dp00ic08isc06ip50in00"),
            ("usb:v0BDAp8152d30[0-9]*dc*", "usb:v0BDAp8152d3005dc00dsc00"),
            ("scsi:t-0x00*", "scsi:t-0x00"),
            ("dmi*:svn*Dell*:", "dmi:bvnX:svnDellInc.:"),
            ("a[]x]b", "a]b"),
            ("a[!0-9]b", "axb"),
            ("*", ""),
            ("", ""),
            ("a[b", "a[b"),
        ];
        for (pattern, name) in fit {
            assert!(fits(pattern, name), "{pattern} {name}");
        }
        let none = [
            ("pci:v00008086d000010D3sv*", "pci:v00008086d000010D4sv1"),
            ("a[!0-9]b", "a5b"),
            ("a?", "a"),
            ("a", "ab"),
            ("ab", "a"),
            ("[", "x"),
        ];
        for (pattern, name) in none {
            assert!(!fits(pattern, name), "{pattern} {name}");
        }
    }

    #[test]
    fn many_stars_do_not_take_for_ever() {
        assert!(!fits(&"*a".repeat(60), &"a".repeat(59)));
        assert!(!fits(&format!("{}b", "a*".repeat(200)), &"a".repeat(4000)));
    }

    proptest! {
        #[test]
        fn agrees_with_the_definition(pattern in "[ab*?]{0,8}", name in "[ab]{0,8}") {
            prop_assert_eq!(fits(&pattern, &name), slow(pattern.as_bytes(), name.as_bytes()));
        }
    }

    fn slow(pattern: &[u8], name: &[u8]) -> bool {
        match (pattern.first(), name.first()) {
            (None, None) => true,
            (Some(b'*'), _) => slow(&pattern[1..], name) || !name.is_empty() && slow(pattern, &name[1..]),
            (Some(b'?'), Some(_)) => slow(&pattern[1..], &name[1..]),
            (Some(a), Some(b)) if a == b => slow(&pattern[1..], &name[1..]),
            _ => false,
        }
    }
}
