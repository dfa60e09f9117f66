//! Coldplug and hotplug: a module for every device, those that are there and those that come.
//!
//! In: `modalias` files under `/sys/devices`, and the kernel's uevents. Out: names for the loader.
//! Promise: no device is missed: the events are listened to before the first look, and an overflow looks again.

use super::Loader;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, setsockopt, socket, sockopt,
};
use std::collections::{HashSet, VecDeque};
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Longest uevent: the kernel's buffer has 2 KiB, and its header.
const EVENT_MAX: usize = 8 << 10;
/// Bytes of events that the kernel keeps for us: bursts of hundreds of devices come while modules load.
const EVENTS_KEPT: usize = 8 << 20;
/// Deepest folder that is looked at under `/sys/devices`.
const DEPTH_MAX: usize = 40;
/// Most threads that load modules.
const THREADS_MAX: usize = 8;

/// Aliases that wait, and who works on them.
#[derive(Debug)]
pub struct Plug {
    loader: Loader,
    queue: Mutex<Queue>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Queue {
    waiting: VecDeque<String>,
    seen: HashSet<String>,
    working: usize,
    /// The last time that something happened.
    last: Option<Instant>,
}

impl Plug {
    /// Starts to listen, looks at all devices, and loads with several threads from now on, for ever.
    ///
    /// # Errors
    /// When the socket for events can not be had.
    pub fn start(loader: Loader) -> io::Result<Arc<Self>> {
        let events = listen()?;
        let plug = Arc::new(Self { loader, queue: Mutex::default(), changed: Condvar::new() });
        let threads = std::thread::available_parallelism().map_or(1, usize::from).clamp(2, THREADS_MAX);
        for _ in 0..threads {
            let plug = Arc::clone(&plug);
            std::thread::spawn(move || plug.work());
        }
        let listener = Arc::clone(&plug);
        std::thread::spawn(move || listener.follow(&events));
        plug.look();
        Ok(plug)
    }

    /// Loads a module, or what has this alias, now.
    ///
    /// # Errors
    /// The kernel's.
    pub fn load(&self, name: &str) -> io::Result<usize> {
        self.loader.load(name)
    }

    /// Waits until nothing was to do for `quiet`, at most `limit`. Drivers look for their devices in threads of their
    /// own, so silence is no proof; what comes later is loaded all the same.
    pub fn settle(&self, quiet: Duration, limit: Duration) {
        let start = Instant::now();
        let mut queue = self.lock();
        while start.elapsed() < limit {
            let idle = queue.waiting.is_empty() && queue.working == 0;
            let still = queue.last.map_or_else(|| start.elapsed(), |last| last.elapsed());
            if idle && still >= quiet {
                return;
            }
            let wait = Duration::from_millis(10).max(quiet.saturating_sub(still).min(Duration::from_millis(100)));
            queue = self.changed.wait_timeout(queue, wait).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Puts every alias under `/sys/devices` into the queue.
    fn look(&self) {
        for alias in aliases(Path::new("/sys/devices")) {
            self.add(alias);
        }
    }

    fn add(&self, alias: String) {
        let mut queue = self.lock();
        if queue.seen.insert(alias.clone()) {
            queue.waiting.push_back(alias);
            queue.last = Some(Instant::now());
            self.changed.notify_all();
        }
    }

    fn work(&self) {
        loop {
            let mut queue = self.lock();
            let alias = loop {
                if let Some(alias) = queue.waiting.pop_front() {
                    break alias;
                }
                queue = self.changed.wait(queue).unwrap_or_else(PoisonError::into_inner);
            };
            queue.working += 1;
            drop(queue);
            // What was refused stands in the record.
            let _ = self.loader.load(&alias);
            let mut queue = self.lock();
            queue.working -= 1;
            queue.last = Some(Instant::now());
            self.changed.notify_all();
        }
    }

    fn follow(&self, events: &OwnedFd) {
        let mut buffer = vec![0; EVENT_MAX];
        loop {
            match recv(events.as_raw_fd(), &mut buffer, MsgFlags::empty()) {
                Ok(length) => {
                    if let Some(alias) = added(&buffer[..length.min(EVENT_MAX)]) {
                        self.add(alias);
                    } else {
                        self.lock().last = Some(Instant::now());
                    }
                }
                Err(nix::errno::Errno::EINTR) => {}
                // Events were lost: everything is looked at again; what was seen before is skipped.
                Err(nix::errno::Errno::ENOBUFS) => self.look(),
                Err(_) => std::thread::sleep(Duration::from_secs(1)),
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn listen() -> io::Result<OwnedFd> {
    let protocol = SockProtocol::NetlinkKObjectUEvent;
    let events = socket(AddressFamily::Netlink, SockType::Datagram, SockFlag::SOCK_CLOEXEC, protocol)?;
    // Needs privilege; without it the kernel's default must do.
    let _ = setsockopt(&events, sockopt::RcvBufForce, &EVENTS_KEPT);
    // Group 1 is the kernel's; udev's is 2.
    bind(events.as_raw_fd(), &NetlinkAddr::new(0, 1))?;
    Ok(events)
}

/// The alias in an uevent that tells of a new device: `add@/devices/…`, then `KEY=value`, each ended by NUL.
fn added(event: &[u8]) -> Option<String> {
    let mut words = event.split(|&byte| byte == 0);
    let title = words.next()?;
    // `bind` and `change` come for devices that `add` told of; some drivers set the alias only with `change`.
    if !title.starts_with(b"add@") && !title.starts_with(b"change@") {
        return None;
    }
    let alias = words.find_map(|word| word.strip_prefix(b"MODALIAS="))?;
    usable(std::str::from_utf8(alias).ok()?)
}

fn usable(alias: &str) -> Option<String> {
    let alias = alias.trim();
    (!alias.is_empty() && alias.len() <= 4096).then(|| alias.to_owned())
}

/// All `modalias` files below `folder`, links not followed.
fn aliases(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![(folder.to_owned(), 0)];
    while let Some((folder, depth)) = folders.pop() {
        for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
            let Ok(kind) = entry.file_type() else { continue };
            if kind.is_dir() && depth < DEPTH_MAX {
                folders.push((entry.path(), depth + 1));
            } else if kind.is_file() && entry.file_name() == "modalias" {
                let text = std::fs::read_to_string(entry.path()).unwrap_or_default();
                found.extend(usable(&text));
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_of_a_new_device_names_its_alias() {
        let event = b"add@/devices/pci0000:00/0000:00:03.0\0ACTION=add\0MODALIAS=pci:v00001AF4d00001000\0SEQNUM=9\0";
        assert_eq!(added(event), Some("pci:v00001AF4d00001000".to_owned()));
    }

    #[test]
    fn other_events_name_none() {
        for event in [
            b"remove@/devices/x\0MODALIAS=pci:v0\0".as_slice(),
            b"add@/devices/x\0ACTION=add\0",
            b"add@/devices/x\0MODALIAS=\0",
            b"add@/devices/x\0MODALIAS=\xff\xfe\0",
            b"libudev\0\xfe\xed\xca\xfe",
            b"",
        ] {
            assert_eq!(added(event), None);
        }
    }

    #[test]
    fn aliases_are_found_at_any_depth_and_links_are_not_followed() {
        let folder = tempfile::tempdir().unwrap();
        let deep = folder.path().join("pci0000:00/0000:00:01.0");
        std::fs::create_dir_all(&deep).unwrap();
        std::fs::write(deep.join("modalias"), "pci:a\n").unwrap();
        std::fs::write(folder.path().join("modalias"), "acpi:b:\n").unwrap();
        std::os::unix::fs::symlink(folder.path(), deep.join("subsystem")).unwrap();
        let mut found = aliases(folder.path());
        found.sort();
        assert_eq!(found, ["acpi:b:", "pci:a"]);
    }
}
