//! Text that came from outside, made safe to show: no control characters, no secrets.
//!
//! In: words of agents and peers, and log lines. Out: one line of bounded length; secrets replaced by `***`.
//! Promise: whatever is logged or reported has passed [`redact`]; whatever is stored for people has passed [`clean`].

use std::io::{self, Write};

/// `text` without control characters, at most `max` characters long.
#[must_use]
pub fn clean(text: &str, max: usize) -> String {
    // Besides C0/C1: what turns or hides text on a terminal.
    let odd = |c: char| {
        c.is_control()
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
    };
    text.chars().map(|c| if odd(c) { ' ' } else { c }).take(max).collect()
}

/// What precedes a secret, in the spellings in which one could get into a line.
const BEFORE: &[&str] = &[
    "rmt_",
    "bearer ",
    "sig=",
    "session=",
    "session\":\"",
    "session\": \"",
    "token=",
    "token\":\"",
    "token\": \"",
    "password=",
];

/// `line` with every token, session secret and signature of a URL replaced by `***`.
#[must_use]
pub fn redact(line: &str) -> String {
    let lower = line.to_ascii_lowercase();
    let mut out = String::with_capacity(line.len());
    let mut at = 0;
    while let Some((start, before)) = next_secret(&lower, at) {
        let from = start + before.len();
        let len = line[from..]
            .find(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '+' | '/' | '=' | '.' | '%')));
        out.push_str(&line[at..from]);
        if len != Some(0) {
            out.push_str("***");
        }
        at = len.map_or(line.len(), |len| from + len);
    }
    out.push_str(&line[at..]);
    out
}

fn next_secret(lower: &str, at: usize) -> Option<(usize, &'static str)> {
    let found = BEFORE.iter().filter_map(|before| Some((at + lower[at..].find(before)?, *before)));
    found.min_by_key(|(start, before)| (*start, std::cmp::Reverse(before.len())))
}

/// A writer that passes whole log lines through [`redact`].
#[derive(Debug)]
pub struct Redactor<W>(pub W);

impl<W: Write> Write for Redactor<W> {
    // The subscriber hands over one formatted event per call.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.write_all(redact(&String::from_utf8_lossy(line)).as_bytes())?;
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// An error and its causes, as one line.
#[must_use]
pub fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |line, cause| format!("{line}: {cause}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_and_text_that_turns_around_are_stripped() {
        assert_eq!(clean("a\x1b[31mb\r\nc\u{202e}d\0", 80), "a [31mb  c d ");
        assert_eq!(clean("éééé", 2), "éé");
    }

    #[test]
    fn secrets_in_a_line_are_replaced_and_the_rest_stays() {
        let secret = "0f".repeat(32);
        for line in [
            format!("opening run with rmt_12ab34cd_{secret} from 10.0.0.1"),
            format!("Authorization: Bearer {secret}, more"),
            format!("GET /v1/packs/aa?exp=1&sig={secret} 200"),
            format!("{{\"session\":\"{secret}\",\"lapses\":900}}"),
            format!("{{\"token\": \"rmt_12ab34cd_{secret}\"}}"),
        ] {
            let redacted = redact(&line);
            assert!(!redacted.contains(&secret), "{redacted}");
            assert!(redacted.contains("***"), "{redacted}");
        }
        assert_eq!(redact("nothing é to hide\n"), "nothing é to hide\n");
        assert_eq!(redact("sig=a b sig=c"), "sig=*** b sig=***");
        assert_eq!(redact("bearer "), "bearer ***");
    }
}
