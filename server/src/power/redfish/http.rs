//! Redfish's requests (DMTF DSP0266).
//!
//! In: a BMC, user and password, a pin. Out: JSON of bounded length, or the kind of trouble.
//! Promise: the password goes only to the pinned BMC, in the header of a request; redirects and links to other hosts are
//! not followed.

use super::pinned::{Pin, Pinned};
use crate::power::address::Address;
use crate::power::{PowerError, Secret, Trouble, What};
use crate::text::chain;
use base64::Engine;
use ramet_wire::power::TEXT_MAX;
use serde_json::Value;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use ureq::http::{Request, StatusCode};
use ureq::unversioned::resolver::DefaultResolver;
use ureq::unversioned::transport::{Connector, TcpConnector};

/// Longest answer, in bytes.
const ANSWER_MAX: u64 = 1 << 20;
/// For a connection, and for a whole request. BMCs think slowly.
const WAITS: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(40));

/// A BMC that speaks Redfish.
#[derive(Clone, Debug)]
pub struct Http {
    agent: ureq::Agent,
    base: String,
    user: String,
    secret: Secret,
    pin: Arc<Pin>,
}

/// An answer of 2xx.
#[derive(Debug)]
pub struct Answer {
    /// Its ETag, to be sent back with a change.
    pub etag: Option<String>,
    /// Its JSON; null where there is none.
    pub body: Value,
}

impl Http {
    /// Nothing is sent yet.
    ///
    /// # Errors
    /// rustls's.
    pub fn new(address: &Address, user: String, secret: Secret, pin: Option<String>) -> Result<Self, rustls::Error> {
        let pin = Arc::new(Pin::new(pin));
        let connector = ().chain(TcpConnector::default()).chain(Pinned::new(Arc::clone(&pin))?);
        let config = ureq::Agent::config_builder()
            .https_only(true)
            .http_status_as_error(false)
            .max_redirects(0)
            .proxy(None)
            .max_idle_connections(0)
            .timeout_connect(Some(WAITS.0))
            .timeout_global(Some(WAITS.1))
            .build();
        let agent = ureq::Agent::with_parts(config, connector, DefaultResolver::default());
        Ok(Self { agent, base: format!("https://{}", address.in_url()), user, secret, pin })
    }

    /// The certificate that was shown last.
    #[must_use]
    pub fn shown(&self) -> Option<String> {
        self.pin.shown()
    }

    /// `GET`, with the password or without.
    ///
    /// # Errors
    /// [`PowerError`], as everywhere here.
    pub fn get(&self, what: What, path: &str, login: bool) -> Result<Answer, PowerError> {
        self.ask(what, "GET", path, None, None, login)
    }

    /// A change, with the password.
    ///
    /// # Errors
    /// [`PowerError`].
    pub fn send(
        &self,
        what: What,
        method: &str,
        path: &str,
        body: &Value,
        etag: Option<&str>,
    ) -> Result<Answer, PowerError> {
        self.ask(what, method, path, Some(body), etag, true)
    }

    fn ask(
        &self,
        what: What,
        method: &str,
        path: &str,
        body: Option<&Value>,
        etag: Option<&str>,
        login: bool,
    ) -> Result<Answer, PowerError> {
        let failed = |trouble, said: String| {
            PowerError::new(trouble, what, "redfish", self.secret.redact(&format!("{method} {path}: {said}")))
        };
        let mut request = Request::builder().method(method).uri(format!("{}{path}", self.base));
        request = request.header("accept", "application/json").header("odata-version", "4.0");
        if login {
            let plain = format!("{}:{}", self.user, self.secret.expose());
            let basic = base64::engine::general_purpose::STANDARD.encode(plain);
            request = request.header("authorization", format!("Basic {basic}"));
        }
        if let Some(etag) = etag {
            request = request.header("if-match", etag);
        }
        let bug = |error: ureq::http::Error| failed(Trouble::Settings, error.to_string());
        let response = match body {
            None => self.agent.run(request.body(()).map_err(bug)?),
            Some(body) => {
                let request = request.header("content-type", "application/json").body(body.to_string());
                self.agent.run(request.map_err(bug)?)
            }
        };
        let mut response = response.map_err(|error| self.broken(&error, &failed))?;
        let status = response.status();
        let header = |name: &str| response.headers().get(name).and_then(|value| Some(value.to_str().ok()?.to_owned()));
        let (etag, location) = (header("etag"), header("location"));
        let bytes = response.body_mut().with_config().limit(ANSWER_MAX).read_to_vec();
        let bytes = bytes.map_err(|error| self.broken(&error, &failed))?;
        let body: Value = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
        match judge(status, location.as_deref(), &body) {
            None => Ok(Answer { etag, body }),
            Some((trouble, said)) => Err(failed(trouble, said)),
        }
    }

    fn broken(&self, error: &ureq::Error, failed: &impl Fn(Trouble, String) -> PowerError) -> PowerError {
        if let Some((wanted, shown)) = self.pin.mismatch() {
            let words = "its certificate is another one than at the first contact";
            return failed(Trouble::Settings, format!("{words}: it is {shown}, pinned is {wanted}"));
        }
        let trouble = match error {
            ureq::Error::Timeout(_) => Trouble::Timeout,
            ureq::Error::Io(error) if error.kind() == io::ErrorKind::TimedOut => Trouble::Timeout,
            ureq::Error::Io(error) if error.kind() == io::ErrorKind::InvalidData => Trouble::Garbled,
            ureq::Error::Io(_) | ureq::Error::HostNotFound | ureq::Error::ConnectionFailed => Trouble::Unreachable,
            _ => Trouble::Garbled,
        };
        failed(trouble, chain(error))
    }
}

/// What a status means; none for 2xx.
fn judge(status: StatusCode, location: Option<&str>, body: &Value) -> Option<(Trouble, String)> {
    if status.is_success() {
        return None;
    }
    if status.is_redirection() {
        let to = location.unwrap_or("nowhere");
        return Some((Trouble::Refused, format!("status {status}: it redirects to {to}, which is not followed")));
    }
    let trouble = match status.as_u16() {
        401 | 403 => Trouble::Auth,
        404 | 405 | 501 => Trouble::Unsupported,
        409 | 412 | 423 | 429 | 500 | 502..=504 => Trouble::Busy,
        _ => Trouble::Refused,
    };
    let error = &body["error"];
    let message = error["@Message.ExtendedInfo"][0]["Message"].as_str().or_else(|| error["message"].as_str());
    Some((trouble, format!("status {status}: {}", message.unwrap_or("without a message"))))
}

/// A link of the service: a path on the same host.
#[must_use]
pub fn local(link: &str) -> Option<&str> {
    let plain = link.bytes().all(|c| c.is_ascii_alphanumeric() || b"/-._~:@!$&'()*+,;=%".contains(&c));
    let own = link.starts_with("/redfish/v1/") && !link.contains("//") && !link.contains("..");
    (plain && own && link.len() <= TEXT_MAX).then_some(link)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn links_to_other_hosts_and_out_of_the_service_are_not_followed() {
        assert!(local("/redfish/v1/Systems/1").is_some());
        assert!(local("/redfish/v1/Systems/437XR1138R2/Actions/ComputerSystem.Reset").is_some());
        for link in [
            "",
            "/",
            "/redfish/v1",
            "https://evil/redfish/v1/",
            "//evil/redfish/v1/",
            "/redfish/v1/../../x",
            "/redfish/v1//evil",
            "/redfish/v1/a b",
            "/redfish/v1/a?x",
            "/redfish/v1/a#x",
            "/redfish/v1/\r\nX: y",
        ] {
            assert_eq!(local(link), None, "{link}");
        }
        assert_eq!(local(&format!("/redfish/v1/{}", "a".repeat(300))), None);
    }

    #[test]
    fn each_status_is_its_own_trouble_and_the_bmcs_message_is_told() {
        let body = json!({ "error": { "@Message.ExtendedInfo": [{ "Message": "The lid is open." }] } });
        for (status, trouble) in [
            (401, Trouble::Auth),
            (403, Trouble::Auth),
            (404, Trouble::Unsupported),
            (409, Trouble::Busy),
            (503, Trouble::Busy),
            (400, Trouble::Refused),
        ] {
            let (found, said) = judge(StatusCode::from_u16(status).unwrap(), None, &body).unwrap();
            assert_eq!(found, trouble);
            assert!(said.ends_with("The lid is open."), "{said}");
        }
        let (trouble, said) = judge(StatusCode::FOUND, Some("https://evil/"), &Value::Null).unwrap();
        assert_eq!(trouble, Trouble::Refused);
        assert!(said.contains("redirects to https://evil/, which is not followed"), "{said}");
        assert_eq!(judge(StatusCode::NO_CONTENT, None, &Value::Null), None);
    }
}
