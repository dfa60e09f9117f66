//! Network boot, by real firmware: each way from the card to the kernel, with the real dnsmasq and the real server.
//!
//! In: Debian's kernel, unmodified; an initramfs that ends at once. Out: the kernel's line on the serial console.
//! Promise: the oracle is the machine: what it started, it was told by this server.

#![allow(clippy::unwrap_used)]

use ramet_tests::bins::bins;
use ramet_tests::net::{BRIDGE, Daemon, HOST, Net};
use ramet_tests::tool::{arg, feed, run};
use ramet_tests::vm::{Firmware, Machine};
use ramet_wire::id::{hex, sha256};
use std::path::{Path, PathBuf};
use std::time::Duration;

const MAC: &str = "52:54:00:77:00:01";

/// Debian's kernel, as `scripts/boot-files` has unpacked it.
fn kernel() -> PathBuf {
    let folder = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../target/kernels"));
    let packages = std::fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok);
    let boots = packages.filter_map(|package| std::fs::read_dir(package.path().join("boot")).ok());
    let mut files = boots.flatten().filter_map(Result::ok).map(|entry| entry.path());
    let found = files.find(|file| file.file_name().is_some_and(|name| name.to_string_lossy().starts_with("vmlinuz")));
    found.expect("a kernel in target/kernels; `scripts/boot-files OUT` fetches one")
}

/// A build whose initramfs has an /init that no kernel can run: that it tries proves that it got it.
fn build(folder: &Path) {
    let sources = [
        ("undionly.kpxe", "/usr/lib/ipxe/undionly.kpxe"),
        ("snponly.efi", "/usr/lib/ipxe/snponly.efi"),
        ("shimx64.efi", "/usr/lib/shim/shimx64.efi.signed"),
        ("mmx64.efi", "/usr/lib/shim/mmx64.efi.signed"),
        ("grubx64.efi", "/usr/lib/grub/x86_64-efi-signed/grubnetx64.efi.signed"),
    ];
    for (name, source) in sources {
        std::fs::copy(source, folder.join(name)).unwrap_or_else(|error| panic!("copying {source}: {error}"));
    }
    std::fs::copy(kernel(), folder.join("vmlinuz")).unwrap();
    let root = folder.join("root");
    std::fs::create_dir(&root).unwrap();
    std::fs::write(root.join("init"), "no program").unwrap();
    run("chmod", &["755", arg(&root.join("init"))]);
    let cpio = folder.join("initramfs");
    feed("cpio", &["--quiet", "-o", "-H", "newc", "-D", arg(&root), "-F", arg(&cpio)], "init\n");
    run("zstd", &["-q", "--rm", arg(&cpio), "-o", arg(&folder.join("initramfs.zst"))]);
    let names = sources.iter().map(|(name, _)| *name).chain(["vmlinuz", "initramfs.zst"]);
    let files: serde_json::Map<String, serde_json::Value> = names
        .map(|name| {
            let bytes = std::fs::read(folder.join(name)).unwrap();
            (name.to_owned(), serde_json::json!({ "size": bytes.len(), "sha256": hex(&sha256(&bytes)) }))
        })
        .collect();
    let build = serde_json::json!({ "version": "0.1.0", "built": 1, "kernel": "6.1", "files": files, "token": false });
    std::fs::write(folder.join("build.json"), build.to_string()).unwrap();
}

/// A server in the namespace, with a build and one armed machine.
fn serve(net: &Net) -> Daemon {
    let state = net.folder().join("state");
    let mut command = net.command(arg(&bins().server));
    command.args(["serve", "--state", arg(&state), "--listen", &format!("{HOST}:4433")]);
    command.args(["--boot-listen", &format!("{HOST}:4480"), "--tftp", &format!("{HOST}:69")]);
    let server = net.start("ramet", &mut command);
    server.expect("boot files on tftp://", Duration::from_secs(60));
    let folder = net.folder().join("build");
    std::fs::create_dir(&folder).unwrap();
    build(&folder);
    ramet(net, &["boot", "install", arg(&folder)]);
    server
}

fn ramet(net: &Net, args: &[&str]) {
    let state = net.folder().join("state");
    let mut command = net.command(arg(&bins().server));
    let said = command.args(args).args(["--state", arg(&state)]).output().unwrap();
    assert!(said.status.success(), "ramet {args:?}: {}", String::from_utf8_lossy(&said.stderr));
}

fn dnsmasq(net: &Net, options: &[&str]) -> Daemon {
    let mut command = net.command(arg(&bins().server));
    let url = format!("http://{HOST}:4480");
    command.args(["netboot", "dnsmasq", "--interface", BRIDGE, "--boot-url", &url]).args(options);
    let said = command.output().unwrap();
    assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
    net.dnsmasq(&String::from_utf8(said.stdout).unwrap())
}

/// Starts a machine of this kind; it must come to the kernel with the line that the server rendered.
fn boots(net: &Net, name: &str, firmware: Firmware, dhcp: &[&str], rom: bool, change: fn(&mut Machine)) {
    let dhcp = dnsmasq(net, dhcp);
    let mut machine = Machine::new(firmware, 768);
    machine.card(net, "virtio-net-pci", MAC, rom).add(&["-boot", "n"]);
    change(&mut machine);
    let mut vm = machine.start(net);
    let late = Duration::from_secs(300);
    let line = vm.expect("clone.mode=restore", late);
    let init = vm.expect("Run /init as init process", late);
    let text = vm.text();
    for words in ["clone.image=web", "clone.server=https://10.77.0.1:4433", "clone.key=sha256:", "clone.confirm=yes"] {
        assert!(text.contains(words), "{name}: {words} is not in the kernel's line");
    }
    eprintln!("{name}: kernel's line after {line:.1} s, init after {init:.1} s");
    drop(vm);
    drop(dhcp);
}

fn with_server(test: impl FnOnce(&Net)) {
    let net = Net::new();
    let server = serve(&net);
    ramet(&net, &["netboot", "arm", MAC, "--mode", "restore", "--image", "web", "--once"]);
    test(&net);
    assert!(!server.log().contains("ERROR"), "{}", server.log());
}

#[test]
#[ignore = "virtual machines"]
fn bios_ipxe_starts_what_the_card_is_armed_with() {
    with_server(|net| boots(net, "BIOS iPXE", Firmware::Bios, &[], true, |_| {}));
}

#[test]
#[ignore = "virtual machines"]
fn uefi_ipxe_starts_what_the_card_is_armed_with() {
    with_server(|net| boots(net, "UEFI iPXE", Firmware::Uefi, &["--uefi", "ipxe"], false, |_| {}));
}

#[test]
#[ignore = "virtual machines"]
fn uefi_http_starts_what_the_card_is_armed_with() {
    let only_http = |machine: &mut Machine| {
        machine.only_http();
    };
    with_server(|net| boots(net, "UEFI HTTP", Firmware::Uefi, &[], false, only_http));
}

#[test]
#[ignore = "virtual machines"]
fn secure_boot_over_tftp_starts_what_the_card_is_armed_with() {
    with_server(|net| boots(net, "Secure Boot", Firmware::Secure, &[], false, |_| {}));
}

/// A disk whose first sector says so on the serial line.
fn talking_disk(net: &Net) -> PathBuf {
    let file = net.folder().join("disk.img");
    let mut disk = vec![0; 1 << 20];
    // ds = 0; each byte of the text at 7c16 goes to port 3f8; then halt.
    let code =
        b"\x31\xc0\x8e\xd8\xfc\xba\xf8\x03\xbe\x16\x7c\xac\x84\xc0\x74\x03\xee\xeb\xf8\xf4\xeb\xfdDISK-STARTED\r\n\0";
    disk[..code.len()].copy_from_slice(code);
    disk[510..512].copy_from_slice(&[0x55, 0xaa]);
    std::fs::write(&file, disk).unwrap();
    file
}

/// A BIOS machine that tries the network first; seconds until its disk starts.
fn starts_its_disk(net: &Net, name: &str, dhcp: &[&str]) -> f64 {
    let dhcp = dnsmasq(net, dhcp);
    let mut machine = Machine::new(Firmware::Bios, 256);
    machine.card(net, "virtio-net-pci", MAC, true).disk(&talking_disk(net), "").add(&["-boot", "nc"]);
    let mut vm = machine.start(net);
    let seconds = vm.expect("DISK-STARTED", Duration::from_secs(120));
    eprintln!("{name}: its disk after {seconds:.1} s");
    drop((vm, dhcp));
    seconds
}

#[test]
#[ignore = "virtual machines"]
fn a_machine_with_nothing_to_do_starts_its_disk() {
    let net = Net::new();
    let server = serve(&net);
    starts_its_disk(&net, "nothing to do", &[]);
    assert!(server.log().contains("/mac/52-54-00-77-00-01.ipxe"), "{}", server.log());
}

#[test]
#[ignore = "virtual machines"]
fn a_network_first_machine_starts_its_disk_within_a_minute_when_the_server_is_down() {
    let net = Net::new();
    let seconds = starts_its_disk(&net, "server stopped", &[]);
    assert!(seconds < 60.0, "{seconds}");
    // The first script lies with dnsmasq; it names a server whose machine is off.
    let state = net.folder().join("state");
    let mut command = net.command(arg(&bins().server));
    command.args(["serve", "--state", arg(&state), "--listen", &format!("{HOST}:4433"), "--boot-listen"]);
    let server = net.start("ramet", command.args([&format!("{HOST}:4480"), "--boot-url", "http://10.77.0.9:4480"]));
    server.expect("boot files on http://", Duration::from_secs(60));
    let root = net.folder().join("tftp");
    std::fs::create_dir(&root).unwrap();
    let url = format!("http://{HOST}:4480/boot.ipxe");
    let mut curl = net.command("curl");
    assert!(curl.args(["-fsSo", arg(&root.join("boot.ipxe")), &url]).status().unwrap().success());
    drop(server);
    let seconds = starts_its_disk(&net, "server off, first script from dnsmasq", &["--tftp-root", arg(&root)]);
    assert!(seconds < 60.0, "{seconds}");
}
