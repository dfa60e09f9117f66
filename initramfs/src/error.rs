//! What can go wrong while a ship is built, and what to do about it.
//!
//! In: causes. Out: errors that tell a refusal (nothing was written, somebody must decide) from a failure.
//! Promise: every refusal says what was found, and what to do next; `Display` never prints the source.

use std::path::PathBuf;

/// An error of the builder.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// What was given does not do; nothing was written.
    #[error("{what}: {found}; {next}")]
    Refused {
        /// What was looked at, as a gerund with its object.
        what: String,
        /// What it is.
        found: String,
        /// What to do.
        next: String,
    },
    /// The file system says no.
    #[error("{what}")]
    Io {
        /// What was done.
        what: String,
        /// Why it did not work.
        source: std::io::Error,
    },
    /// A tool is not there.
    #[error("{what}: {} is not there; install Debian's package {package}", path.display())]
    NoTool {
        /// What needs it.
        what: String,
        /// Where it was looked for.
        path: PathBuf,
        /// What has it.
        package: &'static str,
    },
    /// A tool ended with an error.
    #[error("{what}: {tool} ended with {status}: {said}")]
    Tool {
        /// What was done.
        what: String,
        /// Its name.
        tool: String,
        /// Its exit status.
        status: String,
        /// The last lines that it printed.
        said: String,
    },
    /// The store of the image says no.
    #[error("{what}")]
    Store {
        /// What was done.
        what: String,
        /// Why it did not work.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl BuildError {
    /// Whether what was given does not do, as opposed to: something broke on the way.
    #[must_use]
    pub const fn is_refusal(&self) -> bool {
        matches!(self, Self::Refused { .. } | Self::NoTool { .. })
    }
}

/// What most functions here answer.
pub type Result<T> = std::result::Result<T, BuildError>;

/// A refusal.
pub fn refused(what: impl Into<String>, found: impl Into<String>, next: impl Into<String>) -> BuildError {
    BuildError::Refused { what: what.into(), found: found.into(), next: next.into() }
}

/// Says what was done when the file system said no.
pub trait Doing<T> {
    /// Adds the gerund and its object.
    ///
    /// # Errors
    /// [`BuildError::Io`].
    fn doing(self, what: impl FnOnce() -> String) -> Result<T>;
}

impl<T> Doing<T> for std::io::Result<T> {
    fn doing(self, what: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|source| BuildError::Io { what: what(), source })
    }
}

/// An error with all its causes, joined by `: `.
#[must_use]
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
