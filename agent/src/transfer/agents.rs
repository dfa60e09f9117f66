//! The server as an agent without a token sees it: a desk that tells what to do.
//!
//! In: who this machine is, a PIN. Out: orders, a token of a PIN, and with a token the images that may be restored.
//! Promise: nothing is sent before the identity was compared; what the server says is bounded and cleaned before it is shown.

use super::TransferError;
use super::client::{Ask, Client, Limits};
use super::http::{Address, JSON, post, post_raw, read_json};
use ramet_wire::Fingerprint;
use ramet_wire::adapt::Booted;
use ramet_wire::agents::{EnterPin, Hello, Orders, PinAccepted};
use ramet_wire::api::{ImageInfo, ServerVersion};
use ramet_wire::jobs::{JobBeat, JobLeaving, JobWord};
use serde::de::DeserializeOwned;
use ureq::http::Method;

/// Longest list of images that is read, in bytes.
const LIST_MAX: u64 = 16 << 20;
/// Longest sentence of a server that is shown, in characters.
const MESSAGE_MAX: usize = 200;
/// Longest code that is shown; codes have 8 characters.
const CODE_MAX: usize = 16;

/// A server whose identity was compared.
#[derive(Debug)]
pub struct Desk {
    client: Client,
    url: String,
}

impl Desk {
    /// Connects to `url` and compares its identity with `key`. Without a key, `accept` decides.
    ///
    /// # Errors
    /// [`TransferError::Identity`] for another identity; [`TransferError::Away`] when nobody answers.
    pub fn connect(
        url: &str,
        key: Option<Fingerprint>,
        accept: &dyn Fn(Fingerprint) -> bool,
        limits: Limits,
    ) -> Result<Self, TransferError> {
        let client = Client::connect(url, key, accept, limits)?;
        Ok(Self { client, url: url.to_owned() })
    }

    /// The server's URL, as it was given.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The identity that was found.
    #[must_use]
    pub fn key(&self) -> Fingerprint {
        self.client.key().fingerprint()
    }

    /// Says who this is and hears what to do.
    ///
    /// # Errors
    /// [`TransferError`].
    pub fn hello(&self, hello: &Hello) -> Result<Orders, TransferError> {
        let mut orders: Orders = post(&self.client, "asking for work", "/v1/agents", hello)?;
        orders.code = orders.code.chars().filter(char::is_ascii_alphanumeric).take(CODE_MAX).collect();
        orders.message = shown(&orders.message);
        Ok(orders)
    }

    /// From now on this desk speaks for the job that this token or session is of.
    pub fn authorize(&mut self, secret: String) {
        self.client.authorize(secret);
    }

    /// The job's agent lives; the server's word whether it shall go on. Not tried again: the next one comes soon.
    ///
    /// # Errors
    /// [`TransferError`].
    pub fn beat(&self, beat: &JobBeat) -> Result<JobWord, TransferError> {
        let what = "reporting the job's progress";
        let mut word: JobWord = read_json(what, &post_raw(&self.client, what, "/v1/jobs/current", beat, false)?)?;
        word.message = shown(&word.message);
        Ok(word)
    }

    /// The last word of a job's agent.
    ///
    /// # Errors
    /// [`TransferError`].
    pub fn leave(&self, leaving: &JobLeaving) -> Result<(), TransferError> {
        post_raw(&self.client, "leaving the job", "/v1/jobs/current/leaving", leaving, true).map(drop)
    }

    /// A clone says who it is, with the token of its first boot.
    ///
    /// # Errors
    /// [`TransferError::Answer`] of kind `Refused` where the token is good for nothing more.
    pub fn booted(&self, booted: &Booted) -> Result<(), TransferError> {
        post_raw(&self.client, "saying that this machine has booted", "/v1/first-boot", booted, true).map(drop)
    }

    /// Exchanges a PIN for a token.
    ///
    /// # Errors
    /// [`TransferError::Answer`] of kind `Refused` for a wrong one.
    pub fn pin(&self, pin: &EnterPin) -> Result<PinAccepted, TransferError> {
        post(&self.client, "checking the PIN", "/v1/agents/pin", pin)
    }

    /// Who is there.
    ///
    /// # Errors
    /// [`TransferError`].
    pub fn version(&self) -> Result<ServerVersion, TransferError> {
        get(&self.client, "asking for the server's version", "/v1/version")
    }
}

/// The images that `address.token` may restore, by name and age.
///
/// # Errors
/// [`TransferError`]; without a pinned key the identity is refused.
pub fn images(address: &Address) -> Result<Vec<ImageInfo>, TransferError> {
    let mut client = Client::connect(&address.url, address.key, &|_| false, address.limits)?;
    client.authorize(address.token.clone());
    get(&client, "asking which images there are", "/v1/agents/images")
}

fn get<A: DeserializeOwned>(client: &Client, what: &str, path: &str) -> Result<A, TransferError> {
    let (method, body, also): (_, &[u8], &[u16]) = (&Method::GET, &[], &[]);
    let ask = Ask { what, method, path, body, content_type: JSON, also, limit: LIST_MAX, retry: true };
    read_json(what, &client.ask(ask)?)
}

/// A server's words without control characters, cut to a console's length.
fn shown(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(MESSAGE_MAX).collect()
}
