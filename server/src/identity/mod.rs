//! Who the server is: one key that signs manifests, receipts and the TLS leaf.
//!
//! In: `identity.key` of the state folder, made at the first start. Out: signatures, a CA certificate, its fingerprint.
//! Promise: the key is never in the store and never leaves the folder, except in a backup.

pub mod judged;
pub mod names;
pub mod tls;

use crate::state::Layout;
use ramet_store::StoreError;
use ramet_store::key::SigningKey;
use ramet_wire::Fingerprint;
use ramet_wire::sign::PublicKey;
use rcgen::{CertificateParams, DnType, IsCa, KeyPair, KeyUsagePurpose};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use std::sync::Arc;

/// Why there is no usable identity.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// The key file.
    #[error("loading the identity")]
    Key(#[source] StoreError),
    /// A certificate cannot be made.
    #[error("making a certificate for {names}")]
    Certificate {
        /// The names it was for.
        names: String,
        /// Why.
        source: rcgen::Error,
    },
    /// TLS cannot be set up.
    #[error("setting up TLS")]
    Tls(#[source] rustls::Error),
}

/// A server's identity.
#[derive(Clone, Debug)]
pub struct Identity {
    key: Arc<SigningKey>,
}

impl Identity {
    /// Reads the identity of a state folder.
    ///
    /// # Errors
    /// [`IdentityError::Key`].
    pub fn load(layout: &Layout) -> Result<Self, IdentityError> {
        let key = SigningKey::load(&layout.identity()).map_err(IdentityError::Key)?;
        Ok(Self { key: Arc::new(key) })
    }

    /// Reads it, or makes one at the first start.
    ///
    /// # Errors
    /// [`IdentityError::Key`].
    pub fn load_or_create(layout: &Layout) -> Result<Self, IdentityError> {
        if layout.identity().exists() {
            return Self::load(layout);
        }
        let key = SigningKey::generate(&layout.identity()).map_err(IdentityError::Key)?;
        Ok(Self { key: Arc::new(key) })
    }

    /// The key, for manifests and receipts.
    #[must_use]
    pub fn key(&self) -> &SigningKey {
        &self.key
    }

    /// The public half.
    #[must_use]
    pub fn public_key(&self) -> PublicKey {
        self.key.public_key()
    }

    /// What `ramet key` prints.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        self.public_key().fingerprint()
    }

    /// A fresh leaf for `names` with a key of its own, and the CA that signed it.
    ///
    /// # Errors
    /// [`IdentityError::Certificate`].
    pub fn issue(&self, names: &names::Names) -> Result<Chain, IdentityError> {
        let failed = |source| IdentityError::Certificate { names: names.to_string(), source };
        let pkcs8 = PrivatePkcs8KeyDer::from(self.key.pkcs8());
        let key = KeyPair::from_pkcs8_der_and_sign_algo(&pkcs8, &rcgen::PKCS_ECDSA_P256_SHA256).map_err(failed)?;
        let ca = ca_params(&self.fingerprint());
        let ca = rcgen::CertifiedIssuer::self_signed(ca, key).map_err(failed)?;
        let mut params = CertificateParams::new(names.all().to_vec()).map_err(failed)?;
        for_ever(&mut params);
        params.distinguished_name.push(DnType::CommonName, "ramet server");
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        let leaf_key = KeyPair::generate().map_err(failed)?;
        let leaf = params.signed_by(&leaf_key, &ca).map_err(failed)?;
        let private = PrivatePkcs8KeyDer::from(leaf_key.serialize_der());
        Ok(Chain { certificates: vec![leaf.der().clone(), ca.der().clone()], key: private.into() })
    }
}

/// What a TLS server presents: the leaf, then the CA, and the leaf's key.
#[derive(Debug)]
pub struct Chain {
    /// Leaf first; the CA is sent too, so that an agent can compare its key with the pinned fingerprint.
    pub certificates: Vec<CertificateDer<'static>>,
    /// The leaf's private key.
    pub key: PrivateKeyDer<'static>,
}

fn ca_params(fingerprint: &Fingerprint) -> CertificateParams {
    let mut params = CertificateParams::default();
    for_ever(&mut params);
    params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
    let digits = ramet_wire::id::hex(&fingerprint.0[..8]);
    params.distinguished_name.push(DnType::CommonName, format!("ramet identity {digits}"));
    params
}

/// Clocks of bare machines are wrong: nothing here ever expires. Revocation is by identity.
fn for_ever(params: &mut CertificateParams) {
    params.not_before = rcgen::date_time_ymd(1970, 1, 1);
    params.not_after = rcgen::date_time_ymd(9999, 12, 31);
    params.distinguished_name = rcgen::DistinguishedName::new();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_identity_survives_restarts_and_signs_the_ca_of_every_leaf() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path());
        let made = Identity::load_or_create(&layout).unwrap();
        let again = Identity::load_or_create(&layout).unwrap();
        assert_eq!(made.fingerprint(), again.fingerprint());
        let names = names::Names::new(None, "127.0.0.1:4433".parse().unwrap()).unwrap();
        let (one, two) = (made.issue(&names).unwrap(), again.issue(&names).unwrap());
        assert_ne!(one.certificates[0], two.certificates[0], "leaf keys are made anew");
        for chain in [one, two] {
            let key = crate::client::pin::public_key_of(&chain.certificates[1]).unwrap();
            assert_eq!(key.fingerprint(), made.fingerprint());
        }
    }

    #[test]
    fn leaf_and_ca_are_valid_whatever_a_bare_machines_clock_says() {
        let dir = tempfile::tempdir().unwrap();
        let identity = Identity::load_or_create(&Layout::new(dir.path())).unwrap();
        let names = names::Names::new(None, "127.0.0.1:4433".parse().unwrap()).unwrap();
        for certificate in identity.issue(&names).unwrap().certificates {
            // UTCTime up to 2049, GeneralizedTime from 2050 (RFC 5280, 4.1.2.5).
            for time in [&b"\x17\x0d700101000000Z"[..], b"\x18\x0f99991231000000Z"] {
                assert!(certificate.windows(time.len()).any(|window| window == time));
            }
        }
    }
}
