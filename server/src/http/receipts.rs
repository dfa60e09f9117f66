//! Receipts: compared with the manifest, then countersigned.
//!
//! In: the agent's receipt, byte for byte. Out: the same bytes with the server's signature.
//! Promise: what is signed names this run, this version and this identity, and claims no less than the image has.

use super::auth::Principal;
use super::error::Refusal;
use super::{App, json, runs};
use crate::db::runs::End;
use crate::session::{Outcome, Session};
use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use axum::{Extension, Json};
use ramet_wire::ImageRef;
use ramet_wire::api::{ErrorKind, RunState};
use ramet_wire::manifest::Manifest;
use ramet_wire::receipt::{Origin, Proof, Receipt, SignedReceipt};
use ramet_wire::sign::Domain;
use std::sync::Arc;

/// `POST /v1/receipts`.
pub async fn accept(
    State(app): State<Arc<App>>,
    Extension(principal): Extension<Principal>,
    body: Bytes,
) -> Result<(StatusCode, Json<SignedReceipt>), Refusal> {
    let session = Arc::clone(principal.session()?);
    let mut outcome = session.outcome.lock().await;
    match &*outcome {
        Outcome::Open => {}
        // The answer may have been lost on its way.
        Outcome::Proven(signed) if signed.receipt.as_bytes() == &*body => {
            return Ok((StatusCode::CREATED, Json(SignedReceipt::clone(signed))));
        }
        _ => return Err(Refusal::conflict(format!("run {} has ended", session.run))),
    }
    let receipt: Receipt = json(&body)?;
    let text = String::from_utf8(body.to_vec()).map_err(|_| Refusal::bad("the receipt is not UTF-8"))?;
    let (proof, adapted) = (receipt.proof(), receipt.adapted.clone());
    let judged = Arc::clone(&session);
    let signed = app.blocking(move |app| judge(app, &judged, &receipt, text)).await?;
    let state = if proof == Proof::None { RunState::Unproven } else { RunState::Done };
    let stored = serde_json::to_string(&signed).map_err(|_| Refusal::bug("writing a receipt"))?;
    let end = End { state, error: String::new(), committed: None, receipt: Some(stored), adapted };
    runs::finish(&app, &session.run, end).await?;
    *outcome = Outcome::Proven(Box::new(signed.clone()));
    Ok((StatusCode::CREATED, Json(signed)))
}

fn judge(app: &App, session: &Session, receipt: &Receipt, text: String) -> Result<SignedReceipt, Refusal> {
    let lies = |message: String| Refusal::new(StatusCode::UNPROCESSABLE_ENTITY, ErrorKind::Refused, message);
    let id = session.version.ok_or_else(|| Refusal::bug("a restore without a version"))?;
    if receipt.format != 1 {
        return Err(lies(format!("receipt has format {}, this server reads 1", receipt.format)));
    }
    if receipt.run.as_deref() != Some(session.run.as_str()) {
        let found = receipt.run.as_deref().unwrap_or("no run");
        return Err(lies(format!("receipt is of {found}, this is run {}", session.run)));
    }
    let own = app.identity.fingerprint();
    if receipt.origin != Origin::Pinned(own) {
        return Err(lies(format!("receipt does not say that the manifest was checked with this server's key {own}")));
    }
    let image = ImageRef { name: session.image.clone(), id: Some(id) };
    let (manifest, _) = app.store.manifest(&image)?;
    let manifest = Manifest::read(&manifest).map_err(|error| Refusal::bug(error.to_string()))?;
    receipt.check(&manifest, id, &session.partitions).map_err(|error| lies(error.to_string()))?;
    if receipt.disks.len() != manifest.disks.len() {
        let (found, wanted) = (receipt.disks.len(), manifest.disks.len());
        return Err(lies(format!("receipt has {found} disks, the image has {wanted}")));
    }
    let signature = app.identity.key().sign(Domain::Receipt, text.as_bytes())?;
    Ok(SignedReceipt { receipt: text, key: app.identity.public_key(), signature })
}
