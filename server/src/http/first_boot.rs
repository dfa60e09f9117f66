//! A clone calls: it has booted from its own disk, and says who it is.
//!
//! In: a token of its job, once; words of a system that an operator made. Out: nothing but whether it was heard.
//! Promise: the token opens this and nothing else; what is said is bounded and cleaned before it is kept.

use super::auth::Principal;
use super::error::Refusal;
use super::{App, json};
use crate::db::first_boot;
use crate::text::clean;
use axum::Extension;
use axum::body::Bytes;
use axum::extract::{ConnectInfo, State};
use axum::http::StatusCode;
use ramet_wire::adapt::{ADDRESSES_MAX, BOOTED_TEXT_MAX, Booted, SSH_KEYS_MAX};
use std::net::SocketAddr;
use std::sync::Arc;

/// Within its bounds, with clean words.
fn checked(booted: &Booted) -> Result<Booted, Refusal> {
    let most = |what: &str, found: usize, most: usize| {
        let many = || Refusal::bad(format!("{found} {what} are named, {most} are allowed"));
        (found <= most).then_some(()).ok_or_else(many)
    };
    most("addresses", booted.addresses.len(), ADDRESSES_MAX)?;
    most("SSH keys", booted.ssh_keys.len(), SSH_KEYS_MAX)?;
    let word = |text: &String| clean(text, BOOTED_TEXT_MAX).trim().to_owned();
    let host = word(&booted.host);
    if host.is_empty() {
        return Err(Refusal::bad("a clone says its host name"));
    }
    let words = |all: &[String]| all.iter().map(word).filter(|text| !text.is_empty()).collect();
    Ok(Booted {
        host,
        kernel: word(&booted.kernel),
        os: word(&booted.os),
        machine_id: word(&booted.machine_id),
        addresses: words(&booted.addresses),
        ssh_keys: words(&booted.ssh_keys),
    })
}

/// `POST /v1/first-boot`.
pub async fn call(
    State(app): State<Arc<App>>,
    Extension(principal): Extension<Principal>,
    peer: Option<Extension<ConnectInfo<SocketAddr>>>,
    body: Bytes,
) -> Result<StatusCode, Refusal> {
    let Principal::FirstBoot(token) = principal else { return Err(Refusal::bug("this route has no such token")) };
    let booted = checked(&json(&body)?)?;
    let peer = peer.map(|Extension(ConnectInfo(peer))| peer.ip().to_canonical().to_string()).unwrap_or_default();
    let (now, host, from, job) = (app.both(), booted.host.clone(), peer.clone(), token.job);
    let work = move |db: &mut rusqlite::Connection| first_boot::call(db, &token, booted, &peer, now);
    let called = app.db.call("noting a first boot", work).await?;
    let called = called.ok_or_else(|| Refusal::unknown("the token was for one call, and had it"))?;
    tracing::info!(job, machine = called.machine, host, peer = from, "a clone has booted");
    for (other, what) in &called.doubles {
        tracing::warn!(machine = called.machine, other, what, "duplicate identity");
    }
    app.metrics.booted(called.seconds, !called.doubles.is_empty());
    app.engine.wake.notify_one();
    Ok(StatusCode::NO_CONTENT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_clone_says_is_cleaned_and_bounded() {
        let said = Booted { host: " web\u{1b}[2J02\n".into(), kernel: "k".repeat(9999), ..Booted::default() };
        let booted = checked(&said).unwrap();
        assert_eq!((booted.host.as_str(), booted.kernel.len()), ("web [2J02", BOOTED_TEXT_MAX));
        let many = Booted { host: "a".into(), addresses: vec![String::new(); ADDRESSES_MAX + 1], ..Booted::default() };
        assert!(checked(&many).unwrap_err().message.contains("addresses"));
        let many = Booted { host: "a".into(), ssh_keys: vec![String::new(); SSH_KEYS_MAX + 1], ..Booted::default() };
        assert!(checked(&many).unwrap_err().message.contains("SSH keys"));
        assert!(checked(&Booted { host: "\n\t".into(), ..Booted::default() }).is_err());
    }
}
