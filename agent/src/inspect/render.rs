//! A report as an aligned table for people.
//!
//! In: a report. Out: text; sizes in GiB; warnings below the table they belong to.
//! Promise: names and labels come from the disk and may hold anything: control characters are not printed.

use super::{DiskReport, InsideReport, PartitionReport, Report};
use ramet_wire::GIB;
use std::fmt;

const HEADINGS: [&str; COLUMNS] =
    ["#", "start GiB", "size GiB", "used GiB", "", "content", "label", "uuid", "type", "name", "guid"];
const COLUMNS: usize = 11;
/// The column of bars; its heading says what their signs mean.
const BAR: usize = 4;
/// Signs in a bar.
const CELLS: u64 = 20;

/// Columns of numbers, which are aligned to the right.
const NUMBERS: usize = 4;

/// Containers in containers that are shown; readers look into fewer.
const DEPTH_MAX: usize = 8;

/// How bars and trees are drawn.
#[derive(Clone, Copy, Debug)]
pub(super) struct Style {
    used: char,
    free: char,
    heading: &'static str,
    /// Before what lies in a container: one of several, the last one, below one of several, below the last one.
    tree: [&'static str; 4],
}

pub(super) const ASCII: Style =
    Style { used: '#', free: '.', heading: "[#used .free ?unknown]", tree: ["|- ", "`- ", "|  ", "   "] };
const UTF8: Style = Style {
    used: '\u{2588}',
    free: '\u{2591}',
    heading: "[\u{2588}used \u{2591}free ?unknown]",
    tree: ["\u{251c}\u{2500} ", "\u{2514}\u{2500} ", "\u{2502}  ", "   "],
};

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

/// In ASCII, as every terminal, log and pipe can take it.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_report(f, self, ASCII)
    }
}

/// A report with lines and blocks, for terminals that know UTF-8.
struct Drawn<'a>(&'a Report);

impl fmt::Display for Drawn<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_report(f, self.0, UTF8)
    }
}

impl Report {
    /// The report as a terminal that knows UTF-8 shows it best.
    #[must_use]
    pub fn drawn(&self) -> impl fmt::Display + '_ {
        Drawn(self)
    }
}

fn write_report(f: &mut fmt::Formatter<'_>, report: &Report, style: Style) -> fmt::Result {
    for (at, disk) in report.disks.iter().enumerate() {
        if at > 0 {
            writeln!(f)?;
        }
        write_disk(f, disk, style)?;
    }
    Ok(())
}

fn write_disk(f: &mut fmt::Formatter<'_>, disk: &DiskReport, style: Style) -> fmt::Result {
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
    write_rows(f, &disk.partitions, style)?;
    for partition in disk.partitions.iter().filter(|partition| partition.state.is_some()) {
        writeln!(f, "  state: partition {}: {}", partition.number, plain(partition.state.as_deref().unwrap_or("")))?;
    }
    for partition in &disk.partitions {
        write_states(f, partition.number, &partition.inside, DEPTH_MAX)?;
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

/// What the contents of containers say of themselves.
fn write_states(f: &mut fmt::Formatter<'_>, number: u32, inside: &[InsideReport], depth: usize) -> fmt::Result {
    for one in inside {
        if let Some(state) = &one.state {
            let name = if one.name.is_empty() { plain(&one.content) } else { plain(&one.name) };
            writeln!(f, "  state: partition {number}: {name}: {}", plain(state))?;
        }
        if depth > 0 {
            write_states(f, number, &one.inside, depth - 1)?;
        }
    }
    Ok(())
}

/// Columns that are empty in every row are left out.
fn write_rows(f: &mut fmt::Formatter<'_>, partitions: &[PartitionReport], style: Style) -> fmt::Result {
    let mut rows: Vec<[String; COLUMNS]> = Vec::new();
    for partition in partitions {
        rows.push(row(partition, style));
        push_inside(&mut rows, &partition.inside, "", DEPTH_MAX, style);
    }
    let mut headings = HEADINGS.map(str::to_owned);
    headings[BAR] = style.heading.to_owned();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let shown: Vec<(usize, usize)> = (0..COLUMNS)
        .filter(|&column| width(column) > 0)
        .map(|column| (column, width(column).max(headings[column].chars().count())))
        .collect();
    let mut lines = vec![headings];
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

fn row(partition: &PartitionReport, style: Style) -> [String; COLUMNS] {
    let known = |kind: &String| TYPES.iter().find(|(code, _)| code == kind).map(|(_, name)| (*name).to_owned());
    let unknown = if partition.whole { partition.used_bytes } else { unknown_bytes(&partition.inside, DEPTH_MAX) };
    let extended = partition.content == "extended";
    [
        partition.number.to_string(),
        gib(partition.start),
        gib(partition.size),
        gib(partition.used_bytes),
        if extended { String::new() } else { bar(partition.size, partition.used_bytes, unknown, style) },
        content(&partition.content, partition.whole),
        text(&partition.label),
        text(&partition.uuid),
        partition.r#type.as_ref().and_then(known).unwrap_or_else(|| text(&partition.r#type)),
        text(&partition.name),
        text(&partition.guid),
    ]
}

/// A row for everything that lies in a container, as a tree in the column of contents.
fn push_inside(rows: &mut Vec<[String; COLUMNS]>, inside: &[InsideReport], before: &str, depth: usize, style: Style) {
    for (at, one) in inside.iter().enumerate() {
        let last = at + 1 == inside.len();
        let [branch, end, below, below_end] = style.tree;
        let unknown = if one.whole { one.used_bytes } else { unknown_bytes(&one.inside, depth) };
        let mut row: [String; COLUMNS] = std::array::from_fn(|_| String::new());
        row[2] = gib(one.size);
        row[3] = gib(one.used_bytes);
        row[BAR] = bar(one.size, one.used_bytes, unknown, style);
        let name = if one.name.is_empty() { String::new() } else { plain(&one.name) + " " };
        row[BAR + 1] = format!("{before}{}{name}{}", if last { end } else { branch }, content(&one.content, one.whole));
        row[BAR + 2] = text(&one.label);
        row[BAR + 3] = text(&one.uuid);
        rows.push(row);
        if depth > 0 {
            let before = format!("{before}{}", if last { below_end } else { below });
            push_inside(rows, &one.inside, &before, depth - 1, style);
        }
    }
}

fn content(kind: &str, whole: bool) -> String {
    plain(kind) + if whole && kind != "unknown" { ", whole" } else { "" }
}

fn text(value: &Option<String>) -> String {
    plain(value.as_deref().unwrap_or_default())
}

/// Bytes that are copied because nobody knows what they hold.
fn unknown_bytes(inside: &[InsideReport], depth: usize) -> u64 {
    let of = |one: &InsideReport| match depth.checked_sub(1) {
        _ if one.whole => one.used_bytes,
        Some(depth) => unknown_bytes(&one.inside, depth),
        None => 0,
    };
    inside.iter().fold(0, |sum, one| sum.saturating_add(of(one)))
}

/// `size` bytes as a row of signs; what there is at all has at least one of them.
pub(super) fn bar(size: u64, used: u64, unknown: u64, style: Style) -> String {
    let used = used.min(size);
    // A volume on several disks counts with all of its bytes.
    let unknown = unknown.min(used);
    let parts = [used - unknown, unknown, size - used];
    let mut cells = parts.map(|bytes| match u128::from(bytes) * u128::from(CELLS) {
        0 => 0,
        scaled => u64::try_from((scaled + u128::from(size / 2)) / u128::from(size)).unwrap_or(CELLS).max(1),
    });
    // Rounding and the least sign may give some too many or too few: the largest part can best do without, or with more.
    let largest = (0..parts.len()).max_by_key(|at| parts[*at]).unwrap_or(0);
    let others: u64 = cells.iter().sum::<u64>() - cells[largest];
    cells[largest] = CELLS.saturating_sub(others);
    let signs = [style.used, '?', style.free].into_iter().zip(cells);
    let row: String = signs.flat_map(|(sign, count)| (0..count).map(move |_| sign)).collect();
    format!("[{row}]")
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
