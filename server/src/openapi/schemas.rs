//! The main fields of every message, for the OpenAPI document.
//!
//! In: nothing. Out: one table; the types themselves are in the wire crate, which knows nothing of OpenAPI.
//! Promise: a test serialises each type and finds exactly the fields that stand here.

use utoipa::openapi::schema::{ArrayBuilder, ObjectBuilder, Type};
use utoipa::openapi::{OneOfBuilder, Ref, RefOr, Schema as Built};

/// One message.
#[derive(Debug)]
pub struct Schema {
    /// The type's name.
    pub name: &'static str,
    /// What it is.
    pub about: &'static str,
    /// Its fields; for an enum of words, none.
    pub fields: &'static [Field],
    /// More fields may come; they are described elsewhere.
    pub open: bool,
}

/// One field.
#[derive(Debug)]
pub struct Field {
    /// Its name.
    pub name: &'static str,
    /// What it holds.
    pub kind: Kind,
    /// It may be absent or null.
    pub optional: bool,
    /// What it means.
    pub about: &'static str,
}

/// What a field holds.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// Text.
    Text,
    /// A whole number.
    Integer,
    /// A number.
    Number,
    /// True or false.
    Flag,
    /// One of these words.
    Words(&'static [&'static str]),
    /// Another message.
    Of(&'static str),
    /// A list.
    List(&'static Kind),
    /// An object that is described elsewhere.
    Any,
}

use Kind::{Any, Flag, Integer, List, Number, Of, Text, Words};

pub(super) const fn field(name: &'static str, kind: Kind, about: &'static str) -> Field {
    Field { name, kind, optional: false, about }
}

pub(super) const fn maybe(name: &'static str, kind: Kind, about: &'static str) -> Field {
    Field { name, kind, optional: true, about }
}

pub(super) const fn schema(name: &'static str, about: &'static str, fields: &'static [Field]) -> Schema {
    Schema { name, about, fields, open: false }
}

pub(super) const ACTION: Kind = Words(&["capture", "restore"]);
pub(super) const SCOPES: Kind = List(&Words(&["capture", "restore", "admin", "metrics", "first-boot"]));

/// Messages of runs, images, tokens and upkeep.
pub static SCHEMAS: &[Schema] = &[
    schema(
        "ServerVersion",
        "Who is there",
        &[
            field("server", Text, "the server's version"),
            field("format", Integer, "the image format it stores"),
            field("key", Text, "fingerprint of its identity"),
            field("time", Integer, "its time of day, seconds since 1970"),
        ],
    ),
    schema(
        "OpenRun",
        "A run to open",
        &[
            field("agent", Text, "the agent's version; this and the previous minor version are accepted"),
            field("action", ACTION, "direction"),
            field("image", Text, "NAME, for a restore also NAME@ID"),
            maybe("partitions", List(&Integer), "restore: only these partitions; empty for whole disks"),
            maybe("machine", Any, "host, uuid, serial, vendor, product, firmware of the machine that asks"),
        ],
    ),
    schema(
        "RunOpened",
        "A run that is open",
        &[
            field("run", Text, "its id"),
            field("session", Text, "bearer secret for all further requests of this run"),
            field("server", Text, "the server's version"),
            field("lapses", Integer, "seconds without a request after which the session lapses"),
            maybe("image", Of("ImageInfo"), "restore: the version that is meant"),
        ],
    ),
    schema(
        "Heartbeat",
        "How far a run is",
        &[
            field("step", Text, "the step under way"),
            field("done", Integer, "bytes done"),
            field("total", Integer, "bytes to do"),
        ],
    ),
    schema("EndRun", "A run that ends without a result", &[field("error", Text, "why, for people")]),
    schema(
        "RunInfo",
        "A run as operators see it",
        &[
            field("run", Text, "its id"),
            field("action", ACTION, "direction"),
            field("image", Text, "NAME, with @ID once it is known"),
            field("state", Words(&["running", "done", "unproven", "failed", "lost"]), "state"),
            field("agent", Text, "address and machine"),
            field("started", Text, "RFC 3339"),
            maybe("ended", Text, "RFC 3339"),
            field("detail", Text, "step or error"),
            field("done", Integer, "bytes done"),
            field("total", Integer, "bytes to do"),
            maybe("receipt", Of("SignedReceipt"), "the countersigned receipt"),
        ],
    ),
    schema(
        "Located",
        "Where chunks are",
        &[
            field("packs", List(&Of("LocatedPack")), "the packs that hold them"),
            field("missing", List(&Integer), "indexes of ids that the store does not have"),
        ],
    ),
    schema(
        "LocatedPack",
        "One pack of an answer",
        &[
            field("pack", Text, "its SHA-256"),
            field("url", Text, "where to read it, absolute, with whatever is needed in its query"),
            field(
                "chunks",
                List(&List(&Integer)),
                "index of the id in the question, offset, stored length, raw length",
            ),
        ],
    ),
    schema(
        "Committed",
        "An image that was published",
        &[field("id", Text, "the new version"), field("number", Integer, "the store's commit number")],
    ),
    schema("StillMissing", "An image that cannot be published yet", &[field("missing", List(&Text), "ids of chunks")]),
    schema(
        "ImageInfo",
        "One version of an image",
        &[
            field("name", Text, "its name"),
            field("id", Text, "its version"),
            field("number", Integer, "the store's commit number; the highest of a name is its latest"),
            field("created", Text, "when it was captured, by the agent's clock"),
            field("state", Words(&["complete", "damaged"]), "whether it can be restored"),
            field("disks", Integer, "disks"),
            field("data_bytes", Integer, "data, raw"),
        ],
    ),
    schema(
        "SignedManifest",
        "A manifest as it lies",
        &[
            field("manifest", Text, "the JSON, byte for byte"),
            field("key", Text, "public key of the signer, base64"),
            field("signature", Text, "ECDSA P-256, DER, base64"),
        ],
    ),
    Schema {
        name: "Manifest",
        about: "What an image consists of; see FORMAT.md",
        fields: &[
            field("format", Integer, "1"),
            field("name", Text, "the session's image"),
            field("disks", List(&Any), "disks with tables, partitions and segments"),
        ],
        open: true,
    },
    schema("ReportDamage", "Chunks that arrived damaged", &[field("chunks", List(&Text), "their ids")]),
    schema(
        "DamageSeen",
        "What the server found of a report",
        &[
            field("struck", List(&Text), "chunks with a damaged copy"),
            field("lost", List(&Text), "chunks without a good copy"),
        ],
    ),
    Schema {
        name: "Receipt",
        about: "What a restore did and proved; see FORMAT.md",
        fields: &[
            field("format", Integer, "1"),
            field("image", Text, "name"),
            field("id", Text, "version"),
            field("origin", Any, "the key with which the manifest was checked"),
            maybe("run", Text, "the run"),
            field("agent", Text, "the agent's version"),
            field("finished", Text, "RFC 3339"),
            field("seconds", Number, "from plan to the last read-back"),
            field("fetched_bytes", Integer, "bytes fetched from the store"),
            maybe("notes", List(&Text), "what else was done or could not be"),
            maybe("adapted", Any, "what was done beyond the copy: changes, identity, without"),
            field("disks", List(&Any), "disks with proof and spaces"),
        ],
        open: true,
    },
    schema(
        "SignedReceipt",
        "A receipt that the server checked",
        &[
            field("receipt", Text, "the JSON, byte for byte"),
            field("key", Text, "the server's public key, base64"),
            field("signature", Text, "ECDSA P-256, DER, base64"),
        ],
    ),
    schema(
        "AddToken",
        "A token to make",
        &[
            field("scopes", SCOPES, "what it may do"),
            field("images", Text, "pattern of image names; * stands for anything"),
            maybe("expires", Integer, "seconds until it expires; null for never"),
            field("once", Flag, "void after one run"),
        ],
    ),
    schema(
        "TokenAdded",
        "A token that was made",
        &[field("id", Text, "its id"), field("token", Text, "the secret; shown this once")],
    ),
    schema(
        "TokenInfo",
        "A token without its secret",
        &[
            field("id", Text, "its id"),
            field("scopes", SCOPES, "what it may do"),
            field("images", Text, "pattern of image names"),
            maybe("expires", Text, "RFC 3339; null for never"),
            field("once", Flag, "void after one run"),
            field("used", Integer, "runs it opened"),
        ],
    ),
    Schema {
        name: "Line",
        about: "One line of an answer that takes its time; the last is report or error",
        fields: &[
            maybe("progress", Of("Progress"), "how far the work is"),
            maybe("report", Any, "the result: CheckSeen or CollectSeen"),
            maybe("error", Of("ApiError"), "it failed"),
        ],
        open: false,
    },
    schema(
        "Progress",
        "How far work is",
        &[field("done", Integer, "bytes done"), field("total", Integer, "bytes to do")],
    ),
    schema(
        "CheckSeen",
        "What a check found",
        &[
            field("clean", Flag, "nothing is damaged"),
            field("files", Integer, "files read"),
            field("bytes", Integer, "bytes read"),
            field("packs", Integer, "packs read"),
            field("chunks", Integer, "chunks decompressed and hashed"),
            field("damages", List(&Any), "object, reason, images"),
            field("images", List(&Any), "image, state, missing, problem"),
            field("strays", List(&Text), "files that are not of the store"),
        ],
    ),
    schema(
        "CollectSeen",
        "What a collect did",
        &[
            field("live_chunks", Integer, "chunks that images need"),
            field("rewritten_packs", Integer, "packs whose needed frames were written anew"),
            field("rewritten_bytes", Integer, "bytes of these"),
            field("condemned_packs", Integer, "packs condemned"),
            field("condemned_bytes", Integer, "bytes of these"),
            field("deleted_packs", Integer, "packs deleted"),
            field("deleted_bytes", Integer, "bytes of these"),
            field("waiting_packs", Integer, "packs that a later run will delete"),
            field("young_packs", Integer, "packs that are too young to go"),
        ],
    ),
    schema(
        "ApiError",
        "Why something is not done",
        &[
            field("kind", Words(&["retry", "refused", "damaged", "bug"]), "what can be done about it"),
            field("message", Text, "object, cause, both numbers"),
        ],
    ),
];

/// All messages, those of agents without a token too.
pub fn all() -> impl Iterator<Item = &'static Schema> {
    SCHEMAS
        .iter()
        .chain(super::agents::SCHEMAS)
        .chain(super::fleet::SCHEMAS)
        .chain(super::beyond::SCHEMAS)
        .chain(super::power::SCHEMAS)
}

impl Schema {
    /// As OpenAPI writes it.
    #[must_use]
    pub fn to_openapi(&self) -> Built {
        let mut object = ObjectBuilder::new().schema_type(Type::Object).description(Some(self.about));
        for field in self.fields {
            object = object.property(field.name, field.kind.to_openapi(field.about));
            if !field.optional {
                object = object.required(field.name);
            }
        }
        Built::Object(object.build())
    }
}

impl Kind {
    fn to_openapi(self, about: &str) -> RefOr<Built> {
        let plain = |kind: Type| ObjectBuilder::new().schema_type(kind).description(Some(about));
        let object = match self {
            Text => plain(Type::String),
            Integer => plain(Type::Integer),
            Number => plain(Type::Number),
            Flag => plain(Type::Boolean),
            Any => plain(Type::Object),
            Words(words) => plain(Type::String).enum_values(Some(words.iter().copied())),
            // A description beside a reference needs a wrapper.
            Of(name) => {
                let one = OneOfBuilder::new().item(Ref::from_schema_name(name)).description(Some(about));
                return Built::OneOf(one.build()).into();
            }
            List(item) => {
                let list = ArrayBuilder::new().items(item.to_openapi("")).description(Some(about));
                return Built::Array(list.build()).into();
            }
        };
        Built::Object(object.build()).into()
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::http::admin::Line;
    use ramet_wire::api::*;
    use ramet_wire::receipt::{Origin, Receipt, SignedReceipt};
    use ramet_wire::sign::{PublicKey, Signature};
    use ramet_wire::{ChunkId, Fingerprint, ImageGlob, ImageId, PackName};
    use serde::Serialize;
    use std::collections::BTreeSet;

    pub(in crate::openapi) fn keys(name: &str, value: impl Serialize) {
        let value = serde_json::to_value(value).unwrap();
        let found: BTreeSet<&str> = value.as_object().unwrap().keys().map(String::as_str).collect();
        let schema = all().find(|schema| schema.name == name).unwrap();
        for field in schema.fields.iter().filter(|field| !field.optional) {
            assert!(found.contains(field.name), "{name} has no {}", field.name);
            let value = &value[field.name];
            let fits = match field.kind {
                Text => value.is_string(),
                Integer => value.is_u64(),
                Number => value.is_number(),
                Flag => value.is_boolean(),
                Words(words) => words.contains(&value.as_str().unwrap()),
                List(_) => value.is_array(),
                Of(_) | Any => value.is_object(),
            };
            assert!(fits, "{name}.{} is {value}", field.name);
        }
        for key in found {
            assert!(schema.fields.iter().any(|field| field.name == key), "the document lacks {name}.{key}");
        }
    }

    fn receipt() -> SignedReceipt {
        SignedReceipt { receipt: String::new(), key: PublicKey([4; 65]), signature: Signature(vec![1]) }
    }

    #[test]
    fn every_message_has_the_fields_that_the_document_says() {
        let (image, id) = ("web".parse().unwrap(), ImageId([1; 8]));
        let key = Fingerprint([1; 32]);
        let info = ImageInfo {
            name: "web".parse().unwrap(),
            id,
            number: 1,
            created: String::new(),
            state: ImageState::Complete,
            disks: 1,
            data_bytes: 1,
        };
        keys("ServerVersion", ServerVersion { server: String::new(), format: 1, key, time: 1 });
        let machine = ramet_wire::manifest::Source::default();
        keys("OpenRun", OpenRun { agent: "1".into(), action: Action::Capture, image, partitions: vec![1], machine });
        let opened =
            RunOpened { run: "".into(), session: "".into(), server: "".into(), lapses: 1, image: Some(info.clone()) };
        keys("RunOpened", opened);
        keys("Heartbeat", Heartbeat::default());
        keys("EndRun", EndRun { error: String::new() });
        keys(
            "RunInfo",
            RunInfo {
                run: String::new(),
                action: Action::Restore,
                image: "web@0101010101010101".parse().unwrap(),
                state: RunState::Lost,
                agent: String::new(),
                started: String::new(),
                ended: None,
                detail: String::new(),
                done: 0,
                total: 0,
                receipt: Some(receipt()),
            },
        );
        let pack = LocatedPack { pack: PackName([1; 32]), url: String::new(), chunks: vec![(0, 8, 1, 1)] };
        keys("LocatedPack", &pack);
        keys("Located", Located { packs: vec![pack], missing: vec![] });
        keys("Committed", Committed { id, number: 1 });
        keys("StillMissing", StillMissing { missing: vec![ChunkId([1; 32])] });
        keys("ImageInfo", info);
        keys(
            "SignedManifest",
            SignedManifest { manifest: String::new(), key: PublicKey([4; 65]), signature: Signature(vec![1]) },
        );
        keys("ReportDamage", ReportDamage { chunks: vec![] });
        keys("DamageSeen", crate::http::chunks::DamageSeen { struck: vec![], lost: vec![] });
        keys(
            "Receipt",
            Receipt {
                format: 1,
                image: "web".parse().unwrap(),
                id,
                origin: Origin::Pinned(key),
                run: None,
                agent: String::new(),
                finished: String::new(),
                seconds: 1.5,
                fetched_bytes: 1,
                notes: vec!["a firmware entry was added".to_owned()],
                adapted: Some(ramet_wire::adapt::Adapted::default()),
                disks: vec![],
            },
        );
        keys("SignedReceipt", receipt());
        keys("AddToken", AddToken { scopes: vec![Scope::Admin], images: ImageGlob::any(), expires: None, once: false });
        keys("TokenAdded", TokenAdded { id: String::new(), token: String::new() });
        keys(
            "TokenInfo",
            TokenInfo { id: "".into(), scopes: vec![], images: ImageGlob::any(), expires: None, once: true, used: 0 },
        );
        keys("Line", Line::Progress { done: 1, total: 2 });
        keys("Line", Line::Error(ApiError { kind: ErrorKind::Bug, message: String::new() }));
        keys("ApiError", ApiError { kind: ErrorKind::Retry, message: String::new() });
    }
}
