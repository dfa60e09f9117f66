//! Packs that come from outside: what is taken in, what is refused, and that a refusal leaves nothing.

use crate::common::{Rig, files};
use ramet_store::testing::{chunk, frame};
use ramet_store::{Access, Added, SessionId, Store, StoreError, WhatNow};
use ramet_wire::pack::{BuiltPack, PackBuilder};
use ramet_wire::{ChunkId, PackName};
use std::io::{self, Cursor, Read};

fn build(parts: &[(ChunkId, u32, Vec<u8>)]) -> BuiltPack<Vec<u8>> {
    let mut builder = PackBuilder::new(Vec::new()).unwrap();
    for (id, raw, frame) in parts {
        builder.push(*id, *raw, frame).unwrap();
    }
    builder.finish().unwrap()
}

fn part(seed: u64) -> (ChunkId, u32, Vec<u8>) {
    let raw = chunk(seed);
    (ChunkId::of(&raw), u32::try_from(raw.len()).unwrap(), frame(&raw))
}

fn open(rig: &Rig) -> (Store, SessionId) {
    let store = rig.open(Access::Server);
    let session = store.open_session().unwrap();
    (store, session)
}

fn upload(store: &Store, session: SessionId, pack: &BuiltPack<Vec<u8>>) -> Result<Added, StoreError> {
    store.add_upload(session, pack.name, pack.len, &mut Cursor::new(&pack.out))
}

fn nothing_is_left(rig: &Rig) {
    let files = files(&rig.dir());
    assert!(!files.iter().any(|file| file.starts_with("tmp") || file.starts_with("packs")), "{files:?}");
}

#[test]
fn an_uploaded_pack_is_found_at_once_and_a_retry_is_idempotent() {
    let rig = Rig::new();
    let (store, session) = open(&rig);
    let pack = build(&[part(1), part(2)]);
    assert_eq!(upload(&store, session, &pack).unwrap(), Added::Stored);
    assert_eq!(store.missing(session, &[part(1).0, part(2).0, part(3).0]).unwrap(), [false, false, true]);
    struct Untouched;
    impl Read for Untouched {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            panic!("the body was read")
        }
    }
    assert_eq!(store.add_upload(session, pack.name, pack.len, &mut Untouched).unwrap(), Added::Present);
    let mut bytes = vec![0; usize::try_from(pack.len).unwrap()];
    store.read_at(&pack.name, 0, &mut bytes).unwrap();
    assert_eq!(bytes, pack.out);
    assert_eq!(store.pack_len(&pack.name).unwrap(), Some(pack.len));
}

#[test]
fn the_same_pack_from_many_threads_is_stored_once() {
    let rig = Rig::new();
    let (store, session) = open(&rig);
    let pack = build(&[part(1), part(2), part(3)]);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| upload(&store, session, &pack).unwrap());
        }
    });
    assert_eq!(store.stats().unwrap().packs, 1);
    drop(store);
    assert_eq!(rig.open(Access::Server).stats().unwrap().chunks, 3);
}

#[test]
fn refuses_a_body_that_is_longer_or_shorter_than_announced() {
    let rig = Rig::new();
    let (store, session) = open(&rig);
    let pack = build(&[part(1)]);
    for len in [pack.len - 1, pack.len + 1] {
        let refused = store.add_upload(session, pack.name, len, &mut Cursor::new(&pack.out)).unwrap_err();
        assert!(refused.to_string().contains(&len.to_string()), "{refused}");
        assert_eq!(refused.what_now(), WhatNow::Damaged);
    }
    for len in [0, 87, (64 << 20) + 1, u64::MAX] {
        let refused = store.add_upload(session, pack.name, len, &mut io::repeat(0)).unwrap_err();
        assert!(matches!(refused, StoreError::BadPack { .. }), "{refused}");
    }
    nothing_is_left(&rig);
}

#[test]
fn refuses_a_pack_whose_bytes_are_not_its_name_naming_both() {
    let rig = Rig::new();
    let (store, session) = open(&rig);
    let pack = build(&[part(1)]);
    let other = PackName([7; 32]);
    let refused = store.add_upload(session, other, pack.len, &mut Cursor::new(&pack.out)).unwrap_err();
    let text = refused.to_string();
    assert!(text.contains(&other.to_string()) && text.contains(&pack.name.to_string()), "{text}");
    nothing_is_left(&rig);
}

#[test]
fn refuses_packs_whose_table_or_frames_lie() {
    let rig = Rig::new();
    let (store, session) = open(&rig);
    let (id, raw, good) = part(1);
    let bomb = zstd::bulk::compress(&vec![0; 32 << 20], 3).unwrap();
    let mut broken = good.clone();
    let middle = broken.len() / 2;
    broken[middle] ^= 0x55;
    let lies = [
        ("another id", build(&[part(2), (ChunkId([9; 32]), raw, good.clone())])),
        ("a shorter chunk", build(&[(id, raw - 1, good.clone())])),
        ("a longer chunk", build(&[(id, raw + 4096, good.clone())])),
        ("a bomb", build(&[(id, 4096, bomb)])),
        ("two frames", build(&[(id, raw, [good.clone(), good.clone()].concat())])),
        ("a broken frame", build(&[(id, raw, broken)])),
        ("no frame", build(&[(id, raw, vec![0; 100])])),
        ("an id twice", build(&[part(1), part(1)])),
    ];
    for (what, pack) in lies {
        let refused = upload(&store, session, &pack).unwrap_err();
        assert!(matches!(refused, StoreError::BadPack { .. }), "{what}: {refused}");
        assert_eq!(store.missing(session, &[id, part(2).0]).unwrap(), [true, true], "{what}");
    }
    for (what, at) in [("header", 4), ("footer", -30), ("end", -1), ("table", -40)] {
        let mut bytes = build(&[part(1)]).out;
        let at = if at < 0 { bytes.len() - usize::try_from(-at).unwrap() } else { usize::try_from(at).unwrap() };
        bytes[at] ^= 1;
        let pack = BuiltPack { name: PackName::of(&bytes), entries: vec![], len: bytes.len() as u64, out: bytes };
        assert!(matches!(upload(&store, session, &pack), Err(StoreError::BadPack { .. })), "{what}");
    }
    nothing_is_left(&rig);
}

#[test]
fn a_connection_that_breaks_leaves_nothing_and_asks_for_a_retry() {
    struct Breaks(usize);
    impl Read for Breaks {
        fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
            if self.0 == 0 {
                return Err(io::Error::from(io::ErrorKind::ConnectionReset));
            }
            let count = buf.len().min(self.0);
            self.0 -= count;
            Ok(count)
        }
    }
    let rig = Rig::new();
    let (store, session) = open(&rig);
    let broke = store.add_upload(session, PackName([1; 32]), 1 << 20, &mut Breaks(1000)).unwrap_err();
    assert_eq!(broke.what_now(), WhatNow::Retry);
    assert!(broke.to_string().contains("after 1000 of 1048576 bytes"), "{broke}");
    nothing_is_left(&rig);
}

#[test]
fn a_full_disk_is_a_clear_error_and_nothing_is_lost() {
    // A tmpfs of its own would need a mount; a small ext4 on a loop device is what an operator has.
    let Some(small) = SmallDisk::new(24) else {
        eprintln!("skipped: no loop device or mkfs.ext4 here");
        return;
    };
    let rig = Rig::new();
    let dir = small.mount.join("store");
    Store::create(&dir, rig.key.public_key()).unwrap();
    let store = Store::open_with(&dir, Access::Server, rig.options.clone()).unwrap();
    let first = crate::common::image("first", "now", 0..20);
    first.capture(&store, &rig.key).unwrap();
    let session = store.open_session().unwrap();
    let noise = |seed: u64| -> (ChunkId, u32, Vec<u8>) {
        let mut state = seed + 1;
        let mut raw = Vec::new();
        while raw.len() < 512 << 10 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            raw.extend_from_slice(&(state ^ (state >> 29)).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes());
        }
        (ChunkId::of(&raw), 512 << 10, frame(&raw))
    };
    let packs: Vec<_> = (0..8).map(|pack| build(&(0..8).map(|i| noise(pack * 8 + i)).collect::<Vec<_>>())).collect();
    let full = packs.iter().find_map(|pack| upload(&store, session, pack).err()).expect("32 MiB into 24");
    assert!(matches!(full, StoreError::Full { .. }), "{full}");
    assert_eq!(full.what_now(), WhatNow::Refused);
    assert!(full.to_string().contains("the store is full"), "{full}");
    let mut writer_failed = false;
    if let Ok(mut writer) = store.pack_writer(session) {
        for i in 100..164 {
            let (id, raw, frame) = noise(i);
            if let Err(error) = writer.push(id, raw, &frame) {
                assert!(matches!(error, StoreError::Full { .. }), "{error}");
                writer_failed = true;
                break;
            }
        }
    }
    assert!(writer_failed);
    assert!(files(&dir.join("tmp")).is_empty());
    crate::common::restore(&store, &first).unwrap();
    assert!(store.check(&mut |_| ()).unwrap().is_clean());
    drop(store);
    let store = Store::open_with(&dir, Access::Server, rig.options.clone()).unwrap();
    crate::common::restore(&store, &first).unwrap();
    assert!(store.check(&mut |_| ()).unwrap().is_clean());
}

/// A file system of a few MiB; unmounted when dropped.
struct SmallDisk {
    mount: std::path::PathBuf,
    _dir: tempfile::TempDir,
}

impl SmallDisk {
    fn new(mib: u64) -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let (image, mount) = (dir.path().join("disk.img"), dir.path().join("mnt"));
        std::fs::File::create(&image).unwrap().set_len(mib << 20).unwrap();
        std::fs::create_dir(&mount).unwrap();
        let run = |program: &str, args: &[&std::ffi::OsStr]| {
            std::process::Command::new(program).args(args).output().is_ok_and(|output| output.status.success())
        };
        let made = run("mkfs.ext4", &["-q".as_ref(), "-m0".as_ref(), image.as_ref()]);
        let mounted = made && run("mount", &["-o".as_ref(), "loop".as_ref(), image.as_ref(), mount.as_ref()]);
        mounted.then_some(Self { mount, _dir: dir })
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").arg(&self.mount).status();
    }
}
