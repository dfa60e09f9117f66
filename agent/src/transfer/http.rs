//! The door to a server: one run, over pinned HTTPS.
//!
//! In: a token, exchanged for a session that is bound to one run, one image and one direction. Out: both traits.
//! Promise: packs are sent whole with their length; every length in an answer is checked before it is used.

use crate::capture::source::this_machine;

use super::client::{Answer, Ask, Client, Leash, Limits, RUN_END};
use super::{ChunkAt, Commit, Downstream, Located, PackAt, PackSink, TransferError, Upstream};
use ramet_wire::api::{self, Action, ErrorKind, Heartbeat, ImageInfo, OpenRun, RunOpened, SignedManifest};
use ramet_wire::frame::{CHUNK_MAX, FRAME_MAX, FRAME_MIN};
use ramet_wire::manifest::MANIFEST_MAX;
use ramet_wire::pack::{PACK_MAX, PackBuilder};
use ramet_wire::receipt::{Origin, RECEIPT_MAX, SignedReceipt};
use ramet_wire::sign::Domain;
use ramet_wire::{ChunkId, Fingerprint, ImageId, ImageRef};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use ureq::http::Method;

pub(super) const JSON: &str = "application/json";
const BYTES: &str = "application/octet-stream";

/// How to reach a server.
#[derive(Clone, Debug)]
pub struct Address {
    /// `https://HOST:PORT`.
    pub url: String,
    /// The pinned identity; none asks a person.
    pub key: Option<Fingerprint>,
    /// A token.
    pub token: String,
    /// Retries and timeouts.
    pub limits: Limits,
    /// What ties the run to a job.
    pub leash: Leash,
}

/// An open run.
#[derive(Debug)]
pub struct Http {
    client: Arc<Client>,
    opened: RunOpened,
    image: ImageRef,
    rooms: Arc<Rooms>,
}

/// Memory of packs that were sent, for those to come: a pack's would stay resident for a while after being freed.
#[derive(Debug, Default)]
struct Rooms(Mutex<Vec<Vec<u8>>>);

impl Rooms {
    fn take(&self, room: u64) -> Vec<u8> {
        // The last chunk and the table come on top.
        let room = usize::try_from(room + (1 << 20)).unwrap_or(0);
        let mut rooms = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let fits = rooms.iter().position(|used| (room..2 * room).contains(&used.capacity()));
        fits.map_or_else(|| Vec::with_capacity(room), |fits| rooms.swap_remove(fits))
    }

    fn give_back(&self, mut room: Vec<u8>) {
        room.clear();
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(room);
    }
}

impl Http {
    /// Opens a run; `partitions` are those a restore is limited to. `accept` is asked about the identity when none is pinned.
    ///
    /// # Errors
    /// [`TransferError`].
    pub fn open(
        address: &Address,
        action: Action,
        image: &ImageRef,
        partitions: &[u32],
        accept: &dyn Fn(Fingerprint) -> bool,
    ) -> Result<Self, TransferError> {
        let mut client = Client::connect(&address.url, address.key, accept, address.limits)?;
        client.authorize(address.token.clone());
        client.obey(address.leash.clone());
        let agent = env!("CARGO_PKG_VERSION").to_owned();
        let request =
            OpenRun { agent, action, image: image.clone(), partitions: partitions.to_vec(), machine: this_machine() };
        let opened: RunOpened = post(&client, "opening a run", "/v1/runs", &request)?;
        client.authorize(opened.session.clone());
        address.leash.opened(opened.session.clone());
        Ok(Self { client: Arc::new(client), opened, image: image.clone(), rooms: Arc::default() })
    }

    fn ids(&self, what: &str, path: &str, ids: &[ChunkId]) -> Result<Answer, TransferError> {
        let body = api::encode_ids(ids);
        let limit = 4 << 20;
        self.client.ask(Ask {
            what,
            method: &Method::POST,
            path,
            body: &body,
            content_type: BYTES,
            also: &[],
            limit,
            retry: true,
        })
    }

    fn heartbeat(&self, step: &str, done: u64, total: u64) {
        let beat = Heartbeat { step: step.to_owned(), done, total };
        let _ = post_raw(&self.client, "reporting progress", "/v1/runs/current", &beat, false);
    }

    fn end(&self, error: &str) {
        let end = api::EndRun { error: error.chars().take(2000).collect() };
        let _ = post_raw(&self.client, "ending the run", RUN_END, &end, false);
    }
}

pub(super) fn post_raw<T: Serialize>(
    client: &Client,
    what: &str,
    path: &str,
    body: &T,
    retry: bool,
) -> Result<Answer, TransferError> {
    let body = serde_json::to_vec(body).map_err(|error| damaged(what, &error))?;
    client.ask(Ask {
        what,
        method: &Method::POST,
        path,
        body: &body,
        content_type: JSON,
        also: &[],
        limit: 16 << 20,
        retry,
    })
}

pub(super) fn post<T: Serialize, A: DeserializeOwned>(
    client: &Client,
    what: &str,
    path: &str,
    body: &T,
) -> Result<A, TransferError> {
    read_json(what, &post_raw(client, what, path, body, true)?)
}

pub(super) fn read_json<A: DeserializeOwned>(what: &str, answer: &Answer) -> Result<A, TransferError> {
    serde_json::from_slice(&answer.body).map_err(|error| damaged(what, &error))
}

fn damaged(what: &str, error: &dyn std::fmt::Display) -> TransferError {
    TransferError::Damaged { what: what.to_owned(), message: error.to_string() }
}

impl Upstream for Http {
    fn missing(&self, ids: &[ChunkId]) -> Result<Vec<bool>, TransferError> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let what = "asking which chunks are missing";
        let answer = self.ids(what, "/v1/chunks/missing", ids)?;
        let wrong = || damaged(what, &format!("{} bytes for {} chunks", answer.body.len(), ids.len()));
        api::decode_bitmap(&answer.body, ids.len()).ok_or_else(wrong)
    }

    fn pack(&self, room: u64) -> Result<Box<dyn PackSink>, TransferError> {
        let builder = PackBuilder::new(self.rooms.take(room)).map_err(|error| damaged("starting a pack", &error))?;
        Ok(Box::new(HttpPack { client: Arc::clone(&self.client), builder, rooms: Arc::clone(&self.rooms) }))
    }

    fn commit(&self, manifest: &[u8]) -> Result<Commit, TransferError> {
        let what = format!("publishing image {}", self.image.name);
        let ask = Ask {
            what: &what,
            method: &Method::POST,
            path: "/v1/images",
            body: manifest,
            content_type: JSON,
            also: &[409],
            limit: 1 << 20,
            retry: true,
        };
        let answer = self.client.ask(ask)?;
        if answer.status == 409 {
            if let Ok(still) = serde_json::from_slice::<api::StillMissing>(&answer.body) {
                return Ok(Commit::Missing(still.missing));
            }
            let error: api::ApiError = read_json(&what, &answer)?;
            return Err(TransferError::Answer { what, kind: error.kind, message: error.message });
        }
        let done: api::Committed = read_json(&what, &answer)?;
        let wanted = ImageId::of(manifest);
        if done.id == wanted {
            return Ok(Commit::Done(done.id));
        }
        Err(damaged(&what, &format!("the server published {}, sent was {wanted}", done.id)))
    }

    fn progress(&self, step: &str, done: u64, total: u64) {
        self.heartbeat(step, done, total);
    }

    fn fail(&self, error: &str) {
        self.end(error);
    }
}

struct HttpPack {
    client: Arc<Client>,
    builder: PackBuilder<Vec<u8>>,
    rooms: Arc<Rooms>,
}

impl PackSink for HttpPack {
    fn push(&mut self, id: ChunkId, raw: u32, frame: &[u8]) -> Result<(), TransferError> {
        self.builder.push(id, raw, frame).map_err(|error| damaged("building a pack", &error))
    }

    fn is_full(&self) -> bool {
        self.builder.is_full()
    }

    fn finish(self: Box<Self>) -> Result<u64, TransferError> {
        let pack = self.builder.finish().map_err(|error| damaged("building a pack", &error))?;
        let what = format!("sending pack {}", pack.name);
        let path = format!("/v1/packs/{}", pack.name);
        let ask = Ask {
            what: &what,
            method: &Method::PUT,
            path: &path,
            body: &pack.out,
            content_type: BYTES,
            also: &[],
            limit: 64 << 10,
            retry: true,
        };
        self.client.ask(ask)?;
        self.rooms.give_back(pack.out);
        Ok(pack.len)
    }
}

impl Downstream for Http {
    fn image(&self) -> Result<ImageInfo, TransferError> {
        let missing = || damaged("opening a run", &"the server named no image");
        self.opened.image.clone().ok_or_else(missing)
    }

    fn manifest(&self) -> Result<(Vec<u8>, Origin), TransferError> {
        let info = self.image()?;
        let wanted = format!("{}@{}", info.name, info.id);
        let what = format!("reading the manifest of {wanted}");
        let path = format!("/v1/images/{wanted}/manifest");
        let limit = 2 * MANIFEST_MAX as u64 + 4096;
        let ask = Ask {
            what: &what,
            method: &Method::GET,
            path: &path,
            body: &[],
            content_type: JSON,
            also: &[],
            limit,
            retry: true,
        };
        let signed: SignedManifest = read_json(&what, &self.client.ask(ask)?)?;
        let key = self.client.key();
        if signed.key != key || !key.verifies(Domain::Manifest, signed.manifest.as_bytes(), &signed.signature.0) {
            let found = format!("{}, or its signature is wrong", signed.key.fingerprint());
            return Err(TransferError::Identity { what, found, wanted: key.fingerprint().to_string() });
        }
        Ok((signed.manifest.into_bytes(), Origin::Pinned(key.fingerprint())))
    }

    fn locate(&self, ids: &[ChunkId]) -> Result<Located, TransferError> {
        let what = "asking where chunks are";
        let answer: api::Located = read_json(what, &self.ids(what, "/v1/chunks/locate", ids)?)?;
        let mut located = Located { packs: Vec::with_capacity(answer.packs.len()), chunks: vec![None; ids.len()] };
        for (pack, entry) in answer.packs.into_iter().enumerate() {
            located.packs.push(PackAt { pack: entry.pack, url: entry.url.into() });
            for (index, offset, stored, raw) in entry.chunks {
                let fits = (FRAME_MIN..=FRAME_MAX).contains(&stored)
                    && (1..=CHUNK_MAX).contains(&raw)
                    && offset.saturating_add(u64::from(stored)) <= PACK_MAX;
                let slot = usize::try_from(index).ok().and_then(|index| located.chunks.get_mut(index));
                let (Some(slot), true) = (slot, fits) else {
                    let message = format!("chunk {index} of {}: {stored} bytes at {offset}, {raw} raw", ids.len());
                    return Err(damaged(what, &message));
                };
                *slot = Some(ChunkAt { pack, offset, stored, raw });
            }
        }
        Ok(located)
    }

    fn read(&self, pack: &PackAt, offset: u64, buf: &mut [u8]) -> Result<(), TransferError> {
        self.client.range(&format!("reading pack {}", pack.pack), &pack.url, offset, buf)
    }

    fn damaged(&self, ids: &[ChunkId]) {
        for chunks in ids.chunks(api::IDS_MAX) {
            let report = api::ReportDamage { chunks: chunks.to_vec() };
            let _ = post_raw(&self.client, "reporting damage", "/v1/damage", &report, true);
        }
    }

    fn progress(&self, step: &str, done: u64, total: u64) {
        self.heartbeat(step, done, total);
    }

    fn receipt(&self, receipt: &str) -> Result<Option<SignedReceipt>, TransferError> {
        let what = "handing over the receipt";
        if receipt.len() > RECEIPT_MAX {
            return Err(damaged(what, &format!("receipt has {} bytes, {RECEIPT_MAX} are allowed", receipt.len())));
        }
        let ask = Ask {
            what,
            method: &Method::POST,
            path: "/v1/receipts",
            body: receipt.as_bytes(),
            content_type: JSON,
            also: &[],
            limit: 4 * RECEIPT_MAX as u64,
            retry: true,
        };
        let signed: SignedReceipt = read_json(what, &self.client.ask(ask)?)?;
        let key = self.client.key();
        let genuine = signed.receipt == receipt && signed.key == key;
        if genuine && key.verifies(Domain::Receipt, receipt.as_bytes(), &signed.signature.0) {
            return Ok(Some(signed));
        }
        let message = "the server's signature does not verify".to_owned();
        Err(TransferError::Answer { what: what.to_owned(), kind: ErrorKind::Damaged, message })
    }

    fn run(&self) -> Option<String> {
        Some(self.opened.run.clone())
    }

    fn folder(&self) -> Option<&Path> {
        None
    }

    fn fail(&self, error: &str) {
        self.end(error);
    }
}
