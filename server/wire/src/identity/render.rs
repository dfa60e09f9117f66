//! Variables become values.
//!
//! In: a declaration and what the inventory knows of one machine. Out: the same without variables, checked.
//! Promise: a template computes nothing but which of its own words appear: no loops without end, no growth, no files.

use super::{Card, FileEntry, IDENTITY_MAX, Identity, IdentityError, Vars};
use std::collections::BTreeMap;

/// Instructions that one text may take.
const FUEL: u64 = 20_000;
/// Statements of a template; the others could make values that grow.
const STATEMENTS: &[&str] = &["if", "elif", "else", "endif", "for", "endfor"];

struct Filler<'a> {
    vars: &'a Vars,
    /// Bytes of all texts so far.
    bytes: usize,
}

/// Ends when enough was written.
struct Bounded {
    bytes: Vec<u8>,
    limit: usize,
}

impl std::io::Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        if self.bytes.len().saturating_add(bytes.len()) > self.limit {
            return Err(std::io::Error::other(format!("more than {IDENTITY_MAX} bytes come out")));
        }
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Identity {
    /// The same with all variables filled in, and checked.
    ///
    /// # Errors
    /// [`IdentityError`].
    pub fn render(&self, vars: &Vars) -> Result<Self, IdentityError> {
        let mut out = self.clone();
        let mut filler = Filler { vars, bytes: 0 };
        filler.optional("hostname", &mut out.hostname)?;
        filler.map("hosts", &mut out.hosts, |filler, key, names| filler.list(key, names))?;
        for (name, user) in &mut out.users {
            filler.lists(&format!("users.{name}.authorized-keys"), &mut user.authorized_keys)?;
        }
        for (name, card) in &mut out.network {
            filler.card(&format!("network.{name}"), card)?;
        }
        if let Some(cloud) = &mut out.cloud_init {
            filler.optional("cloud-init.user-data", &mut cloud.user_data)?;
            filler.optional("cloud-init.meta-data", &mut cloud.meta_data)?;
        }
        for (path, file) in &mut out.files {
            filler.file(&format!("files.{path:?}"), file)?;
        }
        out.check()?;
        Ok(out)
    }
}

/// Nothing that could read, include or grow: a few filters over words.
fn environment<'a>() -> minijinja::Environment<'a> {
    let mut env = minijinja::Environment::empty();
    env.set_undefined_behavior(minijinja::UndefinedBehavior::Strict);
    env.set_fuel(Some(FUEL));
    env.set_recursion_limit(32);
    env.add_filter("lower", |text: String| text.to_lowercase());
    env.add_filter("upper", |text: String| text.to_uppercase());
    env.add_filter("first", minijinja::filters::first);
    env.add_filter("last", minijinja::filters::last);
    env.add_filter("length", minijinja::filters::length);
    env.add_filter("join", minijinja::filters::join);
    env.add_filter("split", minijinja::filters::split);
    env
}

impl Filler<'_> {
    fn text(&mut self, key: &str, text: &mut String) -> Result<(), IdentityError> {
        let failed = |reason: String| IdentityError::Render { key: key.to_owned(), reason };
        if text.contains('{') {
            plain(text).map_err(failed)?;
            let mut out = Bounded { bytes: Vec::new(), limit: IDENTITY_MAX.saturating_sub(self.bytes) };
            // The engine takes the last line break away.
            let source = format!("{text}{}", if text.ends_with('\n') { "\n" } else { "" });
            let env = environment();
            let template = env.template_from_str(&source).map_err(|error| failed(format!("{error:#}")))?;
            template
                .render_captured_to(minijinja::value::Serde(self.vars), &mut out)
                .map_err(|error| failed(chain(&error)))?;
            *text = String::from_utf8(out.bytes).map_err(|_| failed("no UTF-8 comes out".to_owned()))?;
        }
        self.bytes = self.bytes.saturating_add(text.len());
        if self.bytes > IDENTITY_MAX { Err(IdentityError::Size(self.bytes)) } else { Ok(()) }
    }

    fn optional(&mut self, key: &str, text: &mut Option<String>) -> Result<(), IdentityError> {
        text.as_mut().map_or(Ok(()), |text| self.text(key, text))
    }

    fn list(&mut self, key: &str, list: &mut [String]) -> Result<(), IdentityError> {
        list.iter_mut().enumerate().try_for_each(|(index, text)| self.text(&format!("{key}[{index}]"), text))
    }

    fn lists(&mut self, key: &str, list: &mut Option<Vec<String>>) -> Result<(), IdentityError> {
        list.as_mut().map_or(Ok(()), |list| self.list(key, list))
    }

    /// Keys of a map are rendered, too: addresses of `hosts`.
    fn map<T: Clone>(
        &mut self,
        key: &str,
        map: &mut BTreeMap<String, T>,
        body: impl Fn(&mut Self, &str, &mut T) -> Result<(), IdentityError>,
    ) -> Result<(), IdentityError> {
        let mut out = BTreeMap::new();
        for (name, value) in map.iter() {
            let (mut name, mut value) = (name.clone(), value.clone());
            let dotted = format!("{key}.{name:?}");
            self.text(&dotted, &mut name)?;
            body(self, &dotted, &mut value)?;
            if out.insert(name.clone(), value).is_some() {
                let wanted = "each key once, also after variables are filled in".to_owned();
                return Err(IdentityError::Value { key: key.to_owned(), found: name, wanted });
            }
        }
        *map = out;
        Ok(())
    }

    fn card(&mut self, key: &str, card: &mut Card) -> Result<(), IdentityError> {
        self.optional(&format!("{key}.mac"), &mut card.mac)?;
        self.lists(&format!("{key}.addresses"), &mut card.addresses)?;
        self.lists(&format!("{key}.gateways"), &mut card.gateways)?;
        self.lists(&format!("{key}.dns"), &mut card.dns)?;
        self.lists(&format!("{key}.search"), &mut card.search)?;
        for (id, vlan) in &mut card.vlans {
            // Deeper ones are refused by the check.
            self.card(&format!("{key}.vlans.{id}"), vlan)?;
        }
        Ok(())
    }

    fn file(&mut self, key: &str, file: &mut FileEntry) -> Result<(), IdentityError> {
        self.optional(&format!("{key}.owner"), &mut file.owner)?;
        if file.template.is_some() && file.content.is_some() {
            let wanted = "exactly one of content, template and remove".to_owned();
            return Err(IdentityError::Value { key: key.to_owned(), found: "content and template".to_owned(), wanted });
        }
        if let Some(mut template) = file.template.take() {
            self.text(&format!("{key}.template"), &mut template)?;
            file.content = Some(template);
        } else {
            self.bytes = self.bytes.saturating_add(file.content.as_ref().map_or(0, String::len));
        }
        if self.bytes > IDENTITY_MAX { Err(IdentityError::Size(self.bytes)) } else { Ok(()) }
    }
}

/// Refuses what could make a value grow without writing it: assignments, blocks, and repetition by `*`.
fn plain(text: &str) -> Result<(), String> {
    let mut left = text;
    while let Some(start) = left.find('{') {
        left = &left[start + 1..];
        let (end, statement) = match left.as_bytes().first() {
            Some(b'{') => ("}}", false),
            Some(b'%') => ("%}", true),
            _ => continue,
        };
        left = &left[1..];
        let inside = &left[..left.find(end).unwrap_or(left.len())];
        if statement {
            let word = inside.trim_start_matches(['-', '+']).split_ascii_whitespace().next().unwrap_or_default();
            if !STATEMENTS.contains(&word.trim_end_matches('-')) {
                return Err(format!("{word:?} is none of the statements {}", STATEMENTS.join(", ")));
            }
        }
        if inside.contains('*') {
            return Err("a template cannot multiply".to_owned());
        }
    }
    Ok(())
}

/// The innermost reason: what a writer refused hides behind *could not write*.
fn chain(error: &minijinja::Error) -> String {
    let mut text = format!("{error:#}");
    let mut source = std::error::Error::source(error);
    while let Some(inner) = source {
        text = format!("{text}: {inner}");
        source = inner.source();
    }
    text
}
