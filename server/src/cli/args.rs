//! The command line of `ramet`.
//!
//! In: words. Out: one command with its options, or the usage.
//! Promise: `--option=value` means the same as `--option value`; what is wrong is said with exit status 3.

use argh::{EarlyExit, FromArgs};
use ramet_wire::api::Scope;
use ramet_wire::{Fingerprint, ImageGlob, ImageRef};
use std::num::NonZeroUsize;
use std::path::PathBuf;

/// Ramet's server, and the operator's commands.
#[derive(Debug, FromArgs)]
pub struct Args {
    /// print the version and exit
    #[argh(switch)]
    pub version: bool,
    #[argh(subcommand)]
    #[allow(missing_docs)]
    pub command: Option<Command>,
}

/// What to do.
#[derive(Debug, FromArgs)]
#[argh(subcommand)]
pub enum Command {
    /// The server.
    Serve(Serve),
    /// Its fingerprint.
    Key(Key),
    /// Tokens.
    Token(Token),
    /// Images.
    Image(Image),
    /// The store.
    Store(Store),
    /// Runs.
    Run(Run),
    /// Boot files.
    Boot(boot::Boot),
    /// Armed machines.
    Netboot(boot::Netboot),
    /// Agents without a token.
    Agent(boot::Agent),
    /// PINs.
    Pin(boot::Pin),
    /// Power.
    Power(power::Power),
    /// The inventory.
    Machine(fleet::Machine),
    /// Who the clones of tagged machines are.
    Tag(tags::Tag),
    /// What happens by itself.
    Rule(fleet::Rule),
    /// Disks into an image.
    Capture(fleet::Capture),
    /// An image onto disks.
    Restore(fleet::Restore),
    /// One machine onto others.
    Clone(fleet::Clone),
    /// A look at machines.
    Inventory(fleet::Inventory),
    /// Work under way and past.
    Job(fleet::Job),
    /// Who did what.
    Audit(fleet::Audit),
    /// A backup.
    Backup(Backup),
    /// The API's description.
    Openapi(Openapi),
    /// For shells.
    Completion(Completion),
}

/// run the server
#[derive(Debug, FromArgs)]
#[argh(subcommand, name = "serve")]
pub struct Serve {
    /// state folder; made if it is not there
    #[argh(option)]
    pub state: Option<PathBuf>,
    /// address and port; port 0 takes a free one (default 0.0.0.0:4433)
    #[argh(option, default = "String::from(\"0.0.0.0:4433\")")]
    pub listen: String,
    /// URL by which agents reach this server (default: what they call it, if that is one of its names)
    #[argh(option)]
    pub url: Option<String>,
    /// address and port for boot files over plain HTTP (default: none)
    #[argh(option)]
    pub boot_listen: Option<String>,
    /// URL by which machines reach the boot files: http://HOST:PORT (default: the host of --url, else of the address)
    #[argh(option)]
    pub boot_url: Option<String>,
    /// address and port for boot files over TFTP, read-only; the port that machines ask is 69 (default: none)
    #[argh(option)]
    pub tftp: Option<String>,
    /// file with the key of the BMC passwords, 64 hex digits (default: the credential ramet-power-key, else a key in the
    /// state folder)
    #[argh(option)]
    pub power_key: Option<PathBuf>,
    /// jobs under way at once (default 256)
    #[argh(option)]
    pub jobs: Option<NonZeroUsize>,
    /// of these, with machines of one group (default 64)
    #[argh(option)]
    pub jobs_of_group: Option<NonZeroUsize>,
    /// machines being switched at once (default 8)
    #[argh(option)]
    pub jobs_power: Option<NonZeroUsize>,
    /// for so long after its agent has left none may come again before a job is confirmed (default 2m)
    #[argh(option)]
    pub settle: Option<Life>,
    /// bring back a backup into an empty state folder first
    #[argh(option)]
    pub restore: Option<PathBuf>,
    /// how the log on stderr is written: text or json, one object per line (default text)
    #[argh(option, default = "LogFormat::Text")]
    pub log_format: LogFormat,
}

/// print the fingerprint of the server's identity
#[derive(Debug, FromArgs)]
#[argh(subcommand, name = "key")]
pub struct Key {
    /// state folder of the server
    #[argh(option)]
    pub state: Option<PathBuf>,
    /// ask this server instead; what it shows is not verified
    #[argh(option)]
    pub server: Option<String>,
}

macro_rules! reach {
    ($(#[$about:meta])* $name:ident, $command:literal, { $($(#[$doc:meta])* $field:ident : [$($type:tt)+],)* }) => {
        $(#[$about])*
        #[derive(Debug, FromArgs)]
        #[argh(subcommand, name = $command)]
        pub struct $name {
            $($(#[$doc])* pub $field: $($type)+,)*
            /// state folder on the server's own machine (or RAMET_STATE)
            #[argh(option)]
            pub state: Option<PathBuf>,
            /// the server's URL (or RAMET_SERVER)
            #[argh(option)]
            pub server: Option<String>,
            /// an operator's token; better in RAMET_TOKEN or a file
            #[argh(option)]
            pub token: Option<String>,
            /// file that holds the token
            #[argh(option)]
            pub token_file: Option<PathBuf>,
            /// fingerprint of the server's identity (or RAMET_KEY)
            #[argh(option)]
            pub key: Option<Fingerprint>,
            /// answer as JSON
            #[argh(switch)]
            pub json: bool,
        }

        impl $name {
            /// Where the server is.
            #[must_use]
            pub fn reach(&self) -> $crate::cli::reach::Reach {
                $crate::cli::reach::Reach {
                    state: self.state.clone(),
                    server: self.server.clone(),
                    token: self.token.clone(),
                    token_file: self.token_file.clone(),
                    key: self.key,
                }
            }
        }
    };
}

macro_rules! group {
    ($(#[$about:meta])* $name:ident, $command:literal, $actions:ident { $($action:ident),* }) => {
        $(#[$about])*
        #[derive(Debug, FromArgs)]
        #[argh(subcommand, name = $command)]
        pub struct $name {
            #[argh(subcommand)]
            #[allow(missing_docs)]
            pub action: $actions,
        }

        /// What to do with it.
        #[derive(Debug, FromArgs)]
        #[argh(subcommand)]
        #[allow(missing_docs)]
        pub enum $actions {
            $($action($action),)*
        }
    };
}

// Behind the macros that it uses.
pub mod boot;
pub mod fleet;
pub mod power;
pub mod tags;

group!(
    /// make, list and remove tokens
    Token, "token", TokenAction { TokenAdd, TokenLs, TokenRm }
);
group!(
    /// list, show, remove and check images
    Image, "image", ImageAction { ImageLs, ImageShow, ImageRm, ImageCheck }
);
group!(
    /// check and collect the store
    Store, "store", StoreAction { StoreCheck, StoreCollect }
);
group!(
    /// captures and restores, under way and past
    Run, "run", RunAction { RunLs, RunShow }
);

reach!(
    /// make a token and print it, once
    TokenAdd, "add", {
        /// what it may do: capture, restore, admin, metrics; several with commas
        #[argh(option)]
        scope: [Scopes],
        /// images it may reach, * stands for anything (default *)
        #[argh(option, default = "ImageGlob::any()")]
        image: [ImageGlob],
        /// life: a number and s, m, h, d or w (default: for ever)
        #[argh(option)]
        expires: [Option<Life>],
        /// void after one run
        #[argh(switch)]
        once: [bool],
    }
);
reach!(
    /// list tokens
    TokenLs, "ls", {}
);
reach!(
    /// remove a token
    TokenRm, "rm", {
        /// its id
        #[argh(positional)]
        id: [String],
    }
);
reach!(
    /// list images
    ImageLs, "ls", {}
);
reach!(
    /// show an image: its versions, disks and partitions
    ImageShow, "show", {
        /// NAME or NAME@ID
        #[argh(positional)]
        image: [ImageRef],
    }
);
reach!(
    /// remove one version (NAME@ID) or all versions (NAME) of an image
    ImageRm, "rm", {
        /// NAME or NAME@ID
        #[argh(positional)]
        image: [ImageRef],
    }
);
reach!(
    /// read every chunk of an image
    ImageCheck, "check", {
        /// NAME or NAME@ID
        #[argh(positional)]
        image: [ImageRef],
    }
);
reach!(
    /// read every file of the store and name the images that damage touches
    StoreCheck, "check", {}
);
reach!(
    /// free what no image needs; works beside captures and restores
    StoreCollect, "collect", {}
);
reach!(
    /// list the newest runs
    RunLs, "ls", {}
);
reach!(
    /// show a run and its countersigned receipt, as JSON
    RunShow, "show", {
        /// its id
        #[argh(positional)]
        id: [String],
    }
);
reach!(
    /// save identity, database and manifests of the server, running or not; the packs are not in it
    Backup, "backup", {
        /// file to write; it holds the private key
        #[argh(positional)]
        file: [PathBuf],
    }
);

/// print the API's OpenAPI document
#[derive(Debug, FromArgs)]
#[argh(subcommand, name = "openapi")]
pub struct Openapi {}

/// print completions for a shell
#[derive(Debug, FromArgs)]
#[argh(subcommand, name = "completion")]
pub struct Completion {
    /// bash, zsh or fish
    #[argh(positional)]
    pub shell: String,
}

/// Parses `words`, without the program's name.
///
/// # Errors
/// The usage, or what is wrong with the words.
pub fn parse(words: &[String]) -> Result<Args, EarlyExit> {
    let words = fleet::spread(&split(words));
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    Args::from_args(&["ramet"], &words)
}

/// `--option=value` as two words: argh knows no other way. Nothing behind `--` is touched.
fn split(words: &[String]) -> Vec<String> {
    let mut out = Vec::with_capacity(words.len());
    let mut options = true;
    for word in words {
        options &= word != "--";
        match word.split_once('=') {
            Some((option, value)) if options && option.len() > 2 && option.starts_with("--") => {
                out.extend([option.to_owned(), value.to_owned()]);
            }
            _ => out.push(word.clone()),
        }
    }
    out
}

/// How log lines are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// For programs: one JSON object per line.
    Json,
}

impl std::str::FromStr for LogFormat {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            _ => Err(format!("{text:?} is none of text, json")),
        }
    }
}

/// Scopes with commas between them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scopes(pub Vec<Scope>);

impl std::str::FromStr for Scopes {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        text.split(',').map(str::parse).collect::<Result<_, _>>().map(Self)
    }
}

/// How long a token lives, in seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Life(pub u64);

impl std::str::FromStr for Life {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let seconds = crate::time::duration(text);
        seconds.map(Self).ok_or_else(|| format!("{text:?} is no time like 90s, 30m, 12h, 7d or 4w"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<String> {
        line.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn an_option_and_its_value_may_be_one_word() {
        let args =
            parse(&words("token add --scope=capture,restore --image=web-* --expires=7d --once --state=/s")).unwrap();
        let Some(Command::Token(Token { action: TokenAction::TokenAdd(add) })) = args.command else { panic!() };
        assert_eq!(add.scope.0, [Scope::Capture, Scope::Restore]);
        assert_eq!((add.image.to_string().as_str(), add.expires, add.once), ("web-*", Some(Life(604_800)), true));
        assert_eq!(add.reach().state, Some(PathBuf::from("/s")));
    }

    #[test]
    fn wrong_words_are_refused() {
        for line in
            ["token add --scope fly", "token add", "image show a/b", "image rm ..", "serve --port 1", "frobnicate"]
        {
            assert!(parse(&words(line)).is_err(), "{line}");
        }
    }
}
