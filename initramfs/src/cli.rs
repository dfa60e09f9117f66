//! The command line of the builder.
//!
//! In: arguments and `SOURCE_DATE_EPOCH`. Out: a report on standard output, errors on standard error, an exit status.
//! Promise: 0 means built; 1 failed; 2 refused before anything was written; 3 wrong usage.

use crate::compress::LEVEL;
use crate::conf::Wishes;
use crate::error::chain;
use crate::kernel::Origin;
use crate::menu::CMDLINE;
use crate::modules::Set;
use crate::output::Report;
use crate::uki::Signer;
use crate::yard::{self, Order, Part};
use argh::FromArgs;
use std::path::PathBuf;

/// Builds what boots a machine into Ramet's agent: initramfs, UKI and ISO, from the agent and a Debian kernel.
#[derive(Debug, FromArgs)]
#[argh(error_code(0, "built"), error_code(1, "failed"), error_code(2, "refused before anything was written"))]
#[argh(error_code(3, "wrong usage"))]
#[allow(clippy::struct_excessive_bools)] // switches
pub struct Args {
    /// the static ramet-agent
    #[argh(option)]
    pub agent: Option<PathBuf>,

    /// kernel: a version installed here, a linux-image package (.deb), or a vmlinuz with --modules
    #[argh(option)]
    pub kernel: Option<String>,

    /// folder /lib/modules/VERSION that belongs to the vmlinuz
    #[argh(option)]
    pub modules: Option<PathBuf>,

    /// configuration of the kernel, where it does not lie beside it
    #[argh(option)]
    pub kernel_config: Option<PathBuf>,

    /// output folder; an older build in it is replaced
    #[argh(option)]
    pub out: Option<PathBuf>,

    /// modules: all (every machine) or vm (virtual machines only)
    #[argh(option, default = "String::from(\"all\")")]
    pub set: String,

    /// one more module, by name; repeatable
    #[argh(option)]
    pub module: Vec<String>,

    /// leave out the programs that make file systems smaller (resize2fs, e2fsck, ntfsresize): 1 MiB less
    #[argh(switch)]
    pub no_programs: bool,

    /// firmware: a folder like /lib/firmware or a Debian package; repeatable
    #[argh(option)]
    pub firmware: Vec<PathBuf>,

    /// fingerprint that the agent shall trust, baked in: no boot line overrides it
    #[argh(option)]
    pub key: Option<String>,

    /// server that the agent shall ask, baked in
    #[argh(option)]
    pub server: Option<String>,

    /// more settings to bake in, one clone.NAME=VALUE per line
    #[argh(option)]
    pub conf: Option<PathBuf>,

    /// file with a token; it is put on the ISO and nowhere else
    #[argh(option)]
    pub token_file: Option<PathBuf>,

    /// kernel command line in UKI and ISO, instead of the usual one
    #[argh(option, default = "String::from(CMDLINE)")]
    pub cmdline: String,

    /// image to put on the ISO, for restores without a network: NAME or NAME@ID
    #[argh(option)]
    pub with_image: Option<String>,

    /// folder store that has the image
    #[argh(option)]
    pub store: Option<PathBuf>,

    /// two files, KEY CERT (PEM): sign the UKI for your own Secure Boot keys
    #[argh(option)]
    pub sign: Vec<PathBuf>,

    /// build only these: initramfs, uki, iso, netboot
    #[argh(option)]
    pub only: Option<String>,

    /// zstd level of the initramfs (19)
    #[argh(option, default = "LEVEL")]
    pub level: i32,

    /// threads of the compression (all cores); the bytes do not depend on it
    #[argh(option, default = "yard::threads()")]
    pub threads: u32,

    /// print one JSON object
    #[argh(switch)]
    pub json: bool,

    /// print the version and exit
    #[argh(switch)]
    pub version: bool,
}

/// How the command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Built.
    Done = 0,
    /// Failed.
    Failed = 1,
    /// Refused before anything was written.
    Refused = 2,
    /// Wrong usage.
    Usage = 3,
}

impl From<Exit> for std::process::ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Runs `args` (without the program's name).
#[must_use]
pub fn run(args: Vec<String>) -> Exit {
    let words = split(args);
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let args = match Args::from_args(&["ramet-initramfs"], &words) {
        Ok(args) => args,
        Err(early) if early.status.is_ok() => {
            say!("{}", early.output.trim_end());
            return Exit::Done;
        }
        Err(early) => return usage(early.output.trim_end()),
    };
    if args.version {
        say!("ramet-initramfs {}", env!("CARGO_PKG_VERSION"));
        return Exit::Done;
    }
    let json = args.json;
    let order = match order(args) {
        Ok(order) => order,
        Err(message) => return usage(&message),
    };
    match yard::build(&order) {
        Ok(report) => {
            tell(&report, json);
            Exit::Done
        }
        Err(error) => {
            tell!("ramet-initramfs: {}", chain(&error));
            if error.is_refusal() { Exit::Refused } else { Exit::Failed }
        }
    }
}

fn usage(message: &str) -> Exit {
    tell!("{message}");
    Exit::Usage
}

/// argh knows `--opt value` only; people also write `--opt=value`, and `--sign` has two values.
fn split(args: Vec<String>) -> Vec<String> {
    let mut split = Vec::with_capacity(args.len() + 1);
    for arg in args {
        let signs = split.len() >= 2
            && split[split.len() - 2] == "--sign"
            && (split.len() < 4 || split[split.len() - 4] != "--sign");
        match arg.split_once('=') {
            Some((name, value)) if name.starts_with("--") => split.extend([name.to_owned(), value.to_owned()]),
            _ if signs && !arg.starts_with("--") => split.extend(["--sign".to_owned(), arg]),
            _ => split.push(arg),
        }
    }
    split
}

fn order(args: Args) -> Result<Order, String> {
    let wanted = |name: &str| format!("{name} is missing; try --help");
    let parts = match &args.only {
        None => vec![Part::Initramfs, Part::Uki, Part::Iso, Part::Netboot],
        Some(list) => list.split(',').map(part).collect::<Result<_, _>>()?,
    };
    if !(1..=19).contains(&args.level) {
        // Above 19 zstd's window grows past what machines with little memory have.
        return Err(format!("--level {}: wanted a number from 1 to 19", args.level));
    }
    let image = match (args.with_image, args.store) {
        (Some(name), Some(store)) => Some((name, store)),
        (None, None) => None,
        _ => return Err("--with-image NAME and --store DIR belong together".to_owned()),
    };
    let signer = match <[PathBuf; 2]>::try_from(args.sign) {
        Ok([key, cert]) => Some(Signer { key, cert }),
        Err(none) if none.is_empty() => None,
        Err(_) => return Err("--sign wants two files: --sign KEY CERT".to_owned()),
    };
    if signer.is_some() && !parts.contains(&Part::Uki) {
        return Err("--sign signs the UKI, and --only leaves it out".to_owned());
    }
    let epoch = match std::env::var("SOURCE_DATE_EPOCH") {
        Ok(text) => Some(text.parse().map_err(|_| format!("SOURCE_DATE_EPOCH={text}: wanted seconds since 1970"))?),
        Err(_) => None,
    };
    Ok(Order {
        agent: args.agent.ok_or_else(|| wanted("--agent FILE"))?,
        kernel: Origin {
            kernel: args.kernel.ok_or_else(|| wanted("--kernel VERSION|PACKAGE.deb|VMLINUZ"))?,
            modules: args.modules,
            config: args.kernel_config,
        },
        out: args.out.ok_or_else(|| wanted("--out DIR"))?,
        set: args.set.parse()?,
        modules: args.module,
        programs: !args.no_programs,
        firmware: args.firmware,
        wishes: Wishes { conf: args.conf, key: args.key, server: args.server, token_file: args.token_file },
        cmdline: args.cmdline,
        image,
        signer,
        parts,
        level: args.level,
        threads: args.threads,
        epoch,
    })
}

fn part(name: &str) -> Result<Part, String> {
    match name {
        "initramfs" => Ok(Part::Initramfs),
        "uki" => Ok(Part::Uki),
        "iso" => Ok(Part::Iso),
        "netboot" => Ok(Part::Netboot),
        _ => Err(format!("--only {name}: there are initramfs, uki, iso and netboot")),
    }
}

fn mib(bytes: u64) -> String {
    let tenths = bytes * 100 / (1 << 20);
    format!("{}.{:02} MiB", tenths / 100, tenths % 100)
}

fn tell(report: &Report, json: bool) {
    if json {
        say!("{}", serde_json::to_string_pretty(report).unwrap_or_default());
        return;
    }
    say!(
        "agent {}, kernel {}, {} modules (set {})",
        report.build.version,
        report.build.kernel,
        report.modules,
        report.set
    );
    for (name, made) in &report.files {
        match report.set.parse::<Set>() {
            // Firmware comes on top of what the set may take.
            Ok(set) if name == "initramfs.zst" && made.size > set.bytes_max() => {
                say!("{name}: {}, more than the {} of set {}", mib(made.size), mib(set.bytes_max()), set.name());
            }
            Ok(set) if name == "initramfs.zst" => say!("{name}: {} of {}", mib(made.size), mib(set.bytes_max())),
            _ => say!("{name}: {}", mib(made.size)),
        }
    }
    let files: usize = report.missing_firmware.values().map(Vec::len).sum();
    if files > 0 {
        say!(
            "firmware that {} modules may ask for and that is not aboard ({files} files; add it with --firmware):",
            report.missing_firmware.len()
        );
    }
    for (module, files) in &report.missing_firmware {
        say!("  {module}: {}", files.join(" "));
    }
}
