//! What inspect says of disks made by the real tools.

use super::*;
use crate::disk::testing::{Loop, Mounted};
use crate::partition::testing::{Image, run};
use crate::say::chain;
use ramet_wire::{GIB, MIB};
use serde_json::Value;

/// A GPT disk with a FAT, an ext4 and a swap partition, and one that holds nothing known.
fn disk() -> Image {
    let args = [
        "-n",
        "1:32768:+32M",
        "-c",
        "1:root",
        "-n",
        "15:2048:+8M",
        "-t",
        "15:ef00",
        "-n",
        "2:106496:+4M",
        "-t",
        "2:8200",
        "-n",
        "3:131072:+1M",
    ];
    let image = Image::with_sgdisk(256 * MIB, &args);
    put(&image, 16 * MIB, 32 * MIB, "mkfs.ext4", &["-q", "-L", "wurzel"]);
    put(&image, MIB, 8 * MIB, "mkfs.vfat", &["-n", "ESP"]);
    put(&image, 52 * MIB, 4 * MIB, "mkswap", &["-L", "swap1"]);
    image.write(64 * MIB, &[0x5C; 4096]);
    image
}

/// Makes a file system in a file of its own and copies it to `offset` of `image`.
fn put(image: &Image, offset: u64, size: u64, program: &str, args: &[&str]) {
    let part = Image::new(size);
    let mut all = args.to_vec();
    all.push(part.path.to_str().unwrap());
    run(program, &all);
    image.write(offset, &part.bytes());
}

fn json(paths: &[&Image], extents: bool) -> Value {
    let paths: Vec<PathBuf> = paths.iter().map(|image| image.path.clone()).collect();
    serde_json::to_value(inspect(&paths, extents).unwrap()).unwrap()
}

fn numbers(value: &Value) -> Vec<u64> {
    value["partitions"].as_array().unwrap().iter().map(|p| p["number"].as_u64().unwrap()).collect()
}

#[test]
fn the_json_holds_what_scripts_rely_on() {
    let image = disk();
    let report = json(&[&image], false);
    assert_eq!(report["path"], image.path.to_str().unwrap());
    assert_eq!(report["size"], 256 * MIB);
    assert_eq!(report["sector_size"], 512);
    assert_eq!(report["table"], "gpt");
    assert_eq!(numbers(&report), [1, 2, 3, 15]);
    let root = &report["partitions"][0];
    assert_eq!((&root["start"], &root["size"]), (&Value::from(16 * MIB), &Value::from(32 * MIB)));
    assert_eq!(root["type"], "0fc63daf-8483-4772-8e79-3d69d8477de4");
    assert_eq!(root["name"], "root");
    assert_eq!(root["guid"].as_str().unwrap().len(), 36);
    assert_eq!((&root["content"], &root["label"]), (&"ext4".into(), &"wurzel".into()));
    assert!(root["used_bytes"].as_u64().unwrap() < 16 * MIB && root["used_bytes"].as_u64().unwrap() > MIB);
    assert!(root.get("extents").is_none());
    let swap = &report["partitions"][1];
    assert_eq!(
        (&swap["content"], &swap["label"], &swap["used_bytes"]),
        (&"swap".into(), &"swap1".into(), &4096.into())
    );
    let unknown = &report["partitions"][2];
    assert_eq!((&unknown["content"], &unknown["used_bytes"]), (&"unknown".into(), &MIB.into()));
    assert_eq!((&unknown["uuid"], &unknown["label"], &unknown["whole"]), (&Value::Null, &Value::Null, &true.into()));
    assert_eq!(report["partitions"][3]["content"], "vfat");
    let held: u64 = [32, 4, 1, 8].iter().sum::<u64>() * MIB;
    let gaps = report["gap_bytes"].as_u64().unwrap();
    assert_eq!(report["uncaptured_bytes"].as_u64().unwrap() + gaps + held, 256 * MIB);
}

#[test]
fn uuid_and_label_are_those_of_blkid() {
    let image = disk();
    let report = json(&[&image], false);
    for partition in report["partitions"].as_array().unwrap() {
        if partition["content"] == "unknown" {
            continue;
        }
        let (start, size) = (partition["start"].to_string(), partition["size"].to_string());
        let path = image.path.to_str().unwrap();
        let said = run("blkid", &["-p", "-o", "export", "-O", &start, "-S", &size, path]);
        for (key, field) in [("UUID", "uuid"), ("LABEL", "label"), ("TYPE", "content")] {
            let line = said.lines().find_map(|line| line.strip_prefix(&format!("{key}=")));
            assert_eq!(line, partition[field].as_str(), "{key} of {said}");
        }
    }
}

#[test]
fn extents_add_up_to_the_used_bytes_and_stay_inside_the_partition() {
    let image = disk();
    let report = json(&[&image], true);
    for partition in report["partitions"].as_array().unwrap() {
        let list = |field: &str| -> Vec<(u64, u64)> {
            let pairs = partition[field].as_array().unwrap().iter();
            pairs.map(|pair| (pair[0].as_u64().unwrap(), pair[1].as_u64().unwrap())).collect()
        };
        let (extents, size) = (list("extents"), partition["size"].as_u64().unwrap());
        assert_eq!(extents.iter().map(|(_, len)| len).sum::<u64>(), partition["used_bytes"].as_u64().unwrap());
        let mut all = [extents, list("zeros")].concat();
        all.sort_unstable();
        assert!(all.windows(2).all(|pair| pair[0].0 + pair[0].1 <= pair[1].0), "{all:?}");
        assert!(all.last().is_none_or(|&(offset, len)| offset + len <= size));
    }
}

#[test]
fn several_disks_are_a_list_and_one_is_none() {
    let image = disk();
    let report = json(&[&image, &image], false);
    assert_eq!(report["disks"].as_array().unwrap().len(), 2);
    assert_eq!(report["disks"][0], json(&[&image], false));
}

#[test]
fn a_disk_without_a_table_is_partition_0() {
    let image = Image::new(16 * MIB);
    run("mkfs.ext4", &["-q", "-F", image.path.to_str().unwrap()]);
    let report = json(&[&image], true);
    assert_eq!((&report["table"], numbers(&report)), (&"none".into(), vec![0]));
    let whole = &report["partitions"][0];
    assert_eq!((&whole["start"], &whole["size"]), (&0.into(), &(16 * MIB).into()));
    assert_eq!((&whole["content"], &whole["type"]), (&"ext4".into(), &Value::Null));
    assert!(whole["used_bytes"].as_u64().unwrap() < 16 * MIB);
    assert_eq!(report["uncaptured_bytes"], 0);
}

#[test]
fn an_extended_partition_is_listed_and_uses_nothing() {
    let script = "label: dos\nsize=4096,type=83\ntype=5\nsize=4096,type=83\nsize=8192,type=82\n";
    let image = Image::with_sfdisk(32 * MIB, script);
    let report = json(&[&image], true);
    assert_eq!(numbers(&report), [1, 2, 5, 6]);
    let frame = &report["partitions"][1];
    assert_eq!((&frame["content"], &frame["used_bytes"]), (&"extended".into(), &0.into()));
    assert_eq!(frame["extents"].as_array().unwrap().len(), 0);
    assert_eq!(report["partitions"][2]["type"], "0x83");
}

#[test]
fn a_mounted_partition_is_looked_at_and_its_state_says_so() {
    let image = disk();
    let (offset, size) = ((16 * MIB).to_string(), (32 * MIB).to_string());
    let device = Loop::new(&image.path, &["--offset", &offset, "--sizelimit", &size]);
    let mounted = Mounted::new(&device.path);
    let report = json(&[&image], false);
    let state = report["partitions"][0]["state"].as_str().unwrap();
    assert!(state.contains(&format!("{} is mounted at {}", device.name(), mounted.at())), "{state}");
    let other = &report["partitions"][3]["state"];
    assert!(other.as_str().is_none_or(|text| !text.contains("mounted")), "{other}");
    let text = inspect(std::slice::from_ref(&image.path), false).unwrap().to_string();
    assert!(text.contains("state: partition 1: "), "{text}");
}

#[test]
fn the_table_for_people_is_aligned_and_says_what_is_left_out() {
    let image = disk();
    let text = inspect(std::slice::from_ref(&image.path), false).unwrap().to_string();
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines[0].starts_with(&format!("{}: 0.250 GiB, 512-byte sectors, GPT ", image.path.display())), "{text}");
    let column = |line: &str, word: &str| line.find(word).unwrap();
    let content = column(lines[1], "content");
    for (line, word) in lines[2..6].iter().zip(["ext4", "swap", "unknown", "vfat"]) {
        assert_eq!(column(line, word), content, "{text}");
    }
    assert!(lines[2].contains("EFI") || lines[5].contains("EFI system"), "{text}");
    assert!(lines[2].contains("Linux file system") && lines[2].contains("  0.031  "), "{text}");
    assert!(text.contains("outside partitions are not captured"), "{text}");
}

#[test]
fn warnings_stand_below_the_table() {
    let image = disk();
    // A byte of the disk's GUID, which is random: any fixed value would be the old one once in a while.
    image.write(512 + 60, &[!image.read(512 + 60, 1)[0]]);
    let text = inspect(std::slice::from_ref(&image.path), false).unwrap().to_string();
    assert!(text.contains("  warning: the primary GPT is damaged, the backup counts: its header has CRC"), "{text}");
}

#[test]
fn names_from_the_disk_can_not_rewrite_the_terminal() {
    let image = Image::with_sgdisk(64 * MIB, &["-n", "1:2048:+8M", "-c", "1:a\u{1b}[2Jb\u{202e}c"]);
    let report = inspect(std::slice::from_ref(&image.path), false).unwrap();
    let text = report.to_string();
    assert!(!text.contains('\u{1b}') && !text.contains('\u{202e}'), "{text:?}");
    assert!(text.contains("a\u{fffd}[2Jb\u{fffd}c"), "{text:?}");
    let json = serde_json::to_string(&report).unwrap();
    assert!(!json.contains('\u{1b}'), "{json}");
}

#[test]
fn a_disk_of_200_gb_is_listed_while_it_is_walked() {
    // 1,600 block groups: a list in memory would be fine too, but the writer must see it in pieces.
    struct Pieces(usize, usize);
    impl io::Write for Pieces {
        fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
            self.0 += buf.len();
            self.1 += 1;
            Ok(buf.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let image = Image::new(200 * 1_000_000_000);
    run("mkfs.ext4", &["-q", "-F", "-E", "lazy_itable_init=1,nodiscard", image.path.to_str().unwrap()]);
    let report = inspect(std::slice::from_ref(&image.path), true).unwrap();
    assert!(report.disks[0].partitions[0].used_bytes < 2 * GIB);
    let mut pieces = Pieces(0, 0);
    serde_json::to_writer(&mut pieces, &report).unwrap();
    assert!(pieces.1 > 100, "{} bytes in {} writes", pieces.0, pieces.1);
}

#[test]
fn refusals_name_the_disk_and_the_reason() {
    let missing = PathBuf::from("/nowhere/disk.img");
    let error = inspect(std::slice::from_ref(&missing), false).unwrap_err();
    assert_eq!(chain(&error).split(": ").next(), Some("inspecting /nowhere/disk.img"));
    let image = disk();
    image.write(512, &[0; 512]);
    image.write(256 * MIB - 512, &[0; 512]);
    let error = inspect(std::slice::from_ref(&image.path), false).unwrap_err();
    assert!(matches!(&error, InspectError::Table { .. }), "{error}");
    assert!(chain(&error).contains("0xEE"), "{}", chain(&error));
}

/// A disk with the physical volume of `tests/fixtures/lvm-linear`, and a LUKS volume.
fn containers() -> Image {
    let image = Image::with_sgdisk(16 * MIB, &["-n", "1:2048:+1M", "-t", "1:8e00", "-n", "2:8192:+4M"]);
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/lvm-linear.zst");
    image.write(MIB, &zstd::decode_all(std::fs::File::open(path).unwrap()).unwrap());
    image.write(4 * MIB, b"LUKS\xba\xbe\0\x01");
    image
}

#[test]
fn what_lies_in_a_container_is_listed_with_it() {
    let report = json(&[&containers()], true);
    let group = &report["partitions"][0];
    assert_eq!((&group["content"], &group["whole"]), (&"LVM2_member".into(), &false.into()));
    let inside = group["inside"].as_array().unwrap();
    let names: Vec<_> =
        inside.iter().map(|one| (one["name"].as_str().unwrap(), one["content"].as_str().unwrap())).collect();
    assert_eq!(names, [("vg0/fat", "vfat"), ("vg0/swap", "swap")]);
    assert_eq!((&inside[0]["size"], &inside[0]["label"]), (&(160 << 10).into(), &"FIXTURE".into()));
    assert_eq!((&inside[1]["used_bytes"], &inside[1]["whole"]), (&4096.into(), &false.into()));
    let sum: u64 = inside.iter().map(|one| one["used_bytes"].as_u64().unwrap()).sum();
    assert!(
        group["used_bytes"].as_u64().unwrap() >= sum && group["used_bytes"].as_u64().unwrap() < 256 << 10,
        "{group}"
    );
    assert!(report["partitions"][1].get("inside").is_none());
}

#[test]
fn a_bar_and_a_tree_show_what_is_used_within_80_columns() {
    let report = inspect(std::slice::from_ref(&containers().path), false).unwrap();
    let text = report.to_string();
    println!("{text}{}", report.drawn());
    assert!(text.is_ascii());
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines[1].contains("used GiB  [#used .free ?unknown]  content"), "{text}");
    assert!(lines[3].contains("  |- vg0/fat vfat ") && lines[4].contains("  `- vg0/swap swap"), "{text}");
    assert!(lines[4].contains("[#...................]"), "{text}");
    assert!(lines[5].contains("[????????????????????]  crypto_LUKS, whole"), "{text}");
    for line in &lines[1..6] {
        assert!(line.rfind(']').unwrap() < 60, "{text}");
    }
    let drawn = report.drawn().to_string();
    assert!(
        drawn.contains("[\u{2588}used \u{2591}free ?unknown]") && drawn.contains("\u{2514}\u{2500} vg0/swap"),
        "{drawn}"
    );
    assert_eq!(drawn.lines().count(), lines.len());
}

#[test]
fn a_bar_shows_everything_that_is_there_at_all() {
    for (size, used, unknown, bar) in [
        (100, 0, 0, "[....................]"),
        (100, 100, 0, "[####################]"),
        (100, 50, 0, "[##########..........]"),
        (1 << 50, 1, 0, "[#...................]"),
        (1 << 50, (1 << 50) - 1, 0, "[###################.]"),
        (1 << 50, 2, 1, "[#?..................]"),
        (100, 60, 30, "[######??????........]"),
        (100, 100, 100, "[????????????????????]"),
        (100, 50, 400, "[??????????..........]"),
        (3, 1, 0, "[#######.............]"),
        (0, 0, 0, "[....................]"),
        (u64::MAX, u64::MAX, u64::MAX / 2, "[##########??????????]"),
    ] {
        assert_eq!(render::bar(size, used, unknown, render::ASCII), bar, "{size} {used} {unknown}");
    }
}

#[test]
fn a_group_on_two_disks_needs_both() {
    let rig = crate::extent::striped_rig();
    let paths: Vec<PathBuf> = rig.disks.iter().map(|disk| disk.path.clone()).collect();
    let report = serde_json::to_value(inspect(&paths, false).unwrap()).unwrap();
    for disk in report["disks"].as_array().unwrap() {
        let partition = &disk["partitions"][0];
        assert_eq!((&partition["content"], &partition["whole"]), (&"LVM2_member".into(), &false.into()));
        assert_eq!(
            (&partition["inside"][0]["content"], &partition["inside"][0]["whole"]),
            (&"swap".into(), &false.into())
        );
    }
    let alone = serde_json::to_value(inspect(&paths[..1], false).unwrap()).unwrap();
    assert_eq!(alone["partitions"][0]["inside"][0]["whole"], true, "{alone}");
    assert!(alone["partitions"][0]["warnings"][0].as_str().unwrap().contains("is not among the disks read together"));
}

/// `mdadm --create` leaves the table of a disk that it makes a member, and the first file system behind it.
#[test]
fn a_member_of_an_array_with_an_older_table_is_taken_as_a_whole() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/md-one2.zst");
    let mut bytes = zstd::decode_all(std::fs::File::open(path).unwrap()).unwrap();
    bytes[446..462].copy_from_slice(&[0, 0, 0, 0, 0x83, 0, 0, 0, 0, 8, 0, 0, 0, 16, 0, 0]);
    bytes[510..512].copy_from_slice(&[0x55, 0xaa]);
    let image = Image::new(bytes.len() as u64);
    image.write(0, &bytes);
    let report = json(&[&image], false);
    assert_eq!((numbers(&report), &report["table"]), (vec![0], &Value::from("none")), "{report}");
    assert!(report["warnings"][0].as_str().unwrap().contains("member of a Linux software RAID"), "{report}");
    let partition = &report["partitions"][0];
    assert_eq!((&partition["whole"], &partition["content"]), (&Value::from(true), &Value::from("linux_raid_member")));
    // A superblock of which a byte is wrong is none.
    bytes[4096 + 200] ^= 1;
    image.write(0, &bytes);
    assert_eq!(numbers(&json(&[&image], false)), [1]);
}
