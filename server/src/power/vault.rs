//! BMC passwords, encrypted at rest.
//!
//! In: a key from the service manager or a file outside the state folder, else one made beside the database. Out: sealed
//! blobs for the database, and passwords again.
//! Promise: a blob opens only with its key and for its machine; which key a blob needs can be told without it.
//!
//! | bytes | what |
//! |---|---|
//! | 1 | version, 1 |
//! | 4 | first bytes of SHA-256 of `ramet power key 1\0` and the key |
//! | 12 | nonce, random |
//! | … | ChaCha20-Poly1305 of the password (RFC 8439), tag included; associated data: `ramet power 1\0` and the machine |

use super::Secret;
use crate::secret::{NoRandom, random};
use ramet_wire::id::{hex, sha256, unhex};
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use std::fs::OpenOptions;
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// The name of the key in the service manager's credentials (systemd.exec(5), `LoadCredential=`).
pub const CREDENTIAL: &str = "ramet-power-key";
/// Version, id of the key, nonce, tag.
const OVERHEAD: usize = 1 + 4 + 12 + 16;
/// Longest key file: 64 hex digits and white space.
const FILE_MAX: u64 = 256;

/// Where the key comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// The service manager's credentials, or a file that the operator named: not beside the database.
    File(PathBuf),
    /// Beside the database; made if it is not there.
    Beside(PathBuf),
}

/// Why there is no key, or no password.
#[derive(Debug, thiserror::Error)]
pub enum VaultError {
    /// The file system said no.
    #[error("{doing} {}", path.display())]
    Io {
        /// What was done.
        doing: &'static str,
        /// To what.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// The file is no key.
    #[error("power key {}: {reason}", path.display())]
    Key {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// No random bytes.
    #[error("making a power key")]
    Random(#[from] NoRandom),
    /// Another key sealed it.
    #[error("the password was encrypted with power key {needed}, the server has {has}")]
    Other {
        /// The id of the key that is needed.
        needed: String,
        /// The id of the one that is there.
        has: String,
    },
    /// It is not what was sealed for this machine.
    #[error("the password in the database is damaged, or of another machine")]
    Damaged,
}

/// Seals and opens.
pub struct Vault {
    key: LessSafeKey,
    id: [u8; 4],
}

impl std::fmt::Debug for Vault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Vault").field("key", &hex(&self.id)).finish_non_exhaustive()
    }
}

/// Where the key is, first that applies: the file that the operator named, the credentials' folder, beside the database.
#[must_use]
pub fn source(named: Option<&Path>, credentials: Option<&Path>, state: &Path) -> Source {
    if let Some(path) = named {
        return Source::File(path.to_owned());
    }
    match credentials.map(|folder| folder.join(CREDENTIAL)).filter(|path| path.is_file()) {
        Some(path) => Source::File(path),
        None => Source::Beside(state.join("power.key")),
    }
}

impl Vault {
    /// Reads the key, or makes it where it lies beside the database.
    ///
    /// # Errors
    /// [`VaultError`].
    pub fn open(source: &Source) -> Result<Self, VaultError> {
        match source {
            Source::File(path) => Ok(Self::new(&read(path)?)),
            Source::Beside(path) => match read(path) {
                Err(VaultError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                    let key = random::<32>()?;
                    write(path, &key).map_err(|source| VaultError::Io {
                        doing: "writing",
                        path: path.clone(),
                        source,
                    })?;
                    tracing::warn!(
                        path = %path.display(),
                        "the key of the BMC passwords lies beside the database: it protects copies of the database, not \
                         this machine; --power-key or the service manager's credentials keep it elsewhere"
                    );
                    Ok(Self::new(&key))
                }
                other => other.map(|key| Self::new(&key)),
            },
        }
    }

    fn new(key: &[u8; 32]) -> Self {
        let digest = sha256(&[b"ramet power key 1\0".as_slice(), key].concat());
        // The algorithm takes 32 bytes, which these are.
        let unbound = UnboundKey::new(&CHACHA20_POLY1305, key).expect("a key of 32 bytes");
        Self { key: LessSafeKey::new(unbound), id: [digest[0], digest[1], digest[2], digest[3]] }
    }

    /// Encrypts a machine's password.
    ///
    /// # Errors
    /// [`VaultError::Random`].
    pub fn seal(&self, machine: &[u8], secret: &Secret) -> Result<Vec<u8>, VaultError> {
        let nonce = random::<12>()?;
        let mut sealed = secret.expose().as_bytes().to_vec();
        self.key
            .seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), bound(machine), &mut sealed)
            .map_err(|_| VaultError::Damaged)?;
        Ok([&[1], self.id.as_slice(), &nonce, &sealed].concat())
    }

    /// Decrypts it.
    ///
    /// # Errors
    /// [`VaultError::Other`], [`VaultError::Damaged`].
    pub fn unseal(&self, machine: &[u8], blob: &[u8]) -> Result<Secret, VaultError> {
        if blob.len() < OVERHEAD || blob[0] != 1 {
            return Err(VaultError::Damaged);
        }
        let (id, rest) = blob[1..].split_at(4);
        if id != self.id {
            return Err(VaultError::Other { needed: hex(id), has: hex(&self.id) });
        }
        let (nonce, sealed) = rest.split_at(12);
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| VaultError::Damaged)?;
        let mut sealed = sealed.to_vec();
        let plain = self.key.open_in_place(nonce, bound(machine), &mut sealed).map_err(|_| VaultError::Damaged)?;
        String::from_utf8(plain.to_vec()).map(Secret::new).map_err(|_| VaultError::Damaged)
    }
}

fn bound(machine: &[u8]) -> Aad<Vec<u8>> {
    Aad::from([b"ramet power 1\0", machine].concat())
}

fn read(path: &Path) -> Result<[u8; 32], VaultError> {
    let failed = |source| VaultError::Io { doing: "reading", path: path.to_owned(), source };
    let wrong = |reason: String| VaultError::Key { path: path.to_owned(), reason };
    let file = std::fs::File::open(path).map_err(failed)?;
    let meta = file.metadata().map_err(failed)?;
    if meta.mode() & 0o007 != 0 {
        return Err(wrong(format!("everybody may use it: its mode is {:o}, it should be 600", meta.mode() & 0o777)));
    }
    let mut text = String::new();
    file.take(FILE_MAX).read_to_string(&mut text).map_err(failed)?;
    unhex::<32>(text.trim())
        .map_err(|_| wrong(format!("it has {} characters, 64 hex digits are needed", text.trim().len())))
}

fn write(path: &Path, key: &[u8; 32]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(format!("{}\n", hex(key)).as_bytes())?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn hush() -> Secret {
        Secret::new("hush".into())
    }

    #[test]
    fn a_password_opens_with_its_key_for_its_machine_and_for_nothing_else() {
        let (vault, other) = (Vault::new(&[7; 32]), Vault::new(&[8; 32]));
        let blob = vault.seal(b"m1", &hush()).unwrap();
        assert_eq!(vault.unseal(b"m1", &blob).unwrap(), hush());
        assert_ne!(vault.seal(b"m1", &hush()).unwrap(), blob, "the nonce is new each time");
        assert!(!blob.windows(4).any(|window| window == b"hush"));
        assert!(matches!(vault.unseal(b"m2", &blob), Err(VaultError::Damaged)));
        let error = other.unseal(b"m1", &blob).unwrap_err();
        assert!(matches!(error, VaultError::Other { .. }), "{error}");
        for at in [0, 6, 20, blob.len() - 1] {
            let mut damaged = blob.clone();
            damaged[at] ^= 1;
            assert!(vault.unseal(b"m1", &damaged).is_err(), "byte {at}");
        }
        assert!(matches!(vault.unseal(b"m1", &blob[..10]), Err(VaultError::Damaged)));
        assert!(!format!("{vault:?}").contains("0707"));
    }

    #[test]
    fn a_key_beside_the_database_is_made_once_and_private() {
        let state = tempfile::tempdir().unwrap();
        let source = source(None, None, state.path());
        let blob = Vault::open(&source).unwrap().seal(b"m", &hush()).unwrap();
        assert_eq!(Vault::open(&source).unwrap().unseal(b"m", &blob).unwrap(), hush());
        let mode = state.path().join("power.key").metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn a_key_that_was_named_must_be_there_whole_and_private() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        let open = || Vault::open(&Source::File(path.clone()));
        assert!(matches!(open().unwrap_err(), VaultError::Io { .. }));
        std::fs::write(&path, "00ff").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        assert!(open().unwrap_err().to_string().contains("has 4 characters, 64 hex digits"));
        std::fs::write(&path, "ab".repeat(32)).unwrap();
        open().unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        assert!(open().unwrap_err().to_string().contains("mode is 644"));
    }

    #[test]
    fn the_named_key_goes_before_credentials_before_the_state_folder() {
        let (credentials, state) = (tempfile::tempdir().unwrap(), Path::new("/state"));
        let named = Path::new("/etc/key");
        assert_eq!(source(None, Some(credentials.path()), state), Source::Beside("/state/power.key".into()));
        std::fs::write(credentials.path().join(CREDENTIAL), "x").unwrap();
        let own = credentials.path().join(CREDENTIAL);
        assert_eq!(source(None, Some(credentials.path()), state), Source::File(own));
        assert_eq!(source(Some(named), Some(credentials.path()), state), Source::File(named.to_owned()));
    }
}
