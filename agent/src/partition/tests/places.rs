//! Tables whose partitions got other places, judged by sgdisk and sfdisk.

use super::testing::{Image, complaints, dump, run};
use super::*;
use ramet_wire::Entry;

/// The table of `image` on a disk of `mib` MiB, with partitions (and EBRs) at `places`: number, first and last MiB, EBR.
fn placed(image: &Image, mib: u64, places: &[(u32, u64, u64, u64)]) -> Result<Image, PartitionError> {
    let source = image.source();
    let scan = read(&source, 512)?;
    let view = GapsOnly { disk: &source, gaps: &scan.gaps };
    let place = |entry: &Entry| {
        let new = places.iter().find(|(number, ..)| *number == entry.number);
        let range = new.map_or(entry.range, |(_, start, end, _)| ByteRange::between(start * MIB, end * MIB));
        let ebr = new.map_or(entry.ebr, |(.., ebr)| entry.ebr.map(|_| ebr * MIB));
        Entry { range, ebr, ..entry.clone() }
    };
    let planned: Vec<Entry> = scan.table.entries.iter().map(place).collect();
    let layout = resize(&view, &scan.table, 512, mib * MIB, &planned)?;
    let target = Image::new(mib * MIB);
    for piece in layout.head.iter().chain(&layout.backup).chain(&layout.ebrs).chain([&layout.lba0]) {
        target.write(piece.offset, &piece.bytes);
    }
    Ok(target)
}

/// `sfdisk -d` with places in MiB, so that all else is compared as text.
fn lines(image: &Image) -> Vec<String> {
    dump(&image.path).into_iter().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
}

#[test]
fn gpt_entries_move_and_grow_and_everything_else_of_them_stays() {
    let args = ["-n1:2048:+50M", "-n3:0:+200M", "-n2:0:+100M", "-c3:root", "-t2:8200", "-A", "3:set:2"];
    let image = Image::with_sgdisk(400 << 20, &args);
    let before = lines(&image);
    for (mib, places) in [
        (800, [(3, 51, 699, 0), (2, 699, 799, 0)]),
        (300, [(3, 51, 199, 0), (2, 199, 299, 0)]),
        (400, [(3, 51, 299, 0), (2, 299, 399, 0)]),
    ] {
        let target = placed(&image, mib, &places).unwrap();
        assert_eq!(complaints(&target.path), None);
        let mut wanted = before.clone();
        for (number, start, end, _) in places {
            let line = wanted.iter_mut().find(|line| line.starts_with(&format!("disk{number} :"))).unwrap();
            let rest = line.split_once("type=").unwrap().1.to_owned();
            *line = format!("disk{number} : start= {}, size= {}, type={rest}", start * 2048, (end - start) * 2048);
        }
        let squeeze = |lines: &[String]| lines.iter().map(|line| line.replace("= ", "=")).collect::<Vec<_>>();
        assert_eq!(squeeze(&lines(&target)), squeeze(&wanted));
    }
}

#[test]
fn logical_partitions_move_with_their_chain() {
    let script = "label: dos\nlabel-id: 0x12345678\n1M,60M,L,*\n61M,338M,E\n62M,100M,L\n163M,100M,S\n264M,135M,L\n";
    let image = Image::with_sfdisk(400 << 20, script);
    let places = [(2, 61, 800, 0), (5, 62, 262, 61), (6, 263, 363, 262), (7, 364, 800, 363)];
    let target = placed(&image, 800, &places).unwrap();
    let found: serde_json::Value =
        serde_json::from_str(&run("sfdisk", &["-J", target.path.to_str().unwrap()])).unwrap();
    let table = &found["partitiontable"];
    assert_eq!(table["id"], "0x12345678");
    let parts: Vec<(u64, u64, String)> = table["partitions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|part| {
            let mib = |key: &str| part[key].as_u64().unwrap() / 2048;
            (mib("start"), mib("size"), part["type"].as_str().unwrap().to_owned())
        })
        .collect();
    let wanted = [(1, 60, "83"), (61, 739, "5"), (62, 200, "83"), (263, 100, "82"), (364, 436, "83")];
    assert_eq!(parts, wanted.map(|(start, size, kind)| (start, size, kind.to_owned())));
    assert_eq!(table["partitions"][0]["bootable"], true);
    // The first record did not change, not even the CHS of it.
    assert_eq!(image.read(446, 16), target.read(446, 16));
}

#[test]
fn refuses_places_that_a_table_can_not_say_or_that_overlap() {
    let gpt = Image::with_sgdisk(400 << 20, &["-n1:2048:+50M", "-n2:0:+100M"]);
    let reason = |error: PartitionError| crate::say::chain(&error);
    assert!(reason(placed(&gpt, 400, &[(2, 30, 150, 0)]).unwrap_err()).contains("partition 1"));
    assert!(reason(placed(&gpt, 300, &[(2, 51, 300, 0)]).unwrap_err()).contains("partition 2"));
    let mbr = Image::with_sfdisk(400 << 20, "label: dos\n1M,60M,L\n");
    assert!(reason(placed(&mbr, 8 << 20, &[(1, 1, 5 << 20, 0)]).unwrap_err()).contains("can not say"));
}
