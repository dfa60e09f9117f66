//! Pages of text: what is on the disks, what this machine is, why something does not work.
//!
//! In: sysfs, procfs, the kernel's log, what the supervisor left. Out: lines.
//! Promise: whatever can not be read is left out or named, never an error; nothing is written.

use super::state::Topic;
use crate::capture::source::this_machine;
use crate::hardware::{self, tree::Tree};
use crate::inspect::inspect;
use crate::job::Here;
use std::fs::OpenOptions;
use std::io::Read as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

/// Kernel messages that are shown.
const MESSAGES: usize = 200;
/// Records of `/dev/kmsg` that are read at most; the ring holds fewer.
const RECORDS_MAX: usize = 100_000;
/// Longest record of `/dev/kmsg`, in bytes (kernel: Documentation/ABI/testing/dev-kmsg).
const RECORD_MAX: usize = 8192;
/// What the builder found missing, one `module file` per line.
const FIRMWARE: &str = "/etc/ramet/missing-firmware";

/// The lines of a page.
#[must_use]
pub fn text(topic: Topic, here: &Here) -> Vec<String> {
    match topic {
        Topic::Inspect => contents(here),
        Topic::Hardware => hardware(here),
        Topic::Trouble => trouble(here),
    }
}

fn contents(here: &Here) -> Vec<String> {
    let found = here.stock.look(here.medium().as_deref());
    let paths: Vec<_> = found.iter().map(|disk| disk.path.clone()).collect();
    // Together, so that a volume group on several disks is understood; one by one where a disk can not be read.
    if let Ok(report) = inspect(&paths, false)
        && !found.is_empty()
    {
        return report.to_string().lines().map(str::to_owned).chain([String::new()]).collect();
    }
    let mut lines = Vec::new();
    for disk in &found {
        match inspect(std::slice::from_ref(&disk.path), false) {
            Ok(report) => lines.extend(report.to_string().lines().map(str::to_owned)),
            Err(error) => lines.push(format!("{}: {}", disk.describe(), crate::cli::show::chain(&error))),
        }
        lines.push(String::new());
    }
    if found.is_empty() {
        lines.push(" No disk was found.".to_owned());
    }
    lines
}

fn hardware(here: &Here) -> Vec<String> {
    let machine = this_machine();
    let mut lines = Vec::new();
    let mut line = |name: &str, value: Option<String>| {
        if let Some(value) = value {
            lines.push(format!(" {name:<10} {value}"));
        }
    };
    line("maker", machine.vendor);
    line("product", machine.product);
    line("serial", machine.serial);
    line("uuid", machine.uuid);
    line("firmware", machine.firmware);
    let processors = first("/proc/cpuinfo");
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    line("processor", field(&processors, "model name").map(|model| format!("{model}, {cores} threads")));
    line("memory", field(&first("/proc/meminfo"), "MemTotal"));
    line("kernel", Some(first("/proc/sys/kernel/osrelease").trim().to_owned()));
    lines.push(String::new());
    lines.extend(disk_lines(here));
    lines.push(String::new());
    lines.extend(card_lines(here));
    lines
}

fn card_lines(here: &Here) -> Vec<String> {
    let cards = hardware::cards::cards(&Tree::of_this_machine(), here.neighbours(), ramet_wire::hardware::CARDS_MAX);
    let mut lines = Vec::new();
    for card in cards {
        let driver = card.driver.map(|driver| format!(", {driver}")).unwrap_or_default();
        let speed = card.speed.map(|speed| format!(", {speed} Mbit/s")).unwrap_or_default();
        let link = if card.link { "" } else { ", no link" };
        lines.push(format!(" card       {} {}{driver}{speed}{link}", card.name, card.mac));
        lines.extend(card.neighbour.map(|there| format!("            {} {}", there.system, there.port)));
    }
    lines
}

fn disk_lines(here: &Here) -> Vec<String> {
    let mut lines = Vec::new();
    for disk in here.stock.look(here.medium().as_deref()) {
        let by = disk.transport.as_ref().map(|by| format!(", {by}")).unwrap_or_default();
        lines.push(format!(" disk       {}, {}-byte sectors{by}", disk.describe(), disk.sector));
        lines.extend(disk.wwn.map(|wwn| format!("            wwn {wwn}")));
        lines.extend(disk.against.map(|why| format!("            {why}")));
    }
    if lines.is_empty() {
        lines.push(" disk       none was found: is its controller's module in this image?".to_owned());
    }
    lines
}

fn trouble(here: &Here) -> Vec<String> {
    let network = here.network();
    let mut lines = vec![" NETWORK".to_owned()];
    for card in &network.cards {
        let boot = if network.boot_card.as_ref() == Some(&card.name) { ", started from it" } else { "" };
        let driver = card.driver.as_deref().unwrap_or("no driver");
        let link = if card.link { "link" } else { "no link" };
        lines.push(format!(" {:<10} {} {driver}, {link}{boot}", card.name, card.mac));
        let facts = [
            card.address.as_ref().map(|a| format!("address {a}")),
            card.server.as_ref().map(|s| format!("server {s}")),
        ];
        let facts: Vec<String> = facts.into_iter().flatten().collect();
        if !facts.is_empty() {
            lines.push(format!("            {}", facts.join(", ")));
        }
        if !card.state.is_empty() {
            lines.push(format!("            {}", card.state));
        }
    }
    if network.cards.is_empty() {
        lines.extend(links(Path::new("/sys/class/net")));
    }
    let missing = first(FIRMWARE);
    if !missing.trim().is_empty() {
        lines.push(String::new());
        lines.push(" FIRMWARE THAT IS NOT IN THIS IMAGE (module, file)".to_owned());
        lines.extend(missing.lines().take(MESSAGES).map(|line| format!(" {line}")));
    }
    lines.push(String::new());
    lines.push(" DISKS".to_owned());
    lines.extend(disk_lines(here));
    lines.push(String::new());
    lines.push(" LAST KERNEL MESSAGES".to_owned());
    lines.extend(kernel_messages());
    lines
}

/// Where no supervisor is: what the kernel says of its links.
fn links(class: &Path) -> Vec<String> {
    let Ok(cards) = std::fs::read_dir(class) else { return vec![" no card was found".to_owned()] };
    let line = |card: std::fs::DirEntry| {
        let text = |file: &str| std::fs::read_to_string(card.path().join(file)).unwrap_or_default().trim().to_owned();
        let name = card.file_name().to_string_lossy().into_owned();
        format!(" {name:<10} {} {}", text("address"), text("operstate"))
    };
    let mut lines: Vec<String> = cards.flatten().map(line).collect();
    lines.sort_unstable();
    lines
}

/// The last records of the kernel's log. A read gives one record, `PRIORITY,SEQUENCE,MICROSECONDS,…;TEXT`.
fn kernel_messages() -> Vec<String> {
    let opened = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open("/dev/kmsg");
    let mut log = match opened {
        Ok(log) => log,
        Err(error) => return vec![format!(" opening /dev/kmsg: {error}")],
    };
    let mut lines = std::collections::VecDeque::new();
    let mut record = [0; RECORD_MAX];
    for _ in 0..RECORDS_MAX {
        match log.read(&mut record) {
            Ok(0) => break,
            Ok(len) => lines.extend(message(&record[..len])),
            // Overwritten while we read: the next record is there.
            Err(error) if error.raw_os_error() == Some(libc::EPIPE) => {}
            Err(_) => break,
        }
        if lines.len() > MESSAGES {
            lines.pop_front();
        }
    }
    lines.into()
}

fn message(record: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(record);
    let (head, text) = text.split_once(';')?;
    let micros: u64 = head.split(',').nth(2)?.parse().ok()?;
    let text = text.lines().next().unwrap_or_default();
    Some(format!(" [{:>5}.{:03}] {text}", micros / 1_000_000, micros / 1000 % 1000))
}

fn first(path: &str) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

/// The value of the first line `name : value`.
fn field(text: &str, name: &str) -> Option<String> {
    let value = text.lines().find_map(|line| line.strip_prefix(name))?;
    Some(value.trim_start_matches([' ', '\t', ':']).trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::Stock;
    use crate::menu::screen::Nobody;

    #[test]
    fn a_kernel_record_is_its_time_and_its_first_line() {
        let record = b"6,339,5140900,-;NET: Registered PF_INET\n SUBSYSTEM=net\n";
        assert_eq!(message(record).as_deref(), Some(" [    5.140] NET: Registered PF_INET"));
        assert_eq!(message(b"odd"), None);
        assert_eq!(message(b"6,1,x;y"), None);
    }

    #[test]
    fn every_page_has_something_to_say_on_a_machine_without_anything() {
        let run = tempfile::tempdir().unwrap();
        let state = r#"{"cards":[{"name":"eth0","mac":"52:54:00:12:34:56","driver":"e1000e","link":false,
            "state":"eth0 has no link; plug in its cable","address":null,"server":null}],"boot_card":"eth0"}"#;
        std::fs::write(run.path().join("network.json"), state).unwrap();
        let here = Here::new(Some(run.path().to_owned()), Stock::Named(Vec::new()), Box::new(Nobody));
        assert!(text(Topic::Inspect, &here).iter().any(|line| line.contains("No disk")));
        assert!(text(Topic::Hardware, &here).iter().any(|line| line.contains("kernel")));
        let trouble = text(Topic::Trouble, &here).join("\n");
        assert!(
            trouble.contains("e1000e, no link, started from it") && trouble.contains("plug in its cable"),
            "{trouble}"
        );
    }
}
