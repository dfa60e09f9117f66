//! The Ramet server: store, identity, tokens, runs, and the operator's commands.
//!
//! In: HTTPS requests of agents and operators. Out: packs, images and receipts in one state folder.
//! Promise: deny by default; nothing is answered as done before it is on disk.
//!
//! ```text
//! config → state (lock) → identity → db, store → http::router → serve (TLS) → Running
//!                                                     ↑
//!                             cli → client: over HTTPS, or straight into the router when no server runs
//! ```

pub mod backup;
pub mod boot;
pub mod cli;
pub mod client;
pub mod config;
mod db;
pub mod http;
pub mod identity;
pub mod inventory;
pub mod jobs;
mod listen;
pub mod metrics;
pub mod openapi;
pub mod power;
mod rate;
mod secret;
mod serve;
mod session;
pub mod state;
pub mod text;
mod time;
mod waiting;

pub use config::{Config, Limits};
pub use ramet_store::{Clock, CollectOptions};
pub use serve::{Running, StartError, Stopper, start};
