//! What is remembered of runs, across restarts too.

use crate::harness::{Server, beat, image, open, receipt, upload};
use ramet_wire::api::{Action, Committed, Heartbeat, RunInfo, RunState, Scope, ServerVersion};
use ramet_wire::manifest::Source;
use ramet_wire::receipt::SignedReceipt;

#[test]
fn a_restart_keeps_identity_tokens_runs_and_sessions() {
    let mut server = Server::start();
    let wanted = image("web", 0..5);
    let committed = server.capture(&wanted);
    let token = server.token(&[Scope::Restore]);
    let (restore, _) = server.run(Action::Restore, "web");
    let (capture, http) = server.run(Action::Capture, "db");
    upload(&http, &image("db", 0..9));
    let key = server.running().fingerprint();
    server.restart();
    assert_eq!(server.running().fingerprint(), key);
    server.with_secret(&token).post("/v1/runs", &open(Action::Restore, "web")).done(201);
    let receipt = receipt(&server, &restore.run, &wanted, committed.id);
    server.with_secret(&restore.session).post("/v1/receipts", &receipt).done(201);
    let http = server.with_secret(&capture.session);
    upload(&http, &image("db", 0..9));
    http.send("POST", "/v1/images", &[], &image("db", 0..9).manifest).done(201);
    let runs: Vec<RunInfo> = server.as_operator().get("/v1/runs").json(200);
    assert_eq!(runs.len(), 4);
    assert_eq!(runs.iter().filter(|run| run.state == RunState::Done).count(), 3);
}

#[test]
fn a_killed_server_comes_back_with_what_it_answered() {
    let mut server = Server::start();
    let committed = server.capture(&image("web", 0..5));
    let (opened, http) = server.run(Action::Restore, "web");
    http.post("/v1/runs/current", &beat()).done(204);
    server.running.take().unwrap().abort();
    server.up();
    let info: ramet_wire::api::ImageInfo = server.as_operator().get("/v1/images/web").json(200);
    assert_eq!(info.id, committed.id);
    server.with_secret(&opened.session).post("/v1/runs/current", &beat()).done(204);
}

#[test]
fn an_answer_that_was_lost_with_the_server_is_given_again() {
    let mut server = Server::start();
    let wanted = image("web", 0..5);
    let (capture, http) = server.run(Action::Capture, "web");
    upload(&http, &wanted);
    let first: Committed = http.send("POST", "/v1/images", &[], &wanted.manifest).json(201);
    let (restore, http) = server.run(Action::Restore, "web");
    let receipt = receipt(&server, &restore.run, &wanted, first.id);
    let signed: SignedReceipt = http.post("/v1/receipts", &receipt).json(201);
    server.running.take().unwrap().abort();
    server.up();
    let http = server.with_secret(&capture.session);
    assert_eq!(http.send("POST", "/v1/images", &[], &wanted.manifest).json::<Committed>(201), first);
    http.send("POST", "/v1/chunks/missing", &[], &[1; 32]).refused(409);
    let http = server.with_secret(&restore.session);
    assert_eq!(http.post("/v1/receipts", &receipt).json::<SignedReceipt>(201), signed);
    let run: RunInfo = server.as_operator().get(&format!("/v1/runs/{}", restore.run)).json(200);
    assert_eq!(run.receipt, Some(signed));
}

#[test]
fn operators_see_how_far_a_run_is_and_who_runs_it() {
    let server = Server::start();
    let token = server.token(&[Scope::Capture]);
    let mut run = open(Action::Capture, "web");
    run.machine = Source { host: Some("build\x1b[2J-7".into()), serial: Some("S".repeat(5000)), ..Source::default() };
    let opened: ramet_wire::api::RunOpened = server.with_secret(&token).post("/v1/runs", &run).json(201);
    let http = server.with_secret(&opened.session);
    let beat = Heartbeat { step: "reading\u{202e} disk".into(), done: 5, total: u64::MAX };
    http.post("/v1/runs/current", &beat).done(204);
    let run: RunInfo = server.as_operator().get(&format!("/v1/runs/{}", opened.run)).json(200);
    assert_eq!((run.state, run.done, run.detail.as_str()), (RunState::Running, 5, "reading  disk"));
    assert!(run.agent.starts_with("127.0.0.1 build [2J-7 SSS") && run.agent.len() <= 200, "{}", run.agent);
    let runs: Vec<RunInfo> = server.as_operator().get("/v1/runs").json(200);
    assert_eq!(runs, [run]);
    server.as_operator().get("/v1/runs/0000000000000000").refused(404);
}

#[test]
fn the_version_names_the_format_and_the_identity() {
    let server = Server::start();
    let version: ServerVersion = server.as_nobody().get("/v1/version").json(200);
    assert_eq!(version.key, server.running().fingerprint());
    assert_eq!((version.format, version.server.as_str()), (1, ramet_server::http::VERSION));
}

#[test]
fn only_so_many_runs_and_tokens_are_kept() {
    let server = Server::with(|config| {
        config.limits.sessions = 2;
        config.limits.tokens = 3;
        config.limits.runs = 2;
    });
    let token = server.token(&[Scope::Capture]);
    let http = server.with_secret(&token);
    http.post("/v1/runs", &open(Action::Capture, "a")).done(201);
    http.post("/v1/runs", &open(Action::Capture, "b")).done(201);
    let refused = http.post("/v1/runs", &open(Action::Capture, "c")).refused(503);
    assert_eq!(refused.kind, ramet_wire::api::ErrorKind::Retry);
    server.token(&[Scope::Capture]);
    server.token(&[Scope::Capture]);
    let add = ramet_wire::api::AddToken {
        scopes: vec![Scope::Capture],
        images: ramet_wire::ImageGlob::any(),
        expires: None,
        once: false,
    };
    server.as_operator().post("/v1/tokens", &add).refused(409);
}
