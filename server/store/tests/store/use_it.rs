//! Opening, storing, finding, committing: what a capture and a restore do, in order.

use crate::common::{Rig, chunks, files, image, restore};
use ramet_store::testing::{TestImage, chunk, frame};
use ramet_store::{Access, CommitError, Options, Store, StoreError, WhatNow};
use ramet_wire::api::ImageState;
use ramet_wire::sign::Domain;
use ramet_wire::{ChunkId, ImageRef};
use std::time::Duration;

fn reference(text: &str) -> ImageRef {
    text.parse().unwrap()
}

#[test]
fn a_committed_image_is_listed_and_every_chunk_of_it_is_found_also_after_reopening() {
    let rig = Rig::new();
    let web = image("web", "2026-01-01T00:00:00Z", 0..40);
    let store = rig.open(Access::Shared);
    let committed = web.capture(&store, &rig.key).unwrap();
    for store in [store.clone(), {
        drop(store);
        rig.open(Access::Read)
    }] {
        restore(&store, &web).unwrap();
        let images = store.images().unwrap();
        assert_eq!(images.len(), 1);
        assert_eq!((images[0].info.id, images[0].info.number), (committed.id, 1));
        assert_eq!(images[0].info.state, ImageState::Complete);
        let (bytes, signature) = store.manifest(&reference("web")).unwrap();
        assert_eq!(bytes, web.manifest);
        assert!(store.public_key().verifies(Domain::Manifest, &bytes, &signature.0));
    }
}

#[test]
fn the_same_image_again_stores_nothing_and_latest_is_the_highest_commit_number() {
    let rig = Rig::new();
    let store = rig.open(Access::Server);
    let old = image("web", "2026-02-01T00:00:00Z", 0..30);
    let other = image("db", "2026-01-01T00:00:00Z", 0..30);
    // Captured later, by a clock that is behind.
    let new = image("web", "2001-01-01T00:00:00Z", 0..30);
    old.capture(&store, &rig.key).unwrap();
    let before = store.stats().unwrap();
    other.capture(&store, &rig.key).unwrap();
    let committed = new.capture(&store, &rig.key).unwrap();
    assert_eq!(store.stats().unwrap().pack_bytes, before.pack_bytes);
    assert_eq!(committed.number, 3);
    assert_eq!(store.image(&reference("web")).unwrap().info.id, committed.id);
    assert_eq!(new.capture(&store, &rig.key).unwrap(), committed, "the same commit twice");
    assert!(matches!(store.image(&reference("nobody")), Err(StoreError::NoImage(_))));
    store.remove(&reference("web")).unwrap();
    assert_eq!(store.image(&reference("web")).unwrap().info.number, 1);
}

#[test]
fn packs_of_a_running_session_are_visible_to_everybody_at_once() {
    let rig = Rig::new();
    let store = rig.open(Access::Server);
    let (one, two) = (store.open_session().unwrap(), store.open_session().unwrap());
    let id = ChunkId::of(&chunk(1));
    assert_eq!(store.missing(two, &[id]).unwrap(), [true]);
    let mut writer = store.pack_writer(one).unwrap();
    writer.push(id, 8192, &frame(&chunk(1))).unwrap();
    assert_eq!(store.missing(two, &[id]).unwrap(), [true]);
    let name = writer.finish().unwrap();
    assert_eq!(store.missing(two, &[id]).unwrap(), [false]);
    assert_eq!(store.locate(&[id]).unwrap()[0].unwrap().pack, name);
}

#[test]
fn commit_answers_with_the_ids_that_are_missing_and_publishes_nothing() {
    let rig = Rig::new();
    let store = rig.open(Access::Server);
    let web = image("web", "now", 0..20);
    let signature = rig.key.sign(Domain::Manifest, &web.manifest).unwrap();
    let session = store.open_session().unwrap();
    let half = TestImage { chunks: chunks(0..10), ..web.clone() };
    half.upload(&store, session).unwrap();
    let Err(CommitError::Missing(missing)) = web.commit(&store, session, &signature) else { panic!("published") };
    let wanted: Vec<ChunkId> = chunks(10..20).iter().map(|raw| ChunkId::of(raw)).collect();
    assert_eq!(missing, wanted);
    assert!(store.images().unwrap().is_empty());
    web.upload(&store, session).unwrap();
    web.commit(&store, session, &signature).unwrap();
    restore(&store, &web).unwrap();
}

#[test]
fn commit_refuses_a_manifest_that_another_key_signed_or_whose_sums_are_wrong() {
    let rig = Rig::new();
    let store = rig.open(Access::Server);
    let web = image("web", "now", 0..5);
    let session = store.open_session().unwrap();
    web.upload(&store, session).unwrap();
    let other = Rig::new();
    let signature = other.key.sign(Domain::Manifest, &web.manifest).unwrap();
    let refused = web.commit(&store, session, &signature).unwrap_err();
    assert!(refused.to_string().contains("signature is not by this store's key"), "{refused}");
    let receipt = rig.key.sign(Domain::Receipt, &web.manifest).unwrap();
    assert!(web.commit(&store, session, &receipt).is_err());
    let text = String::from_utf8(web.manifest.clone()).unwrap();
    let sum = web.chunks.iter().map(Vec::len).sum::<usize>();
    let lie = text.replace(&format!("\"data_bytes\": {sum}"), &format!("\"data_bytes\": {}", sum - 1));
    assert_ne!(lie, text);
    let signature = rig.key.sign(Domain::Manifest, lie.as_bytes()).unwrap();
    let refused = store.commit(session, lie.as_bytes(), &signature).unwrap_err();
    assert!(refused.to_string().contains(&(sum - 1).to_string()), "{refused}");
    assert!(store.images().unwrap().is_empty());
}

#[test]
fn a_dropped_pack_writer_leaves_nothing_behind() {
    let rig = Rig::new();
    let store = rig.open(Access::Shared);
    let before = files(&rig.dir());
    let session = store.open_session().unwrap();
    let mut writer = store.pack_writer(session).unwrap();
    writer.push(ChunkId::of(&chunk(1)), 8192, &frame(&chunk(1))).unwrap();
    drop(writer);
    let left: Vec<_> = files(&rig.dir()).into_iter().filter(|file| !before.contains(file)).collect();
    assert_eq!(left.len(), 1, "{left:?}");
    assert!(left[0].starts_with("sessions"));
}

#[test]
fn a_lapsed_session_is_told_to_begin_again() {
    let rig = Rig::new();
    let store = rig.open(Access::Server);
    let session = store.open_session().unwrap();
    rig.pass(Duration::from_secs(29 * 60));
    store.renew(session).unwrap();
    rig.pass(Duration::from_secs(29 * 60));
    store.missing(session, &[]).unwrap();
    rig.pass(Duration::from_secs(31 * 60));
    let error = store.missing(session, &[]).unwrap_err();
    assert!(matches!(error, StoreError::NoSession(_)));
    assert_eq!(error.what_now(), WhatNow::Retry);
    assert!(store.pack_writer(session).is_err());
}

#[test]
fn captures_share_a_folder_and_a_server_or_a_collect_is_alone() {
    let rig = Rig::new();
    let open = |access| Store::open_with(&rig.dir(), access, rig.options.clone());
    let one = open(Access::Shared).unwrap();
    let two = open(Access::Shared).unwrap();
    let reader = open(Access::Read).unwrap();
    for alone in [Access::Server, Access::Exclusive] {
        let refused = open(alone).unwrap_err();
        assert!(matches!(refused, StoreError::Held { .. }));
        assert!(refused.to_string().contains(&format!("a capture, process {}", std::process::id())), "{refused}");
    }
    drop((one, two, reader));
    let server = open(Access::Server).unwrap();
    for other in [Access::Read, Access::Shared, Access::Server, Access::Exclusive] {
        let refused = open(other).unwrap_err();
        assert!(refused.to_string().contains("held by a server, process"), "{refused}");
    }
    drop(server);
    open(Access::Exclusive).unwrap();
}

#[test]
fn where_flock_means_nothing_the_lease_of_another_host_decides_until_it_lapses() {
    let rig = Rig::new();
    let lapse = Duration::from_secs(3);
    let options = Options { trust_flock: Some(false), lease_lapse: lapse, ..rig.options.clone() };
    let store = Store::open_with(&rig.dir(), Access::Server, options.clone()).unwrap();
    let lease = files(&rig.dir()).into_iter().find(|file| file.starts_with("leases")).unwrap();
    // What another host would have written: the same, with another boot id, properly sealed.
    let bytes = std::fs::read_to_string(rig.dir().join(&lease)).unwrap();
    drop(store);
    let boot = bytes.split("\"boot\":\"").nth(1).unwrap().split('"').next().unwrap().to_owned();
    let line = bytes.lines().next().unwrap().replace(&boot, "another boot of another host") + "\n";
    let sealed = format!("{line}checksum {:016x}\n", xxhash_rust::xxh3::xxh3_64(line.as_bytes()));
    std::fs::write(rig.dir().join("leases/other"), sealed).unwrap();
    let refused = Store::open_with(&rig.dir(), Access::Shared, options.clone()).unwrap_err();
    assert!(matches!(refused, StoreError::Held { .. }), "{refused}");
    // A local file system has a reliable flock: the lease is only a word.
    Store::open_with(&rig.dir(), Access::Shared, rig.options.clone()).unwrap();
    std::thread::sleep(lapse + Duration::from_millis(200));
    let store = Store::open_with(&rig.dir(), Access::Shared, options.clone()).unwrap();
    // Ours is renewed, so that others see it.
    std::thread::sleep(lapse + Duration::from_millis(500));
    let lease = files(&rig.dir()).into_iter().find(|file| file.starts_with("leases")).unwrap();
    let age = std::fs::metadata(rig.dir().join(lease)).unwrap().modified().unwrap().elapsed().unwrap();
    assert!(age < lapse, "{age:?}");
    drop(store);
}

#[test]
fn two_processes_that_capture_into_a_folder_get_different_numbers() {
    let rig = Rig::new();
    let (one, two) = (rig.open(Access::Shared), rig.open(Access::Shared));
    let numbers: Vec<u64> = std::thread::scope(|scope| {
        let capture = |store: Store, name: &'static str| {
            let rig = &rig;
            scope.spawn(move || image(name, "now", 0..30).capture(&store, &rig.key).unwrap().number)
        };
        let threads = [capture(one.clone(), "a"), capture(two.clone(), "b"), capture(one, "c"), capture(two, "d")];
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let mut sorted = numbers.clone();
    sorted.sort_unstable();
    assert_eq!(sorted, [1, 2, 3, 4], "{numbers:?}");
}

#[test]
fn a_read_only_store_is_not_changed_by_reading_and_refuses_to_be_written() {
    let rig = Rig::new();
    let web = image("web", "now", 0..20);
    web.capture(&rig.open(Access::Shared), &rig.key).unwrap();
    for file in files(&rig.dir().join("map")) {
        std::fs::remove_file(rig.dir().join("map").join(file)).unwrap();
    }
    let before = files(&rig.dir());
    let options = Options { fresh_max: 4, ..rig.options.clone() };
    let store = Store::open_with(&rig.dir(), Access::Read, options).unwrap();
    restore(&store, &web).unwrap();
    assert!(matches!(store.open_session(), Err(StoreError::Access { .. })));
    assert!(matches!(store.remove(&reference("web")), Err(StoreError::Access { .. })));
    drop(store);
    assert_eq!(files(&rig.dir()), before);
}

#[test]
fn refuses_a_folder_that_is_no_store_or_of_another_version_or_not_empty() {
    let rig = Rig::new();
    let empty = tempfile::tempdir().unwrap();
    assert!(matches!(Store::open(empty.path(), Access::Read), Err(StoreError::NoStore { .. })));
    std::fs::write(empty.path().join("holiday.jpg"), b"x").unwrap();
    let refused = Store::create(empty.path(), rig.key.public_key()).unwrap_err();
    assert!(refused.to_string().contains("holiday.jpg"));
    let line = "{\"ramet_store\":2,\"of\":\"the future\"}\n";
    let sealed = format!("{line}checksum {:016x}\n", xxhash_rust::xxh3::xxh3_64(line.as_bytes()));
    std::fs::write(rig.dir().join("format"), sealed).unwrap();
    let refused = Store::open(&rig.dir(), Access::Read).unwrap_err();
    assert!(refused.to_string().ends_with("has format 2, this build reads 1"), "{refused}");
}

#[test]
fn a_question_of_a_thousand_ids_over_ten_thousand_chunks_takes_under_a_millisecond() {
    let rig = Rig::new();
    let store = rig.open(Access::Server);
    let session = store.open_session().unwrap();
    let small = |i: u64| [&b"chunk"[..], &i.to_le_bytes()].concat();
    for pack in 0..10 {
        let mut writer = store.pack_writer(session).unwrap();
        for i in pack * 1000..(pack + 1) * 1000 {
            writer.push(ChunkId::of(&small(i)), 13, &frame(&small(i))).unwrap();
        }
        writer.finish().unwrap();
    }
    let ids: Vec<ChunkId> = (0..1000).map(|i| ChunkId::of(&small(i * 20))).collect();
    for _in_memory_then_in_files in 0..2 {
        let best = (0..20)
            .map(|_| {
                let start = std::time::Instant::now();
                let missing = store.missing(session, &ids).unwrap();
                assert_eq!(missing.iter().filter(|missing| **missing).count(), 500);
                start.elapsed()
            })
            .min()
            .unwrap();
        // Debug builds on a busy machine get some room; the figure itself is printed.
        println!("1,000 ids: {best:?}");
        assert!(best < Duration::from_millis(4), "{best:?}");
        let other = store.open_session().unwrap();
        store.end(other).unwrap();
    }
}
