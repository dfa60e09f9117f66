//! Which protocol a machine's power speaks, found once and remembered.
//!
//! In: settings. Out: what answered, what it can do, and its certificate where it has one.
//! Promise: another protocol or suite is tried only after "not supported", never after silence, which a man in the middle
//! can make; a wrong password ends the probe, because BMCs lock accounts; nothing is switched.

use super::drive::{Limits, status};
use super::ipmi::{Ipmi, SUITES};
use super::run::Tools;
use super::settings::Settings;
use super::{Attempts, PowerError, PowerState, Trouble, What, redfish};
use ramet_wire::power::{PowerKind, Probed};

/// What a probe found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// For the record; its time is still empty.
    pub probed: Probed,
    /// The BMC's certificate, to be pinned.
    pub pin: Option<String>,
}

fn found(kind: PowerKind, state: PowerState) -> Found {
    let (next_boot, reads_state) = (false, true);
    let (at, suite, system, notes) = (String::new(), None, None, Vec::new());
    Found { probed: Probed { at, kind, suite, system, next_boot, reads_state, state, notes }, pin: None }
}

/// Looks at what is there. Nothing is changed.
///
/// # Errors
/// [`PowerError`] of what ended it.
pub fn probe(settings: &Settings, tools: &Tools, limits: &Limits, log: &mut dyn Attempts) -> Result<Found, PowerError> {
    match settings.kind {
        PowerKind::Ipmi => ipmi(settings, tools, limits, log),
        PowerKind::Redfish => redfish(settings, limits, log),
        PowerKind::Auto => match redfish(settings, limits, log) {
            Err(error) if error.trouble == Trouble::Unsupported => ipmi(settings, tools, limits, log),
            result => result,
        },
        PowerKind::Fence => {
            let agent = settings.fence(tools)?;
            let mut found = found(PowerKind::Fence, status(&agent, limits, log)?);
            let words = "fence agents have no soft off and no next-boot setting: the machine must be network-first";
            found.probed.notes.push(words.to_owned());
            Ok(found)
        }
        PowerKind::Wol | PowerKind::Manual => {
            // What is missing is said now, not in a job.
            settings.open(tools)?;
            let mut found = found(settings.kind, PowerState::Unknown);
            found.probed.reads_state = false;
            found.probed.notes.push("nothing can be read: whether it works shows when it is used".to_owned());
            Ok(found)
        }
    }
}

fn ipmi(settings: &Settings, tools: &Tools, limits: &Limits, log: &mut dyn Attempts) -> Result<Found, PowerError> {
    let least = settings.options.min_suite.unwrap_or(3);
    let mut last = None;
    for suite in SUITES.into_iter().filter(|suite| *suite >= least) {
        let bmc = settings.ipmi(tools, suite)?;
        match status(&bmc, limits, log) {
            Ok(state) => {
                let mut found = found(PowerKind::Ipmi, state);
                found.probed.suite = Some(suite);
                if let Some(error) = last {
                    let error: PowerError = error;
                    found.probed.notes.push(format!("{}: {}", error.how, error.said));
                }
                next_boot(&bmc, &mut found.probed, log)?;
                return Ok(found);
            }
            Err(error) if error.trouble == Trouble::Unsupported => last = Some(error),
            Err(error) => return Err(error),
        }
    }
    let nothing = || PowerError::new(Trouble::Settings, What::Probe, "ipmi", "no cipher suite is allowed");
    let error = last.ok_or_else(nothing)?;
    if least > 3 && error.trouble == Trouble::Unsupported {
        let words = format!("{}; suite 3 is forbidden by the settings", error.said);
        return Err(PowerError::new(Trouble::Unsupported, What::Probe, error.how, words));
    }
    Err(error)
}

/// Reading the boot flags changes nothing, and shows that there are any.
fn next_boot(bmc: &Ipmi, probed: &mut Probed, log: &mut dyn Attempts) -> Result<(), PowerError> {
    match bmc.boot_flags(What::Probe, log) {
        Ok(_) => probed.next_boot = true,
        Err(error) if error.trouble == Trouble::Auth => return Err(error),
        Err(error) => {
            probed
                .notes
                .push(format!("the boot flags cannot be read: {}; the machine must be network-first", error.said));
        }
    }
    Ok(())
}

fn redfish(settings: &Settings, limits: &Limits, log: &mut dyn Attempts) -> Result<Found, PowerError> {
    let (user, secret) = (settings.user.clone(), settings.secret.clone());
    let root = redfish::root(&settings.address()?, user, secret, settings.pin.clone(), log)?;
    // Asked for the second time with the certificate of the first: the password goes to nobody else.
    let system = root.system(&settings.options.system, log).map_err(firm)?;
    let state = status(&system, limits, log).map_err(firm)?;
    let mut found = found(PowerKind::Redfish, state);
    found.probed.next_boot = system.has_next_boot(log).map_err(firm)?;
    if !found.probed.next_boot {
        found.probed.notes.push("there is no network boot override: the machine must be network-first".to_owned());
    }
    found.probed.system = Some(system.system().to_owned());
    found.pin = system.shown();
    Ok(found)
}

/// A Redfish service that lacks something is still one: no other protocol is tried behind its back.
fn firm(error: PowerError) -> PowerError {
    if error.trouble != Trouble::Unsupported {
        return error;
    }
    let words = format!("it is a Redfish service, but: {}; set kind ipmi to use IPMI", error.said);
    PowerError::new(Trouble::Refused, error.what, error.how, words)
}
