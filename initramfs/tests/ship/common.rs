//! What every test here needs: a kernel, a small agent, the builder.
//!
//! In: Debian's kernel package. Out: its unpacked folder, a static program that says it is the agent, builds.
//! Promise: the package is fetched and unpacked once for all tests; a build never touches anything but its folder.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;
use tempfile::TempDir;

/// A time for all builds: 2026-02-03.
pub const EPOCH: &str = "1770076800";

/// Debian's kernel.
pub struct Kernel {
    pub package: PathBuf,
    /// Where it is unpacked.
    pub root: PathBuf,
    pub version: String,
}

impl Kernel {
    pub fn vmlinuz(&self) -> PathBuf {
        self.root.join("boot").join(format!("vmlinuz-{}", self.version))
    }

    pub fn modules(&self) -> PathBuf {
        self.root.join("lib/modules").join(&self.version)
    }
}

pub fn kernel() -> &'static Kernel {
    static KERNEL: OnceLock<Kernel> = OnceLock::new();
    KERNEL.get_or_init(|| {
        let scripts = concat!(env!("CARGO_MANIFEST_DIR"), "/../scripts");
        let cache = Path::new(scripts).join("../target/kernels");
        fs::create_dir_all(&cache).unwrap();
        // Tests are processes of their own: one of them fetches and unpacks, the others wait.
        let lock = File::create(cache.join("lock")).unwrap();
        lock.lock().unwrap();
        let package = run("bash", &["-c", &format!(". {scripts}/lib.sh; kernel_package")]);
        let package = PathBuf::from(package.trim());
        let root = package.with_extension("unpacked");
        if !root.is_dir() {
            let half = package.with_extension("half");
            let _ = fs::remove_dir_all(&half);
            run("dpkg-deb", &["-x", arg(&package), arg(&half)]);
            fs::rename(&half, &root).unwrap();
        }
        let version = fs::read_dir(root.join("lib/modules")).unwrap().next().unwrap().unwrap().file_name();
        Kernel { package, root, version: version.into_string().unwrap() }
    })
}

/// A static program that answers `--version` like the agent; as PID 1 it looks around, says so, and powers off.
const AGENT: &str = r#"
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <unistd.h>
int main(int argc, char **argv) {
  char link[64] = {0};
  struct stat null;
  if (argc > 1 && !strcmp(argv[1], "--version")) return puts("ramet-agent 9.8.7-test") < 0;
  if (getpid() != 1) return 1;
  readlink("/sbin/modprobe", link, sizeof link - 1);
  printf("LOOKED modprobe=%s null=%d busybox=%d\n", link, !stat("/dev/null", &null) && S_ISCHR(null.st_mode),
    !access("/bin/busybox", F_OK));
  fflush(stdout);
  sync();
  reboot(RB_POWER_OFF);
  pause();
}
"#;

/// Compiles `source` in `dir`; `flags` decide how it is linked.
pub fn compile(dir: &Path, name: &str, source: &str, compiler: &str, flags: &[&str]) -> PathBuf {
    let (code, program) = (dir.join(format!("{name}.c")), dir.join(name));
    fs::write(&code, source).unwrap();
    run(compiler, &[flags, &["-O1", "-o", arg(&program), arg(&code)]].concat());
    program
}

/// A folder with an agent in it.
pub struct Yard {
    pub dir: TempDir,
    pub agent: PathBuf,
}

impl Yard {
    pub fn new() -> Self {
        let dir = scratch();
        let agent = compile(dir.path(), "ramet-agent", AGENT, "musl-gcc", &["-static"]);
        Self { dir, agent }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn file(&self, name: &str, text: &str) -> PathBuf {
        fs::write(self.path(name), text).unwrap();
        self.path(name)
    }

    /// Runs the builder on the unpacked kernel, the small set and a low level, into folder `out`.
    pub fn build(&self, out: &str, more: &[&str]) -> Output {
        let kernel = kernel();
        let (image, modules) = (kernel.vmlinuz(), kernel.modules());
        let mut args = vec!["--kernel", arg(&image), "--modules", arg(&modules), "--set", "vm", "--level", "1"];
        args.extend(more);
        self.run(out, &args)
    }

    /// Runs the builder with nothing but agent and output folder added.
    pub fn run(&self, out: &str, args: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ramet-initramfs"));
        command.env("SOURCE_DATE_EPOCH", EPOCH).env("TMPDIR", self.dir.path()).stdin(Stdio::null());
        if !args.contains(&"--agent") {
            command.arg("--agent").arg(&self.agent);
        }
        command.arg("--out").arg(self.path(out)).args(args).output().unwrap()
    }

    /// A build that must succeed; the folder that it made.
    pub fn built(&self, out: &str, more: &[&str]) -> PathBuf {
        let output = self.build(out, more);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        self.path(out)
    }

    /// Unpacks the initramfs in `out` by zstd and cpio.
    pub fn unpack(&self, out: &Path) -> PathBuf {
        let root = self.path("unpacked");
        fs::create_dir(&root).unwrap();
        let script = "zstd -dcq \"$1\" | (cd \"$2\" && cpio -idm --quiet --no-absolute-filenames)";
        run("bash", &["-ec", script, "unpack", arg(&out.join("initramfs.zst")), arg(&root)]);
        root
    }
}

/// Runs a program, which must succeed; what it printed.
pub fn run(program: &str, args: &[&str]) -> String {
    let mut command = Command::new(program);
    command.args(args).stdin(Stdio::null()).env("LC_ALL", "C").env("TZ", "UTC");
    let output = command.output().unwrap_or_else(|error| panic!("starting {program}: {error}"));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{program} {args:?}: {text}{}", String::from_utf8_lossy(&output.stderr));
    text
}

pub fn arg(path: &Path) -> &str {
    path.to_str().unwrap()
}

pub fn scratch() -> TempDir {
    TempDir::with_prefix("ramet-test.").unwrap()
}
