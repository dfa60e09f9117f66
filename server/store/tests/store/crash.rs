//! The process dies before each single change of the folder; what was answered holds, nothing half done is seen.

use crate::common::{Rig, files, image, restore};
use ramet_store::testing::TestImage;
use ramet_store::{Access, CollectOptions, Options, Steps, Store, StoreError};
use ramet_wire::ChunkId;
use ramet_wire::api::ImageState;
use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

const NOW: CollectOptions = CollectOptions { grace: Duration::ZERO, keep_unreached: Duration::ZERO, dead_percent: 25 };

/// Three captures, a removal, a strike, a collect. Notes in `done` what was answered.
fn scenario(rig: &Rig, options: &Options, done: &mut Vec<&'static str>) -> Result<(), StoreError> {
    let store = Store::open_with(&rig.dir(), Access::Server, options.clone())?;
    let [old, web, db] = images();
    old.capture(&store, &rig.key)?;
    done.push("old");
    web.capture(&store, &rig.key)?;
    done.push("web");
    // A removal that was not answered may have happened or not.
    done.retain(|name| *name != "old");
    store.remove(&"old".parse().unwrap())?;
    db.capture(&store, &rig.key)?;
    done.push("db");
    rig.pass(Duration::from_secs(180));
    store.collect(&NOW)?;
    // Once more, so that a condemned pack is given its name again.
    old.capture(&store, &rig.key)?;
    done.push("old");
    Ok(())
}

fn images() -> [TestImage; 3] {
    // The second shares a few chunks with the first: a collect must write a pack anew.
    [image("old", "1", 0..14), image("web", "1", 12..20), image("db", "1", 30..36)]
}

fn dying_at(step: usize, options: &Options) -> Options {
    let count = AtomicUsize::new(0);
    let steps = Steps::from_fn(move |_| count.fetch_add(1, Ordering::SeqCst) >= step);
    // Few records and files, so that spills and merges are among the steps.
    Options { steps, fresh_max: 8, map_files_max: 3, ..options.clone() }
}

#[test]
fn a_crash_before_any_step_loses_nothing_that_was_answered_and_shows_nothing_half_done() {
    let counting = Rig::new();
    let count = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&count);
    let steps = Steps::from_fn(move |_| {
        counted.fetch_add(1, Ordering::SeqCst);
        false
    });
    let options = Options { steps, fresh_max: 8, map_files_max: 3, ..counting.options.clone() };
    scenario(&counting, &options, &mut Vec::new()).unwrap();
    let total = count.load(Ordering::SeqCst);
    assert!(total > 100, "{total} steps");
    // Every step would take a minute; every twelfth, beginning anywhere, meets them all in time.
    let first = usize::try_from(std::process::id()).unwrap() % 12;
    for step in (first..total).step_by(12) {
        let rig = Rig::new();
        let mut done = Vec::new();
        let died = scenario(&rig, &dying_at(step, &rig.options), &mut done);
        assert!(died.is_err() || step + 8 > total, "step {step} of {total} did not matter");
        look(&rig, &done, step);
        let mut done = Vec::new();
        match scenario(&rig, &rig.options, &mut done) {
            Ok(()) => {}
            Err(error) => panic!("again after step {step}: {error}"),
        }
        let store = rig.open(Access::Server);
        let report = store.check(&mut |_| ()).unwrap();
        assert!(report.is_clean(), "step {step}: {:?}", report.damages);
        assert!(report.strays.is_empty(), "step {step}: {:?}", report.strays);
        assert!(files(&rig.dir().join("tmp")).is_empty(), "step {step}");
    }
}

/// After a crash: opened again, everything listed is whole, everything answered is there.
fn look(rig: &Rig, done: &[&str], step: usize) {
    let store = rig.open(Access::Server);
    let all: HashMap<String, TestImage> = images().into_iter().map(|image| (image.name.to_string(), image)).collect();
    let listed = store.images().unwrap();
    for entry in &listed {
        assert_eq!(entry.info.state, ImageState::Complete, "step {step}: {:?}", entry.problem);
        restore(&store, &all[entry.info.name.as_str()]).unwrap_or_else(|error| panic!("step {step}: {error}"));
    }
    for name in done {
        assert!(listed.iter().any(|entry| entry.info.name.as_str() == *name), "step {step}: {name} is gone");
    }
    // The map knows no more than the folder.
    for image in all.values() {
        for raw in image.parts() {
            let place = store.locate(&[ChunkId::of(raw)]).unwrap()[0];
            if let Some(place) = place {
                let len = store.pack_len(&place.pack).unwrap();
                assert!(len.is_some_and(|len| place.offset + u64::from(place.stored) <= len), "step {step}");
            }
        }
    }
    assert!(files(&rig.dir().join("tmp")).is_empty(), "step {step}");
}

#[test]
fn a_pack_is_synced_then_named_then_its_folder_synced_and_only_then_known() {
    let rig = Rig::new();
    let seen: Arc<Mutex<Vec<(&'static str, bool)>>> = Arc::default();
    let opened: Arc<OnceLock<Store>> = Arc::default();
    let (noted, store_in_hook) = (Arc::clone(&seen), Arc::clone(&opened));
    let web = image("web", "1", 0..3);
    let id = ChunkId::of(&web.chunks[0]);
    let steps = Steps::from_fn(move |name| {
        if let Some(store) = store_in_hook.get() {
            let known = store.locate(&[id]).unwrap()[0].is_some();
            noted.lock().unwrap().push((name, known));
        }
        false
    });
    let options = Options { steps, ..rig.options.clone() };
    let store = Store::open_with(&rig.dir(), Access::Server, options).unwrap();
    let session = store.open_session().unwrap();
    opened.set(store.clone()).unwrap();
    let mut writer = store.pack_writer(session).unwrap();
    let raw = &web.chunks[0];
    writer.push(id, u32::try_from(raw.len()).unwrap(), &ramet_store::testing::frame(raw)).unwrap();
    writer.finish().unwrap();
    let seen = seen.lock().unwrap().clone();
    let names: Vec<&str> = seen.iter().map(|(name, _)| *name).collect();
    let wanted = [
        "creating a temporary file",
        "writing",
        "creating a folder",
        "syncing a folder",
        "syncing a file",
        "renaming a file",
        "syncing a folder",
    ];
    assert_eq!(names, wanted);
    assert!(seen.iter().all(|(_, known)| !known), "{seen:?}");
    assert!(store.locate(&[id]).unwrap()[0].is_some());
}

#[test]
fn packs_that_the_map_does_not_know_are_read_in_and_rows_of_missing_packs_go() {
    let rig = Rig::new();
    let web = image("web", "1", 0..30);
    web.capture(&rig.open(Access::Server), &rig.key).unwrap();
    let maps = rig.dir().join("map");
    for file in files(&maps) {
        std::fs::remove_file(maps.join(file)).unwrap();
    }
    let store = rig.open(Access::Server);
    restore(&store, &web).unwrap();
    let place = store.locate(&[ChunkId::of(&web.chunks[0])]).unwrap()[0].unwrap();
    drop(store);
    let name = place.pack.to_string();
    std::fs::remove_file(rig.dir().join("packs").join(&name[..2]).join(name)).unwrap();
    let store = rig.open(Access::Server);
    let session = store.open_session().unwrap();
    assert_eq!(store.locate(&[ChunkId::of(&web.chunks[0])]).unwrap(), [None]);
    assert_eq!(store.missing(session, &[ChunkId::of(&web.chunks[0])]).unwrap(), [true]);
    assert_eq!(store.images().unwrap()[0].info.state, ImageState::Damaged);
}
