//! The messages of agents without a token, PINs and network boot, for the OpenAPI document.
//!
//! In: nothing. Out: one table, as in `schemas`.
//! Promise: the same test compares it with the wire's types.

use super::schemas::Kind::{Any, Flag, Integer, List, Of, Text, Words};
use super::schemas::{ACTION, Kind, SCOPES, Schema, field, maybe, schema};

const MODE: Kind = Words(&["menu", "capture", "restore", "inventory", "job", "wait"]);
pub(super) const THEN: Kind = Words(&["reboot", "poweroff", "wait"]);
const STATE: Kind = Words(&["waiting", "go", "nothing", "claimed"]);

/// The messages.
pub static SCHEMAS: &[Schema] = &[
    schema(
        "Hello",
        "An agent without a token",
        &[
            field("agent", Text, "its version; this and the previous minor version are accepted"),
            field("nonce", Text, "32 lower-case hex digits, the same for one boot"),
            field("mode", MODE, "what its boot line says"),
            field("machine", Any, "host, uuid, serial, vendor, product, firmware"),
            field("macs", List(&Text), "permanent addresses of its cards, at most 32"),
            field("disks", List(&Of("DiskSeen")), "its disks, at most 64"),
            maybe("hardware", Of("Hardware"), "what else it has"),
        ],
    ),
    schema(
        "DiskSeen",
        "A disk of such an agent",
        &[
            field("name", Text, "as its kernel calls it"),
            field("size", Integer, "bytes"),
            field("sector", Integer, "bytes per logical sector"),
            maybe("model", Text, "model"),
            maybe("serial", Text, "serial number"),
            maybe("wwn", Text, "world-wide name"),
            maybe("holds", Text, "the table or file system on it; empty for none, absent where nobody looked"),
            maybe(
                "controllers",
                List(&Text),
                "modaliases between its processor and it, the outermost first, at most 8",
            ),
            field("named_only", Flag, "a candidate only where it is named"),
        ],
    ),
    schema(
        "Orders",
        "What such an agent does next",
        &[
            field("state", STATE, "what to do"),
            field("code", Text, "8 characters, shown as XXXX-XXXX: what an operator approves"),
            field("poll", Integer, "seconds until the next Hello"),
            maybe("work", Of("Work"), "with go: what"),
            field("message", Text, "a sentence for the console; may be empty"),
        ],
    ),
    schema(
        "Work",
        "One thing to do",
        &[
            field("action", ACTION, "direction"),
            field("image", Text, "NAME or NAME@ID"),
            field("token", Text, "a token for exactly this, for one run"),
            maybe("then", THEN, "what follows"),
            field("disk", Text, "which disk, as clone.disk takes it; empty where the agent chooses"),
            maybe("job", Integer, "the job whose work it is"),
            field("blank_only", Flag, "refuse disks that hold a table or a file system"),
        ],
    ),
    schema(
        "EnterPin",
        "A PIN that was typed",
        &[field("nonce", Text, "of a boot that has said Hello"), field("pin", Text, "8 digits")],
    ),
    schema(
        "PinAccepted",
        "What a PIN gives",
        &[
            field("token", Text, "a token of the PIN's scopes, images and expiry"),
            field("scopes", SCOPES, "what it may do"),
            field("images", Text, "pattern of image names"),
        ],
    ),
    schema(
        "AgentSeen",
        "An agent without a token, as operators see it",
        &[
            field("code", Text, "XXXX-XXXX"),
            field("state", STATE, "what it was answered last"),
            field("seen", Text, "RFC 3339"),
            field("peer", Text, "where it asked from"),
            field("hello", Of("Hello"), "what it said last"),
            maybe("work", Text, "the image of its work"),
            field("note", Text, "what else an operator should know; may be empty"),
        ],
    ),
    schema(
        "Approve",
        "Work for such an agent: exactly one of capture, restore and job",
        &[
            maybe("capture", Text, "NAME"),
            maybe("restore", Text, "NAME or NAME@ID"),
            maybe("job", Integer, "the job of its machine that waits for this word"),
            maybe("then", THEN, "what follows"),
            field("disk", Text, "which disk, as clone.disk takes it; empty where the agent chooses"),
        ],
    ),
    schema(
        "AddPin",
        "A PIN to make",
        &[
            field("scopes", SCOPES, "what its tokens may do; not admin"),
            field("images", Text, "pattern of image names"),
            field("expires", Integer, "seconds, at most a week"),
        ],
    ),
    schema(
        "PinAdded",
        "A PIN that was made",
        &[field("id", Text, "its id"), field("pin", Text, "8 digits; shown this once")],
    ),
    schema(
        "PinInfo",
        "A PIN without its digits",
        &[
            field("id", Text, "its id"),
            field("scopes", SCOPES, "what its tokens may do"),
            field("images", Text, "pattern of image names"),
            field("expires", Text, "RFC 3339"),
            field("tries", Integer, "wrong tries that are left; with none it is void"),
        ],
    ),
    schema(
        "Arm",
        "What a machine does at its next network boots",
        &[
            field("mode", MODE, "capture, restore, inventory or menu"),
            maybe("image", Text, "needed by capture and restore"),
            field("once", Flag, "disarmed when a run of it is done"),
            maybe("expires", Integer, "seconds until it is disarmed by itself"),
            maybe("then", THEN, "what follows"),
            field("disk", Text, "which disk, as clone.disk takes it"),
            field("name", Text, "a name for people"),
        ],
    ),
    schema(
        "Armed",
        "A machine that is armed",
        &[
            field("mac", Text, "its card"),
            field("arm", Of("Arm"), "what it does"),
            maybe("expires", Text, "RFC 3339; null for never"),
            maybe("fetched", Text, "RFC 3339: its boot script was fetched last"),
        ],
    ),
    schema(
        "Installed",
        "Boot files on the server",
        &[
            field("version", Text, "the agent's version; empty when nothing is installed"),
            field("kernel", Text, "the kernel's version"),
            field("built", Integer, "when it was built, seconds since 1970"),
            field("files", List(&Of("BootFile")), "the files"),
        ],
    ),
    schema(
        "BootFile",
        "One boot file",
        &[field("name", Text, "its name"), field("size", Integer, "bytes"), field("sha256", Text, "64 hex digits")],
    ),
];

#[cfg(test)]
mod tests {
    use crate::boot::files::{BootFile, Installed};
    use crate::openapi::schemas::tests::keys;
    use ramet_wire::ImageGlob;
    use ramet_wire::agents::*;
    use ramet_wire::api::{Action, Scope};
    use ramet_wire::manifest::Source;
    use ramet_wire::settings::{Mac, Mode, Then};

    fn text() -> String {
        String::new()
    }

    #[test]
    fn every_message_of_agents_has_the_fields_that_the_document_says() {
        let disk = DiskSeen {
            name: text(),
            size: 1,
            sector: 512,
            model: Some(text()),
            controllers: vec![text()],
            ..DiskSeen::default()
        };
        let hello = Hello {
            agent: text(),
            nonce: text(),
            mode: Mode::Job,
            machine: Source::default(),
            macs: vec![Mac([2; 6])],
            disks: vec![disk.clone()],
            hardware: Some(Box::default()),
        };
        let work = Work {
            action: Action::Capture,
            image: "web".parse().unwrap(),
            token: text(),
            then: Some(Then::Wait),
            disk: text(),
            job: Some(1),
            blank_only: false,
            adapt: None,
        };
        keys("DiskSeen", disk);
        keys("Hello", &hello);
        let orders = Orders { state: OrderState::Go, code: text(), poll: 1, work: Some(work.clone()), message: text() };
        keys("Orders", orders);
        keys("Work", work);
        keys("EnterPin", EnterPin { nonce: text(), pin: text() });
        keys("PinAccepted", PinAccepted { token: text(), scopes: vec![Scope::Restore], images: ImageGlob::any() });
        let state = OrderState::Claimed;
        let (seen, peer, work, note) = (text(), text(), Some("web".parse().unwrap()), text());
        keys("AgentSeen", AgentSeen { code: text(), state, seen, peer, hello, work, note });
        let (capture, restore) = (Some("web".parse().unwrap()), Some("web".parse().unwrap()));
        keys("Approve", Approve { capture, restore, job: None, then: Some(Then::Reboot), disk: text() });
        keys("AddPin", AddPin { scopes: vec![Scope::Capture], images: ImageGlob::any(), expires: 1 });
        keys("PinAdded", PinAdded { id: text(), pin: text() });
        let (scopes, images) = (vec![], ImageGlob::any());
        keys("PinInfo", PinInfo { id: text(), scopes, images, expires: text(), tries: 1 });
        let arm = Arm {
            mode: Mode::Restore,
            image: Some("web".parse().unwrap()),
            once: true,
            expires: Some(1),
            then: Some(Then::Poweroff),
            disk: text(),
            name: text(),
        };
        keys("Arm", &arm);
        let file = BootFile { name: text(), size: 1, sha256: text() };
        keys("BootFile", &file);
        keys("Installed", Installed { version: text(), kernel: text(), built: 1, files: vec![file] });
        keys("Armed", Armed { mac: Mac([2; 6]), arm, expires: Some(text()), fetched: None });
    }
}
