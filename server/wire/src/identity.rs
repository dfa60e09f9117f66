//! Who a clone is: declared by an operator in TOML, rendered for one machine, carried out by its agent.
//!
//! In: TOML of an operator; variables of the inventory. Out: the same, checked and with all variables filled in.
//! Promise: an unknown key is a refusal; what does not render or is out of bounds is found here, before any disk is touched.

use serde::{Deserialize, Serialize};

/// Largest declaration, in bytes.
pub const IDENTITY_MAX: usize = 1 << 20;

/// A declaration. Every text may hold variables (`{{ name }}`) until it is rendered.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Identity {
    /// Host name, short or with its domain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hostname: Option<String>,
}

/// What a declaration can name: `{{ name }}`, `{{ macs[0] }}`, `{{ serial }}`, `{{ uuid }}`, `{{ tags }}`, `{{ group }}`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Vars {
    /// The machine's name in the inventory.
    pub name: String,
    /// Addresses of its cards, ascending.
    #[serde(default)]
    pub macs: Vec<String>,
    /// SMBIOS serial number; may be empty.
    #[serde(default)]
    pub serial: String,
    /// SMBIOS UUID; may be empty.
    #[serde(default)]
    pub uuid: String,
    /// Its tags, ascending.
    #[serde(default)]
    pub tags: Vec<String>,
    /// Its group; may be empty.
    #[serde(default)]
    pub group: String,
}

/// Why a declaration is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdentityError {
    /// Too large.
    #[error("identity has {0} bytes, {IDENTITY_MAX} are allowed")]
    Size(usize),
    /// No TOML, or not of this shape.
    #[error("reading identity as TOML: {0}")]
    Toml(String),
    /// A text does not render.
    #[error("rendering {key}: {reason}")]
    Render {
        /// The key, dotted.
        key: String,
        /// Why.
        reason: String,
    },
    /// A value is out of bounds.
    #[error("{key} is {found:?}: {wanted}")]
    Value {
        /// The key, dotted.
        key: String,
        /// What it is.
        found: String,
        /// What it must be.
        wanted: String,
    },
}

impl Identity {
    /// Reads a declaration; variables stay as they are.
    ///
    /// # Errors
    /// [`IdentityError`].
    pub fn from_toml(text: &str) -> Result<Self, IdentityError> {
        if text.len() > IDENTITY_MAX {
            return Err(IdentityError::Size(text.len()));
        }
        toml::from_str(text).map_err(|error| IdentityError::Toml(error.to_string()))
    }

    /// What `self` (a machine's) says, and where it says nothing, what `under` (its tag's) says.
    #[must_use]
    pub fn over(self, under: Self) -> Self {
        Self { hostname: self.hostname.or(under.hostname) }
    }

    /// The same with all variables filled in, and checked.
    ///
    /// # Errors
    /// [`IdentityError`].
    pub fn render(&self, vars: &Vars) -> Result<Self, IdentityError> {
        let fill = |key: &str, text: &String| {
            let mut env = minijinja::Environment::new();
            env.set_undefined_behavior(minijinja::UndefinedBehavior::Strict);
            env.render_str(text, minijinja::value::Serde(vars))
                .map_err(|error| IdentityError::Render { key: key.to_owned(), reason: format!("{error:#}") })
        };
        Ok(Self { hostname: self.hostname.as_ref().map(|text| fill("hostname", text)).transpose()? })
    }
}
