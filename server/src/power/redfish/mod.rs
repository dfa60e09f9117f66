//! Redfish: power and next boot of one system (DMTF DSP0266, schema ComputerSystem).
//!
//! In: a BMC that was probed: its system's path, its certificate. Out: states, resets, a boot override.
//! Promise: what was changed is read again; a value that the BMC does not list is not sent.

pub mod http;
pub mod pinned;

use super::address::Address;
use super::{Attempts, NextBoot, Power, PowerError, PowerState, Secret, Trouble, What, tried};
use http::{Http, local};
use serde_json::{Map, Value, json};

/// Systems of one BMC that are looked at.
const SYSTEMS_MAX: usize = 64;

/// One system of a BMC.
#[derive(Clone, Debug)]
pub struct Redfish {
    http: Http,
    system: String,
}

/// What the service's root said.
#[derive(Debug)]
pub struct Root {
    http: Http,
    systems: String,
}

impl Redfish {
    /// A system that a probe found.
    ///
    /// # Errors
    /// [`Trouble::Settings`] when path or TLS do not fit.
    pub fn new(
        address: &Address,
        user: String,
        secret: Secret,
        pin: Option<String>,
        system: &str,
    ) -> Result<Self, PowerError> {
        let system = local(system).ok_or_else(|| {
            let words = format!("{system:?} is no path of a system, like /redfish/v1/Systems/1");
            PowerError::new(Trouble::Settings, What::Probe, "redfish", words)
        })?;
        Ok(Self { http: connect(address, user, secret, pin)?, system: system.to_owned() })
    }

    /// The system's path.
    #[must_use]
    pub fn system(&self) -> &str {
        &self.system
    }

    /// The certificate that was shown last.
    #[must_use]
    pub fn shown(&self) -> Option<String> {
        self.http.shown()
    }

    /// There is a next-boot setting.
    ///
    /// # Errors
    /// [`PowerError`].
    pub fn has_next_boot(&self, log: &mut dyn Attempts) -> Result<bool, PowerError> {
        tried(log, What::Probe, "redfish", || {
            let boot = self.http.get(What::Probe, &self.system, true)?.body["Boot"].clone();
            let found = target(&boot);
            Ok((found.is_some(), format!("network boot override: {}", found.unwrap_or("none"))))
        })
    }

    fn reset(&self, what: What, kinds: &[&str], log: &mut dyn Attempts) -> Result<(), PowerError> {
        tried(log, what, "redfish", || {
            let body = self.http.get(what, &self.system, true)?.body;
            let action = &body["Actions"]["#ComputerSystem.Reset"];
            let listed = action["ResetType@Redfish.AllowableValues"].as_array();
            let can = |kind: &str| listed.is_none_or(|listed| listed.iter().any(|value| value == kind));
            let Some(kind) = kinds.iter().find(|kind| can(kind)) else {
                let words = format!("its reset types have none of {}", kinds.join(", "));
                return Err(PowerError::new(Trouble::Unsupported, what, "redfish", words));
            };
            let own = format!("{}/Actions/ComputerSystem.Reset", self.system);
            let path = match action["target"].as_str() {
                Some(path) => local(path).ok_or_else(|| strange(what, path))?,
                None => &own,
            };
            self.http.send(what, "POST", path, &json!({ "ResetType": kind }), None)?;
            Ok(((), format!("ResetType {kind}")))
        })
    }
}

fn connect(address: &Address, user: String, secret: Secret, pin: Option<String>) -> Result<Http, PowerError> {
    let tls = |error: rustls::Error| PowerError::new(Trouble::Settings, What::Probe, "redfish", error.to_string());
    Http::new(address, user, secret, pin).map_err(tls)
}

fn strange(what: What, link: &str) -> PowerError {
    let words = format!("its link {link:?} leads out of the service and is not followed");
    PowerError::new(Trouble::Refused, what, "redfish", words)
}

/// Asks, without a password, whether there is a Redfish service.
///
/// # Errors
/// [`Trouble::Unsupported`] when there certainly is none; silence is [`Trouble::Timeout`].
pub fn root(
    address: &Address,
    user: String,
    secret: Secret,
    pin: Option<String>,
    log: &mut dyn Attempts,
) -> Result<Root, PowerError> {
    let http = connect(address, user, secret, pin)?;
    tried(log, What::Probe, "redfish", || {
        let none = |said: &str| PowerError::new(Trouble::Unsupported, What::Probe, "redfish", said);
        let body = match http.get(What::Probe, "/redfish/v1/", false) {
            Ok(answer) => answer.body,
            // A closed port is an answer; silence is none.
            Err(error) if error.said.contains("onnection refused") => return Err(none(&error.said)),
            Err(error) => return Err(error),
        };
        let Some(systems) = body["Systems"]["@odata.id"].as_str() else {
            return Err(none("the answer names no systems: it is no Redfish service"));
        };
        let systems = local(systems).ok_or_else(|| strange(What::Probe, systems))?.to_owned();
        let version = body["RedfishVersion"].as_str().unwrap_or("of no version").to_owned();
        Ok((Root { http, systems }, format!("Redfish {version}")))
    })
}

impl Root {
    /// The system to drive: the one that is `wanted`, else the only one.
    ///
    /// # Errors
    /// [`PowerError`]; [`Trouble::Settings`] with all paths when there are several and none is wanted.
    pub fn system(self, wanted: &str, log: &mut dyn Attempts) -> Result<Redfish, PowerError> {
        tried(log, What::Probe, "redfish", || {
            let body = self.http.get(What::Probe, &self.systems, true)?.body;
            let members = body["Members"].as_array().map(Vec::as_slice).unwrap_or_default();
            let paths: Vec<&str> =
                members.iter().take(SYSTEMS_MAX).filter_map(|member| local(member["@odata.id"].as_str()?)).collect();
            let same = |path: &&&str| path.trim_end_matches('/') == wanted.trim_end_matches('/');
            let found = match (wanted, paths.as_slice()) {
                ("", [only]) => Ok(*only),
                ("", []) => Err((Trouble::Unsupported, "the BMC has no system".to_owned())),
                ("", many) => {
                    let all = many.join(", ");
                    Err((Trouble::Settings, format!("the BMC has {} systems; choose one of {all}", many.len())))
                }
                (wanted, paths) => paths.iter().find(same).copied().ok_or_else(|| {
                    (Trouble::Settings, format!("the BMC has no system {wanted}; it has {}", paths.join(", ")))
                }),
            };
            let found = found.map_err(|(trouble, said)| PowerError::new(trouble, What::Probe, "redfish", said))?;
            let system = found.to_owned();
            Ok((Redfish { http: self.http.clone(), system }, found.to_owned()))
        })
    }
}

/// The override's target that means network, if there is one.
fn target(boot: &Value) -> Option<&'static str> {
    let boot = boot.as_object()?;
    let listed = boot.get("BootSourceOverrideTarget@Redfish.AllowableValues").and_then(Value::as_array);
    let has = |target: &&str| listed.is_none_or(|listed| listed.iter().any(|value| value == target));
    let known = listed.is_some() || boot.contains_key("BootSourceOverrideTarget");
    ["Pxe", "UefiHttp"].into_iter().find(|target| known && has(target))
}

/// What is wrong with the override that was read back.
fn judge(boot: &Value, wanted: &Map<String, Value>) -> NextBoot {
    let odd: Vec<String> = wanted
        .iter()
        .filter(|(name, value)| boot.get(name.as_str()) != Some(value))
        .map(|(name, value)| {
            format!("{name} is {}, wanted was {value}", boot.get(name.as_str()).unwrap_or(&Value::Null))
        })
        .collect();
    if odd.is_empty() {
        NextBoot::Set
    } else {
        NextBoot::SetUnverified(format!("the BMC reads back: {}", odd.join("; ")))
    }
}

impl Power for Redfish {
    fn how(&self) -> String {
        "redfish".to_owned()
    }

    fn status(&self, log: &mut dyn Attempts) -> Result<PowerState, PowerError> {
        tried(log, What::Status, "redfish", || {
            let body = self.http.get(What::Status, &self.system, true)?.body;
            let said = body["PowerState"].as_str().unwrap_or("no PowerState").to_owned();
            let state = match said.as_str() {
                "On" => PowerState::On,
                "Off" => PowerState::Off,
                // On the way, or paused: looked at again.
                "PoweringOn" | "PoweringOff" | "Paused" => PowerState::Unknown,
                _ => return Err(PowerError::new(Trouble::Garbled, What::Status, "redfish", said)),
            };
            Ok((state, said))
        })
    }

    fn on(&self, log: &mut dyn Attempts) -> Result<(), PowerError> {
        self.reset(What::On, &["On", "ForceOn"], log)
    }

    fn soft_off(&self, log: &mut dyn Attempts) -> Result<(), PowerError> {
        self.reset(What::SoftOff, &["GracefulShutdown", "PushPowerButton"], log)
    }

    fn hard_off(&self, log: &mut dyn Attempts) -> Result<(), PowerError> {
        self.reset(What::HardOff, &["ForceOff"], log)
    }

    fn next_boot_network(&self, uefi: bool, log: &mut dyn Attempts) -> Result<NextBoot, PowerError> {
        tried(log, What::NextBoot, "redfish", || {
            let seen = self.http.get(What::NextBoot, &self.system, true)?;
            let Some(target) = target(&seen.body["Boot"]) else {
                return Ok((NextBoot::Unsupported, "no network boot override".to_owned()));
            };
            let mut wanted = Map::new();
            wanted.insert("BootSourceOverrideEnabled".to_owned(), json!("Once"));
            wanted.insert("BootSourceOverrideTarget".to_owned(), json!(target));
            // Without the mode a BMC may start a UEFI machine's BIOS emulation.
            if seen.body["Boot"].get("BootSourceOverrideMode").is_some() {
                let mode = if uefi { "UEFI" } else { "Legacy" };
                wanted.insert("BootSourceOverrideMode".to_owned(), json!(mode));
            }
            let change = |wanted: &Map<String, Value>| {
                let body = json!({ "Boot": wanted });
                self.http.send(What::NextBoot, "PATCH", &self.system, &body, seen.etag.as_deref())
            };
            match change(&wanted) {
                Ok(_) => {}
                // Some list the mode and do not let it be changed; it is compared all the same.
                Err(error) if error.trouble == Trouble::Refused && wanted.len() == 3 => {
                    let mut less = wanted.clone();
                    less.remove("BootSourceOverrideMode");
                    change(&less)?;
                }
                Err(error) => return Err(error),
            }
            let next = match self.http.get(What::NextBoot, &self.system, true) {
                Ok(answer) => judge(&answer.body["Boot"], &wanted),
                Err(error) if error.is_passing() => {
                    NextBoot::SetUnverified(format!("the boot override cannot be read back: {}", error.said))
                }
                Err(error) => return Err(error),
            };
            let said =
                if let NextBoot::SetUnverified(words) = &next { words.clone() } else { format!("{target}, once") };
            Ok((next, said))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_target_is_one_that_the_bmc_lists() {
        let listed = |values: Value| json!({ "BootSourceOverrideTarget@Redfish.AllowableValues": values });
        assert_eq!(target(&listed(json!(["Pxe", "Cd"]))), Some("Pxe"));
        assert_eq!(target(&listed(json!(["UefiHttp"]))), Some("UefiHttp"));
        assert_eq!(target(&listed(json!(["Cd"]))), None);
        assert_eq!(target(&json!({ "BootSourceOverrideTarget": "None" })), Some("Pxe"));
        assert_eq!(target(&json!({})), None);
        assert_eq!(target(&Value::Null), None);
    }

    #[test]
    fn an_override_that_reads_back_otherwise_is_a_warning_with_both_values() {
        let wanted = json!({ "BootSourceOverrideEnabled": "Once", "BootSourceOverrideMode": "UEFI" });
        let wanted = wanted.as_object().unwrap();
        assert_eq!(judge(&Value::Object(wanted.clone()), wanted), NextBoot::Set);
        let boot = json!({ "BootSourceOverrideEnabled": "Continuous", "BootSourceOverrideMode": "UEFI" });
        let words = r#"the BMC reads back: BootSourceOverrideEnabled is "Continuous", wanted was "Once""#;
        assert_eq!(judge(&boot, wanted), NextBoot::SetUnverified(words.into()));
        assert!(matches!(judge(&Value::Null, wanted), NextBoot::SetUnverified(_)));
    }
}
