//! The initramfs: the agent, the modules, the firmware, what is baked in; nothing else.
//!
//! In: agent, kernel, chosen modules, firmware, settings, a time. Out: the tree and its compressed archive.
//! Promise: the layout is the one that PID 1 reads (agent/src/init); no shell, no token, the same bytes every time.

use crate::agent::Agent;
use crate::compress;
use crate::conf;
use crate::cpio::{Node, Tree, TreeError};
use crate::error::{Result, refused};
use crate::firmware::Firmware;
use crate::modules::{Chosen, Modules, files};
use crate::programs::Programs;
use ramet_wire::settings::Raw;
use serde::Serialize;
use std::fmt::Write;
use std::sync::Arc;

/// What `/etc/ramet/build.json` says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Build {
    /// The agent's version.
    pub version: String,
    /// Seconds since 1970: the agent's clock starts no earlier.
    pub built: i64,
    /// `uname -r`
    pub kernel: String,
}

/// What goes into an initramfs.
#[derive(Debug)]
pub struct Cargo<'a> {
    /// The program.
    pub agent: &'a Agent,
    /// All modules of the kernel.
    pub modules: &'a Modules,
    /// Those that go aboard.
    pub chosen: &'a Chosen<'a>,
    /// Firmware.
    pub firmware: &'a Firmware,
    /// Programs and their libraries.
    pub programs: &'a Programs,
    /// `ramet.conf`
    pub settings: &'a Raw,
    /// `build.json`
    pub build: &'a Build,
}

fn file(bytes: impl Into<Arc<[u8]>>) -> Node {
    Node::File(0o644, bytes.into())
}

impl Cargo<'_> {
    /// What will be unpacked.
    ///
    /// # Errors
    /// A refusal when a path does not do; those of the file system.
    pub fn tree(&self) -> Result<Tree> {
        let refuse = |error: TreeError| refused("filling the initramfs", error.to_string(), "rename it");
        let mut tree = Tree::default();
        let mut add = |path: &str, node: Node| tree.add(path, node).map_err(refuse);
        for folder in ["dev", "etc", "proc", "run", "sys", "tmp"] {
            add(folder, Node::Folder)?;
        }
        add("dev/console", Node::Device(0o600, 5, 1))?;
        add("dev/null", Node::Device(0o666, 1, 3))?;
        add("init", Node::File(0o755, Arc::from(self.agent.bytes.as_slice())))?;
        add("sbin/modprobe", Node::Link("/init".to_owned()))?;
        let root = format!("lib/modules/{}", self.modules.version);
        for (module, _) in self.chosen.modules.values() {
            add(&format!("{root}/{}", module.path), file(module.bytes()?))?;
        }
        for (name, bytes) in files::tables(self.modules, self.chosen) {
            add(&format!("{root}/{name}"), file(bytes))?;
        }
        for (name, bytes) in &self.firmware.files {
            add(&format!("lib/firmware/{name}"), file(Arc::clone(bytes)))?;
        }
        for (path, bytes) in &self.programs.files {
            add(path, Node::File(0o755, Arc::from(bytes.as_slice())))?;
        }
        let mut missing = String::new();
        for (module, name) in &self.firmware.missing {
            let _ = writeln!(missing, "{module} {name}");
        }
        add("etc/ramet/missing-firmware", file(missing.into_bytes()))?;
        add("etc/ramet/ramet.conf", file(conf::text(self.settings).into_bytes()))?;
        let build = serde_json::to_string(self.build).unwrap_or_default() + "\n";
        add("etc/ramet/build.json", file(build.into_bytes()))?;
        Ok(tree)
    }

    /// The compressed archive.
    ///
    /// # Errors
    /// Those of [`Cargo::tree`]; a time outside of 1970–2106.
    pub fn initramfs(&self, level: i32, threads: u32) -> Result<Vec<u8>> {
        let time = u32::try_from(self.build.built).map_err(|_| {
            let found = format!("{} seconds since 1970 do not fit into cpio's 32 bits", self.build.built);
            refused("setting the time of the files", found, "set SOURCE_DATE_EPOCH")
        })?;
        compress::compress(&self.tree()?.archive(time), level, threads)
    }
}
