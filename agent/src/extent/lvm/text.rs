//! The text that describes a volume group: sections of names and values.
//!
//! In: the text. Out: a tree that borrows from it.
//! Promise: depth, number of values and length of the text are bounded; a name twice in a section is a doubt.

use super::super::ExtentError;
use super::super::error::believe;

/// Deepest section: group, volumes, volume, segment is four.
const DEPTH_MAX: u32 = 8;
/// Names and values in one text; a segment of a volume has twelve.
const VALUES_MAX: usize = 300_000;

/// A number or a text, without its quotes. Escapes are left as they stand: no name has one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Item<'a> {
    Number(i64),
    Text(&'a str),
}

#[derive(Debug)]
pub(super) enum Value<'a> {
    Item(Item<'a>),
    List(Vec<Item<'a>>),
    Section(Section<'a>),
}

/// Names and values in their order.
#[derive(Debug, Default)]
pub(super) struct Section<'a>(pub Vec<(&'a str, Value<'a>)>);

impl<'a> Section<'a> {
    pub fn parse(text: &'a str) -> Result<Self, ExtentError> {
        let rest = text.trim_end_matches('\0');
        Parser { rest, len: rest.len(), values: 0 }.section(0)
    }

    pub fn get(&self, name: &str) -> Option<&Value<'a>> {
        self.0.iter().find(|(found, _)| *found == name).map(|(_, value)| value)
    }

    pub fn section(&self, name: &str) -> Option<&Self> {
        match self.get(name) {
            Some(Value::Section(section)) => Some(section),
            _ => None,
        }
    }

    pub fn sections(&self) -> impl Iterator<Item = (&'a str, &Self)> {
        self.0.iter().filter_map(|(name, value)| match value {
            Value::Section(section) => Some((*name, section)),
            _ => None,
        })
    }

    pub fn list(&self, name: &str) -> &[Item<'a>] {
        match self.get(name) {
            Some(Value::List(list)) => list,
            _ => &[],
        }
    }

    pub fn text(&self, name: &str) -> Result<&'a str, ExtentError> {
        match self.get(name) {
            Some(Value::Item(Item::Text(text))) => Ok(text),
            _ => Err(ExtentError::doubt(format!("text of a volume group lacks {name}"))),
        }
    }

    pub fn number(&self, name: &str) -> Result<u64, ExtentError> {
        match self.get(name) {
            Some(Value::Item(Item::Number(number))) => u64::try_from(*number)
                .map_err(|_| ExtentError::doubt(format!("text of a volume group has {name} = {number}"))),
            _ => Err(ExtentError::doubt(format!("text of a volume group lacks {name}"))),
        }
    }
}

struct Parser<'a> {
    rest: &'a str,
    len: usize,
    values: usize,
}

impl<'a> Parser<'a> {
    /// To the closing brace, or to the end of the text at depth 0.
    fn section(&mut self, depth: u32) -> Result<Section<'a>, ExtentError> {
        believe!(depth <= DEPTH_MAX, "text of a volume group is {depth} sections deep, at most {DEPTH_MAX} expected");
        let mut section = Section::default();
        loop {
            self.skip();
            if self.rest.is_empty() || self.rest.starts_with('}') {
                let closed = !self.rest.is_empty();
                believe!(closed == (depth > 0), "text of a volume group: braces do not match at byte {}", self.at());
                self.eat('}');
                break;
            }
            let name = self.word()?;
            self.skip();
            let value = if self.eat('{') {
                Value::Section(self.section(depth + 1)?)
            } else {
                let at = self.at();
                believe!(self.eat('='), "text of a volume group: neither = nor {{ at byte {at}");
                self.value()?
            };
            section.0.push((name, value));
        }
        let mut names: Vec<&str> = section.0.iter().map(|(name, _)| *name).collect();
        names.sort_unstable();
        if let Some(pair) = names.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(ExtentError::doubt(format!("text of a volume group has {} twice", pair[0])));
        }
        Ok(section)
    }

    fn value(&mut self) -> Result<Value<'a>, ExtentError> {
        self.skip();
        if !self.eat('[') {
            return self.item().map(Value::Item);
        }
        let mut list = Vec::new();
        loop {
            self.skip();
            if self.eat(']') {
                return Ok(Value::List(list));
            }
            if !list.is_empty() {
                let at = self.at();
                believe!(self.eat(','), "text of a volume group: no comma at byte {at}");
                self.skip();
            }
            list.push(self.item()?);
        }
    }

    fn item(&mut self) -> Result<Item<'a>, ExtentError> {
        self.count()?;
        let at = self.at();
        if self.eat('"') {
            let mut escaped = false;
            let end = self.rest.bytes().position(|byte| {
                let ends = byte == b'"' && !escaped;
                escaped = byte == b'\\' && !escaped;
                ends
            });
            let Some(end) = end else {
                return Err(ExtentError::doubt(format!("text of a volume group: a quote at byte {at} does not end")));
            };
            return Ok(Item::Text(self.take(end, 1)));
        }
        let end = self.rest.bytes().position(|byte| !(byte.is_ascii_digit() || byte == b'-'));
        let digits = self.take(end.unwrap_or(self.rest.len()), 0);
        let number = digits.parse();
        number
            .map(Item::Number)
            .map_err(|_| ExtentError::doubt(format!("text of a volume group: no value at byte {at}")))
    }

    fn word(&mut self) -> Result<&'a str, ExtentError> {
        self.count()?;
        let at = self.at();
        let end = self.rest.bytes().position(|byte| !(byte.is_ascii_alphanumeric() || b"_-+.".contains(&byte)));
        let word = self.take(end.unwrap_or(self.rest.len()), 0);
        believe!(!word.is_empty(), "text of a volume group: no name at byte {at}");
        Ok(word)
    }

    fn count(&mut self) -> Result<(), ExtentError> {
        self.values += 1;
        believe!(self.values <= VALUES_MAX, "text of a volume group has more than {VALUES_MAX} names and values");
        Ok(())
    }

    /// The next `len` bytes; `behind` more are left out.
    fn take(&mut self, len: usize, behind: usize) -> &'a str {
        // Ends stand before or behind ASCII, so they are character boundaries.
        let (taken, rest) = self.rest.split_at_checked(len).unwrap_or((self.rest, ""));
        self.rest = rest.get(behind..).unwrap_or("");
        taken
    }

    fn eat(&mut self, letter: char) -> bool {
        let rest = self.rest.strip_prefix(letter);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    /// Spaces and comments.
    fn skip(&mut self) {
        loop {
            self.rest = self.rest.trim_start_matches([' ', '\t', '\n', '\r']);
            if !self.rest.starts_with('#') {
                return;
            }
            let end = self.rest.find('\n').unwrap_or(self.rest.len());
            self.take(end, 0);
        }
    }

    const fn at(&self) -> usize {
        self.len - self.rest.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_values_of_all_kinds_are_read() {
        let text = "a { # text\n b = [\"x\", -3]\n c = \"q\\\"\"\n d {\n}\n e=[ ]}\nn = 7\n\0\0";
        let all = Section::parse(text).unwrap();
        let a = all.section("a").unwrap();
        assert_eq!(a.list("b"), [Item::Text("x"), Item::Number(-3)]);
        assert_eq!((a.text("c").unwrap(), all.number("n").unwrap()), ("q\\\"", 7));
        assert_eq!(a.sections().map(|(name, _)| name).collect::<Vec<_>>(), ["d"]);
        assert!(a.list("e").is_empty() && a.number("c").is_err() && a.text("b").is_err() && all.number("m").is_err());
    }

    #[test]
    fn what_is_no_such_text_is_a_doubt_that_says_where() {
        let deep = "a {".repeat(20);
        let many = "a = [".to_owned() + &"1,".repeat(VALUES_MAX);
        let cases: &[(&str, &str)] = &[
            ("a {", "braces do not match at byte 3"),
            ("}", "braces do not match at byte 0"),
            ("a", "neither = nor { at byte 1"),
            ("= 1", "no name at byte 0"),
            ("a = ", "no value at byte 4"),
            ("a = 1.5", "neither = nor { at byte 7"),
            ("a = \"x", "a quote at byte 4 does not end"),
            ("a = [1 2]", "no comma at byte 7"),
            ("a = 99999999999999999999", "no value at byte 4"),
            ("a = 1 b = 2 a = 3", "has a twice"),
            (&deep, "is 9 sections deep"),
            (&many, "more than 300000 names"),
        ];
        for (text, reason) in cases {
            let error = Section::parse(text).unwrap_err().to_string();
            assert!(error.contains(reason), "{error}: {reason}");
        }
        assert!(Section::parse("a = -1").unwrap().number("a").is_err());
    }
}
