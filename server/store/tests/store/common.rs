//! What the tests of a store share: a store with its key, images, and every one of its files.

use ramet_store::testing::{TestImage, chunk};
use ramet_store::{Access, Clock, Options, SigningKey, Store};
use ramet_wire::ChunkId;
use ramet_wire::frame::{CHUNK_MAX, Opener};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

pub struct Rig {
    pub root: tempfile::TempDir,
    pub key: SigningKey,
    pub options: Options,
    ahead: Arc<AtomicU64>,
}

impl Rig {
    pub fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let key = SigningKey::generate(&root.path().join("private.key")).unwrap();
        Store::create(&root.path().join("store"), key.public_key()).unwrap();
        let ahead = Arc::new(AtomicU64::new(0));
        let seconds = Arc::clone(&ahead);
        let clock = Clock::from_fn(move || SystemTime::now() + Duration::from_secs(seconds.load(Ordering::SeqCst)));
        let options = Options { clock, ..Options::default() };
        Self { root, key, options, ahead }
    }

    pub fn dir(&self) -> PathBuf {
        self.root.path().join("store")
    }

    /// Lets time pass.
    pub fn pass(&self, time: Duration) {
        self.ahead.fetch_add(time.as_secs(), Ordering::SeqCst);
    }

    pub fn open(&self, access: Access) -> Store {
        Store::open_with(&self.dir(), access, self.options.clone()).unwrap()
    }
}

/// Chunks with these seeds.
pub fn chunks(seeds: impl IntoIterator<Item = u64>) -> Vec<Vec<u8>> {
    seeds.into_iter().map(chunk).collect()
}

pub fn image(name: &str, created: &str, seeds: impl IntoIterator<Item = u64>) -> TestImage {
    TestImage::new(name, created, &chunks(seeds))
}

/// Reads everything an image is made of, as a restore would.
pub fn restore(store: &Store, image: &TestImage) -> Result<(), String> {
    let mut opener = Opener::new().unwrap();
    let mut buf = vec![0; CHUNK_MAX as usize];
    for raw in image.parts() {
        let chunk = store.read_chunk(ChunkId::of(raw), &mut opener, &mut buf).map_err(|error| error.to_string())?;
        assert_eq!(chunk.bytes(), raw);
    }
    Ok(())
}

/// All files below a folder, sorted, relative to it.
pub fn files(dir: &Path) -> Vec<PathBuf> {
    fn walk(dir: &Path, all: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { walk(&path, all) } else { all.push(path) }
        }
    }
    let mut all = Vec::new();
    walk(dir, &mut all);
    let mut all: Vec<PathBuf> = all.into_iter().map(|path| path.strip_prefix(dir).unwrap().to_owned()).collect();
    all.sort();
    all
}
