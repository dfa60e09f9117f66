//! Swap, empty or with a sleeping machine in it.

use super::super::{ExtentKind, map};
use super::images::{Image, extents, run};
use std::sync::Arc;

const MIB: u64 = 1 << 20;

fn made(page: u64) -> Image {
    let image = Image::garbage(4 * MIB);
    run("mkswap", &["-p", &page.to_string(), "-L", "nap", image.name()]);
    image
}

#[test]
fn the_header_page_is_the_extent_for_each_page_size() {
    for page in [4096, 8192, 16384, 65536] {
        let image = made(page);
        let map = image.map();
        assert_eq!(map.content.kind, "swap");
        assert!(!map.whole && map.warnings.is_empty(), "{map:?}");
        let all = extents(&map, 4 * MIB);
        assert_eq!(all.len(), 1);
        assert_eq!((all[0].range.start(), all[0].range.end(), all[0].kind), (0, page, ExtentKind::Data));
    }
}

#[test]
fn swap_with_a_suspend_signature_is_copied_whole_with_a_warning() {
    let signatures: [&[u8]; 6] =
        [b"S1SUSPEND\0", b"S2SUSPEND\0", b"ULSUSPEND\0", b"LINHIB0001", b"TuxOnIce\0\0", b"TuxOnIce2\0"];
    for page in [4096, 8192, 16384, 65536] {
        for signature in signatures {
            let image = made(page);
            image.write(page - 10, signature);
            is_hibernated(&image, &String::from_utf8_lossy(signature));
        }
    }
}

#[test]
fn swap_with_the_binary_signature_of_tuxonice_is_copied_whole() {
    let image = made(4096);
    image.write(0, b"\xed\xc3\x02\xe9\x98\x56\xe5\x0c");
    is_hibernated(&image, "TuxOnIce");
}

#[test]
fn swap_with_an_unknown_signature_or_version_is_copied_whole() {
    let image = made(4096);
    image.write(4086, b"NEWSUSPEND");
    is_hibernated(&image, "unknown signature");
    let image = made(4096);
    image.write(1024, &[2]);
    is_hibernated(&image, "header version 2");
}

fn is_hibernated(image: &Image, case: &str) {
    let map = image.map();
    assert!(map.whole && map.used_bytes == 4 * MIB, "{case}: {map:?}");
    assert_eq!(map.content.kind, "swap (hibernated)", "{case}");
    assert!(map.warnings[0].contains("every file system of this machine is in use by it"), "{case}: {map:?}");
}

#[test]
fn a_swap_header_that_contradicts_itself_is_copied_whole() {
    let page = made(4096).bytes();
    let cases: &[(usize, u32, &str)] = &[
        (1028, 0, "last page is 0"),
        (1028, 1024, "last page is 1024, the partition has 1024 pages"),
        (1032, u32::MAX, "4294967295 bad pages, at most"),
        (1032, 1, "bad page 0 is"),
    ];
    for (at, value, warning) in cases {
        let mut bytes = page.clone();
        bytes[1536..1540].copy_from_slice(&[0xff; 4]);
        bytes[*at..at + 4].copy_from_slice(&value.to_le_bytes());
        let map = map(Arc::new(bytes)).unwrap();
        assert!(map.whole && map.warnings[0].contains(warning), "{warning}: {map:?}");
    }
    let mut bytes = page;
    bytes[65526..65536].copy_from_slice(b"SWAPSPACE2");
    let map = map(Arc::new(bytes)).unwrap();
    assert!(map.whole && map.warnings[0].contains("2 signatures"), "{map:?}");
}

#[test]
fn the_old_header_of_version_0_is_its_page() {
    let mut bytes = vec![0; 1 << 20];
    bytes[4086..4096].copy_from_slice(b"SWAP-SPACE");
    let map = map(Arc::new(bytes)).unwrap();
    assert_eq!((map.whole, map.used_bytes, map.content.version.as_deref()), (false, 4096, Some("0")));
}
