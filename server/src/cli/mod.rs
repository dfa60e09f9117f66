//! The command `ramet`.
//!
//! In: the command line. Out: text or JSON on stdout, messages on stderr, an exit status.
//! Promise: 0 done, 1 failed, 2 refused, 3 wrong usage; what a script reads is alone on stdout.

pub mod args;
mod beyond;
mod boot;
mod completion;
mod fleet;
mod jobs;
mod power;
mod reach;
mod serve;
mod show;
mod tags;
mod watch;

use crate::client::ClientError;
use crate::client::pin;
use crate::serve::StartError;
use crate::state::{Layout, StateError};
use crate::text::chain;
use args::{Args, Command, ImageAction, RunAction, StoreAction, TokenAction};
use ramet_wire::api::AddToken;
use std::io::{IsTerminal, Write};
use std::process::ExitCode;

/// How a command ends that does not succeed.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// The words make no sense. Exit status 3.
    #[error("{0}")]
    Usage(String),
    /// Somebody must decide something; nothing was done. Exit status 2.
    #[error("{0}")]
    Refused(String),
    /// The server or its folder. Exit status 2 for a refusal, else 1.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The server does not start. Exit status 1.
    #[error("starting the server")]
    Start(#[from] StartError),
    /// The folder. Exit status 2.
    #[error(transparent)]
    State(#[from] StateError),
    /// A backup. Exit status 1 or 2.
    #[error(transparent)]
    Backup(#[from] crate::backup::BackupError),
    /// Something was checked and found damaged. Exit status 1.
    #[error("{0}")]
    Found(String),
    /// Writing the answer. Exit status 1.
    #[error("{doing}")]
    Io {
        /// What was done.
        doing: &'static str,
        /// The system's answer.
        source: std::io::Error,
    },
}

impl Fault {
    fn status(&self) -> u8 {
        match self {
            Self::Usage(_) => 3,
            Self::Refused(_) => 2,
            Self::Client(error) if error.is_refusal() => 2,
            Self::State(_) | Self::Client(ClientError::State(_)) | Self::Start(StartError::State(_)) => 2,
            Self::Backup(error) if error.is_refusal() => 2,
            _ => 1,
        }
    }
}

/// Runs the command of this process.
#[must_use]
pub fn main() -> ExitCode {
    let words: Result<Vec<String>, _> = std::env::args_os().skip(1).map(std::ffi::OsString::into_string).collect();
    let words = match words {
        Ok(words) => words,
        Err(word) => {
            eprintln!("ramet: {} is no UTF-8", word.display());
            return ExitCode::from(3);
        }
    };
    let args = match args::parse(&words) {
        Ok(args) => args,
        Err(exit) => return usage(&exit),
    };
    match run(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(fault) => {
            eprintln!("ramet: {}", chain(&fault));
            ExitCode::from(fault.status())
        }
    }
}

fn usage(exit: &argh::EarlyExit) -> ExitCode {
    if exit.status.is_ok() {
        print!("{}", exit.output);
        return ExitCode::SUCCESS;
    }
    eprint!("ramet: {}", exit.output);
    ExitCode::from(3)
}

fn run(args: Args) -> Result<(), Fault> {
    if args.version {
        println!("ramet {}", crate::http::VERSION);
        return Ok(());
    }
    let command = args.command.ok_or_else(|| Fault::Usage("no command; `ramet --help` lists them".to_owned()))?;
    match command {
        Command::Serve(args) => serve::serve(args),
        Command::Key(args) => key(args),
        Command::Token(token) => self::token(token.action),
        Command::Image(image) => self::image(image.action),
        Command::Store(store) => self::store(store.action),
        Command::Run(run) => self::run_action(run.action),
        Command::Boot(boot) => boot::boot(boot.action),
        Command::Netboot(netboot) => boot::netboot(netboot.action),
        Command::Agent(agent) => boot::agent(agent.action),
        Command::Pin(pin) => boot::pin(pin.action),
        Command::Power(power) => power::power(power.action),
        Command::Machine(machine) => fleet::machine(machine.action),
        Command::Tag(tag) => tags::tag(tag.action),
        Command::Rule(rule) => fleet::rule(rule.action),
        Command::Audit(args) => fleet::audit(&args),
        Command::Capture(args) => jobs::capture(&args),
        Command::Restore(args) => jobs::restore(&args),
        Command::Clone(args) => jobs::clone(&args),
        Command::Inventory(args) => jobs::inventory(&args),
        Command::Job(job) => jobs::job(job.action),
        Command::Backup(args) => backup(&args),
        Command::Openapi(_) => write(&crate::openapi::text()),
        Command::Completion(args) => completion::print(&args.shell),
    }
}

fn run_action(action: RunAction) -> Result<(), Fault> {
    match action {
        RunAction::RunLs(args) => {
            let runs = args.reach().operator()?.runs()?;
            if args.json { show::json(&runs) } else { show::runs(&runs) }
        }
        RunAction::RunShow(args) => show::json(&args.reach().operator()?.run(&args.id)?),
    }
}

fn key(args: args::Key) -> Result<(), Fault> {
    if let Some(server) = args.server {
        let (fingerprint, _) = pin::show(&server).map_err(ClientError::from)?;
        eprintln!("warning: this is what {server} shows; compare it with `ramet key --state` on the server's machine");
        return write(&format!("{fingerprint}\n"));
    }
    let state = reach::state_or_env(args.state);
    let state = state.ok_or_else(|| Fault::Usage("which server? give --state DIR on its machine".to_owned()))?;
    let layout = Layout::new(&state);
    if !layout.identity().exists() {
        return Err(StateError::None { path: state }.into());
    }
    let identity = crate::identity::Identity::load(&layout).map_err(StartError::from)?;
    write(&format!("{}\n", identity.fingerprint()))
}

fn token(action: TokenAction) -> Result<(), Fault> {
    match action {
        TokenAction::TokenAdd(args) => {
            let (scopes, images) = (args.scope.0.clone(), args.image.clone());
            let add = AddToken { scopes, images, expires: args.expires.map(|life| life.0), once: args.once };
            let added = args.reach().operator()?.add_token(&add)?;
            if args.json { show::json(&added) } else { write(&format!("{}\n", added.token)) }
        }
        TokenAction::TokenLs(args) => {
            let tokens = args.reach().operator()?.tokens()?;
            if args.json { show::json(&tokens) } else { show::tokens(&tokens) }
        }
        TokenAction::TokenRm(args) => Ok(args.reach().operator()?.remove_token(&args.id)?),
    }
}

fn image(action: ImageAction) -> Result<(), Fault> {
    match action {
        ImageAction::ImageLs(args) => {
            let images = args.reach().operator()?.images()?;
            if args.json { show::json(&images) } else { show::images(&images) }
        }
        ImageAction::ImageShow(args) => {
            let operator = args.reach().operator()?;
            let versions = operator.versions(&args.image)?;
            let manifest = operator.manifest(&args.image)?;
            show::image(&versions, &manifest, args.json)
        }
        ImageAction::ImageRm(args) => {
            let gone = args.reach().operator()?.remove_image(&args.image)?;
            if args.json { show::json(&gone) } else { show::images(&gone) }
        }
        ImageAction::ImageCheck(args) => {
            let mut progress = show::Progress::new("checking");
            let report =
                args.reach().operator()?.check_image(&args.image, &mut |done, total| progress.at(done, total))?;
            progress.end();
            show::check(&report, args.json)
        }
    }
}

fn store(action: StoreAction) -> Result<(), Fault> {
    match action {
        StoreAction::StoreCheck(args) => {
            let mut progress = show::Progress::new("checking");
            let report = args.reach().operator()?.check_store(&mut |done, total| progress.at(done, total))?;
            progress.end();
            show::check(&report, args.json)
        }
        StoreAction::StoreCollect(args) => {
            let mut progress = show::Progress::new("collecting");
            let report = args.reach().operator()?.collect(&mut |done, total| progress.at(done, total))?;
            progress.end();
            show::collect(&report, args.json)
        }
    }
}

fn backup(args: &args::Backup) -> Result<(), Fault> {
    let operator = args.reach().operator()?;
    let bytes = crate::backup::save(&args.file, &mut |out| operator.backup(out))?;
    if args.json {
        return show::json(&serde_json::json!({ "file": args.file.display().to_string(), "bytes": bytes }));
    }
    eprintln!("{bytes} bytes in {}; it holds the private key: keep it as you keep the server", args.file.display());
    Ok(())
}

fn write(text: &str) -> Result<(), Fault> {
    let mut out = std::io::stdout().lock();
    let written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    written.map_err(|source| Fault::Io { doing: "writing the answer", source })
}

fn on_terminal() -> bool {
    std::io::stderr().is_terminal()
}
