//! Does it start at all? One virtual machine, emulated.
//!
//! In: a build with an agent that looks around and powers off. Out: passed or failed tests.
//! Promise: QEMU is ended by its own exit or by this test's limit.

use crate::common::{Yard, arg};
use std::process::Command;

#[test]
fn debians_kernel_unpacks_the_initramfs_and_runs_the_agent() {
    let yard = Yard::new();
    let out = yard.built("out", &["--only", "initramfs"]);
    let mut qemu = Command::new("timeout");
    qemu.args(["120", "qemu-system-x86_64", "-accel", "tcg,thread=multi", "-m", "256", "-nic", "none", "-no-reboot"]);
    qemu.args(["-display", "none", "-monitor", "none", "-serial", "stdio"]);
    qemu.args(["-kernel", arg(&out.join("vmlinuz")), "-initrd", arg(&out.join("initramfs.zst"))]);
    let output = qemu.args(["-append", "console=ttyS0 panic=-1"]).stdin(std::process::Stdio::null()).output().unwrap();
    let console = String::from_utf8_lossy(&output.stdout);
    let line = console.lines().find(|line| line.contains("LOOKED")).unwrap_or_else(|| panic!("{console}"));
    assert_eq!(line.trim(), "LOOKED modprobe=/init null=1 busybox=0");
    assert!(console.contains("Run /init as init process"));
}
