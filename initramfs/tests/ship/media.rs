//! UKI and ISO, judged by binutils, sbsigntool, xorriso and mtools.
//!
//! In: builds. Out: passed or failed tests.
//! Promise: what is on a medium is what the build made, where firmware and the agent look for it.

use crate::common::{Yard, arg, kernel, run};
use std::fs;
use std::path::Path;

const LINE: &str = "console=ttyS0 clone.mode=wait";

#[test]
fn the_uki_has_its_sections_and_they_hold_what_they_should() {
    let yard = Yard::new();
    let out = yard.built("out", &["--only", "uki", "--cmdline", LINE]);
    let uki = out.join("ramet.efi");
    let headers = run("objdump", &["-h", arg(&uki)]);
    let mut sections: Vec<(String, u64, u64, u64)> = Vec::new();
    for line in headers.lines() {
        let fields: Vec<&str> = line.split_whitespace().collect();
        if let [index, name, size, address, _, offset, _] = fields[..]
            && index.parse::<u32>().is_ok()
        {
            let number = |text: &str| u64::from_str_radix(text, 16).unwrap();
            sections.push((name.to_owned(), number(size), number(address), number(offset)));
        }
    }
    sections.sort_by_key(|section| section.2);
    for pair in sections.windows(2) {
        assert!(pair[0].2 + pair[0].1 <= pair[1].2, "{pair:?} overlap in memory");
    }
    sections.sort_by_key(|section| section.3);
    for pair in sections.windows(2) {
        assert!(pair[0].3 + pair[0].1 <= pair[1].3, "{pair:?} overlap in the file");
    }
    let content = |name: &str| {
        let file = yard.path("section");
        run("objcopy", &["--dump-section", &format!("{name}={}", arg(&file)), arg(&uki), arg(&yard.path("copy.efi"))]);
        fs::read(file).unwrap()
    };
    assert!(content(".linux").starts_with(&fs::read(kernel().vmlinuz()).unwrap()));
    assert!(content(".initrd").starts_with(&fs::read(out.join("initramfs.zst")).unwrap()));
    let text = |name: &str| String::from_utf8(content(name)).unwrap().trim_end_matches('\0').to_owned();
    assert_eq!(text(".cmdline"), LINE);
    assert_eq!(text(".uname"), kernel().version);
    assert!(text(".osrel").contains("VERSION_ID=9.8.7-test\n"));
}

#[test]
fn a_signed_uki_verifies_with_its_certificate_and_with_no_other() {
    let yard = Yard::new();
    let pair = |name: &str| {
        let (key, cert) = (yard.path(&format!("{name}.key")), yard.path(&format!("{name}.pem")));
        let subject = format!("/CN={name}");
        let args = [
            "req",
            "-x509",
            "-newkey",
            "rsa:2048",
            "-nodes",
            "-subj",
            &subject,
            "-keyout",
            arg(&key),
            "-out",
            arg(&cert),
        ];
        run("openssl", &args);
        (key, cert)
    };
    let ((key, cert), (_, other)) = (pair("mine"), pair("other"));
    let out = yard.built("out", &["--only", "uki", "--sign", arg(&key), arg(&cert)]);
    let uki = out.join("ramet.efi");
    assert!(run("sbverify", &["--cert", arg(&cert), arg(&uki)]).contains("Signature verification OK"));
    let foreign = std::process::Command::new("sbverify").args(["--cert", arg(&other), arg(&uki)]).output().unwrap();
    assert!(!foreign.status.success());
    let mixed = yard.build("mixed", &["--only", "uki", "--sign", arg(&key), arg(&other)]);
    assert_eq!(mixed.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&mixed.stderr).contains("signing ramet.efi") && !yard.path("mixed").exists());
}

/// Takes a file out of the ISO.
fn extract(yard: &Yard, iso: &Path, name: &str) -> Vec<u8> {
    let target = yard.path("extracted");
    let _ = fs::remove_file(&target);
    run("xorriso", &["-no_rc", "-osirrox", "on", "-indev", arg(iso), "-extract", name, arg(&target)]);
    fs::read(target).unwrap()
}

#[test]
fn the_iso_holds_what_the_build_made_and_its_settings_and_only_it_holds_the_token() {
    let yard = Yard::new();
    let token = yard.file("token", "rmt_s3cret\n");
    let out = yard.built("out", &["--token-file", arg(&token), "--server", "https://10.0.0.1:1", "--cmdline", LINE]);
    let iso = out.join("ramet.iso");
    let list = run("xorriso", &["-no_rc", "-indev", arg(&iso), "-find", "/", "-type", "f"]);
    let mut names: Vec<&str> = list.lines().map(|line| line.trim_matches('\'')).collect();
    names.retain(|name| !name.starts_with("/.disk/"));
    names.sort_unstable();
    let wanted = "/EFI/BOOT/BOOTX64.EFI /EFI/BOOT/grubx64.efi /EFI/BOOT/mmx64.efi /EFI/debian/grub.cfg /boot/grub/efi.img \
        /boot/grub/grub.cfg /boot/initramfs.zst /boot/vmlinuz /isolinux/isolinux.bin /isolinux/isolinux.cfg \
        /isolinux/ldlinux.c32 /isolinux/libcom32.c32 /isolinux/libutil.c32 /isolinux/menu.c32 /ramet/medium.json /ramet/ramet.conf";
    assert_eq!(names, wanted.split_whitespace().collect::<Vec<_>>());
    assert!(run("xorriso", &["-no_rc", "-indev", arg(&iso), "-pvd_info"]).contains("Volume Id    : RAMET\n"));
    let torito =
        run("xorriso", &["-no_rc", "-indev", arg(&iso), "-report_el_torito", "plain", "-report_system_area", "plain"]);
    for words in ["BIOS", "UEFI", "MBR", "GPT"] {
        assert!(torito.contains(words), "{words}: {torito}");
    }
    assert!(extract(&yard, &iso, "/boot/vmlinuz") == fs::read(out.join("vmlinuz")).unwrap());
    assert!(extract(&yard, &iso, "/boot/initramfs.zst") == fs::read(out.join("initramfs.zst")).unwrap());
    assert!(extract(&yard, &iso, "/EFI/BOOT/BOOTX64.EFI") == fs::read(out.join("shimx64.efi")).unwrap());
    assert_eq!(extract(&yard, &iso, "/ramet/ramet.conf"), b"clone.token=rmt_s3cret\n");
    let text = |name: &str| String::from_utf8(extract(&yard, &iso, name)).unwrap();
    assert!(text("/isolinux/isolinux.cfg").contains(&format!("APPEND {LINE}\n")));
    assert!(text("/boot/grub/grub.cfg").contains("linux /boot/vmlinuz 'console=ttyS0' 'clone.mode=wait'\n"));
    let medium: serde_json::Value = serde_json::from_str(&text("/ramet/medium.json")).unwrap();
    let id = medium["id"].as_str().unwrap();
    assert_eq!(id.len(), 64);

    // The partition that UEFI starts from: clean, with shim, and a GRUB that looks for exactly this medium.
    fs::write(yard.path("esp"), extract(&yard, &iso, "/boot/grub/efi.img")).unwrap();
    let esp = yard.path("esp");
    run("fsck.vfat", &["-n", arg(&esp)]);
    run("mcopy", &["-i", arg(&esp), "::/EFI/BOOT/BOOTX64.EFI", arg(&yard.path("shim"))]);
    assert!(fs::read(yard.path("shim")).unwrap() == fs::read(out.join("shimx64.efi")).unwrap());
    let first = run("mtype", &["-i", arg(&esp), "::/EFI/debian/grub.cfg"]);
    let marker = format!("/.disk/{}", &id[..16]);
    assert!(first.contains(&marker) && list.contains(&format!("'{marker}'")), "{first}{list}");

    let root = yard.unpack(&out);
    assert_eq!(fs::read_to_string(root.join("etc/ramet/ramet.conf")).unwrap(), "clone.server=https://10.0.0.1:1\n");
    let report: serde_json::Value = serde_json::from_slice(&fs::read(out.join("build.json")).unwrap()).unwrap();
    assert_eq!(report["token"], true);
    run(
        "bash",
        &["-ec", "! zstd -dcq \"$1/initramfs.zst\" | grep -q s3cret", "grep", arg(&root.parent().unwrap().join("out"))],
    );
    run("bash", &["-ec", "cd \"$1\"; test \"$(grep -lr s3cret .)\" = ./ramet.iso", "grep", arg(&out)]);
}
