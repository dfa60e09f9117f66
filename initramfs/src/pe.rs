//! A program for UEFI, with more sections than it was linked with.
//!
//! In: a PE32+ image (Microsoft's "PE Format"; systemd's stub), sections by name. Out: the image with them at its end.
//! Promise: no section overlaps another one in the file or in memory, whatever their sizes; the header is checked first.

/// What is wrong with an image.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PeError {
    /// It is something else.
    #[error("it is no PE32+ image for x86-64: {0}")]
    Other(&'static str),
    /// A section reaches outside.
    #[error("section {0} ends at {1}, the file has {2} bytes")]
    Outside(usize, u64, u64),
    /// No more section headers fit.
    #[error("{0} more sections do not fit: there is room for {1}")]
    Room(usize, usize),
    /// It does not fit into 32 bits.
    #[error("{0} bytes do not fit into an image of 4 GiB")]
    Long(u64),
    /// It is signed: new sections would break the signature.
    #[error("it is signed, and what is added would break the signature")]
    Signed,
}

const SECTION_HEADER_LEN: usize = 40;
const OPTIONAL_HEADER_LEN: usize = 240;
const MACHINE_AMD64: u16 = 0x8664;
const MAGIC_PE32_PLUS: u16 = 0x20b;
/// Data, readable.
const DATA: u32 = 0x4000_0040;
/// Section addresses: a page, whatever the stub was linked with.
const PAGE: u32 = 4096;

/// Where things are in an image; checked.
struct Layout {
    /// Of the signature `PE\0\0`.
    pe: usize,
    /// Of the first section header.
    sections: usize,
    count: usize,
    /// How many more section headers fit.
    room: usize,
    file_alignment: u32,
    section_alignment: u32,
    /// Behind the last section, in the file and in memory.
    file_end: u32,
    memory_end: u32,
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    bytes.get(at..at + 2).and_then(|b| b.try_into().ok()).map_or(0, u16::from_le_bytes)
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).and_then(|b| b.try_into().ok()).map_or(0, u32::from_le_bytes)
}

fn put_u16(bytes: &mut [u8], at: usize, value: u16) {
    bytes[at..at + 2].copy_from_slice(&value.to_le_bytes());
}

fn put_u32(bytes: &mut [u8], at: usize, value: u32) {
    bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
}

fn layout(image: &[u8]) -> Result<Layout, PeError> {
    if image.get(..2) != Some(b"MZ") {
        return Err(PeError::Other("it does not start with MZ"));
    }
    let pe = u32_at(image, 0x3c) as usize;
    let optional = pe.checked_add(24).ok_or(PeError::Other("its header lies outside"))?;
    let sections = optional.checked_add(OPTIONAL_HEADER_LEN).ok_or(PeError::Other("its header lies outside"))?;
    if sections > image.len() || image.get(pe..pe + 4) != Some(b"PE\0\0") {
        return Err(PeError::Other("there is no PE signature"));
    }
    if u16_at(image, pe + 4) != MACHINE_AMD64 || u16_at(image, optional) != MAGIC_PE32_PLUS {
        return Err(PeError::Other("it is for another machine"));
    }
    if usize::from(u16_at(image, pe + 20)) != OPTIONAL_HEADER_LEN {
        return Err(PeError::Other("its optional header has another length than 240"));
    }
    // The fifth data directory is the table of certificates.
    if u32_at(image, optional + 112 + 4 * 8 + 4) != 0 {
        return Err(PeError::Signed);
    }
    let count = usize::from(u16_at(image, pe + 6));
    let headers = u32_at(image, optional + 60) as usize;
    let used = sections + count * SECTION_HEADER_LEN;
    if used > headers || headers > image.len() {
        return Err(PeError::Other("its section headers lie outside of its headers"));
    }
    let power = |at: usize| Some(u32_at(image, at)).filter(|n| n.is_power_of_two() && *n <= 1 << 16);
    let alignment = PeError::Other("its alignments are no powers of two");
    let (Some(section_alignment), Some(file_alignment)) = (power(optional + 32), power(optional + 36)) else {
        return Err(alignment);
    };
    let (mut file_end, mut memory_end) = (headers as u64, 0_u64);
    for index in 0..count {
        let at = sections + index * SECTION_HEADER_LEN;
        let (size, address) = (u32_at(image, at + 8), u32_at(image, at + 12));
        let (raw, offset) = (u32_at(image, at + 16), u32_at(image, at + 20));
        let end = u64::from(raw) + u64::from(offset);
        if raw > 0 && end > image.len() as u64 {
            return Err(PeError::Outside(index, end, image.len() as u64));
        }
        file_end = file_end.max(if raw > 0 { end } else { 0 });
        memory_end = memory_end.max(u64::from(address) + u64::from(size.max(raw)));
    }
    let fits = |end: u64| u32::try_from(end).map_err(|_| PeError::Long(end));
    Ok(Layout {
        pe,
        sections,
        count,
        room: (headers - used) / SECTION_HEADER_LEN,
        file_alignment,
        section_alignment,
        file_end: fits(file_end)?,
        memory_end: fits(memory_end)?,
    })
}

/// Checks that `image` is a program for UEFI on x86-64; a kernel's own header is shorter than a linker's.
///
/// # Errors
/// [`PeError::Other`].
pub fn check(image: &[u8]) -> Result<(), PeError> {
    let pe = u32_at(image, 0x3c) as usize;
    let signature = pe.checked_add(4).and_then(|end| image.get(pe..end));
    if image.get(..2) != Some(b"MZ") || signature != Some(b"PE\0\0") {
        return Err(PeError::Other("there is no PE signature"));
    }
    if u16_at(image, pe + 4) != MACHINE_AMD64 || u16_at(image, pe + 24) != MAGIC_PE32_PLUS {
        return Err(PeError::Other("it is for another machine"));
    }
    Ok(())
}

/// `image` with `added` sections (name, bytes) behind its own. Symbols at its end are dropped.
///
/// # Errors
/// [`PeError`].
pub fn with_sections(image: &[u8], added: &[(&str, &[u8])]) -> Result<Vec<u8>, PeError> {
    let old = layout(image)?;
    if added.len() > old.room || added.iter().any(|(name, _)| name.len() > 8) {
        return Err(PeError::Room(added.len(), old.room));
    }
    let up = |value: u64, to: u32| {
        let value = value.next_multiple_of(u64::from(to));
        u32::try_from(value).map_err(|_| PeError::Long(value))
    };
    let step = old.section_alignment.max(PAGE);
    let mut out = image[..old.file_end as usize].to_vec();
    let mut memory = u64::from(old.memory_end);
    let mut data = u64::from(u32_at(image, old.pe + 24 + 8));
    for (index, (name, bytes)) in added.iter().enumerate() {
        let offset = up(out.len() as u64, old.file_alignment)?;
        out.resize(offset as usize, 0);
        out.extend_from_slice(bytes);
        let end = up(out.len() as u64, old.file_alignment)?;
        out.resize(end as usize, 0);
        let address = up(memory, step)?;
        let size = u32::try_from(bytes.len()).map_err(|_| PeError::Long(bytes.len() as u64))?;
        memory = u64::from(address) + bytes.len() as u64;
        data += u64::from(end - offset);
        let header = old.sections + (old.count + index) * SECTION_HEADER_LEN;
        let header = &mut out[header..header + SECTION_HEADER_LEN];
        header.fill(0);
        header[..name.len()].copy_from_slice(name.as_bytes());
        for (at, value) in [(8, size), (12, address), (16, end - offset), (20, offset), (36, DATA)] {
            put_u32(header, at, value);
        }
    }
    let optional = old.pe + 24;
    let count = u16::try_from(old.count + added.len()).map_err(|_| PeError::Room(added.len(), old.room))?;
    put_u16(&mut out, old.pe + 6, count);
    // The table of symbols lay behind the sections; firmware has no use for it, nor for the checksum.
    put_u32(&mut out, old.pe + 12, 0);
    put_u32(&mut out, old.pe + 16, 0);
    put_u32(&mut out, optional + 8, u32::try_from(data).map_err(|_| PeError::Long(data))?);
    put_u32(&mut out, optional + 56, up(memory, step)?);
    put_u32(&mut out, optional + 64, 0);
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The least that is taken for an image: one section of 512 bytes.
    fn image() -> Vec<u8> {
        let mut bytes = vec![0; 0x600];
        bytes[..2].copy_from_slice(b"MZ");
        put_u32(&mut bytes, 0x3c, 0x80);
        bytes[0x80..0x84].copy_from_slice(b"PE\0\0");
        put_u16(&mut bytes, 0x84, MACHINE_AMD64);
        put_u16(&mut bytes, 0x86, 1);
        put_u16(&mut bytes, 0x94, 240);
        put_u16(&mut bytes, 0x98, MAGIC_PE32_PLUS);
        put_u32(&mut bytes, 0x98 + 32, 512);
        put_u32(&mut bytes, 0x98 + 36, 512);
        put_u32(&mut bytes, 0x98 + 60, 0x400);
        let header = 0x98 + 240;
        for (at, value) in [(8, 100), (12, 0x4000), (16, 0x200), (20, 0x400)] {
            put_u32(&mut bytes, header + at, value);
        }
        bytes
    }

    #[test]
    fn sections_follow_each_other_in_file_and_memory() {
        let out = with_sections(&image(), &[(".a", &[1; 5000]), (".b", &[2; 1])]).unwrap();
        let new = layout(&out).unwrap();
        let header = |index: usize, at: usize| u32_at(&out, new.sections + index * 40 + at);
        assert_eq!((header(1, 8), header(1, 12), header(1, 16), header(1, 20)), (5000, 0x5000, 5120, 0x600));
        assert_eq!((header(2, 8), header(2, 12), header(2, 16), header(2, 20)), (1, 0x7000, 512, 0x600 + 5120));
        assert_eq!(u32_at(&out, new.pe + 24 + 56), 0x8000);
        assert_eq!(out.len(), 0x600 + 5120 + 512);
    }

    #[test]
    fn what_is_no_image_or_has_no_room_is_refused() {
        let spoil = |at: usize, with: u32| {
            let mut bytes = image();
            put_u32(&mut bytes, at, with);
            with_sections(&bytes, &[(".a", b"x")]).unwrap_err()
        };
        assert!(matches!(spoil(0, 0), PeError::Other(_)));
        assert!(matches!(spoil(0x3c, 0xffff_fff0), PeError::Other(_)));
        assert!(matches!(spoil(0x84, 0x14c), PeError::Other(_)));
        assert!(matches!(spoil(0x98 + 36, 500), PeError::Other(_)));
        assert!(matches!(spoil(0x98 + 60, 0x10000), PeError::Other(_)));
        assert_eq!(spoil(0x98 + 112 + 36, 8), PeError::Signed);
        assert!(matches!(spoil(0x98 + 240 + 20, 0xffff_ff00), PeError::Outside(0, ..)));
        assert!(matches!(spoil(0x98 + 240 + 12, 0xffff_ff00), PeError::Long(_)));
        let many = [(".a", &b"x"[..]); 20];
        assert_eq!(with_sections(&image(), &many), Err(PeError::Room(20, 14)));
    }

    proptest::proptest! {
        #[test]
        fn no_header_makes_it_panic(at in 0_usize..0x300, with in 0_u32..) {
            let mut bytes = image();
            put_u32(&mut bytes, at, with);
            let _ = with_sections(&bytes, &[(".a", b"x")]);
        }
    }
}
