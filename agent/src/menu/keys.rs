//! Keys, from the bytes that consoles send.
//!
//! In: bytes of one console, and the silence after them. Out: keys.
//! Promise: what is no known key is swallowed whole, never taken for text.

/// A key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key {
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
    /// To the start.
    Home,
    /// To the end.
    End,
    /// Enter.
    Enter,
    /// Escape.
    Escape,
    /// Backspace or Delete.
    Backspace,
    /// Ctrl-L: everything is drawn anew.
    Redraw,
    /// Ctrl-C.
    Interrupt,
    /// A printable ASCII character.
    Char(char),
}

/// How far an escape sequence is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Ground,
    /// After ESC.
    Escape,
    /// After `ESC O` (SS3).
    Single,
    /// After `ESC [` (CSI), with its first number.
    Control(Option<u16>),
    /// After `ESC [ [`, as the Linux console sends F1 to F5.
    Function,
}

/// Reads the keys of one console.
#[derive(Clone, Copy, Debug, Default)]
pub struct Decoder(State);

impl Decoder {
    /// The next byte; a key where it ends one.
    pub fn byte(&mut self, byte: u8) -> Option<Key> {
        let (next, key) = match self.0 {
            State::Ground => match byte {
                0x1b => (State::Escape, None),
                byte => (State::Ground, plain(byte)),
            },
            State::Escape => match byte {
                b'[' => (State::Control(None), None),
                b'O' => (State::Single, None),
                0x1b => (State::Escape, Some(Key::Escape)),
                // Alt and a key: nothing here has a meaning for it.
                _ => (State::Ground, None),
            },
            State::Single => (State::Ground, final_key(byte, None)),
            State::Control(number) => match byte {
                b'[' if number.is_none() => (State::Function, None),
                b'0'..=b'9' => {
                    let digits = number.unwrap_or(0).saturating_mul(10).saturating_add(u16::from(byte - b'0'));
                    (State::Control(Some(digits)), None)
                }
                0x40..=0x7e => (State::Ground, final_key(byte, number)),
                0x1b => (State::Escape, None),
                _ => (State::Control(number), None),
            },
            State::Function => (State::Ground, None),
        };
        self.0 = next;
        key
    }

    /// Nothing came for a while: an ESC that stands alone is the key.
    pub fn silence(&mut self) -> Option<Key> {
        (std::mem::take(&mut self.0) == State::Escape).then_some(Key::Escape)
    }

    /// In the middle of a sequence.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.0 != State::Ground
    }
}

fn plain(byte: u8) -> Option<Key> {
    match byte {
        b'\r' | b'\n' => Some(Key::Enter),
        0x7f | 0x08 => Some(Key::Backspace),
        0x0c => Some(Key::Redraw),
        0x03 => Some(Key::Interrupt),
        0x20..=0x7e => Some(Key::Char(char::from(byte))),
        _ => None,
    }
}

/// The byte that ends a sequence (ECMA-48, and what xterm and the Linux console make of it).
fn final_key(byte: u8, number: Option<u16>) -> Option<Key> {
    match (byte, number) {
        (b'A', _) => Some(Key::Up),
        (b'B', _) => Some(Key::Down),
        (b'C', _) => Some(Key::Right),
        (b'D', _) => Some(Key::Left),
        (b'H', _) | (b'~', Some(1 | 7)) => Some(Key::Home),
        (b'F', _) | (b'~', Some(4 | 8)) => Some(Key::End),
        (b'~', Some(3)) => Some(Key::Backspace),
        (b'~', Some(5)) => Some(Key::PageUp),
        (b'~', Some(6)) => Some(Key::PageDown),
        (b'M', None) => Some(Key::Enter),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(bytes: &[u8]) -> Vec<Key> {
        let mut decoder = Decoder::default();
        let mut keys: Vec<Key> = bytes.iter().filter_map(|byte| decoder.byte(*byte)).collect();
        keys.extend(decoder.silence());
        keys
    }

    #[test]
    fn arrows_come_as_csi_and_as_ss3() {
        assert_eq!(keys(b"\x1b[A\x1bOB\x1b[1;5C\x1b[D"), [Key::Up, Key::Down, Key::Right, Key::Left]);
        assert_eq!(
            keys(b"\x1b[5~\x1b[6~\x1b[H\x1b[4~\x1b[3~"),
            [Key::PageUp, Key::PageDown, Key::Home, Key::End, Key::Backspace]
        );
    }

    #[test]
    fn an_escape_alone_is_the_key_and_one_before_a_sequence_is_not() {
        assert_eq!(keys(b"\x1b"), [Key::Escape]);
        assert_eq!(keys(b"\x1b\x1b[A"), [Key::Escape, Key::Up]);
        assert_eq!(keys(b"\x1b["), []);
    }

    #[test]
    fn what_is_no_known_key_is_swallowed_whole() {
        // F1 of the Linux console, F12, a mouse report's start, UTF-8, control characters.
        assert_eq!(keys(b"\x1b[[A\x1b[24~\x1b[?25h\xc3\xbc\x01\x00x"), [Key::Char('x')]);
        assert_eq!(
            keys(b"\x1b[99999999999~y\r\n\x7f\x0c\x03"),
            [Key::Char('y'), Key::Enter, Key::Enter, Key::Backspace, Key::Redraw, Key::Interrupt]
        );
    }
}
