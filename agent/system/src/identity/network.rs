//! Cards of a clone, set up by whatever the system sets them up with.
//!
//! In: declared cards, told apart by MAC. Out: files of one backend; none that binds the source's cards or addresses.
//! Promise: which backend that is, is seen from what is switched on, never assumed.

mod ifcfg;
mod ifupdown;
mod keyfile;
mod link;
mod netplan;
mod networkd;
mod old;
mod wicked;

use super::{IdentityError, Work};
use crate::root::{How, Root, RootError};
use link::Link;

/// What sets up cards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Backend {
    Netplan,
    Keyfile,
    Networkd,
    Ifupdown,
    Ifcfg,
    Wicked,
}

/// A file of a backend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Planned {
    pub path: String,
    pub mode: u32,
    pub text: String,
}

impl Planned {
    fn new(path: impl Into<String>, mode: u32, text: impl Into<String>) -> Self {
        Self { path: path.into(), mode, text: text.into() }
    }
}

pub(super) fn stage(work: &mut Work<'_>) -> Result<(), IdentityError> {
    if work.wanted.network.is_empty() {
        return Ok(());
    }
    let backend = detect(work.root)?.ok_or(IdentityError::Network)?;
    let links = Link::all(&work.wanted.network);
    let mut planned = match backend {
        Backend::Netplan => netplan::files(&links, netplan::renderer(work.root)?),
        Backend::Keyfile => keyfile::files(&links),
        Backend::Networkd => networkd::files(&links),
        Backend::Ifupdown => ifupdown::files(&links),
        Backend::Ifcfg => ifcfg::files(&links),
        Backend::Wicked => wicked::files(&links),
    };
    // These tell cards apart by their names only: names are bound to MACs.
    if matches!(backend, Backend::Ifupdown | Backend::Ifcfg | Backend::Wicked) {
        planned.extend(networkd::names(&links));
    }
    old::stage(work, backend, &planned)?;
    for file in &planned {
        let say = format!("cards of this machine, for {}", backend.word());
        let how = How { say: &say, mode: Some(file.mode), owner: Some((0, 0)), ..How::default() };
        work.root.write(&file.path, file.text.as_bytes(), &how)?;
    }
    match backend {
        Backend::Ifupdown => ifupdown::resolver(work, &links)?,
        Backend::Wicked => wicked::resolver(work, &links)?,
        _ => {}
    }
    Ok(())
}

impl Backend {
    fn word(self) -> &'static str {
        match self {
            Self::Netplan => "netplan",
            Self::Keyfile => "NetworkManager",
            Self::Networkd => "systemd-networkd",
            Self::Ifupdown => "ifupdown",
            Self::Ifcfg => "ifcfg",
            Self::Wicked => "wicked",
        }
    }
}

/// What the system sets up its cards with. Netplan comes first: it writes the settings of the others.
pub(super) fn detect(root: &Root) -> Result<Option<Backend>, RootError> {
    let has = |folder: &str, which: &dyn Fn(&str) -> bool| -> Result<bool, RootError> {
        Ok(root.is_dir(folder)? && root.list(folder)?.iter().any(|name| which(name)))
    };
    let ifup = root.lstat("/sbin/ifup")?.is_some() || root.lstat("/usr/sbin/ifup")?.is_some();
    let ifcfg = has("/etc/sysconfig/network-scripts", &|name| name.starts_with("ifcfg-") && name != "ifcfg-lo")?;
    if has("/etc/netplan", &|name| name.ends_with(".yaml"))? {
        return Ok(Some(Backend::Netplan));
    }
    let alias = root.read_link("/etc/systemd/system/network.service")?;
    let wicked = alias.is_some_and(|target| target.file_name().is_some_and(|name| name == "wicked.service"));
    if wicked || enabled(root, "wicked.service")? {
        return Ok(Some(Backend::Wicked));
    }
    // Debian's NetworkManager leaves alone what ifupdown has.
    if ifup && root.is_dir("/etc/network")? && ifupdown::has_cards(root)? {
        return Ok(Some(Backend::Ifupdown));
    }
    if enabled(root, "NetworkManager.service")? {
        return Ok(Some(if ifcfg { Backend::Ifcfg } else { Backend::Keyfile }));
    }
    if enabled(root, "systemd-networkd.service")? {
        return Ok(Some(Backend::Networkd));
    }
    if ifcfg && root.lstat("/etc/init.d/network")?.is_some() {
        return Ok(Some(Backend::Ifcfg));
    }
    if ifup && root.is_file("/etc/network/interfaces")? {
        return Ok(Some(Backend::Ifupdown));
    }
    let netplan = root.lstat("/usr/sbin/netplan")?.is_some();
    Ok(netplan.then_some(Backend::Netplan))
}

/// A unit is started at boot: `systemctl enable` makes such links, distributions may ship some.
pub(super) fn enabled(root: &Root, unit: &str) -> Result<bool, RootError> {
    for folder in ["/etc/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system"] {
        for target in ["multi-user", "network-online", "network", "sysinit", "graphical"] {
            if root.lstat(format!("{folder}/{target}.target.wants/{unit}"))?.is_some() {
                return Ok(true);
            }
        }
    }
    Ok(false)
}
