//! A machine's power settings, judged before they are kept, and the driver that they make.
//!
//! In: what an operator set, what a probe found. Out: settings that fit together; a driver.
//! Promise: nothing that is kept can be an option, a second line or a program of a tool that gets it later.

use super::address::Address;
use super::fence::{self, Fence, plain};
use super::ipmi::{self, Ipmi};
use super::manual::Manual;
use super::redfish::Redfish;
use super::redfish::http::local;
use super::run::Tools;
use super::wake::Wake;
use super::{Power, PowerError, Secret, Trouble, What};
use ramet_wire::power::{OPTIONS_MAX, PowerKind, PowerOptions, Probed, SECRET_MAX, TEXT_MAX};
use ramet_wire::settings::Mac;
use std::net::Ipv4Addr;

/// What is kept of a machine's power, with its secret in the clear.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Protocol.
    pub kind: PowerKind,
    /// `HOST[:PORT]`; may be empty for `wol` and `manual`.
    pub address: String,
    /// User.
    pub user: String,
    /// Password.
    pub secret: Secret,
    /// The rest.
    pub options: PowerOptions,
    /// What a probe found.
    pub probed: Option<Probed>,
    /// `sha256:` of the BMC's certificate.
    pub pin: Option<String>,
    /// The machine's cards, for Wake-on-LAN.
    pub macs: Vec<Mac>,
}

/// Whether settings fit together; `secret` only where it is given now.
///
/// # Errors
/// What is wrong, for the operator.
pub fn check(
    kind: PowerKind,
    address: &str,
    user: &str,
    secret: Option<&str>,
    options: &PowerOptions,
) -> Result<(), String> {
    for (name, text) in [("user", user), ("plug", &options.plug), ("system", &options.system)] {
        if text.len() > TEXT_MAX || !plain(text) {
            return Err(format!("{name} has {} bytes or a control character; {TEXT_MAX} are allowed", text.len()));
        }
    }
    if secret.is_some_and(|secret| secret.len() > SECRET_MAX || !plain(secret)) {
        return Err(format!("the secret is longer than {SECRET_MAX} bytes or has a control character"));
    }
    if options.fence.len() > OPTIONS_MAX || options.fence.values().any(|value| value.len() > TEXT_MAX) {
        return Err(format!(
            "there are more than {OPTIONS_MAX} fence options, or a value has more than {TEXT_MAX} bytes"
        ));
    }
    if options.macs.len() > ramet_wire::agents::MACS_MAX {
        return Err(format!("{} cards, {} are allowed", options.macs.len(), ramet_wire::agents::MACS_MAX));
    }
    strangers(kind, options)?;
    match kind {
        PowerKind::Manual if !address.is_empty() => return Err("manual has no address".to_owned()),
        PowerKind::Manual => {}
        PowerKind::Wol => drop(broadcast(address)?),
        _ => drop(address.parse::<Address>()?),
    }
    let (most_user, most_secret) = ipmi::LONGEST;
    match kind {
        PowerKind::Ipmi if user.len() > most_user => {
            Err(format!("user has {} bytes, IPMI takes {most_user}", user.len()))
        }
        PowerKind::Ipmi if secret.is_some_and(|secret| secret.len() > most_secret) => {
            Err(format!("the secret is longer than {most_secret} bytes, which is all that IPMI takes"))
        }
        PowerKind::Redfish | PowerKind::Auto if user.contains(':') => Err("user has a ':'".to_owned()),
        PowerKind::Fence => fence::check(&options.agent, &options.fence),
        _ if options.min_suite.is_some_and(|suite| !ipmi::SUITES.contains(&suite)) => {
            Err("the lowest cipher suite is 3 or 17".to_owned())
        }
        _ if !options.system.is_empty() && local(&options.system).is_none() => {
            Err(format!("{:?} is no path of a system, like /redfish/v1/Systems/1", options.system))
        }
        _ => Ok(()),
    }
}

/// Options of another kind are mistakes.
fn strangers(kind: PowerKind, options: &PowerOptions) -> Result<(), String> {
    let fence = !options.agent.is_empty() || !options.plug.is_empty() || !options.fence.is_empty();
    let found = [
        ("an agent, plug or fence option", fence, kind == PowerKind::Fence),
        ("a lowest suite", options.min_suite.is_some(), matches!(kind, PowerKind::Ipmi | PowerKind::Auto)),
        ("a system", !options.system.is_empty(), matches!(kind, PowerKind::Redfish | PowerKind::Auto)),
        ("cards", !options.macs.is_empty(), kind == PowerKind::Wol),
    ];
    match found.into_iter().find(|(_, there, fits)| *there && !fits) {
        Some((what, ..)) => Err(format!("{kind} takes no such option: {what}")),
        None => Ok(()),
    }
}

/// Where magic packets go.
fn broadcast(address: &str) -> Result<Option<(Ipv4Addr, Option<u16>)>, String> {
    if address.is_empty() {
        return Ok(None);
    }
    let parsed: Address = address.parse()?;
    let host = parsed.host().parse().map_err(|_| format!("{address:?} is no IPv4 address"))?;
    Ok(Some((host, parsed.port())))
}

impl Settings {
    fn wrong(&self, said: impl AsRef<str>) -> PowerError {
        PowerError::new(Trouble::Settings, What::Status, self.kind.word(), said)
    }

    /// The address, where the kind has one.
    ///
    /// # Errors
    /// [`Trouble::Settings`].
    pub fn address(&self) -> Result<Address, PowerError> {
        self.address.parse().map_err(|said: String| self.wrong(said))
    }

    /// IPMI with this suite.
    ///
    /// # Errors
    /// [`Trouble::Settings`].
    pub fn ipmi(&self, tools: &Tools, suite: u8) -> Result<Ipmi, PowerError> {
        Ok(Ipmi::new(tools.clone(), self.address()?, self.user.clone(), self.secret.clone(), suite))
    }

    /// The driver. What a probe must find first is not guessed.
    ///
    /// # Errors
    /// [`Trouble::Settings`] with what is missing.
    pub fn open(&self, tools: &Tools) -> Result<Box<dyn Power>, PowerError> {
        let kind = self.probed.as_ref().map_or(self.kind, |probed| probed.kind);
        let unprobed = || self.wrong("this machine's power was never probed; run `ramet power probe`");
        Ok(match kind {
            PowerKind::Manual => Box::new(Manual),
            PowerKind::Wol => {
                let to = broadcast(&self.address).map_err(|said| self.wrong(said))?;
                let macs = if self.options.macs.is_empty() { &self.macs } else { &self.options.macs };
                Box::new(Wake::new(to, macs.clone()))
            }
            PowerKind::Fence => Box::new(self.fence(tools)?),
            PowerKind::Ipmi => {
                let suite = self.probed.as_ref().and_then(|probed| probed.suite).ok_or_else(unprobed)?;
                Box::new(self.ipmi(tools, suite)?)
            }
            PowerKind::Redfish => {
                let system = self.probed.as_ref().and_then(|probed| probed.system.clone()).ok_or_else(unprobed)?;
                // Without a pin any machine on the way could take the password.
                let pin = self.pin.clone().ok_or_else(unprobed)?;
                let (user, secret) = (self.user.clone(), self.secret.clone());
                Box::new(Redfish::new(&self.address()?, user, secret, Some(pin), &system)?)
            }
            PowerKind::Auto => return Err(unprobed()),
        })
    }

    /// The fence agent.
    ///
    /// # Errors
    /// [`Trouble::Settings`].
    pub fn fence(&self, tools: &Tools) -> Result<Fence, PowerError> {
        let PowerOptions { agent, plug, fence: options, .. } = self.options.clone();
        fence::check(&agent, &options).map_err(|said| self.wrong(said))?;
        let (user, secret) = (self.user.clone(), self.secret.clone());
        Ok(Fence::new(tools.clone(), agent, self.address()?, user, secret, plug, options))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(kind: PowerKind) -> Settings {
        let (address, user) = ("10.0.0.1".to_owned(), "admin".to_owned());
        let secret = Secret::new("hush".into());
        let options = PowerOptions::default();
        Settings { kind, address, user, secret, options, probed: None, pin: None, macs: vec![] }
    }

    #[test]
    fn settings_that_do_not_fit_together_are_refused_with_the_reason() {
        let fence = |agent: &str| PowerOptions { agent: agent.into(), ..PowerOptions::default() };
        let suite = |suite| PowerOptions { min_suite: Some(suite), ..PowerOptions::default() };
        let system = |system: &str| PowerOptions { system: system.into(), ..PowerOptions::default() };
        let long = "x".repeat(21);
        for (kind, address, user, secret, options, words) in [
            (PowerKind::Ipmi, "", "a", "s", PowerOptions::default(), "HOST"),
            (PowerKind::Ipmi, "-x", "a", "s", PowerOptions::default(), "HOST"),
            (PowerKind::Ipmi, "h", long.as_str(), "s", PowerOptions::default(), "IPMI takes 16"),
            (PowerKind::Ipmi, "h", "a", long.as_str(), PowerOptions::default(), "longer than 20"),
            (PowerKind::Ipmi, "h", "a\nb", "s", PowerOptions::default(), "control character"),
            (PowerKind::Ipmi, "h", "a", "s", suite(0), "3 or 17"),
            (PowerKind::Ipmi, "h", "a", "s", fence("fence_wti"), "takes no such option"),
            (PowerKind::Redfish, "h", "a:b", "s", PowerOptions::default(), "has a ':'"),
            (PowerKind::Redfish, "h", "a", "s", system("http://x/"), "no path of a system"),
            (PowerKind::Fence, "h", "a", "s", PowerOptions::default(), "no name of a fence agent"),
            (PowerKind::Fence, "h", "a", "s\n", fence("fence_wti"), "control character"),
            (PowerKind::Fence, "h", "a", "s", fence("fence_ipmilan"), "use kind ipmi"),
            (PowerKind::Wol, "example.org", "", "", PowerOptions::default(), "no IPv4 address"),
            (PowerKind::Manual, "h", "", "", PowerOptions::default(), "no address"),
        ] {
            let refused = check(kind, address, user, Some(secret), &options).unwrap_err();
            assert!(refused.contains(words), "{kind} {address:?}: {refused}");
        }
        for (kind, address, options) in [
            (PowerKind::Ipmi, "10.0.0.1:6230", suite(17)),
            (PowerKind::Auto, "bmc.example", PowerOptions::default()),
            (PowerKind::Redfish, "[fd00::1]:443", system("/redfish/v1/Systems/1")),
            (PowerKind::Fence, "pdu", fence("fence_wti")),
            (PowerKind::Wol, "", PowerOptions::default()),
            (PowerKind::Manual, "", PowerOptions::default()),
        ] {
            assert_eq!(check(kind, address, "a", Some("s"), &options), Ok(()), "{kind}");
        }
    }

    #[test]
    fn what_a_probe_must_find_is_not_guessed() {
        let tools = Tools::only(vec![]);
        for kind in [PowerKind::Auto, PowerKind::Ipmi, PowerKind::Redfish] {
            let error = settings(kind).open(&tools).unwrap_err();
            assert_eq!(error.trouble, Trouble::Settings, "{kind}");
            assert!(error.said.contains("never probed"), "{error}");
        }
        assert_eq!(settings(PowerKind::Wol).open(&tools).unwrap().how(), "wol");
        assert_eq!(settings(PowerKind::Manual).open(&tools).unwrap().how(), "manual");
    }
}
