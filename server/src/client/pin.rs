//! Is the other side the server that was pinned?
//!
//! In: an address and a fingerprint. Out: the server's CA certificate, to be the only root from then on.
//! Promise: one bare TLS handshake; not a byte of HTTP is sent before the fingerprint was compared.

use crate::identity::judged;
use ramet_wire::Fingerprint;
use ramet_wire::sign::PublicKey;
use rustls::ClientConnection;
use rustls::pki_types::{CertificateDer, ServerName};
use std::io;
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

/// Longest wait for the handshake.
const WAIT: Duration = Duration::from_secs(20);
/// SubjectPublicKeyInfo of a P-256 key up to its point (RFC 5480, 2).
const P256_SPKI: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce,
    0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];

/// Why a server is not the pinned one, or cannot be asked.
#[derive(Debug, thiserror::Error)]
pub enum PinError {
    /// The URL is none.
    #[error("server {0:?} is not https://HOST[:PORT]")]
    Url(String),
    /// No connection.
    #[error("connecting to {address}")]
    Connect {
        /// Where to.
        address: String,
        /// Why not.
        source: io::Error,
    },
    /// No handshake.
    #[error("shaking hands with {address}")]
    Handshake {
        /// With whom.
        address: String,
        /// Why not.
        source: io::Error,
    },
    /// The chain has no CA with a P-256 key.
    #[error("{address} shows no identity: its certificates have no P-256 CA")]
    NoIdentity {
        /// Who.
        address: String,
    },
    /// Another identity.
    #[error("{address} has key {found}, pinned is {pinned}")]
    Other {
        /// Who.
        address: String,
        /// What it shows.
        found: Fingerprint,
        /// What was asked for.
        pinned: Fingerprint,
    },
}

/// Host and port of `https://HOST[:PORT]`; 443 where no port is given, as HTTP clients take it.
pub(crate) fn host_and_port(url: &str) -> Option<(String, u16)> {
    let rest = url.strip_prefix("https://")?.trim_end_matches('/');
    let name = crate::identity::names::split_host(rest)?;
    let port = rest.rsplit_once(':').filter(|(before, _)| before.ends_with(']') || !before.contains(':'));
    let port = port.map_or(Some(443), |(_, port)| port.parse().ok())?;
    Some((name.to_owned(), port))
}

/// The identity that a server shows, and the certificate that carries it. Proves nothing yet.
///
/// # Errors
/// [`PinError`].
pub fn show(url: &str) -> Result<(Fingerprint, CertificateDer<'static>), PinError> {
    let (host, port) = host_and_port(url).ok_or_else(|| PinError::Url(crate::text::clean(url, 200)))?;
    let address = format!("{host}:{port}");
    let mut tcp = connect(&host, port).map_err(|source| PinError::Connect { address: address.clone(), source })?;
    let failed = |source| PinError::Handshake { address: address.clone(), source };
    // This handshake only looks. The requests that follow trust the compared CA and nothing else, and their own handshakes
    // prove that the server holds the keys.
    let config = judged::client_config(|_| Ok(())).map_err(|error| failed(io::Error::other(error)))?;
    let name = ServerName::try_from(host).map_err(|error| failed(io::Error::other(error)))?;
    let mut tls = ClientConnection::new(config, name).map_err(|error| failed(io::Error::other(error)))?;
    while tls.is_handshaking() {
        tls.complete_io(&mut tcp).map_err(failed)?;
    }
    let ca = tls.peer_certificates().and_then(<[_]>::last).cloned();
    tls.send_close_notify();
    let _ = tls.complete_io(&mut tcp);
    let shown = ca.and_then(|ca| Some((public_key_of(&ca)?.fingerprint(), ca.into_owned())));
    shown.ok_or(PinError::NoIdentity { address })
}

/// The CA of the server at `url`, if its key is the pinned one.
///
/// # Errors
/// [`PinError::Other`] with both fingerprints; the others when the server cannot be asked.
pub fn pinned_ca(url: &str, pinned: Fingerprint) -> Result<CertificateDer<'static>, PinError> {
    let (found, ca) = show(url)?;
    if found == pinned {
        return Ok(ca);
    }
    let address = url.strip_prefix("https://").unwrap_or(url).to_owned();
    Err(PinError::Other { address, found, pinned })
}

fn connect(host: &str, port: u16) -> io::Result<TcpStream> {
    let mut last = io::Error::other("the name has no address");
    for address in (host, port).to_socket_addrs()?.take(8) {
        match TcpStream::connect_timeout(&address, WAIT) {
            Ok(tcp) => {
                tcp.set_read_timeout(Some(WAIT))?;
                tcp.set_write_timeout(Some(WAIT))?;
                return Ok(tcp);
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// The P-256 point of a certificate.
#[must_use]
pub fn public_key_of(certificate: &CertificateDer<'_>) -> Option<PublicKey> {
    let parsed = rustls::server::ParsedCertificate::try_from(certificate).ok()?;
    let spki = parsed.subject_public_key_info();
    let point: [u8; 65] = spki.as_ref().strip_prefix(&P256_SPKI)?.try_into().ok()?;
    (point[0] == 4).then_some(PublicKey(point))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_url_is_host_and_port() {
        let read = |url| host_and_port(url).map(|(host, port)| format!("{host} {port}"));
        assert_eq!(read("https://a:7/").as_deref(), Some("a 7"));
        assert_eq!(read("https://a").as_deref(), Some("a 443"));
        assert_eq!(read("https://[::1]:8").as_deref(), Some("::1 8"));
        assert_eq!(read("https://[::1]").as_deref(), Some("::1 443"));
        assert_eq!(read("http://a"), None);
        assert_eq!(read("https://a/b"), None);
    }
}
