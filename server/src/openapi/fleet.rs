//! The messages about machines, rules and jobs, for the OpenAPI document.
//!
//! In: nothing. Out: one table, as in `schemas`.
//! Promise: the same test compares it with the wire's types.

use super::agents::THEN;
use super::schemas::Kind::{Any, Flag, Integer, List, Of, Text, Words};
use super::schemas::{Kind, Schema, field, maybe, schema};

const MACHINE_STATE: Kind = Words(&["new", "accepted", "conflict"]);
const JOB_KIND: Kind = Words(&["capture", "restore", "inventory", "tree"]);
const JOB_STATE: Kind =
    Words(&["queued", "power", "boot", "running", "leaving", "confirmed", "failed", "cancelled", "lost"]);

/// The messages.
pub static SCHEMAS: &[Schema] = &[
    schema(
        "Hardware",
        "What a machine consists of, disks apart",
        &[
            field("cpu", Any, "model, sockets, cores, threads"),
            field("memory", Integer, "bytes; 0 where it is not known"),
            maybe("cards", List(&Of("Card")), "network cards, at most 32"),
            maybe("secure_boot", Words(&["on", "off", "setup"]), "Secure Boot"),
            maybe("pci", List(&Text), "modaliases of PCI functions, at most 256"),
            maybe("usb", List(&Text), "modaliases of USB interfaces, at most 128"),
        ],
    ),
    schema(
        "Card",
        "A network card",
        &[
            field("name", Text, "as its kernel calls it"),
            field("mac", Text, "its permanent address"),
            field("link", Flag, "it has a link"),
            maybe("speed", Integer, "Mbit/s"),
            maybe("driver", Text, "the kernel's driver"),
            maybe("neighbour", Any, "system and port of the switch, by LLDP"),
        ],
    ),
    schema(
        "AuditEvent",
        "What an operator did",
        &[
            field("id", Integer, "ascending"),
            field("at", Text, "RFC 3339"),
            field("who", Text, "operator ID, rule 3, server"),
            field("peer", Text, "from where; empty for the server itself"),
            field("what", Text, "method and route"),
            field("object", Text, "onto what"),
            field("result", Text, "done, or why not"),
        ],
    ),
    schema(
        "MachineInfo",
        "A machine, in one line",
        &[
            field("id", Integer, "its number"),
            field("name", Text, "its name"),
            field("state", MACHINE_STATE, "how far it is trusted"),
            field("macs", List(&Text), "addresses of its cards"),
            field("model", Text, "vendor and product; may be empty"),
            field("memory", Integer, "bytes; 0 where it is not known"),
            field("disks", Integer, "disks, without those that must be named"),
            field("disk_bytes", Integer, "bytes of these"),
            field("tags", List(&Text), "tags"),
            maybe("group", Text, "rack or circuit"),
            field("protected", Flag, "restores are refused"),
            field("approve", Flag, "a job's agent needs an operator's word"),
            field("network_first", Flag, "its firmware asks the network at every start"),
            maybe("power", Text, "kind of its power system; none: a person switches it"),
            maybe("runs", Of("RunsWhat"), "what runs on it"),
            maybe("job", Any, "id, kind and state of the job that it is busy with"),
            maybe("seen", Text, "RFC 3339"),
            maybe("booted", Of("BootSeen"), "the call of the clone on its disks"),
            field("note", Text, "what an operator should know; may be empty"),
        ],
    ),
    schema(
        "RunsWhat",
        "What is on a machine's disks",
        &[
            field("image", Text, "NAME@ID"),
            field("since", Text, "RFC 3339"),
            field("run", Text, "the run that proved it"),
            field("without_identity", Flag, "it was to be a machine of its own, and is a plain copy"),
        ],
    ),
    schema(
        "MachineDetail",
        "All that is known of a machine",
        &[
            field("machine", Of("MachineInfo"), "as in the list"),
            field("source", Any, "host, uuid, serial, vendor, product, firmware"),
            field("disks", List(&Of("DiskSeen")), "its disks"),
            maybe("hardware", Of("Hardware"), "what else it has"),
            field("first_seen", Text, "RFC 3339"),
            maybe("peer", Text, "where it asked from last"),
            maybe("health", Text, "tcp:PORT@HOST"),
            maybe("identity", Of("Declared"), "what is declared for it alone"),
            maybe("receipt", Of("SignedReceipt"), "of what runs on it"),
            field("history", List(&Any), "at, who, what, detail; newest first"),
        ],
    ),
    schema(
        "AddMachine",
        "A machine that an operator knows",
        &[
            field("name", Text, "its name"),
            field("macs", List(&Text), "addresses of its cards, 1 to 32"),
            maybe("uuid", Text, "SMBIOS system UUID"),
            maybe("tags", List(&Text), "tags"),
            maybe("group", Text, "rack or circuit"),
            field("protected", Flag, "restores are refused"),
            field("approve", Flag, "a job's agent needs an operator's word"),
            field("network_first", Flag, "its firmware asks the network at every start"),
        ],
    ),
    schema(
        "AcceptMachine",
        "A new machine becomes one of ours",
        &[
            maybe("name", Text, "its name from now on"),
            field("replace", Flag, "cards and UUID are taken from the machines that had them"),
        ],
    ),
    schema(
        "SetMachine",
        "What changes of a machine",
        &[
            maybe("name", Text, "another name"),
            maybe("add_macs", List(&Text), "cards to add"),
            maybe("remove_macs", List(&Text), "cards to take away"),
            maybe("add_tags", List(&Text), "tags to add"),
            maybe("remove_tags", List(&Text), "tags to take away"),
            maybe("group", Text, "rack or circuit; empty for none"),
            maybe("protected", Flag, "restores are refused"),
            maybe("approve", Flag, "a job's agent needs an operator's word"),
            maybe("network_first", Flag, "its firmware asks the network at every start"),
            maybe("health", Text, "tcp:PORT@HOST; empty for nothing"),
            maybe("note", Text, "for people"),
            maybe("identity", Text, "who its clones are, TOML; empty for nothing"),
        ],
    ),
    schema(
        "SetMachines",
        "The same for many",
        &[
            maybe("machines", List(&Text), "those with these names"),
            maybe("tag", Text, "and those with this tag"),
            field("all", Flag, "all that are accepted"),
            field("set", Of("SetMachine"), "what changes; neither name nor cards"),
        ],
    ),
    schema("Changed", "How many were changed", &[field("machines", Integer, "machines")]),
    schema(
        "AddRule",
        "What happens by itself, once for each machine",
        &[
            field("when", Words(&["new", "failed"]), "when"),
            maybe("subnet", Text, "only machines that ask from there: 10.0.0.0/24"),
            maybe("match", Text, "only machines like this: vendor=Dell* memory>=16G tag=web"),
            field("accept", Flag, "accept them"),
            maybe("tags", List(&Text), "tag them"),
            maybe("restore", Text, "restore this image onto them"),
            field("last", Flag, "restore what ran on them last"),
            field("wipe_existing", Flag, "also onto disks that hold something"),
            maybe("then", THEN, "what follows"),
            maybe("identity", Flag, "false: a plain copy; true: refused where no identity is declared"),
            field("new_uuids", Flag, "new UUIDs for tables, partitions and file systems"),
            maybe("size", Any, "keep, fill, or a layout"),
            maybe("first_boot", Words(&["noted", "awaited"]), "the clone calls when it has booted"),
            maybe("ignore", List(&Words(&["boot-check"])), "checks that are overruled"),
        ],
    ),
    schema(
        "RuleInfo",
        "A rule",
        &[
            field("id", Integer, "its number"),
            field("rule", Of("AddRule"), "what it says"),
            field("created", Text, "RFC 3339"),
            field("by", Text, "who made it"),
            field("fired", Integer, "machines for which it has fired"),
        ],
    ),
    schema(
        "AddJobs",
        "Work for machines",
        &[
            field("do", Words(&["capture", "restore", "clone", "inventory"]), "what"),
            maybe("machine", Text, "capture and clone: which machine"),
            maybe("image", Text, "capture and clone: its name; restore: NAME or NAME@ID, none for what ran last"),
            maybe("to", List(&Text), "onto which machines"),
            maybe("tag", Text, "and those with this tag"),
            maybe("options", Of("JobOptions"), "how"),
        ],
    ),
    schema(
        "JobOptions",
        "How jobs are done",
        &[
            maybe("then", THEN, "what follows on the targets"),
            field("force_off", Flag, "targets that are on may be switched off"),
            field("hard_off", Flag, "a machine to be captured may be switched off hard"),
            maybe("expect", List(&Text), "tcp:PORT@HOST: what must answer before the job is confirmed"),
            maybe("tries", Integer, "1 to 10"),
            maybe("disk", Text, "which disk, as clone.disk takes it"),
            field("blank_only", Flag, "refuse disks that hold something"),
            maybe("identity", Flag, "false: a plain copy; true: refused where no identity is declared"),
            field("new_uuids", Flag, "new UUIDs for tables, partitions and file systems"),
            maybe("size", Any, "keep, fill, or a layout"),
            maybe("first_boot", Words(&["noted", "awaited"]), "the clone calls when it has booted"),
            maybe("boot_limit", Integer, "seconds for which an awaited call is waited for"),
            maybe("ignore", List(&Words(&["boot-check"])), "checks that are overruled"),
            field("dry_run", Flag, "only say what would be done"),
            maybe("agreed", Text, "the digest of the plan that was agreed to"),
        ],
    ),
    schema(
        "Plan",
        "What is done, or would be",
        &[
            field("digest", Text, "what is agreed to"),
            field("machines", List(&Of("PlannedMachine")), "one entry per machine"),
            field("jobs", List(&Integer), "the jobs that were made, the parent first"),
        ],
    ),
    schema(
        "PlannedMachine",
        "What happens to one machine",
        &[
            field("machine", Text, "its name"),
            field("kind", JOB_KIND, "what is done"),
            maybe("image", Text, "which image"),
            field("power", Text, "on, off, unknown or manual"),
            maybe("runs", Of("RunsWhat"), "what runs on it"),
            field("erases", List(&Of("DiskSeen")), "disks whose content will be gone"),
            maybe("becomes", Of("Becomes"), "what it becomes beyond the copy"),
            field("warnings", List(&Text), "what to know before agreeing"),
            maybe("refused", Text, "why nothing is done"),
        ],
    ),
    schema(
        "JobInfo",
        "A job",
        &[
            field("id", Integer, "its number"),
            maybe("parent", Integer, "the job that it is part of"),
            field("kind", JOB_KIND, "what it does"),
            maybe("machine", Text, "for which machine"),
            maybe("image", Text, "which image"),
            field("state", JOB_STATE, "how far it is"),
            field("step", Text, "the step under way"),
            field("done", Integer, "bytes done"),
            field("total", Integer, "bytes to do"),
            field("try_now", Integer, "which try this is, from 1"),
            field("tries", Integer, "tries in all"),
            maybe("cause", Text, "why it is not going well, as one word"),
            field("message", Text, "the same in words; may be empty"),
            field("next", Text, "what an operator can do; may be empty"),
            field("seen", Words(&["nothing", "done", "left", "asked-disk", "up", "booted"]), "the strongest proof"),
            field("disks", List(&Any), "ordinal, serial, wwn, size"),
            maybe("then", THEN, "what follows"),
            field("by", Text, "who asked for it"),
            field("created", Text, "RFC 3339"),
            maybe("started", Text, "RFC 3339"),
            maybe("ended", Text, "RFC 3339"),
            maybe("run", Text, "the newest run of its agents"),
            maybe("first_boot", Words(&["noted", "awaited"]), "what becomes of its clone's call"),
            maybe("booted", Text, "the host as which its clone has called"),
        ],
    ),
    schema(
        "JobDetail",
        "A job with all that happened",
        &[
            field("job", Of("JobInfo"), "as in the list"),
            field("parts", List(&Of("JobInfo")), "its parts"),
            maybe("becomes", Of("Becomes"), "what its machine becomes beyond the copy"),
            maybe("booted", Of("BootSeen"), "the call of its clone"),
            field("events", List(&Any), "at, state, what, detail; oldest first"),
        ],
    ),
    schema(
        "JobBeat",
        "The agent of a job lives",
        &[
            field("step", Text, "the step under way"),
            field("done", Integer, "bytes done"),
            field("total", Integer, "bytes to do"),
        ],
    ),
    schema(
        "JobWord",
        "The server's word to it",
        &[
            field("job", Integer, "the job"),
            field("go_on", Flag, "false: stop, and leave"),
            field("message", Text, "why; may be empty"),
        ],
    ),
    schema(
        "JobLeaving",
        "The last word of a job's agent",
        &[
            field("then", THEN, "how the machine goes on"),
            maybe("error", Text, "why the work is not done"),
            maybe("kind", Words(&["retry", "refused", "damaged", "bug"]), "whether another try may help"),
        ],
    ),
];

#[cfg(test)]
mod tests {
    use super::super::schemas::tests::keys;
    use ramet_wire::adapt::{Becomes, BootCall, Check, Layout, Size};
    use ramet_wire::agents::DiskSeen;
    use ramet_wire::hardware::{Card, Hardware};
    use ramet_wire::jobs::*;
    use ramet_wire::machines::*;
    use ramet_wire::manifest::Source;
    use ramet_wire::settings::{Mac, Then};

    fn text() -> String {
        String::new()
    }

    fn label() -> Label {
        "a".parse().unwrap()
    }

    fn runs() -> RunsWhat {
        RunsWhat { image: "web".parse().unwrap(), since: text(), run: text(), without_identity: false }
    }

    fn info() -> MachineInfo {
        MachineInfo {
            id: 1,
            name: label(),
            state: MachineState::New,
            macs: vec![],
            model: text(),
            memory: 0,
            disks: 1,
            disk_bytes: 1,
            tags: vec![],
            group: Some(label()),
            protected: false,
            approve: false,
            network_first: false,
            power: None,
            runs: Some(runs()),
            job: None,
            seen: None,
            booted: None,
            note: text(),
        }
    }

    #[test]
    fn every_message_of_the_inventory_has_the_fields_that_the_document_says() {
        keys("Hardware", Hardware::default());
        let (who, peer, what, object, result) = (text(), text(), text(), text(), text());
        keys("AuditEvent", AuditEvent { id: 1, at: text(), who, peer, what, object, result });
        let (name, mac) = (text(), Mac([2; 6]));
        keys("Card", Card { name, mac, link: true, speed: Some(1), driver: None, neighbour: None });
        keys("MachineInfo", info());
        keys("RunsWhat", runs());
        let (source, first_seen) = (Source::default(), text());
        let (machine, disks, hardware) = (info(), vec![], None);
        let (peer, health, receipt, history) = (None, Some("tcp:1@a".parse().unwrap()), None, vec![]);
        let identity = None;
        keys(
            "MachineDetail",
            MachineDetail { machine, source, disks, hardware, first_seen, peer, health, identity, receipt, history },
        );
        let add = AddMachine {
            name: label(),
            macs: vec![mac],
            uuid: Some(text()),
            tags: vec![label()],
            group: Some(label()),
            protected: true,
            approve: true,
            network_first: true,
        };
        keys("AddMachine", add);
        keys("AcceptMachine", AcceptMachine { name: Some(label()), replace: true });
        let set = SetMachine {
            name: Some(label()),
            add_macs: vec![mac],
            remove_macs: vec![mac],
            add_tags: vec![label()],
            remove_tags: vec![label()],
            group: Some(text()),
            protected: Some(true),
            approve: Some(true),
            network_first: Some(true),
            health: Some(text()),
            note: Some(text()),
            identity: Some(text()),
        };
        keys("SetMachine", &set);
        keys("SetMachines", SetMachines { machines: vec![text()], tag: Some(label()), all: true, set });
        keys("Changed", Changed { machines: 1 });
        let rule = AddRule {
            when: RuleWhen::New,
            subnet: Some(text()),
            matches: "a".to_owned(),
            accept: true,
            tags: vec![label()],
            restore: Some("web".parse().unwrap()),
            last: false,
            wipe_existing: false,
            then: Some(Then::Reboot),
            identity: Some(false),
            new_uuids: true,
            size: Size::Layout(Layout::default()),
            first_boot: Some(BootCall::Noted),
            ignore: vec![Check::BootCheck],
        };
        keys("AddRule", &rule);
        keys("RuleInfo", RuleInfo { id: 1, rule, created: text(), by: text(), fired: 1 });
    }

    #[test]
    fn every_message_of_jobs_has_the_fields_that_the_document_says() {
        let options = JobOptions {
            then: Some(Then::Poweroff),
            expect: vec!["tcp:1@a".parse().unwrap()],
            tries: Some(1),
            disk: "0:serial=a".to_owned(),
            agreed: Some(text()),
            identity: Some(true),
            size: Size::Layout(Layout::default()),
            first_boot: Some(BootCall::Awaited),
            boot_limit: Some(1),
            ignore: vec![Check::BootCheck],
            ..JobOptions::default()
        };
        keys("JobOptions", &options);
        let (machine, image, to, tag) = (text(), Some("web".parse().unwrap()), vec![text()], Some(label()));
        keys("AddJobs", AddJobs::Clone { machine, image, to, tag, options });
        let planned = PlannedMachine {
            machine: label(),
            kind: JobKind::Restore,
            image: None,
            power: text(),
            runs: Some(runs()),
            erases: vec![DiskSeen::default()],
            becomes: Some(Becomes::default()),
            warnings: vec![],
            refused: None,
        };
        keys("PlannedMachine", &planned);
        keys("Plan", Plan { digest: text(), machines: vec![planned], jobs: vec![1] });
        let job = JobInfo {
            id: 1,
            parent: None,
            kind: JobKind::Tree,
            machine: Some(label()),
            image: None,
            state: JobState::Lost,
            step: text(),
            done: 0,
            total: 0,
            try_now: 1,
            tries: 3,
            cause: Some(Cause::Silent),
            message: text(),
            next: text(),
            seen: Seen::AskedDisk,
            disks: vec![],
            then: None,
            by: text(),
            created: text(),
            started: None,
            ended: None,
            run: None,
            first_boot: Some(BootCall::Noted),
            booted: Some(text()),
        };
        keys("JobInfo", &job);
        keys("JobDetail", JobDetail { job, parts: vec![], becomes: None, booted: None, events: vec![] });
        keys("JobBeat", JobBeat::default());
        keys("JobWord", JobWord { job: 1, go_on: true, message: text() });
        let (error, kind) = (Some(text()), Some(ramet_wire::api::ErrorKind::Retry));
        keys("JobLeaving", JobLeaving { then: Then::Wait, error, kind });
    }
}
