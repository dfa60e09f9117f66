//! Where a worker's words go and keys come from.
//!
//! In: bytes to show. Out: keys.
//! Promise: a screen has 80 columns and 24 lines, whatever the terminal says of itself; a terminal is left as it was found.

use super::keys::{Decoder, Key};
use nix::sys::termios::{self, SetArg, Termios};
use std::fmt;
use std::io::{IsTerminal as _, Read as _, Write as _};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

/// Columns.
pub const WIDTH: usize = 80;
/// Lines.
pub const HEIGHT: usize = 24;
/// How long the bytes of one key may be apart.
const GAP: Duration = Duration::from_millis(120);

/// Consoles that show the same.
pub trait Screen: Send {
    /// Shows `bytes`; a console that does not take them is no error.
    fn write(&mut self, bytes: &[u8]);

    /// The next key, if one is pressed before `timeout` has passed.
    fn read_key(&mut self, timeout: Duration) -> Option<Key>;

    /// Gives a terminal back as it was found.
    fn restore(&mut self) {}

    /// Nobody can press a key any more.
    fn is_closed(&self) -> bool {
        false
    }
}

/// Nobody looks.
#[derive(Clone, Copy, Debug)]
pub struct Nobody;

impl Screen for Nobody {
    fn write(&mut self, _bytes: &[u8]) {}

    fn read_key(&mut self, timeout: Duration) -> Option<Key> {
        std::thread::sleep(timeout);
        None
    }

    fn is_closed(&self) -> bool {
        true
    }
}

/// Standard input and output: a terminal, or pipes.
pub struct Terminal {
    keys: Receiver<u8>,
    decoder: Decoder,
    closed: bool,
    before: Option<Termios>,
}

impl fmt::Debug for Terminal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Terminal").field("raw", &self.before.is_some()).finish_non_exhaustive()
    }
}

impl Terminal {
    /// Takes standard input and output. With `keys`, a terminal gives every key at once and echoes none until this is
    /// dropped; without, nothing is read.
    #[must_use]
    pub fn open(keys: bool) -> Self {
        let (bytes, receiver) = channel();
        let before = if keys { raw() } else { None };
        if keys {
            // Ends with the process: a read that waits can not be called off.
            std::thread::spawn(move || {
                let mut byte = [0];
                while let Ok(1) = std::io::stdin().read(&mut byte) {
                    if bytes.send(byte[0]).is_err() {
                        break;
                    }
                }
            });
        }
        Self { keys: receiver, decoder: Decoder::default(), closed: !keys, before }
    }
}

/// Turns line editing, echo and signals off.
fn raw() -> Option<Termios> {
    let stdin = std::io::stdin();
    if !stdin.is_terminal() {
        return None;
    }
    let before = termios::tcgetattr(&stdin).ok()?;
    let mut raw = before.clone();
    termios::cfmakeraw(&mut raw);
    termios::tcsetattr(&stdin, SetArg::TCSANOW, &raw).ok()?;
    Some(before)
}

impl Screen for Terminal {
    fn write(&mut self, bytes: &[u8]) {
        let mut out = std::io::stdout().lock();
        let _ = out.write_all(bytes).and_then(|()| out.flush());
    }

    fn read_key(&mut self, timeout: Duration) -> Option<Key> {
        let end = Instant::now() + timeout;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let patience = if self.decoder.is_open() { GAP } else { left };
            match self.keys.recv_timeout(patience) {
                Ok(byte) => {
                    if let Some(key) = self.decoder.byte(byte) {
                        return Some(key);
                    }
                }
                Err(RecvTimeoutError::Timeout) => {
                    let key = self.decoder.silence();
                    if key.is_some() || Instant::now() >= end {
                        return key;
                    }
                }
                Err(RecvTimeoutError::Disconnected) => {
                    self.closed = true;
                    std::thread::sleep(left);
                    return None;
                }
            }
        }
    }

    fn is_closed(&self) -> bool {
        self.closed
    }

    fn restore(&mut self) {
        if let Some(before) = self.before.take() {
            let _ = termios::tcsetattr(std::io::stdin(), SetArg::TCSANOW, &before);
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        self.restore();
    }
}
