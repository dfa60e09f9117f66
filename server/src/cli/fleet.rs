//! The commands about machines, rules and the audit.
//!
//! In: their options. Out: what the server answers.
//! Promise: what several machines are asked for is said of each that it is not done for; words of machines are cleaned.

use super::args::fleet::{Audit, MachineAction, MachineLs, MachineSet, MachineTag, RuleAction, RuleAdd, YesNo};
use super::show::{bytes, json, table};
use super::{Fault, write};
use crate::client::Operator;
use crate::text::clean;
use ramet_wire::adapt::{BootCall, Size};
use ramet_wire::machines::{
    AcceptMachine, AddMachine, AddRule, AuditEvent, MachineDetail, MachineInfo, RuleInfo, SetMachine, SetMachines,
};
use std::fmt::Write as _;

pub(super) fn machine(action: MachineAction) -> Result<(), Fault> {
    match action {
        MachineAction::MachineLs(args) => list(&args),
        MachineAction::MachineShow(args) => {
            let detail = args.reach().operator()?.machine(&args.machine)?;
            if args.json { json(&detail) } else { write(&described(&detail)) }
        }
        MachineAction::MachineAdd(args) => {
            if args.mac.is_empty() {
                return Err(Fault::Usage("give the address of at least one card: --mac 52:54:00:12:34:56".to_owned()));
            }
            let add = AddMachine {
                name: args.name.clone(),
                macs: args.mac.clone(),
                uuid: args.uuid.clone(),
                tags: args.tag.clone(),
                group: args.group.clone(),
                protected: args.protected,
                approve: args.approve,
                network_first: args.network_first,
            };
            let added = args.reach().operator()?.add_machine(&add)?;
            if args.json { json(&added) } else { Ok(()) }
        }
        MachineAction::MachineRm(args) => {
            named(&args.machines)?;
            let question = format!("Remove {} with what is known of them?", args.machines.join(", "));
            super::jobs::agreed(args.yes, &question)?;
            let operator = args.reach().operator()?;
            each(&args.machines, |name| operator.remove_machine(name))?;
            if args.json { json(&args.machines) } else { Ok(()) }
        }
        MachineAction::MachineAccept(args) => {
            named(&args.machines)?;
            if args.name.is_some() && args.machines.len() > 1 {
                return Err(Fault::Usage("--name is for a single machine".to_owned()));
            }
            let (operator, accept) =
                (args.reach().operator()?, AcceptMachine { name: args.name.clone(), replace: args.replace });
            let accepted = each(&args.machines, |name| operator.accept_machine(name, &accept))?;
            if args.json { json(&accepted) } else { Ok(()) }
        }
        MachineAction::MachineSet(args) => set(&args),
        MachineAction::MachineTag(args) => tag(&args),
        MachineAction::MachineIdentity(args) => super::tags::identity(&args),
    }
}

fn named(machines: &[String]) -> Result<(), Fault> {
    if machines.is_empty() { Err(Fault::Usage("name at least one machine".to_owned())) } else { Ok(()) }
}

/// Asks for each, says what went wrong at once, and fails at the end with the last fault.
fn each<T>(names: &[String], ask: impl Fn(&str) -> Result<T, crate::client::ClientError>) -> Result<Vec<T>, Fault> {
    let (mut done, mut fault) = (Vec::new(), None);
    for name in names {
        match ask(name) {
            Ok(answer) => done.push(answer),
            Err(error) => {
                if let Some(before) = fault.replace(Fault::from(error)) {
                    eprintln!("ramet: {}", crate::text::chain(&before));
                }
            }
        }
    }
    fault.map_or(Ok(done), Err)
}

fn list(args: &MachineLs) -> Result<(), Fault> {
    let mut machines = args.reach().operator()?.machines()?;
    machines.retain(|machine| {
        args.only.is_none_or(|only| only.0 == machine.state)
            && args.tag.as_ref().is_none_or(|tag| machine.tags.contains(tag))
    });
    if args.json { json(&machines) } else { write(&machines_table(&machines)) }
}

fn machines_table(machines: &[MachineInfo]) -> String {
    let row = |machine: &MachineInfo| {
        let runs = machine.runs.as_ref().map(|runs| runs.image.to_string()).unwrap_or_default();
        let job = machine.job.as_ref().map(|job| format!("{} {} {}", job.id, job.kind, job.state)).unwrap_or_default();
        let tags: Vec<&str> = machine.tags.iter().map(ramet_wire::machines::Label::as_str).collect();
        let disks = if machine.disks == 0 {
            String::new()
        } else {
            format!("{}×{}", machine.disks, bytes(machine.disk_bytes / u64::from(machine.disks)))
        };
        vec![
            machine.name.to_string(),
            word(&machine.state),
            machine.macs.first().map(ToString::to_string).unwrap_or_default(),
            clean(&machine.model, 30),
            if machine.memory == 0 { String::new() } else { bytes(machine.memory) },
            disks,
            machine.power.clone().unwrap_or_else(|| "manual".to_owned()),
            runs,
            job,
            tags.join(","),
            marks(machine),
        ]
    };
    let head = ["NAME", "STATE", "MAC", "MODEL", "MEMORY", "DISKS", "POWER", "RUNS", "JOB", "TAGS", "NOTE"];
    table(&head, &machines.iter().map(row).collect::<Vec<_>>())
}

/// What is special about a machine, and its note.
fn marks(machine: &MachineInfo) -> String {
    let mut marks = Vec::new();
    for (set, word) in [
        (machine.protected, "protected"),
        (machine.approve, "needs approval"),
        (machine.network_first, "network first"),
    ] {
        if set {
            marks.push(word.to_owned());
        }
    }
    if !machine.note.is_empty() {
        marks.push(clean(&machine.note, 60));
    }
    marks.join(", ")
}

/// The wire's own word.
fn word(value: &impl serde::Serialize) -> String {
    serde_json::to_value(value).ok().and_then(|value| Some(value.as_str()?.to_owned())).unwrap_or_default()
}

fn described(detail: &MachineDetail) -> String {
    let (machine, source) = (&detail.machine, &detail.source);
    let mut text = String::new();
    let mut line = |name: &str, value: &str| {
        if !value.is_empty() {
            let _ = writeln!(text, "{name:<12} {}", clean(value, 200));
        }
    };
    line("name", machine.name.as_str());
    line("state", &word(&machine.state));
    line("note", &marks(machine));
    for (name, value) in [
        ("vendor", &source.vendor),
        ("product", &source.product),
        ("serial", &source.serial),
        ("uuid", &source.uuid),
        ("firmware", &source.firmware),
    ] {
        line(name, value.as_deref().unwrap_or_default());
    }
    let tags: Vec<&str> = machine.tags.iter().map(ramet_wire::machines::Label::as_str).collect();
    line("tags", &tags.join(", "));
    line("group", machine.group.as_ref().map(ramet_wire::machines::Label::as_str).unwrap_or_default());
    line("power", machine.power.as_deref().unwrap_or("manual"));
    line("health", &detail.health.as_ref().map(ToString::to_string).unwrap_or_default());
    if let Some(runs) = &machine.runs {
        let without = if runs.without_identity { ", without identity" } else { "" };
        line("runs", &format!("{} since {} (run {}){without}", runs.image, runs.since, runs.run));
    }
    if let Some(job) = &machine.job {
        line("job", &format!("{}: {}, {}", job.id, job.kind, job.state));
    }
    if let Some(declared) = &detail.identity {
        line("identity", &format!("declared by {} at {}, {} bytes", declared.by, declared.at, declared.toml.len()));
    }
    if let Some(seen) = &machine.booted {
        super::beyond::boot_lines(seen, |name, value| line(name, &value));
    }
    line("first seen", &detail.first_seen);
    line("last seen", machine.seen.as_deref().unwrap_or_default());
    line("peer", detail.peer.as_deref().unwrap_or_default());
    hardware(detail, &mut line);
    for event in &detail.history {
        let _ = writeln!(
            text,
            "{}  {:<16} {:<12} {}",
            event.at,
            clean(&event.who, 30),
            event.what,
            clean(&event.detail, 200)
        );
    }
    text
}

fn hardware(detail: &MachineDetail, line: &mut impl FnMut(&str, &str)) {
    if let Some(hardware) = &detail.hardware {
        let cpu = &hardware.cpu;
        line(
            "processor",
            &format!("{}: {} sockets, {} cores, {} threads", cpu.model, cpu.sockets, cpu.cores, cpu.threads),
        );
        line("memory", &bytes(hardware.memory));
        line("secure boot", &hardware.secure_boot.map(|state| word(&state)).unwrap_or_default());
    }
    for disk in &detail.disks {
        let known = [&disk.model, &disk.serial, &disk.wwn];
        let known: Vec<&str> = known.into_iter().flatten().map(String::as_str).collect();
        let holds = disk.holds.as_deref().map(|holds| if holds.is_empty() { "empty" } else { holds });
        let holds = holds.map(|holds| format!(", {holds}")).unwrap_or_default();
        let named = if disk.named_only { ", only when named" } else { "" };
        let (size, sector) = (bytes(disk.size), disk.sector);
        line("disk", &format!("{}: {size}, {sector}-byte sectors, {}{holds}{named}", disk.name, known.join(" ")));
    }
    for card in detail.hardware.iter().flat_map(|hardware| &hardware.cards) {
        let driver = card.driver.as_deref().unwrap_or_default();
        let speed = card.speed.map(|speed| format!(", {speed} Mbit/s")).unwrap_or_default();
        let link = if card.link { "" } else { ", no link" };
        let there = card.neighbour.as_ref().map(|there| format!(", at {} {}", there.system, there.port));
        line("card", &format!("{}: {} {driver}{speed}{link}{}", card.name, card.mac, there.unwrap_or_default()));
    }
    if detail.hardware.is_none() {
        detail.machine.macs.iter().for_each(|mac| line("card", &mac.to_string()));
    }
}

fn set(args: &MachineSet) -> Result<(), Fault> {
    let side = |side: Option<YesNo>| side.map(|side| side.0);
    let or_none =
        |text: &Option<String>| text.as_ref().map(|text| if text == "none" { String::new() } else { text.clone() });
    let set = SetMachine {
        name: args.name.clone(),
        add_macs: args.add_mac.clone(),
        remove_macs: args.remove_mac.clone(),
        group: or_none(&args.group),
        protected: side(args.protected),
        approve: side(args.approve),
        network_first: side(args.network_first),
        health: or_none(&args.health),
        note: args.note.clone(),
        identity: super::tags::declared(args.identity.as_deref(), args.no_identity)?,
        ..SetMachine::default()
    };
    if set == SetMachine::default() {
        return Err(Fault::Usage("say what to change; `ramet machine set --help` lists it".to_owned()));
    }
    change(&args.reach().operator()?, &args.machines, args.tag.clone(), args.all, set, args.json)
}

fn tag(args: &MachineTag) -> Result<(), Fault> {
    if args.add.is_empty() && args.remove.is_empty() {
        return Err(Fault::Usage("say which tag: --add TAG or --remove TAG".to_owned()));
    }
    let set = SetMachine { add_tags: args.add.clone(), remove_tags: args.remove.clone(), ..SetMachine::default() };
    change(&args.reach().operator()?, &args.machines, None, false, set, args.json)
}

/// One by its own route, which also takes what only one can have; many in one transaction.
fn change(
    operator: &Operator,
    machines: &[String],
    tag: Option<ramet_wire::machines::Label>,
    all: bool,
    set: SetMachine,
    as_json: bool,
) -> Result<(), Fault> {
    if let ([machine], None, false) = (machines, &tag, all) {
        let changed = operator.set_machine(machine, &set)?;
        return if as_json { json(&changed) } else { Ok(()) };
    }
    if machines.is_empty() && tag.is_none() && !all {
        return Err(Fault::Usage("name machines, a tag, or --all".to_owned()));
    }
    let changed = operator.set_machines(&SetMachines { machines: machines.to_vec(), tag, all, set })?;
    if as_json {
        return json(&changed);
    }
    eprintln!("{} machines changed", changed.machines);
    Ok(())
}

pub(super) fn rule(action: RuleAction) -> Result<(), Fault> {
    match action {
        RuleAction::RuleAdd(args) => add_rule(&args),
        RuleAction::RuleLs(args) => {
            let rules = args.reach().operator()?.rules()?;
            if args.json { json(&rules) } else { write(&rules_table(&rules)) }
        }
        RuleAction::RuleRm(args) => Ok(args.reach().operator()?.remove_rule(args.id)?),
    }
}

fn add_rule(args: &RuleAdd) -> Result<(), Fault> {
    let rule = AddRule {
        when: args.when.0,
        subnet: args.subnet.clone(),
        matches: args.matches.clone(),
        accept: args.accept,
        tags: args.tag.clone(),
        restore: args.restore.clone(),
        last: args.last,
        wipe_existing: args.wipe_existing,
        then: args.then.map(|then| then.0),
        identity: args.no_identity.then_some(false),
        new_uuids: args.new_uuids,
        size: args.size.map(Size::from).unwrap_or_default(),
        first_boot: args.first_boot.then_some(BootCall::Noted),
        ignore: args.ignore.iter().map(|check| check.0).collect(),
    };
    let added = args.reach().operator()?.add_rule(&rule)?;
    if args.json { json(&added) } else { write(&format!("{}\n", added.id)) }
}

fn rules_table(rules: &[RuleInfo]) -> String {
    let row = |info: &RuleInfo| {
        let rule = &info.rule;
        let mut does: Vec<String> = Vec::new();
        if rule.accept {
            does.push("accept".to_owned());
        }
        does.extend(rule.tags.iter().map(|tag| format!("tag {tag}")));
        does.extend(rule.restore.as_ref().map(|image| format!("restore {image}")));
        if rule.last {
            does.push("restore what ran last".to_owned());
        }
        for (is, word) in [
            (rule.wipe_existing, "wipe what exists"),
            (rule.identity == Some(false), "plain copy"),
            (rule.new_uuids, "new UUIDs"),
            (!rule.size.is_keep(), "fill the disk"),
            (rule.first_boot.is_some(), "call"),
            (!rule.ignore.is_empty(), "ignore boot-check"),
        ] {
            if is {
                does.push(word.to_owned());
            }
        }
        vec![
            info.id.to_string(),
            word(&rule.when),
            clean(rule.subnet.as_deref().unwrap_or("any"), 50),
            clean(&rule.matches, 80),
            does.join(", "),
            info.fired.to_string(),
            clean(&info.by, 30),
            info.created.clone(),
        ]
    };
    let head = ["ID", "WHEN", "SUBNET", "MATCH", "DOES", "FIRED", "BY", "CREATED"];
    table(&head, &rules.iter().map(row).collect::<Vec<_>>())
}

pub(super) fn audit(args: &Audit) -> Result<(), Fault> {
    let mut events = args.reach().operator()?.audit(args.most, args.before)?;
    events.reverse();
    if args.json {
        return json(&events);
    }
    let row = |event: &AuditEvent| {
        vec![
            event.id.to_string(),
            event.at.clone(),
            clean(&event.who, 30),
            clean(&event.peer, 45),
            clean(&event.what, 60),
            clean(&event.object, 120),
            clean(&event.result, 200),
        ]
    };
    write(&table(&["ID", "AT", "WHO", "PEER", "WHAT", "OBJECT", "RESULT"], &events.iter().map(row).collect::<Vec<_>>()))
}
