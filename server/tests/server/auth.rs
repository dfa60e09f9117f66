//! Who may call what.

use crate::harness::{Http, Server, image, open};
use ramet_server::http::auth::Caller;
use ramet_server::http::routes::{ROUTES, Route, Takes};
use ramet_wire::api::{Action, AddToken, ErrorKind, RunOpened, Scope};
use ramet_wire::{ImageGlob, PackName};

fn path(route: &Route) -> String {
    let pack = PackName([7; 32]).to_string();
    let path = route.path.replace("{pack}", &pack).replace("{image}", "web").replace("{run}", "0123456789abcdef");
    let path = path.replace("{token}", "0123abcd").replace("{pin}", "0123abcd").replace("{code}", "2345-6789");
    let path = path.replace("{machine}", "web01").replace("{job}", "1").replace("{rule}", "1");
    let path = path.replace("{tag}", "rack");
    path.replace("{mac}", "52:54:00:00:00:01").replace("{name}", "vmlinuz")
}

fn call(http: &Http, route: &Route) -> u16 {
    let body: &[u8] = if route.takes == Takes::Nothing { b"" } else { b"{}" };
    http.send(route.verb.text(), &path(route), &[], body).status
}

#[test]
fn every_route_refuses_whom_its_row_does_not_name() {
    let server = Server::start();
    server.capture(&image("web", 0..3));
    let expired = server.token_for(AddToken {
        scopes: vec![Scope::Capture, Scope::Restore],
        images: ImageGlob::any(),
        expires: Some(10),
        once: false,
    });
    let expired_admin = server.token_for(AddToken {
        scopes: vec![Scope::Admin],
        images: ImageGlob::any(),
        expires: Some(10),
        once: false,
    });
    let (_, lapsed) = server.run(Action::Restore, "web");
    server.pass(3600);
    let (capture, restore) = (server.run(Action::Capture, "web").1, server.run(Action::Restore, "web").1);
    let (token, admin) = (server.token(&[Scope::Capture, Scope::Restore]), server.token(&[Scope::Admin]));
    let wrong = format!("rmt_{}_{}", &token[4..12], "0".repeat(64));
    let strangers = [
        ("nobody", server.as_nobody()),
        ("a wrong token", server.with_secret(&wrong)),
        ("an unknown token", server.with_secret(&format!("rmt_00000000_{}", "0".repeat(64)))),
        ("a guessed local token", server.with_secret(&format!("rmt_local_{}", "0".repeat(64)))),
        ("an expired token", server.with_secret(&expired)),
        ("an expired operator", server.with_secret(&expired_admin)),
        ("an unknown session", server.with_secret(&"0".repeat(64))),
        ("a lapsed session", lapsed),
        ("rubbish", server.with_secret("open sesame")),
    ];
    let known = [
        (Caller::Token, server.with_secret(&token)),
        (Caller::Admin, server.with_secret(&admin)),
        (Caller::Metrics, server.with_secret(&server.token(&[Scope::Metrics]))),
        (Caller::Session(Action::Capture), capture),
        (Caller::Session(Action::Restore), restore),
    ];
    for route in ROUTES.iter().filter(|route| !route.who.contains(&Caller::Anyone)) {
        let label = format!("{} {}", route.verb.text(), route.path);
        for (who, http) in &strangers {
            assert_eq!(call(http, route), 401, "{label} as {who}");
        }
        for (caller, http) in known.iter().filter(|(caller, _)| !route.who.contains(caller)) {
            assert_eq!(call(http, route), 403, "{label} as {caller:?}");
        }
    }
}

#[test]
fn only_the_version_the_api_document_hellos_and_pins_are_for_anyone() {
    let open = ROUTES.iter().filter(|route| route.who.contains(&Caller::Anyone));
    let open: Vec<(&str, &str)> = open.map(|route| (route.verb.text(), route.path)).collect();
    let read = [("GET", "/v1/version"), ("GET", "/v1/openapi.json")];
    // What strangers may send: bounded in pace, number and length; see `agents`.
    let written = [("POST", "/v1/agents"), ("POST", "/v1/agents/pin")];
    assert_eq!(open, [read, written].concat());
    assert!(ROUTES.iter().all(|route| !route.who.is_empty()));
    let server = Server::start();
    for (_, path) in read {
        server.as_nobody().get(path).done(200);
    }
    for (_, path) in written {
        server.as_nobody().send("POST", path, &[], b"{}").refused(400);
    }
    server.as_nobody().get("/v1/nothing").refused(404);
    server.as_nobody().delete("/v1/version").refused(405);
}

#[test]
fn a_token_is_void_after_its_expiry_by_the_servers_clock() {
    let server = Server::start();
    let token = AddToken { scopes: vec![Scope::Capture], images: ImageGlob::any(), expires: Some(60), once: false };
    let http = server.with_secret(&server.token_for(token));
    server.pass(59);
    http.post("/v1/runs", &open(Action::Capture, "web")).done(201);
    server.pass(1);
    let refused = http.post("/v1/runs", &open(Action::Capture, "web")).refused(401);
    assert!(refused.message.contains("expired"), "{}", refused.message);
}

#[test]
fn a_token_for_one_run_opens_one_run() {
    let server = Server::start();
    let token = AddToken { scopes: vec![Scope::Capture], images: ImageGlob::any(), expires: None, once: true };
    let http = server.with_secret(&server.token_for(token));
    http.post("/v1/runs", &open(Action::Capture, "web")).done(201);
    http.post("/v1/runs", &open(Action::Capture, "web")).refused(401);
}

#[test]
fn a_token_opens_runs_of_its_scope_and_its_images_only() {
    let server = Server::start();
    server.capture(&image("web-1", 0..2));
    server.capture(&image("db-1", 0..2));
    let images: ImageGlob = "web-*".parse().unwrap();
    let token = AddToken { scopes: vec![Scope::Restore], images, expires: None, once: false };
    let http = server.with_secret(&server.token_for(token));
    http.post("/v1/runs", &open(Action::Restore, "web-1")).done(201);
    let refused = http.post("/v1/runs", &open(Action::Restore, "db-1")).refused(403);
    assert!(refused.message.contains("web-*") && refused.message.contains("db-1"), "{}", refused.message);
    http.post("/v1/runs", &open(Action::Capture, "web-1")).refused(403);
}

#[test]
fn a_removed_token_opens_nothing_and_a_token_is_shown_once() {
    let server = Server::start();
    let token = server.token(&[Scope::Capture]);
    let listed = server.as_operator().get("/v1/tokens").text();
    assert!(listed.contains(&token[4..12]) && !listed.contains(&token[13..]), "{listed}");
    let database = std::fs::read(server.state().join("ramet.db")).unwrap();
    let wal = std::fs::read(server.state().join("ramet.db-wal")).unwrap_or_default();
    for bytes in [database, wal] {
        assert!(!String::from_utf8_lossy(&bytes).contains(&token[13..]), "the secret is stored");
    }
    server.as_operator().delete(&format!("/v1/tokens/{}", &token[4..12])).done(204);
    server.with_secret(&token).post("/v1/runs", &open(Action::Capture, "web")).refused(401);
    server.as_operator().delete(&format!("/v1/tokens/{}", &token[4..12])).refused(404);
}

#[test]
fn an_operators_token_has_no_pattern_and_is_not_for_one_run() {
    let server = Server::start();
    let admin = AddToken { scopes: vec![Scope::Admin], images: ImageGlob::any(), expires: Some(60), once: false };
    server.as_operator().post("/v1/tokens", &admin).done(201);
    server.as_operator().post("/v1/tokens", &AddToken { once: true, ..admin.clone() }).refused(400);
    let images = "web".parse().unwrap();
    server.as_operator().post("/v1/tokens", &AddToken { images, ..admin.clone() }).refused(400);
    server.as_operator().post("/v1/tokens", &AddToken { scopes: vec![], ..admin.clone() }).refused(400);
    server.as_operator().post("/v1/tokens", &AddToken { expires: Some(0), ..admin }).refused(400);
}

#[test]
fn a_session_lapses_and_its_run_is_lost() {
    let server = Server::with(|config| config.limits.session_lapse = std::time::Duration::from_secs(2));
    let (opened, http) = server.run(Action::Capture, "web");
    assert_eq!(opened.lapses, 2);
    server.pass(1);
    http.post("/v1/runs/current", &crate::harness::beat()).done(204);
    server.pass(1);
    http.post("/v1/runs/current", &crate::harness::beat()).done(204);
    server.pass(2);
    http.post("/v1/runs/current", &crate::harness::beat()).refused(401);
    let until = std::time::Instant::now() + std::time::Duration::from_secs(20);
    loop {
        let run: ramet_wire::api::RunInfo = server.as_operator().get(&format!("/v1/runs/{}", opened.run)).json(200);
        if run.state == ramet_wire::api::RunState::Lost {
            assert!(run.detail.contains("2 s"), "{}", run.detail);
            return;
        }
        assert!(std::time::Instant::now() < until, "the run is still {:?}", run.state);
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
}

#[test]
fn an_agent_of_another_version_is_told_both_versions() {
    let server = Server::start();
    let token = server.token(&[Scope::Capture]);
    let newer = br#"{"agent":"99.0.0","action":"levitate","image":"web","orbit":7}"#;
    let refused = server.with_secret(&token).send("POST", "/v1/runs", &[], newer).refused(426);
    assert_eq!(refused.kind, ErrorKind::Refused);
    let own = ramet_server::http::VERSION;
    assert!(refused.message.contains("99.0.0") && refused.message.contains(own), "{}", refused.message);
    let opened: RunOpened = server.with_secret(&token).post("/v1/runs", &open(Action::Capture, "web")).json(201);
    assert_eq!(opened.server, own);
}
