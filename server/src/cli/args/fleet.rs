//! The commands of the fleet: machines, rules, jobs, the audit.
//!
//! In: words. Out: as in the parent.
//! Promise: names, MACs, rules and what is expected are judged before anything is sent.

use super::Life;
use super::boot::Word;
use super::tags::{Awaited, MachineIdentity, SizeWord};
use argh::FromArgs;
use ramet_wire::adapt::Check;
use ramet_wire::jobs::JobState;
use ramet_wire::machines::{Label, MachineState, RuleWhen};
use ramet_wire::settings::{Mac, Then};
use ramet_wire::{Fingerprint, ImageName, ImageRef};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::path::PathBuf;

group!(
    /// list, show, add, remove, accept, set and tag machines, and show who their clones would be
    Machine, "machine", MachineAction {
        MachineLs, MachineShow, MachineAdd, MachineRm, MachineAccept, MachineSet, MachineTag, MachineIdentity
    }
);
group!(
    /// make, list and remove rules: what happens by itself, once for each machine
    Rule, "rule", RuleAction { RuleAdd, RuleLs, RuleRm }
);
group!(
    /// list, show, watch, cancel and retry jobs
    Job, "job", JobAction { JobLs, JobShow, JobWatch, JobCancel, JobRetry }
);

reach!(
    /// list machines
    MachineLs, "ls", {
        /// only those in this state: new, accepted, conflict
        #[argh(option)]
        only: [Option<Of<MachineState>>],
        /// only those with this tag
        #[argh(option)]
        tag: [Option<Label>],
    }
);
reach!(
    /// show all that is known of a machine
    MachineShow, "show", {
        /// its name, or the address of one of its cards
        #[argh(positional)]
        machine: [String],
    }
);
reach!(
    /// add a machine that you know; it is accepted
    MachineAdd, "add", {
        /// its name
        #[argh(positional)]
        name: [Label],
        /// address of a card; once for each
        #[argh(option)]
        mac: [Vec<Mac>],
        /// its SMBIOS system UUID
        #[argh(option)]
        uuid: [Option<String>],
        /// a tag; once for each
        #[argh(option)]
        tag: [Vec<Label>],
        /// its rack or circuit, for limits of what runs at once
        #[argh(option)]
        group: [Option<Label>],
        /// refuse restores
        #[argh(switch)]
        protected: [bool],
        /// a job's agent waits for an operator, who compares the code on its console
        #[argh(switch)]
        approve: [bool],
        /// its firmware asks the network at every start
        #[argh(switch)]
        network_first: [bool],
    }
);
reach!(
    /// remove machines and their history from the inventory
    MachineRm, "rm", {
        /// their names
        #[argh(positional)]
        machines: [Vec<String>],
        /// do not ask
        #[argh(switch)]
        yes: [bool],
    }
);
reach!(
    /// accept machines that enrolled themselves
    MachineAccept, "accept", {
        /// their names
        #[argh(positional)]
        machines: [Vec<String>],
        /// another name, for a single one
        #[argh(option)]
        name: [Option<Label>],
        /// of one in conflict: it takes cards and UUID from the machines that had them
        #[argh(switch)]
        replace: [bool],
    }
);
reach!(
    /// change what is known of machines, all or none
    MachineSet, "set", {
        /// their names
        #[argh(positional)]
        machines: [Vec<String>],
        /// and those with this tag
        #[argh(option)]
        tag: [Option<Label>],
        /// and all that are accepted
        #[argh(switch)]
        all: [bool],
        /// another name, for a single one
        #[argh(option)]
        name: [Option<Label>],
        /// a card to add, of a single one
        #[argh(option)]
        add_mac: [Vec<Mac>],
        /// a card to take away, of a single one
        #[argh(option)]
        remove_mac: [Vec<Mac>],
        /// rack or circuit; none for none
        #[argh(option)]
        group: [Option<String>],
        /// refuse restores: yes or no
        #[argh(option)]
        protected: [Option<YesNo>],
        /// a job's agent waits for an operator: yes or no
        #[argh(option)]
        approve: [Option<YesNo>],
        /// the firmware asks the network at every start: yes or no
        #[argh(option)]
        network_first: [Option<YesNo>],
        /// what is asked every minute whether it is well: tcp:PORT@HOST, or none
        #[argh(option)]
        health: [Option<String>],
        /// a note for people
        #[argh(option)]
        note: [Option<String>],
        /// file that declares who clones on them are, TOML; it stands over what is declared for their tags
        #[argh(option)]
        identity: [Option<PathBuf>],
        /// declare nothing of that
        #[argh(switch)]
        no_identity: [bool],
    }
);
reach!(
    /// tag machines
    MachineTag, "tag", {
        /// their names
        #[argh(positional)]
        machines: [Vec<String>],
        /// a tag to add; once for each
        #[argh(option)]
        add: [Vec<Label>],
        /// a tag to take away; once for each
        #[argh(option)]
        remove: [Vec<Label>],
    }
);
/// What restores an image, by `$order`: with what its clones become beyond the copy.
macro_rules! becoming {
    ($order:ident, $(#[$about:meta])* $name:ident, $command:literal, { $($(#[$doc:meta])* $field:ident : [$($type:tt)+],)* }) => {
        $order!(
            $(#[$about])* $name, $command, {
                $($(#[$doc])* $field: [$($type)+],)*
                /// a plain copy, whatever identity is declared
                #[argh(switch)]
                no_identity: [bool],
                /// new UUIDs for tables, partitions and file systems; what names them follows
                #[argh(switch)]
                new_uuids: [bool],
                /// on a disk of another size: keep, or fill: the last partition that can fills it (default keep)
                #[argh(option)]
                size: [Option<SizeWord>],
                /// the clone calls this server once when it has booted; nobody waits for it
                #[argh(switch)]
                first_boot: [bool],
                /// overrule a check of the plan: boot-check, whether the image would boot there
                #[argh(option)]
                ignore: [Vec<Word<Check>>],
            }
        );
    };
}

becoming!(
    reach,
    /// make a rule
    RuleAdd, "add", {
        /// new: a machine enrols that was never seen before; failed: the health check of one of ours has failed (default new)
        #[argh(option, default = "Word(RuleWhen::New)")]
        when: [Word<RuleWhen>],
        /// only machines of this network: 10.0.0.0/24
        #[argh(option)]
        subnet: [Option<String>],
        /// only machines like this: 'vendor=Dell* memory>=16G'
        #[argh(option, long = "match", default = "String::new()")]
        matches: [String],
        /// accept them
        #[argh(switch)]
        accept: [bool],
        /// tag them; once for each tag
        #[argh(option)]
        tag: [Vec<Label>],
        /// restore this image onto them
        #[argh(option)]
        restore: [Option<ImageRef>],
        /// restore the image that ran on them last; for failed machines
        #[argh(switch)]
        last: [bool],
        /// also onto disks that hold a table or a file system
        #[argh(switch)]
        wipe_existing: [bool],
        /// what follows the restore: reboot, poweroff or wait
        #[argh(option)]
        then: [Option<Word<Then>>],
    }
);
reach!(
    /// list rules
    RuleLs, "ls", {}
);
reach!(
    /// remove a rule
    RuleRm, "rm", {
        /// its number
        #[argh(positional)]
        id: [u64],
    }
);

macro_rules! work {
    ($(#[$about:meta])* $name:ident, $command:literal, { $($(#[$doc:meta])* $field:ident : [$($type:tt)+],)* }) => {
        reach!(
            $(#[$about])* $name, $command, {
                $($(#[$doc])* $field: [$($type)+],)*
                /// what must be before the job is confirmed: boot, the clone itself calls; or tcp:PORT@HOST, which must
                /// answer, for a single machine; once for each
                #[argh(option)]
                expect: [Vec<Awaited>],
                /// how often it is tried, 1 to 10 (default 3)
                #[argh(option)]
                tries: [Option<u32>],
                /// which disk, as clone.disk takes it: 0:serial=...; for a single machine
                #[argh(option, default = "String::new()")]
                disk: [String],
                /// only show what would be done
                #[argh(switch)]
                dry_run: [bool],
                /// do not ask
                #[argh(switch)]
                yes: [bool],
                /// watch until all is over; succeed only if all is confirmed
                #[argh(switch)]
                watch: [bool],
            }
        );
    };
}

/// Work that erases the disks of machines.
macro_rules! onto {
    ($(#[$about:meta])* $name:ident, $command:literal, { $($(#[$doc:meta])* $field:ident : [$($type:tt)+],)* }) => {
        becoming!(
            work, $(#[$about])* $name, $command, {
                $($(#[$doc])* $field: [$($type)+],)*
                /// onto these machines, all words up to the next option
                #[argh(option)]
                to: [Vec<String>],
                /// onto all machines with this tag
                #[argh(option)]
                tag: [Option<Label>],
                /// switch off targets that are on: softly, then hard
                #[argh(switch)]
                force_off: [bool],
                /// only onto disks without a table or a file system
                #[argh(switch)]
                blank_only: [bool],
                /// what follows on the targets: reboot, poweroff or wait (default reboot)
                #[argh(option)]
                then: [Option<Word<Then>>],
                /// file with sizes of partitions, TOML
                #[argh(option)]
                layout: [Option<PathBuf>],
                /// for so long --expect boot waits: a number and s, m or h (default 15m)
                #[argh(option)]
                boot_limit: [Option<Life>],
            }
        );
    };
}

work!(
    /// capture a machine's disks into an image: it is started into the agent and goes back to its own disk
    Capture, "capture", {
        /// which machine
        #[argh(positional)]
        machine: [String],
        /// name of the image
        #[argh(option)]
        image: [ImageName],
        /// switch it off hard, if it does not go off by itself
        #[argh(switch)]
        hard_off: [bool],
    }
);
onto!(
    /// restore an image onto machines; what is on their disks is erased
    Restore, "restore", {
        /// image, NAME or NAME@ID; with --last a machine instead
        #[argh(positional)]
        image: [String],
        /// of each machine the image that ran on it last
        #[argh(switch)]
        last: [bool],
    }
);
onto!(
    /// clone a machine onto others: capture it, then restore what was captured; what is on their disks is erased
    Clone, "clone", {
        /// which machine
        #[argh(positional)]
        machine: [String],
        /// name of the image (default: the machine's name)
        #[argh(option)]
        image: [Option<ImageName>],
        /// switch off the captured machine hard, if it does not go off by itself
        #[argh(switch)]
        hard_off: [bool],
    }
);
work!(
    /// start machines into the agent, which reports what they consist of and leaves
    Inventory, "inventory", {
        /// which machines
        #[argh(positional)]
        machines: [Vec<String>],
        /// and those with this tag
        #[argh(option)]
        tag: [Option<Label>],
        /// switch off machines that are on: softly, then hard
        #[argh(switch)]
        force_off: [bool],
    }
);

reach!(
    /// list jobs, the newest first
    JobLs, "ls", {
        /// only those in this state
        #[argh(option)]
        only: [Option<Of<JobState>>],
        /// only those of this machine
        #[argh(option)]
        machine: [Option<Label>],
        /// also those that are over
        #[argh(switch)]
        all: [bool],
    }
);
reach!(
    /// show a job, its parts, and what happened
    JobShow, "show", {
        /// its number
        #[argh(positional)]
        id: [u64],
    }
);
reach!(
    /// watch jobs until they are over: a live table on a terminal, else a line for each change
    JobWatch, "watch", {
        /// their numbers (default: all that are not over)
        #[argh(positional)]
        ids: [Vec<u64>],
        /// stop watching after so long, with status 1: a number and s, m, h or d
        #[argh(option)]
        timeout: [Option<Life>],
    }
);
reach!(
    /// cancel jobs, with their parts
    JobCancel, "cancel", {
        /// their numbers
        #[argh(positional)]
        ids: [Vec<u64>],
    }
);
reach!(
    /// try jobs again that ended without success
    JobRetry, "retry", {
        /// their numbers
        #[argh(positional)]
        ids: [Vec<u64>],
    }
);
reach!(
    /// who did what, the newest last
    Audit, "audit", {
        /// how many acts (default 100)
        #[argh(option, default = "100")]
        most: [u32],
        /// only those before this number
        #[argh(option)]
        before: [Option<u64>],
    }
);

/// One of the wire's words that this version knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Of<T>(pub T);

impl<T: DeserializeOwned + Serialize> std::str::FromStr for Of<T> {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let Word(value) = text.parse()?;
        // A word that nobody knows is read as `unknown`, for answers of newer servers.
        let same = serde_json::to_value(&value).is_ok_and(|word| word == text);
        same.then_some(Self(value)).ok_or_else(|| format!("{text:?} is no state"))
    }
}

/// A switch that can be set to either side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct YesNo(pub bool);

impl std::str::FromStr for YesNo {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "yes" => Ok(Self(true)),
            "no" => Ok(Self(false)),
            _ => Err(format!("{text:?} is none of yes, no")),
        }
    }
}

/// `--to a b` is `--to a --to b`: argh gives an option one word.
pub(super) fn spread(words: &[String]) -> Vec<String> {
    let (mut out, mut held) = (Vec::with_capacity(words.len()), None);
    for (at, word) in words.iter().enumerate() {
        if word == "--" {
            out.extend_from_slice(&words[at..]);
            break;
        }
        match held {
            // The first word behind `--to` is its own.
            Some(true) => held = Some(false),
            Some(false) if !word.starts_with('-') => out.push("--to".to_owned()),
            _ => held = None,
        }
        if word == "--to" {
            held = Some(true);
        }
        out.push(word.clone());
    }
    out
}

#[cfg(test)]
mod tests {
    use super::super::{Args, Command, parse};
    use super::*;

    fn words(line: &str) -> Result<Args, String> {
        let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        parse(&words).map_err(|exit| exit.output)
    }

    #[test]
    fn all_words_behind_to_are_targets_up_to_the_next_option() {
        let Some(Command::Clone(clone)) = words("clone web01 --to web02 web03 --yes").unwrap().command else {
            panic!()
        };
        assert_eq!(
            (clone.machine.as_str(), clone.to.as_slice()),
            ("web01", &["web02".to_owned(), "web03".to_owned()][..])
        );
        assert!(clone.yes);
        let line = "restore web --to=a b --tag rack7 --to c --then poweroff --expect tcp:22@a";
        let Some(Command::Restore(restore)) = words(line).unwrap().command else { panic!() };
        assert_eq!((restore.image.as_str(), restore.to.join(" ").as_str()), ("web", "a b c"));
        assert_eq!(restore.tag.unwrap().as_str(), "rack7");
        assert!(words("clone --to web02 web03").unwrap_err().contains("machine"));
    }

    #[test]
    fn a_rule_reads_as_in_its_description() {
        let line =
            "rule add --subnet 10.0.0.0/24 --match memory>=16G --accept --tag web --restore web-1 --wipe-existing";
        let Some(Command::Rule(Rule { action: RuleAction::RuleAdd(rule) })) = words(line).unwrap().command else {
            panic!()
        };
        assert_eq!((rule.matches.as_str(), rule.accept, rule.wipe_existing), ("memory>=16G", true, true));
        assert_eq!(rule.when.0, RuleWhen::New);
    }

    #[test]
    fn wrong_words_are_refused_before_anything_is_sent() {
        for line in [
            "machine add a/b",
            "machine add web01 --mac nonsense",
            "machine set web01 --protected perhaps",
            "machine ls --only levitating",
            "capture web01",
            "capture web01 --image a/b",
            "restore web --expect udp:1@a",
            "clone web01 --then explode",
            "job show web01",
            "rule rm x",
        ] {
            assert!(words(line).is_err(), "{line}");
        }
    }
}
