//! Every route of the server: the one table.
//!
//! In: nothing. Out: method, path, who may call, how large a body may be, and which code answers.
//! Promise: the router, the OpenAPI document and the tests are made from this table and from nothing else.

use super::App;
use super::auth::Caller::{self, Admin, Anyone, FirstBoot, Metrics, SignedUrl, Token};
use super::{
    admin, agents, audit, boot, chunks, first_boot, images, jobs, machines, metrics, netboot, packs, pins, power,
    receipts, rules, runs, tags, tokens,
};
use axum::routing::{MethodRouter, delete, get, post, put};
use ramet_wire::api::{Action, BODY_MAX, IDS_MAX};
use ramet_wire::manifest::MANIFEST_MAX;
use ramet_wire::receipt::RECEIPT_MAX;
use std::sync::Arc;

/// An HTTP method that routes use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// And HEAD.
    Get,
    /// Changes something, or asks with a body.
    Post,
    /// Stores under a name; again is the same.
    Put,
    /// Takes away.
    Delete,
}

impl Verb {
    /// As HTTP spells it.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Delete => "DELETE",
        }
    }
}

/// What body a route takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Takes {
    /// None; what comes is not read.
    Nothing,
    /// A whole body in memory, at most so many bytes.
    Bytes(usize),
    /// A pack, with a content-length; streamed.
    Pack,
    /// A boot file, with a content-length; streamed.
    File,
}

/// One row.
#[derive(Debug)]
pub struct Route {
    /// Method.
    pub verb: Verb,
    /// Path, with `{parameters}`.
    pub path: &'static str,
    /// Who may call; nobody else.
    pub who: &'static [Caller],
    /// Its body.
    pub takes: Takes,
    /// The code that answers.
    pub handler: fn() -> MethodRouter<Arc<App>>,
    /// For the OpenAPI document: what it does.
    pub about: &'static str,
    /// For the document: schema of the request; empty for none, `binary` for bytes.
    pub request: &'static str,
    /// For the document: status and schema of the answer; `binary` for bytes, `[X]` for a list.
    pub answer: (u16, &'static str),
}

const CAPTURE: Caller = Caller::Session(Action::Capture);
const RESTORE: Caller = Caller::Session(Action::Restore);
const JSON: Takes = Takes::Bytes(BODY_MAX);
const IDS: Takes = Takes::Bytes(IDS_MAX * 32);
/// What strangers may send.
const HELLO: Takes = Takes::Bytes(agents::HELLO_MAX);
const PIN: Takes = Takes::Bytes(1024);
const BOOTED: Takes = Takes::Bytes(ramet_wire::adapt::BOOTED_MAX);

const fn row(
    verb: Verb,
    path: &'static str,
    who: &'static [Caller],
    takes: Takes,
    handler: fn() -> MethodRouter<Arc<App>>,
) -> Route {
    Route { verb, path, who, takes, handler, about: "", request: "", answer: (200, "") }
}

impl Route {
    const fn doc(self, about: &'static str, request: &'static str, answer: (u16, &'static str)) -> Self {
        Self { about, request, answer, ..self }
    }
}

/// All routes.
pub static ROUTES: &[Route] = &[
    row(Verb::Get, "/v1/version", &[Anyone], Takes::Nothing, || get(runs::version)).doc(
        "Who is there",
        "",
        (200, "ServerVersion"),
    ),
    row(Verb::Get, "/v1/openapi.json", &[Anyone], Takes::Nothing, || get(admin::openapi)).doc(
        "This document",
        "",
        (200, "object"),
    ),
    row(Verb::Post, "/v1/runs", &[Token], JSON, || post(runs::open)).doc(
        "Opens a run: a token against a session",
        "OpenRun",
        (201, "RunOpened"),
    ),
    row(Verb::Get, "/v1/runs", &[Admin], Takes::Nothing, || get(runs::list)).doc(
        "The newest runs",
        "",
        (200, "[RunInfo]"),
    ),
    row(Verb::Get, "/v1/runs/{run}", &[Admin], Takes::Nothing, || get(runs::show)).doc("One run", "", (200, "RunInfo")),
    row(Verb::Post, "/v1/runs/current", &[CAPTURE, RESTORE], JSON, || post(runs::heartbeat)).doc(
        "The session's run goes on",
        "Heartbeat",
        (204, ""),
    ),
    row(Verb::Post, "/v1/runs/current/end", &[CAPTURE, RESTORE], JSON, || post(runs::end)).doc(
        "The session's run is over without a result",
        "EndRun",
        (204, ""),
    ),
    row(Verb::Post, "/v1/chunks/missing", &[CAPTURE], IDS, || post(chunks::missing)).doc(
        "Which chunks the store lacks: ids of 32 bytes in, a bitmap out",
        "binary",
        (200, "binary"),
    ),
    row(Verb::Post, "/v1/chunks/locate", &[RESTORE], IDS, || post(chunks::locate)).doc(
        "Where chunks are: ids of 32 bytes in, signed addresses out",
        "binary",
        (200, "Located"),
    ),
    row(Verb::Put, "/v1/packs/{pack}", &[CAPTURE], Takes::Pack, || put(packs::upload)).doc(
        "Stores a pack under its SHA-256; again is the same",
        "binary",
        (204, ""),
    ),
    row(Verb::Get, "/v1/packs/{pack}", &[RESTORE, SignedUrl], Takes::Nothing, || get(packs::download)).doc(
        "A pack, or one range of it",
        "",
        (200, "binary"),
    ),
    row(Verb::Post, "/v1/images", &[CAPTURE], Takes::Bytes(MANIFEST_MAX), || post(images::commit)).doc(
        "Publishes the session's image, once",
        "Manifest",
        (201, "Committed"),
    ),
    row(Verb::Get, "/v1/images", &[Admin], Takes::Nothing, || get(images::list)).doc(
        "All images",
        "",
        (200, "[ImageInfo]"),
    ),
    row(Verb::Get, "/v1/images/{image}", &[Admin, RESTORE], Takes::Nothing, || get(images::show)).doc(
        "One version of an image; a session sees its own",
        "",
        (200, "ImageInfo"),
    ),
    row(Verb::Get, "/v1/images/{image}/manifest", &[Admin, RESTORE], Takes::Nothing, || get(images::manifest)).doc(
        "Manifest and signature as they lie; a session sees its own",
        "",
        (200, "SignedManifest"),
    ),
    row(Verb::Delete, "/v1/images/{image}", &[Admin], Takes::Nothing, || delete(images::remove)).doc(
        "Removes one version, or with a bare name all of them",
        "",
        (200, "[ImageInfo]"),
    ),
    row(Verb::Post, "/v1/images/{image}/check", &[Admin], Takes::Nothing, || post(images::check)).doc(
        "Reads every chunk of an image; lines of JSON",
        "",
        (200, "Line"),
    ),
    row(Verb::Post, "/v1/damage", &[RESTORE], JSON, || post(chunks::damage)).doc(
        "Chunks that arrived damaged; the server looks for itself",
        "ReportDamage",
        (200, "DamageSeen"),
    ),
    row(Verb::Post, "/v1/receipts", &[RESTORE], Takes::Bytes(RECEIPT_MAX), || post(receipts::accept)).doc(
        "The proof of a restore, compared with the manifest and signed",
        "Receipt",
        (201, "SignedReceipt"),
    ),
    row(Verb::Post, "/v1/store/check", &[Admin], Takes::Nothing, || post(admin::check)).doc(
        "Reads every file of the store; lines of JSON",
        "",
        (200, "Line"),
    ),
    row(Verb::Post, "/v1/store/collect", &[Admin], Takes::Nothing, || post(admin::collect)).doc(
        "Frees what no image needs; lines of JSON",
        "",
        (200, "Line"),
    ),
    row(Verb::Post, "/v1/tokens", &[Admin], JSON, || post(tokens::add)).doc(
        "Makes a token and shows it, once",
        "AddToken",
        (201, "TokenAdded"),
    ),
    row(Verb::Get, "/v1/tokens", &[Admin], Takes::Nothing, || get(tokens::list)).doc(
        "All tokens, without their secrets",
        "",
        (200, "[TokenInfo]"),
    ),
    row(Verb::Delete, "/v1/tokens/{token}", &[Admin], Takes::Nothing, || delete(tokens::remove)).doc(
        "Removes a token",
        "",
        (204, ""),
    ),
    row(Verb::Post, "/v1/agents", &[Anyone], HELLO, || post(agents::hello)).doc(
        "An agent without a token says who it is and asks for work, again and again",
        "Hello",
        (200, "Orders"),
    ),
    row(Verb::Get, "/v1/agents", &[Admin], Takes::Nothing, || get(agents::list)).doc(
        "Agents without a token that were heard of lately",
        "",
        (200, "[AgentSeen]"),
    ),
    row(Verb::Post, "/v1/agents/pin", &[Anyone], PIN, || post(pins::enter)).doc(
        "A person at an agent's console typed a PIN",
        "EnterPin",
        (200, "PinAccepted"),
    ),
    row(Verb::Get, "/v1/agents/images", &[Token], Takes::Nothing, || get(agents::images)).doc(
        "The newest version of each image that the token may restore",
        "",
        (200, "[ImageInfo]"),
    ),
    row(Verb::Post, "/v1/agents/{code}/approve", &[Admin], JSON, || post(agents::approve)).doc(
        "Gives an agent its work: a one-use token goes with its next Hello",
        "Approve",
        (200, "AgentSeen"),
    ),
    row(Verb::Get, "/v1/machines", &[Admin], Takes::Nothing, || get(machines::list)).doc(
        "The inventory, by name; `?tag=TAG` for those with a tag",
        "",
        (200, "[MachineInfo]"),
    ),
    row(Verb::Post, "/v1/machines", &[Admin], JSON, || post(machines::add)).doc(
        "Adds a machine that an operator knows; it is accepted",
        "AddMachine",
        (201, "MachineDetail"),
    ),
    row(Verb::Put, "/v1/machines", &[Admin], JSON, || put(machines::set_many)).doc(
        "Changes many machines in one transaction",
        "SetMachines",
        (200, "Changed"),
    ),
    row(Verb::Get, "/v1/machines/{machine}", &[Admin], Takes::Nothing, || get(machines::show)).doc(
        "All that is known of one machine",
        "",
        (200, "MachineDetail"),
    ),
    row(Verb::Put, "/v1/machines/{machine}", &[Admin], JSON, || put(machines::set)).doc(
        "Changes what is named",
        "SetMachine",
        (200, "MachineDetail"),
    ),
    row(Verb::Delete, "/v1/machines/{machine}", &[Admin], Takes::Nothing, || delete(machines::remove)).doc(
        "Removes a machine that no job works on",
        "",
        (204, ""),
    ),
    row(Verb::Post, "/v1/machines/{machine}/accept", &[Admin], JSON, || post(machines::accept)).doc(
        "Makes a machine that enrolled itself one of ours",
        "AcceptMachine",
        (200, "MachineDetail"),
    ),
    row(Verb::Get, "/v1/machines/{machine}/identity", &[Admin], Takes::Nothing, || get(tags::identity)).doc(
        "Who the next clone on a machine would be: what is declared for its tags and itself, merged and rendered",
        "",
        (200, "MachineIdentity"),
    ),
    row(Verb::Get, "/v1/tags", &[Admin], Takes::Nothing, || get(tags::list)).doc(
        "Tags that a machine has, or for which an identity is declared",
        "",
        (200, "[TagInfo]"),
    ),
    row(Verb::Get, "/v1/tags/{tag}", &[Admin], Takes::Nothing, || get(tags::show)).doc(
        "One tag with what is declared for it",
        "",
        (200, "TagDetail"),
    ),
    row(Verb::Put, "/v1/tags/{tag}", &[Admin], JSON, || put(tags::set)).doc(
        "Declares who the clones on the machines of a tag are",
        "SetTag",
        (200, "TagDetail"),
    ),
    row(Verb::Post, "/v1/rules", &[Admin], JSON, || post(rules::add)).doc(
        "Says what happens by itself, once for each machine",
        "AddRule",
        (201, "RuleInfo"),
    ),
    row(Verb::Get, "/v1/rules", &[Admin], Takes::Nothing, || get(rules::list)).doc(
        "All rules",
        "",
        (200, "[RuleInfo]"),
    ),
    row(Verb::Delete, "/v1/rules/{rule}", &[Admin], Takes::Nothing, || delete(rules::remove)).doc(
        "Removes a rule",
        "",
        (204, ""),
    ),
    row(Verb::Post, "/v1/jobs", &[Admin], JSON, || post(jobs::add)).doc(
        "Asks for work; with dry_run, and with 409 where a machine is refused, only says what would be done",
        "AddJobs",
        (201, "Plan"),
    ),
    row(Verb::Get, "/v1/jobs", &[Admin], Takes::Nothing, || get(jobs::list)).doc(
        "The newest jobs; `?open=1` for those that are not over, `?machine=NAME` for those of one",
        "",
        (200, "[JobInfo]"),
    ),
    row(Verb::Post, "/v1/jobs/current", &[Token, CAPTURE, RESTORE], JSON, || post(jobs::beat)).doc(
        "The agent of the token's or session's job lives",
        "JobBeat",
        (200, "JobWord"),
    ),
    row(Verb::Post, "/v1/jobs/current/leaving", &[Token, CAPTURE, RESTORE], JSON, || post(jobs::leaving)).doc(
        "The last word of that agent",
        "JobLeaving",
        (204, ""),
    ),
    row(Verb::Get, "/v1/jobs/{job}", &[Admin], Takes::Nothing, || get(jobs::show)).doc(
        "One job with its parts and all that happened",
        "",
        (200, "JobDetail"),
    ),
    row(Verb::Post, "/v1/jobs/{job}/cancel", &[Admin], Takes::Nothing, || post(jobs::cancel)).doc(
        "Ends a job, at any point; of a tree all parts",
        "",
        (200, "JobDetail"),
    ),
    row(Verb::Post, "/v1/jobs/{job}/retry", &[Admin], Takes::Nothing, || post(jobs::retry)).doc(
        "Begins a job anew that is over without proof; of a tree those parts",
        "",
        (200, "JobDetail"),
    ),
    row(Verb::Post, "/v1/first-boot", &[FirstBoot], BOOTED, || post(first_boot::call)).doc(
        "A clone has booted from its own disk and says who it is, once",
        "Booted",
        (204, ""),
    ),
    row(Verb::Post, "/v1/pins", &[Admin], JSON, || post(pins::add)).doc(
        "Makes a PIN and shows it, once",
        "AddPin",
        (201, "PinAdded"),
    ),
    row(Verb::Get, "/v1/pins", &[Admin], Takes::Nothing, || get(pins::list)).doc(
        "All PINs, without their digits",
        "",
        (200, "[PinInfo]"),
    ),
    row(Verb::Delete, "/v1/pins/{pin}", &[Admin], Takes::Nothing, || delete(pins::remove)).doc(
        "Removes a PIN and the tokens that were made from it",
        "",
        (204, ""),
    ),
    row(Verb::Get, "/v1/netboot", &[Admin], Takes::Nothing, || get(netboot::list)).doc(
        "Machines that are armed for network boot",
        "",
        (200, "[Armed]"),
    ),
    row(Verb::Put, "/v1/netboot/{mac}", &[Admin], JSON, || put(netboot::arm)).doc(
        "Arms a machine: what it does at its next network boots",
        "Arm",
        (200, "Armed"),
    ),
    row(Verb::Delete, "/v1/netboot/{mac}", &[Admin], Takes::Nothing, || delete(netboot::disarm)).doc(
        "Disarms a machine, and takes back a token that it was given and has not used",
        "",
        (204, ""),
    ),
    row(Verb::Get, "/v1/machines/{machine}/power", &[Admin], Takes::Nothing, || get(power::show)).doc(
        "How a machine's power is reached, without the secret",
        "",
        (200, "PowerShown"),
    ),
    row(Verb::Put, "/v1/machines/{machine}/power", &[Admin], JSON, || put(power::set)).doc(
        "Sets how a machine's power is reached; what a probe found before is forgotten",
        "SetPower",
        (200, "PowerShown"),
    ),
    row(Verb::Delete, "/v1/machines/{machine}/power", &[Admin], Takes::Nothing, || delete(power::remove)).doc(
        "Forgets how a machine's power is reached: a person switches it",
        "",
        (204, ""),
    ),
    row(Verb::Post, "/v1/machines/{machine}/power/probe", &[Admin], Takes::Nothing, || post(power::probe)).doc(
        "Finds out what a machine's power speaks, and remembers it; lines of JSON, the report is a PowerShown",
        "",
        (200, "Line"),
    ),
    row(Verb::Get, "/v1/machines/{machine}/power/attempts", &[Admin], Takes::Nothing, || get(power::attempts)).doc(
        "What was tried with a machine's power, the newest first",
        "",
        (200, "[PowerAttempt]"),
    ),
    row(Verb::Post, "/v1/power", &[Admin], JSON, || post(power::order)).doc(
        "Switches machines, or reads their states; lines of JSON, the report is a list of PowerDone",
        "PowerOrder",
        (200, "Line"),
    ),
    row(Verb::Put, "/v1/boot/{name}", &[Admin], Takes::File, || put(boot::put)).doc(
        "A boot file of a build; its build.json, sent last, installs what was sent",
        "binary",
        (200, "Installed"),
    ),
    row(Verb::Get, "/v1/boot", &[Admin], Takes::Nothing, || get(boot::list)).doc(
        "The installed boot files",
        "",
        (200, "Installed"),
    ),
    row(Verb::Delete, "/v1/boot", &[Admin], Takes::Nothing, || delete(boot::remove)).doc(
        "Removes the installed boot files",
        "",
        (204, ""),
    ),
    row(Verb::Get, "/v1/audit", &[Admin], Takes::Nothing, || get(audit::list)).doc(
        "What operators did, the newest first; ?most=N, at most 10000, and ?before=ID for those that are older",
        "",
        (200, "[AuditEvent]"),
    ),
    row(Verb::Get, "/metrics", &[Admin, Metrics], Takes::Nothing, || get(metrics::show)).doc(
        "What was done and what there is, as numbers in the OpenMetrics format",
        "",
        (200, "binary"),
    ),
    row(Verb::Post, "/v1/backup", &[Admin], Takes::Nothing, || post(admin::backup)).doc(
        "Identity, database and manifests, as a tar archive",
        "",
        (200, "binary"),
    ),
];
