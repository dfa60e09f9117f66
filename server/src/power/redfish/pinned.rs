//! TLS to a BMC: whatever its certificate says, it is the one of the first contact.
//!
//! In: a pin, or none at the first contact. Out: a connector for the HTTP client, and the certificate that was shown.
//! Promise: the peer proves in every handshake that it holds the certificate's key; with a pin, no other certificate is
//! spoken to, and not a byte of HTTP goes to it.

use crate::identity::judged;
use ramet_wire::id::{hex, sha256};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, StreamOwned};
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex, PoisonError};
use ureq::unversioned::transport::{
    Buffers, ConnectionDetails, Connector, LazyBuffers, NextTimeout, Transport, TransportAdapter,
};

/// `sha256:` and 64 hex digits, of a whole certificate: BMCs sign theirs themselves, and make a new key with a new one.
#[must_use]
pub fn fingerprint(certificate: &CertificateDer<'_>) -> String {
    format!("sha256:{}", hex(&sha256(certificate)))
}

/// What is expected, and what was shown last.
#[derive(Debug, Default)]
pub struct Pin(Mutex<Seen>);

#[derive(Debug, Default)]
struct Seen {
    wanted: Option<String>,
    shown: Option<String>,
}

impl Pin {
    /// Where nothing is wanted, the first certificate that is shown is wanted from then on.
    #[must_use]
    pub fn new(wanted: Option<String>) -> Self {
        Self(Mutex::new(Seen { wanted, shown: None }))
    }

    fn look<T>(&self, with: impl FnOnce(&mut Seen) -> T) -> T {
        with(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The certificate of the last handshake.
    #[must_use]
    pub fn shown(&self) -> Option<String> {
        self.look(|seen| seen.shown.clone())
    }

    /// Takes note of `certificate`, and refuses one that is not wanted.
    fn judge(&self, certificate: &CertificateDer<'_>) -> Result<(), rustls::Error> {
        let shown = fingerprint(certificate);
        self.look(|seen| {
            seen.wanted.get_or_insert_with(|| shown.clone());
            seen.shown = Some(shown);
        });
        match self.mismatch() {
            None => Ok(()),
            Some(_) => Err(rustls::Error::InvalidCertificate(rustls::CertificateError::ApplicationVerificationFailure)),
        }
    }

    /// Both, where they differ: wanted, shown.
    #[must_use]
    pub fn mismatch(&self) -> Option<(String, String)> {
        self.look(|seen| seen.wanted.clone().zip(seen.shown.clone())).filter(|(wanted, shown)| wanted != shown)
    }
}

/// Wraps connections in TLS that looks at the pin.
#[derive(Debug)]
pub struct Pinned {
    config: Arc<ClientConfig>,
}

impl Pinned {
    /// A connector that tells `pin` what it sees.
    ///
    /// # Errors
    /// rustls's, when its provider has no TLS version.
    pub fn new(pin: Arc<Pin>) -> Result<Self, rustls::Error> {
        Ok(Self { config: judged::client_config(move |certificate| pin.judge(certificate))? })
    }
}

impl<In: Transport> Connector<In> for Pinned {
    type Out = Wrapped;

    fn connect(&self, details: &ConnectionDetails<'_>, chained: Option<In>) -> Result<Option<Wrapped>, ureq::Error> {
        let Some(below) = chained else { return Ok(None) };
        // The name is not looked at; one that TLS does not know, such as one with `_`, is not sent.
        let host = details.uri.host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
        let name = ServerName::try_from(host).unwrap_or(ServerName::IpAddress(IpAddr::V4(Ipv4Addr::LOCALHOST).into()));
        let mut conn = ClientConnection::new(Arc::clone(&self.config), name).map_err(ureq::Error::Rustls)?;
        let mut sock = TransportAdapter::new(below.boxed(), details.current_time.clone());
        sock.set_timeout(details.timeout);
        conn.complete_io(&mut sock)?;
        let buffers = LazyBuffers::new(details.config.input_buffer_size(), details.config.output_buffer_size());
        Ok(Some(Wrapped { buffers, stream: StreamOwned { conn, sock } }))
    }
}

/// A connection inside TLS.
pub struct Wrapped {
    buffers: LazyBuffers,
    stream: StreamOwned<ClientConnection, TransportAdapter>,
}

impl std::fmt::Debug for Wrapped {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Wrapped")
    }
}

impl Transport for Wrapped {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), ureq::Error> {
        self.stream.get_mut().set_timeout(timeout);
        Ok(self.stream.write_all(&self.buffers.output()[..amount])?)
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, ureq::Error> {
        self.stream.get_mut().set_timeout(timeout);
        let amount = self.stream.read(self.buffers.input_append_buf())?;
        self.buffers.input_appended(amount);
        Ok(amount > 0)
    }

    fn is_open(&mut self) -> bool {
        self.stream.get_mut().get_mut().is_open()
    }

    fn is_tls(&self) -> bool {
        true
    }
}
