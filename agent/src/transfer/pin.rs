//! Whom the agent talks to: one bare TLS handshake finds the server's identity, and only that is trusted after.
//!
//! In: host, port, and the fingerprint that was pinned. Out: the identity's CA certificate and its public key.
//! Promise: not one byte of a request is sent before the fingerprint was compared.

use super::TransferError;
use ramet_wire::sign::PublicKey;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, RootCertStore, SignatureScheme};
use std::net::{TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::time::Duration;

/// `AlgorithmIdentifier` of an EC key on P-256 and the BIT STRING header before its point (RFC 5480, 2.1.1).
const P256_SPKI: [u8; 24] = [
    0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03,
    0x01, 0x07, 0x03, 0x42, 0x00,
];

/// Longest certificate looked at, in bytes.
const CERTIFICATE_MAX: usize = 64 << 10;

/// A server's identity as its TLS chain shows it.
#[derive(Clone, Debug)]
pub struct Identity {
    /// The private CA, DER.
    pub ca: Vec<u8>,
    /// Its public key, which also signs manifests and receipts.
    pub key: PublicKey,
}

/// The provider both TLS clients use. Where the processor has no AES instructions, ChaCha20 comes first: in software it
/// is several times as fast, and has no tables that leak.
#[must_use]
pub fn provider() -> Arc<CryptoProvider> {
    let mut provider = rustls::crypto::ring::default_provider();
    let processor = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    if !has_aes(&processor) {
        // A stable sort: among themselves they keep rustls's order.
        provider.cipher_suites.sort_by_key(|suite| !format!("{:?}", suite.suite()).contains("CHACHA20"));
    }
    Arc::new(provider)
}

/// Whether `/proc/cpuinfo` names the flag `aes`. An unreadable one counts as yes: then rustls's own order holds.
fn has_aes(processor: &str) -> bool {
    let flags = |line: &&str| line.starts_with("flags") || line.starts_with("Features");
    processor.lines().find(flags).is_none_or(|line| line.split_whitespace().any(|flag| flag == "aes"))
}

/// Makes one handshake with `host:port` and returns the identity at the end of the chain. Nothing is sent over it.
///
/// # Errors
/// [`TransferError::Away`] when nobody answers, [`TransferError::Damaged`] when the chain holds no P-256 identity.
pub fn identity(host: &str, port: u16, timeout: Duration) -> Result<Identity, TransferError> {
    let tcp = connect(host, port, timeout).map_err(|error| TransferError::Away {
        what: format!("connecting to {host} port {port}"),
        tries: 1,
        source: Box::new(error),
    })?;
    identity_over(tcp, host, port)
}

/// The same over a connection that is there already, with its own timeouts.
///
/// # Errors
/// As [`identity`].
pub fn identity_over(mut tcp: TcpStream, host: &str, port: u16) -> Result<Identity, TransferError> {
    let what = || format!("connecting to {host} port {port}");
    let away =
        |source: Box<dyn std::error::Error + Send + Sync>| TransferError::Away { what: what(), tries: 1, source };
    let name = ServerName::try_from(host.to_owned()).map_err(|error| away(Box::new(error)))?;
    let provider = provider();
    let config = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| away(Box::new(error)))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Look { provider }))
        .with_no_client_auth();
    let mut tls = ClientConnection::new(Arc::new(config), name).map_err(|error| away(Box::new(error)))?;
    while tls.is_handshaking() {
        tls.complete_io(&mut tcp).map_err(|error| away(Box::new(error)))?;
    }
    let damaged = |message: String| TransferError::Damaged { what: what(), message };
    let chain = tls.peer_certificates().unwrap_or_default();
    let ca = chain.last().ok_or_else(|| damaged("the server sent no certificate".to_owned()))?;
    let key = key_of(ca).ok_or_else(|| damaged("the last certificate of the chain is no P-256 identity".to_owned()))?;
    Ok(Identity { ca: ca.to_vec(), key })
}

fn connect(host: &str, port: u16, timeout: Duration) -> std::io::Result<TcpStream> {
    let mut last = std::io::Error::new(std::io::ErrorKind::NotFound, "the name has no address");
    for address in (host.trim_start_matches('[').trim_end_matches(']'), port).to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, timeout) {
            Ok(tcp) => {
                tcp.set_read_timeout(Some(timeout))?;
                tcp.set_write_timeout(Some(timeout))?;
                return Ok(tcp);
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// The P-256 point in a certificate's SubjectPublicKeyInfo.
fn key_of(ca: &CertificateDer<'_>) -> Option<PublicKey> {
    if ca.len() > CERTIFICATE_MAX {
        return None;
    }
    let mut roots = RootCertStore::empty();
    roots.add(ca.clone().into_owned()).ok()?;
    let spki = &roots.roots.first()?.subject_public_key_info;
    let point = spki.strip_prefix(P256_SPKI.as_slice())?;
    let point: [u8; 65] = point.try_into().ok()?;
    (point[0] == 4).then_some(PublicKey(point))
}

/// Accepts any chain whose leaf signed this handshake: the point is to see the chain, not to trust it.
#[derive(Debug)]
struct Look {
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Look {
    fn verify_server_cert(
        &self,
        _leaf: &CertificateDer<'_>,
        _chain: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, leaf, signed, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, leaf, signed, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_flag_aes_is_a_word_of_its_own() {
        assert!(has_aes("processor\t: 0\nflags\t\t: fpu aes sse4_2\n"));
        assert!(!has_aes("flags\t\t: fpu vaes aesx\n"));
        assert!(has_aes(""));
    }

    #[test]
    fn chacha_is_offered_first_only_without_aes() {
        let first = format!("{:?}", provider().cipher_suites[0].suite());
        let aes = has_aes(&std::fs::read_to_string("/proc/cpuinfo").unwrap());
        assert_eq!(first.contains("CHACHA20"), !aes);
    }
}
