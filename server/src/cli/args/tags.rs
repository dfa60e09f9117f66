//! The commands about who clones are, and the words for what becomes of them beyond the copy.
//!
//! In: words. Out: as in the parent.
//! Promise: what is expected, and sizes, are judged before anything is sent; files are read by the command.

use argh::FromArgs;
use ramet_wire::Fingerprint;
use ramet_wire::adapt::Size;
use ramet_wire::jobs::Expect;
use ramet_wire::machines::Label;
use std::path::PathBuf;

group!(
    /// list and show tags, and declare who the clones on their machines are
    Tag, "tag", TagAction { TagLs, TagShow, TagSet }
);

reach!(
    /// list tags that a machine has, or for which an identity is declared
    TagLs, "ls", {}
);
reach!(
    /// print the identity that is declared for a tag
    TagShow, "show", {
        /// the tag
        #[argh(positional)]
        tag: [Label],
    }
);
reach!(
    /// declare who the clones on machines with a tag are; what is declared for a machine stands over it
    TagSet, "set", {
        /// the tag
        #[argh(positional)]
        tag: [Label],
        /// file with the declaration, TOML
        #[argh(option)]
        identity: [Option<PathBuf>],
        /// declare nothing
        #[argh(switch)]
        no_identity: [bool],
    }
);
reach!(
    /// print who the next clone on a machine would be: declarations of its tags and its own, merged and rendered
    MachineIdentity, "identity", {
        /// its name, or the address of one of its cards
        #[argh(positional)]
        machine: [String],
    }
);

/// What a job waits for before it is confirmed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Awaited {
    /// The clone's own call.
    Boot,
    /// A connection that is accepted.
    Answer(Expect),
}

impl std::str::FromStr for Awaited {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        if text == "boot" {
            return Ok(Self::Boot);
        }
        text.parse().map(Self::Answer).map_err(|error: String| format!("{error}, nor boot"))
    }
}

/// `keep` or `fill`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SizeWord {
    /// Partitions stay as they were.
    Keep,
    /// The last partition that can fills the disk.
    Fill,
}

impl std::str::FromStr for SizeWord {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "keep" => Ok(Self::Keep),
            "fill" => Ok(Self::Fill),
            _ => Err(format!("{text:?} is none of keep, fill")),
        }
    }
}

impl From<SizeWord> for Size {
    fn from(word: SizeWord) -> Self {
        match word {
            SizeWord::Keep => Self::Keep,
            SizeWord::Fill => Self::Fill,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_job_waits_for_is_a_boot_or_an_answer() {
        assert_eq!("boot".parse::<Awaited>().unwrap(), Awaited::Boot);
        assert!(matches!("tcp:22@a".parse::<Awaited>().unwrap(), Awaited::Answer(_)));
        assert!("boots".parse::<Awaited>().unwrap_err().contains("nor boot"));
        assert!("layout".parse::<SizeWord>().is_err());
    }
}
