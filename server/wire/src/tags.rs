//! Identities as operators declare them, for machines and for tags, and what comes of them.
//!
//! In and out: JSON bodies of `/v1/tags` and `/v1/machines/{machine}/identity`.
//! Promise: a declaration is kept as it was given; what an agent gets is the rendered one, and can be seen before.

use crate::identity::{Identity, Vars};
use crate::machines::Label;
use serde::{Deserialize, Serialize};

/// Largest declaration of a machine or of a tag, in bytes.
pub const DECLARED_MAX: usize = 64 << 10;

/// A declaration, as it was given.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Declared {
    /// The TOML.
    pub toml: String,
    /// Who gave it.
    pub by: String,
    /// RFC 3339.
    pub at: String,
}

/// `GET /v1/tags`: a tag that a machine has, or for which an identity is declared.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TagInfo {
    /// The tag.
    pub tag: Label,
    /// Machines that have it.
    pub machines: u64,
    /// An identity is declared for it.
    pub declared: bool,
}

/// `GET /v1/tags/{tag}`: a tag with its declaration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TagDetail {
    /// As in the list.
    pub tag: TagInfo,
    /// The declaration.
    #[serde(default)]
    pub identity: Option<Declared>,
}

/// `PUT /v1/tags/{tag}`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SetTag {
    /// Who the clones on its machines are, in TOML, at most [`DECLARED_MAX`] bytes; empty for nothing.
    pub identity: String,
}

/// `GET /v1/machines/{machine}/identity`: what a restore would make of the next clone on it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MachineIdentity {
    /// The machine.
    pub machine: Label,
    /// Where it comes from, the weakest first: `tag rack7`, `machine web02`; empty where nothing is declared.
    pub from: Vec<String>,
    /// What the templates were filled in with.
    pub vars: Vars,
    /// The declarations, merged and rendered.
    #[serde(default)]
    pub identity: Option<Identity>,
}
