//! Servers on temporary folders, and the smallest client that can misbehave.

use ramet_server::client::pin::pinned_ca;
use ramet_server::{Clock, Config, Running, start};
use ramet_store::testing::{TestImage, chunk};
use ramet_wire::api::{Action, AddToken, ApiError, Committed, Heartbeat, OpenRun, RunOpened, Scope, TokenAdded};
use ramet_wire::api::{decode_bitmap, encode_ids};
use ramet_wire::manifest::{Manifest, Source};
use ramet_wire::pack::PackBuilder;
use ramet_wire::receipt::{DiskReceipt, Origin, Proof, Receipt, SpaceReceipt};
use ramet_wire::{ChunkId, Fingerprint, ImageGlob, ImageId, PackName};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::io::Read;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, UNIX_EPOCH};
use tempfile::TempDir;

/// Where the tests' clock starts.
pub const BEGIN: u64 = 1_800_000_000;

pub struct Server {
    pub dir: TempDir,
    pub now: Arc<AtomicU64>,
    pub running: Option<Running>,
    change: Box<dyn Fn(&mut Config) + Send + Sync>,
}

impl Server {
    pub fn start() -> Self {
        Self::with(|_| {})
    }

    pub fn with(change: fn(&mut Config)) -> Self {
        Self::with_boxed(Box::new(change))
    }

    pub fn with_boxed(change: Box<dyn Fn(&mut Config) + Send + Sync>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut server = Self { dir, now: Arc::new(AtomicU64::new(BEGIN)), running: None, change };
        server.up();
        server
    }

    pub fn state(&self) -> PathBuf {
        self.dir.path().join("state")
    }

    pub fn up(&mut self) {
        let now = Arc::clone(&self.now);
        let mut config = Config::new(self.state());
        config.listen = "127.0.0.1:0".parse().unwrap();
        config.clock = Clock::from_fn(move || UNIX_EPOCH + Duration::from_secs(now.load(Ordering::SeqCst)));
        config.steady = config.clock.clone();
        (self.change)(&mut config);
        self.running = Some(start(config).unwrap());
    }

    pub fn restart(&mut self) {
        self.running.take().unwrap().stop().unwrap();
        self.up();
    }

    pub fn pass(&self, seconds: u64) {
        self.now.fetch_add(seconds, Ordering::SeqCst);
    }

    pub fn running(&self) -> &Running {
        self.running.as_ref().unwrap()
    }

    pub fn as_nobody(&self) -> Http {
        Http::new(self.running().url(), self.running().fingerprint(), None)
    }

    pub fn with_secret(&self, secret: &str) -> Http {
        Http::new(self.running().url(), self.running().fingerprint(), Some(secret.to_owned()))
    }

    pub fn as_operator(&self) -> Http {
        self.with_secret(self.running().local_token())
    }

    pub fn token(&self, scopes: &[Scope]) -> String {
        self.token_for(AddToken { scopes: scopes.to_vec(), images: ImageGlob::any(), expires: None, once: false })
    }

    pub fn token_for(&self, token: AddToken) -> String {
        let added: TokenAdded = self.as_operator().post("/v1/tokens", &token).json(201);
        added.token
    }

    /// A run that is open, as the agent of it.
    pub fn run(&self, action: Action, image: &str) -> (RunOpened, Http) {
        let scope = match action {
            Action::Capture => Scope::Capture,
            Action::Restore => Scope::Restore,
        };
        let token = self.token(&[scope]);
        let opened: RunOpened = self.with_secret(&token).post("/v1/runs", &open(action, image)).json(201);
        let http = self.with_secret(&opened.session);
        (opened, http)
    }

    /// Captures an image over the API.
    pub fn capture(&self, image: &TestImage) -> Committed {
        let (_, http) = self.run(Action::Capture, image.name.as_str());
        upload(&http, image);
        http.send("POST", "/v1/images", &[], &image.manifest).json(201)
    }
}

pub fn open(action: Action, image: &str) -> OpenRun {
    let agent = ramet_server::http::VERSION.to_owned();
    OpenRun { agent, action, image: image.parse().unwrap(), partitions: vec![], machine: Source::default() }
}

pub fn image(name: &str, seeds: std::ops::Range<u64>) -> TestImage {
    let chunks: Vec<Vec<u8>> = seeds.map(chunk).collect();
    TestImage::new(name, "2026-11-22T10:00:00Z", &chunks)
}

/// Chunks of 512 KiB that do not compress.
pub fn noise(seed: u64, count: usize) -> Vec<Vec<u8>> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    (0..count).map(|_| (0..(512 << 10) / 8).flat_map(|_| next()).collect()).collect()
}

/// A pack with these chunks: its name and its bytes.
pub fn pack(chunks: &[&Vec<u8>]) -> (PackName, Vec<u8>) {
    let mut bytes = Vec::new();
    let mut builder = PackBuilder::new(&mut bytes).unwrap();
    for raw in chunks {
        let frame = ramet_store::testing::frame(raw);
        builder.push(ChunkId::of(raw), u32::try_from(raw.len()).unwrap(), &frame).unwrap();
    }
    drop(builder.finish().unwrap());
    (PackName::of(&bytes), bytes)
}

/// Sends what the server lacks of an image.
pub fn upload(http: &Http, image: &TestImage) {
    let parts: Vec<&Vec<u8>> = image.parts().collect();
    let ids: Vec<ChunkId> = parts.iter().map(|raw| ChunkId::of(raw)).collect();
    let answer = http.send("POST", "/v1/chunks/missing", &[], &encode_ids(&ids));
    assert_eq!(answer.status, 200, "{}", answer.text());
    let missing = decode_bitmap(&answer.body, ids.len()).unwrap();
    let lacking: Vec<&Vec<u8>> =
        parts.into_iter().zip(missing).filter(|(_, missing)| *missing).map(|(raw, _)| raw).collect();
    if !lacking.is_empty() {
        let (name, bytes) = pack(&lacking);
        http.send("PUT", &format!("/v1/packs/{name}"), &[], &bytes).done(204);
    }
}

/// The receipt that an honest agent would write.
pub fn receipt(server: &Server, run: &str, image: &TestImage, id: ImageId) -> Receipt {
    let manifest = Manifest::read(&image.manifest).unwrap();
    let disks = manifest.disks.iter().map(|disk| DiskReceipt {
        ordinal: disk.ordinal,
        path: "/dev/vda".into(),
        serial: None,
        wwn: None,
        size: disk.size,
        proof: Proof::Device,
        kept_bytes: 0,
        written_bytes: disk.partitions.iter().map(|partition| partition.stored.data_bytes).sum(),
        table_bytes: 0,
        spaces: disk
            .partitions
            .iter()
            .map(|partition| SpaceReceipt {
                number: Some(partition.number),
                digest: partition.stored.digest,
                proven_data_bytes: partition.stored.data_bytes,
                proven_zero_bytes: partition.stored.zero_bytes,
            })
            .collect(),
    });
    Receipt {
        format: 1,
        image: image.name.clone(),
        id,
        origin: Origin::Pinned(server.running().fingerprint()),
        run: Some(run.to_owned()),
        agent: ramet_server::http::VERSION.to_owned(),
        finished: "2026-11-22T11:00:00Z".into(),
        seconds: 1.5,
        fetched_bytes: 1,
        notes: Vec::new(),
        adapted: None,
        disks: disks.collect(),
    }
}

pub fn beat() -> Heartbeat {
    Heartbeat { step: "reading".into(), done: 1, total: 2 }
}

/// A client that trusts the pinned CA alone and sends one secret.
pub struct Http {
    agent: ureq::Agent,
    base: String,
    secret: Option<String>,
}

pub struct Answer {
    pub status: u16,
    pub headers: ureq::http::HeaderMap,
    pub body: Vec<u8>,
}

impl Http {
    pub fn new(url: &str, key: Fingerprint, secret: Option<String>) -> Self {
        let ca = pinned_ca(url, key).unwrap();
        let roots = ureq::tls::RootCerts::new_with_certs(&[ureq::tls::Certificate::from_der(&ca).to_owned()]);
        let tls = ureq::tls::TlsConfig::builder()
            .unversioned_rustls_crypto_provider(ramet_server::identity::tls::provider())
            .root_certs(roots)
            .build();
        let config = ureq::Agent::config_builder()
            .tls_config(tls)
            .http_status_as_error(false)
            .proxy(None)
            .timeout_global(Some(Duration::from_secs(60)))
            .build();
        Self { agent: config.into(), base: url.to_owned(), secret }
    }

    pub fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        let uri = if path.starts_with("https://") { path.to_owned() } else { format!("{}{path}", self.base) };
        let mut request = ureq::http::Request::builder().method(method).uri(uri);
        if let Some(secret) = &self.secret {
            request = request.header("authorization", format!("Bearer {secret}"));
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = if matches!(method, "GET" | "HEAD" | "DELETE") {
            self.agent.run(request.body(()).unwrap())
        } else {
            self.agent.run(request.body(body).unwrap())
        };
        let response = response.unwrap_or_else(|error| panic!("{method} {path}: {error}"));
        let (parts, body) = response.into_parts();
        let mut bytes = Vec::new();
        body.into_reader().read_to_end(&mut bytes).unwrap();
        Answer { status: parts.status.as_u16(), headers: parts.headers, body: bytes }
    }

    pub fn get(&self, path: &str) -> Answer {
        self.send("GET", path, &[], &[])
    }

    pub fn delete(&self, path: &str) -> Answer {
        self.send("DELETE", path, &[], &[])
    }

    pub fn post(&self, path: &str, body: &impl Serialize) -> Answer {
        self.send("POST", path, &[("content-type", "application/json")], &serde_json::to_vec(body).unwrap())
    }
}

impl Answer {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn done(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{}", self.text());
        self
    }

    pub fn json<T: DeserializeOwned>(self, status: u16) -> T {
        let answer = self.done(status);
        serde_json::from_slice(&answer.body).unwrap_or_else(|error| panic!("{error}: {}", answer.text()))
    }

    /// An error of the wire: its message.
    pub fn refused(self, status: u16) -> ApiError {
        let error: ApiError = self.json(status);
        assert!(!error.message.contains("/tmp"), "a path in {}", error.message);
        error
    }
}
