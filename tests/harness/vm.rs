//! Virtual machines, under software emulation.
//!
//! In: firmware, cards, disks. Out: a running machine and everything that it says on its serial line.
//! Promise: never KVM, which hangs on some machines; a machine ends with its value; what was said is in every panic.

use crate::net::Net;
use crate::tool::{arg, scratch};
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// What starts the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Firmware {
    /// SeaBIOS.
    Bios,
    /// OVMF.
    Uefi,
    /// OVMF with Microsoft's keys, Secure Boot on.
    Secure,
    /// OVMF with the snakeoil keys of Debian's package, Secure Boot on.
    OwnKeys,
}

/// A machine to be started.
#[derive(Debug)]
pub struct Machine {
    firmware: Firmware,
    args: Vec<String>,
    folder: tempfile::TempDir,
    cards: u32,
}

/// A machine that runs.
#[derive(Debug)]
pub struct Vm {
    child: Child,
    keys: Option<ChildStdin>,
    said: Arc<Mutex<Vec<u8>>>,
    began: Instant,
    // Dropped after the process has ended.
    _folder: tempfile::TempDir,
}

const OVMF: &str = "/usr/share/OVMF";

impl Machine {
    /// One processor, so much memory.
    #[must_use]
    pub fn new(firmware: Firmware, memory_mib: u32) -> Self {
        let folder = scratch();
        let mut machine = Self { firmware, args: Vec::new(), folder, cards: 0 };
        machine.add(&["-m", &memory_mib.to_string(), "-display", "none", "-monitor", "none", "-serial", "stdio"]);
        machine.add(&["-accel", "tcg,thread=multi", "-no-reboot", "-nodefaults", "-vga", "std"]);
        match firmware {
            Firmware::Bios => {}
            Firmware::Uefi => machine.ovmf("OVMF_CODE_4M.fd", "OVMF_VARS_4M.fd", "q35"),
            Firmware::Secure => machine.ovmf("OVMF_CODE_4M.ms.fd", "OVMF_VARS_4M.ms.fd", "q35,smm=on"),
            Firmware::OwnKeys => machine.ovmf("OVMF_CODE_4M.snakeoil.fd", "OVMF_VARS_4M.snakeoil.fd", "q35,smm=on"),
        }
        machine
    }

    fn ovmf(&mut self, code: &str, vars: &str, kind: &str) {
        let own = self.folder.path().join("vars.fd");
        std::fs::copy(format!("{OVMF}/{vars}"), &own).unwrap_or_else(|error| panic!("copying {OVMF}/{vars}: {error}"));
        let vars = format!("if=pflash,format=raw,unit=1,file={}", own.display());
        self.add(&["-machine", kind]);
        if kind.contains("smm") {
            let secure = "driver=cfi.pflash01,property=secure,value=on";
            self.add(&["-global", secure, "-global", "ICH9-LPC.disable_s3=1"]);
        }
        self.add(&["-drive", &format!("if=pflash,format=raw,unit=0,readonly=on,file={OVMF}/{code}"), "-drive", &vars]);
    }

    /// More arguments for QEMU.
    pub fn add(&mut self, args: &[&str]) -> &mut Self {
        self.args.extend(args.iter().map(|arg| (*arg).to_owned()));
        self
    }

    /// A card on a tap of `net`; without `rom` the firmware's own network stack starts from it, not QEMU's iPXE.
    pub fn card(&mut self, net: &Net, model: &str, mac: &str, rom: bool) -> &mut Self {
        let (id, tap) = (format!("n{}", self.cards), net.tap());
        self.cards += 1;
        let rom = if rom { "" } else { ",romfile=" };
        self.add(&["-netdev", &format!("tap,id={id},ifname={tap},script=no,downscript=no")]);
        self.add(&["-device", &format!("{model},netdev={id},mac={mac}{rom}")])
    }

    /// A disk image behind a virtio controller.
    pub fn disk(&mut self, image: &Path, options: &str) -> &mut Self {
        self.add(&["-drive", &format!("if=none,id=disk,format=raw,file={}", arg(image))]);
        self.add(&["-device", &format!("virtio-blk-pci,drive=disk{options}")])
    }

    /// OVMF tries PXE over IPv4 and IPv6 for 70 s before HTTP; it shall not.
    pub fn only_http(&mut self) -> &mut Self {
        for version in ["IPv4", "IPv6"] {
            self.add(&["-fw_cfg", &format!("name=opt/org.tianocore/{version}PXESupport,string=n")]);
        }
        self
    }

    /// Starts it, inside `net`.
    #[must_use]
    pub fn start(self, net: &Net) -> Vm {
        let mut command = net.command("qemu-system-x86_64");
        command.args(&self.args);
        Vm::start(&mut command, self.folder)
    }

    /// The firmware.
    #[must_use]
    pub const fn firmware(&self) -> Firmware {
        self.firmware
    }
}

impl Vm {
    fn start(command: &mut Command, folder: tempfile::TempDir) -> Self {
        let errors = std::fs::File::create(folder.path().join("errors")).unwrap();
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(errors);
        let mut child = command.spawn().unwrap_or_else(|error| panic!("starting QEMU: {error}"));
        let (said, mut out) = (Arc::new(Mutex::new(Vec::new())), child.stdout.take().unwrap());
        let heard = Arc::clone(&said);
        std::thread::spawn(move || {
            let mut buf = [0; 4096];
            while let Ok(count @ 1..) = out.read(&mut buf) {
                heard.lock().unwrap().extend_from_slice(&buf[..count]);
            }
        });
        let keys = child.stdin.take();
        Self { child, keys, said, began: Instant::now(), _folder: folder }
    }

    /// All that it said on its serial line.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.said.lock().unwrap()).into_owned()
    }

    /// Waits until it has said `words`; seconds since it was started.
    ///
    /// # Panics
    /// When it does not say them within the time, or ends before.
    pub fn expect(&mut self, words: &str, within: Duration) -> f64 {
        let until = Instant::now() + within;
        loop {
            let ended = self.child.try_wait().unwrap().is_some();
            if self.text().contains(words) {
                return self.began.elapsed().as_secs_f64();
            }
            let problem = if ended { "it ended" } else { "it is late" };
            assert!(!ended && Instant::now() < until, "{problem}, without saying {words:?}: {}", self.tail());
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    fn tail(&self) -> String {
        let text = self.text();
        let from = text.char_indices().rev().nth(6000).map_or(0, |(at, _)| at);
        let errors = std::fs::read_to_string(self._folder.path().join("errors")).unwrap_or_default();
        format!("{}\n{errors}", &text[from..])
    }

    /// Types on its serial line.
    pub fn keys(&mut self, text: &str) {
        let keys = self.keys.as_mut().unwrap();
        keys.write_all(text.as_bytes()).and_then(|()| keys.flush()).unwrap();
    }

    /// Waits until it has ended: switched off, or restarted.
    ///
    /// # Panics
    /// When it goes on.
    pub fn wait(&mut self, within: Duration) -> f64 {
        let until = Instant::now() + within;
        while self.child.try_wait().unwrap().is_none() {
            assert!(Instant::now() < until, "it still runs: {}", self.tail());
            std::thread::sleep(Duration::from_millis(100));
        }
        self.began.elapsed().as_secs_f64()
    }

    /// It still runs.
    pub fn runs(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }
}

impl Drop for Vm {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
