//! The messages about what a destination becomes beyond the copy, for the OpenAPI document.
//!
//! In: nothing. Out: one table, as in `schemas`.
//! Promise: the same test compares it with the wire's types.

use super::schemas::Kind::{Any, Flag, Integer, List, Of, Text};
use super::schemas::{Schema, field, maybe, schema};

/// The messages.
pub static SCHEMAS: &[Schema] = &[
    schema(
        "Adapt",
        "What the destination of a restore becomes beyond the copy",
        &[
            field("size", Any, "keep, fill, or a layout"),
            maybe("identity", Any, "who the clone is, rendered for its machine"),
            field("new_uuids", Flag, "new UUIDs for tables, partitions and file systems"),
            maybe("first_boot", Of("FirstBoot"), "the clone calls once, when it has booted"),
        ],
    ),
    schema(
        "FirstBoot",
        "How a clone says that it has booted",
        &[
            field("server", Text, "the server's URL"),
            field("key", Text, "its pinned identity"),
            field("token", Text, "a token for this and nothing else, once"),
        ],
    ),
    schema(
        "Booted",
        "A clone says who it is",
        &[
            field("host", Text, "its host name"),
            field("kernel", Text, "its kernel's release"),
            field("os", Text, "its operating system, as PRETTY_NAME says"),
            field("machine_id", Text, "its machine-id"),
            field("addresses", List(&Text), "its addresses, at most 64"),
            field("ssh_keys", List(&Text), "fingerprints of its SSH host keys, SHA256:..., at most 16"),
        ],
    ),
    schema(
        "BootSeen",
        "The call of a clone",
        &[
            field("at", Text, "RFC 3339"),
            field("job", Integer, "the job that made the clone"),
            field("peer", Text, "from where"),
            field("booted", Of("Booted"), "what it said"),
        ],
    ),
    schema(
        "Becomes",
        "What a machine becomes beyond the copy, for people",
        &[
            maybe("hostname", Text, "the name that it gets"),
            field("identity", Flag, "it gets an identity"),
            field("new_uuids", Flag, "it gets new UUIDs"),
            field("size", Text, "keep, fill or layout"),
            field("first_boot", Flag, "it calls when it has booted"),
        ],
    ),
    schema(
        "Declared",
        "An identity as it was declared",
        &[field("toml", Text, "the TOML"), field("by", Text, "who gave it"), field("at", Text, "RFC 3339")],
    ),
    schema(
        "TagInfo",
        "A tag",
        &[
            field("tag", Text, "the tag"),
            field("machines", Integer, "machines that have it"),
            field("declared", Flag, "an identity is declared for it"),
        ],
    ),
    schema(
        "TagDetail",
        "A tag with what is declared for it",
        &[field("tag", Of("TagInfo"), "as in the list"), maybe("identity", Of("Declared"), "the declaration")],
    ),
    schema("SetTag", "What is declared for a tag", &[field("identity", Text, "TOML; empty for nothing")]),
    schema(
        "MachineIdentity",
        "Who the next clone on a machine would be",
        &[
            field("machine", Text, "the machine"),
            field("from", List(&Text), "whose declarations, the weakest first"),
            field("vars", Any, "what the templates were filled in with"),
            maybe("identity", Any, "the declarations, merged and rendered"),
        ],
    ),
];

#[cfg(test)]
mod tests {
    use super::super::schemas::tests::keys;
    use ramet_wire::Fingerprint;
    use ramet_wire::adapt::*;
    use ramet_wire::identity::Vars;
    use ramet_wire::tags::*;

    #[test]
    fn every_message_beyond_the_copy_has_the_fields_that_the_document_says() {
        let text = String::new;
        let call = FirstBoot { server: text(), key: Fingerprint([1; 32]), token: text() };
        keys("FirstBoot", &call);
        keys(
            "Adapt",
            Adapt {
                identity: Some(Box::default()),
                first_boot: Some(call),
                size: Size::Layout(Layout::default()),
                ..Adapt::default()
            },
        );
        keys("Booted", Booted::default());
        keys("BootSeen", BootSeen { at: text(), job: 1, peer: text(), booted: Booted::default() });
        keys("Becomes", Becomes::default());
        let declared = Declared { toml: text(), by: text(), at: text() };
        keys("Declared", &declared);
        let tag = TagInfo { tag: "a".parse().unwrap(), machines: 1, declared: true };
        keys("TagInfo", &tag);
        keys("TagDetail", TagDetail { tag, identity: Some(declared) });
        keys("SetTag", SetTag::default());
        let (machine, vars) = ("a".parse().unwrap(), Vars::default());
        keys("MachineIdentity", MachineIdentity { machine, from: vec![], vars, identity: Some(Default::default()) });
    }
}
