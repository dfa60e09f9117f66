//! The messages about power, for the OpenAPI document.
//!
//! In: nothing. Out: one table, as in `schemas`.
//! Promise: the same test compares it with the wire's types.

use super::schemas::Kind::{Any, Flag, List, Number, Of, Text, Words};
use super::schemas::{Kind, Schema, field, maybe, schema};

const KIND: Kind = Words(&["auto", "ipmi", "redfish", "fence", "wol", "manual"]);
const STATE: Kind = Words(&["on", "off", "unknown"]);
const ACTION: Kind = Words(&["status", "on", "off", "cycle"]);
const TROUBLE: Kind = Words(&[
    "auth",
    "unreachable",
    "unsupported",
    "refused",
    "busy",
    "lies-ok",
    "missing-tool",
    "timeout",
    "manual",
    "stopped",
    "garbled",
    "settings",
    "unknown",
]);

/// The messages.
pub static SCHEMAS: &[Schema] = &[
    schema(
        "SetPower",
        "How a machine's power is reached",
        &[
            field("kind", KIND, "protocol; auto: a probe finds out whether it is Redfish or IPMI"),
            field("address", Text, "HOST[:PORT]; wol: an IPv4 broadcast address; manual: empty"),
            field("user", Text, "user of the BMC"),
            maybe("secret", Text, "its password; absent: the one that is there stays, if kind, address and user do"),
            field("options", Any, "agent, plug, fence, min_suite, system, macs"),
        ],
    ),
    schema(
        "PowerShown",
        "Power settings without the secret",
        &[
            field("kind", KIND, "protocol"),
            field("address", Text, "address"),
            field("user", Text, "user"),
            field("secret", Flag, "there is one"),
            field("options", Any, "as in SetPower"),
            maybe("probed", Of("Probed"), "what a probe found; none before the first"),
            maybe("pin", Text, "sha256: of the BMC's TLS certificate"),
        ],
    ),
    schema(
        "Probed",
        "What a probe found, and jobs rely on",
        &[
            field("at", Text, "RFC 3339"),
            field("kind", KIND, "the protocol that answered"),
            maybe("suite", Kind::Integer, "IPMI's cipher suite"),
            maybe("system", Text, "Redfish: path of the system"),
            field("next_boot", Flag, "a start from the network can be set; else the machine must be network-first"),
            field("reads_state", Flag, "its state can be read"),
            field("state", STATE, "during the probe"),
            field("notes", List(&Text), "what else an operator should know"),
        ],
    ),
    schema(
        "PowerOrder",
        "An order for machines",
        &[
            field("machines", List(&Text), "their names, at most 1000"),
            field("action", ACTION, "what"),
            field("force_off", Flag, "the power of a machine that does not go off by itself may be taken"),
            field("network", Flag, "the next start is from the network, once"),
        ],
    ),
    schema(
        "PowerDone",
        "What happened with one machine of an order",
        &[
            field("machine", Text, "its name"),
            field("state", STATE, "as it was read last"),
            maybe("error", Of("PowerFault"), "why it failed; none: it did not"),
            field("notes", List(&Text), "what else an operator should know"),
            field("seconds", Number, "how long it took"),
        ],
    ),
    schema(
        "PowerFault",
        "A failure, with what to do about it",
        &[
            field("trouble", TROUBLE, "which kind"),
            field("message", Text, "what happened"),
            field("next", Text, "what an operator does next"),
        ],
    ),
    schema(
        "PowerAttempt",
        "One thing that was tried",
        &[
            field("at", Text, "RFC 3339"),
            maybe("job", Kind::Integer, "the job that wanted it; none: an operator"),
            field("what", Text, "status, on, soft-off, hard-off, next-boot, probe"),
            field("how", Text, "ipmi suite 17, redfish, fence_wti, …"),
            field("result", Text, "ok, or a word of PowerFault's trouble"),
            field("detail", Text, "what was answered"),
            field("seconds", Number, "how long it took"),
        ],
    ),
];

#[cfg(test)]
mod tests {
    use super::super::schemas::tests::keys;
    use ramet_wire::power::*;

    #[test]
    fn every_message_of_power_has_the_fields_that_the_document_says() {
        let (kind, options) = (PowerKind::Redfish, PowerOptions::default());
        let text = String::new;
        let secret = Some(text());
        keys("SetPower", SetPower { kind, address: text(), user: text(), secret, options: options.clone() });
        let (next_boot, reads_state, state) = (true, true, PowerState::On);
        let (suite, system) = (Some(17), Some(text()));
        let probed = Probed { at: text(), kind, suite, system, next_boot, reads_state, state, notes: vec![] };
        keys("Probed", &probed);
        let (address, user, probed, pin) = (text(), text(), Some(probed), Some(text()));
        keys("PowerShown", PowerShown { kind, address, user, secret: true, options, probed, pin });
        let action = PowerAction::Cycle;
        keys("PowerOrder", PowerOrder { machines: vec![], action, force_off: true, network: true });
        let fault = PowerFault { trouble: Trouble::LiesOk, message: text(), next: text() };
        keys("PowerFault", &fault);
        keys("PowerDone", PowerDone { machine: text(), state, error: Some(fault), notes: vec![], seconds: 1.5 });
        let (what, how, result, detail) = (text(), text(), text(), text());
        keys("PowerAttempt", PowerAttempt { at: text(), job: Some(1), what, how, result, detail, seconds: 0.5 });
    }
}
