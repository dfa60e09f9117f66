//! What operators do is written down, with how it went and without any secret.

use crate::harness::{Server, image};
use ramet_wire::api::{AddToken, Scope, TokenAdded};
use ramet_wire::machines::AuditEvent;

fn events(server: &Server, query: &str) -> Vec<AuditEvent> {
    server.as_operator().get(&format!("/v1/audit{query}")).json(200)
}

#[test]
fn each_act_of_an_operator_is_one_row_with_who_what_and_how_it_went() {
    let server = Server::start();
    server.capture(&image("web", 0..3));
    let before = events(&server, "").len();
    let admin = server.token(&[Scope::Admin]);
    let operator = server.with_secret(&admin);
    operator.delete("/v1/images/web").done(200);
    server.pass(60);
    operator.delete("/v1/images/db").refused(404);
    operator.get("/v1/images").done(200);
    server.as_nobody().delete("/v1/images/web").refused(401);
    let events = events(&server, "");
    assert_eq!(events.len(), before + 3, "{events:?}");
    let who = format!("operator {}", &admin[4..12]);
    let (last, removed, token) = (&events[0], &events[1], &events[2]);
    assert_eq!((last.who.as_str(), last.peer.as_str(), last.object.as_str()), (who.as_str(), "127.0.0.1", "db"));
    assert!(last.result.starts_with("404 image db does not exist"), "{last:?}");
    assert_eq!((removed.what.as_str(), removed.result.as_str()), ("DELETE /v1/images/{image}", "done"));
    assert_eq!((token.what.as_str(), token.object.as_str()), ("POST /v1/tokens", "images=* scopes=admin"));
    assert_eq!(token.who, "operator local");
    assert!(last.at > removed.at);
}

#[test]
fn no_secret_is_in_the_audit_and_a_body_that_is_no_request_is_noted_too() {
    let server = Server::start();
    let add = AddToken { scopes: vec![Scope::Capture], images: "web-*".parse().unwrap(), expires: None, once: false };
    let added: TokenAdded = server.as_operator().post("/v1/tokens", &add).json(201);
    let pin = serde_json::json!({ "scopes": ["capture"], "images": "*", "expires": 60 });
    let pin: ramet_wire::agents::PinAdded = server.as_operator().post("/v1/pins", &pin).json(201);
    let body = format!("{{\"name\": \"{}\", \"secret\": \"hunter2\"", added.token);
    server.as_operator().send("POST", "/v1/tokens", &[], body.as_bytes()).refused(400);
    let body = format!("{{\"name\": \"{}\", \"secret\": \"hunter2\"}}", added.token);
    server.as_operator().send("POST", "/v1/tokens", &[], body.as_bytes()).refused(400);
    server.as_operator().send("POST", "/v1/tokens", &[], &vec![b'x'; 2 << 20]).refused(413);
    let events = events(&server, "?most=5");
    assert_eq!(events.len(), 5);
    assert!(events[0].result.starts_with("413"), "{events:?}");
    let text = format!("{events:?}");
    for secret in [&added.token[13..], pin.pin.as_str(), "hunter2"] {
        assert!(!text.contains(secret), "{secret}: {text}");
    }
}

#[test]
fn older_acts_are_asked_for_by_number_and_the_list_survives_a_restart() {
    let mut server = Server::start();
    (0..4).for_each(|_| drop(server.token(&[Scope::Capture])));
    server.restart();
    let all: Vec<u64> = events(&server, "").iter().map(|event| event.id).collect();
    assert_eq!(all.len(), 4);
    let older: Vec<u64> = events(&server, &format!("?most=2&before={}", all[1])).iter().map(|event| event.id).collect();
    assert_eq!(older, all[2..]);
    server.as_operator().get("/v1/audit?most=-1").refused(400);
    server.as_operator().get("/v1/audit?all=yes").refused(400);
    server.with_secret(&server.token(&[Scope::Metrics])).get("/v1/audit").refused(403);
}
