//! Layouts as tables: what becomes of which disk, and what is refused with which numbers.

use super::layout::{Ability, Arranged, Frame, Inside, RefusedLayout, arrange};
use ramet_wire::adapt::{Layout, Size};
use ramet_wire::{ByteRange, Entry, MIB, Table, TableKind};

fn entry(number: u32, start: u64, end: u64) -> Entry {
    Entry {
        number,
        range: ByteRange::between(start * MIB, end * MIB),
        r#type: "0x83".to_owned(),
        guid: None,
        name: None,
        attributes: 0,
        ebr: None,
        extended: false,
    }
}

fn table(kind: TableKind, entries: Vec<Entry>) -> Table {
    let usable = (kind == TableKind::Gpt).then(|| ByteRange::between(34 * 512, 800 * MIB - 33 * 512));
    Table { kind, id: None, usable, hybrid: false, entries }
}

/// `ext:200` is an ext4 that needs 200 MiB.
fn able(number: u32, what: &str) -> Ability {
    let (kind, least) = what.split_once(':').unwrap_or((what, ""));
    let least = least.parse::<u64>().map(|mib| mib * MIB).map_err(|_| format!("is {kind}"));
    let inside = match kind {
        "ext" => Inside::Ext,
        "ntfs" => Inside::Ntfs,
        "btrfs" => Inside::Btrfs(1),
        "xfs" => Inside::Xfs,
        "swap" => Inside::Swap,
        "lvm" => Inside::Lvm,
        _ => Inside::Other,
    };
    let no_growth = (inside == Inside::Other).then(|| format!("holds {kind}"));
    Ability { number, kind: kind.to_owned(), inside, no_growth, least }
}

struct Case {
    table: Table,
    able: Vec<Ability>,
}

impl Case {
    fn gpt(parts: &[(u64, u64, &str)]) -> Self {
        let entries = parts.iter().zip(1..).map(|((start, end, _), number)| entry(number, *start, *end)).collect();
        let able = parts.iter().zip(1..).map(|((.., what), number)| able(number, what)).collect();
        Self { table: table(TableKind::Gpt, entries), able }
    }

    fn on(&self, mib: u64, size: &Size) -> Result<Option<Arranged>, RefusedLayout> {
        let (ordinal, image_size, sector) = (0, 800 * MIB, 512);
        arrange(&Frame { ordinal, table: &self.table, image_size, size: mib * MIB, sector }, &self.able, size)
    }

    /// Places in MiB, by number.
    fn places(&self, mib: u64, size: &Size) -> Vec<(u64, u64)> {
        let arranged = self.on(mib, size).unwrap().unwrap();
        arranged.entries.iter().map(|entry| (entry.range.start() / MIB, entry.range.end() / MIB)).collect()
    }
}

fn layout(parts: &[(u32, &str)]) -> Size {
    let one = |(number, size): &(u32, &str)| format!("[[partitions]]\nnumber = {number}\nsize = \"{size}\"\n");
    Size::Layout(Layout::from_toml(&parts.iter().map(one).collect::<String>()).unwrap())
}

#[test]
fn the_last_partition_that_can_takes_what_is_more_and_gives_what_is_less() {
    let root = Case::gpt(&[(1, 101, "vfat"), (101, 799, "ext:200")]);
    assert_eq!(root.places(1600, &Size::Fill), [(1, 101), (101, 1599)]);
    assert_eq!(root.places(600, &Size::Fill), [(1, 101), (101, 599)]);
    // Swap behind it keeps its size and moves.
    let swap = Case::gpt(&[(1, 101, "vfat"), (101, 700, "ext:200"), (700, 799, "swap:1")]);
    assert_eq!(swap.places(1600, &Size::Fill), [(1, 101), (101, 1500), (1500, 1599)]);
    assert_eq!(swap.places(600, &Size::Fill), [(1, 101), (101, 500), (500, 599)]);
    // Two that can: the last.
    let two = Case::gpt(&[(1, 300, "ext:100"), (300, 799, "ext:100")]);
    assert_eq!(two.places(1600, &Size::Fill), [(1, 300), (300, 1599)]);
    // Of two, the last one that can be shrunk.
    let xfs = Case::gpt(&[(1, 500, "ext:100"), (500, 799, "xfs")]);
    assert_eq!(xfs.places(600, &Size::Fill), [(1, 300), (300, 599)]);
    // A smaller disk on which everything has room all the same.
    let early = Case::gpt(&[(1, 101, "vfat"), (101, 400, "ext:200")]);
    assert_eq!(early.places(600, &Size::Fill), [(1, 101), (101, 599)]);
}

#[test]
fn what_is_not_asked_for_does_not_change_a_byte() {
    let case = Case::gpt(&[(1, 799, "ext:100")]);
    for mib in [600, 800, 1600] {
        assert_eq!(case.on(mib, &Size::Keep), Ok(None));
    }
    assert_eq!(case.on(800, &Size::Fill), Ok(None));
}

#[test]
fn layouts_share_what_the_others_leave_and_keep_the_order() {
    let case = Case::gpt(&[(1, 101, "vfat"), (101, 300, "ext:50"), (300, 500, "ext:50"), (500, 799, "btrfs:60")]);
    assert_eq!(
        case.places(1600, &layout(&[(2, "400MiB"), (4, "rest")])),
        [(1, 101), (101, 501), (501, 701), (701, 1599)]
    );
    let shares = case.places(1600, &layout(&[(2, "25%"), (3, "25%"), (4, "50%")]));
    assert_eq!(shares, [(1, 101), (101, 475), (475, 849), (849, 1598)]);
    assert_eq!(
        case.places(800, &layout(&[(2, "100MiB"), (4, "rest")])),
        [(1, 101), (101, 201), (201, 401), (401, 799)]
    );
    // Swap may become anything.
    let swap = Case::gpt(&[(1, 700, "ext:200"), (700, 799, "swap:1")]);
    assert_eq!(swap.places(800, &layout(&[(1, "rest"), (2, "10MiB")])), [(1, 789), (789, 799)]);
}

#[test]
fn logical_partitions_move_with_the_records_before_them() {
    let mut entries = vec![entry(1, 1, 101), entry(2, 101, 799), entry(5, 102, 400), entry(6, 401, 799)];
    entries[1].extended = true;
    entries[2].ebr = Some(101 * MIB);
    entries[3].ebr = Some(400 * MIB);
    let able = vec![able(1, "ext:50"), able(5, "ext:50"), able(6, "ext:50")];
    let case = Case { table: table(TableKind::Mbr, entries), able };
    assert_eq!(case.places(1600, &Size::Fill), [(1, 101), (101, 1600), (102, 400), (401, 1600)]);
    let Arranged { entries, .. } = case.on(600, &layout(&[(1, "50MiB"), (6, "rest")])).unwrap().unwrap();
    let found: Vec<_> = entries.iter().map(|entry| (entry.range.start() / MIB, entry.ebr.map(|at| at / MIB))).collect();
    assert_eq!(found, [(1, None), (51, None), (52, Some(51)), (351, Some(350))]);
    assert_eq!(entries.iter().map(|entry| entry.range.end() / MIB).max(), Some(600));
}

#[test]
fn refuses_what_does_not_fit_with_both_numbers() {
    let one = |what| Case::gpt(&[(1, 101, "vfat"), (101, 799, what)]);
    let texts: Vec<(Case, u64, Size, &str)> = vec![
        (one("ext:500"), 600, Size::Fill, "would have 522190848 bytes, at least 524288000 are needed"),
        (one("ext:500"), 600, Size::Fill, "a disk of 631242752 bytes would do"),
        (one("xfs"), 600, Size::Fill, "shrink, which needs 208683520 bytes less"),
        (one("xfs"), 600, Size::Fill, "partition 2 (xfs) is xfs"),
        (one("vfat"), 1600, Size::Fill, "take the 839892480 bytes that are left"),
        (one("xfs"), 600, layout(&[(2, "300MiB")]), "would change from 731906048 to 314572800 bytes: is xfs"),
        (one("vfat"), 1600, layout(&[(2, "rest")]), "holds vfat"),
        (one("ext:50"), 600, layout(&[(2, "800MiB")]), "would end at byte 944766976"),
        (one("ext:50"), 600, layout(&[(3, "80MiB")]), "names partition 3 of disk 0"),
        (one("swap (hibernated)"), 600, layout(&[(1, "rest")]), "would end at byte 734003200"),
    ];
    for (case, mib, size, reason) in texts {
        let error = case.on(mib, &size).unwrap_err().to_string();
        assert!(error.contains(reason), "{error}: {reason}");
    }
    let mut loader = Case::gpt(&[(1, 700, "ext:100"), (700, 799, "unknown")]);
    loader.table.entries[1].r#type = "21686148-6449-6e6f-744e-656564454649".to_owned();
    let moved = RefusedLayout::Loader { number: 2, old: 700 * MIB, new: 1500 * MIB };
    assert_eq!(loader.on(1600, &Size::Fill), Err(moved));
    let mut asleep = Case::gpt(&[(1, 700, "ext:100"), (700, 799, "swap (hibernated)")]);
    assert_eq!(asleep.on(1600, &Size::Fill), Err(RefusedLayout::Hibernated(2)));
    asleep.able[1].kind = "swap".to_owned();
    assert!(asleep.on(1600, &Size::Fill).is_ok());
    let mut head = Case::gpt(&[(1, 799, "ext:100")]);
    head.table.entries[0].range = ByteRange::between(63 * 512, 799 * MIB);
    assert!(head.on(1600, &Size::Fill).is_ok());
    assert_eq!(head.on(600, &Size::Fill), Err(RefusedLayout::Head { number: 1, start: 63 * 512 }));
}

#[test]
fn a_disk_without_a_table_grows_and_does_not_shrink() {
    let case = Case { table: table(TableKind::None, Vec::new()), able: vec![able(0, "ext:100")] };
    let Arranged { entries, steps } = case.on(1600, &Size::Fill).unwrap().unwrap();
    assert!(entries.is_empty() && steps.len() == 1 && steps[0].new.end() == 1600 * MIB);
    assert_eq!(case.on(600, &Size::Fill), Err(RefusedLayout::Head { number: 0, start: 0 }));
}

#[test]
fn an_mbr_ends_at_its_last_address() {
    let entries = vec![entry(1, 1, 799)];
    let case = Case { table: table(TableKind::Mbr, entries), able: vec![able(1, "ext:100")] };
    assert_eq!(case.places(4 << 20, &Size::Fill), [(1, 2 << 20)]);
}
