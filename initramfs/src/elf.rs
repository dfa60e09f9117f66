//! As much of ELF as the builder needs: sections of a module, segments of a program.
//!
//! In: a source of bytes (System V ABI, ELF-64, little endian). Out: a section's bytes; what kind of program it is.
//! Promise: every offset and count is checked against the source's length before it is used.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// Longest section that is read: a module's `.modinfo` takes some KiB, 200 KiB at most.
const SECTION_MAX: u64 = 4 << 20;
const HEADER_LEN: usize = 64;
const SECTION_HEADER_LEN: u64 = 64;
const PROGRAM_HEADER_LEN: u64 = 56;
const EM_X86_64: u16 = 62;
const ET_EXEC: u16 = 2;
const ET_DYN: u16 = 3;
const PT_DYNAMIC: u32 = 2;
const PT_INTERP: u32 = 3;
const PT_LOAD: u32 = 1;
const DT_NEEDED: u64 = 1;
const DT_STRTAB: u64 = 5;
const DT_STRSZ: u64 = 10;
/// Longest name of a library or of a dynamic linker, in bytes.
const NAME_MAX: usize = 255;

/// What an ELF file is read from.
pub trait Source {
    /// Its length in bytes.
    ///
    /// # Errors
    /// Those of the file system.
    fn length(&self) -> io::Result<u64>;

    /// Reads exactly `buf.len()` bytes at `offset`.
    ///
    /// # Errors
    /// `UnexpectedEof` past its end; those of the file system.
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()>;
}

impl Source for File {
    fn length(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        self.read_exact_at(buf, offset)
    }
}

impl Source for [u8] {
    fn length(&self) -> io::Result<u64> {
        Ok(self.len() as u64)
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        let start = usize::try_from(offset).ok();
        let range = start.and_then(|start| Some(start..start.checked_add(buf.len())?));
        let bytes = range.and_then(|range| self.get(range)).ok_or(io::ErrorKind::UnexpectedEof)?;
        buf.copy_from_slice(bytes);
        Ok(())
    }
}

/// The header of an ELF-64 file.
#[derive(Debug)]
pub struct Elf<'a, S: Source + ?Sized> {
    source: &'a S,
    header: [u8; HEADER_LEN],
}

/// What a program needs before it runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Program {
    /// It asks for a dynamic linker.
    pub interpreter: bool,
    /// It asks for shared libraries.
    pub needs_libraries: bool,
}

/// What a program or a library asks for, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wants {
    /// The dynamic linker's path.
    pub interpreter: Option<String>,
    /// Names of shared libraries, in its order.
    pub libraries: Vec<String>,
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    bytes.get(at..at + 2).and_then(|b| b.try_into().ok()).map_or(0, u16::from_le_bytes)
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).and_then(|b| b.try_into().ok()).map_or(0, u32::from_le_bytes)
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..at + 8).and_then(|b| b.try_into().ok()).map_or(0, u64::from_le_bytes)
}

fn invalid(reason: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, reason)
}

impl<'a, S: Source + ?Sized> Elf<'a, S> {
    /// Reads the header.
    ///
    /// # Errors
    /// `InvalidData` when it is no ELF-64 file of little endian; those of the source.
    pub fn open(source: &'a S) -> io::Result<Self> {
        let mut header = [0; HEADER_LEN];
        if source.length()? < HEADER_LEN as u64 {
            return Err(invalid(format!("it has {} bytes, an ELF file at least {HEADER_LEN}", source.length()?)));
        }
        source.read_at(0, &mut header)?;
        if header[..6] != *b"\x7fELF\x02\x01" {
            return Err(invalid("it is no ELF-64 file of little endian".to_owned()));
        }
        Ok(Self { source, header })
    }

    /// Reads `count` records of `len` bytes at `offset`, which must lie in the source and be few.
    fn table(&self, offset: u64, count: u64, len: u64) -> io::Result<Vec<u8>> {
        let bytes = count.checked_mul(len).filter(|bytes| *bytes <= SECTION_MAX);
        let end = bytes.and_then(|bytes| offset.checked_add(bytes));
        let length = self.source.length()?;
        match (bytes, end) {
            (Some(bytes), Some(end)) if end <= length => {
                let mut table = vec![0; usize::try_from(bytes).unwrap_or_default()];
                self.source.read_at(offset, &mut table)?;
                Ok(table)
            }
            _ => Err(invalid(format!("{count} records of {len} bytes at {offset} do not fit into its {length} bytes"))),
        }
    }

    /// The bytes of the section called `name`; none when there is no such section.
    ///
    /// # Errors
    /// `InvalidData` when a table or the section lies outside the file; those of the source.
    pub fn section(&self, name: &str) -> io::Result<Option<Vec<u8>>> {
        if u16_at(&self.header, 58) != 64 {
            return Err(invalid(format!("its section headers have {} bytes, not 64", u16_at(&self.header, 58))));
        }
        let headers = self.table(u64_at(&self.header, 40), u16_at(&self.header, 60).into(), SECTION_HEADER_LEN)?;
        let header_of = |index: usize| headers.chunks_exact(64).nth(index);
        let names = header_of(u16_at(&self.header, 62).into()).ok_or_else(|| invalid("it has no names".to_owned()))?;
        let names = self.table(u64_at(names, 24), u64_at(names, 32), 1)?;
        for header in headers.chunks_exact(64) {
            let start = u32_at(header, 0) as usize;
            let found = names.get(start..).and_then(|rest| rest.split(|byte| *byte == 0).next());
            if found == Some(name.as_bytes()) {
                return self.table(u64_at(header, 24), u64_at(header, 32), 1).map(Some);
            }
        }
        Ok(None)
    }

    /// Whether it is a program, not an object or a core, and for x86-64.
    #[must_use]
    pub fn is_x86_64_program(&self) -> bool {
        u16_at(&self.header, 18) == EM_X86_64 && matches!(u16_at(&self.header, 16), ET_EXEC | ET_DYN)
    }

    /// What it needs.
    ///
    /// # Errors
    /// `InvalidData` when a table lies outside the file; those of the source.
    pub fn program(&self) -> io::Result<Program> {
        if u16_at(&self.header, 54) != 56 {
            return Err(invalid(format!("its program headers have {} bytes, not 56", u16_at(&self.header, 54))));
        }
        let headers = self.table(u64_at(&self.header, 32), u16_at(&self.header, 56).into(), PROGRAM_HEADER_LEN)?;
        let mut program = Program::default();
        for header in headers.chunks_exact(56) {
            match u32_at(header, 0) {
                PT_INTERP => program.interpreter = true,
                PT_DYNAMIC => {
                    let dynamic = self.table(u64_at(header, 8), u64_at(header, 32), 1)?;
                    program.needs_libraries |= dynamic.chunks_exact(16).any(|entry| u64_at(entry, 0) == DT_NEEDED);
                }
                _ => {}
            }
        }
        Ok(program)
    }

    /// What it asks for, by name.
    ///
    /// # Errors
    /// `InvalidData` when a table or a name lies outside the file; those of the source.
    pub fn wants(&self) -> io::Result<Wants> {
        if u16_at(&self.header, 54) != 56 {
            return Err(invalid(format!("its program headers have {} bytes, not 56", u16_at(&self.header, 54))));
        }
        let headers = self.table(u64_at(&self.header, 32), u16_at(&self.header, 56).into(), PROGRAM_HEADER_LEN)?;
        let of_kind = |kind: u32| headers.chunks_exact(56).filter(move |header| u32_at(header, 0) == kind);
        let mut wants = Wants::default();
        if let Some(header) = of_kind(PT_INTERP).next() {
            wants.interpreter = Some(name_at(&self.table(u64_at(header, 8), u64_at(header, 32), 1)?, 0)?);
        }
        let Some(dynamic) = of_kind(PT_DYNAMIC).next() else { return Ok(wants) };
        let dynamic = self.table(u64_at(dynamic, 8), u64_at(dynamic, 32), 1)?;
        let value = |tag: u64| {
            let entry = dynamic.chunks_exact(16).find(|entry| u64_at(entry, 0) == tag);
            entry.map(|entry| u64_at(entry, 8)).ok_or_else(|| invalid(format!("its dynamic section lacks tag {tag}")))
        };
        let (address, len) = (value(DT_STRTAB)?, value(DT_STRSZ)?);
        // An address in memory: the segment that holds it says where that lies in the file.
        let place = of_kind(PT_LOAD).find_map(|header| {
            let within = address.checked_sub(u64_at(header, 16)).filter(|within| *within < u64_at(header, 32))?;
            u64_at(header, 8).checked_add(within)
        });
        let place = place.ok_or_else(|| invalid("its names lie in no segment".to_owned()))?;
        let names = self.table(place, len, 1)?;
        for entry in dynamic.chunks_exact(16).take_while(|entry| u64_at(entry, 0) != 0) {
            if u64_at(entry, 0) == DT_NEEDED {
                wants.libraries.push(name_at(&names, usize::try_from(u64_at(entry, 8)).unwrap_or(usize::MAX))?);
            }
        }
        Ok(wants)
    }
}

/// The name at `at`, which ends in NUL.
fn name_at(names: &[u8], at: usize) -> io::Result<String> {
    let rest = names.get(at..).unwrap_or_default();
    let len = rest.iter().take(NAME_MAX + 1).position(|byte| *byte == 0);
    let name = len.and_then(|len| std::str::from_utf8(&rest[..len]).ok()).filter(|name| !name.is_empty());
    name.map(str::to_owned).ok_or_else(|| invalid(format!("there is no name at {at} of {} bytes", names.len())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_of_this_system_is_dynamic() {
        let file = File::open("/bin/ls").unwrap();
        let elf = Elf::open(&file).unwrap();
        assert!(elf.is_x86_64_program());
        assert_eq!(elf.program().unwrap(), Program { interpreter: true, needs_libraries: true });
        let wants = elf.wants().unwrap();
        assert!(wants.interpreter.is_some_and(|path| path.starts_with("/lib")));
        assert!(wants.libraries.contains(&"libc.so.6".to_owned()), "{:?}", wants.libraries);
    }

    #[test]
    fn a_cut_or_foreign_file_is_an_error_and_never_a_panic() {
        let whole = std::fs::read("/bin/true").unwrap();
        for len in [0, 1, 63, 64, 100, whole.len() / 2, whole.len() - 1] {
            if let Ok(elf) = Elf::open(&whole[..len]) {
                let _ = elf.program();
                let _ = elf.wants();
                assert!(elf.section(".comment").is_err(), "cut to {len}");
            }
        }
        assert!(Elf::open(&b"#!/bin/sh\n".repeat(10)[..]).is_err());
    }

    proptest::proptest! {
        #[test]
        fn no_header_makes_it_panic_or_read_outside(mut header in proptest::collection::vec(0_u8.., 64..400)) {
            header[..6].copy_from_slice(b"\x7fELF\x02\x01");
            header[54..60].copy_from_slice(&[56, 0, 2, 0, 64, 0]);
            let elf = Elf::open(&header[..]).unwrap();
            let _ = elf.program();
            let _ = elf.wants();
            let _ = elf.section(".modinfo");
        }
    }
}
