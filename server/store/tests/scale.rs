//! The map at size: memory, look-ups per second, time to make it again.
//!
//! Takes a minute and 2.3 GB of disk, so it runs only when asked for:
//! `cargo test --release -p ramet-store --test scale -- --ignored --nocapture`. `RAMET_SCALE` sets the millions.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on shall stop")]

use ramet_store::{Access, SigningKey, Store};
use ramet_wire::ChunkId;
use ramet_wire::pack::{ENTRIES_MAX, PackBuilder};
use std::fs;
use std::io::BufWriter;
use std::path::Path;
use std::time::Instant;

/// Highest resident memory of this process so far, in MiB.
fn peak_mib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() / 1024
}

fn id(n: u64) -> ChunkId {
    ChunkId::of(&n.to_le_bytes())
}

/// Packs whose frames are never read: only their tables matter here.
fn write_packs(dir: &Path, packs: u64) {
    let per_pack = u64::from(ENTRIES_MAX);
    for pack in 0..packs {
        let temp = dir.join("tmp/pack");
        let mut builder = PackBuilder::new(BufWriter::new(fs::File::create(&temp).unwrap())).unwrap();
        for n in pack * per_pack..(pack + 1) * per_pack {
            builder.push(id(n), 4096, &n.to_le_bytes().repeat(2)).unwrap();
        }
        let built = builder.finish().unwrap();
        built.out.into_inner().unwrap();
        let name = built.name.to_string();
        let folder = dir.join("packs").join(&name[..2]);
        fs::create_dir_all(&folder).unwrap();
        fs::rename(&temp, folder.join(name)).unwrap();
    }
}

/// Seconds of CPU time that this process took so far: other load on the machine does not count.
fn cpu_seconds() -> f64 {
    let stat = fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    let ticks: u32 = fields[11..13].iter().map(|field| field.parse::<u32>().unwrap()).sum();
    f64::from(ticks) / 100.0
}

fn look_up(store: &Store, count: u64, from: u64, step: u64, wanted: bool) -> f64 {
    let start = cpu_seconds();
    let mut asked = 0_u64;
    while asked < count {
        let ids: Vec<ChunkId> = (0..1000).map(|i| id(from + (asked + i) * step % 20_000_000)).collect();
        let found = store.locate(&ids).unwrap();
        assert!(found.iter().all(|place| place.is_some() == wanted));
        asked += 1000;
    }
    f64::from(u32::try_from(asked).unwrap()) / (cpu_seconds() - start)
}

#[test]
#[ignore = "takes a minute and 2.3 GB of disk"]
fn memory_stays_under_64_mib_with_20_million_chunks() {
    let millions: u64 = std::env::var("RAMET_SCALE").ok().and_then(|n| n.parse().ok()).unwrap_or(20);
    let packs = (millions * 1_000_000).div_ceil(u64::from(ENTRIES_MAX));
    let records = packs * u64::from(ENTRIES_MAX);
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("store");
    let key = SigningKey::generate(&root.path().join("key")).unwrap();
    Store::create(&dir, key.public_key()).unwrap();
    write_packs(&dir, packs);
    println!("{records} records in {packs} packs; memory before opening: {} MiB", peak_mib());

    let (start, cpu) = (Instant::now(), cpu_seconds());
    let store = Store::open(&dir, Access::Server).unwrap();
    let cpu = cpu_seconds() - cpu;
    println!(
        "made from the packs' tables in {:.1?} ({cpu:.1} s of CPU); peak memory {} MiB",
        start.elapsed(),
        peak_mib()
    );
    assert_eq!(store.stats().unwrap().chunks, records);
    drop(store);

    let start = Instant::now();
    let store = Store::open(&dir, Access::Server).unwrap();
    println!("opened in {:.1?}", start.elapsed());
    let step = 7919;
    println!("look-ups of what is there: {:.0} per second of CPU", look_up(&store, 1_000_000, 0, step, true));
    println!("look-ups of what is not: {:.0} per second of CPU", look_up(&store, 1_000_000, 1 << 40, step, false));
    println!("peak memory {} MiB", peak_mib());
    assert!(peak_mib() <= 64, "{} MiB", peak_mib());
}
