//! FORMAT.md and the code say the same.
//!
//! In: the tables of FORMAT.md. Out: agreement with the constants.
//! Promise: a limit cannot be changed in one place only.

#![allow(clippy::unwrap_used)] // a panic is how a test fails

use ramet_wire::{api, cutting, frame, manifest, name, pack, range, receipt, segment, sign, table};
use std::collections::BTreeMap;

const PAGE: &str = include_str!("../FORMAT.md");

/// Rows of all tables: first cell without back quotes, second cell.
fn rows() -> BTreeMap<String, String> {
    let row = |line: &str| {
        let mut cells = line.strip_prefix('|')?.split('|').map(|cell| cell.trim().trim_matches('`').to_owned());
        Some((cells.next()?, cells.next()?))
    };
    PAGE.lines().filter_map(row).collect()
}

#[test]
fn limits_are_those_of_the_code() {
    let rows = rows();
    let wide = |value: usize| u64::try_from(value).unwrap();
    let constants = [
        ("BLOCK", range::BLOCK),
        ("CHUNK_MAX", frame::CHUNK_MAX.into()),
        ("FRAME_MIN", frame::FRAME_MIN.into()),
        ("FRAME_MAX", frame::FRAME_MAX.into()),
        ("PACK_MAX", pack::PACK_MAX),
        ("PACK_TARGET", pack::PACK_TARGET),
        ("ENTRIES_MAX", pack::ENTRIES_MAX.into()),
        ("SPAN", segment::SPAN),
        ("SEGMENT_MAX", wide(segment::SEGMENT_MAX)),
        ("GAPS_UNIT", segment::GAPS_UNIT),
        ("MANIFEST_MAX", wide(manifest::MANIFEST_MAX)),
        ("DISKS_MAX", wide(manifest::DISKS_MAX)),
        ("PARTITIONS_MAX", wide(table::PARTITIONS_MAX)),
        ("DISK_MAX", manifest::DISK_MAX),
        ("NAME_MAX", wide(name::NAME_MAX)),
        ("RECEIPT_MAX", wide(receipt::RECEIPT_MAX)),
        ("IDS_MAX", wide(api::IDS_MAX)),
        ("SIGNATURE_MAX", wide(sign::SIGNATURE_MAX)),
        ("block", cutting::CUTTING.block.into()),
        ("min", cutting::CUTTING.min.into()),
        ("max", cutting::CUTTING.max.into()),
        ("modulus", cutting::CUTTING.modulus),
    ];
    for (name, value) in constants {
        assert_eq!(rows.get(name), Some(&value.to_string()), "{name}");
    }
    let listed = rows.keys().filter(|name| name.len() > 3 && name.chars().all(|c| c.is_ascii_uppercase() || c == '_'));
    for name in listed {
        assert!(constants.iter().any(|(known, _)| known == name), "{name} is in FORMAT.md only");
    }
}

#[test]
fn magics_and_lengths_are_those_of_the_code() {
    for (text, bytes) in [("`RMPK`", &pack::HEADER[..4]), ("`RMSG`", &segment::HEADER[..4]), ("`RMPKEND1`", &pack::END)]
    {
        assert!(PAGE.contains(text), "{text}");
        assert_eq!(text.trim_matches('`').as_bytes(), bytes);
    }
    assert!(PAGE.contains(&format!("| {} × n | table", pack::ENTRY_LEN)));
    assert!(PAGE.contains(&format!("| {} | footer", pack::FOOTER_LEN)));
    assert!(PAGE.contains(&format!("| {} × n | records", segment::RECORD_LEN)));
    assert!(PAGE.contains(&format!("`ZERO_RUN_MIN` =\n{}", cutting::ZERO_RUN_MIN)));
}

#[test]
fn readme_lists_the_arguments_of_a_booted_agent_as_the_code_has_them() {
    let readme = include_str!("../../../README.md");
    let table = readme.split("<!-- arguments -->").nth(1).unwrap().split("<!-- end -->").next().unwrap();
    let written: Vec<&str> = table.lines().filter(|line| line.starts_with("| `")).collect();
    let row = |argument: &ramet_wire::settings::Argument| {
        format!("| `{}=` | {} | {} |", argument.name, argument.value, argument.meaning)
    };
    let wanted: Vec<String> = ramet_wire::settings::ARGUMENTS.iter().map(row).collect();
    assert_eq!(written, wanted, "README.md, between <!-- arguments --> and <!-- end -->");
}
