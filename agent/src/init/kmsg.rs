//! The kernel's log.
//!
//! In: `/dev/kmsg`. Out: its records, for the troubleshooting page, the report, and the reason of a worker's death.
//! Promise: reading never waits, and takes nothing away from other readers.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;

/// One record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// 0 (emergency) to 7 (debug).
    pub level: u8,
    /// Microseconds since the kernel's start.
    pub at: u64,
    /// What it says, without control characters.
    pub text: String,
}

/// Everything that the kernel still holds, oldest first.
#[must_use]
pub fn all() -> Vec<Line> {
    let Ok(mut file) = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open("/dev/kmsg") else {
        return Vec::new();
    };
    let mut lines = Vec::new();
    // The kernel gives one record per read, of at most 8 KiB with all its fields (printk's CONSOLE_EXT_LOG_MAX).
    let mut buffer = vec![0; 8 << 10];
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return lines,
            Ok(length) => lines.extend(parse(&String::from_utf8_lossy(&buffer[..length]))),
            // EPIPE: records were overwritten before we came to them; the next read gives the oldest one left.
            Err(error) if matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::Interrupted) => {}
            Err(_) => return lines,
        }
    }
}

/// `PRIORITY,SEQUENCE,MICROSECONDS,FLAGS;TEXT`, then lines ` KEY=value` (Documentation/ABI/testing/dev-kmsg).
fn parse(record: &str) -> Option<Line> {
    let (prefix, text) = record.split_once(';')?;
    let mut fields = prefix.split(',');
    let priority: u32 = fields.next()?.parse().ok()?;
    let at = fields.nth(1)?.parse().ok()?;
    let level = u8::try_from(priority & 7).ok()?;
    let text = text.lines().next()?.chars().filter(|c| !c.is_control()).collect();
    Some(Line { level, at, text })
}

/// How the kernel killed process `pid` for lack of memory, if it did.
#[must_use]
pub fn oom(pid: i32) -> Option<String> {
    find_oom(pid, &all())
}

fn find_oom(pid: i32, lines: &[Line]) -> Option<String> {
    let killed = format!("Killed process {pid} ");
    let found = lines.iter().rev().find(|line| line.text.contains(&killed))?;
    // `Out of memory: Killed process 81 (init) total-vm:1048576kB, anon-rss:397212kB, …`
    let used = found.text.split("anon-rss:").nth(1).and_then(|rest| rest.split([',', ' ']).next());
    Some(used.unwrap_or("an unknown amount").to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_has_level_time_and_text() {
        let record = "6,339,5140900,-;NET: Registered protocol family 10\n SUBSYSTEM=net\n";
        let line = parse(record).unwrap();
        assert_eq!(line, Line { level: 6, at: 5_140_900, text: "NET: Registered protocol family 10".to_owned() });
        for bad in ["", "6,1", "x,1,2,-;text", "6,1,x,-;text"] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_death_for_lack_of_memory_is_found_by_pid() {
        let text = "Out of memory: Killed process 81 (init) total-vm:1048576kB, anon-rss:397212kB, file-rss:4kB";
        let lines = [Line { level: 3, at: 1, text: text.to_owned() }];
        assert_eq!(find_oom(81, &lines), Some("397212kB".to_owned()));
        assert_eq!(find_oom(8, &lines), None);
    }

    #[test]
    fn the_kernel_of_this_machine_can_be_read_or_says_nothing() {
        assert!(all().iter().all(|line| line.level < 8));
    }
}
