//! A store: packs of chunks and signed manifests in a folder.
//!
//! In: frames from a capture, packs and manifests from the network. Out: places of chunks, bytes, images that are whole.
//! Promise: an image is listed as complete only while every one of its chunks is there; what was answered survives a crash.
//!
//! ```text
//! DIR/
//!   format                      sealed: the version, read alone and first
//!   key.pub                     sealed: the public half of the key that signs manifests
//!   lock  leases/               who has the store open (see `lock`)
//!   packs/1f/1f3a…              packs, named by the SHA-256 of their bytes (see `bulk`)
//!   map/*.map                   which pack holds which chunk (see `map::file`); made again from the packs when lost
//!   images/NAME/ID/             manifest.json  manifest.sig  commit (sealed)  damaged (sealed, only while it is)
//!   sessions/ID                 sealed: captures under way, and those of the last days
//!   state/strikes, condemned    sealed: chunks found damaged; packs to be deleted
//!   tmp/                        files that have no name yet
//! ```
//!
//! The files follow the data: `pack` and `upload` bring packs in, `map` finds chunks, `commit` makes an image of them,
//! `check`, `examine` and `damage` doubt them, `collect` removes what no image needs.

mod bulk;
mod check;
mod collect;
mod commit;
mod damage;
mod error;
mod examine;
mod files;
mod image;
pub mod key;
mod lock;
mod map;
mod open;
mod options;
mod pack;
mod session;
mod store;
mod upload;
mod walk;

#[doc(hidden)]
pub mod testing;

pub use bulk::{Bulk, Folder, Listed, NewPack};
pub use check::{CheckReport, Damage, Progress};
pub use collect::{CollectOptions, CollectReport};
pub use commit::CommitError;
pub use damage::DamageReport;
pub use error::{StoreError, WhatNow};
pub use image::ImageEntry;
pub use key::SigningKey;
pub use lock::Access;
pub use map::Location;
pub use options::{Clock, Options, Steps};
pub use pack::PackWriter;
pub use session::SessionId;
pub use store::{Stats, Store};
pub use upload::Added;
