//! All consoles at once: VGA and serial show the same, and either may type.
//!
//! In: the terminals of `/sys/class/tty/console/active`. Out: bytes to all of them, keys from any of them.
//! Promise: a terminal that takes nothing (a serial line that nobody reads) never holds up the others for long.

use crate::menu::keys::{Decoder, Key};
use crate::menu::screen::Screen;
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
/// How long the bytes of one key may be apart; a byte at 9,600 baud takes 1 ms, but a remote console may take its time.
const GAP: Duration = Duration::from_millis(120);

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
    decoder: Decoder,
    /// When the last byte came.
    heard: Instant,
    /// It took nothing for [`PATIENCE`]: one try without waiting from now on.
    stuck: bool,
}

impl Consoles {
    /// Opens every console that the kernel writes to; those that can not be opened are left out.
    #[must_use]
    pub fn open_all() -> Self {
        let active = std::fs::read_to_string("/sys/class/tty/console/active").unwrap_or_default();
        let mut terminals: Vec<Terminal> = names(&active).filter_map(Terminal::open).collect();
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
        Some(Self {
            name: name.to_owned(),
            file,
            typed: VecDeque::new(),
            decoder: Decoder::default(),
            heard: Instant::now(),
            stuck: false,
        })
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
            self.heard = Instant::now();
        }
    }

    fn key(&mut self) -> Option<Key> {
        self.fill();
        while let Some(byte) = self.typed.pop_front() {
            let key = self.decoder.byte(byte);
            if key.is_some() {
                return key;
            }
        }
        if self.decoder.is_open() && self.heard.elapsed() >= GAP { self.decoder.silence() } else { None }
    }
}

impl Screen for Consoles {
    fn write(&mut self, bytes: &[u8]) {
        Self::write(self, bytes);
    }

    fn read_key(&mut self, timeout: Duration) -> Option<Key> {
        Self::read_key(self, timeout)
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

/// Keeps the kernel's own messages off the screen, or lets them back. They stay in its log.
pub fn kernel_messages(visible: bool) {
    // Level 1 shows emergencies only: what comes just before the kernel stops.
    let _ = std::fs::write("/proc/sys/kernel/printk", if visible { "4\n" } else { "1\n" });
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsRawFd as _;

    #[test]
    fn keys_come_from_any_terminal_and_words_go_to_all() {
        let pairs: Vec<_> = (0..2).map(|_| nix::pty::openpty(None, None).unwrap()).collect();
        let terminals = pairs.iter().map(|pair| {
            let path = std::fs::read_link(format!("/proc/self/fd/{}", pair.slave.as_raw_fd())).unwrap();
            Terminal::open(path.strip_prefix("/dev").unwrap().to_str().unwrap()).unwrap()
        });
        let consoles = Consoles { terminals: Mutex::new(terminals.collect()) };
        let mut masters: Vec<File> = pairs.iter().map(|pair| File::from(pair.master.try_clone().unwrap())).collect();
        masters[1].write_all(b"a\x1b[B").unwrap();
        masters[0].write_all(b"\x1b").unwrap();
        let mut keys: Vec<Key> = (0..3).filter_map(|_| consoles.read_key(Duration::from_secs(5))).collect();
        keys.sort_by_key(|key| format!("{key:?}"));
        assert_eq!(keys, [Key::Char('a'), Key::Down, Key::Escape]);
        assert_eq!(consoles.read_key(Duration::from_millis(50)), None);
        consoles.line("both");
        for master in &mut masters {
            let mut buffer = [0; 6];
            master.read_exact(&mut buffer).unwrap();
            assert_eq!(&buffer, b"both\r\n");
        }
    }

    #[test]
    fn a_terminal_that_takes_nothing_holds_up_the_others_once_and_not_for_long() {
        let pair = nix::pty::openpty(None, None).unwrap();
        let path = std::fs::read_link(format!("/proc/self/fd/{}", pair.slave.as_raw_fd())).unwrap();
        let terminal = Terminal::open(path.strip_prefix("/dev").unwrap().to_str().unwrap()).unwrap();
        let consoles = Consoles { terminals: Mutex::new(vec![terminal]) };
        let start = Instant::now();
        for _ in 0..20 {
            consoles.write(&[b'x'; 64 << 10]);
        }
        assert!(start.elapsed() < PATIENCE * 2, "{:?}", start.elapsed());
    }

    #[test]
    fn odd_names_of_terminals_are_not_opened() {
        assert_eq!(names("tty0 ttyS0 ../mem\n").collect::<Vec<_>>(), ["tty0", "ttyS0"]);
    }
}
