//! A real server in this process, spoken to over real TLS.
//!
//! In: requests as an agent, an operator or a stranger would send them. Out: what came of them.
//! Promise: every promise of the server has a test whose name says it.

#![allow(clippy::unwrap_used)]

mod agents;
mod audit;
mod auth;
mod backup;
mod beyond;
mod boot;
mod cancel;
mod captures;
mod commands;
mod first_boot;
mod fleet;
mod harness;
mod hostile;
mod inventory;
mod jobs;
mod metrics;
mod power;
mod restores;
mod runs;
