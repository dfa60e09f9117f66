//! Collecting: what goes, what stays, for how long, and that nobody is harmed meanwhile.

use crate::common::{Rig, chunks, image, restore};
use ramet_store::testing::{TestImage, chunk};
use ramet_store::{Access, CollectOptions, CommitError, SessionId, Store, StoreError};
use ramet_wire::ChunkId;
use ramet_wire::api::ImageState;
use ramet_wire::sign::Domain;
use std::collections::HashSet;
use std::time::Duration;

const DAY: Duration = Duration::from_secs(24 * 3600);
/// Everything goes at once.
const NOW: CollectOptions = CollectOptions { grace: Duration::ZERO, keep_unreached: Duration::ZERO, dead_percent: 25 };
/// Two minutes: files' times and the store's clock may differ by one, and tests with no time to keep must not care.
const SOON: Duration = Duration::from_secs(180);

fn ids(image: &TestImage) -> Vec<ChunkId> {
    image.parts().map(|raw| ChunkId::of(raw)).collect()
}

fn remove(store: &Store, name: &str) {
    store.remove(&name.parse().unwrap()).unwrap();
}

fn missing(store: &Store, session: SessionId, image: &TestImage) -> usize {
    store.missing(session, &ids(image)).unwrap().into_iter().filter(|missing| *missing).count()
}

#[test]
fn what_no_image_reaches_goes_and_what_one_reaches_stays() {
    let rig = Rig::new();
    let store = rig.open(Access::Server);
    let (a, b) = (image("a", "1", 0..60), image("b", "1", 53..93));
    a.capture(&store, &rig.key).unwrap();
    b.capture(&store, &rig.key).unwrap();
    let before = store.stats().unwrap();
    remove(&store, "a");
    rig.pass(SOON);
    let report = store.collect(&NOW).unwrap();
    assert_eq!(report.live_chunks, 41);
    assert!(report.deleted_packs > 0 && report.rewritten_packs > 0, "{report:?}");
    restore(&store, &b).unwrap();
    let after = store.stats().unwrap();
    assert!(after.pack_bytes < before.pack_bytes * 3 / 5, "{before:?} {after:?}");
    assert!(store.check(&mut |_| ()).unwrap().is_clean());
    drop(store);
    let store = rig.open(Access::Server);
    restore(&store, &b).unwrap();
    let session = store.open_session().unwrap();
    assert_eq!(missing(&store, session, &TestImage { segments: vec![], chunks: chunks(0..53), ..a }), 53);
}

#[test]
fn frames_are_reused_as_they_are() {
    let rig = Rig::new();
    let store = rig.open(Access::Server);
    let (a, b) = (image("a", "1", 0..40), image("b", "1", (0..40).step_by(4)));
    a.capture(&store, &rig.key).unwrap();
    b.capture(&store, &rig.key).unwrap();
    let frame = |raw: &[u8]| {
        let place = store.locate(&[ChunkId::of(raw)]).unwrap()[0].unwrap();
        let mut frame = vec![0; place.stored as usize];
        store.read_at(&place.pack, place.offset, &mut frame).unwrap();
        (place.pack, frame)
    };
    let before: Vec<_> = b.chunks.iter().map(|raw| frame(raw)).collect();
    remove(&store, "a");
    rig.pass(SOON);
    store.collect(&NOW).unwrap();
    for (raw, (pack, old)) in b.chunks.iter().zip(before) {
        let (now, new) = frame(raw);
        assert_eq!(new, old);
        assert_ne!(now, pack);
    }
}

#[test]
fn condemned_chunks_are_missing_to_captures_and_still_serve_restores_until_the_grace_is_over() {
    let rig = Rig::new();
    let store = rig.open(Access::Server);
    let a = image("a", "1", 0..30);
    a.capture(&store, &rig.key).unwrap();
    remove(&store, "a");
    rig.pass(8 * DAY);
    let options = CollectOptions::default();
    let report = store.collect(&options).unwrap();
    assert!(report.condemned_packs > 0);
    assert_eq!((report.deleted_packs, report.waiting_packs), (0, report.condemned_packs));
    let session = store.open_session().unwrap();
    assert_eq!(missing(&store, session, &a), 31);
    restore(&store, &a).unwrap();
    store.end(session).unwrap();
    // Also after a crash, and until 24 hours have passed.
    drop(store);
    let store = rig.open(Access::Server);
    rig.pass(DAY - Duration::from_secs(60));
    assert_eq!(store.collect(&options).unwrap().deleted_packs, 0);
    restore(&store, &a).unwrap();
    rig.pass(Duration::from_secs(120));
    assert_eq!(store.collect(&options).unwrap().deleted_packs, report.condemned_packs);
    assert!(restore(&store, &a).is_err());
    assert_eq!(store.stats().unwrap().packs, 0);
}

#[test]
fn condemned_packs_wait_for_every_session_that_is_older() {
    let rig = Rig::new();
    let store = rig.open(Access::Server);
    image("a", "1", 0..30).capture(&store, &rig.key).unwrap();
    remove(&store, "a");
    rig.pass(8 * DAY);
    let old = store.open_session().unwrap();
    let report = store.collect(&CollectOptions { grace: Duration::ZERO, ..CollectOptions::default() }).unwrap();
    assert!(report.condemned_packs > 0);
    assert_eq!(report.deleted_packs, 0);
    rig.pass(Duration::from_secs(20 * 60));
    store.renew(old).unwrap();
    rig.pass(Duration::from_secs(20 * 60));
    let younger = store.open_session().unwrap();
    assert_eq!(store.collect(&NOW).unwrap().deleted_packs, 0);
    store.end(old).unwrap();
    assert_eq!(store.collect(&NOW).unwrap().deleted_packs, report.condemned_packs);
    store.end(younger).unwrap();
}

#[test]
fn the_progress_of_an_interrupted_capture_is_kept_for_seven_days_after_its_session() {
    let rig = Rig::new();
    let store = rig.open(Access::Server);
    let a = image("a", "1", 0..30);
    let session = store.open_session().unwrap();
    a.upload(&store, session).unwrap();
    // The session goes on for ten days and is then killed with the server.
    for _ in 0..(10 * 24 * 3) {
        rig.pass(Duration::from_secs(20 * 60));
        store.renew(session).unwrap();
    }
    drop(store);
    let store = rig.open(Access::Server);
    rig.pass(6 * DAY);
    let report = store.collect(&CollectOptions::default()).unwrap();
    assert_eq!(report.condemned_packs, 0);
    assert!(report.young_packs > 0);
    let again = store.open_session().unwrap();
    assert_eq!(a.upload(&store, again).unwrap(), 0, "nothing was to be sent again");
    store.end(again).unwrap();
    rig.pass(2 * DAY);
    // The second session found everything there and stored nothing: it keeps nothing.
    assert!(store.collect(&CollectOptions::default()).unwrap().condemned_packs > 0);
}

#[test]
fn commit_names_what_was_condemned_meanwhile_and_the_capture_goes_on() {
    let rig = Rig::new();
    let store = rig.open(Access::Server);
    let a = image("a", "1", 0..30);
    a.capture(&store, &rig.key).unwrap();
    remove(&store, "a");
    rig.pass(8 * DAY);
    let session = store.open_session().unwrap();
    assert_eq!(a.upload(&store, session).unwrap(), 0, "all of it was still there");
    store.collect(&CollectOptions::default()).unwrap();
    let signature = rig.key.sign(Domain::Manifest, &a.manifest).unwrap();
    let Err(CommitError::Missing(missing)) = a.commit(&store, session, &signature) else { panic!("published") };
    assert_eq!(missing.len(), 31);
    // The very same packs: they get their old names, and are condemned no longer.
    a.upload(&store, session).unwrap();
    a.commit(&store, session, &signature).unwrap();
    store.end(session).unwrap();
    rig.pass(3 * DAY);
    store.collect(&CollectOptions::default()).unwrap();
    store.collect(&NOW).unwrap();
    restore(&store, &a).unwrap();
    assert!(store.check(&mut |_| ()).unwrap().is_clean());
}

#[test]
fn a_collect_finds_damage_strikes_it_and_marks_the_image() {
    let rig = Rig::new();
    let store = rig.open(Access::Server);
    let (a, b) = (image("a", "1", 0..30), image("b", "1", (0..30).step_by(3)));
    a.capture(&store, &rig.key).unwrap();
    b.capture(&store, &rig.key).unwrap();
    remove(&store, "a");
    let raw = chunk(3);
    let place = store.locate(&[ChunkId::of(&raw)]).unwrap()[0].unwrap();
    let name = place.pack.to_string();
    let path = rig.dir().join("packs").join(&name[..2]).join(name);
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[usize::try_from(place.offset).unwrap() + 20] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    rig.pass(SOON);
    store.collect(&NOW).unwrap();
    let entry = store.image(&"b".parse().unwrap()).unwrap();
    assert_eq!((entry.info.state, entry.missing), (ImageState::Damaged, 1));
    b.capture(&store, &rig.key).unwrap();
    assert_eq!(store.image(&"b".parse().unwrap()).unwrap().info.state, ImageState::Complete);
    restore(&store, &b).unwrap();
}

#[test]
fn a_collect_that_cannot_read_a_manifest_deletes_nothing() {
    let rig = Rig::new();
    let store = rig.open(Access::Server);
    let a = image("a", "1", 0..30);
    let id = a.capture(&store, &rig.key).unwrap().id;
    image("b", "1", 100..130).capture(&store, &rig.key).unwrap();
    remove(&store, "b");
    let path = rig.dir().join("images/a").join(id.to_string()).join("manifest.json");
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[50] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    rig.pass(SOON);
    let before = store.stats().unwrap();
    assert!(matches!(store.collect(&NOW), Err(StoreError::Damaged { .. })));
    assert_eq!(store.stats().unwrap(), before);
    restore(&store, &a).unwrap();
}

#[test]
fn a_collect_needs_the_store_alone() {
    let rig = Rig::new();
    for access in [Access::Read, Access::Shared] {
        assert!(matches!(rig.open(access).collect(&NOW), Err(StoreError::Access { .. })));
    }
}

#[test]
fn a_second_collect_finds_nothing_to_do() {
    let rig = Rig::new();
    let store = rig.open(Access::Exclusive);
    image("a", "1", 0..60).capture(&store, &rig.key).unwrap();
    image("b", "1", (0..60).step_by(7)).capture(&store, &rig.key).unwrap();
    remove(&store, "a");
    rig.pass(SOON);
    store.collect(&NOW).unwrap();
    rig.pass(SOON);
    let report = store.collect(&NOW).unwrap();
    assert_eq!((report.rewritten_packs, report.condemned_packs, report.deleted_packs), (0, 0, 0), "{report:?}");
}

#[test]
fn captures_restores_and_collects_under_way_at_once_do_no_harm() {
    let mut rig = Rig::new();
    // The clock below runs hours per second: no session shall lapse by that.
    rig.options.session_lapse = 365 * DAY;
    let store = rig.open(Access::Server);
    let stay = image("stay", "1", 1000..1040);
    stay.capture(&store, &rig.key).unwrap();
    let over = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let captures: Vec<_> = (0..2_u64)
            .map(|thread| {
                let (store, rig) = (store.clone(), &rig);
                scope.spawn(move || {
                    for round in 0..12_u64 {
                        // Overlapping with the other thread and with what the last round has just removed.
                        let start = (round * 7 + thread * 5) % 40;
                        let name = format!("web-{thread}");
                        let image = image(&name, &round.to_string(), start..start + 25);
                        let session = store.open_session().unwrap();
                        let signature = rig.key.sign(Domain::Manifest, &image.manifest).unwrap();
                        let mut rounds = 0;
                        loop {
                            image.upload(&store, session).unwrap();
                            match image.commit(&store, session, &signature) {
                                Ok(_) => break,
                                Err(CommitError::Missing(_)) => rounds += 1,
                                Err(error) => panic!("{error}"),
                            }
                            assert!(rounds < 50, "never done");
                        }
                        restore(&store, &image).unwrap();
                        store.end(session).unwrap();
                        if round % 3 != 2 {
                            remove(&store, &name);
                        }
                    }
                })
            })
            .collect();
        let restores = scope.spawn(|| {
            while !over.load(std::sync::atomic::Ordering::SeqCst) {
                restore(&store, &stay).unwrap();
            }
        });
        let collects = scope.spawn(|| {
            let mut deleted = 0;
            while !over.load(std::sync::atomic::Ordering::SeqCst) {
                rig.pass(Duration::from_secs(70));
                deleted += store.collect(&NOW).unwrap().deleted_packs;
            }
            deleted
        });
        let captured: Vec<_> = captures.into_iter().map(|capture| capture.join()).collect();
        over.store(true, std::sync::atomic::Ordering::SeqCst);
        assert!(captured.iter().all(Result::is_ok), "a capture failed");
        restores.join().unwrap();
        assert!(collects.join().unwrap() > 0, "nothing was collected meanwhile");
    });
    rig.pass(SOON);
    store.collect(&NOW).unwrap();
    let report = store.check(&mut |_| ()).unwrap();
    assert!(report.is_clean(), "{:?}", report.damages);
    let names: HashSet<String> = report.images.iter().map(|entry| entry.info.name.to_string()).collect();
    assert_eq!(names, ["stay", "web-0", "web-1"].map(String::from).into());
    drop(store);
    let store = rig.open(Access::Server);
    restore(&store, &stay).unwrap();
    assert!(store.check(&mut |_| ()).unwrap().is_clean());
}
