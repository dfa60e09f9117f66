//! What firmware says of the machine: SMBIOS structures as they lie (DMTF DSP0134, version 3.6, section 6).
//!
//! In: the bytes of `/sys/firmware/dmi/tables/DMI`. Out: how much memory is plugged in.
//! Promise: every length is compared with what there is; a table that is cut off or odd gives nothing, never too much.

/// Handle, type and length of a structure (6.1.2).
const HEADER: usize = 4;
/// Most structures that are looked at: a large server has some 500.
const STRUCTURES_MAX: usize = 8192;
/// Memory Device (7.18).
const MEMORY_DEVICE: u8 = 17;
/// End-of-Table (7.45).
const END: u8 = 127;

/// Bytes of memory in all slots together; none where firmware does not say.
#[must_use]
pub fn memory(table: &[u8]) -> Option<u64> {
    let mut sum: u64 = 0;
    let mut rest = table;
    for _ in 0..STRUCTURES_MAX {
        let Some((structure, after)) = next(rest) else { break };
        match structure[0] {
            END => break,
            MEMORY_DEVICE => sum = sum.checked_add(module(structure)?)?,
            _ => {}
        }
        rest = after;
    }
    (sum > 0).then_some(sum)
}

/// A structure without its strings, and what follows the strings, which end with two zeros (6.1.3).
fn next(table: &[u8]) -> Option<(&[u8], &[u8])> {
    let length = usize::from(*table.get(1)?);
    if length < HEADER {
        return None;
    }
    let (structure, strings) = table.split_at_checked(length)?;
    let end = strings.windows(2).position(|pair| pair == [0, 0])?;
    Some((structure, &strings[end + 2..]))
}

/// Bytes of one module: Size at 0Ch in MiB, or in KiB with bit 15; 7FFFh points to Extended Size at 1Ch (7.18.4, 7.18.5).
/// An empty slot and one of unknown size count nothing; so does what is no RAM of the system (type of Form 7.18.2 is not
/// looked at: persistent memory counts only where firmware gives it a volatile size).
fn module(structure: &[u8]) -> Option<u64> {
    let word = |at: usize| Some(u16::from_le_bytes([*structure.get(at)?, *structure.get(at + 1)?]));
    let size = word(0x0c)?;
    let bytes = match size {
        0 | 0xffff => 0,
        0x7fff => {
            let bytes = structure.get(0x1c..0x20)?;
            let mib = u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]) & 0x7fff_ffff;
            u64::from(mib) << 20
        }
        kib if kib & 0x8000 != 0 => u64::from(kib & 0x7fff) << 10,
        mib => u64::from(mib) << 20,
    };
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MIB: u64 = 1 << 20;

    fn structure(kind: u8, body: &[u8], strings: &str) -> Vec<u8> {
        let length = u8::try_from(HEADER + body.len()).unwrap();
        let mut bytes = vec![kind, length, 7, 0];
        bytes.extend(body);
        bytes.extend(strings.as_bytes());
        if strings.is_empty() {
            bytes.push(0);
        }
        bytes.push(0);
        bytes
    }

    fn slot(size: u16, extended: u32) -> Vec<u8> {
        let mut body = vec![0; 0x20 - HEADER];
        body[0x0c - HEADER..0x0e - HEADER].copy_from_slice(&size.to_le_bytes());
        body[0x1c - HEADER..].copy_from_slice(&extended.to_le_bytes());
        structure(MEMORY_DEVICE, &body, "DIMM_A1\0")
    }

    #[test]
    fn all_slots_are_counted_whatever_unit_they_use() {
        let table = [
            structure(1, &[1, 2, 3, 4], "Dell Inc.\0PowerEdge\0"),
            slot(16384, 0),
            slot(0x7fff, 65536),
            slot(0, 0),
            slot(0xffff, 0),
            slot(0x8000 | 512, 0),
            structure(END, &[], ""),
            slot(1024, 0),
        ]
        .concat();
        assert_eq!(memory(&table), Some((16384 + 65536) * MIB + 512 * 1024));
    }

    #[test]
    fn a_table_that_is_cut_off_tells_no_more_than_it_holds() {
        let table = [slot(1024, 0), slot(2048, 0)].concat();
        assert_eq!(memory(&table), Some(3072 * MIB));
        for length in 0..table.len() {
            assert!(memory(&table[..length]).is_none_or(|bytes| bytes == 1024 * MIB), "{length}");
        }
        assert_eq!(memory(&[MEMORY_DEVICE, 3, 0, 0, 0, 0]), None);
        assert_eq!(memory(&structure(MEMORY_DEVICE, &[0; 4], "")), None);
    }

    proptest! {
        #[test]
        fn no_table_panics(table in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = memory(&table);
        }
    }
}
