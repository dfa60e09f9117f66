//! Samples of format 1 that every later version must read, or refuse for the same reason.
//!
//! In: `golden/v1/{valid,invalid}`. Out: agreement with the list here; each invalid one breaks exactly one rule.
//! Promise: folder and list agree; existing samples are never changed. New ones: `-- --ignored write_new_samples`.

#![allow(clippy::unwrap_used)] // a panic is how a test fails

use ramet_wire::boot::{BiosCode, Code, Facts, Initramfs, Kernel, Layer, Program, Root, System};
use ramet_wire::firmware::{BootEntry, Firmware, Loader};
use ramet_wire::manifest::{Content, DiskImage, Manifest, PartitionImage, Source, Stored};
use ramet_wire::pack::{self, PackBuilder};
use ramet_wire::segment::{self, Record, RecordKind, SegmentRef};
use ramet_wire::{BLOCK, ByteRange, ChunkId, Entry, Table, TableKind, cutting};
use std::collections::BTreeSet;
use std::path::PathBuf;

const MIB: u64 = 1 << 20;

struct Sample {
    name: String,
    bytes: Vec<u8>,
    /// Name of the error's variant; none for a valid one.
    refused: Option<&'static str>,
}

fn folder(valid: bool) -> PathBuf {
    let kind = if valid { "valid" } else { "invalid" };
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("golden/v1").join(kind)
}

/// What reading says: `Ok`, or the error's variant name (the first word of its `Debug`).
fn verdict(name: &str, bytes: &[u8]) -> Result<(), String> {
    let variant = |error: &dyn std::fmt::Debug| {
        let text = format!("{error:?}");
        text.split(|c: char| !c.is_alphanumeric()).next().unwrap_or_default().to_owned()
    };
    if name.starts_with("pack-") {
        return pack::read_table(bytes).map(drop).map_err(|error| variant(&error));
    }
    if name.starts_with("segment-") {
        let segment = SegmentRef { first: 0, len: 1 << 30, id: ChunkId::of(bytes) };
        return segment::decode(bytes, &segment, 0, 1 << 30, BLOCK).map(drop).map_err(|error| variant(&error));
    }
    Manifest::read(bytes).map(drop).map_err(|error| variant(&error))
}

fn pack_sample() -> Vec<u8> {
    let mut builder = PackBuilder::new(Vec::new()).unwrap();
    for raw in [vec![1_u8; 4096], (0..=255).cycle().take(8192).collect()] {
        let frame = zstd::bulk::compress(&raw, 3).unwrap();
        builder.push(ChunkId::of(&raw), u32::try_from(raw.len()).unwrap(), &frame).unwrap();
    }
    builder.finish().unwrap().out
}

/// Changes the pack's tail and makes its checksum right again.
fn retail(edit: impl Fn(&mut Vec<u8>)) -> Vec<u8> {
    let mut bytes = pack_sample();
    edit(&mut bytes);
    let end = bytes.len();
    let table = end - 32 - 96;
    let sum = xxhash_rust::xxh3::xxh3_64(&bytes[table..end - 16]);
    bytes[end - 16..end - 8].copy_from_slice(&sum.to_le_bytes());
    bytes
}

fn packs() -> Vec<Sample> {
    let whole = pack_sample();
    let end = whole.len();
    let (first, second) = (end - 32 - 96, end - 32 - 48);
    let set =
        |at: usize, value: Vec<u8>| move |bytes: &mut Vec<u8>| bytes[at..at + value.len()].copy_from_slice(&value);
    let flip = |at: usize| {
        let mut bytes = whole.clone();
        bytes[at] ^= 1;
        bytes
    };
    let id = whole[first..first + 32].to_vec();
    let bad =
        |name: &str, bytes: Vec<u8>, refused| Sample { name: format!("pack-{name}"), bytes, refused: Some(refused) };
    vec![
        Sample { name: "pack-two-chunks".to_owned(), bytes: whole.clone(), refused: None },
        bad("header-version", flip(4), "Header"),
        bad("cut-short", whole[..end - 1].to_vec(), "End"),
        bad("too-short", whole[..60].to_vec(), "Length"),
        bad("table-checksum", flip(first + 3), "Checksum"),
        bad("count-zero", retail(set(end - 24, vec![0; 4])), "Count"),
        bad("reserved", retail(set(end - 20, vec![1])), "Reserved"),
        bad("table-offset", retail(set(end - 32, vec![9])), "TableRange"),
        bad("overlapping-frames", retail(set(second + 32, vec![8, 0])), "Tiling"),
        bad("raw-too-long", retail(set(second + 44, vec![1, 0, 8, 0])), "Raw"),
        bad("stored-zero", retail(set(first + 40, vec![0; 4])), "Stored"),
        bad("id-twice", retail(set(second, id)), "Twice"),
    ]
}

fn record(offset: u64, len: u32, kind: RecordKind) -> Record {
    Record { offset, len, kind }
}

fn segments() -> Vec<Sample> {
    let data = |offset, len| record(offset, len, RecordKind::Data(ChunkId::of(b"chunk")));
    let encode = |records: &[Record]| segment::encode(records, 0, 1 << 30).remove(0).1;
    let good = encode(&[data(0, 4096), record(8192, 65536, RecordKind::Zero), data(MIB, 524_288)]);
    let edit = |at: usize, value: u8| {
        let mut bytes = good.clone();
        bytes[at] = value;
        bytes
    };
    let bad = |name: &str, bytes, refused| Sample { name: format!("segment-{name}"), bytes, refused: Some(refused) };
    vec![
        Sample { name: "segment-three-records".to_owned(), bytes: good.clone(), refused: None },
        bad("version", edit(4, 2), "Header"),
        bad("cut-short", good[..good.len() - 1].to_vec(), "Length"),
        bad("empty", good[..8].to_vec(), "Length"),
        bad("kind-unknown", edit(8 + 8, 2), "Kind"),
        bad("zero-with-id", edit(8 + 44 + 12, 1), "ZeroId"),
        bad("data-too-long", encode(&[data(0, 524_288 + 4096)]), "RecordLength"),
        bad("not-whole-blocks", encode(&[data(0, 4000)]), "RecordLength"),
        bad("unaligned", encode(&[data(512, 4096)]), "Offset"),
        bad("overlap", encode(&[data(0, 8192), data(4096, 4096)]), "Order"),
        bad("past-the-space", encode(&[data((1 << 30) - 4096, 8192)]), "RecordLength"),
    ]
}

fn stored(first: u64) -> Stored {
    let segments = vec![SegmentRef { first, len: 1 << 30, id: ChunkId::of(b"segment") }];
    let digest = Stored::digest_of(&segments);
    Stored { data_bytes: 4096, zero_bytes: 65536, segments, digest }
}

fn manifest_sample() -> Manifest {
    let entry = |number, start, len| Entry {
        number,
        range: ByteRange::new(start, len).unwrap(),
        r#type: "0fc63daf-8483-4772-8e79-3d69d8477de4".to_owned(),
        guid: Some("8f3b3a53-4f0e-4f0a-9c5e-000000000001".to_owned()),
        name: None,
        attributes: 0,
        ebr: None,
        extended: false,
    };
    let entries = vec![entry(1, 64 * MIB, 128 * MIB), entry(15, MIB, 32 * MIB)];
    let partition = |entry: &Entry| PartitionImage {
        number: entry.number,
        range: entry.range,
        content: Content { kind: "ext4".to_owned(), ..Content::default() },
        whole: false,
        used_bytes: 4096,
        stored: stored(0),
    };
    let disk = DiskImage {
        ordinal: 0,
        size: 256 * MIB,
        logical_sector: 512,
        physical_sector: 4096,
        model: None,
        serial: Some("SERIAL".to_owned()),
        wwn: None,
        partitions: entries.iter().map(partition).collect(),
        table: Table {
            kind: TableKind::Gpt,
            id: Some("8f3b3a53-4f0e-4f0a-9c5e-000000000000".to_owned()),
            usable: Some(ByteRange::between(34 * 512, 256 * MIB - 33 * 512)),
            hybrid: false,
            entries,
        },
        gaps: stored(0),
    };
    Manifest {
        format: 1,
        features: Vec::new(),
        name: "sample".parse().unwrap(),
        created: "2026-11-22T16:00:00Z".to_owned(),
        agent: "0.1.0".to_owned(),
        source: Source::default(),
        cutting: cutting::CUTTING,
        inconsistent: false,
        warnings: Vec::new(),
        firmware: None,
        boot: None,
        disks: vec![disk],
    }
}

fn edited(edit: impl Fn(&mut Manifest)) -> Vec<u8> {
    let mut manifest = manifest_sample();
    edit(&mut manifest);
    serde_json::to_vec_pretty(&manifest).unwrap()
}

/// A table entry and its partition move together.
fn moved(index: usize, start: u64, len: u64) -> impl Fn(&mut Manifest) {
    move |manifest| {
        let range = ByteRange::new(start, len).unwrap();
        manifest.disks[0].table.entries[index].range = range;
        manifest.disks[0].partitions[index].range = range;
    }
}

/// With one loader and one entry, then edited.
fn with_firmware(edit: impl Fn(&mut Manifest, &mut Firmware)) -> Vec<u8> {
    edited(|manifest| {
        let loader = Loader { disk: 0, partition: 15, path: r"\EFI\debian\shimx64.efi".to_owned() };
        let entry = BootEntry { label: "debian".to_owned(), loader: loader.clone() };
        let mut firmware = Firmware { entries: vec![entry], loaders: vec![loader] };
        manifest.features = vec!["firmware".to_owned()];
        edit(manifest, &mut firmware);
        manifest.firmware = Some(firmware);
    })
}

/// `b ext4`, `i ahci` with a pattern, `r e1000` with one; packed by the program zstd.
const DRIVERS: &str =
    "KLUv/SBYJQIAkkQOEqC7AQQZdk2VVQL+b4do8AdPFKitzJT8+/8niIv//78oF+q+w5nt2ehh6pgedaNZJTanko2gPZQmAgCrIitOpqA=";
/// `b ext4`, then a line that is neither a driver nor a pattern.
const NO_DRIVERS: &str = "KLUv/SQNaQAAYiBleHQ0Cndyb25nCl1fLqs=";

/// With one system of one kernel, then edited.
fn with_boot(edit: impl Fn(&mut Manifest, &mut Facts)) -> Vec<u8> {
    edited(|manifest| {
        let kernel = Kernel {
            release: "6.1.0-56-amd64".to_owned(),
            path: "/boot/vmlinuz-6.1.0-56-amd64".to_owned(),
            initramfs: Some(Initramfs { path: "/boot/initrd.img-6.1.0-56-amd64".to_owned(), unread: None }),
            drivers: Some(serde_json::from_value(DRIVERS.into()).unwrap()),
            builtin: true,
            opaque: vec!["ata_piix".to_owned()],
        };
        let system = System {
            disk: 0,
            partition: 1,
            id: "debian".to_owned(),
            like: String::new(),
            name: "Debian GNU/Linux 12 (bookworm)".to_owned(),
            architecture: "x86_64".to_owned(),
            root: Root {
                filesystem: "ext4".to_owned(),
                stack: vec![Layer::Lvm],
                named: Some("/dev/vg/root".to_owned()),
            },
            kernels: vec![kernel],
        };
        let loader = Loader { disk: 0, partition: 15, path: r"\EFI\debian\shimx64.efi".to_owned() };
        let mut facts = Facts {
            systems: vec![system],
            programs: vec![Program { loader, signed: true, shim: true }],
            bios: vec![BiosCode { disk: 0, code: Code::Grub, next: true }],
            unread: vec!["partition 15 of disk 0: vfat is not looked into".to_owned()],
        };
        manifest.features = vec!["boot".to_owned()];
        edit(manifest, &mut facts);
        manifest.boot = Some(facts);
    })
}

fn boots() -> Vec<Sample> {
    let bad = |name: &str, bytes| Sample { name: format!("manifest-boot-{name}"), bytes, refused: Some("Boot") };
    let kernel = |edit: fn(&mut Kernel)| with_boot(|_, facts| edit(&mut facts.systems[0].kernels[0]));
    vec![
        Sample { name: "manifest-boot".to_owned(), bytes: with_boot(|_, _| ()), refused: None },
        bad("without-flag", with_boot(|m, _| m.features.clear())),
        bad("no-partition", with_boot(|_, f| f.systems[0].partition = 2)),
        bad("program-elsewhere", with_boot(|_, f| f.programs[0].loader.disk = 1)),
        bad("code-elsewhere", with_boot(|_, f| f.bios[0].disk = 7)),
        bad("no-name", with_boot(|_, f| f.systems[0].name.clear())),
        bad("too-many-systems", with_boot(|_, f| f.systems = vec![f.systems[0].clone(); 17])),
        bad("too-many-kernels", with_boot(|_, f| f.systems[0].kernels = vec![f.systems[0].kernels[0].clone(); 17])),
        bad("reason-control", with_boot(|_, f| f.unread[0] = "a\u{1b}[2J".to_owned())),
        bad("release-too-long", kernel(|k| k.release = "6".repeat(513))),
        bad("opaque-too-many", kernel(|k| k.opaque = vec!["x".to_owned(); 513])),
        bad("drivers-no-frame", kernel(|k| k.drivers = Some(serde_json::from_value("QUJD".into()).unwrap()))),
        bad("drivers-line", kernel(|k| k.drivers = Some(serde_json::from_value(NO_DRIVERS.into()).unwrap()))),
    ]
}

fn manifests() -> Vec<Sample> {
    let good = edited(|_| ());
    let text = |from: &str, to: &str| String::from_utf8(good.clone()).unwrap().replacen(from, to, 1).into_bytes();
    let bad = |name: &str, bytes, refused| Sample { name: format!("manifest-{name}"), bytes, refused: Some(refused) };
    let space = 128 * MIB;
    vec![
        Sample { name: "manifest-one-disk".to_owned(), bytes: good.clone(), refused: None },
        Sample { name: "manifest-firmware".to_owned(), bytes: with_firmware(|_, _| ()), refused: None },
        bad("firmware-without-flag", with_firmware(|m, _| m.features.clear()), "Firmware"),
        bad("firmware-no-partition", with_firmware(|_, f| f.loaders[0].partition = 2), "Firmware"),
        bad("firmware-no-path", with_firmware(|_, f| f.entries[0].loader.path = "grub.efi".to_owned()), "Firmware"),
        bad("firmware-label", with_firmware(|_, f| f.entries[0].label = "a\u{1b}[2J".to_owned()), "Firmware"),
        bad("firmware-too-many", with_firmware(|_, f| f.loaders = vec![f.loaders[0].clone(); 65]), "Firmware"),
        bad("cut-short", good[..good.len() - 2].to_vec(), "Json"),
        bad("format-2", text("\"format\": 1", "\"format\": 2"), "Format"),
        bad("feature-unknown", text("\"features\": []", "\"features\": [\"xattr-zip\"]"), "Feature"),
        bad("field-unknown", text("\"agent\"", "\"agenda\""), "Json"),
        bad("name-slash", text("\"sample\"", "\"../sample\""), "Json"),
        bad("cutting-other", edited(|m| m.cutting.modulus = 25), "Cutting"),
        bad("no-disk", edited(|m| m.disks.clear()), "Disks"),
        bad("ordinal", edited(|m| m.disks[0].ordinal = 1), "Ordinal"),
        bad("sector-520", edited(|m| m.disks[0].logical_sector = 520), "Geometry"),
        bad("partition-not-in-table", edited(|m| m.disks[0].partitions[1].number = 14), "Mismatch"),
        bad("partition-missing", edited(|m| drop(m.disks[0].partitions.pop())), "Mismatch"),
        bad("outside-the-disk", edited(moved(0, 250 * MIB, 128 * MIB)), "Range"),
        bad("empty-partition", edited(moved(0, 64 * MIB, 0)), "Range"),
        bad("unaligned-partition", edited(moved(0, 64 * MIB + 1, MIB)), "Range"),
        bad("overlap", edited(moved(0, 2 * MIB, 128 * MIB)), "Overlap"),
        bad("in-the-table", edited(moved(1, 512, 32 * MIB)), "InTable"),
        bad("range-wraps", text("\"len\": 134217728", "\"len\": 18446744073709551615"), "Json"),
        bad("segment-outside", edited(|m| m.disks[0].partitions[0].stored = stored(space)), "Segment"),
        bad("segment-too-long", edited(|m| m.disks[0].gaps.segments[0].len += 1), "Segment"),
        bad("sum", edited(|m| m.disks[0].partitions[0].stored.zero_bytes = space), "Sum"),
        bad("digest", edited(|m| m.disks[0].gaps.digest.0[0] ^= 1), "Digest"),
    ]
}

fn samples() -> Vec<Sample> {
    packs().into_iter().chain(segments()).chain(manifests()).chain(boots()).collect()
}

#[test]
fn folder_and_list_agree() {
    for valid in [true, false] {
        let listed: BTreeSet<String> = samples()
            .into_iter()
            .filter(|sample| sample.refused.is_none() == valid)
            .map(|sample| sample.name)
            .collect();
        let lying: BTreeSet<String> = std::fs::read_dir(folder(valid))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        assert_eq!(listed, lying);
    }
}

#[test]
fn every_sample_is_judged_as_listed() {
    for sample in samples() {
        let path = folder(sample.refused.is_none()).join(&sample.name);
        let bytes = std::fs::read(&path).unwrap();
        let found = verdict(&sample.name, &bytes).err();
        assert_eq!(found.as_deref(), sample.refused, "{}", sample.name);
    }
}

#[test]
fn valid_segments_and_manifests_are_written_byte_for_byte_the_same() {
    for sample in samples().into_iter().filter(|sample| sample.refused.is_none() && !sample.name.starts_with("pack-")) {
        assert!(std::fs::read(folder(true).join(&sample.name)).unwrap() == sample.bytes, "{}", sample.name);
    }
}

#[test]
#[ignore = "writes into the source tree"]
fn write_new_samples() {
    for sample in samples() {
        let path = folder(sample.refused.is_none()).join(&sample.name);
        if !path.exists() {
            std::fs::write(path, &sample.bytes).unwrap();
        }
    }
}
