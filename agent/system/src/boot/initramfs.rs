//! What of a kernel's modules is in an initramfs.
//!
//! In: its files, one after the other. Out: paths of the modules of one kernel, and the tables that lie beside them.
//! Promise: names are compared and never opened; tables have a bound.

use super::cpio::{CpioError, LIMITS, Visit, walk};
use super::index::{Tables, module_name};
use std::collections::BTreeSet;
use std::io::Read;

/// Largest table beside the modules that is kept, in bytes; Debian's largest has 1.5 MB.
pub(super) const TABLE_MAX: u64 = 16 << 20;
/// Most modules that are kept.
const MODULES_MAX: usize = 1 << 16;

/// What was found for one kernel.
#[derive(Debug, Default)]
pub(super) struct Aboard {
    /// Paths of modules, relative to `/lib/modules/RELEASE`.
    pub modules: BTreeSet<String>,
    /// Tables.
    pub tables: Tables,
    /// Releases of other kernels whose modules are there.
    pub others: BTreeSet<String>,
}

struct Looking<'a> {
    release: &'a str,
    found: Aboard,
}

/// Reads the initramfs behind `from`: modules of the kernel `release`.
pub(super) fn read(from: impl Read, release: &str) -> Result<Aboard, CpioError> {
    let mut looking = Looking { release, found: Aboard::default() };
    walk(from, LIMITS, &mut looking)?;
    Ok(looking.found)
}

/// Release and path below `lib/modules`, where a name leads there; a name with `..` in it leads nowhere.
fn below_modules(name: &str) -> Option<(&str, &str)> {
    let name = name.trim_start_matches("./").trim_start_matches('/');
    let name = name.strip_prefix("usr/").unwrap_or(name);
    let (release, path) = name.strip_prefix("lib/modules/")?.split_once('/')?;
    let strange = |part: &str| part.is_empty() || part == "." || part == "..";
    (!strange(release) && !path.split('/').any(strange)).then_some((release, path))
}

impl Visit for Looking<'_> {
    fn file(&mut self, name: &str, size: u64) -> Option<u64> {
        let (release, path) = below_modules(name)?;
        let is_module = module_name(path).is_some();
        if release != self.release {
            if is_module && self.found.others.len() < 8 {
                self.found.others.insert(release.chars().take(64).collect());
            }
            return None;
        }
        if is_module {
            if self.found.modules.len() < MODULES_MAX {
                self.found.modules.insert(path.to_owned());
            }
            return None;
        }
        let wanted = matches!(path, "modules.dep" | "modules.alias" | "modules.builtin" | "modules.builtin.modinfo");
        (wanted && size <= TABLE_MAX).then_some(TABLE_MAX)
    }

    fn bytes(&mut self, name: &str, bytes: Vec<u8>) {
        let tables = &mut self.found.tables;
        let Some((_, path)) = below_modules(name) else { return };
        if path == "modules.builtin.modinfo" {
            tables.builtin_info = Some(bytes);
            return;
        }
        let text = Some(String::from_utf8_lossy(&bytes).into_owned());
        match path {
            "modules.dep" => tables.dep = text,
            "modules.alias" => tables.alias = text,
            _ => tables.builtin = text,
        }
    }
}
