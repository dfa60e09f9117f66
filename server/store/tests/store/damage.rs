//! Damage to any file of the store: found, named with its images, and healed by the next capture.

use crate::common::{Rig, files, image, restore};
use ramet_store::testing::TestImage;
use ramet_store::{Access, CheckReport, Store, StoreError};
use ramet_wire::api::ImageState;
use ramet_wire::{ChunkId, ImageRef};
use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// Three images: two share most chunks, one shares nothing. Every kind of file is there.
struct World {
    rig: Rig,
    images: [TestImage; 3],
}

impl World {
    fn new() -> Self {
        let rig = Rig::new();
        let images = [image("a", "1", 0..20), image("b", "1", 5..25), image("c", "1", 100..115)];
        for image in &images {
            image.capture(&rig.open(Access::Shared), &rig.key).unwrap();
        }
        Self { rig, images }
    }

    fn path(&self, file: &Path) -> PathBuf {
        self.rig.dir().join(file)
    }

    fn pack_of(&self, raw: &[u8]) -> (PathBuf, u64, u64) {
        let store = self.rig.open(Access::Read);
        let place = store.locate(&[ChunkId::of(raw)]).unwrap()[0].unwrap();
        let name = place.pack.to_string();
        (Path::new("packs").join(&name[..2]).join(name), place.offset, u64::from(place.stored))
    }

    fn check(&self) -> CheckReport {
        self.rig.open(Access::Exclusive).check(&mut |_| ()).unwrap()
    }

    /// Capturing all healthy sources again makes everything whole.
    fn heal(&self) {
        let store = self.rig.open(Access::Server);
        for image in &self.images {
            image.capture(&store, &self.rig.key).unwrap();
        }
        for image in &self.images {
            restore(&store, image).unwrap();
        }
        let report = store.check(&mut |_| ()).unwrap();
        assert!(report.is_clean(), "{:?}", report.damages);
        assert!(store.images().unwrap().iter().all(|image| image.info.state == ImageState::Complete));
    }
}

fn flip(path: &Path, at: u64, bit: u8) {
    let file = fs::File::options().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    byte[0] ^= 1 << bit;
    file.write_all_at(&byte, at).unwrap();
}

fn cut(path: &Path, len: u64) {
    fs::File::options().write(true).open(path).unwrap().set_len(len).unwrap();
}

fn named(report: &CheckReport, file: &Path) -> Vec<String> {
    let object = file.display().to_string();
    let damage = report.damages.iter().find(|damage| damage.object == object);
    let damage = damage.unwrap_or_else(|| panic!("{object} is not among {:?}", report.damages));
    let mut names: Vec<String> = damage.images.iter().map(|(name, _)| name.to_string()).collect();
    names.sort();
    names
}

fn states(store: &Store) -> Vec<(String, bool)> {
    let images = store.images().unwrap();
    images.iter().map(|e| (e.info.name.to_string(), e.info.state == ImageState::Complete)).collect()
}

#[test]
fn a_flipped_bit_in_a_frame_names_the_images_with_that_chunk_and_healing_takes_the_mark() {
    let world = World::new();
    // Chunk 2 is only in a, chunk 10 in a and b.
    for (seed, touched) in [(2, &["a"][..]), (10, &["a", "b"])] {
        let raw = ramet_store::testing::chunk(seed);
        let (pack, offset, stored) = world.pack_of(&raw);
        flip(&world.path(&pack), offset + stored / 2, 3);
        let report = world.check();
        assert_eq!(named(&report, &pack), touched);
        let store = world.rig.open(Access::Read);
        for (name, complete) in states(&store) {
            assert_eq!(complete, !touched.contains(&name.as_str()), "{name}");
        }
        assert_eq!(store.locate(&[ChunkId::of(&raw)]).unwrap(), [None]);
        drop(store);
        // What was good in that pack was brought to safety: a second look finds no damaged file.
        assert!(world.check().damages.is_empty());
        world.heal();
    }
}

#[test]
fn damage_to_any_part_of_a_pack_is_found_and_no_good_chunk_is_lost_by_it() {
    let world = World::new();
    let (pack, ..) = world.pack_of(&ramet_store::testing::chunk(2));
    let path = world.path(&pack);
    let good = fs::read(&path).unwrap();
    let len = good.len() as u64;
    for (what, at) in [("header", 5), ("table", len - 32 - 40), ("footer", len - 30), ("end mark", len - 2)] {
        flip(&path, at, 0);
        let report = world.check();
        assert_eq!(named(&report, &pack), ["a", "b"], "{what}");
        // Every frame was good: the pack has its bytes back.
        assert_eq!(fs::read(&path).unwrap(), good, "{what}");
        assert!(report.images.iter().all(|image| image.missing == 0));
        assert!(world.check().is_clean(), "{what}");
    }
}

#[test]
fn a_cut_or_deleted_pack_is_noticed_at_opening_and_marks_its_images() {
    for action in ["cut", "cut to nothing", "delete", "grow"] {
        let world = World::new();
        let (pack, ..) = world.pack_of(&ramet_store::testing::chunk(2));
        let path = world.path(&pack);
        let len = fs::metadata(&path).unwrap().len();
        match action {
            "cut" => cut(&path, len / 2),
            "cut to nothing" => cut(&path, 0),
            "grow" => cut(&path, len + 1),
            _ => fs::remove_file(&path).unwrap(),
        }
        let store = world.rig.open(Access::Read);
        assert_eq!(states(&store), [("a".into(), false), ("b".into(), false), ("c".into(), true)], "{action}");
        assert!(restore(&store, &world.images[0]).is_err());
        restore(&store, &world.images[2]).unwrap();
        drop(store);
        let report = world.check();
        assert_eq!(named(&report, &pack), ["a", "b"], "{action}");
        world.heal();
    }
}

#[test]
fn a_damaged_segment_names_its_image_and_is_healed() {
    let world = World::new();
    let (pack, offset, stored) = world.pack_of(&world.images[2].segments[0]);
    flip(&world.path(&pack), offset + stored - 3, 7);
    assert_eq!(named(&world.check(), &pack), ["c"]);
    let entry = world.rig.open(Access::Read).image(&"c".parse().unwrap()).unwrap();
    assert_eq!((entry.info.state, entry.missing), (ImageState::Damaged, 1));
    world.heal();
}

#[test]
fn damage_to_an_images_own_files_is_found_and_names_it() {
    for file in ["manifest.json", "manifest.sig", "commit"] {
        for action in ["flip", "cut", "delete"] {
            let world = World::new();
            let id = world.rig.open(Access::Read).image(&"b".parse().unwrap()).unwrap().info.id;
            let relative = Path::new("images/b").join(id.to_string()).join(file);
            let path = world.path(&relative);
            let len = fs::metadata(&path).unwrap().len();
            match action {
                "flip" => flip(&path, len / 2, 2),
                "cut" => cut(&path, len - 1),
                _ => fs::remove_file(&path).unwrap(),
            }
            let report = world.check();
            assert_eq!(named(&report, &relative), ["b"], "{file} {action}");
            let store = world.rig.open(Access::Server);
            let exact = ImageRef { name: "b".parse().unwrap(), id: Some(id) };
            let entry = store.image(&exact).unwrap();
            assert_eq!(entry.info.state, ImageState::Damaged, "{file} {action}");
            assert!(entry.problem.unwrap().contains(file), "{file} {action}");
            if file != "commit" {
                assert!(matches!(store.manifest(&exact), Err(StoreError::Damaged { .. })), "{file} {action}");
            }
            // A later capture is the latest; the damaged version stays until it is removed.
            std::thread::sleep(std::time::Duration::from_millis(20));
            let new = image("b", "2", 5..25).capture(&store, &world.rig.key).unwrap();
            assert_eq!(store.image(&"b".parse().unwrap()).unwrap().info.id, new.id, "{file} {action}");
            // The very same manifest again puts the damaged version right.
            world.images[1].capture(&store, &world.rig.key).unwrap();
            assert!(store.check(&mut |_| ()).unwrap().is_clean(), "{file} {action}");
        }
    }
}

#[test]
fn an_image_whose_number_is_lost_may_be_the_latest_and_is_not_passed_over_in_silence() {
    let world = World::new();
    std::thread::sleep(std::time::Duration::from_millis(20));
    let store = world.rig.open(Access::Server);
    let new = image("b", "2", 5..25).capture(&store, &world.rig.key).unwrap();
    drop(store);
    flip(&world.path(&Path::new("images/b").join(new.id.to_string()).join("commit")), 10, 0);
    let refused = world.rig.open(Access::Server).image(&"b".parse().unwrap()).unwrap_err();
    assert!(refused.to_string().contains(&new.id.to_string()), "{refused}");
}

#[test]
fn damage_to_the_map_is_found_and_it_is_made_again_from_the_packs() {
    for action in ["flip", "cut", "delete", "delete all"] {
        let world = World::new();
        let maps = files(&world.rig.dir().join("map"));
        for (at, map) in maps.iter().enumerate().filter(|(at, _)| *at == 0 || action == "delete all") {
            let relative = Path::new("map").join(map);
            let path = world.path(&relative);
            let len = fs::metadata(&path).unwrap().len();
            match action {
                // In a page of records, which opening does not look at.
                "flip" => flip(&path, 4096 + 100, 1),
                "cut" => cut(&path, len / 2),
                _ => fs::remove_file(&path).unwrap(),
            }
            let store = world.rig.open(Access::Server);
            let report = store.check(&mut |_| ()).unwrap();
            if action == "flip" {
                assert!(named(&report, &relative).is_empty());
            }
            assert!(store.images().unwrap().iter().all(|image| image.missing == 0), "{action} {at}");
        }
        assert!(world.check().is_clean(), "{action}");
        world.heal();
    }
}

#[test]
fn a_look_up_that_meets_a_damaged_map_page_makes_the_map_again_and_answers() {
    let world = World::new();
    for map in files(&world.rig.dir().join("map")) {
        flip(&world.rig.dir().join("map").join(map), 4096 + 50, 4);
    }
    let store = world.rig.open(Access::Shared);
    for image in &world.images {
        restore(&store, image).unwrap();
    }
}

#[test]
fn a_damaged_format_or_key_file_keeps_the_store_shut_until_it_is_mended() {
    for file in ["format", "key.pub"] {
        for action in ["flip", "cut", "delete"] {
            let world = World::new();
            let path = world.path(Path::new(file));
            match action {
                "flip" => flip(&path, 5, 5),
                "cut" => cut(&path, 7),
                _ => fs::remove_file(&path).unwrap(),
            }
            let shut = Store::open(&world.rig.dir(), Access::Read).unwrap_err();
            assert!(shut.to_string().contains(file), "{shut}");
            assert!(Store::mend(&world.rig.dir(), world.rig.key.public_key()).unwrap());
            assert!(!Store::mend(&world.rig.dir(), world.rig.key.public_key()).unwrap());
            assert!(world.check().is_clean(), "{file} {action}");
        }
    }
}

#[test]
fn one_flipped_bit_anywhere_in_any_file_is_found() {
    let world = World::new();
    // So that marks, strikes and condemnations are there, too.
    let (pack, offset, _) = world.pack_of(&ramet_store::testing::chunk(101));
    flip(&world.path(&pack), offset + 20, 0);
    let store = world.rig.open(Access::Shared);
    let struck = store.report_damage(&[ChunkId::of(&ramet_store::testing::chunk(101))]).unwrap();
    assert_eq!(struck.images.len(), 1);
    drop(store);
    let names = files(&world.rig.dir());
    let kinds = ["state/strikes", "damaged", "sessions", "map", "packs", "format", "key.pub", "commit", "manifest"];
    for kind in kinds {
        assert!(names.iter().any(|name| name.display().to_string().contains(kind)), "no {kind} in {names:?}");
    }
    let mut seed = 1_u64;
    for file in names.iter().filter(|name| !matches!(name.to_str(), Some("lock" | "state/numbering" | "state/saving")))
    {
        let path = world.path(file);
        let good = fs::read(&path).unwrap();
        for _ in 0..3 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let at = (seed >> 33) % good.len() as u64;
            flip(&path, at, u8::try_from(seed >> 61).unwrap());
            let object = file.display().to_string();
            match Store::open_with(&world.rig.dir(), Access::Shared, world.rig.options.clone()) {
                Err(shut) => assert!(shut.to_string().contains(&object), "{object} at {at}: {shut}"),
                // A damaged map file is already made again; a damaged pack table is in the map from before.
                Ok(store) if object.starts_with("map") && !path.exists() => drop(store),
                Ok(store) => {
                    let report = store.check(&mut |_| ()).unwrap();
                    let found = report.damages.iter().any(|damage| damage.object == object);
                    assert!(found, "{object} at {at} is not among {:?}", report.damages);
                }
            }
            fs::write(&path, &good).unwrap();
        }
    }
}

#[test]
fn a_report_strikes_only_what_is_really_damaged() {
    let world = World::new();
    let store = world.rig.open(Access::Server);
    let healthy = ChunkId::of(&ramet_store::testing::chunk(3));
    let report = store.report_damage(&[healthy]).unwrap();
    assert_eq!((report.struck.len(), report.lost.len(), report.images.len()), (0, 0, 0));
    let (pack, offset, _) = world.pack_of_open(&store, &ramet_store::testing::chunk(4));
    flip(&world.path(&pack), offset + 15, 6);
    let bad = ChunkId::of(&ramet_store::testing::chunk(4));
    let report = store.report_damage(&[bad, healthy]).unwrap();
    assert_eq!((report.struck, report.lost), (vec![bad], vec![bad]));
    assert_eq!(report.images.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["a"]);
    let session = store.open_session().unwrap();
    assert_eq!(store.missing(session, &[bad, healthy]).unwrap(), [true, false]);
    // Still so after a crash.
    drop(store);
    let store = world.rig.open(Access::Server);
    let session = store.open_session().unwrap();
    assert_eq!(store.missing(session, &[bad, healthy]).unwrap(), [true, false]);
    drop(store);
    assert_eq!(named(&world.check(), &pack), ["a"]);
    world.heal();
}

#[test]
fn a_struck_chunk_with_another_good_copy_harms_no_image() {
    let rig = Rig::new();
    let store = rig.open(Access::Server);
    let web = image("web", "now", 0..4);
    // Two captures at once store the same chunks twice, in packs of different shape.
    let (one, two) = (store.open_session().unwrap(), store.open_session().unwrap());
    let mut writer = store.pack_writer(one).unwrap();
    let raw = ramet_store::testing::chunk(2);
    let frame = ramet_store::testing::frame(&raw);
    writer.push(ChunkId::of(&raw), u32::try_from(raw.len()).unwrap(), &frame).unwrap();
    let mut parts: Vec<Vec<u8>> = web.parts().cloned().collect();
    parts.rotate_left(1);
    let mut other = store.pack_writer(two).unwrap();
    for raw in &parts {
        let frame = ramet_store::testing::frame(raw);
        other.push(ChunkId::of(raw), u32::try_from(raw.len()).unwrap(), &frame).unwrap();
    }
    let alone = writer.finish().unwrap();
    other.finish().unwrap();
    web.capture(&store, &rig.key).unwrap();
    flip(&rig.dir().join("packs").join(&alone.to_string()[..2]).join(alone.to_string()), 40, 0);
    let report = store.report_damage(&[ChunkId::of(&raw)]).unwrap();
    assert_eq!((report.struck.len(), report.lost.len(), report.images.len()), (1, 0, 0));
    restore(&store, &web).unwrap();
}

#[test]
fn an_image_can_be_checked_alone() {
    let world = World::new();
    let (pack, offset, _) = world.pack_of(&ramet_store::testing::chunk(10));
    flip(&world.path(&pack), offset + 30, 0);
    let store = world.rig.open(Access::Server);
    assert!(store.check_image(&"c".parse().unwrap(), &mut |_| ()).unwrap().is_clean());
    let report = store.check_image(&"b".parse().unwrap(), &mut |_| ()).unwrap();
    assert_eq!(named(&report, &pack), ["b"]);
    assert_eq!(report.images[0].missing, 1);
    assert_eq!(states(&store), [("a".into(), false), ("b".into(), false), ("c".into(), true)]);
    assert!(matches!(store.check_image(&"x".parse().unwrap(), &mut |_| ()), Err(StoreError::NoImage(_))));
}

#[test]
fn a_healed_pack_of_the_same_name_counts_as_whole_again() {
    // The next capture builds the very same pack, whose name is already taken by the damaged file.
    let rig = Rig::new();
    let web = image("web", "now", 0..6);
    let store = rig.open(Access::Server);
    web.capture(&store, &rig.key).unwrap();
    for raw in web.parts() {
        let place = store.locate(&[ChunkId::of(raw)]).unwrap()[0].unwrap();
        let name = place.pack.to_string();
        flip(&rig.dir().join("packs").join(&name[..2]).join(&name), place.offset + 12, 0);
        store.report_damage(&[ChunkId::of(raw)]).unwrap();
    }
    assert_eq!(states(&store), [("web".into(), false)]);
    web.capture(&store, &rig.key).unwrap();
    assert_eq!(states(&store), [("web".into(), true)]);
    restore(&store, &web).unwrap();
    drop(store);
    let store = rig.open(Access::Server);
    assert_eq!(states(&store), [("web".into(), true)]);
    restore(&store, &web).unwrap();
    assert!(store.check(&mut |_| ()).unwrap().is_clean());
}

#[test]
fn what_one_process_strikes_the_others_do_not_unsay() {
    let world = World::new();
    let (one, two) = (world.rig.open(Access::Shared), world.rig.open(Access::Shared));
    let id = |seed| ChunkId::of(&ramet_store::testing::chunk(seed));
    for (store, seed) in [(&one, 2), (&two, 12), (&one, 102)] {
        let (pack, offset, _) = world.pack_of_open(store, &ramet_store::testing::chunk(seed));
        flip(&world.path(&pack), offset + 25, 1);
        assert_eq!(store.report_damage(&[id(seed)]).unwrap().struck, [id(seed)]);
    }
    for store in [&one, &two] {
        assert_eq!(states(store), [("a".into(), false), ("b".into(), false), ("c".into(), false)]);
    }
    drop((one, two));
    let store = world.rig.open(Access::Shared);
    assert_eq!(store.locate(&[id(2), id(12), id(102)]).unwrap(), [None, None, None]);
    drop(store);
    world.check();
    world.heal();
}

impl World {
    fn pack_of_open(&self, store: &Store, raw: &[u8]) -> (PathBuf, u64, u64) {
        let place = store.locate(&[ChunkId::of(raw)]).unwrap()[0].unwrap();
        let name = place.pack.to_string();
        (Path::new("packs").join(&name[..2]).join(name), place.offset, u64::from(place.stored))
    }
}
