//! Birth and death: what the agent does when it is the machine's first process.
//!
//! In: a kernel that has just started. Out: mounts, modules, network, clock, a worker; then a restart or a machine at rest.
//! Promise: one end for every life; whatever the worker does, the kernel never panics for want of PID 1.

pub mod clock;
pub mod console;
pub mod dhcp;
mod end;
pub mod kmsg;
pub mod medium;
pub mod modules;
pub mod mounts;
pub mod network;
pub mod outcome;
mod reap;
pub mod settings;
mod supervise;
pub(crate) mod sys;
pub mod times;
mod watch;
mod watchdog;
mod worker;

pub use supervise::supervise;
pub use worker::worker;

/// Who this process is, by how it was started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The first process of the machine.
    Supervisor,
    /// Its child, which does the work.
    Worker,
    /// The kernel wants a module.
    Modprobe,
    /// An operator's command.
    Command,
}

/// Reads the role from the program's name and arguments.
///
/// The kernel hands words of its command line that it does not know to PID 1, so arguments decide nothing there; and a
/// command that is PID 1 of a container is still a command.
#[must_use]
pub fn role(pid: u32, args: &[String]) -> Role {
    let name = args.first().map_or("", |name| name.rsplit('/').next().unwrap_or(name));
    match (name, pid, args.get(1).map(String::as_str)) {
        (name, ..) if name.ends_with("modprobe") => Role::Modprobe,
        (name, 1, _) if name.ends_with("init") => Role::Supervisor,
        (name, _, Some("worker")) if name.ends_with("init") => Role::Worker,
        (name, ..) if name.ends_with("init") => Role::Supervisor,
        (_, 1, None) => Role::Supervisor,
        _ => Role::Command,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_and_the_pid_tell_the_role() {
        let role = |pid, line: &str| role(pid, &line.split(' ').map(str::to_owned).collect::<Vec<_>>());
        assert_eq!(role(1, "/init"), Role::Supervisor);
        assert_eq!(role(1, "/init worker single"), Role::Supervisor);
        assert_eq!(role(80, "/init worker"), Role::Worker);
        assert_eq!(role(81, "/sbin/modprobe -q -- fs-ext4"), Role::Modprobe);
        assert_eq!(role(1, "/ramet-agent"), Role::Supervisor);
        assert_eq!(role(1, "ramet-agent inspect /dev/sda"), Role::Command);
        assert_eq!(role(7, "ramet-agent worker"), Role::Command);
        assert_eq!(role(7, "ramet-agent"), Role::Command);
    }
}
