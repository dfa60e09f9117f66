//! Single words: which are ids and which are not.
//!
//! In: lines. Out: nothing.
//! Promise: an id inside a longer word stays; another length is never made.

use super::*;
use proptest::prelude::*;

#[test]
fn ids_are_replaced_as_whole_words_in_every_spelling() {
    let rows = [
        ("UUID=0a1b2c3d-1111-4aaa-8bbb-00112233aabb / ext4", "UUID=f00dfeed-2222-4ccc-9ddd-ffeeddccbbaa / ext4"),
        ("UUID=\"0A1B2C3D-1111-4AAA-8BBB-00112233AABB\"", "UUID=\"F00DFEED-2222-4CCC-9DDD-FFEEDDCCBBAA\""),
        (
            "root=PARTUUID=5e1f5e1f-0001-4002-8003-000400050006/PARTNROFF=1",
            "root=PARTUUID=0dd50dd5-a00a-4bb0-9cc0-d00de00ef00f/PARTNROFF=1",
        ),
        ("root=PARTUUID=0a1b2c3d-02 rw", "root=PARTUUID=deadbeef-02 rw"),
        ("/dev/disk/by-uuid/1A2B-3C4D /boot/efi", "/dev/disk/by-uuid/99E8-00F1 /boot/efi"),
        ("UUID=1a2b-3c4d", "UUID=99e8-00f1"),
        (
            "search --fs-uuid --set=root --hint-bios=hd0 1A2B-3C4D\n",
            "search --fs-uuid --set=root --hint-bios=hd0 99E8-00F1\n",
        ),
        ("UUID=01D9A1B2C3D4E5F6 /data ntfs", "UUID=7700112233445566 /data ntfs"),
        (
            "gnulinux-simple-0a1b2c3d-1111-4aaa-8bbb-00112233aabb'",
            "gnulinux-simple-f00dfeed-2222-4ccc-9ddd-ffeeddccbbaa'",
        ),
        (
            "dev-disk-by\\x2duuid-12121212\\x2d3434\\x2d4565\\x2d8787\\x2d909090909090.swap",
            "dev-disk-by\\x2duuid-98989898\\x2d7676\\x2d4545\\x2da3a3\\x2d121212121212.swap",
        ),
        ("dev-disk-by\\x2duuid-1A2B\\x2d3C4D.device", "dev-disk-by\\x2duuid-99E8\\x2d00F1.device"),
        ("resume=UUID=12121212-3434-4565-8787-909090909090", "resume=UUID=98989898-7676-4545-a3a3-121212121212"),
    ];
    for (before, after) in rows {
        let new = renamed().rewrite(before.as_bytes()).unwrap_or_else(|| panic!("{before}: unchanged"));
        assert_eq!(String::from_utf8(new).unwrap(), after);
        assert_eq!(renamed().rewrite(after.as_bytes()), None, "{after}");
    }
}

#[test]
fn what_only_contains_an_id_stays() {
    for text in [
        "x0a1b2c3d-1111-4aaa-8bbb-00112233aabb",
        "0a1b2c3d-1111-4aaa-8bbb-00112233aabbc",
        "0a1b2c3d-1111-4aaa-8bbb-00112233aab",
        "aaaa1111-1A2B-3C4D-8bbb-00112233aabb",
        "v1A2B-3C4D",
        "2.1A2B-3C4D",
        "1A2B-3C4D-5",
        "1A2B-3C4D.1",
        "0a1b2c3d-023",
        "0a1b2c3d-02-2024",
        "LABEL=0a1b2c3d",
        "A01D9A1B2C3D4E5F6",
        "01D9A1B2C3D4E5F67",
        "\\x2d\\x2d",
        "",
        "0a1b",
    ] {
        assert_eq!(renamed().rewrite(text.as_bytes()), None, "{text}");
    }
}

#[test]
fn ids_of_odd_forms_are_left_out() {
    let id = |old: &str, new: &str| Id {
        old: old.to_owned(),
        new: new.to_owned(),
        name: String::new(),
        of: Of::Content,
        needs: None,
    };
    let odd = [id("1234", "5678"), id("0x0a1b2c3d", "0x0a1b2c3e"), id(ROOT.0, ESP.1), id(ROOT.0, ROOT.0)];
    assert!(Renamed::new(odd.into()).is_empty());
}

#[test]
fn a_volume_with_new_ids_is_found_by_the_old_ones() {
    let volume = |uuid: &str, partuuid: &str| crate::assemble::Volume {
        uuid: Some(uuid.to_owned()),
        partuuid: Some(partuuid.to_owned()),
        ..crate::assemble::Volume::default()
    };
    let mut found = volume(ROOT.1, PART.1);
    renamed().put_back(&mut found);
    assert_eq!(found, volume(ROOT.0, PART.0));
    let mut other = volume(PART.1, SWAP.1);
    renamed().put_back(&mut other);
    assert_eq!(other, volume(PART.1, SWAP.1));
}

proptest! {
    #[test]
    fn whatever_lies_around_them_no_old_id_remains_and_nothing_else_changes(
        parts in prop::collection::vec((any::<prop::sample::Index>(), "[ \t\n'\"=:/,;(){}#]{1,4}[^0-9a-zA-Z_.\\\\-]{0,6}"), 0..20)
    ) {
        let pairs = [ROOT, SWAP, ESP, DATA, PART, MBR];
        let (mut text, mut wanted) = (String::from(" "), String::from(" "));
        for (index, between) in &parts {
            let (old, new) = pairs[index.index(pairs.len())];
            text += old;
            wanted += new;
            text += between;
            wanted += between;
        }
        let found = renamed().rewrite(text.as_bytes()).unwrap_or_else(|| text.clone().into_bytes());
        prop_assert_eq!(String::from_utf8(found).unwrap(), wanted);
    }

    #[test]
    fn any_bytes_keep_their_length_and_a_second_pass_finds_nothing(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let mut text = bytes;
        text.extend_from_slice(b" UUID=1A2B-3C4D ");
        text.extend_from_slice(&text.clone());
        let new = renamed().rewrite(&text).unwrap();
        prop_assert_eq!(new.len(), text.len());
        prop_assert!(renamed().named_in(&new).is_empty());
    }
}
