//! The commands of power.
//!
//! In: words. Out: as in the parent.
//! Promise: there is no option for a password: it comes from a file or the environment.

use argh::FromArgs;
use ramet_wire::Fingerprint;
use ramet_wire::power::PowerKind;
use ramet_wire::settings::Mac;
use std::path::PathBuf;
use std::str::FromStr;

group!(
    /// switch machines, and say how their power is reached
    Power, "power", PowerAction {
        PowerOn, PowerOff, PowerCycle, PowerStatus, PowerSet, PowerShow, PowerProbe, PowerAttempts, PowerRm
    }
);

reach!(
    /// switch machines on, and read back that they are
    PowerOn, "on", {
        /// machines
        #[argh(positional)]
        machines: [Vec<String>],
        /// start from the network, this once
        #[argh(switch)]
        network: [bool],
    }
);
reach!(
    /// shut machines down by their power button, and read back that they are off
    PowerOff, "off", {
        /// machines
        #[argh(positional)]
        machines: [Vec<String>],
        /// take the power of a machine that does not go off by itself
        #[argh(switch)]
        force_off: [bool],
    }
);
reach!(
    /// switch machines off and on; never a reset
    PowerCycle, "cycle", {
        /// machines
        #[argh(positional)]
        machines: [Vec<String>],
        /// take the power of a machine that does not go off by itself
        #[argh(switch)]
        force_off: [bool],
        /// start from the network, this once
        #[argh(switch)]
        network: [bool],
    }
);
reach!(
    /// read whether machines are on
    PowerStatus, "status", {
        /// machines
        #[argh(positional)]
        machines: [Vec<String>],
    }
);
reach!(
    /// say how a machine's power is reached, and probe it
    PowerSet, "set", {
        /// the machine
        #[argh(positional)]
        machine: [String],
        /// auto, ipmi, redfish, fence, wol or manual
        #[argh(option)]
        kind: [PowerKind],
        /// HOST or HOST:PORT of its BMC; for wol an IPv4 broadcast address
        #[argh(option, default = "String::new()")]
        address: [String],
        /// user of the BMC
        #[argh(option, default = "String::new()")]
        user: [String],
        /// file that holds the password, - for standard input (or RAMET_POWER_PASSWORD)
        #[argh(option)]
        password_file: [Option<PathBuf>],
        /// fence: the agent, like fence_wti
        #[argh(option, default = "String::new()")]
        agent: [String],
        /// fence: outlet, blade or guest
        #[argh(option, default = "String::new()")]
        plug: [String],
        /// fence: a further option, NAME:VALUE; may be repeated
        #[argh(option, long = "option")]
        options: [Vec<Pair>],
        /// ipmi: the lowest cipher suite that may be used: 3 (default) or 17
        #[argh(option)]
        min_suite: [Option<u8>],
        /// redfish: path of the system, where the BMC has several
        #[argh(option, default = "String::new()")]
        system: [String],
        /// wol: a card to wake (default: all of the machine); may be repeated
        #[argh(option, long = "mac")]
        macs: [Vec<Mac>],
        /// do not probe now
        #[argh(switch)]
        no_probe: [bool],
    }
);
reach!(
    /// show how a machine's power is reached
    PowerShow, "show", {
        /// the machine
        #[argh(positional)]
        machine: [String],
    }
);
reach!(
    /// find out what a machine's power speaks, and remember it; nothing is switched
    PowerProbe, "probe", {
        /// the machine
        #[argh(positional)]
        machine: [String],
    }
);
reach!(
    /// list what was tried with a machine's power, the newest first
    PowerAttempts, "attempts", {
        /// the machine
        #[argh(positional)]
        machine: [String],
    }
);
reach!(
    /// forget how a machine's power is reached: a person switches it
    PowerRm, "rm", {
        /// the machine
        #[argh(positional)]
        machine: [String],
    }
);

/// `NAME:VALUE`; `=` would part the option from its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pair(pub String, pub String);

impl FromStr for Pair {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let (name, value) = text.split_once(':').ok_or_else(|| format!("{text:?} is not NAME:VALUE"))?;
        Ok(Self(name.to_owned(), value.to_owned()))
    }
}
