//! From rules to a complete set of modules.
//!
//! In: all modules of a kernel, a set, more names. Out: the chosen modules, each with its dependencies in load order.
//! Promise: the closure is complete: hard dependencies or a refusal, soft ones wherever the kernel has them.

use super::rules::{Set, stays_ashore};
use super::tree::{Module, Modules};
use crate::error::{Result, refused};
use std::collections::{BTreeMap, BTreeSet};

/// Longest chain of dependencies; Debian's kernel has 9.
const DEPTH_MAX: usize = 64;

/// The modules that go aboard.
#[derive(Clone, Debug)]
pub struct Chosen<'a> {
    /// By name, with the names of all that must be loaded before, in load order.
    pub modules: BTreeMap<&'a str, (&'a Module, Vec<&'a str>)>,
    /// Softdeps that this kernel has neither as a module nor built in.
    pub unresolved: BTreeSet<String>,
}

/// Chooses by `set` and the names in `more`.
///
/// # Errors
/// A refusal that names every module that should be there and is not.
pub fn choose<'a>(all: &'a Modules, set: Set, more: &[String]) -> Result<Chosen<'a>> {
    let mut missing = BTreeSet::new();
    let mut waiting: Vec<&str> = Vec::new();
    for name in set.names().into_iter().chain(more.iter().map(String::as_str)) {
        let found = all.answering(name);
        if found.is_empty() && !all.is_builtin(name) {
            missing.insert(name.to_owned());
        }
        waiting.extend(found);
    }
    let below = |path: &str| set.folders().iter().any(|folder| path.starts_with(&format!("{folder}/")));
    for (name, module) in &all.by_name {
        if below(&module.path) && !stays_ashore(name) {
            waiting.push(name);
        }
    }
    let mut chosen = Chosen { modules: BTreeMap::new(), unresolved: BTreeSet::new() };
    while let Some(name) = waiting.pop() {
        let Some((name, module)) = all.by_name.get_key_value(name) else { continue };
        if chosen.modules.contains_key(name.as_str()) {
            continue;
        }
        let mut order = Vec::new();
        before(all, module, &mut order, &mut missing, DEPTH_MAX);
        waiting.extend(&order);
        for soft in module.info.soft_names() {
            let found = all.answering(soft);
            if found.is_empty() && !all.is_builtin(soft) {
                chosen.unresolved.insert(soft.to_owned());
            }
            waiting.extend(found);
        }
        chosen.modules.insert(name, (module, order));
    }
    if !missing.is_empty() {
        let missing: Vec<String> = missing.into_iter().collect();
        let what = format!("choosing the modules of kernel {} (set {})", all.version, set.name());
        let found = format!("missing, as a module and in modules.builtin: {}", missing.join(", "));
        return Err(refused(what, found, "give a complete kernel package, or check --module"));
    }
    Ok(chosen)
}

/// Appends all that `module` needs to `order`, the deepest first.
fn before<'a>(
    all: &'a Modules,
    module: &'a Module,
    order: &mut Vec<&'a str>,
    missing: &mut BTreeSet<String>,
    depth: usize,
) {
    for name in &module.info.depends {
        match all.by_name.get_key_value(name) {
            Some((name, _)) if order.contains(&name.as_str()) => {}
            Some((name, needed)) if depth > 0 => {
                before(all, needed, order, missing, depth - 1);
                if !order.contains(&name.as_str()) {
                    order.push(name);
                }
            }
            _ if all.is_builtin(name) => {}
            _ => {
                missing.insert(format!("{name} (wanted by {})", module.path));
            }
        }
    }
}
