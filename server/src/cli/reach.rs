//! Which server an operator's command speaks to.
//!
//! In: options and environment. Out: an `Operator` at the right door.
//! Promise: on the server's own machine the state folder is enough; elsewhere nothing is sent to an unpinned server.

use super::Fault;
use crate::client::{ClientError, Local, Operator, Remote};
use crate::state::{Layout, StateError};
use ramet_wire::Fingerprint;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long a server that holds the folder may take until it can be reached.
const STARTING: Duration = Duration::from_secs(10);
/// Longest token file.
const TOKEN_MAX: u64 = 4096;

/// The options.
#[derive(Debug, Default)]
pub struct Reach {
    /// `--state`
    pub state: Option<PathBuf>,
    /// `--server`
    pub server: Option<String>,
    /// `--token`
    pub token: Option<String>,
    /// `--token-file`
    pub token_file: Option<PathBuf>,
    /// `--key`
    pub key: Option<Fingerprint>,
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// `--state`, or what stands for it.
pub fn state_or_env(state: Option<PathBuf>) -> Option<PathBuf> {
    state.or_else(|| variable("RAMET_STATE").map(PathBuf::from))
}

impl Reach {
    /// Options go before the environment, a server before a folder.
    ///
    /// # Errors
    /// [`Fault::Usage`] when it is not said which server; those of reaching it.
    pub fn operator(self) -> Result<Operator, Fault> {
        if let (Some(state), None) = (&self.state, &self.server) {
            return Ok(at_folder(state)?);
        }
        if self.state.is_some() {
            return Err(Fault::Usage("give --state or --server, not both".to_owned()));
        }
        let Some(server) = self.server.clone().or_else(|| variable("RAMET_SERVER")) else {
            let Some(state) = state_or_env(None) else {
                let words = "which server? give --state DIR on its machine, or --server, --key and a token";
                return Err(Fault::Usage(words.to_owned()));
            };
            return Ok(at_folder(&state)?);
        };
        let key = match self.key {
            Some(key) => key,
            None => read_key(variable("RAMET_KEY"))?,
        };
        let token = self.token()?;
        Ok(Operator::new(Remote::connect(&server, &token, key)?))
    }

    fn token(self) -> Result<String, Fault> {
        if let Some(token) = self.token {
            eprintln!(
                "warning: a token on the command line can be seen by all users of this machine; use RAMET_TOKEN or --token-file"
            );
            return Ok(token);
        }
        if let Some(path) = self.token_file {
            return Ok(read_token(&path)?);
        }
        variable("RAMET_TOKEN").ok_or_else(|| Fault::Usage("no token: give --token-file or RAMET_TOKEN".to_owned()))
    }
}

fn read_key(text: Option<String>) -> Result<Fingerprint, Fault> {
    let text =
        text.ok_or_else(|| Fault::Usage("no key: give --key or RAMET_KEY, as `ramet key` prints it".to_owned()))?;
    text.parse().map_err(|error| Fault::Usage(format!("RAMET_KEY: {error}")))
}

fn read_token(path: &Path) -> Result<String, ClientError> {
    use std::io::Read;
    let read = || {
        let mut text = String::new();
        std::fs::File::open(path)?.take(TOKEN_MAX).read_to_string(&mut text)?;
        Ok(text.trim().to_owned())
    };
    read().map_err(|source| ClientError::File { doing: format!("reading {}", path.display()), source })
}

/// The running server's API; the folder itself only when no server runs on it.
fn at_folder(dir: &Path) -> Result<Operator, ClientError> {
    let layout = Layout::new(dir);
    let until = Instant::now() + STARTING;
    loop {
        match Local::open(dir) {
            Ok(local) => return Ok(Operator::new(local)),
            Err(ClientError::State(StateError::Held { path, holder })) => {
                if let Some(note) = layout.read_note()? {
                    return Ok(Operator::new(Remote::connect(&note.url, &note.token, note.key)?));
                }
                if Instant::now() > until {
                    return Err(StateError::Held { path, holder }.into());
                }
                std::thread::sleep(Duration::from_millis(100));
            }
            Err(error) => return Err(error),
        }
    }
}
