//! A report as an aligned table for people.
//!
//! In: a report. Out: text; sizes in GiB; warnings below the table they belong to.
//! Promise: names and labels come from the disk and may hold anything: control characters are not printed.

use super::{DiskReport, PartitionReport, Report};
use ramet_wire::GIB;
use std::fmt;

const HEADINGS: [&str; 10] =
    ["#", "start GiB", "size GiB", "used GiB", "content", "label", "uuid", "type", "name", "guid"];

/// Columns of numbers, which are aligned to the right.
const NUMBERS: usize = 4;

/// Partition types that people know by name.
const TYPES: [(&str, &str); 14] = [
    ("c12a7328-f81f-11d2-ba4b-00a0c93ec93b", "EFI system"),
    ("21686148-6449-6e6f-744e-656564454649", "BIOS boot"),
    ("0fc63daf-8483-4772-8e79-3d69d8477de4", "Linux file system"),
    ("4f68bce3-e8cd-4db1-96e7-fbcaf984b709", "Linux root (x86-64)"),
    ("0657fd6d-a4ab-43c4-84e5-0933c84b4f4f", "Linux swap"),
    ("e6d6d379-f507-44c2-a23c-238f2a3df928", "Linux LVM"),
    ("a19d880f-05fc-4d3b-a006-743f0f84911e", "Linux RAID"),
    ("bc13c2ff-59e6-4262-a352-b275fd6f7172", "Linux extended boot"),
    ("ebd0a0a2-b9e5-4433-87c0-68b6b72699c7", "Microsoft basic data"),
    ("e3c9e316-0b5c-4db8-817d-f92df00215ae", "Microsoft reserved"),
    ("de94bba4-06d1-4d40-a16a-bfd50179d6ac", "Windows recovery"),
    ("0x05", "0x05 extended"),
    ("0x82", "0x82 Linux swap"),
    ("0x83", "0x83 Linux"),
];

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, disk) in self.disks.iter().enumerate() {
            if at > 0 {
                writeln!(f)?;
            }
            write_disk(f, disk)?;
        }
        Ok(())
    }
}

fn write_disk(f: &mut fmt::Formatter<'_>, disk: &DiskReport) -> fmt::Result {
    let table = match disk.table {
        ramet_wire::TableKind::None => "no partition table".to_owned(),
        kind => format!("{} {}", kind.to_string().to_uppercase(), disk.id.as_deref().unwrap_or_default()),
    };
    write!(f, "{}: {} GiB, {}-byte sectors, {table}", plain(&disk.path), gib(disk.size), disk.sector_size)?;
    for (name, value) in [("model", &disk.model), ("serial", &disk.serial), ("wwn", &disk.wwn)] {
        if let Some(value) = value {
            write!(f, ", {name} {}", plain(value))?;
        }
    }
    writeln!(f)?;
    write_rows(f, &disk.partitions)?;
    for partition in disk.partitions.iter().filter(|partition| partition.state.is_some()) {
        writeln!(f, "  state: partition {}: {}", partition.number, plain(partition.state.as_deref().unwrap_or("")))?;
    }
    for text in &disk.warnings {
        writeln!(f, "  warning: {}", plain(text))?;
    }
    for partition in &disk.partitions {
        for text in &partition.warnings {
            writeln!(f, "  warning: partition {}: {}", partition.number, plain(text))?;
        }
    }
    if disk.uncaptured_bytes > 0 {
        let (left, bytes) = (gib(disk.uncaptured_bytes), disk.uncaptured_bytes);
        writeln!(f, "  {left} GiB ({bytes} bytes) outside partitions are not captured")?;
    }
    Ok(())
}

/// Columns that are empty in every row are left out.
fn write_rows(f: &mut fmt::Formatter<'_>, partitions: &[PartitionReport]) -> fmt::Result {
    let rows: Vec<[String; 10]> = partitions.iter().map(row).collect();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let shown: Vec<(usize, usize)> = (0..HEADINGS.len())
        .filter(|&column| width(column) > 0)
        .map(|column| (column, width(column).max(HEADINGS[column].chars().count())))
        .collect();
    let mut lines = vec![HEADINGS.map(str::to_owned)];
    lines.extend(rows);
    for line in lines {
        let mut text = String::new();
        for &(column, width) in &shown {
            let cell = &line[column];
            text += &if column < NUMBERS { format!("  {cell:>width$}") } else { format!("  {cell:<width$}") };
        }
        writeln!(f, "{}", text.trim_end())?;
    }
    Ok(())
}

fn row(partition: &PartitionReport) -> [String; 10] {
    let text = |value: &Option<String>| plain(value.as_deref().unwrap_or_default());
    let known = |kind: &String| TYPES.iter().find(|(code, _)| code == kind).map(|(_, name)| (*name).to_owned());
    let whole = if partition.whole && partition.content != "unknown" { ", whole" } else { "" };
    [
        partition.number.to_string(),
        gib(partition.start),
        gib(partition.size),
        gib(partition.used_bytes),
        plain(&partition.content) + whole,
        text(&partition.label),
        text(&partition.uuid),
        partition.r#type.as_ref().and_then(known).unwrap_or_else(|| text(&partition.r#type)),
        text(&partition.name),
        text(&partition.guid),
    ]
}

/// Bytes as GiB with three digits behind the point, rounded down, in integers: 64 bits of bytes fit no float.
fn gib(bytes: u64) -> String {
    format!("{}.{:03}", bytes / GIB, bytes % GIB * 1000 / GIB)
}

/// Without control characters, which could rewrite the operator's terminal, nor what turns text around.
fn plain(text: &str) -> String {
    let odd = |c: char| {
        c.is_control() || matches!(c, '\u{200B}'..='\u{200F}' | '\u{2028}'..='\u{202E}' | '\u{2066}'..='\u{2069}')
    };
    text.chars().map(|c| if odd(c) { '\u{FFFD}' } else { c }).collect()
}
