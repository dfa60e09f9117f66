//! Random histories of a store, against a list of what should be in it.

use crate::common::{Rig, image, restore};
use proptest::prelude::*;
use ramet_store::testing::{TestImage, chunk};
use ramet_store::{Access, CollectOptions, Options, Store};
use ramet_wire::api::ImageState;
use ramet_wire::{ChunkId, ImageId, ImageRef};
use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::FileExt;
use std::time::Duration;

#[derive(Clone, Debug)]
enum Deed {
    Capture { name: u8, start: u64, len: u64 },
    Interrupted { start: u64, len: u64 },
    Remove { name: u8 },
    Damage { seed: u64 },
    Check,
    Collect { hours: u64 },
    Days { days: u64 },
    Reopen { lose_map: bool },
}

fn deed() -> impl Strategy<Value = Deed> {
    prop_oneof![
        4 => (0..3_u8, 0..30_u64, 1..25_u64).prop_map(|(name, start, len)| Deed::Capture { name, start, len }),
        1 => (0..30_u64, 1..25_u64).prop_map(|(start, len)| Deed::Interrupted { start, len }),
        2 => (0..3_u8).prop_map(|name| Deed::Remove { name }),
        2 => (0..50_u64).prop_map(|seed| Deed::Damage { seed }),
        1 => Just(Deed::Check),
        3 => prop_oneof![Just(0_u64), Just(24)].prop_map(|hours| Deed::Collect { hours }),
        1 => (1..9_u64).prop_map(|days| Deed::Days { days }),
        2 => any::<bool>().prop_map(|lose_map| Deed::Reopen { lose_map }),
    ]
}

/// What should be there.
#[derive(Default)]
struct Model {
    versions: BTreeMap<(String, ImageId), (TestImage, BTreeSet<u64>)>,
    lost: BTreeSet<u64>,
    captures: u64,
}

impl Model {
    fn compare(&self, store: &Store) {
        let entries = store.images().unwrap();
        let listed: BTreeSet<(String, ImageId)> =
            entries.iter().map(|entry| (entry.info.name.to_string(), entry.info.id)).collect();
        assert_eq!(listed, self.versions.keys().cloned().collect());
        for entry in entries {
            let (image, seeds) = &self.versions[&(entry.info.name.to_string(), entry.info.id)];
            let missing = seeds.intersection(&self.lost).count() as u64;
            assert_eq!(entry.missing, missing, "{}", image.name);
            assert_eq!(entry.info.state == ImageState::Complete, missing == 0);
            assert_eq!(restore(store, image).is_ok(), missing == 0);
            let exact = ImageRef { name: entry.info.name, id: Some(entry.info.id) };
            assert_eq!(store.manifest(&exact).unwrap().0, image.manifest);
        }
    }
}

/// Flips a bit in every copy of a chunk, reporting each.
fn damage(rig: &Rig, store: &Store, seed: u64) -> bool {
    let id = ChunkId::of(&chunk(seed));
    let mut any = false;
    while let Some(place) = store.locate(&[id]).unwrap()[0] {
        let name = place.pack.to_string();
        let path = rig.dir().join("packs").join(&name[..2]).join(name);
        let file = std::fs::File::options().read(true).write(true).open(path).unwrap();
        let at = place.offset + u64::from(place.stored) / 2;
        let mut byte = [0];
        file.read_exact_at(&mut byte, at).unwrap();
        file.write_all_at(&[byte[0] ^ 0x10], at).unwrap();
        assert_eq!(store.report_damage(&[id]).unwrap().struck, [id]);
        any = true;
    }
    any
}

fn live(rig: &Rig, deeds: &[Deed]) {
    let options = Options { fresh_max: 16, map_files_max: 3, ..rig.options.clone() };
    let open = || Store::open_with(&rig.dir(), Access::Server, options.clone()).unwrap();
    let mut store = open();
    let mut model = Model::default();
    for deed in deeds {
        match deed {
            Deed::Capture { name, start, len } => {
                model.captures += 1;
                let name = format!("image-{name}");
                let image = image(&name, &model.captures.to_string(), *start..start + len);
                let committed = image.capture(&store, &rig.key).unwrap();
                assert_eq!(store.image(&name.parse().unwrap()).unwrap().info.id, committed.id);
                let seeds: BTreeSet<u64> = (*start..start + len).collect();
                model.lost.retain(|seed| !seeds.contains(seed));
                model.versions.insert((name, committed.id), (image, seeds));
            }
            Deed::Interrupted { start, len } => {
                let session = store.open_session().unwrap();
                image("never", "0", *start..start + len).upload(&store, session).unwrap();
                model.lost.retain(|seed| !(*start..start + len).contains(seed));
            }
            Deed::Remove { name } => {
                let name = format!("image-{name}");
                match store.remove(&name.parse().unwrap()) {
                    Ok(id) => assert!(model.versions.remove(&(name, id)).is_some()),
                    Err(_) => assert!(!model.versions.keys().any(|(other, _)| *other == name)),
                }
            }
            Deed::Damage { seed } => {
                if damage(rig, &store, *seed) {
                    model.lost.insert(*seed);
                }
            }
            Deed::Check => {
                store.check(&mut |_| ()).unwrap();
                let again = store.check(&mut |_| ()).unwrap();
                assert!(again.damages.is_empty(), "{:?}", again.damages);
            }
            Deed::Collect { hours } => {
                rig.pass(Duration::from_secs(3600));
                let hours = Duration::from_secs(hours * 3600);
                let options = CollectOptions { grace: hours, keep_unreached: hours, dead_percent: 25 };
                let report = store.collect(&options).unwrap();
                // What was condemned, or is gone, is no longer known to be lost or there: forget what no image has.
                assert!(report.deleted_packs == 0 || hours.is_zero() || report.deleted_bytes > 0);
            }
            Deed::Days { days } => rig.pass(Duration::from_secs(days * 24 * 3600)),
            Deed::Reopen { lose_map } => {
                drop(store);
                let maps = rig.dir().join("map");
                for file in crate::common::files(&maps).into_iter().filter(|_| *lose_map) {
                    std::fs::remove_file(maps.join(file)).unwrap();
                }
                store = open();
            }
        }
        model.compare(&store);
    }
    assert!(store.check(&mut |_| ()).is_ok());
    model.compare(&store);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_history_leaves_exactly_the_images_that_should_be_there(deeds in prop::collection::vec(deed(), 1..16)) {
        live(&Rig::new(), &deeds);
    }
}
