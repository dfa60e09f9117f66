//! One build from beginning to end.
//!
//! In: what to build from, and what to build. Out: the output folder, and a report.
//! Promise: everything that can be refused is refused before the output folder is touched.

use crate::agent::Agent;
use crate::compress;
use crate::conf::{Baked, Wishes};
use crate::error::{Result, refused};
use crate::firmware;
use crate::kernel::{Kernel, Origin};
use crate::modules::{Set, choose};
use crate::output::{Output, Report};
use crate::ship::{Build, Cargo};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// What to build.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// `vmlinuz` and `initramfs.zst`.
    Initramfs,
    /// `ramet.efi`.
    Uki,
    /// `ramet.iso`.
    Iso,
    /// Debian's signed shim and GRUB, and iPXE, for `ramet boot install`.
    Netboot,
}

/// What to build, from what.
#[derive(Clone, Debug)]
pub struct Order {
    /// The agent's file.
    pub agent: PathBuf,
    /// The kernel.
    pub kernel: Origin,
    /// The output folder.
    pub out: PathBuf,
    /// Which modules.
    pub set: Set,
    /// More modules, by name.
    pub modules: Vec<String>,
    /// Where firmware is.
    pub firmware: Vec<PathBuf>,
    /// What is baked in.
    pub wishes: Wishes,
    /// What to make.
    pub parts: Vec<Part>,
    /// zstd's level.
    pub level: i32,
    /// Threads of the compression.
    pub threads: u32,
    /// SOURCE_DATE_EPOCH, in seconds since 1970.
    pub epoch: Option<i64>,
}

impl Order {
    fn wants(&self, part: Part) -> bool {
        self.parts.contains(&part)
    }
}

/// Builds it.
///
/// # Errors
/// Refusals of the parts; failures of the file system and of tools.
pub fn build(order: &Order) -> Result<Report> {
    let agent = Agent::open(&order.agent)?;
    let baked = Baked::of(&order.wishes)?;
    if baked.has_token() && !order.wants(Part::Iso) {
        let found = "only ramet.iso may hold one: the server offers everything else to whoever asks";
        return Err(refused("baking in a token", found, "leave it out, or build the iso"));
    }
    let kernel = Kernel::open(&order.kernel)?;
    let built = order.epoch.or(kernel.built).ok_or_else(|| {
        let found = "its banner has no date";
        refused(format!("dating the build by kernel {}", kernel.version), found, "set SOURCE_DATE_EPOCH")
    })?;
    let chosen = choose(&kernel.modules, order.set, &order.modules)?;
    let firmware = firmware::gather(&chosen, &order.firmware)?;
    let build = Build { version: agent.version.clone(), built, kernel: kernel.version.clone() };
    let cargo = Cargo {
        agent: &agent,
        modules: &kernel.modules,
        chosen: &chosen,
        firmware: &firmware,
        settings: &baked.all,
        build: &build,
    };
    let initramfs = cargo.initramfs(order.level, order.threads.max(1))?;

    let mut output = Output::open(&order.out)?;
    output.write("vmlinuz", &kernel.bytes)?;
    output.write("initramfs.zst", &initramfs)?;
    let mut missing_firmware: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (module, file) in firmware.missing {
        missing_firmware.entry(module).or_default().push(file);
    }
    let report = Report {
        build,
        set: order.set.name(),
        modules: chosen.modules.len(),
        files: output.files().clone(),
        token: baked.has_token(),
        image: None,
        missing_firmware,
    };
    output.finish(&report)?;
    Ok(report)
}

/// The number of threads when nobody says one.
#[must_use]
pub fn threads() -> u32 {
    compress::threads()
}
