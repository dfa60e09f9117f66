//! The numbers, for Prometheus and its like.
//!
//! In: nothing. Out: text in the OpenMetrics format 1.0.
//! Promise: for operators and for tokens of scope `metrics` only; what it costs does not grow with the store.

use super::App;
use super::error::Refusal;
use crate::metrics::CONTENT_TYPE;
use crate::metrics::scrape::Figures;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use std::sync::Arc;

/// `GET /metrics`.
pub async fn show(State(app): State<Arc<App>>) -> Result<Response, Refusal> {
    let mark = app.metrics.mark();
    let mut figures = app.db.read("reading figures", move |db| Figures::read(db, mark)).await?;
    figures.store = Some(app.blocking(|app| app.store.stats()).await?);
    let text = app.metrics.text(&figures).map_err(|_| Refusal::bug("writing the numbers"))?;
    Ok(([(header::CONTENT_TYPE, CONTENT_TYPE)], text).into_response())
}
