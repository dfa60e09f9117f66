//! NTFS volumes of all shapes, held against partclone and ntfs-3g's own tools.

use super::super::{ExtentKind, map};
use super::images::{Image, extents, minus, of_kind, partclone, run, total, write_tree};
use super::ntfs_volumes::{MIB, made, mount, number, places, record, same_files};
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

/// No byte that partclone calls used is missing, there are few more, and a restored disk is as good as the source.
fn agrees(image: &Image, case: &str) {
    let size = image.source().size();
    let map = image.map();
    assert!(!map.whole && map.warnings.is_empty(), "{case}: {map:?}");
    assert_eq!(map.content.state.as_deref(), Some("clean"), "{case}");
    let all = extents(&map, size);
    let data = of_kind(&all, ExtentKind::Data);
    let used = partclone("partclone.ntfs", image);
    assert_eq!(minus(&used, &data), [], "{case}: used for partclone and in no extent");
    let head = image.read(0, 512);
    let at = places(&head);
    // Behind the last cluster, and what clusters below 4 KiB are rounded to.
    let tail = size - (at.clusters * at.cluster) as u64;
    let rounded = if at.cluster < 4096 { 8192 * used.len() as u64 } else { 4096 };
    let limit = total(&used) + total(&used) / 100 + tail + rounded;
    println!(
        "{case}: {} bytes to read, partclone has {}, {} extents, {size} in all",
        map.used_bytes,
        total(&used),
        all.len()
    );
    assert!(map.used_bytes <= limit, "{case}: {} bytes, partclone has {}", map.used_bytes, total(&used));
    same_files(image, &image.clone_of(&all));
}

fn fill(dir: &Path, state: &str, size: u64) {
    let block: Vec<u8> = (0..64 << 10).map(|at: u32| at.to_le_bytes()[0] ^ at.to_le_bytes()[1]).collect();
    match state {
        "fresh" => {}
        // Deletes a third of its files again.
        "half full" => write_tree(dir, 150, size / 64),
        "full" => {
            write_tree(dir, 40, size / 64);
            let mut file = File::create(dir.join("rest")).unwrap();
            while file.write_all(&block).is_ok() {}
        }
        "fragmented" => {
            // Small files, every second of them goes, and a large one takes what they leave.
            let count = 400;
            for number in 0..count {
                fs::write(dir.join(format!("small-{number}")), &block[..20_000]).unwrap();
            }
            let mut rest = File::create(dir.join("rest")).unwrap();
            while rest.write_all(&block).is_ok() {}
            for number in (0..count).step_by(2) {
                fs::remove_file(dir.join(format!("small-{number}"))).unwrap();
            }
            let mut large = File::create(dir.join("large")).unwrap();
            for _ in 0..40 {
                large.write_all(&block).unwrap();
            }
        }
        "emptied" => {
            write_tree(dir, 100, size / 64);
            for number in 0..7 {
                let _ = fs::remove_dir_all(dir.join(format!("d{number}")));
            }
        }
        "sparse and compressed" => {
            for number in 0..20 {
                fs::write(dir.join(format!("text-{number}")), "the same again ".repeat(20_000)).unwrap();
                let file = File::create(dir.join(format!("sparse-{number}"))).unwrap();
                file.set_len(50 << 20).unwrap();
                file.write_all_at(b"an island", (number + 1) << 20).unwrap();
            }
        }
        other => panic!("{other}"),
    }
}

fn check(size: u64, options: &str, mounted: &str, states: &[&str]) {
    for state in states {
        let image = made(size, options);
        {
            let mount = mount(&image, mounted);
            fill(&mount.dir, state, size);
        }
        agrees(&image, &format!("{options}, {state}"));
    }
}

const ALL: &[&str] = &["fresh", "half full", "full", "fragmented", "emptied"];

#[test]
fn agrees_with_partclone_on_clusters_of_4_kib() {
    check(24 * MIB, "-c 4096 -L label", "rw", ALL);
}

#[test]
fn agrees_with_partclone_on_clusters_of_512_bytes() {
    check(20 * MIB, "-c 512", "rw", ALL);
}

#[test]
fn agrees_with_partclone_on_clusters_of_64_kib() {
    check(64 * MIB, "-c 65536", "rw", &["half full", "fragmented"]);
}

/// The largest there are; mkntfs wants 512 MiB for its log.
#[test]
fn agrees_with_partclone_on_clusters_of_2_mib() {
    check(640 * MIB, "-c 2097152", "rw", &["fresh", "half full"]);
}

#[test]
fn agrees_with_partclone_on_sectors_of_4096_bytes() {
    check(24 * MIB, "-s 4096 -c 4096", "rw", &["fresh", "half full", "fragmented"]);
    check(64 * MIB, "-s 4096 -c 65536", "rw", &["half full"]);
}

#[test]
fn agrees_with_partclone_on_compressed_and_sparse_files() {
    check(24 * MIB, "-C", "compression", &["sparse and compressed", "half full"]);
}

/// blkid escapes such letters.
#[test]
fn a_label_beyond_ascii_is_the_one_of_ntfslabel() {
    let image = made(8 * MIB, "-L Gr\u{f6}\u{df}e-\u{65e5}\u{672c}-\u{1f4be}");
    let label = run("ntfslabel", &["-f", image.name()]);
    assert_eq!(image.map().content.label.as_deref(), Some(label.trim_end()));
    assert!(label.ends_with("-\u{1f4be}\n"), "{label}");
}

/// An attribute of type $DATA that maps virtual clusters `first` to `last` to those from `place` on.
fn mapped(instance: u8, [first, last, place]: [u64; 3], sizes: [u64; 3]) -> Vec<u8> {
    let mut raw = vec![0x80, 0, 0, 0, 72, 0, 0, 0, 1, 0, 64, 0, 0, 0, instance, 0];
    raw.extend(first.to_le_bytes());
    raw.extend(last.to_le_bytes());
    raw.extend([64, 0, 0, 0, 0, 0, 0, 0]);
    raw.extend(sizes.iter().flat_map(|size| size.to_le_bytes()));
    raw.extend([0x41, u8::try_from(last + 1 - first).unwrap()]);
    raw.extend(&place.to_le_bytes()[..4]);
    raw.resize(72, 0);
    raw
}

/// `head` as the header of a record with these attributes.
fn put_together(head: &[u8], attributes: &[Vec<u8>], record: &mut [u8]) {
    let mut bytes = head.to_vec();
    bytes.extend(attributes.concat());
    bytes.extend([0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0]);
    let len = u32::try_from(bytes.len()).unwrap();
    bytes[24..28].copy_from_slice(&len.to_le_bytes());
    record[..bytes.len()].copy_from_slice(&bytes);
}

/// As on a volume that grew often: half of $Bitmap is described by a second record. No tool here makes such a volume,
/// but partclone and ntfs-3g read it.
#[test]
fn a_bitmap_with_an_attribute_list_is_read_to_its_end() {
    const SECOND: u64 = 23;
    let image = made(20 * MIB, "-c 512");
    {
        let mount = mount(&image, "rw");
        fill(&mount.dir, "half full", 20 * MIB);
    }
    let before = extents(&image.map(), 20 * MIB);
    let (place, len) = record::runs(&image, 6)[0];
    let (place, clusters) = (place / 512, len / 512);
    record::change(&image, 6, |r| {
        let mut lists = Vec::new();
        let mut attributes = Vec::new();
        let mut at = number(r, 20, 2);
        let sequence = number(r, 16, 2) as u64;
        while r[at..at + 4] != [0xff; 4] {
            let raw = r[at..at + number(r, at + 4, 4)].to_vec();
            at += raw.len();
            let sizes = [len, number(&raw, 48, 8) as u64, number(&raw, 56, 8) as u64];
            let mut entry = |first: u64, holder: u64, instance: u8| {
                lists.extend([raw[0], 0, 0, 0, 32, 0, 0, 26]);
                lists.extend(first.to_le_bytes());
                lists.extend(holder.to_le_bytes());
                lists.extend([instance, 0, 0, 0, 0, 0, 0, 0]);
            };
            entry(0, 6 | sequence << 48, raw[14]);
            if raw[0] == 0x80 {
                entry(clusters / 2, SECOND | 1 << 48, 0);
                attributes.push(mapped(raw[14], [0, clusters / 2 - 1, place], sizes));
            } else {
                attributes.push(raw);
            }
        }
        let mut list = vec![0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 24, 0, 0, 0, 99, 0];
        list.extend(u32::try_from(lists.len()).unwrap().to_le_bytes());
        list.extend([24, 0, 0, 0]);
        list.extend(lists);
        let whole = u32::try_from(list.len()).unwrap();
        list[4..8].copy_from_slice(&whole.to_le_bytes());
        attributes.insert(1, list);
        let head = r[..number(r, 20, 2)].to_vec();
        put_together(&head, &attributes, r);
    });
    let mut bytes = image.bytes();
    let base = bytes[record::at(&bytes, 6)..][..1024].to_vec();
    let at = record::at(&bytes, SECOND);
    bytes[at..at + 1024].copy_from_slice(&base);
    record::edit(&mut bytes[at..at + 1024], |r| {
        let sequence = number(r, 16, 2) as u64;
        r[16..18].copy_from_slice(&[1, 0]);
        r[32..40].copy_from_slice(&(6 | sequence << 48).to_le_bytes());
        r[44..48].copy_from_slice(&[23, 0, 0, 0]);
        let head = r[..number(r, 20, 2)].to_vec();
        put_together(&head, &[mapped(0, [clusters / 2, clusters - 1, place + clusters / 2], [0; 3])], r);
    });
    image.write(0, &bytes);
    let said = run("ntfsinfo", &["-f", "-i", "6", image.name()]);
    assert!(said.contains("$ATTRIBUTE_LIST") && said.matches("$DATA (0x80)").count() == 2, "{said}");
    assert_eq!(extents(&image.map(), 20 * MIB), before);
    let used = partclone("partclone.ntfs", &image);
    assert_eq!(minus(&used, &of_kind(&before, ExtentKind::Data)), []);
    // And without its second half.
    let mut bytes = image.bytes();
    record::edit(&mut bytes[at..at + 1024], |r| r[22] = 0);
    let map = map(Arc::new(bytes)).unwrap();
    assert!(map.whole && map.warnings[0].contains("MFT record 23 is not in use"), "{map:?}");
}
