//! Mapping pairs: where the clusters of a stream lie.
//!
//! In: the packed pairs of one attribute. Out: runs, each inside the volume, in the order of the stream.
//! Promise: the runs cover exactly the virtual clusters that the attribute says, and are no more than 131,072.
//!
//! A pair starts with a byte whose low half is the length of the run's length and whose high half is the length of the
//! run's place, as a signed difference to the place of the run before; no place is a hole. A zero byte ends the list.
//!
//! Source: ntfs-3g, `runlist.c`, and `layout.h` ("mapping pairs").

use super::super::ExtentError;
use super::super::error::believe;
use super::attribute::Mapped;

/// Of one stream: an MFT of 128 GiB in pieces of 1 MiB would have as many.
const RUNS_MAX: usize = 128 << 10;

/// Clusters side by side; a hole has no place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Run {
    pub first: u64,
    pub len: u64,
    pub place: Option<u64>,
}

impl Run {
    /// Behind its last virtual cluster.
    pub const fn end(self) -> u64 {
        self.first + self.len
    }
}

/// Appends the runs of one attribute, which must begin where `runs` end. `clusters` is the length of the volume.
pub(super) fn append(runs: &mut Vec<Run>, part: &Mapped<'_>, clusters: u64, what: &str) -> Result<(), ExtentError> {
    let mut next = runs.last().map_or(0, |run| run.end());
    believe!(part.first == next, "{what} goes on at virtual cluster {}, {next} expected", part.first);
    let (mut place, mut rest) = (0_i64, part.pairs);
    while let Some((head, tail)) = rest.split_first().filter(|(head, _)| **head != 0) {
        let (length_len, place_len) = (usize::from(head & 15), usize::from(head >> 4));
        believe!(
            (1..=8).contains(&length_len) && place_len <= 8 && length_len + place_len <= tail.len(),
            "{what} has a mapping pair of {length_len} and {place_len} bytes, {} are left",
            tail.len()
        );
        let (length, tail) = tail.split_at(length_len);
        let (difference, tail) = tail.split_at(place_len);
        let len = u64::try_from(signed(length)).unwrap_or(0);
        // The last virtual cluster is bounded before anything is added up.
        believe!(
            len > 0 && next.checked_add(len).is_some_and(|end| end <= part.end),
            "{what} has a run of {len} clusters at virtual cluster {next}, its attribute ends at {}",
            part.end
        );
        let run = if place_len == 0 {
            Run { first: next, len, place: None }
        } else {
            place = place.checked_add(signed(difference)).unwrap_or(-1);
            let start = u64::try_from(place).ok().filter(|at| at.checked_add(len).is_some_and(|end| end <= clusters));
            believe!(
                start.is_some(),
                "{what} has a run of {len} clusters at cluster {place}, the volume has {clusters}"
            );
            Run { first: next, len, place: start }
        };
        believe!(runs.len() < RUNS_MAX, "{what} has more than {RUNS_MAX} runs");
        runs.push(run);
        next = run.end();
        rest = tail;
    }
    believe!(!rest.is_empty(), "the mapping pairs of {what} have no end in {} bytes", part.pairs.len());
    believe!(next == part.end, "{what} has runs up to virtual cluster {next}, its attribute says {}", part.end);
    Ok(())
}

/// Up to eight bytes, little endian, the highest bit is the sign.
fn signed(bytes: &[u8]) -> i64 {
    let fill = if bytes.last().is_some_and(|last| last & 0x80 != 0) { 0xff } else { 0 };
    let mut all = [fill; 8];
    all.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
    i64::from_le_bytes(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn runs(end: u64, pairs: &[u8]) -> Result<Vec<Run>, String> {
        let mut runs = Vec::new();
        let part = Mapped { first: 0, end, size: 0, initialized: 0, pairs };
        append(&mut runs, &part, 1000, "x").map(|()| runs).map_err(|error| error.to_string())
    }

    #[test]
    fn places_are_signed_differences_and_holes_keep_them() {
        let run = |first, len, place| Run { first, len, place };
        assert_eq!(
            runs(16, &[0x21, 4, 0x2c, 1, 0x01, 5, 0x11, 3, 0xf6, 0x12, 4, 0, 10, 0, 99]).unwrap(),
            [run(0, 4, Some(300)), run(4, 5, None), run(9, 3, Some(290)), run(12, 4, Some(300))]
        );
        assert_eq!(runs(0, &[0]).unwrap(), []);
    }

    #[test]
    fn pairs_that_contradict_their_attribute_are_refused() {
        for (end, pairs, reason) in [
            (4, &[0x11_u8, 4, 5][..], "have no end"),
            (4, &[], "have no end"),
            (4, &[0x11, 3, 5, 0], "up to virtual cluster 3"),
            (4, &[0x11, 5, 5, 0], "run of 5 clusters at virtual cluster 0"),
            (4, &[0x11, 0, 5, 0], "run of 0 clusters"),
            (4, &[0x11, 0x80, 5, 0], "run of 0 clusters"),
            (4, &[0x11, 4, 0x80, 0], "at cluster -128"),
            (4, &[0x21, 4, 0xe6, 3, 0], "at cluster 998, the volume has 1000"),
            (4, &[0x10, 4, 0], "pair of 0 and 1 bytes"),
            (4, &[0x19, 4, 0, 0, 0, 0, 0, 0, 0, 0, 5, 0], "pair of 9 and 1 bytes"),
            (4, &[0x91, 4, 5, 0, 0, 0, 0, 0, 0, 0, 0, 0], "pair of 1 and 9 bytes"),
            (4, &[0x21, 4, 5], "pair of 1 and 2 bytes, 2 are left"),
            (
                u64::MAX,
                &[0x08, 255, 255, 255, 255, 255, 255, 255, 127, 0x08, 255, 255, 255, 255, 255, 255, 255, 127, 1, 9],
                "run of",
            ),
        ] {
            let error = runs(end, pairs).unwrap_err();
            assert!(error.contains(reason), "{pairs:?}: {error}");
        }
    }

    #[test]
    fn a_stream_goes_on_where_it_ended() {
        let mut runs = vec![Run { first: 0, len: 4, place: Some(1) }];
        let part = |first| Mapped { first, end: 6, size: 0, initialized: 0, pairs: &[0x11, 2, 9, 0] };
        append(&mut runs, &part(4), 1000, "x").unwrap();
        assert_eq!(runs[1], Run { first: 4, len: 2, place: Some(9) });
        assert!(append(&mut runs, &part(4), 1000, "x").unwrap_err().to_string().contains("6 expected"));
    }

    #[test]
    fn the_number_of_runs_is_bounded() {
        let pairs: Vec<u8> = [0x01, 1].repeat(RUNS_MAX + 1).into_iter().chain([0]).collect();
        assert!(runs(RUNS_MAX as u64 + 1, &pairs).unwrap_err().contains("more than 131072 runs"));
    }
}
