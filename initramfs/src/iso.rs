//! `ramet.iso`: one image for BIOS and UEFI, for CDs and USB sticks.
//!
//! In: kernel, initramfs, menus, settings, perhaps a store; loaders of Debian's packages isolinux, shim and GRUB (signed).
//! Out: the image, written by xorriso.
//! Promise: Secure Boot holds from shim to kernel; the same content gives the same bytes; the label is `RAMET`.

use crate::error::{Doing, Result, refused};
use crate::image::Image;
use crate::menu;
use crate::tool::{command, installed, run};
use ramet_wire::id::hex;
use std::fmt::Write as _;
use std::fs::{self, File, FileTimes};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, UNIX_EPOCH};
use tempfile::TempDir;

const SYSLINUX: &str = "/usr/lib/syslinux/modules/bios";
const SHIM: &str = "/usr/lib/shim/shimx64.efi.signed";
const MOK: &str = "/usr/lib/shim/mmx64.efi.signed";
const GRUB: &str = "/usr/lib/grub/x86_64-efi-signed/gcdx64.efi.signed";
const MBR: &str = "/usr/lib/ISOLINUX/isohdpfx.bin";

/// What goes on the medium.
#[derive(Debug)]
pub struct Medium<'a> {
    /// The bzImage.
    pub kernel: &'a [u8],
    /// The initramfs.
    pub initramfs: &'a [u8],
    /// The kernel's command line.
    pub cmdline: &'a str,
    /// `/ramet/ramet.conf`
    pub conf: &'a str,
    /// The agent's version.
    pub version: &'a str,
    /// An image for offline restores.
    pub image: Option<&'a Image>,
    /// Seconds since 1970: the time of everything on it.
    pub time: u64,
}

/// The loaders, read before anything is written.
#[derive(Debug)]
pub struct Loaders(Vec<(&'static str, Vec<u8>)>);

impl Loaders {
    /// Reads them, and looks for the tools.
    ///
    /// # Errors
    /// When a package is not installed.
    pub fn find() -> Result<Self> {
        let what = "building ramet.iso";
        for tool in ["xorriso", "mkfs.vfat", "mcopy", "mmd"] {
            command(what, tool)?;
        }
        installed(what, Path::new(MBR), "isolinux")?;
        let bios = |name| installed(what, &Path::new(SYSLINUX).join(name), "syslinux-common");
        Ok(Self(vec![
            ("isolinux/isolinux.bin", installed(what, Path::new("/usr/lib/ISOLINUX/isolinux.bin"), "isolinux")?),
            ("isolinux/ldlinux.c32", bios("ldlinux.c32")?),
            ("isolinux/libcom32.c32", bios("libcom32.c32")?),
            ("isolinux/libutil.c32", bios("libutil.c32")?),
            ("isolinux/menu.c32", bios("menu.c32")?),
            ("EFI/BOOT/BOOTX64.EFI", installed(what, Path::new(SHIM), "shim-signed")?),
            ("EFI/BOOT/grubx64.efi", installed(what, Path::new(GRUB), "grub-efi-amd64-signed")?),
            ("EFI/BOOT/mmx64.efi", installed(what, Path::new(MOK), "shim-helpers-amd64-signed")?),
        ]))
    }
}

impl Medium<'_> {
    /// Writes the image to `out`; temporary files lie beside it.
    ///
    /// # Errors
    /// What xorriso and mtools say; those of the file system and of the image's store.
    pub fn write(&self, loaders: &Loaders, out: &Path) -> Result<()> {
        let what = || format!("building {}", out.display());
        let beside = out.parent().unwrap_or(Path::new("."));
        let dir = TempDir::with_prefix_in(".ramet-iso.", beside).doing(what)?;
        let root = dir.path().join("root");
        let put = |name: &str, bytes: &[u8]| -> Result<()> {
            let path = root.join(name);
            let what = || format!("writing {}", path.display());
            fs::create_dir_all(path.parent().unwrap_or(&root)).doing(what)?;
            fs::write(&path, bytes).doing(what)
        };
        for (name, bytes) in &loaders.0 {
            put(name, bytes)?;
        }
        put("boot/vmlinuz", self.kernel)?;
        put("boot/initramfs.zst", self.initramfs)?;
        put("boot/grub/grub.cfg", menu::grub(self.cmdline).as_bytes())?;
        put("isolinux/isolinux.cfg", menu::isolinux(self.cmdline).as_bytes())?;
        put(".disk/info", format!("Ramet {}\n", self.version).as_bytes())?;
        put("ramet/ramet.conf", self.conf.as_bytes())?;
        if let Some(image) = self.image {
            image.copy_to(&root.join("ramet/store"), self.time)?;
        }
        let id = identity(&root).doing(what)?;
        put("ramet/medium.json", format!("{{\"id\":\"{id}\"}}\n").as_bytes())?;
        let marker = format!(".disk/{}", &id[..16]);
        put(&marker, b"")?;
        let esp_config = menu::grub_on_esp(&format!("/{marker}"));
        put("EFI/debian/grub.cfg", esp_config.as_bytes())?;
        self.esp(&root, &dir.path().join("esp.img"), &id)?;
        let weights = dir.path().join("weights");
        settle(&root, self.time, &weights).doing(what)?;
        self.xorriso(&root, &weights, out)
    }

    /// The EFI system partition: shim, GRUB, and where to look for the medium.
    fn esp(&self, root: &Path, image: &Path, id: &str) -> Result<()> {
        let what = || "building the medium's EFI system partition".to_owned();
        let files = files(&root.join("EFI")).doing(what)?;
        let bytes: u64 = files.iter().map(|(_, length)| length.next_multiple_of(4096)).sum();
        let kib = (bytes / 1024 + 512).next_multiple_of(1024);
        let stamp = |command: &mut Command| {
            command.env("SOURCE_DATE_EPOCH", self.time.to_string()).env("TZ", "UTC").env("MTOOLS_SKIP_CHECK", "1");
        };
        let mut format = command("formatting the EFI system partition", "mkfs.vfat")?;
        stamp(format.args(["-C", "--invariant", "-n", "RAMET-ESP", "-i", &id[..8]]).arg(image).arg(kib.to_string()));
        run(what, &mut format)?;
        let mut folders = command("making folders", "mmd")?;
        stamp(folders.arg("-i").arg(image).args(["::/EFI", "::/EFI/BOOT", "::/EFI/debian"]));
        run(what, &mut folders)?;
        for (path, _) in files {
            let name = path.strip_prefix(root).unwrap_or(&path).to_string_lossy().into_owned();
            set_time(&path, self.time).doing(what)?;
            let mut copy = command("copying files", "mcopy")?;
            stamp(copy.arg("-i").arg(image).arg("-m").arg(&path).arg(format!("::/{name}")));
            run(what, &mut copy)?;
        }
        let target = root.join("boot/grub/efi.img");
        fs::rename(image, target).doing(what)
    }

    fn xorriso(&self, root: &Path, weights: &Path, out: &Path) -> Result<()> {
        let mut xorriso = command("writing the medium", "xorriso")?;
        xorriso
            .env("SOURCE_DATE_EPOCH", self.time.to_string())
            .env("TZ", "UTC")
            // No start-up files of whoever builds.
            .args(["-no_rc", "-as", "mkisofs", "-quiet", "-r", "-iso-level", "3"])
            .args(["-V", "RAMET", "-A", "RAMET", "-publisher", "RAMET"])
            .arg("-o")
            .arg(out)
            .arg("--sort-weight-list")
            .arg(weights)
            .args(["-isohybrid-mbr", MBR, "-partition_offset", "16"])
            .args(["-c", "isolinux/boot.cat", "-b", "isolinux/isolinux.bin"])
            .args(["-no-emul-boot", "-boot-load-size", "4", "-boot-info-table"])
            .args(["-eltorito-alt-boot", "-e", "boot/grub/efi.img", "-no-emul-boot", "-isohybrid-gpt-basdat"])
            .arg(root);
        run(|| format!("writing {}", out.display()), &mut xorriso)?;
        Ok(())
    }
}

/// All files below `dir`, sorted by path, with their lengths.
fn files(dir: &Path) -> std::io::Result<Vec<(PathBuf, u64)>> {
    let mut found = Vec::new();
    let mut folders = vec![dir.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                folders.push(entry.path());
            } else {
                found.push((entry.path(), entry.metadata()?.len()));
            }
        }
    }
    found.sort();
    Ok(found)
}

/// What is on the medium, as one hash: of every file's path, length and bytes.
fn identity(root: &Path) -> std::io::Result<String> {
    let mut context = ring::digest::Context::new(&ring::digest::SHA256);
    let mut buf = vec![0; 1 << 20];
    for (path, length) in files(root)? {
        let name = path.strip_prefix(root).unwrap_or(&path).to_string_lossy().into_owned();
        context.update(format!("{name}\0{length}\0").as_bytes());
        let mut file = File::open(&path)?;
        loop {
            let count = file.read(&mut buf)?;
            if count == 0 {
                break;
            }
            context.update(&buf[..count]);
        }
    }
    Ok(hex(context.finish().as_ref()))
}

fn set_time(path: &Path, time: u64) -> std::io::Result<()> {
    let time = UNIX_EPOCH + Duration::from_secs(time);
    File::open(path)?.set_times(FileTimes::new().set_modified(time).set_accessed(time))
}

/// Gives everything below `root` one time, and every file its place on the medium: xorriso's own order follows the
/// numbers of inodes here. Larger weights come first.
fn settle(root: &Path, time: u64, weights: &Path) -> std::io::Result<()> {
    let files = files(root)?;
    let mut list = String::new();
    for (weight, (path, _)) in (1..).zip(files.iter().rev()) {
        let name = path.strip_prefix(root).unwrap_or(path).to_string_lossy().into_owned();
        let _ = writeln!(list, "{weight} /{name}");
        set_time(path, time)?;
    }
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                folders.push(entry.path());
            }
        }
        set_time(&folder, time)?;
    }
    fs::write(weights, list)
}

/// The label and the times of the medium fit only so far.
///
/// # Errors
/// A refusal when `time` is outside of what ISO 9660 and FAT can say (1980–2107).
pub fn check_time(time: i64) -> Result<u64> {
    let range = 315_532_800..4_354_819_200_i64;
    u64::try_from(time).ok().filter(|_| range.contains(&time)).ok_or_else(|| {
        let found = format!("{time} seconds since 1970 are outside of the years 1980 to 2107");
        refused("dating the medium", found, "set SOURCE_DATE_EPOCH")
    })
}
