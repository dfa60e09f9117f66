//! Images from `tests/fixtures`, and checksums mended behind a patch.

use super::images::Image;
use std::path::Path;

/// The fixture `name` as a sparse image.
pub(super) fn fixture(name: &str) -> Image {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../tests/fixtures/{name}.zst"));
    let bytes =
        zstd::decode_all(std::fs::File::open(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))).unwrap();
    let image = Image::empty(bytes.len() as u64);
    write_sparse(&image, 0, &bytes);
    image
}

pub(super) fn write_sparse(image: &Image, at: u64, bytes: &[u8]) {
    for (block, offset) in bytes.chunks(4096).zip((at..).step_by(4096)) {
        if block.iter().any(|byte| *byte != 0) {
            image.write(offset, block);
        }
    }
}

/// LVM's CRC, bit by bit.
pub(super) fn lvm_crc(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0xf597_a6cf, |crc, byte| {
        let step = |crc: u32, _| if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 };
        (0..8).fold(crc ^ u32::from(*byte), step)
    })
}

/// Puts the right checksum into the label in `sector`.
pub(super) fn mend_label(disk: &Image, sector: u64) {
    let raw = disk.read(sector * 512, 512);
    disk.write(sector * 512 + 16, &lvm_crc(&raw[20..]).to_le_bytes());
}

/// Puts the right checksum into the header of the metadata area at 4096.
pub(super) fn mend_area(disk: &Image) {
    let raw = disk.read(4096, 512);
    disk.write(4096, &lvm_crc(&raw[4..]).to_le_bytes());
}

/// The text in the metadata area at 4096.
pub(super) fn text(disk: &Image) -> String {
    let word = |at: u64| u64::from_le_bytes(disk.read(4096 + at, 8).try_into().unwrap());
    String::from_utf8(disk.read(4096 + word(40), usize::try_from(word(48)).unwrap())).unwrap()
}

/// Writes another text in its place.
pub(super) fn write_text(disk: &Image, text: &str) {
    let offset = u64::from_le_bytes(disk.read(4096 + 40, 8).try_into().unwrap());
    disk.write(4096 + offset, text.as_bytes());
    disk.write(4096 + 48, &(text.len() as u64).to_le_bytes());
    disk.write(4096 + 56, &lvm_crc(text.as_bytes()).to_le_bytes());
    mend_area(disk);
}

/// Puts the right checksum into the superblock of mdraid version 1 at `at`.
pub(super) fn mend_one(disk: &Image, at: u64) {
    let roles = u32::from_le_bytes(disk.read(at + 220, 4).try_into().unwrap());
    let mut raw = disk.read(at, 256 + 2 * usize::try_from(roles).unwrap().min(1920));
    raw[216..220].fill(0);
    raw.resize(raw.len().next_multiple_of(4), 0);
    let sum: u64 = raw.chunks(4).map(|word| u64::from(u32::from_le_bytes(word.try_into().unwrap()))).sum();
    let folded = (sum & 0xffff_ffff) + (sum >> 32);
    disk.write(at + 216, &folded.to_le_bytes()[..4]);
}

/// The same for version 0.90.
pub(super) fn mend_old(disk: &Image, at: u64) {
    disk.write(at + 152, &[0; 4]);
    let sum: u64 =
        disk.read(at, 4096).chunks(4).map(|word| u64::from(u32::from_le_bytes(word.try_into().unwrap()))).sum();
    let folded = (sum & 0xffff_ffff) + (sum >> 32);
    disk.write(at + 152, &folded.to_le_bytes()[..4]);
}
