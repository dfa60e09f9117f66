//! The messages about machines, rules and jobs, for the OpenAPI document.
//!
//! In: nothing. Out: one table, as in `schemas`.
//! Promise: the same test compares it with the wire's types.

use super::schemas::Kind::{Any, Flag, Integer, List, Of, Text, Words};
use super::schemas::{Schema, field, maybe, schema};

/// The messages.
pub static SCHEMAS: &[Schema] = &[
    schema(
        "Hardware",
        "What a machine consists of, disks apart",
        &[
            field("cpu", Any, "model, sockets, cores, threads"),
            field("memory", Integer, "bytes; 0 where it is not known"),
            maybe("cards", List(&Of("Card")), "network cards, at most 32"),
            maybe("secure_boot", Words(&["on", "off", "setup"]), "Secure Boot"),
            maybe("pci", List(&Text), "modaliases of PCI functions, at most 256"),
            maybe("usb", List(&Text), "modaliases of USB interfaces, at most 128"),
        ],
    ),
    schema(
        "Card",
        "A network card",
        &[
            field("name", Text, "as its kernel calls it"),
            field("mac", Text, "its permanent address"),
            field("link", Flag, "it has a link"),
            maybe("speed", Integer, "Mbit/s"),
            maybe("driver", Text, "the kernel's driver"),
            maybe("neighbour", Any, "system and port of the switch, by LLDP"),
        ],
    ),
    schema(
        "AuditEvent",
        "What an operator did",
        &[
            field("id", Integer, "ascending"),
            field("at", Text, "RFC 3339"),
            field("who", Text, "operator ID, rule 3, server"),
            field("peer", Text, "from where; empty for the server itself"),
            field("what", Text, "method and route"),
            field("object", Text, "onto what"),
            field("result", Text, "done, or why not"),
        ],
    ),
];

#[cfg(test)]
mod tests {
    use super::super::schemas::tests::keys;
    use ramet_wire::hardware::{Card, Hardware};
    use ramet_wire::machines::AuditEvent;
    use ramet_wire::settings::Mac;

    #[test]
    fn every_message_of_the_fleet_has_the_fields_that_the_document_says() {
        keys("Hardware", Hardware::default());
        let text = String::new;
        let (who, peer, what, object, result) = (text(), text(), text(), text(), text());
        keys("AuditEvent", AuditEvent { id: 1, at: text(), who, peer, what, object, result });
        let (name, mac) = (String::new(), Mac([2; 6]));
        keys("Card", Card { name, mac, link: true, speed: Some(1), driver: None, neighbour: None });
    }
}
