//! `ramet.efi`: kernel, initramfs and command line as one program for UEFI.
//!
//! In: systemd's stub, a kernel, an initramfs, a command line; a key and a certificate to sign with. Out: the image.
//! Promise: sections by the UAPI group's specification of unified kernel images; a signature is checked after it was made.

use crate::error::{Doing, Result, refused};
use crate::pe;
use crate::tool::{command, installed, run};
use std::path::{Path, PathBuf};
use tempfile::TempDir;

const STUB: &str = "/usr/lib/systemd/boot/efi/linuxx64.efi.stub";

/// What goes into the image.
#[derive(Clone, Copy, Debug)]
pub struct Uki<'a> {
    /// The bzImage.
    pub kernel: &'a [u8],
    /// `uname -r`
    pub release: &'a str,
    /// The initramfs.
    pub initramfs: &'a [u8],
    /// The kernel's command line.
    pub cmdline: &'a str,
    /// The agent's version.
    pub version: &'a str,
}

/// An operator's own Secure Boot key and its certificate, as PEM files.
#[derive(Clone, Debug)]
pub struct Signer {
    /// The private key.
    pub key: PathBuf,
    /// The certificate.
    pub cert: PathBuf,
}

impl Uki<'_> {
    /// The image, unsigned.
    ///
    /// # Errors
    /// A refusal when the kernel has no EFI stub of its own or systemd's stub is not installed.
    pub fn image(&self) -> Result<Vec<u8>> {
        let what = "building ramet.efi";
        pe::check(self.kernel)
            .map_err(|error| refused(what, format!("the kernel: {error}"), "take one with CONFIG_EFI_STUB=y"))?;
        let stub = installed(what, Path::new(STUB), "systemd-boot-efi")?;
        let osrel = format!(
            "ID=ramet\nNAME=Ramet\nVERSION_ID={0}\nPRETTY_NAME=\"Ramet {0}: clone this machine\"\n",
            self.version
        );
        // The kernel stands last: it may grow in memory when it unpacks itself.
        let sections: [(&str, &[u8]); 5] = [
            (".osrel", osrel.as_bytes()),
            (".uname", self.release.as_bytes()),
            (".cmdline", self.cmdline.as_bytes()),
            (".initrd", self.initramfs),
            (".linux", self.kernel),
        ];
        pe::with_sections(&stub, &sections).map_err(|error| {
            refused(what, format!("{STUB}: {error}"), "install systemd-boot-efi again, Debian 12 or newer")
        })
    }
}

impl Signer {
    /// Signs `image` by sbsign, and checks it with the certificate.
    ///
    /// # Errors
    /// What sbsign or sbverify says, for instance when key and certificate do not belong together.
    pub fn sign(&self, image: &[u8]) -> Result<Vec<u8>> {
        let what = || format!("signing ramet.efi with {}", self.key.display());
        let dir = TempDir::with_prefix("ramet-sign.").doing(what)?;
        let (plain, signed) = (dir.path().join("plain.efi"), dir.path().join("signed.efi"));
        std::fs::write(&plain, image).doing(what)?;
        let mut sbsign = command("signing ramet.efi", "sbsign")?;
        sbsign.arg("--key").arg(&self.key).arg("--cert").arg(&self.cert).arg("--output").arg(&signed).arg(&plain);
        run(what, &mut sbsign)?;
        // As firmware will, before a machine stands in front of somebody.
        let check = || format!("checking the signature of ramet.efi with {}", self.cert.display());
        run(check, command("checking ramet.efi", "sbverify")?.arg("--cert").arg(&self.cert).arg(&signed))?;
        std::fs::read(&signed).doing(what)
    }
}
