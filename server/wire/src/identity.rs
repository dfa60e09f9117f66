//! Who a clone is: declared by an operator in TOML, rendered for one machine, carried out by its agent.
//!
//! In: TOML of an operator; variables of the inventory. Out: the same, checked and with all variables filled in.
//! Promise: an unknown key is a refusal; what does not render or is out of bounds is found here, before any disk is touched.

mod check;
mod render;

pub use check::{is_host_name, is_login};

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Largest declaration, in bytes; rendered, all of its texts together.
pub const IDENTITY_MAX: usize = 1 << 20;
/// Longest host name, in bytes: the kernel's `HOST_NAME_MAX`.
pub const HOST_NAME_MAX: usize = 64;
/// Most entries of each map and list.
pub const ENTRIES_MAX: usize = 256;

/// A declaration. Every text but names of keys may hold variables (`{{ name }}`) until it is rendered.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Identity {
    /// Host name, short or with its domain; none: it stays. Goes into `/etc/hostname` (on Red Hat systems with its
    /// domain, elsewhere the first label), the `127.0.1.1` line of `/etc/hosts`, and `/etc/mailname` where that held the
    /// old name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hostname: Option<String>,
    /// What becomes of the machine-id, and of all that hangs on it; none: `new`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub machine_id: Option<MachineId>,
    /// What becomes of SSH host keys; none: `new`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ssh_host_keys: Option<Renew>,
    /// What becomes of stored random seeds; none: `new`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub random_seed: Option<Renew>,
    /// What becomes of names that LVM and mdraid keep of the source's host and disks; none: `new`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storage_names: Option<Renew>,
    /// Lines of `/etc/hosts`: an address and its names. Others stay.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub hosts: BTreeMap<String, Vec<String>>,
    /// Users that the system has, and who may log in as them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub users: BTreeMap<String, User>,
    /// Cards by a name of at most ten letters and digits. None at all: the network's settings stay.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub network: BTreeMap<String, Card>,
    /// What becomes of cloud-init's state; none: it stays, and is told to leave alone what is declared here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cloud_init: Option<CloudInit>,
    /// Files by their path, added or removed.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub files: BTreeMap<String, FileEntry>,
}

/// What becomes of a machine-id.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MachineId {
    /// A new one.
    #[default]
    New,
    /// None: the system makes one at its first boot.
    Empty,
    /// The source's.
    Keep,
}

/// What becomes of something that must differ between machines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Renew {
    /// It is made anew, or taken away where the system makes it itself.
    #[default]
    New,
    /// It stays what the source had.
    Keep,
}

/// A user of the system.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct User {
    /// Lines of `.ssh/authorized_keys`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authorized_keys: Option<Vec<String>>,
    /// Keys that are there already stay beside them; none: they go.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keep_keys: Option<bool>,
}

/// A card. Without `dhcp` and without `addresses` it asks DHCP.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Card {
    /// Its address: `52:54:00:12:34:56`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mac: Option<String>,
    /// Who gives it addresses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dhcp: Option<Dhcp>,
    /// Its own: `192.0.2.21/24`, `2001:db8::21/64`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub addresses: Option<Vec<String>>,
    /// The ways out, at most one for IPv4 and one for IPv6.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateways: Option<Vec<String>>,
    /// Addresses of name servers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dns: Option<Vec<String>>,
    /// Domains that short names are looked for in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub search: Option<Vec<String>>,
    /// Largest packet, in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mtu: Option<u32>,
    /// Virtual networks on it by their id, 1 to 4094; in each, `mac` and `vlans` are refused.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub vlans: BTreeMap<String, Card>,
}

/// Who gives a card its addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Dhcp {
    /// DHCP for IPv4; router advertisements and DHCP for IPv6.
    Yes,
    /// DHCP for IPv4 only.
    Ipv4,
    /// Router advertisements and DHCP for IPv6 only.
    Ipv6,
    /// Nobody but `addresses`.
    No,
}

/// What becomes of cloud-init.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct CloudInit {
    /// Its state goes, so that it runs as on a first boot. Implied by a seed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clear: Option<bool>,
    /// A seed for its `NoCloud` source: user data, as it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_data: Option<String>,
    /// A seed for its `NoCloud` source: meta data; none beside user data: an instance id and the host name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub meta_data: Option<String>,
}

/// A file that is added or removed. Exactly one of `content`, `template` and `remove` is given.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct FileEntry {
    /// What it holds, taken as it is: variables are not filled in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content: Option<String>,
    /// What it holds, with variables filled in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template: Option<String>,
    /// It goes, with all below it if it is a folder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remove: Option<bool>,
    /// Permission bits in octal; none: as they are, else `0644`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<String>,
    /// `user:group`, names of the clone or numbers; none: as it is, else `root:root`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// What it holds is never shown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<bool>,
}

/// What a declaration can name: `{{ name }}`, `{{ macs[0] }}`, `{{ serial }}`, `{{ uuid }}`, `{{ tags }}`, `{{ group }}`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Vars {
    /// The machine's name in the inventory.
    pub name: String,
    /// Addresses of its cards, ascending.
    #[serde(default)]
    pub macs: Vec<String>,
    /// SMBIOS serial number; may be empty.
    #[serde(default)]
    pub serial: String,
    /// SMBIOS UUID; may be empty.
    #[serde(default)]
    pub uuid: String,
    /// Its tags, ascending.
    #[serde(default)]
    pub tags: Vec<String>,
    /// Its group; may be empty.
    #[serde(default)]
    pub group: String,
}

/// Why a declaration is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdentityError {
    /// Too large.
    #[error("identity has {0} bytes, {IDENTITY_MAX} are allowed")]
    Size(usize),
    /// No TOML, or not of this shape.
    #[error("reading identity as TOML: {0}")]
    Toml(String),
    /// A text does not render.
    #[error("rendering {key}: {reason}")]
    Render {
        /// The key, dotted.
        key: String,
        /// Why.
        reason: String,
    },
    /// A value is out of bounds.
    #[error("{key} is {found:?}: {wanted}")]
    Value {
        /// The key, dotted.
        key: String,
        /// What it is.
        found: String,
        /// What it must be.
        wanted: String,
    },
}

impl Identity {
    /// Reads a declaration; variables stay as they are.
    ///
    /// # Errors
    /// [`IdentityError`].
    pub fn from_toml(text: &str) -> Result<Self, IdentityError> {
        if text.len() > IDENTITY_MAX {
            return Err(IdentityError::Size(text.len()));
        }
        toml::from_str(text).map_err(|error| IdentityError::Toml(error.to_string()))
    }

    /// What `self` (a machine's) says, and where it says nothing, what `under` (its tag's) says. Maps have the keys of
    /// both; users, cards, virtual networks and cloud-init are merged key by key; a file is that of `self`; lists are
    /// never joined: the list of `self` is the list.
    #[must_use]
    pub fn over(self, under: Self) -> Self {
        Self {
            hostname: self.hostname.or(under.hostname),
            machine_id: self.machine_id.or(under.machine_id),
            ssh_host_keys: self.ssh_host_keys.or(under.ssh_host_keys),
            random_seed: self.random_seed.or(under.random_seed),
            storage_names: self.storage_names.or(under.storage_names),
            hosts: merged(self.hosts, under.hosts, |own, _| own),
            users: merged(self.users, under.users, User::over),
            network: merged(self.network, under.network, Card::over),
            cloud_init: match (self.cloud_init, under.cloud_init) {
                (Some(own), Some(under)) => Some(own.over(under)),
                (own, under) => own.or(under),
            },
            files: merged(self.files, under.files, |own, _| own),
        }
    }
}

/// The keys of both; where both have one, `join` decides.
fn merged<T>(own: BTreeMap<String, T>, under: BTreeMap<String, T>, join: impl Fn(T, T) -> T) -> BTreeMap<String, T> {
    let mut all = under;
    for (key, value) in own {
        let value = match all.remove(&key) {
            Some(below) => join(value, below),
            None => value,
        };
        all.insert(key, value);
    }
    all
}

impl User {
    fn over(self, under: Self) -> Self {
        Self {
            authorized_keys: self.authorized_keys.or(under.authorized_keys),
            keep_keys: self.keep_keys.or(under.keep_keys),
        }
    }
}

impl Card {
    fn over(self, under: Self) -> Self {
        Self {
            mac: self.mac.or(under.mac),
            dhcp: self.dhcp.or(under.dhcp),
            addresses: self.addresses.or(under.addresses),
            gateways: self.gateways.or(under.gateways),
            dns: self.dns.or(under.dns),
            search: self.search.or(under.search),
            mtu: self.mtu.or(under.mtu),
            vlans: merged(self.vlans, under.vlans, Self::over),
        }
    }
}

impl CloudInit {
    fn over(self, under: Self) -> Self {
        Self {
            clear: self.clear.or(under.clear),
            user_data: self.user_data.or(under.user_data),
            meta_data: self.meta_data.or(under.meta_data),
        }
    }
}

#[cfg(test)]
mod tests;
