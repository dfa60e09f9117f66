//! The key that signs: a server's identity, or the key of a folder store.
//!
//! In: a file outside the store with a private key (PKCS#8, mode 0600). Out: signatures over a domain and bytes.
//! Promise: the private half is never written into a store and never printed.

use crate::error::{Doing, StoreError};
use ramet_wire::sign::{Domain, PublicKey, Signature};
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair};
use std::fs::{self, File, Permissions};
use std::io::Write;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Longest key file, in bytes; a P-256 key in PKCS#8 takes 138.
const KEY_MAX: u64 = 4096;

/// An ECDSA P-256 key pair.
pub struct SigningKey {
    pair: EcdsaKeyPair,
    pkcs8: Vec<u8>,
    public: PublicKey,
}

impl std::fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SigningKey({})", self.public.fingerprint())
    }
}

impl SigningKey {
    /// Makes a new key and writes it to `path`, which must not exist; folders above it are made, mode 0700.
    ///
    /// # Errors
    /// [`StoreError::Io`] when the file exists or cannot be written; [`StoreError::Key`] without random bytes.
    pub fn generate(path: &Path) -> Result<Self, StoreError> {
        let refused = |reason: &str| StoreError::Key { path: path.to_owned(), reason: reason.to_owned() };
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &SystemRandom::new())
            .map_err(|_| refused("the system gives no random bytes"))?;
        let doing = || format!("writing key {}", path.display());
        if let Some(parent) = path.parent().filter(|parent| !parent.exists()) {
            fs::create_dir_all(parent).doing(doing)?;
            fs::set_permissions(parent, Permissions::from_mode(0o700)).doing(doing)?;
        }
        // Written under another name first: a key file is whole or not there.
        let half = path.with_extension("new");
        let _ = fs::remove_file(&half);
        let mut file = File::options().write(true).create_new(true).mode(0o600).open(&half).doing(doing)?;
        file.write_all(pkcs8.as_ref()).and_then(|()| file.sync_all()).doing(doing)?;
        // A link, not a rename: it never replaces a key that exists.
        let linked = fs::hard_link(&half, path);
        let _ = fs::remove_file(&half);
        linked.doing(doing)?;
        crate::files::sync_dir(path.parent().unwrap_or(Path::new("."))).doing(doing)?;
        Self::from_pkcs8(pkcs8.as_ref(), path)
    }

    /// Reads the key in `path`. One that others can read is refused.
    ///
    /// # Errors
    /// [`StoreError::Io`] when it cannot be read, [`StoreError::Key`] when it is no such key or open to others.
    pub fn load(path: &Path) -> Result<Self, StoreError> {
        let doing = || format!("reading key {}", path.display());
        let mode = fs::metadata(path).doing(doing)?.permissions().mode();
        if mode & 0o077 != 0 {
            let reason = format!("mode is {:04o}, others can read it; 0600 is wanted", mode & 0o7777);
            return Err(StoreError::Key { path: path.to_owned(), reason });
        }
        let bytes = crate::files::read_bounded(path, KEY_MAX)?.unwrap_or_default();
        Self::from_pkcs8(&bytes, path)
    }

    /// The key whose PKCS#8 form is `bytes`, for instance out of a backup; `path` is for messages.
    ///
    /// # Errors
    /// [`StoreError::Key`] when it is no P-256 key.
    pub fn from_pkcs8(bytes: &[u8], path: &Path) -> Result<Self, StoreError> {
        let refused = |reason: String| StoreError::Key { path: path.to_owned(), reason };
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, bytes, &SystemRandom::new())
            .map_err(|error| refused(format!("no ECDSA P-256 key in PKCS#8: {error}")))?;
        let point: [u8; 65] = pair
            .public_key()
            .as_ref()
            .try_into()
            .map_err(|_| refused("public key has another length than 65 bytes".to_owned()))?;
        Ok(Self { pair, pkcs8: bytes.to_vec(), public: PublicKey(point) })
    }

    /// The private key as it lies in its file, for the server's certificate and its backup.
    #[must_use]
    pub fn pkcs8(&self) -> &[u8] {
        &self.pkcs8
    }

    /// The public half.
    #[must_use]
    pub const fn public_key(&self) -> PublicKey {
        self.public
    }

    /// Signs `bytes` for `domain`: ECDSA P-256 with SHA-256, ASN.1 DER.
    ///
    /// # Errors
    /// [`StoreError::Bug`] when the system gives no random bytes.
    pub fn sign(&self, domain: Domain, bytes: &[u8]) -> Result<Signature, StoreError> {
        let signature = self.pair.sign(&SystemRandom::new(), &domain.message(bytes));
        let signature = signature.map_err(|_| StoreError::Bug("signing: no random bytes".to_owned()))?;
        Ok(Signature(signature.as_ref().to_vec()))
    }
}

/// Where the private key of the folder store with this public key lies: `$XDG_CONFIG_HOME/ramet/keys/<fingerprint>`,
/// `~/.config` when the variable is not set. The store's folder never holds it.
#[must_use]
pub fn default_key_path(public_key: &PublicKey) -> Option<PathBuf> {
    let digits = ramet_wire::id::hex(&public_key.fingerprint().0);
    Some(default_key_folder()?.join(format!("{digits}.key")))
}

/// The folder of [`default_key_path`]; none when neither `XDG_CONFIG_HOME` nor `HOME` is set.
#[must_use]
pub fn default_key_folder() -> Option<PathBuf> {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let config = set("XDG_CONFIG_HOME").or_else(|| Some(set("HOME")?.join(".config")))?;
    Some(config.join("ramet").join("keys"))
}

/// Makes a key for a new folder store in `folder` and names its file by its fingerprint.
///
/// # Errors
/// Those of [`SigningKey::generate`].
pub fn generate_in(folder: &Path) -> Result<SigningKey, StoreError> {
    let doing = || format!("writing a key into {}", folder.display());
    let temporary = folder.join(crate::files::random_name().doing(doing)?);
    let key = SigningKey::generate(&temporary)?;
    let name = format!("{}.key", ramet_wire::id::hex(&key.public_key().fingerprint().0));
    fs::rename(&temporary, folder.join(name)).doing(doing)?;
    crate::files::sync_dir(folder).doing(doing)?;
    Ok(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_survives_its_file_and_signs_for_one_domain() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("deep/er/identity.key");
        let made = SigningKey::generate(&path).unwrap();
        let key = SigningKey::load(&path).unwrap();
        assert_eq!(key.public_key(), made.public_key());
        let signature = key.sign(Domain::Manifest, b"bytes").unwrap();
        assert!(made.public_key().verifies(Domain::Manifest, b"bytes", &signature.0));
        assert!(!made.public_key().verifies(Domain::Receipt, b"bytes", &signature.0));
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn refuses_to_replace_a_key_and_to_use_one_that_others_can_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("identity.key");
        SigningKey::generate(&path).unwrap();
        assert!(SigningKey::generate(&path).is_err());
        fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
        assert!(SigningKey::load(&path).unwrap_err().to_string().contains("0644"));
        fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        fs::write(&path, b"not a key").unwrap();
        assert!(matches!(SigningKey::load(&path), Err(StoreError::Key { .. })));
    }

    #[test]
    fn the_key_of_a_folder_store_lies_in_a_folder_of_its_own_named_by_its_fingerprint() {
        let dir = tempfile::tempdir().unwrap();
        let key = generate_in(dir.path()).unwrap();
        let name = default_key_path(&key.public_key()).unwrap();
        assert!(name.parent().unwrap().ends_with("ramet/keys"));
        let again = SigningKey::load(&dir.path().join(name.file_name().unwrap())).unwrap();
        assert_eq!(again.public_key(), key.public_key());
    }
}
