//! A clone says once that it has booted.
//!
//! In: a tree; a program and its order. Out: a unit that systemd starts when the network is there; later nothing of it.
//! Promise: the token lies in one file that only root reads; what was installed is removed without a trace.

use crate::assemble::fstab;
use crate::root::{How, Root, RootError};
use ramet_wire::adapt::{Change, FirstBoot};
use std::path::Path;

/// The unit's name.
pub const UNIT: &str = "ramet-first-boot.service";
/// The program that it starts.
pub const PROGRAM: &str = "/var/lib/ramet/first-boot";
/// The order that the program reads: a [`FirstBoot`] as JSON.
pub const ORDER: &str = "/var/lib/ramet/first-boot.json";
/// The folder of both, and of the name of the restore.
const FOLDER: &str = "/var/lib/ramet";
/// Largest program, in bytes.
const PROGRAM_MAX: usize = 256 << 20;
/// Largest order, in bytes.
const ORDER_MAX: u64 = 64 << 10;
const UNITS: &str = "/etc/systemd/system";
const SAY: &str = "tells the server once that this clone has booted";

/// Why a clone will not call.
#[derive(Debug, thiserror::Error)]
pub enum FirstBootError {
    /// It is started by something else.
    #[error("the system is not started by systemd: /sbin/init is {init}")]
    Init {
        /// What it is.
        init: String,
    },
    /// Programs there are not run.
    #[error("{path} is mounted noexec by the system, and {PROGRAM} could not run")]
    Noexec {
        /// The mount point.
        path: String,
    },
    /// The program is none.
    #[error("the program has {0} bytes, 1 to {PROGRAM_MAX} are allowed")]
    Size(usize),
    /// A file is a trap, or does not let itself be read or written.
    #[error("changing the system's files")]
    Tree(#[from] RootError),
    /// The order is none.
    #[error("reading {ORDER}")]
    Order(#[source] serde_json::Error),
}

/// Stages that `program`, started as `first-boot ARGUMENT…` by systemd, does what `order` says. [`Root::commit`] writes it.
///
/// # Errors
/// [`FirstBootError`].
pub fn install(root: &mut Root, program: &[u8], arguments: &[&str], order: &FirstBoot) -> Result<(), FirstBootError> {
    if !(1..=PROGRAM_MAX).contains(&program.len()) {
        return Err(FirstBootError::Size(program.len()));
    }
    check_init(root)?;
    check_executable(root)?;
    root.mkdir(FOLDER, 0o700, (0, 0))?;
    let owner = Some((0, 0));
    // systemd of SELinux systems starts programs only that bear the label of programs.
    let label_of =
        ["/usr/bin/true", "/usr/bin/sh", "/bin/sh"].into_iter().find(|path| root.is_file(path).unwrap_or(false));
    let how = How { say: SAY, mode: Some(0o700), owner, label_of, ..How::default() };
    root.write(PROGRAM, program, &how)?;
    let text = serde_json::to_string(order).map_err(FirstBootError::Order)? + "\n";
    let how = How { say: SAY, mode: Some(0o600), owner, secret: true, ..How::default() };
    root.write(ORDER, text.as_bytes(), &how)?;
    let how = How { say: SAY, mode: Some(0o644), owner, ..How::default() };
    root.write(format!("{UNITS}/{UNIT}"), unit(arguments).as_bytes(), &how)?;
    root.link(format!("{UNITS}/multi-user.target.wants/{UNIT}"), format!("{UNITS}/{UNIT}"), SAY)?;
    Ok(())
}

/// Not `Type=oneshot`: systemd before 244 refuses to restart those.
fn unit(arguments: &[&str]) -> String {
    let words: String = arguments.iter().map(|argument| format!(" {argument}")).collect();
    format!(
        "[Unit]\nDescription=Tell the Ramet server that this clone has booted\nWants=network-online.target\n\
         After=network-online.target sshd.service ssh.service\nConditionPathExists={ORDER}\nStartLimitIntervalSec=0\n\n\
         [Service]\nType=simple\nExecStart={PROGRAM}{words}\nRestart=on-failure\nRestartSec=15\n\n\
         [Install]\nWantedBy=multi-user.target\n"
    )
}

fn check_init(root: &Root) -> Result<(), FirstBootError> {
    let init = root.real("/sbin/init")?;
    let there = root.lstat("/sbin/init")?.is_some();
    let systemd = ["/usr/lib/systemd/systemd", "/lib/systemd/systemd"];
    let has = systemd.iter().any(|path| root.is_file(path).unwrap_or(false));
    let by_name = init.file_name().is_some_and(|name| name == "systemd");
    if has && (by_name || !there) {
        return Ok(());
    }
    let init = if there { init.display().to_string() } else { "not there".to_owned() };
    Err(FirstBootError::Init { init })
}

fn check_executable(root: &Root) -> Result<(), FirstBootError> {
    let entries = fstab::parse(&root.text("/etc/fstab")?.unwrap_or_default());
    let nearest = entries
        .iter()
        .filter(|entry| Path::new(PROGRAM).starts_with(&entry.path))
        .max_by_key(|entry| entry.path.components().count());
    match nearest {
        Some(entry) if entry.options.iter().any(|option| option == "noexec") => {
            Err(FirstBootError::Noexec { path: entry.path.display().to_string() })
        }
        _ => Ok(()),
    }
}

/// What the program in a booted clone shall do; none: nothing is left to do.
///
/// # Errors
/// [`FirstBootError::Order`], [`FirstBootError::Tree`].
pub fn order(root: &Root) -> Result<Option<FirstBoot>, FirstBootError> {
    let Some(bytes) = root.read(ORDER, ORDER_MAX)? else { return Ok(None) };
    serde_json::from_slice(&bytes).map(Some).map_err(FirstBootError::Order)
}

/// Stages that nothing of it is there.
///
/// # Errors
/// [`RootError`].
pub fn stage_removal(root: &mut Root) -> Result<(), RootError> {
    let say = "what told the server of the first boot";
    for path in [format!("{UNITS}/multi-user.target.wants/{UNIT}"), format!("{UNITS}/{UNIT}"), FOLDER.to_owned()] {
        root.remove(path, say)?;
    }
    Ok(())
}

/// Removes unit, program, order and folder: the program calls this with its own `/` when it has been heard. The running
/// program goes on; systemd forgets the unit when it next reads its files.
///
/// # Errors
/// [`RootError`].
pub fn leave_no_trace(root: &mut Root) -> Result<Vec<Change>, RootError> {
    stage_removal(root)?;
    root.commit()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Mounted, listing, plant, run};
    use std::os::unix::fs::PermissionsExt as _;

    const SYSTEMD: &[(&str, u32, &str)] = &[
        ("usr/lib/systemd/systemd", 0o755, "init"),
        ("sbin/init", 0, "-> ../usr/lib/systemd/systemd"),
        ("usr/bin/true", 0o755, "true"),
        ("etc/systemd/system/multi-user.target.wants/", 0o755, ""),
        ("var/lib/", 0o755, ""),
    ];

    fn wanted() -> FirstBoot {
        FirstBoot {
            server: "https://ramet.example:7471".into(),
            key: ramet_wire::Fingerprint::of(b"a key"),
            token: "t0p-s3cret".into(),
        }
    }

    #[test]
    fn it_is_installed_readable_by_root_only_and_leaves_no_trace() {
        for kind in ["ext4", "btrfs"] {
            let fs = Mounted::new(kind, 128 << 20);
            plant(fs.path(), SYSTEMD);
            let at = |path: &str| fs.path().join(path.trim_start_matches('/'));
            run(
                "setfattr",
                &["-n", "security.selinux", "-v", "system_u:object_r:bin_t:s0", at("usr/bin/true").to_str().unwrap()],
            );
            run(
                "setfattr",
                &["-n", "security.selinux", "-v", "system_u:object_r:var_lib_t:s0", at("var/lib").to_str().unwrap()],
            );
            let before = listing(fs.path());
            let mut root = Root::open(fs.path()).unwrap();
            install(&mut root, b"#!/bin/true\n", &["first-boot"], &wanted()).unwrap();
            assert!(!root.diff().unwrap().contains("t0p-s3cret"));
            root.commit().unwrap();
            for (path, mode) in [(PROGRAM, 0o700), (ORDER, 0o600), (FOLDER, 0o700)] {
                assert_eq!(std::fs::metadata(at(path)).unwrap().permissions().mode() & 0o7777, mode, "{path}");
            }
            let label = run("getfattr", &["--only-values", "-n", "security.selinux", at(PROGRAM).to_str().unwrap()]);
            assert!(label.contains("bin_t"), "{label}");
            assert_eq!(order(&root).unwrap(), Some(wanted()));
            // A second time changes nothing.
            install(&mut root, b"#!/bin/true\n", &["first-boot"], &wanted()).unwrap();
            assert!(root.is_unchanged());
            leave_no_trace(&mut root).unwrap();
            assert_eq!(listing(fs.path()), before, "{kind}");
            assert_eq!(order(&root).unwrap(), None);
        }
    }

    #[test]
    fn systemd_takes_the_unit() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(UNIT);
        // The program must exist for the check.
        std::fs::write(&path, unit(&["first-boot"]).replace(PROGRAM, "/bin/true")).unwrap();
        let output = std::process::Command::new("systemd-analyze")
            .args(["verify", "--man=no", path.to_str().unwrap()])
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!said.contains(UNIT), "{said}");
        // And complains of what is wrong, so that silence means something.
        std::fs::write(
            &path,
            unit(&[]).replace(PROGRAM, "/bin/true").replace("Restart=on-failure", "Restart=sometimes"),
        )
        .unwrap();
        let output = std::process::Command::new("systemd-analyze")
            .args(["verify", "--man=no", path.to_str().unwrap()])
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.contains("sometimes"), "{said}");
    }

    #[test]
    fn refuses_other_inits_noexec_and_empty_programs() {
        let folder = tempfile::tempdir().unwrap();
        let try_it =
            |program: &[u8]| install(&mut Root::open(folder.path()).unwrap(), program, &[], &wanted()).unwrap_err();
        plant(
            folder.path(),
            &[("sbin/init", 0o755, "sysv"), ("usr/lib/systemd/systemd", 0o755, "installed, not used")],
        );
        assert!(try_it(b"x").to_string().ends_with("/sbin/init is /sbin/init"));
        assert!(matches!(try_it(b""), FirstBootError::Size(0)));
        std::fs::remove_file(folder.path().join("sbin/init")).unwrap();
        plant(folder.path(), SYSTEMD);
        plant(
            folder.path(),
            &[("etc/fstab", 0o644, "LABEL=v /var ext4 nodev,noexec 0 2\nLABEL=r / ext4 defaults 0 1\n")],
        );
        assert!(try_it(b"x").to_string().starts_with("/var is mounted noexec"));
        assert!(listing(folder.path()).iter().all(|(path, _)| !path.ends_with("ramet")));
    }
}
