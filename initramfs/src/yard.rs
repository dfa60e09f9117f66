//! One build from beginning to end.
//!
//! In: what to build from, and what to build. Out: the output folder, and a report.
//! Promise: everything that can be refused is refused before the output folder is touched.

use crate::agent::Agent;
use crate::compress;
use crate::conf::{self, Baked, Wishes};
use crate::error::{Result, refused};
use crate::firmware;
use crate::image::Image;
use crate::iso::{self, Loaders, Medium};
use crate::kernel::{Kernel, Origin};
use crate::modules::{Set, choose};
use crate::netboot;
use crate::output::{Output, Report};
use crate::programs::Programs;
use crate::ship::{Build, Cargo};
use crate::uki::{Signer, Uki};
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
    /// Programs that make file systems smaller go aboard.
    pub programs: bool,
    /// Where firmware is.
    pub firmware: Vec<PathBuf>,
    /// What is baked in.
    pub wishes: Wishes,
    /// The kernel's command line in UKI and ISO.
    pub cmdline: String,
    /// An image's name and its store.
    pub image: Option<(String, PathBuf)>,
    /// Who signs the UKI.
    pub signer: Option<Signer>,
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

/// Everything that was read and checked, before the first write.
struct Stock {
    agent: Agent,
    baked: Baked,
    image: Option<Image>,
    kernel: Kernel,
    programs: Programs,
    time: i64,
    loaders: Option<Loaders>,
    netboot: Vec<(&'static str, Vec<u8>)>,
}

impl Stock {
    fn gather(order: &Order) -> Result<Self> {
        let agent = Agent::open(&order.agent)?;
        let mut baked = Baked::of(&order.wishes)?;
        conf::check_cmdline(&order.cmdline)?;
        if baked.has_token() && !order.wants(Part::Iso) {
            let found = "only ramet.iso may hold one: the server offers everything else to whoever asks";
            return Err(refused("baking in a token", found, "leave it out, or build the iso"));
        }
        let image = match &order.image {
            Some(_) if !order.wants(Part::Iso) => {
                let found = "only ramet.iso has room for one";
                return Err(refused("taking an image along", found, "leave it out, or build the iso"));
            }
            Some((name, store)) => Some(Image::open(store, name)?),
            None => None,
        };
        if let Some(image) = &image {
            baked.carry(&image.image, &image.key)?;
        }
        let loaders = if order.wants(Part::Iso) { Some(Loaders::find()?) } else { None };
        let netboot = if order.wants(Part::Netboot) { netboot::files()? } else { Vec::new() };
        let programs = if order.programs { Programs::find()? } else { Programs::none() };
        let kernel = Kernel::open(&order.kernel)?;
        let time = order.epoch.or(kernel.built).ok_or_else(|| {
            let what = format!("dating the build by kernel {}", kernel.version);
            refused(what, "its banner has no date", "set SOURCE_DATE_EPOCH")
        })?;
        if loaders.is_some() {
            iso::check_time(time)?;
        }
        Ok(Self { agent, baked, image, kernel, programs, time, loaders, netboot })
    }
}

/// Builds it.
///
/// # Errors
/// Refusals of the parts; failures of the file system and of tools.
pub fn build(order: &Order) -> Result<Report> {
    let stock = Stock::gather(order)?;
    let kernel = &stock.kernel;
    let chosen = choose(&kernel.modules, order.set, &order.modules)?;
    let firmware = firmware::gather(&chosen, &order.firmware)?;
    let version = stock.agent.version.as_str();
    let build = Build { version: version.to_owned(), built: stock.time, kernel: kernel.version.clone() };
    let cargo = Cargo {
        agent: &stock.agent,
        modules: &kernel.modules,
        chosen: &chosen,
        firmware: &firmware,
        programs: &stock.programs,
        settings: &stock.baked.all,
        build: &build,
    };
    let initramfs = cargo.initramfs(order.level, order.threads)?;
    let uki = if order.wants(Part::Uki) { Some(uki(order, &stock, &initramfs)?) } else { None };

    let mut output = Output::open(&order.out)?;
    output.write("vmlinuz", &kernel.bytes)?;
    output.write("initramfs.zst", &initramfs)?;
    if let Some(uki) = uki {
        output.write("ramet.efi", &uki)?;
    }
    for (name, bytes) in &stock.netboot {
        output.write(name, bytes)?;
    }
    if let Some(loaders) = &stock.loaders {
        let medium = Medium {
            kernel: &kernel.bytes,
            initramfs: &initramfs,
            cmdline: &order.cmdline,
            conf: &conf::text(&stock.baked.medium),
            version,
            image: stock.image.as_ref(),
            time: iso::check_time(stock.time)?,
        };
        medium.write(loaders, &output.path("ramet.iso"))?;
        output.take("ramet.iso")?;
    }
    let mut missing_firmware: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (module, file) in firmware.missing {
        missing_firmware.entry(module).or_default().push(file);
    }
    let report = Report {
        build,
        set: order.set.name(),
        modules: chosen.modules.len(),
        files: output.files().clone(),
        token: stock.baked.has_token(),
        image: stock.image.as_ref().map(|image| image.image.to_string()),
        missing_firmware,
    };
    output.finish(&report)?;
    Ok(report)
}

fn uki(order: &Order, stock: &Stock, initramfs: &[u8]) -> Result<Vec<u8>> {
    let uki = Uki {
        kernel: &stock.kernel.bytes,
        release: &stock.kernel.version,
        initramfs,
        cmdline: &order.cmdline,
        version: &stock.agent.version,
    };
    let image = uki.image()?;
    order.signer.as_ref().map_or(Ok(image.clone()), |signer| signer.sign(&image))
}

/// The number of threads when nobody says one.
#[must_use]
pub fn threads() -> u32 {
    compress::threads()
}
