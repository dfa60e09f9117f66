//! What is refused, and what is said then.
//!
//! In: agents, kernels, settings that do not do. Out: passed or failed tests.
//! Promise: a refusal has status 2, names what to do, and has not touched the output folder.

use crate::common::{Yard, arg, compile, kernel, run};
use std::fs;
use std::path::PathBuf;
use std::process::Output;

/// The build was refused with all of `words`, and `out` is not there.
fn refused(yard: &Yard, output: &Output, words: &[&str]) {
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    for word in words {
        assert!(said.contains(word), "{word:?} is not in {said:?}");
    }
    assert!(!yard.path("out").exists(), "{said}");
}

#[test]
fn an_agent_that_would_not_run_alone() {
    let yard = Yard::new();
    let agent = |path: &str| yard.build("out", &["--only", "initramfs", "--agent", path]);
    refused(&yard, &agent("/bin/ls"), &["linked dynamically", "x86_64-unknown-linux-musl"]);
    let other = compile(yard.dir.path(), "other", "int main(void) { return 0; }", "musl-gcc", &["-static"]);
    refused(&yard, &agent(arg(&other)), &["not 'ramet-agent VERSION'"]);
    let script =
        yard.file("script", "#!/bin/sh\necho ramet-agent 0.1.0\n# long enough for a header, and more than that\n");
    refused(&yard, &agent(arg(&script)), &["no ELF-64 file"]);
    let object = yard.path("object.o");
    run("musl-gcc", &["-c", "-o", arg(&object), arg(&yard.path("other.c"))]);
    refused(&yard, &agent(arg(&object)), &["x86-64"]);
    let mut cut = fs::read(&yard.agent).unwrap();
    cut.truncate(80);
    fs::write(yard.path("cut"), cut).unwrap();
    refused(&yard, &agent(arg(&yard.path("cut"))), &["do not fit"]);
    let missing = agent(arg(&yard.path("nowhere")));
    assert_eq!(missing.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&missing.stderr).contains("nowhere: No such file"));
}

/// Builds with a configuration of the kernel.
fn with_config(yard: &Yard, text: &str) -> Output {
    let config = yard.file("config", text);
    yard.build("out", &["--only", "initramfs", "--kernel-config", arg(&config)])
}

#[test]
fn a_kernel_that_cannot_unpack_zstd_or_does_not_say_so() {
    let yard = Yard::new();
    let good = fs::read_to_string(kernel().root.join("boot").join(format!("config-{}", kernel().version))).unwrap();
    for option in ["CONFIG_RD_ZSTD", "CONFIG_BLK_DEV_INITRD", "CONFIG_DEVTMPFS"] {
        let without = good.replace(&format!("{option}=y\n"), &format!("# {option} is not set\n"));
        assert_ne!(without, good);
        refused(&yard, &with_config(&yard, &without), &[&format!("no {option}=y"), "Debian's kernel"]);
    }
    let alone = yard.path("vmlinuz");
    fs::copy(kernel().vmlinuz(), &alone).unwrap();
    let modules = kernel().modules();
    let args = ["--kernel", arg(&alone), "--modules", arg(&modules), "--only", "initramfs"];
    refused(&yard, &yard.run("out", &args), &["nobody knows whether it unpacks zstd", "--kernel-config"]);
}

#[test]
fn what_is_no_kernel_or_has_other_modules() {
    let yard = Yard::new();
    let modules = kernel().modules();
    let image = |path: &PathBuf| yard.run("out", &["--kernel", arg(path), "--modules", arg(&modules)]);
    refused(&yard, &image(&yard.file("text", "no kernel")), &["no bzImage"]);
    let kernel_image = kernel().vmlinuz();
    refused(&yard, &yard.run("out", &["--kernel", arg(&kernel_image)]), &["add --modules"]);
    refused(&yard, &yard.run("out", &["--kernel", "0.1.2-none"]), &["no boot/vmlinuz-0.1.2-none", "apt-get download"]);

    let foreign = yard.path("foreign");
    fs::create_dir_all(foreign.join("kernel/fs/ext4")).unwrap();
    let mut ext4 = fs::read(kernel().modules().join("kernel/fs/ext4/ext4.ko")).unwrap();
    let magic = format!("vermagic={}", kernel().version);
    let at = ext4.windows(magic.len()).position(|window| window == magic.as_bytes()).unwrap();
    ext4[at + 9] = b'9';
    fs::write(foreign.join("kernel/fs/ext4/ext4.ko"), ext4).unwrap();
    for name in ["modules.builtin", "modules.builtin.modinfo"] {
        fs::copy(kernel().modules().join(name), foreign.join(name)).unwrap();
    }
    let with = |folder: &PathBuf| yard.run("out", &["--kernel", arg(&kernel_image), "--modules", arg(folder)]);
    refused(&yard, &with(&foreign), &["is for kernel 9", &format!("the kernel is {}", kernel().version)]);
    fs::remove_dir_all(foreign.join("kernel")).unwrap();
    refused(&yard, &with(&foreign), &["there is no module"]);

    let empty = yard.path("empty");
    fs::create_dir_all(empty.join("DEBIAN")).unwrap();
    fs::write(
        empty.join("DEBIAN/control"),
        "Package: x\nVersion: 1\nArchitecture: all\nMaintainer: x <x@x>\nDescription: x\n",
    )
    .unwrap();
    let package = yard.path("meta.deb");
    run("dpkg-deb", &["-b", arg(&empty), arg(&package)]);
    refused(&yard, &yard.run("out", &["--kernel", arg(&package)]), &["0 files boot/vmlinuz-*", "linux-image-VERSION"]);
    let firmware = yard.build("out", &["--firmware", arg(&package)]);
    refused(&yard, &firmware, &["no folder lib/firmware", "firmware-bnx2"]);
}

#[test]
fn a_module_that_is_missing() {
    let yard = Yard::new();
    let unknown = yard.build("out", &["--module", "nvmee"]);
    refused(&yard, &unknown, &["missing, as a module and in modules.builtin: nvmee", "--module"]);
    let folder = yard.path("modules");
    run("cp", &["-r", arg(&kernel().modules()), arg(&folder)]);
    fs::remove_file(folder.join("kernel/fs/jbd2/jbd2.ko")).unwrap();
    fs::remove_file(folder.join("kernel/drivers/nvme/host/nvme.ko")).unwrap();
    let image = kernel().vmlinuz();
    let output = yard.run("out", &["--kernel", arg(&image), "--modules", arg(&folder), "--set", "vm"]);
    refused(&yard, &output, &["jbd2 (wanted by kernel/fs/ext4/ext4.ko)", ", nvme"]);
}

#[test]
fn a_token_anywhere_but_on_the_iso() {
    let yard = Yard::new();
    let token = yard.file("token", "rmt_s3cret\n");
    let conf = yard.file("conf", "clone.token=rmt_s3cret\n");
    for only in ["initramfs", "uki", "netboot", "initramfs,uki"] {
        refused(
            &yard,
            &yard.build("out", &["--only", only, "--token-file", arg(&token)]),
            &["only ramet.iso may hold one"],
        );
    }
    refused(&yard, &yard.build("out", &["--only", "uki", "--conf", arg(&conf)]), &["only ramet.iso may hold one"]);
    let line = yard.build("out", &["--cmdline", "quiet clone.token=rmt_s3cret"]);
    refused(&yard, &line, &["everybody can read it", "--token-file"]);
    assert!(!String::from_utf8_lossy(&line.stderr).contains("s3cret"));
}

#[test]
fn settings_that_the_agent_would_not_understand() {
    let yard = Yard::new();
    let with = |option: &str, value: &str| yard.build("out", &["--only", "initramfs", option, value]);
    refused(&yard, &with("--key", "sha256:12"), &["clone.key", "64 hex digits"]);
    refused(&yard, &with("--server", "http://a"), &["clone.server", "https://HOST:PORT"]);
    refused(&yard, &with("--cmdline", "clone.sever=https://a"), &["did you mean clone.server?"]);
    refused(&yard, &with("--cmdline", "a\nb"), &["one line"]);
    refused(&yard, &with("--conf", arg(&yard.file("conf", "mode=erase\n"))), &["clone.mode=erase", "conf"]);
    let store = yard.build("out", &["--only", "uki", "--with-image", "web", "--store", "/nowhere"]);
    refused(&yard, &store, &["only ramet.iso has room"]);
}

#[test]
fn wrong_usage_has_its_own_status() {
    let yard = Yard::new();
    for args in [
        &["--set", "huge"][..],
        &["--only", "floppy"],
        &["--level", "22"],
        &["--sign", "key"],
        &["--with-image", "web"],
        &["--sign", "k", "c", "--only", "iso"],
        &["--nonsense"],
    ] {
        let output = yard.build("out", args);
        assert_eq!(output.status.code(), Some(3), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        assert!(!yard.path("out").exists());
    }
}
