//! What a machine consists of, as its agent found it.
//!
//! In and out: JSON inside a [`Hello`](crate::agents::Hello) and in answers to operators.
//! Promise: only what was seen is said; what could not be read is absent, never guessed.

use crate::settings::Mac;
use serde::{Deserialize, Serialize};

/// Most PCI functions in a report.
pub const PCI_MAX: usize = 256;
/// Most USB interfaces in a report.
pub const USB_MAX: usize = 128;
/// Most cards in a report.
pub const CARDS_MAX: usize = 32;

/// Processors, memory, cards and buses; disks stand in the `Hello` itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hardware {
    /// Processors.
    #[serde(default)]
    pub cpu: Cpu,
    /// Memory that the kernel can use, in bytes; 0 where it is not known.
    #[serde(default)]
    pub memory: u64,
    /// Network cards, at most [`CARDS_MAX`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cards: Vec<Card>,
    /// Secure Boot, where the firmware is UEFI and says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secure_boot: Option<SecureBoot>,
    /// Modaliases of PCI functions, ascending, without repetition, at most [`PCI_MAX`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pci: Vec<String>,
    /// Modaliases of USB interfaces, ascending, without repetition, at most [`USB_MAX`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub usb: Vec<String>,
}

/// The processors.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cpu {
    /// As the first one calls itself; may be empty.
    #[serde(default)]
    pub model: String,
    /// Sockets that hold one; 0 where it is not known.
    #[serde(default)]
    pub sockets: u32,
    /// Cores of all; 0 where it is not known.
    #[serde(default)]
    pub cores: u32,
    /// Threads of all: what the kernel calls processors.
    #[serde(default)]
    pub threads: u32,
}

/// A network card.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Card {
    /// As this kernel calls it: `eth0`.
    pub name: String,
    /// Its permanent address.
    pub mac: Mac,
    /// It has a link.
    #[serde(default)]
    pub link: bool,
    /// Of that link, in Mbit/s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub speed: Option<u32>,
    /// The kernel's driver.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub driver: Option<String>,
    /// The switch at its other end, where it was heard of by LLDP (IEEE 802.1AB).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub neighbour: Option<Neighbour>,
}

/// What an LLDP frame said.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Neighbour {
    /// Its system name, else its chassis.
    pub system: String,
    /// Its port.
    pub port: String,
}

/// Secure Boot's state (UEFI 2.10, 3.3: `SecureBoot`, `SetupMode`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SecureBoot {
    /// It is enforced.
    On,
    /// It is not.
    Off,
    /// Keys can be enrolled by anyone.
    Setup,
    /// From a newer version.
    #[serde(other)]
    Unknown,
}
