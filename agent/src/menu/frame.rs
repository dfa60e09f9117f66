//! A screen as cells, and the bytes that turn the last one into the next.
//!
//! In: text at places. Out: ANSI sequences that the Linux console, xterm and serial terminals all understand.
//! Promise: only differences are sent, so that 9,600 baud keep up; no character beyond ASCII, no write to the last cell.

use super::screen::{HEIGHT, WIDTH};
use std::fmt::Write as _;

/// How a cell looks: three ways that every terminal has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Style {
    /// As text is.
    #[default]
    Plain,
    /// Bright.
    Bold,
    /// Reverse.
    Bar,
}

impl Style {
    /// Select Graphic Rendition (ECMA-48, 8.3.117).
    const fn sequence(self) -> &'static str {
        match self {
            Self::Plain => "\x1b[0m",
            Self::Bold => "\x1b[0;1m",
            Self::Bar => "\x1b[0;7m",
        }
    }
}

type Cell = (u8, Style);
const BLANK: Cell = (b' ', Style::Plain);
/// Sending so many equal cells again is shorter than moving the cursor over them.
const NEAR: usize = 6;

/// 80 × 24 cells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    cells: Vec<[Cell; WIDTH]>,
}

impl Default for Frame {
    fn default() -> Self {
        Self { cells: vec![[BLANK; WIDTH]; HEIGHT] }
    }
}

impl Frame {
    /// Writes `text` from `column` of `row` on, cut at the edge. What is not printable ASCII becomes `?`.
    pub fn put(&mut self, row: usize, column: usize, text: &str, style: Style) {
        let Some(cells) = self.cells.get_mut(row) else { return };
        for (cell, c) in cells.iter_mut().skip(column).zip(text.chars()) {
            let byte = u8::try_from(c).ok().filter(|byte| matches!(byte, 0x20..=0x7e)).unwrap_or(b'?');
            *cell = (byte, style);
        }
    }

    /// Fills `row` with `style`.
    pub fn bar(&mut self, row: usize, style: Style) {
        if let Some(cells) = self.cells.get_mut(row) {
            cells.iter_mut().for_each(|cell| *cell = (b' ', style));
        }
    }

    /// The text of all rows, without blanks at their ends: for tests and for people who report a screen.
    #[must_use]
    pub fn text(&self) -> String {
        let row = |cells: &[Cell; WIDTH]| {
            let text: String = cells.iter().map(|cell| char::from(cell.0)).collect();
            text.trim_end().to_owned()
        };
        self.cells.iter().map(row).collect::<Vec<_>>().join("\n")
    }
}

/// Knows what the consoles show.
#[derive(Debug, Default)]
pub struct Painter {
    shown: Option<Frame>,
}

impl Painter {
    /// Whatever the consoles show now is not to be trusted: the next frame is sent whole.
    pub fn forget(&mut self) {
        self.shown = None;
    }

    /// The bytes that make the consoles show `frame`; none when they do already.
    #[must_use]
    pub fn paint(&mut self, frame: &Frame) -> Vec<u8> {
        let mut out = String::new();
        let blank = Frame::default();
        let before = match &self.shown {
            Some(before) => before,
            None => {
                // Attributes off, cursor hidden, everything erased.
                out.push_str("\x1b[0m\x1b[?25l\x1b[2J");
                &blank
            }
        };
        let mut style = Style::Plain;
        for (row, (old, new)) in before.cells.iter().zip(&frame.cells).enumerate() {
            // A character in the last cell of the last row makes some terminals scroll.
            let width = if row + 1 == HEIGHT { WIDTH - 1 } else { WIDTH };
            for (start, end) in changes(&old[..width], &new[..width]) {
                let _ = write!(out, "\x1b[{};{}H", row + 1, start + 1);
                for cell in &new[start..end] {
                    if cell.1 != style {
                        style = cell.1;
                        out.push_str(style.sequence());
                    }
                    out.push(char::from(cell.0));
                }
            }
        }
        if style != Style::Plain {
            out.push_str(Style::Plain.sequence());
        }
        self.shown = Some(frame.clone());
        out.into_bytes()
    }

    /// The bytes that leave a clean terminal behind.
    #[must_use]
    pub const fn leave() -> &'static [u8] {
        b"\x1b[0m\x1b[2J\x1b[H\x1b[?25h"
    }
}

/// Ranges of cells that differ, near ones joined.
fn changes(old: &[Cell], new: &[Cell]) -> Vec<(usize, usize)> {
    let mut ranges: Vec<(usize, usize)> = Vec::new();
    for at in (0..new.len()).filter(|at| old[*at] != new[*at]) {
        match ranges.last_mut() {
            Some((_, end)) if at - *end <= NEAR => *end = at + 1,
            _ => ranges.push((at, at + 1)),
        }
    }
    ranges
}

#[cfg(test)]
mod tests {
    use super::*;

    fn painted(painter: &mut Painter, frame: &Frame) -> String {
        String::from_utf8(painter.paint(frame)).unwrap()
    }

    #[test]
    fn only_differences_are_sent_and_a_frame_twice_is_nothing() {
        let (mut painter, mut frame) = (Painter::default(), Frame::default());
        frame.put(2, 3, "restoring 41%", Style::Plain);
        frame.put(4, 0, "table", Style::Bold);
        let first = painted(&mut painter, &frame);
        assert_eq!(first, "\x1b[0m\x1b[?25l\x1b[2J\x1b[3;4Hrestoring 41%\x1b[5;1H\x1b[0;1mtable\x1b[0m");
        assert_eq!(painted(&mut painter, &frame), "");
        frame.put(2, 3, "restoring 42%", Style::Plain);
        assert_eq!(painted(&mut painter, &frame), "\x1b[3;15H2");
        frame.put(2, 3, "Restoring 43!", Style::Plain);
        assert_eq!(painted(&mut painter, &frame), "\x1b[3;4HR\x1b[3;15H3!");
        painter.forget();
        assert!(painted(&mut painter, &frame).starts_with("\x1b[0m\x1b[?25l\x1b[2J"));
    }

    #[test]
    fn what_is_not_ascii_never_reaches_a_terminal() {
        let (mut painter, mut frame) = (Painter::default(), Frame::default());
        frame.put(0, 0, "gr\u{fc}n\x1b[2J\u{202e}", Style::Plain);
        assert_eq!(frame.text().lines().next(), Some("gr?n?[2J?"));
        assert!(painter.paint(&frame).is_ascii());
    }

    #[test]
    fn text_is_cut_at_the_edge_and_the_last_cell_stays_unwritten() {
        let (mut painter, mut frame) = (Painter::default(), Frame::default());
        frame.put(0, 78, "abc", Style::Plain);
        frame.put(99, 0, "nowhere", Style::Plain);
        frame.bar(HEIGHT - 1, Style::Bar);
        let bytes = painted(&mut painter, &frame);
        assert!(bytes.contains("\x1b[1;79Hab\x1b[24;1H"), "{bytes:?}");
        let bar = bytes.split("\x1b[0;7m").nth(1).unwrap();
        assert_eq!(bar.chars().take_while(|c| *c == ' ').count(), WIDTH - 1);
    }
}
