//! The commands of power.
//!
//! In: their options. Out: states, settings without secrets, attempts.
//! Promise: a machine that failed makes the exit status 1, with its cause and a next step on stderr.

use super::args::power::{PowerAction, PowerSet};
use super::reach::Reach;
use super::show::{json, table};
use super::{Fault, write};
use crate::client::ClientError;
use crate::text::clean;
use ramet_wire::power::{
    PowerAction as Action, PowerAttempt, PowerDone, PowerOptions, PowerOrder, PowerShown, SECRET_MAX, SetPower,
};
use std::io::Read;
use std::path::Path;

pub(super) fn power(action: PowerAction) -> Result<(), Fault> {
    let order = |action, machines: &[String], force_off, network| PowerOrder {
        machines: machines.to_vec(),
        action,
        force_off,
        network,
    };
    match action {
        PowerAction::PowerOn(args) => {
            drive(args.reach(), &order(Action::On, &args.machines, false, args.network), args.json)
        }
        PowerAction::PowerOff(args) => {
            drive(args.reach(), &order(Action::Off, &args.machines, args.force_off, false), args.json)
        }
        PowerAction::PowerCycle(args) => {
            drive(args.reach(), &order(Action::Cycle, &args.machines, args.force_off, args.network), args.json)
        }
        PowerAction::PowerStatus(args) => {
            drive(args.reach(), &order(Action::Status, &args.machines, false, false), args.json)
        }
        PowerAction::PowerSet(args) => set(&args),
        PowerAction::PowerShow(args) => shown(&args.reach().operator()?.power(&args.machine)?, args.json),
        PowerAction::PowerProbe(args) => shown(&args.reach().operator()?.probe_power(&args.machine)?, args.json),
        PowerAction::PowerAttempts(args) => {
            let attempts = args.reach().operator()?.power_attempts(&args.machine)?;
            if args.json { json(&attempts) } else { write(&attempts_table(&attempts)) }
        }
        PowerAction::PowerRm(args) => Ok(args.reach().operator()?.remove_power(&args.machine)?),
    }
}

fn drive(reach: Reach, order: &PowerOrder, as_json: bool) -> Result<(), Fault> {
    if order.machines.is_empty() {
        return Err(Fault::Usage("which machines? name at least one".to_owned()));
    }
    let done = reach.operator()?.order_power(order, &mut |_, _| ())?;
    if as_json {
        json(&done)?;
    } else {
        let row = |done: &PowerDone| {
            let state = if done.error.is_some() { "failed".to_owned() } else { done.state.to_string() };
            vec![clean(&done.machine, 80), state, format!("{:.1} s", done.seconds), clean(&done.notes.join("; "), 300)]
        };
        write(&table(&["MACHINE", "POWER", "TOOK", "NOTES"], &done.iter().map(row).collect::<Vec<_>>()))?;
    }
    let failed: Vec<&PowerDone> = done.iter().filter(|done| done.error.is_some()).collect();
    for (machine, fault) in failed.iter().filter_map(|done| Some((&done.machine, done.error.as_ref()?))) {
        eprintln!("{}: {}", clean(machine, 80), clean(&fault.message, 600));
        eprintln!("    next: {}", clean(&fault.next, 300));
    }
    if failed.is_empty() {
        return Ok(());
    }
    Err(Fault::Found(format!("{} of {} machines failed", failed.len(), done.len())))
}

fn set(args: &PowerSet) -> Result<(), Fault> {
    let mut fence = std::collections::BTreeMap::new();
    for pair in &args.options {
        if fence.insert(pair.0.clone(), pair.1.clone()).is_some() {
            return Err(Fault::Usage(format!("option {:?} is given twice", pair.0)));
        }
    }
    let options = PowerOptions {
        agent: args.agent.clone(),
        plug: args.plug.clone(),
        fence,
        min_suite: args.min_suite,
        system: args.system.clone(),
        macs: args.macs.clone(),
    };
    let (kind, address, user) = (args.kind, args.address.clone(), args.user.clone());
    let set = SetPower { kind, address, user, secret: password(args.password_file.as_deref())?, options };
    let operator = args.reach().operator()?;
    let kept = operator.set_power(&args.machine, &set)?;
    shown(&if args.no_probe { kept } else { operator.probe_power(&args.machine)? }, args.json)
}

/// From the file, else from the environment; none: the one that the server has stays.
fn password(file: Option<&Path>) -> Result<Option<String>, Fault> {
    let Some(file) = file else {
        return Ok(std::env::var("RAMET_POWER_PASSWORD").ok().filter(|text| !text.is_empty()));
    };
    let most = SECRET_MAX as u64 + 2;
    let read = || {
        let mut text = String::new();
        if file.as_os_str() == "-" {
            std::io::stdin().lock().take(most).read_to_string(&mut text)?;
        } else {
            std::fs::File::open(file)?.take(most).read_to_string(&mut text)?;
        }
        Ok(text.trim_end_matches(['\r', '\n']).to_owned())
    };
    let failed = |source| ClientError::File { doing: format!("reading {}", file.display()), source };
    Ok(Some(read().map_err(failed)?))
}

fn shown(shown: &PowerShown, as_json: bool) -> Result<(), Fault> {
    if as_json {
        return json(shown);
    }
    let secret = if shown.secret { "set" } else { "none" };
    let mut rows = vec![
        ("kind", shown.kind.to_string()),
        ("address", clean(&shown.address, 255)),
        ("user", clean(&shown.user, 255)),
        ("password", secret.to_owned()),
    ];
    let options = serde_json::to_string(&shown.options).unwrap_or_default();
    if options != "{}" {
        rows.push(("options", clean(&options, 600)));
    }
    if let Some(pin) = &shown.pin {
        rows.push(("certificate", clean(pin, 80)));
    }
    match &shown.probed {
        None => rows.push(("probed", "never; `ramet power probe` does".to_owned())),
        Some(probed) => {
            let suite = probed.suite.map(|suite| format!(", cipher suite {suite}")).unwrap_or_default();
            rows.push(("probed", format!("{}: {}{suite}, power is {}", probed.at, probed.kind, probed.state)));
            let next = if probed.next_boot { "can be set" } else { "cannot be set: it must be network-first" };
            rows.push(("next boot", next.to_owned()));
            rows.extend(probed.system.iter().map(|system| ("system", clean(system, 255))));
            rows.extend(probed.notes.iter().map(|note| ("note", clean(note, 300))));
        }
    }
    let line = |(name, value): &(&str, String)| format!("{name:<12} {value}\n");
    write(&rows.iter().map(line).collect::<String>())
}

fn attempts_table(attempts: &[PowerAttempt]) -> String {
    let row = |attempt: &PowerAttempt| {
        vec![
            attempt.at.clone(),
            attempt.job.map(|job| job.to_string()).unwrap_or_default(),
            clean(&attempt.what, 16),
            clean(&attempt.how, 40),
            clean(&attempt.result, 16),
            format!("{:.1} s", attempt.seconds),
            clean(&attempt.detail, 200),
        ]
    };
    let rows: Vec<Vec<String>> = attempts.iter().map(row).collect();
    table(&["AT", "JOB", "WHAT", "HOW", "RESULT", "TOOK", "DETAIL"], &rows)
}
