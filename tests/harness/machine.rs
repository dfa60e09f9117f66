//! A virtual machine: firmware, disks, cards, and its serial console.
//!
//! In: what it is made of and how it starts. Out: lines of its console, its keys, and its monitor.
//! Promise: always emulated (`/dev/kvm` may exist and hang); ended with its value; a line that does not come fails the test
//! with the console's last lines; a kernel that stands still before its first process is started anew, once.

use crate::net::{Net, TRUNK};
use crate::tool::{arg, scratch};
use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};

/// What starts the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Firmware {
    /// SeaBIOS.
    Bios,
    /// OVMF.
    Uefi,
    /// OVMF with Microsoft's keys, as machines are sold.
    Secure,
    /// OVMF with keys of our own.
    OwnKeys,
}

/// How a disk is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bus {
    /// virtio-blk.
    Virtio,
    /// virtio-blk with sectors of 4096 bytes.
    Virtio4k,
    /// virtio-scsi.
    Scsi,
    /// NVMe.
    Nvme,
    /// NVMe with sectors of 4096 bytes.
    Nvme4k,
    /// AHCI.
    Sata,
    /// A USB stick.
    Usb,
    /// A CD.
    Cd,
}

/// A network card.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Card {
    /// virtio-net with a way to this machine's loopback addresses, as 10.0.2.2.
    Virtio,
    /// Intel e1000e with the same.
    E1000e,
    /// virtio-net on a network where nobody answers.
    Deaf,
    /// virtio-net without a cable.
    Unplugged,
}

/// A machine that is switched off.
#[derive(Debug)]
pub struct Machine {
    args: Vec<String>,
    folder: tempfile::TempDir,
    disks: usize,
    cards: usize,
    /// The network that it is started in.
    net: Option<String>,
}

/// A kernel that said nothing for so long before its first process stands still: it takes 10 s to get there, on a busy host
/// 30. Under QEMU 7.2 one did, 1.2 s after its start, of the thousands that these tests have started.
const STILL: Duration = Duration::from_secs(60);

/// A machine that is switched on.
#[derive(Debug)]
pub struct Powered {
    command: Command,
    child: Child,
    keys: ChildStdin,
    // Dropped after the process has ended.
    folder: tempfile::TempDir,
    since: Instant,
    restarted: bool,
}

impl Machine {
    /// Two processors and 768 MiB; no disk, no card.
    #[must_use]
    pub fn new(firmware: Firmware) -> Self {
        let mut machine = Self { args: Vec::new(), folder: scratch(), disks: 0, cards: 0, net: None };
        let secure = ",smm=on -global driver=cfi.pflash01,property=secure,value=on -global ICH9-LPC.disable_s3=1";
        let (q35, ovmf) = match firmware {
            Firmware::Bios => ("", None),
            Firmware::Uefi => ("", Some(("OVMF_CODE_4M.fd", "OVMF_VARS_4M.fd"))),
            Firmware::Secure => (secure, Some(("OVMF_CODE_4M.ms.fd", "OVMF_VARS_4M.ms.fd"))),
            Firmware::OwnKeys => (secure, Some(("OVMF_CODE_4M.snakeoil.fd", "OVMF_VARS_4M.snakeoil.fd"))),
        };
        machine = machine.with(&format!("-machine q35{q35} -accel tcg,thread=multi -smp 2 -m 768 -display none"));
        machine = machine.with("-uuid 5f1e2d3c-0000-4000-8000-525400000001 -device virtio-rng-pci");
        if let Some((code, vars)) = ovmf {
            let copy = machine.folder.path().join("vars.fd");
            fs::copy(format!("/usr/share/OVMF/{vars}"), &copy).unwrap();
            let flash = "-drive if=pflash,format=raw,unit";
            let code = if Path::new("/usr/share/OVMF").join(code).exists() { code } else { "OVMF_CODE_4M.secboot.fd" };
            machine = machine
                .with(&format!("{flash}=0,readonly=on,file=/usr/share/OVMF/{code} {flash}=1,file={}", arg(&copy)));
        }
        machine
    }

    /// Further arguments for QEMU, separated by spaces.
    #[must_use]
    pub fn with(mut self, args: &str) -> Self {
        self.args.extend(args.split_whitespace().map(str::to_owned));
        self
    }

    /// MiB of memory.
    #[must_use]
    pub fn memory(self, mib: u32) -> Self {
        self.with(&format!("-m {mib}"))
    }

    /// A disk with the serial number `DISK0`, `DISK1`, …; its monitor name is `dev0`, `dev1`, ….
    #[must_use]
    pub fn disk(self, bus: Bus, file: &Path) -> Self {
        let more = if bus == Bus::Cd { ",media=cdrom,readonly=on" } else { "" };
        let drive = format!("file={},format=raw,cache=unsafe{more}", arg(file));
        self.drive(bus, &drive, "")
    }

    /// A CD or a stick that the machine starts from; what is written to it is forgotten, so machines may share it.
    #[must_use]
    pub fn medium(self, bus: Bus, file: &Path) -> Self {
        let kind = if bus == Bus::Cd { ",media=cdrom,readonly=on" } else { ",snapshot=on" };
        self.drive(bus, &format!("file={},format=raw{kind}", arg(file)), ",bootindex=0")
    }

    /// A disk that takes so many bytes per second when it is written.
    #[must_use]
    pub fn slow_disk(self, bus: Bus, file: &Path, rate: u64) -> Self {
        self.drive(bus, &format!("file={},format=raw,cache=unsafe,throttling.bps-write={rate}", arg(file)), "")
    }

    /// A disk that answers as `rules` say (QEMU: docs/devel/blkdebug.rst), such as `[inject-error]`.
    #[must_use]
    pub fn bad_disk(self, bus: Bus, file: &Path, rules: &str) -> Self {
        let config = self.folder.path().join("blkdebug");
        fs::write(&config, rules).unwrap();
        self.drive(bus, &format!("file=blkdebug:{}:{},format=raw,cache=none", arg(&config), arg(file)), "")
    }

    fn drive(mut self, bus: Bus, drive: &str, more: &str) -> Self {
        let number = self.disks;
        self.disks += 1;
        let (drive_id, id, serial) = (format!("drive{number}"), format!("dev{number}"), format!("DISK{number}"));
        let known = format!("drive={drive_id},id={id},serial={serial}");
        let device = match bus {
            Bus::Virtio => format!("-device virtio-blk-pci,{known}"),
            Bus::Virtio4k => {
                format!("-device virtio-blk-pci,{known},logical_block_size=4096,physical_block_size=4096")
            }
            Bus::Scsi => format!("-device virtio-scsi-pci,id=scsi{number} -device scsi-hd,bus=scsi{number}.0,{known}"),
            Bus::Nvme => format!("-device nvme,{known}"),
            Bus::Nvme4k => format!("-device nvme,{known},logical_block_size=4096,physical_block_size=4096"),
            Bus::Sata => format!("-device ide-hd,{known}"),
            Bus::Usb => format!("-device qemu-xhci,id=xhci{number} -device usb-storage,bus=xhci{number}.0,{known}"),
            Bus::Cd => format!("-device ide-cd,drive={drive_id},id={id}"),
        };
        self.with(&format!("-drive if=none,id={drive_id},{drive} {device}{more}"))
    }

    /// A card of which the firmware knows nothing.
    #[must_use]
    pub fn card(mut self, card: Card) -> Self {
        let number = self.cards;
        self.cards += 1;
        let back = match card {
            Card::Virtio | Card::E1000e => format!("user,id=net{number}"),
            Card::Deaf | Card::Unplugged => format!("hubport,id=net{number},hubid={number}"),
        };
        let model = if card == Card::E1000e { "e1000e" } else { "virtio-net-pci" };
        let mac = mac(number);
        self.with(&format!("-netdev {back} -device {model},netdev=net{number},id=card{number},mac={mac},romfile="))
    }

    /// A card on a tap of `net`, which the machine starts from: with QEMU's iPXE, or with what the firmware has.
    #[must_use]
    pub fn tap(mut self, net: &Net, ipxe: bool) -> Self {
        let number = self.cards;
        self.cards += 1;
        self.net = Some(net.name().to_owned());
        let rom = if ipxe { "" } else { ",romfile=" };
        let (tap, mac) = (net.tap(), mac(number));
        let device = format!("virtio-net-pci,netdev=net{number},id=card{number},mac={mac},bootindex=1{rom}");
        self.with(&format!("-netdev tap,id=net{number},ifname={tap},script=no,downscript=no -device {device}"))
    }

    /// A card behind [`Net::trunk`].
    #[must_use]
    pub fn behind_trunk(mut self, net: &Net) -> Self {
        let number = self.cards;
        self.cards += 1;
        self.net = Some(net.name().to_owned());
        let ((own, peer), mac) = (TRUNK, mac(number));
        let back = format!("socket,id=net{number},udp=127.0.0.1:{own},localaddr=127.0.0.1:{peer}");
        self.with(&format!("-netdev {back} -device virtio-net-pci,netdev=net{number},mac={mac},romfile="))
    }

    /// What OVMF shall not try: it waits 70 s for PXE before it asks by HTTP, and for IPv6 in vain.
    #[must_use]
    pub fn never(self, ways: &[&str]) -> Self {
        ways.iter()
            .fold(self, |machine, way| machine.with(&format!("-fw_cfg name=opt/org.tianocore/{way}Support,string=n")))
    }

    /// Starts a kernel without any firmware's help: `dir` holds the builder's output.
    #[must_use]
    pub fn direct(mut self, dir: &Path, line: &str) -> Self {
        let (kernel, initramfs) = (dir.join("vmlinuz"), dir.join("initramfs.zst"));
        self = self.with(&format!("-kernel {} -initrd {}", arg(&kernel), arg(&initramfs)));
        self.args.extend(["-append".to_owned(), format!("console=ttyS0 panic=-1 {line}")]);
        self
    }

    /// Switches it on.
    #[must_use]
    pub fn start(self) -> Powered {
        let console = self.folder.path().join("console");
        let screen = File::options().append(true).create_new(true).open(&console).unwrap();
        let mut command = Command::new("qemu-system-x86_64");
        if let Some(net) = &self.net {
            command = Command::new("ip");
            command.args(["netns", "exec", net, "qemu-system-x86_64"]);
        }
        command.args(&self.args);
        if self.cards == 0 {
            command.args(["-nic", "none"]);
        }
        command.args(["-chardev", "stdio,id=serial,signal=off", "-serial", "chardev:serial"]);
        let monitor = self.folder.path().join("monitor");
        command.args(["-monitor", &format!("unix:{},server=on,wait=off", arg(&monitor))]);
        let errors = File::create_new(self.folder.path().join("qemu")).unwrap();
        command.stdin(Stdio::piped()).stdout(screen).stderr(errors);
        // blkdebug and snapshots put files there.
        command.env("TMPDIR", self.folder.path());
        let (child, keys) = spawn(&mut command);
        Powered { command, child, keys, folder: self.folder, since: Instant::now(), restarted: false }
    }
}

fn spawn(command: &mut Command) -> (Child, ChildStdin) {
    let mut child = command.spawn().unwrap_or_else(|error| panic!("starting QEMU: {error}"));
    let keys = child.stdin.take().unwrap();
    (child, keys)
}

/// Whether the last that `console` shows is of a kernel that has not come to its first process.
fn is_early(console: &str) -> bool {
    let last = console.lines().last().unwrap_or_default();
    last.starts_with('[') && last.contains("] ") && !console.contains("as init process")
}

/// The address of card `number`.
#[must_use]
pub fn mac(number: usize) -> String {
    format!("52:54:00:00:00:{:02x}", number + 1)
}

impl Powered {
    /// All that the serial console showed, without escape sequences' bytes below space except line ends.
    #[must_use]
    pub fn console(&self) -> String {
        let raw = fs::read(self.folder.path().join("console")).unwrap();
        String::from_utf8_lossy(&raw).chars().filter(|c| *c == '\n' || !c.is_control()).collect()
    }

    /// The first line with `words`, whole: a serial line shows it letter by letter. A prompt has no end of line; it is
    /// whole when nothing came for two seconds.
    ///
    /// # Panics
    /// When it does not come within `limit`.
    #[must_use]
    pub fn waits_for(&mut self, words: &str, limit: Duration) -> String {
        let mut start = Instant::now();
        let mut seen = (String::new(), Instant::now());
        let mut grown = (0, Instant::now());
        loop {
            let console = self.console();
            if console.len() != grown.0 {
                grown = (console.len(), Instant::now());
            }
            if grown.1.elapsed() > STILL && is_early(&console) {
                self.starts_anew();
                start = Instant::now();
            }
            if let Some(line) = console.split_inclusive('\n').find(|line| line.contains(words)) {
                if seen.0 != line {
                    seen = (line.to_owned(), Instant::now());
                }
                if line.ends_with('\n') || seen.1.elapsed() > Duration::from_secs(2) {
                    return line.trim().to_owned();
                }
                std::thread::sleep(Duration::from_millis(100));
                continue;
            }
            let ended = self.child.try_wait().unwrap().is_some();
            let lines: Vec<&str> = console.lines().collect();
            let last = lines[lines.len().saturating_sub(25)..].join("\n");
            let qemu = fs::read_to_string(self.folder.path().join("qemu")).unwrap_or_default();
            assert!(!ended, "{words:?} did not come before the machine ended: {qemu}\n{last}");
            assert!(start.elapsed() < limit, "{words:?} did not come within {limit:?}: {qemu}\n{last}");
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Off and on again, once: a second time the fault may be ours.
    fn starts_anew(&mut self) {
        assert!(!self.restarted, "the kernel stood still twice: {}", self.console());
        self.restarted = true;
        let _ = self.child.kill();
        let _ = self.child.wait();
        (self.child, self.keys) = spawn(&mut self.command);
        let mark = "the emulator stood still before the first process and was started anew";
        eprintln!("{mark}");
        let mut console = File::options().append(true).open(self.folder.path().join("console")).unwrap();
        writeln!(console, "\n{mark}").unwrap();
    }

    /// Whether it stood still and was started anew.
    #[must_use]
    pub fn restarted(&self) -> bool {
        self.restarted
    }

    /// Waits until it has switched itself off, or restarted under `-no-reboot`.
    ///
    /// # Panics
    /// When it has not within `limit`.
    pub fn goes_off(&mut self, limit: Duration) {
        let start = Instant::now();
        while self.child.try_wait().unwrap().is_none() {
            assert!(start.elapsed() < limit, "the machine is still on after {limit:?}: {}", self.console());
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Types on its serial line.
    pub fn types(&mut self, text: &str) {
        self.keys.write_all(text.as_bytes()).and_then(|()| self.keys.flush()).unwrap();
    }

    /// Presses keys of its keyboard, one after the other, as QEMU names them: `down`, `ret`, `a`.
    pub fn presses(&self, keys: &[&str]) {
        for key in keys {
            self.monitor(&format!("sendkey {key}"));
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    /// Says `command` to QEMU's monitor.
    pub fn monitor(&self, command: &str) {
        let path = self.folder.path().join("monitor");
        let start = Instant::now();
        let mut socket = loop {
            match UnixStream::connect(&path) {
                Ok(socket) => break socket,
                Err(error) => assert!(start.elapsed() < Duration::from_secs(20), "talking to QEMU: {error}"),
            }
            std::thread::sleep(Duration::from_millis(50));
        };
        socket.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
        socket.write_all(format!("{command}\n").as_bytes()).unwrap();
        let mut answer = Vec::new();
        let _ = socket.read_to_end(&mut answer);
    }

    /// Since it was switched on.
    #[must_use]
    pub fn age(&self) -> Duration {
        self.since.elapsed()
    }

    /// Its folder, with the console's log in it.
    #[must_use]
    pub fn folder(&self) -> PathBuf {
        self.folder.path().to_owned()
    }
}

impl Drop for Powered {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
