//! The values of arguments.
//!
//! In: the text behind `=`. Out: the typed value, or what is wanted instead.
//! Promise: a MAC, an address, a list of disks is read in one way, wherever it stands.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;
use std::time::Duration;

/// What shall be done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Ask a person.
    #[default]
    Menu,
    /// Disks to store.
    Capture,
    /// Store to disks.
    Restore,
    /// Tell the server what this machine is.
    Inventory,
    /// Ask the server what to do.
    Job,
    /// Do nothing, stay up.
    Wait,
}

/// Where an image comes from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum From {
    /// A server.
    #[default]
    Server,
    /// The medium that the agent was booted from.
    Media,
}

/// How an agent's life ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Then {
    /// Restart.
    Reboot,
    /// Switch off.
    Poweroff,
    /// Stay up, for a person to look.
    Wait,
}

/// A card's address, 48 bits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Mac(pub [u8; 6]);

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl fmt::Debug for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl FromStr for Mac {
    type Err = String;

    /// Six pairs of hex digits, joined by `:` or `-`.
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is no MAC address; wanted 52:54:00:12:34:56");
        let mut mac = [0; 6];
        let mut pairs = text.split([':', '-']);
        for byte in &mut mac {
            let pair = pairs.next().filter(|pair| pair.len() == 2 && pair.bytes().all(|c| c.is_ascii_hexdigit()));
            *byte = u8::from_str_radix(pair.ok_or_else(wrong)?, 16).map_err(|_| wrong())?;
        }
        pairs.next().is_none().then_some(Self(mac)).ok_or_else(wrong)
    }
}

impl TryFrom<String> for Mac {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl std::convert::From<Mac> for String {
    fn from(mac: Mac) -> Self {
        mac.to_string()
    }
}

/// How a disk is told from others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pick {
    /// Its serial number.
    Serial(String),
    /// Its world-wide name.
    Wwn(String),
}

/// Which disk goes with the image's disk `ordinal`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiskChoice {
    /// The image's disk.
    pub ordinal: u32,
    /// The machine's disk.
    pub pick: Pick,
}

/// `ADDRESS/LENGTH[,GATEWAY[,DNS…]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FixedAddress {
    /// The address.
    pub address: IpAddr,
    /// Bits of the network.
    pub length: u8,
    /// The way out.
    pub gateway: Option<IpAddr>,
    /// Name servers.
    pub dns: Vec<IpAddr>,
}

/// `clone.timeout.*`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// Until a card without a link is given up.
    pub link: Duration,
    /// Until a card without a lease is given up.
    pub lease: Duration,
    /// How long a silent server is asked again.
    pub server: Duration,
    /// Until a disk that does not appear is given up.
    pub disk: Duration,
    /// Without progress until the watchdog resets the machine.
    pub stall: Duration,
    /// Before `clone.then`.
    pub then: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Self {
            link: seconds(30),
            lease: seconds(60),
            server: seconds(300),
            disk: seconds(30),
            stall: seconds(900),
            then: seconds(10),
        }
    }
}

pub(super) fn word<T: serde::de::DeserializeOwned>(value: &str, wanted: &str) -> Result<T, String> {
    serde_json::from_value(serde_json::Value::String(value.to_owned())).map_err(|_| format!("wanted {wanted}"))
}

pub(super) fn url(value: &str) -> Result<String, String> {
    let rest = value.strip_prefix("https://").ok_or("wanted https://HOST:PORT")?;
    let clean = !rest.is_empty() && rest.bytes().all(|c| c.is_ascii_graphic() && !matches!(c, b'"' | b'\\'));
    clean.then(|| value.trim_end_matches('/').to_owned()).ok_or_else(|| "wanted https://HOST:PORT".to_owned())
}

/// Reads `N:serial=…,N:wwn=…`.
///
/// # Errors
/// What is wanted.
pub fn disks(value: &str) -> Result<Vec<DiskChoice>, String> {
    let mut choices: Vec<DiskChoice> = Vec::new();
    for part in value.split(',') {
        let wrong = || format!("{part:?}: wanted N:serial=… or N:wwn=…");
        let (ordinal, pick) = part.split_once(':').ok_or_else(wrong)?;
        let ordinal = ordinal.parse().map_err(|_| wrong())?;
        let pick = match pick.split_once('=').filter(|(_, text)| !text.is_empty()) {
            Some(("serial", text)) => Pick::Serial(text.to_owned()),
            Some(("wwn", text)) => Pick::Wwn(text.to_owned()),
            _ => return Err(wrong()),
        };
        if choices.iter().any(|choice| choice.ordinal == ordinal) {
            return Err(format!("disk {ordinal} is named twice"));
        }
        choices.push(DiskChoice { ordinal, pick });
    }
    Ok(choices)
}

pub(super) fn fixed(value: &str) -> Result<FixedAddress, String> {
    let mut parts = value.split(',');
    let wrong = || "wanted ADDRESS/LENGTH[,GATEWAY[,DNS…]]".to_owned();
    let (address, length) = parts.next().and_then(|part| part.split_once('/')).ok_or_else(wrong)?;
    let address: IpAddr = address.parse().map_err(|_| wrong())?;
    let most = if address.is_ipv4() { 32 } else { 128 };
    let length = length.parse().ok().filter(|length| (1..=most).contains(length)).ok_or_else(wrong)?;
    let mut rest = parts.map(|part| part.parse::<IpAddr>().map_err(|_| wrong()));
    let gateway = rest.next().transpose()?;
    let dns = rest.collect::<Result<Vec<_>, _>>()?;
    if gateway.is_some_and(|gateway| gateway.is_ipv4() != address.is_ipv4()) {
        return Err("address and gateway are of different families".to_owned());
    }
    Ok(FixedAddress { address, length, gateway, dns })
}
