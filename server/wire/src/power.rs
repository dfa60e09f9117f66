//! How machines are switched on and off, and what operators say and hear about it.
//!
//! In and out: JSON bodies of `/v1/machines/{machine}/power…` and `/v1/power`.
//! Promise: a secret goes to the server and never comes back: no type that is answered has a field for one.

use crate::settings::Mac;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

/// Longest address, user, plug, path and value of an option, in bytes.
pub const TEXT_MAX: usize = 255;
/// Longest secret, in bytes. IPMI 2.0 takes 20 of them.
pub const SECRET_MAX: usize = 255;
/// Most options of a fence agent.
pub const OPTIONS_MAX: usize = 32;
/// Most machines in one order.
pub const MACHINES_MAX: usize = 1000;

/// Writes an enum's words once: as serde, `Display` and `FromStr` spell them.
macro_rules! words {
    ($name:ident { $($word:literal => $value:ident),+ $(,)? }) => {
        impl $name {
            /// As it is written everywhere.
            #[must_use]
            pub const fn word(self) -> &'static str {
                match self {
                    $(Self::$value => $word,)+
                    #[allow(unreachable_patterns, reason = "the variant of newer versions, where there is one")]
                    _ => "unknown",
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.word())
            }
        }

        impl FromStr for $name {
            type Err = String;
            fn from_str(text: &str) -> Result<Self, String> {
                match text {
                    $($word => Ok(Self::$value),)+
                    _ => Err(format!("{text:?} is none of {}", [$($word),+].join(", "))),
                }
            }
        }
    };
}

/// What a machine's power is reached by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PowerKind {
    /// Not known yet: a probe finds out whether its BMC speaks Redfish or IPMI.
    Auto,
    /// IPMI 2.0 (RMCP+), by ipmitool.
    Ipmi,
    /// Redfish, DMTF DSP0266, over HTTPS.
    Redfish,
    /// A `fence_*` agent that is installed on the server.
    Fence,
    /// Wake-on-LAN: on, and nothing else.
    Wol,
    /// A person.
    Manual,
}

words!(PowerKind {
    "auto" => Auto, "ipmi" => Ipmi, "redfish" => Redfish, "fence" => Fence, "wol" => Wol, "manual" => Manual,
});

/// What else a kind needs to know.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PowerOptions {
    /// `fence`: the agent, `fence_wti`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub agent: String,
    /// `fence`: which outlet, blade or guest.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub plug: String,
    /// `fence`: further options, as `fence_x -o metadata` names them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub fence: BTreeMap<String, String>,
    /// `ipmi`: the lowest cipher suite that may be used, 3 or 17; none: 3.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_suite: Option<u8>,
    /// `redfish`: path of the system, where the BMC has several: `/redfish/v1/Systems/1`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub system: String,
    /// `wol`: the cards to wake, where they are not all of the machine's.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub macs: Vec<Mac>,
}

/// `PUT /v1/machines/{machine}/power`, operators only. What a probe found before is forgotten.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SetPower {
    /// Protocol.
    pub kind: PowerKind,
    /// `HOST[:PORT]`; `wol`: where the packet goes, a broadcast address; `manual`: none.
    #[serde(default)]
    pub address: String,
    /// User of the BMC.
    #[serde(default)]
    pub user: String,
    /// Its password; absent: the one that is there stays, if kind, address and user do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<String>,
    /// The rest.
    #[serde(default)]
    pub options: PowerOptions,
}

impl fmt::Debug for SetPower {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("SetPower");
        shown.field("kind", &self.kind).field("address", &self.address).field("user", &self.user);
        shown.field("options", &self.options).finish_non_exhaustive()
    }
}

/// What a probe found, and jobs rely on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Probed {
    /// RFC 3339.
    #[serde(default)]
    pub at: String,
    /// The protocol that answered.
    pub kind: PowerKind,
    /// IPMI's cipher suite.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suite: Option<u8>,
    /// Redfish: path of the system.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub system: Option<String>,
    /// The machine can be told to start from the network once; where it cannot, it must be network-first.
    pub next_boot: bool,
    /// Its state can be read.
    pub reads_state: bool,
    /// The state during the probe.
    pub state: PowerState,
    /// What else an operator should know.
    #[serde(default)]
    pub notes: Vec<String>,
}

/// Power settings as they are shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PowerShown {
    /// Protocol.
    pub kind: PowerKind,
    /// Address.
    pub address: String,
    /// User.
    pub user: String,
    /// There is a secret.
    pub secret: bool,
    /// The rest.
    pub options: PowerOptions,
    /// What a probe found; none before the first.
    #[serde(default)]
    pub probed: Option<Probed>,
    /// `sha256:` of the BMC's TLS certificate, from the first contact on.
    #[serde(default)]
    pub pin: Option<String>,
}

/// Whether a machine runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PowerState {
    /// It does.
    On,
    /// It does not.
    Off,
    /// It cannot be read, or is on its way.
    #[serde(other)]
    Unknown,
}

words!(PowerState { "on" => On, "off" => Off, "unknown" => Unknown });

/// What operators order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PowerAction {
    /// Read the state.
    Status,
    /// Switch on, and read back.
    On,
    /// Soft off, hard off only if allowed, and read back.
    Off,
    /// Off, then on.
    Cycle,
}

words!(PowerAction { "status" => Status, "on" => On, "off" => Off, "cycle" => Cycle });

/// `POST /v1/power`, operators only. The answer is lines; the last one's report is a list of [`PowerDone`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PowerOrder {
    /// Names of machines.
    pub machines: Vec<String>,
    /// What.
    pub action: PowerAction,
    /// A machine that does not go off by itself may be switched off hard.
    #[serde(default)]
    pub force_off: bool,
    /// At its next start the machine boots from the network, once.
    #[serde(default)]
    pub network: bool,
}

/// Why power did not do what it should.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Trouble {
    /// User or password is wrong, or may not do it.
    Auth,
    /// Nobody answers.
    Unreachable,
    /// This system cannot do that.
    Unsupported,
    /// It said no.
    Refused,
    /// It is busy with something else.
    Busy,
    /// It answered OK, and the state did not change.
    LiesOk,
    /// A program is not installed on the server.
    MissingTool,
    /// No answer in time.
    Timeout,
    /// A person must do it.
    Manual,
    /// Somebody wanted it stopped.
    Stopped,
    /// The answer makes no sense.
    Garbled,
    /// The settings do not allow it: no probe yet, no secret, a certificate that changed.
    Settings,
    /// From a newer version.
    #[serde(other)]
    Unknown,
}

words!(Trouble {
    "auth" => Auth, "unreachable" => Unreachable, "unsupported" => Unsupported, "refused" => Refused,
    "busy" => Busy, "lies-ok" => LiesOk, "missing-tool" => MissingTool, "timeout" => Timeout,
    "manual" => Manual, "stopped" => Stopped, "garbled" => Garbled, "settings" => Settings,
});

/// What happened with one machine of a [`PowerOrder`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PowerDone {
    /// Its name.
    pub machine: String,
    /// As it was read last.
    pub state: PowerState,
    /// Why it failed; none: it did not.
    #[serde(default)]
    pub error: Option<PowerFault>,
    /// What else an operator should know.
    #[serde(default)]
    pub notes: Vec<String>,
    /// How long it took.
    pub seconds: f64,
}

/// A failure, with what to do about it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PowerFault {
    /// Which kind.
    pub trouble: Trouble,
    /// What happened.
    pub message: String,
    /// What an operator does next.
    pub next: String,
}

/// `GET /v1/machines/{machine}/power/attempts`, operators only: one thing that was tried.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PowerAttempt {
    /// RFC 3339.
    pub at: String,
    /// The job that wanted it; none: an operator.
    #[serde(default)]
    pub job: Option<u64>,
    /// `status`, `on`, `soft-off`, `hard-off`, `next-boot`, `probe`.
    pub what: String,
    /// `ipmi suite 17`, `redfish`, `fence_wti`, …
    pub how: String,
    /// `ok`, or a word of [`Trouble`].
    pub result: String,
    /// What was answered.
    pub detail: String,
    /// How long it took.
    pub seconds: f64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_is_spelled_the_same_by_serde_and_display() {
        for word in ["auto", "ipmi", "redfish", "fence", "wol", "manual"] {
            let kind: PowerKind = word.parse().unwrap();
            assert_eq!(serde_json::to_value(kind).unwrap(), word);
            assert_eq!(kind.to_string(), word);
        }
        for word in ["auth", "lies-ok", "missing-tool", "settings", "garbled"] {
            let trouble: Trouble = word.parse().unwrap();
            assert_eq!(serde_json::to_value(trouble).unwrap(), word);
            assert_eq!(trouble.to_string(), word);
        }
        assert!("telnet".parse::<PowerKind>().unwrap_err().contains("none of auto, ipmi"));
        assert_eq!(serde_json::from_str::<Trouble>("\"new\"").unwrap(), Trouble::Unknown);
    }

    #[test]
    fn a_secret_is_in_no_debug_output_and_in_nothing_that_is_shown() {
        let text = r#"{"kind":"ipmi","address":"10.0.0.1","user":"admin","secret":"hush"}"#;
        let set: SetPower = serde_json::from_str(text).unwrap();
        assert!(!format!("{set:?}").contains("hush"));
        assert!(serde_json::from_str::<SetPower>(r#"{"kind":"ipmi","password":"x"}"#).is_err());
    }
}
