//! The commands of network boot: boot files, armed machines, agents without a token, PINs.
//!
//! In: words. Out: as in the parent.
//! Promise: MACs, codes, modes and times are judged before anything is sent.

use super::{Life, Scopes};
use argh::FromArgs;
use ramet_wire::settings::{Mac, Mode, Then};
use ramet_wire::{Fingerprint, ImageGlob, ImageName, ImageRef};
use serde::de::DeserializeOwned;
use std::net::Ipv4Addr;
use std::path::PathBuf;

group!(
    /// put the builder's files on the server, list them, take them away
    Boot, "boot", BootAction { BootInstall, BootLs, BootRm }
);
group!(
    /// arm machines for network boot; print a configuration for dnsmasq
    Netboot, "netboot", NetbootAction { NetbootArm, NetbootLs, NetbootDisarm, NetbootDnsmasq }
);
group!(
    /// list agents that wait for an operator, and give them work
    Agent, "agent", AgentAction { AgentLs, AgentApprove }
);
group!(
    /// make, list and remove PINs for people at consoles
    Pin, "pin", PinAction { PinAdd, PinLs, PinRm }
);

reach!(
    /// install the folder that ramet-initramfs made, in place of what is there
    BootInstall, "install", {
        /// the folder; it has a build.json
        #[argh(positional)]
        dir: [PathBuf],
    }
);
reach!(
    /// list the installed boot files
    BootLs, "ls", {}
);
reach!(
    /// remove the installed boot files
    BootRm, "rm", {}
);
reach!(
    /// say what a machine does at its next network boots
    NetbootArm, "arm", {
        /// address of one of its cards: 52:54:00:12:34:56
        #[argh(positional)]
        mac: [Mac],
        /// capture, restore, inventory or menu
        #[argh(option)]
        mode: [Word<Mode>],
        /// image: NAME, for a restore also NAME@ID
        #[argh(option)]
        image: [Option<ImageRef>],
        /// until a run of it is done
        #[argh(switch)]
        once: [bool],
        /// for how long: a number and s, m, h, d or w (default: until it is disarmed)
        #[argh(option, long = "for")]
        life: [Option<Life>],
        /// what follows: reboot, poweroff or wait
        #[argh(option)]
        then: [Option<Word<Then>>],
        /// which disk, as clone.disk takes it: 0:serial=…,1:wwn=…
        #[argh(option, default = "String::new()")]
        disk: [String],
        /// a name for people
        #[argh(option, default = "String::new()")]
        name: [String],
    }
);
reach!(
    /// list armed machines
    NetbootLs, "ls", {}
);
reach!(
    /// disarm a machine, and take back a token that it was given and has not used
    NetbootDisarm, "disarm", {
        /// address of its card
        #[argh(positional)]
        mac: [Mac],
    }
);
reach!(
    /// list agents that were heard of in the last minutes
    AgentLs, "ls", {}
);
reach!(
    /// give an agent its work: exactly one of --capture and --restore
    AgentApprove, "approve", {
        /// the code on its console: XXXX-XXXX
        #[argh(positional)]
        code: [String],
        /// capture its disks into an image of this name
        #[argh(option)]
        capture: [Option<ImageName>],
        /// restore this image: NAME or NAME@ID
        #[argh(option)]
        restore: [Option<ImageRef>],
        /// what follows: reboot, poweroff or wait
        #[argh(option)]
        then: [Option<Word<Then>>],
        /// which disk, as clone.disk takes it: 0:serial=…,1:wwn=…
        #[argh(option, default = "String::new()")]
        disk: [String],
    }
);
reach!(
    /// make a PIN and print it, once
    PinAdd, "add", {
        /// what its tokens may do: capture, restore; several with commas
        #[argh(option)]
        scope: [Scopes],
        /// images it may reach, * stands for anything (default *)
        #[argh(option, default = "ImageGlob::any()")]
        images: [ImageGlob],
        /// life: a number and s, m, h or d, at most a week (default 1h)
        #[argh(option, default = "Life(3600)")]
        expires: [Life],
    }
);
reach!(
    /// list PINs
    PinLs, "ls", {}
);
reach!(
    /// remove a PIN and the tokens that were made from it
    PinRm, "rm", {
        /// its id
        #[argh(positional)]
        id: [String],
    }
);

/// print a complete configuration of dnsmasq
#[derive(Debug, FromArgs)]
#[argh(subcommand, name = "dnsmasq")]
pub struct NetbootDnsmasq {
    /// network interface on which machines boot
    #[argh(option)]
    pub interface: String,
    /// where boot files are served: http://HOST:PORT, as `ramet serve` was told
    #[argh(option)]
    pub boot_url: String,
    /// addresses to give away: FIRST,LAST (default: the upper half of the interface's network)
    #[argh(option)]
    pub range: Option<Range>,
    /// IPv4 address of the TFTP server (default: the host of the boot files' URL)
    #[argh(option)]
    pub tftp: Option<Ipv4Addr>,
    /// folder from which dnsmasq itself serves TFTP, in place of the server
    #[argh(option)]
    pub tftp_root: Option<PathBuf>,
    /// another DHCP server gives the addresses
    #[argh(switch)]
    pub proxy: bool,
    /// what UEFI machines without iPXE start: shim, also with Secure Boot, or ipxe (default shim)
    #[argh(option, default = "Word(Uefi::Shim)")]
    pub uefi: Word<Uefi>,
    /// what UEFI machines start over HTTP: ipxe, or uki for one-time boots (default ipxe)
    #[argh(option, default = "Word(UefiHttp::Ipxe)")]
    pub uefi_http: Word<UefiHttp>,
}

/// What UEFI machines start over TFTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Uefi {
    /// Debian's shim and GRUB.
    Shim,
    /// iPXE, where Secure Boot is off.
    Ipxe,
}

/// What UEFI machines start over HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum UefiHttp {
    /// iPXE.
    Ipxe,
    /// The agent itself.
    Uki,
}

/// One of a few words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Word<T>(pub T);

impl<T: DeserializeOwned> std::str::FromStr for Word<T> {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        // The words and the error are the wire's own: "unknown variant `fly`, expected one of …".
        serde_json::from_value(serde_json::Value::String(text.to_owned())).map(Self).map_err(|error| error.to_string())
    }
}

/// Addresses to give away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range(pub Ipv4Addr, pub Ipv4Addr);

impl std::str::FromStr for Range {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let both = text.split_once(',').and_then(|(first, last)| Some(Self(first.parse().ok()?, last.parse().ok()?)));
        both.filter(|range| range.0 <= range.1).ok_or_else(|| format!("{text:?} is not FIRST,LAST"))
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Args, Command, parse};
    use super::*;

    fn words(line: &str) -> Result<Args, String> {
        let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        parse(&words).map_err(|exit| exit.output)
    }

    #[test]
    fn a_machine_is_armed_with_all_that_it_needs() {
        let line = "netboot arm 52-54-00-12-34-56 --mode restore --image web --once --for 2h --then poweroff \
                    --disk 0:serial=x --name rack-7";
        let Some(Command::Netboot(Netboot { action: NetbootAction::NetbootArm(arm) })) = words(line).unwrap().command
        else {
            panic!()
        };
        assert_eq!((arm.mac.to_string().as_str(), arm.mode.0), ("52:54:00:12:34:56", Mode::Restore));
        assert_eq!((arm.life, arm.then, arm.once), (Some(Life(7200)), Some(Word(Then::Poweroff)), true));
    }

    #[test]
    fn wrong_words_are_refused_with_the_right_ones() {
        for (line, said) in [
            ("netboot arm 52:54 --mode restore", "no MAC"),
            ("netboot arm 52:54:00:12:34:56 --mode fly", "`restore`"),
            ("netboot arm 52:54:00:12:34:56 --mode restore --then sing", "`poweroff`"),
            ("agent approve 2222-2222 --capture a/b", "'/'"),
            ("pin add --scope fly", "scope"),
            ("netboot dnsmasq --interface eth0 --boot-url http://a --range 10.0.0.9,10.0.0.1", "FIRST,LAST"),
        ] {
            let output = words(line).unwrap_err();
            assert!(output.contains(said), "{line}: {output}");
        }
    }
}
