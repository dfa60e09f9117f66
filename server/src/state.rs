//! The state folder: what lies where, who holds it, and how its owner reaches the running server.
//!
//! In: a path. Out: a locked folder (0700) with identity, database, store, and a note for local commands.
//! Promise: one process at a time; nothing in it is readable by others.

use nix::fcntl::{Flock, FlockArg};
use ramet_wire::Fingerprint;
use serde::{Deserialize, Serialize};
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Why a state folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// The file system said no.
    #[error("{doing} {path}", path = path.display())]
    Io {
        /// What was done.
        doing: &'static str,
        /// To what.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// A server, or a command that works on the folder, is running.
    #[error("state folder {} is in use by process {holder}", path.display())]
    Held {
        /// The folder.
        path: PathBuf,
        /// What the lock file says.
        holder: String,
    },
    /// Something is in a folder that should be empty.
    #[error("state folder {} is not empty: it holds {found:?}", path.display())]
    NotEmpty {
        /// The folder.
        path: PathBuf,
        /// One of the names in it.
        found: String,
    },
    /// There is no server's state in it.
    #[error("{} has no server's state: no identity.key in it; start `ramet serve --state` there once", path.display())]
    None {
        /// The folder.
        path: PathBuf,
    },
}

/// Names inside a state folder.
#[derive(Clone, Debug)]
pub struct Layout(PathBuf);

impl Layout {
    /// The names inside `dir`.
    #[must_use]
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self(dir.into())
    }

    /// The folder.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.0
    }

    /// The identity key.
    #[must_use]
    pub fn identity(&self) -> PathBuf {
        self.0.join("identity.key")
    }

    /// The database.
    #[must_use]
    pub fn database(&self) -> PathBuf {
        self.0.join("ramet.db")
    }

    /// The store.
    #[must_use]
    pub fn store(&self) -> PathBuf {
        self.0.join("store")
    }

    /// Boot files.
    #[must_use]
    pub fn boot(&self) -> PathBuf {
        self.0.join("boot")
    }

    fn lock(&self) -> PathBuf {
        self.0.join("lock")
    }

    fn note(&self) -> PathBuf {
        self.0.join("local.json")
    }

    /// How to reach the server that runs on this folder; none when there is no such note.
    ///
    /// # Errors
    /// [`StateError::Io`] when there is one and it cannot be read.
    pub fn read_note(&self) -> Result<Option<Note>, StateError> {
        let path = self.note();
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(StateError::Io { doing: "reading", path, source }),
        };
        Ok(serde_json::from_slice(&text).ok())
    }
}

/// What the running server leaves in its folder for commands of the same user.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Note {
    /// Where it listens.
    pub url: String,
    /// Its identity.
    pub key: Fingerprint,
    /// An operator's token, made anew at each start and never stored elsewhere.
    pub token: String,
}

impl std::fmt::Debug for Note {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Note").field("url", &self.url).field("key", &self.key).finish_non_exhaustive()
    }
}

/// A state folder that this process holds until it is dropped.
#[derive(Debug)]
pub struct State {
    layout: Layout,
    _lock: Flock<File>,
}

/// An operator's command holds the folder of a server that is down for a moment; a server that starts waits for it.
const HELD: Duration = Duration::from_secs(3);

impl State {
    /// Opens `dir`, making it if it is not there, and takes its lock.
    ///
    /// # Errors
    /// [`StateError::Held`] when another process has it, [`StateError::Io`] when it cannot be made or written.
    pub fn open(dir: &Path) -> Result<Self, StateError> {
        let io = |doing, path: &Path| {
            let path = path.to_owned();
            move |source| StateError::Io { doing, path, source }
        };
        if !dir.is_dir() {
            DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(io("creating", dir))?;
        }
        let layout = Layout::new(dir);
        let path = layout.lock();
        let open = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(&path);
        let mut file = open.map_err(io("opening", &path))?;
        let start = Instant::now();
        let mut lock = loop {
            file = match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
                Ok(lock) => break lock,
                Err((file, nix::errno::Errno::EWOULDBLOCK)) if start.elapsed() < HELD => file,
                Err((_, nix::errno::Errno::EWOULDBLOCK)) => {
                    let holder = fs::read_to_string(&path).unwrap_or_default();
                    let holder: String = holder.chars().filter(char::is_ascii_digit).take(10).collect();
                    return Err(StateError::Held { path: dir.to_owned(), holder });
                }
                Err((_, errno)) => return Err(io("locking", &path)(io::Error::from(errno))),
            };
            std::thread::sleep(Duration::from_millis(20));
        };
        fs::set_permissions(dir, Permissions::from_mode(0o700)).map_err(io("setting the mode of", dir))?;
        lock.set_len(0).and_then(|()| write!(lock, "{}", std::process::id())).map_err(io("writing", &path))?;
        // A note of a server that was killed points nowhere, or to a stranger; so does its half of a backup.
        let state = Self { layout, _lock: lock };
        state.remove_note();
        state.sweep();
        Ok(state)
    }

    /// The same, but only on a folder in which a server was started before.
    ///
    /// # Errors
    /// Besides those of [`State::open`], [`StateError::None`].
    pub fn open_existing(dir: &Path) -> Result<Self, StateError> {
        if !Layout::new(dir).identity().is_file() {
            return Err(StateError::None { path: dir.to_owned() });
        }
        Self::open(dir)
    }

    /// The same, but only on a folder that is not there or empty.
    ///
    /// # Errors
    /// Besides those of [`State::open`], [`StateError::NotEmpty`].
    pub fn open_empty(dir: &Path) -> Result<Self, StateError> {
        let entries = match fs::read_dir(dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Self::open(dir),
            entries => entries.map_err(|source| StateError::Io { doing: "reading", path: dir.to_owned(), source })?,
        };
        match entries.filter_map(Result::ok).find(|entry| entry.file_name() != "lock") {
            Some(entry) => {
                let found = entry.file_name().to_string_lossy().into_owned();
                Err(StateError::NotEmpty { path: dir.to_owned(), found })
            }
            None => Self::open(dir),
        }
    }

    fn sweep(&self) {
        let entries = fs::read_dir(self.layout.dir()).into_iter().flatten().filter_map(Result::ok);
        for entry in entries.filter(|entry| entry.file_name().to_string_lossy().starts_with("backup-")) {
            let _ = fs::remove_file(entry.path());
        }
    }

    /// The names inside.
    #[must_use]
    pub const fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Leaves a note for local commands, mode 0600.
    ///
    /// # Errors
    /// [`StateError::Io`].
    pub fn write_note(&self, note: &Note) -> Result<(), StateError> {
        let path = self.layout.note();
        let io = |source| StateError::Io { doing: "writing", path: path.clone(), source };
        let half = path.with_extension("new");
        let _ = fs::remove_file(&half);
        let text = serde_json::to_vec(note).map_err(|error| io(error.into()))?;
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&half).map_err(io)?;
        file.write_all(&text).map_err(io)?;
        fs::rename(&half, &path).map_err(io)
    }

    /// Takes the note away.
    pub fn remove_note(&self) {
        let _ = fs::remove_file(self.layout.note());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_folder_is_private_and_held_by_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a/state");
        let held = State::open(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
        let refused = State::open(&path).unwrap_err();
        assert!(refused.to_string().contains(&std::process::id().to_string()), "{refused}");
        drop(held);
        State::open(&path).unwrap();
    }

    #[test]
    fn a_note_is_readable_by_its_owner_alone_and_goes_with_the_next_start() {
        let dir = tempfile::tempdir().unwrap();
        let state = State::open(dir.path()).unwrap();
        let note = Note { url: "https://127.0.0.1:1".into(), key: Fingerprint([7; 32]), token: "rmt_x".into() };
        state.write_note(&note).unwrap();
        let mode = fs::metadata(dir.path().join("local.json")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(state.layout().read_note().unwrap().unwrap().url, note.url);
        assert!(!format!("{note:?}").contains("rmt_"));
        drop(state);
        let state = State::open(dir.path()).unwrap();
        assert!(state.layout().read_note().unwrap().is_none());
    }

    #[test]
    fn a_restore_is_refused_in_a_folder_that_is_not_empty() {
        let dir = tempfile::tempdir().unwrap();
        State::open_empty(dir.path()).unwrap();
        fs::write(dir.path().join("ramet.db"), b"x").unwrap();
        assert!(
            matches!(State::open_empty(dir.path()), Err(StateError::NotEmpty { found, .. }) if found == "ramet.db")
        );
        assert!(matches!(State::open_existing(dir.path()), Err(StateError::None { .. })));
    }
}
