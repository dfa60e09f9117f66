//! Names of images, and what a token may reach of them.
//!
//! In: text from a command line, a token or the network. Out: a name that is safe in a path, a URL and a log.
//! Promise: `/`, `..`, NUL, spaces and names over 128 characters never get further than here.

use crate::id::ImageId;
use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

/// Longest image name, in bytes.
pub const NAME_MAX: usize = 128;

/// An image's name: `[A-Za-z0-9][A-Za-z0-9._-]{0,127}`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ImageName(String);

/// A name that is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadName {
    /// Empty or too long.
    #[error("image name has {0} characters, 1 to {NAME_MAX} are allowed")]
    Length(usize),
    /// A character that names do not have.
    #[error(
        "image name has {0:?} at position {1}; letters, digits, '.', '_' and '-' are allowed, the first a letter or digit"
    )]
    Character(char, usize),
    /// What follows the `@` is no id.
    #[error("image id {0:?} is not 16 lower-case hex digits")]
    Id(String),
}

impl ImageName {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ImageName {
    type Err = BadName;
    fn from_str(text: &str) -> Result<Self, BadName> {
        if text.is_empty() || text.len() > NAME_MAX {
            return Err(BadName::Length(text.chars().count()));
        }
        for (position, c) in text.chars().enumerate() {
            let allowed = c.is_ascii_alphanumeric() || (position > 0 && matches!(c, '.' | '_' | '-'));
            if !allowed {
                return Err(BadName::Character(c, position));
            }
        }
        Ok(Self(text.to_owned()))
    }
}

impl TryFrom<String> for ImageName {
    type Error = BadName;
    fn try_from(text: String) -> Result<Self, BadName> {
        text.parse()
    }
}

impl From<ImageName> for String {
    fn from(name: ImageName) -> Self {
        name.0
    }
}

impl fmt::Display for ImageName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// `NAME` (its latest version) or `NAME@ID` (exactly that one).
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ImageRef {
    /// Which image.
    pub name: ImageName,
    /// Which version; none means the one with the store's highest commit number.
    pub id: Option<ImageId>,
}

impl FromStr for ImageRef {
    type Err = BadName;
    fn from_str(text: &str) -> Result<Self, BadName> {
        let Some((name, id)) = text.split_once('@') else {
            return Ok(Self { name: text.parse()?, id: None });
        };
        let bad = |_| BadName::Id(id.chars().take(32).collect());
        Ok(Self { name: name.parse()?, id: Some(id.parse().map_err(bad)?) })
    }
}

impl TryFrom<String> for ImageRef {
    type Error = BadName;
    fn try_from(text: String) -> Result<Self, BadName> {
        text.parse()
    }
}

impl From<ImageRef> for String {
    fn from(image: ImageRef) -> Self {
        image.to_string()
    }
}

impl fmt::Display for ImageRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.id {
            Some(id) => write!(f, "{}@{id}", self.name),
            None => write!(f, "{}", self.name),
        }
    }
}

/// A pattern over image names: `*` stands for any run of characters, all else for itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ImageGlob(String);

impl ImageGlob {
    /// The pattern that matches every name.
    #[must_use]
    pub fn any() -> Self {
        Self("*".to_owned())
    }

    /// `name` is one of those meant. Linear in the name for each `*`: no backtracking blow-up.
    #[must_use]
    pub fn matches(&self, name: &ImageName) -> bool {
        let mut parts = self.0.split('*');
        let first = parts.next().unwrap_or_default();
        let Some(mut rest) = name.as_str().strip_prefix(first) else { return false };
        let mut parts = parts.peekable();
        if parts.peek().is_none() {
            return rest.is_empty();
        }
        while let Some(part) = parts.next() {
            if parts.peek().is_none() {
                return rest.ends_with(part);
            }
            let Some(at) = rest.find(part) else { return false };
            rest = &rest[at + part.len()..];
        }
        true
    }
}

impl FromStr for ImageGlob {
    type Err = BadName;
    fn from_str(text: &str) -> Result<Self, BadName> {
        if text.is_empty() || text.len() > NAME_MAX {
            return Err(BadName::Length(text.chars().count()));
        }
        let odd = |c: &(usize, char)| !(c.1.is_ascii_alphanumeric() || matches!(c.1, '.' | '_' | '-' | '*'));
        match text.chars().enumerate().find(odd) {
            Some((position, c)) => Err(BadName::Character(c, position)),
            None => Ok(Self(text.to_owned())),
        }
    }
}

impl TryFrom<String> for ImageGlob {
    type Error = BadName;
    fn try_from(text: String) -> Result<Self, BadName> {
        text.parse()
    }
}

impl From<ImageGlob> for String {
    fn from(glob: ImageGlob) -> Self {
        glob.0
    }
}

impl fmt::Display for ImageGlob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_names_that_could_leave_a_folder_or_a_line() {
        for bad in ["", "/", "a/b", "..", ".a", "-a", "a b", "a\0b", "a\nb", "é", "a%2f", &"x".repeat(300)] {
            assert!(bad.parse::<ImageName>().is_err(), "{bad:?}");
        }
        for good in ["a", "web-01.2026_11", &"x".repeat(128)] {
            assert!(good.parse::<ImageName>().is_ok(), "{good:?}");
        }
    }

    #[test]
    fn a_reference_is_a_name_or_a_name_and_an_id() {
        assert_eq!("web".parse::<ImageRef>().unwrap().id, None);
        let exact: ImageRef = "web@0123456789abcdef".parse().unwrap();
        assert_eq!(exact.to_string(), "web@0123456789abcdef");
        for bad in ["web@", "web@012345678", "web@0123456789ABCDEF", "@0123456789abcdef", "web@0123456789abcdef@"] {
            assert!(bad.parse::<ImageRef>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_glob_matches_as_shells_do() {
        let matches = |glob: &str, name: &str| glob.parse::<ImageGlob>().unwrap().matches(&name.parse().unwrap());
        assert!(matches("*", "web"));
        assert!(matches("web*", "web"));
        assert!(matches("w*b-*1", "web-01"));
        assert!(matches("*-*-*", "a-b-c"));
        assert!(!matches("web", "web2"));
        assert!(!matches("web-*", "db-1"));
        assert!(!matches("a*a", "a"));
        assert!("a?b".parse::<ImageGlob>().is_err());
    }
}
