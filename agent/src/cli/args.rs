//! The command line: `ramet-agent inspect | capture | restore`.
//!
//! In: arguments and environment. Out: typed commands.
//! Promise: what `--help` prints is what README shows; a secret on the command line is warned about.

use argh::FromArgs;

/// Ramet's agent: reads disks into a store, writes them back onto any number of machines, proves every byte.
#[derive(Debug, FromArgs)]
#[argh(error_code(0, "done and proven"), error_code(1, "failed"), error_code(2, "refused before any write"))]
#[argh(
    error_code(3, "wrong usage"),
    error_code(4, "restored but not read back"),
    error_code(5, "restored, but a plain copy")
)]
pub struct Args {
    /// print the version and exit
    #[argh(switch)]
    pub version: bool,

    #[argh(subcommand)]
    #[allow(missing_docs)] // argh's derive takes the doc of a subcommand field for its help text
    pub command: Option<Command>,
}

/// What to do.
#[derive(Debug, FromArgs)]
#[argh(subcommand)]
#[allow(clippy::large_enum_variant)] // one value in a process, and argh takes no box
pub enum Command {
    /// Look.
    Inspect(Inspect),
    /// Disk to store.
    Capture(Capture),
    /// Store to disk.
    Restore(Restore),
    /// The booted agent's menu.
    Menu(Menu),
    /// Who a clone is.
    Identity(Identity),
    /// A clone's call.
    FirstBoot(FirstBoot),
    /// Shell completion.
    Completion(Completion),
}

/// Show what is on disks, and which bytes of it a capture would read.
#[derive(Debug, FromArgs)]
#[argh(subcommand, name = "inspect")]
pub struct Inspect {
    /// disks: block devices or disk-image files
    #[argh(positional, arg_name = "disk")]
    pub disks: Vec<String>,

    /// print one JSON object
    #[argh(switch)]
    pub json: bool,

    /// list the extents of every partition
    #[argh(switch)]
    pub extents: bool,
}

/// Capture disks into an image on a server, or in a folder.
#[derive(Debug, FromArgs)]
#[argh(subcommand, name = "capture")]
pub struct Capture {
    /// disks, in the order that gives them their ordinals: block devices or disk-image files
    #[argh(positional, arg_name = "disk")]
    pub disks: Vec<String>,

    /// name of the image: letters, digits, '.', '_' and '-', at most 128
    #[argh(option)]
    pub image: String,

    /// server: https://HOST:PORT (RAMET_SERVER)
    #[argh(option)]
    pub server: Option<String>,

    /// file with a token of scope capture; without it RAMET_TOKEN is used
    #[argh(option)]
    pub token_file: Option<String>,

    /// token itself; a file or RAMET_TOKEN keeps it out of the process list
    #[argh(option)]
    pub token: Option<String>,

    /// fingerprint of the server's identity, as `ramet key` prints it (RAMET_KEY)
    #[argh(option)]
    pub key: Option<String>,

    /// folder to use as a store instead of a server
    #[argh(option)]
    pub store: Option<String>,

    /// copy partitions that are mounted or held, whole; the image is marked inconsistent
    #[argh(switch)]
    pub force_mounted: bool,

    /// print the outcome as one JSON object
    #[argh(switch)]
    pub json: bool,
}

/// Restore an image onto disks, read it back, and write a receipt.
#[derive(Debug, FromArgs)]
#[argh(subcommand, name = "restore")]
pub struct Restore {
    /// target disks, as many as the image has, in its order: block devices or existing files
    #[argh(positional, arg_name = "disk")]
    pub disks: Vec<String>,

    /// image to restore: NAME for its latest version, NAME@ID for exactly one
    #[argh(option)]
    pub image: String,

    /// server: https://HOST:PORT (RAMET_SERVER)
    #[argh(option)]
    pub server: Option<String>,

    /// file with a token of scope restore; without it RAMET_TOKEN is used
    #[argh(option)]
    pub token_file: Option<String>,

    /// token itself; a file or RAMET_TOKEN keeps it out of the process list
    #[argh(option)]
    pub token: Option<String>,

    /// fingerprint of the server's identity (RAMET_KEY), or of the folder's key
    #[argh(option)]
    pub key: Option<String>,

    /// folder to use as a store instead of a server
    #[argh(option)]
    pub store: Option<String>,

    /// restore only this partition, onto one with the same number, start, size and type; repeatable
    #[argh(option)]
    pub partition: Vec<u32>,

    /// pair N=DISK: image disk N goes to DISK; repeatable, instead of target disks in order
    #[argh(option)]
    pub pair: Vec<String>,

    /// do not read back what was written: exit status 4 instead of 0
    #[argh(switch)]
    pub no_read_back: bool,

    /// restore although RAID or LDM metadata at the disk's end would end up at another place
    #[argh(switch)]
    pub force_size: bool,

    /// on a disk of another size: keep (partitions stay as they were) or fill (the last one that can grows or shrinks)
    #[argh(option)]
    pub size: Option<String>,

    /// file (TOML) with new sizes of partitions, instead of --size
    #[argh(option)]
    pub layout: Option<String>,

    /// file (TOML) that says who the clone is: its name, keys, addresses; see "Identity" in README
    #[argh(option)]
    pub identity: Option<String>,

    /// name of the machine, for --identity
    #[argh(option)]
    pub name: Option<String>,

    /// address of a card of the machine, for --identity; repeatable; without it this machine's cards
    #[argh(option)]
    pub mac: Vec<String>,

    /// new UUIDs for tables, partitions and file systems; what names them follows
    #[argh(switch)]
    pub new_uuids: bool,

    /// overrule a check of the plan: boot-check, whether the image would boot here; repeatable
    #[argh(option)]
    pub ignore: Vec<String>,

    /// do not add an entry to this machine's UEFI firmware for an image that it would not start by itself
    #[argh(switch)]
    pub no_nvram: bool,

    /// write the receipt to this file
    #[argh(option)]
    pub receipt: Option<String>,

    /// check everything, show the plan, write nothing
    #[argh(switch)]
    pub dry_run: bool,

    /// do not ask
    #[argh(switch)]
    pub yes: bool,

    /// print the outcome as one JSON object
    #[argh(switch)]
    pub json: bool,
}

/// Try here what a booted agent shows and does: its menu, or with a mode in --conf an unattended run.
#[derive(Debug, FromArgs)]
#[argh(subcommand, name = "menu")]
pub struct Menu {
    /// disks to choose from, disk-image files too; without them all of this machine
    #[argh(positional, arg_name = "disk")]
    pub disks: Vec<String>,

    /// file with the arguments clone.* as ramet.conf of a boot medium has them
    #[argh(option)]
    pub conf: Option<String>,
}

/// Make the clone on disks a machine of its own, or show as a diff what that would change.
#[derive(Debug, FromArgs)]
#[argh(subcommand, name = "identity")]
pub struct Identity {
    /// disks that hold the clone, in the image's order: block devices or disk-image files
    #[argh(positional, arg_name = "disk")]
    pub disks: Vec<String>,

    /// file (TOML) that says who the clone is: its name, keys, addresses; see "Identity" in README
    #[argh(option)]
    pub identity: String,

    /// name of the machine
    #[argh(option)]
    pub name: Option<String>,

    /// address of a card of the machine; repeatable; without it this machine's cards
    #[argh(option)]
    pub mac: Vec<String>,

    /// show a diff, write nothing
    #[argh(switch)]
    pub dry_run: bool,

    /// do not ask
    #[argh(switch)]
    pub yes: bool,

    /// print the changes as JSON
    #[argh(switch)]
    pub json: bool,
}

/// Tell the server once that this clone has booted, then remove what a restore left for that; its unit runs this.
#[derive(Debug, FromArgs)]
#[argh(subcommand, name = "first-boot")]
pub struct FirstBoot {
    /// file with server, key and token, JSON
    #[argh(option)]
    pub conf: String,
}

/// Print a completion script for a shell.
#[derive(Debug, FromArgs)]
#[argh(subcommand, name = "completion")]
pub struct Completion {
    /// bash, zsh or fish
    #[argh(positional)]
    pub shell: String,
}

/// argh knows `--opt value` only; people also write `--opt=value`.
#[must_use]
pub fn split_equals(args: Vec<String>) -> Vec<String> {
    let mut split = Vec::with_capacity(args.len());
    let mut literal = false;
    for arg in args {
        literal |= arg == "--";
        match arg.split_once('=') {
            Some((name, value)) if !literal && name.starts_with("--") && name.len() > 2 => {
                split.push(name.to_owned());
                split.push(value.to_owned());
            }
            _ => split.push(arg),
        }
    }
    split
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strings(args: &[&str]) -> Vec<String> {
        args.iter().map(|arg| (*arg).to_owned()).collect()
    }

    #[test]
    fn takes_options_with_an_equals_sign() {
        let args = strings(&["capture", "a=b", "--image=web=1", "--json", "--", "--x=y"]);
        assert_eq!(split_equals(args), strings(&["capture", "a=b", "--image", "web=1", "--json", "--", "--x=y"]));
    }
}
