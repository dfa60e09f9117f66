//! The tables by which modules are found again.
//!
//! In: the chosen modules. Out: `modules.dep`, `modules.alias`, `modules.softdep`, in the text formats of kmod
//! (modules.dep(5)), and the builtin tables as they lie.
//! Promise: only what is aboard is named; dependencies stand as depmod writes them, the deepest last.

use super::choose::Chosen;
use super::tree::Modules;
use std::fmt::Write;

/// The tables, by file name.
#[must_use]
pub fn tables(all: &Modules, chosen: &Chosen<'_>) -> Vec<(&'static str, Vec<u8>)> {
    let (mut dep, mut alias, mut softdep) = (String::new(), String::new(), String::new());
    alias.push_str("# Aliases extracted from modules themselves.\n");
    softdep.push_str("# Soft dependencies extracted from modules themselves.\n");
    for (name, (module, order)) in &chosen.modules {
        let _ = write!(dep, "{}:", module.path);
        for needed in order.iter().rev().filter_map(|name| chosen.modules.get(name)) {
            let _ = write!(dep, " {}", needed.0.path);
        }
        dep.push('\n');
        for pattern in &module.info.aliases {
            let _ = writeln!(alias, "alias {} {name}", pattern);
        }
        for rule in &module.info.softdeps {
            let _ = writeln!(softdep, "softdep {name} {rule}");
        }
    }
    vec![
        ("modules.dep", dep.into_bytes()),
        ("modules.alias", alias.into_bytes()),
        ("modules.softdep", softdep.into_bytes()),
        ("modules.builtin", all.builtin_list.clone()),
        ("modules.builtin.modinfo", all.builtin_info.clone()),
    ]
}
