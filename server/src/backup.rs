//! Backups: everything of a server but its packs, in one tar archive.
//!
//! In: a running server; or an archive and an empty state folder. Out: the archive; the state, with its identity.
//! Promise: an archive that was cut short or changed is refused before anything of it is used.
//!
//! | entry | content |
//! |---|---|
//! | `ramet-backup.json` | format 1, version and fingerprint of the server, time; first |
//! | `identity.key` | the private key, PKCS#8 |
//! | `ramet.db` | the database, by SQLite's online backup |
//! | `images/NAME/ID/…` | `manifest.json`, `manifest.sig`, `commit`, as they lie in the store |
//! | `SHA256SUMS` | of all entries before, as `sha256sum` writes them; last: without it the archive is not whole |

use crate::client::ClientError;
use crate::db::{DbError, check_file};
use crate::http::App;
use crate::identity::{Identity, IdentityError};
use crate::state::{Layout, State, StateError};
use ramet_store::{Access, Store, StoreError};
use ramet_wire::id::hex;
use ramet_wire::{Fingerprint, ImageId, ImageName, ImageRef};
use ring::digest::{Context, SHA256};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Component, Path, PathBuf};

const ABOUT: &str = "ramet-backup.json";
const SUMS: &str = "SHA256SUMS";
/// The files of one image that a backup holds.
const IMAGE_FILES: [&str; 3] = ["manifest.json", "manifest.sig", "commit"];
/// Largest entry but the database, in bytes.
const SMALL_MAX: u64 = 17 << 20;
/// Largest list of sums: about 1.6 million files.
const SUMS_MAX: u64 = 256 << 20;

/// Why there is no backup, or none brought back.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The file system said no.
    #[error("{doing}")]
    Io {
        /// What was done, with the object.
        doing: String,
        /// The system's answer.
        source: io::Error,
    },
    /// The archive is not what it should be.
    #[error("backup {}: {reason}", path.display())]
    Damaged {
        /// The archive.
        path: PathBuf,
        /// What is wrong, with both values.
        reason: String,
    },
    /// The state folder.
    #[error("bringing back a backup")]
    State(#[from] StateError),
    /// Its database.
    #[error("bringing back the database")]
    Db(#[from] DbError),
    /// Its identity.
    #[error("bringing back the identity")]
    Identity(#[from] IdentityError),
    /// Its images.
    #[error("bringing back the images")]
    Store(#[from] StoreError),
    /// The server.
    #[error(transparent)]
    Client(#[from] ClientError),
}

impl BackupError {
    /// Nothing was changed, and an operator must decide.
    #[must_use]
    pub fn is_refusal(&self) -> bool {
        match self {
            Self::State(_) | Self::Damaged { .. } => true,
            Self::Client(error) => error.is_refusal(),
            _ => false,
        }
    }
}

/// What `ramet-backup.json` says.
#[derive(Debug, Serialize, Deserialize)]
struct About {
    format: u32,
    server: String,
    created: String,
    key: Fingerprint,
}

/// What was brought back.
#[derive(Clone, Copy, Debug)]
pub struct Restored {
    /// Versions of images. They are damaged until their packs are there.
    pub images: usize,
    /// The identity.
    pub key: Fingerprint,
}

/// A file of the state folder that goes away with this value.
#[derive(Debug)]
pub struct Scratch(PathBuf);

impl Scratch {
    fn new(layout: &Layout, kind: &str) -> Result<Self, BackupError> {
        let name = crate::secret::id::<8>().map_err(|error| failed("naming a file", io::Error::other(error)))?;
        Ok(Self(layout.dir().join(format!("backup-{name}.{kind}"))))
    }

    /// Where it lies.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

fn failed(doing: impl Into<String>, source: io::Error) -> BackupError {
    BackupError::Io { doing: doing.into(), source }
}

fn private(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(path)
}

/// Writes the archive of a running server into a file of its state folder.
///
/// # Errors
/// [`BackupError`].
pub async fn create(app: &std::sync::Arc<App>) -> Result<Scratch, BackupError> {
    let layout = app.state.layout();
    let database = Scratch::new(layout, "db")?;
    // Made private before SQLite opens it.
    private(database.path()).map_err(|error| failed("creating the database's copy", error))?;
    // The database first: an image that it calls published is then among the manifests.
    app.db.copy_to(database.path().to_owned()).await?;
    let archive = Scratch::new(layout, "tar")?;
    let app = std::sync::Arc::clone(app);
    let written = tokio::task::spawn_blocking(move || write(&app, &database, &archive).map(|()| archive)).await;
    written.map_err(|error| failed("writing the backup", io::Error::other(error)))?
}

fn write(app: &App, database: &Scratch, archive: &Scratch) -> Result<(), BackupError> {
    let layout = app.state.layout();
    let out = private(archive.path()).map_err(|error| failed("creating the backup", error))?;
    let mut tar =
        Archive { tar: tar::Builder::new(io::BufWriter::new(out)), sums: String::new(), now: app.clock.unix() };
    let (server, created) = (crate::http::VERSION.to_owned(), crate::time::rfc3339(app.now()));
    let about = About { format: 1, server, created, key: app.identity.fingerprint() };
    let about = serde_json::to_vec_pretty(&about).map_err(|error| failed("describing the backup", error.into()))?;
    tar.add(ABOUT, about.len() as u64, &mut &*about)?;
    tar.add_file("identity.key", &layout.identity())?;
    tar.add_file("ramet.db", database.path())?;
    let images = app.store.images()?;
    for info in images.into_iter().map(|entry| entry.info) {
        for file in IMAGE_FILES {
            let name = format!("images/{}/{}/{file}", info.name, info.id);
            let path = layout.store().join(&name);
            // Removed since it was listed; what is damaged in it is saved as it is.
            if path.exists() {
                tar.add_file(&name, &path)?;
            }
        }
    }
    tar.finish()
}

struct Archive<W: Write> {
    tar: tar::Builder<W>,
    sums: String,
    now: u64,
}

impl<W: Write> Archive<W> {
    fn add_file(&mut self, name: &str, path: &Path) -> Result<(), BackupError> {
        let open = || -> io::Result<(File, u64)> {
            let file = File::open(path)?;
            let len = file.metadata()?.len();
            Ok((file, len))
        };
        let (mut file, len) = open().map_err(|error| failed(format!("reading {name}"), error))?;
        self.add(name, len, &mut file)
    }

    fn add(&mut self, name: &str, len: u64, data: &mut dyn Read) -> Result<(), BackupError> {
        self.entry(name, len, &mut Hashing { inner: data, hash: Context::new(&SHA256) }).map(|sum| {
            self.sums.push_str(&format!("{sum}  {name}\n"));
        })
    }

    fn entry(&mut self, name: &str, len: u64, data: &mut Hashing<'_>) -> Result<String, BackupError> {
        let mut header = tar::Header::new_ustar();
        header.set_mode(0o600);
        header.set_size(len);
        header.set_mtime(self.now);
        let written = self.tar.append_data(&mut header, name, &mut *data);
        written.map_err(|error| failed(format!("adding {name} to the backup"), error))?;
        Ok(hex(data.hash.clone().finish().as_ref()))
    }

    fn finish(mut self) -> Result<(), BackupError> {
        let sums = std::mem::take(&mut self.sums);
        self.add(SUMS, sums.len() as u64, &mut sums.as_bytes())?;
        let mut out = self.tar.into_inner().map_err(|error| failed("ending the backup", error))?;
        out.flush().map_err(|error| failed("ending the backup", error))
    }
}

struct Hashing<'a> {
    inner: &'a mut dyn Read,
    hash: Context,
}

impl Read for Hashing<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buf)?;
        self.hash.update(&buf[..count]);
        Ok(count)
    }
}

/// Saves what `download` writes as `path`, whole or not at all; mode 0600. The number of bytes.
///
/// # Errors
/// [`BackupError`]; a file that exists is not replaced.
pub fn save(
    path: &Path,
    download: &mut dyn FnMut(&mut dyn Write) -> Result<u64, ClientError>,
) -> Result<u64, BackupError> {
    let doing = || format!("writing {}", path.display());
    if path.exists() {
        return Err(failed(doing(), io::Error::from(io::ErrorKind::AlreadyExists)));
    }
    let half = path.with_extension("part");
    let _ = fs::remove_file(&half);
    let mut file = private(&half).map_err(|error| failed(doing(), error))?;
    let saved = download(&mut file).map_err(BackupError::from).and_then(|count| {
        file.sync_all().and_then(|()| fs::rename(&half, path)).map_err(|error| failed(doing(), error))?;
        Ok(count)
    });
    if saved.is_err() {
        let _ = fs::remove_file(&half);
    }
    saved
}

/// Brings back the archive `path` into the empty state folder `dir`.
///
/// # Errors
/// [`BackupError`]; the folder is then as empty as it was.
pub fn restore(path: &Path, dir: &Path) -> Result<Restored, BackupError> {
    let state = State::open_empty(dir)?;
    let fresh = dir.join("restore");
    let result = unpack(path, &fresh).and_then(|images| place(path, &fresh, state.layout(), &images));
    let _ = fs::remove_dir_all(&fresh);
    if result.is_err() {
        let layout = state.layout();
        let _ = fs::remove_file(layout.database());
        let _ = fs::remove_dir_all(layout.store());
    }
    result
}

type Images = Vec<(ImageName, ImageId)>;

/// Unpacks into `fresh` and compares every sum; the images that are in it.
fn unpack(path: &Path, fresh: &Path) -> Result<Images, BackupError> {
    let damaged = |reason: String| BackupError::Damaged { path: path.to_owned(), reason };
    let broken = |error: io::Error| damaged(format!("reading it: {error}"));
    let file = File::open(path).map_err(|error| failed(format!("opening {}", path.display()), error))?;
    let mut archive = tar::Archive::new(io::BufReader::new(file));
    let mut found: BTreeMap<String, String> = BTreeMap::new();
    let mut sums = None;
    for entry in archive.entries().map_err(broken)? {
        let mut entry = entry.map_err(broken)?;
        let name = entry.path().map_err(broken)?.to_str().map(str::to_owned);
        let name =
            name.filter(|name| known(name)).ok_or_else(|| damaged("it holds a name that no backup has".into()))?;
        if !entry.header().entry_type().is_file() || sums.is_some() || found.contains_key(&name) {
            return Err(damaged(format!("{name} is twice, out of order, or no file")));
        }
        let (len, most) = (entry.size(), if name == SUMS { SUMS_MAX } else { SMALL_MAX });
        if name != "ramet.db" && len > most {
            return Err(damaged(format!("{name} has {len} bytes, {most} are allowed")));
        }
        if name == SUMS {
            let mut text = String::new();
            entry.read_to_string(&mut text).map_err(broken)?;
            sums = Some(text);
            continue;
        }
        let sum =
            write_entry(&fresh.join(&name), &mut entry).map_err(|error| failed(format!("unpacking {name}"), error))?;
        found.insert(name, sum);
    }
    let sums = sums.ok_or_else(|| damaged(format!("it ends without {SUMS}: it was cut short")))?;
    compare(&sums, &found).map_err(damaged)?;
    let images = found.keys().filter_map(|name| image_of(name));
    let mut images: Images = images.collect();
    images.dedup();
    Ok(images)
}

fn write_entry(path: &Path, data: &mut dyn Read) -> io::Result<String> {
    if let Some(parent) = path.parent() {
        DirBuilder::new().recursive(true).mode(0o700).create(parent)?;
    }
    let mut file = private(path)?;
    let mut hashing = Hashing { inner: data, hash: Context::new(&SHA256) };
    io::copy(&mut hashing, &mut file)?;
    file.sync_all()?;
    Ok(hex(hashing.hash.finish().as_ref()))
}

/// Names that a backup may hold: nothing else becomes a path.
fn known(name: &str) -> bool {
    matches!(name, ABOUT | SUMS | "identity.key" | "ramet.db") || image_of(name).is_some()
}

fn image_of(name: &str) -> Option<(ImageName, ImageId)> {
    let mut parts = Path::new(name).components().map(|part| match part {
        Component::Normal(part) => part.to_str(),
        _ => None,
    });
    let (folder, image, id, file) = (parts.next()??, parts.next()??, parts.next()??, parts.next()??);
    let fits = folder == "images" && IMAGE_FILES.contains(&file) && parts.next().is_none();
    fits.then(|| Some((image.parse().ok()?, id.parse().ok()?)))?
}

fn compare(sums: &str, found: &BTreeMap<String, String>) -> Result<(), String> {
    let listed: BTreeMap<&str, &str> =
        sums.lines().filter_map(|line| line.split_once("  ").map(|(sum, name)| (name, sum))).collect();
    for (name, sum) in found {
        match listed.get(name.as_str()) {
            Some(listed) if *listed == sum => {}
            Some(listed) => return Err(format!("{name} hashes to {sum}, {SUMS} says {listed}")),
            None => return Err(format!("{name} is not in {SUMS}")),
        }
    }
    match listed.keys().find(|name| !found.contains_key(**name)) {
        Some(lost) => Err(format!("{} is in {SUMS} and not in the archive", crate::text::clean(lost, 300))),
        None => Ok(()),
    }
}

/// Checks what was unpacked and moves it to its place; the identity last, for it makes the folder a server's.
fn place(path: &Path, fresh: &Path, layout: &Layout, images: &Images) -> Result<Restored, BackupError> {
    let damaged = |reason: String| BackupError::Damaged { path: path.to_owned(), reason };
    let about = fs::read(fresh.join(ABOUT)).map_err(|_| damaged(format!("{ABOUT} is missing")))?;
    let about: About = serde_json::from_slice(&about).map_err(|error| damaged(format!("{ABOUT}: {error}")))?;
    if about.format != 1 {
        return Err(damaged(format!("it has format {}, this build reads 1", about.format)));
    }
    let identity = Identity::load(&Layout::new(fresh))?;
    if identity.fingerprint() != about.key {
        return Err(damaged(format!("its key is {}, it says {}", identity.fingerprint(), about.key)));
    }
    check_file(&fresh.join("ramet.db"))?;
    let store = layout.store();
    Store::create(&store, identity.public_key())?;
    if fresh.join("images").is_dir() {
        let moving = |error| failed("moving the images to their place", error);
        fs::remove_dir(store.join("images")).map_err(moving)?;
        fs::rename(fresh.join("images"), store.join("images")).map_err(moving)?;
    }
    mark_incomplete(&store, images)?;
    let moving = |error| failed("moving database and identity to their place", error);
    fs::rename(fresh.join("ramet.db"), layout.database()).map_err(moving)?;
    fs::rename(fresh.join("identity.key"), layout.identity()).map_err(moving)?;
    File::open(layout.dir()).and_then(|dir| dir.sync_all()).map_err(moving)?;
    Ok(Restored { images: images.len(), key: identity.fingerprint() })
}

/// Their packs are not there yet: the store must say so until they are.
fn mark_incomplete(store: &Path, images: &Images) -> Result<(), BackupError> {
    let store = Store::open(store, Access::Exclusive)?;
    for (name, id) in images {
        store.check_image(&ImageRef { name: name.clone(), id: Some(*id) }, &mut |_| {})?;
    }
    Ok(())
}
