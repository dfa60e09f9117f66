//! All consoles at once: VGA and serial show the same, and either may type.
//!
//! In: the terminals of `/sys/class/tty/console/active`. Out: bytes to all of them, keys from any of them.
//! Promise: a terminal that takes nothing (a serial line that nobody reads) never holds up the others for long.

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::termios::{ControlFlags, InputFlags, LocalFlags, OutputFlags, SetArg, tcgetattr, tcsetattr};
use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long one terminal may take for one write before the rest is dropped: a screen at 9,600 baud takes 2.1 s.
const PATIENCE: Duration = Duration::from_secs(3);
/// How long a lone ESC waits for the rest of a sequence; a byte at 9,600 baud takes 1 ms.
const ESCAPE: Duration = Duration::from_millis(60);
/// Columns and rows that every console has; serial lines do not tell their size.
pub const SIZE: (u16, u16) = (80, 24);

/// A key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key {
    /// A character that can be seen, or a space.
    Char(char),
    /// Enter or Return.
    Enter,
    /// Escape alone.
    Escape,
    /// Backspace, as any terminal sends it.
    Backspace,
    /// Tab.
    Tab,
    /// Arrow up.
    Up,
    /// Arrow down.
    Down,
    /// Arrow left.
    Left,
    /// Arrow right.
    Right,
    /// Page up.
    PageUp,
    /// Page down.
    PageDown,
    /// Home.
    Home,
    /// End.
    End,
    /// Delete.
    Delete,
    /// A letter together with Ctrl, as a lower-case letter.
    Ctrl(char),
}

/// All consoles. There is one writer at a time.
#[derive(Debug)]
pub struct Consoles {
    terminals: Mutex<Vec<Terminal>>,
}

#[derive(Debug)]
struct Terminal {
    name: String,
    file: File,
    typed: VecDeque<u8>,
    /// It took nothing for [`PATIENCE`]: one try without waiting from now on.
    stuck: bool,
}

impl Consoles {
    /// Opens every console that the kernel writes to; those that can not be opened are left out.
    #[must_use]
    pub fn open_all() -> Self {
        let active = std::fs::read_to_string("/sys/class/tty/console/active").unwrap_or_default();
        let mut terminals: Vec<Terminal> = names(&active).filter_map(|name| Terminal::open(name)).collect();
        if terminals.is_empty() {
            terminals.extend(Terminal::open("console"));
        }
        Self { terminals: Mutex::new(terminals) }
    }

    /// The terminals' names: `tty0`, `ttyS0`.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        self.lock().iter().map(|terminal| terminal.name.clone()).collect()
    }

    /// Writes to all of them. Never fails: there is nobody to tell.
    pub fn write(&self, bytes: &[u8]) {
        for terminal in self.lock().iter_mut() {
            terminal.write(bytes);
        }
    }

    /// Writes one line to all of them.
    pub fn line(&self, text: &str) {
        self.write(format!("{text}\n").as_bytes());
    }

    /// The next key from any of them, or `None` after `timeout`.
    pub fn read_key(&self, timeout: Duration) -> Option<Key> {
        let until = Instant::now() + timeout;
        let mut terminals = self.lock();
        loop {
            if let Some(key) = terminals.iter_mut().find_map(Terminal::key) {
                return Some(key);
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return None;
            }
            if terminals.is_empty() {
                std::thread::sleep(left);
                return None;
            }
            // Others may want to write meanwhile.
            let step = left.min(Duration::from_millis(50));
            if !readable(&terminals, step) {
                drop(terminals);
                std::thread::yield_now();
                terminals = self.lock();
            }
            terminals.iter_mut().for_each(Terminal::fill);
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Terminal>> {
        self.terminals.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Terminal {
    fn open(name: &str) -> Option<Self> {
        let path = Path::new("/dev").join(name);
        let flags = libc::O_NONBLOCK | libc::O_NOCTTY;
        let file = OpenOptions::new().read(true).write(true).custom_flags(flags).open(path).ok()?;
        raw(&file);
        Some(Self { name: name.to_owned(), file, typed: VecDeque::new(), stuck: false })
    }

    fn write(&mut self, mut bytes: &[u8]) {
        let until = Instant::now() + PATIENCE;
        while !bytes.is_empty() {
            match self.file.write(bytes) {
                Ok(0) => return,
                Ok(length) => {
                    self.stuck = false;
                    bytes = &bytes[length..];
                }
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                    let left = until.saturating_duration_since(Instant::now());
                    if self.stuck || left.is_zero() {
                        self.stuck = true;
                        return;
                    }
                    let mut poll_fds = [PollFd::new(self.file.as_fd(), PollFlags::POLLOUT)];
                    let _ = poll(&mut poll_fds, timeout(left));
                }
                Err(_) => return,
            }
        }
    }

    fn fill(&mut self) {
        let mut buffer = [0; 256];
        // Bounded, should somebody paste a file into the serial line.
        while self.typed.len() < 4096
            && let Ok(length @ 1..) = self.file.read(&mut buffer)
        {
            self.typed.extend(&buffer[..length]);
        }
    }

    fn key(&mut self) -> Option<Key> {
        if self.typed.is_empty() {
            self.fill();
        }
        if self.typed.front() == Some(&0x1b) && self.typed.len() < 3 {
            // The rest of a sequence may be under way.
            std::thread::sleep(ESCAPE);
            self.fill();
        }
        while !self.typed.is_empty() {
            let (length, key) = decode(self.typed.make_contiguous());
            self.typed.drain(..length);
            if key.is_some() {
                return key;
            }
        }
        None
    }
}

fn timeout(wait: Duration) -> PollTimeout {
    // Rounded up, or the last millisecond would be waited for without sleep.
    PollTimeout::try_from(wait.as_millis().saturating_add(1)).unwrap_or(PollTimeout::MAX)
}

fn readable(terminals: &[Terminal], wait: Duration) -> bool {
    let mut fds: Vec<PollFd<'_>> =
        terminals.iter().map(|terminal| PollFd::new(terminal.file.as_fd(), PollFlags::POLLIN)).collect();
    let ready = poll(&mut fds, timeout(wait)).unwrap_or(0) > 0;
    // A terminal that hung up is ready for ever.
    let gone = fds.iter().all(|fd| fd.revents().is_some_and(|events| events.contains(PollFlags::POLLHUP)));
    if gone {
        std::thread::sleep(wait);
    }
    ready
}

/// Keys one by one, without echo and without signals; output still turns `\n` into `\r\n`.
fn raw(file: &File) {
    let Ok(mut modes) = tcgetattr(file) else { return };
    modes.input_flags &= !(InputFlags::IXON | InputFlags::IXOFF | InputFlags::ISTRIP | InputFlags::INLCR);
    modes.input_flags |= InputFlags::ICRNL | InputFlags::IGNBRK;
    modes.local_flags &= !(LocalFlags::ICANON | LocalFlags::ECHO | LocalFlags::ISIG | LocalFlags::IEXTEN);
    modes.output_flags |= OutputFlags::OPOST | OutputFlags::ONLCR;
    // A serial line without carrier and without handshake is the usual one.
    modes.control_flags |= ControlFlags::CLOCAL | ControlFlags::CREAD;
    modes.control_flags &= !ControlFlags::CRTSCTS;
    let _ = tcsetattr(file, SetArg::TCSANOW, &modes);
}

fn names(active: &str) -> impl Iterator<Item = &str> {
    active.split_whitespace().filter(|name| name.bytes().all(|c| c.is_ascii_alphanumeric()))
}

/// How many bytes the first key takes, and which it is; `None` for what means nothing.
fn decode(bytes: &[u8]) -> (usize, Option<Key>) {
    match bytes {
        [b'\r' | b'\n', ..] => (1, Some(Key::Enter)),
        [b'\t', ..] => (1, Some(Key::Tab)),
        [0x08 | 0x7f, ..] => (1, Some(Key::Backspace)),
        [0x1b, b'[' | b'O', ..] => sequence(bytes),
        [0x1b, ..] => (1, Some(Key::Escape)),
        [low @ 0x01..=0x1a, ..] => (1, Some(Key::Ctrl(char::from(low + 0x60)))),
        [0x00..=0x1f, ..] => (1, None),
        _ => character(bytes),
    }
}

/// `ESC [ … letter` or `ESC [ number ~`, as VGA consoles, xterm, vt100 and PuTTY send them.
fn sequence(bytes: &[u8]) -> (usize, Option<Key>) {
    // The Linux console's F1 to F5 are `ESC [ [ A` to `E`.
    let start = if bytes.get(2) == Some(&b'[') { 3 } else { 2 };
    let Some(end) = bytes.iter().skip(start).take(16).position(|byte| (0x40..=0x7e).contains(byte)) else {
        return (bytes.len().min(start + 16), Some(Key::Escape).filter(|_| bytes.len() == 2));
    };
    let end = start + end;
    let key = match (&bytes[start..end], bytes[end]) {
        _ if start == 3 => None,
        (_, b'A') => Some(Key::Up),
        (_, b'B') => Some(Key::Down),
        (_, b'C') => Some(Key::Right),
        (_, b'D') => Some(Key::Left),
        (_, b'H') | (b"1" | b"7", b'~') => Some(Key::Home),
        (_, b'F') | (b"4" | b"8", b'~') => Some(Key::End),
        (b"3", b'~') => Some(Key::Delete),
        (b"5", b'~') => Some(Key::PageUp),
        (b"6", b'~') => Some(Key::PageDown),
        _ => None,
    };
    (end + 1, key)
}

fn character(bytes: &[u8]) -> (usize, Option<Key>) {
    let length = match bytes[0] {
        0xc2..=0xdf => 2,
        0xe0..=0xef => 3,
        0xf0..=0xf4 => 4,
        _ => 1,
    };
    let text = bytes.get(..length).and_then(|bytes| std::str::from_utf8(bytes).ok());
    match text.and_then(|text| text.chars().next()) {
        Some(c) => (length, Some(Key::Char(c))),
        None => (1, None),
    }
}

/// Keeps the kernel's own messages off the screen, or lets them back. They stay in its log.
pub fn kernel_messages(visible: bool) {
    // Level 1 shows emergencies only: what comes just before the kernel stops.
    let _ = std::fs::write("/proc/sys/kernel/printk", if visible { "4\n" } else { "1\n" });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(mut bytes: &[u8]) -> Vec<Key> {
        let mut keys = Vec::new();
        while !bytes.is_empty() {
            let (length, key) = decode(bytes);
            keys.extend(key);
            bytes = &bytes[length..];
        }
        keys
    }

    #[test]
    fn keys_of_vga_and_of_serial_terminals_are_told() {
        use Key::*;
        assert_eq!(keys(b"a \r\n\x7f\x08\t"), [Char('a'), Char(' '), Enter, Enter, Backspace, Backspace, Tab]);
        assert_eq!(keys(b"\x1b[A\x1bOB\x1b[1;5C\x1b[D"), [Up, Down, Right, Left]);
        assert_eq!(
            keys(b"\x1b[1~\x1b[4~\x1b[H\x1b[F\x1b[3~\x1b[5~\x1b[6~"),
            [Home, End, Home, End, Delete, PageUp, PageDown]
        );
        assert_eq!(keys(b"\x1b"), [Escape]);
        assert_eq!(keys("ä€😀".as_bytes()), [Char('ä'), Char('€'), Char('😀')]);
        assert_eq!(keys(b"\x03\x0c"), [Ctrl('c'), Ctrl('l')]);
    }

    #[test]
    fn what_means_nothing_is_skipped_whole() {
        assert_eq!(keys(b"\x1b[[Ax\x1b[15~y\xffz"), [Key::Char('x'), Key::Char('y'), Key::Char('z')]);
        assert_eq!(keys(&[0x1b, b'[', b'1', b'1', b'1']), []);
    }

    #[test]
    fn every_byte_string_ends() {
        for a in 0..=255u8 {
            for b in [0, 0x1b, b'[', b'A', b'1', 0x80, 0xff] {
                let _ = keys(&[a, b, b'[', a, b, b'[', b'[', a]);
            }
        }
    }

    #[test]
    fn odd_names_of_terminals_are_not_opened() {
        assert_eq!(names("tty0 ttyS0 ../mem\n").collect::<Vec<_>>(), ["tty0", "ttyS0"]);
    }
}
