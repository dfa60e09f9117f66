//! The numbers at `/metrics`, read by the reference parser of their format.

use crate::harness::{Server, image, receipt, upload};
use ramet_wire::api::{Action, Scope};
use std::io::Write;
use std::process::{Command, Stdio};

/// Every sample as `name{label="value",…} value`, sorted, by Python's prometheus_client.
fn samples(text: &str) -> Vec<String> {
    let script = "
import sys
from prometheus_client.openmetrics.parser import text_string_to_metric_families as read
for family in read(sys.stdin.read()):
    assert family.documentation, family.name
    for s in family.samples:
        labels = ','.join(f'{k}={v}' for k, v in sorted(s.labels.items()))
        print(f'{s.name}{{{labels}}} {s.value:g}')
";
    let mut python = Command::new("/usr/bin/python3")
        .args(["-c", script])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    python.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = python.wait_with_output().unwrap();
    assert!(output.status.success(), "{}\n{text}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

fn scrape(server: &Server) -> Vec<String> {
    let answer = server.with_secret(&server.token(&[Scope::Metrics])).get("/metrics").done(200);
    assert!(answer.headers["content-type"].to_str().unwrap().starts_with("application/openmetrics-text"));
    samples(&answer.text())
}

fn value(samples: &[String], name: &str) -> f64 {
    let line = samples.iter().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {name} in {}", samples.join("\n"))).parse().unwrap()
}

#[test]
fn a_capture_and_a_restore_are_counted_with_their_bytes_chunks_and_seconds() {
    let server = Server::start();
    let web = image("web", 0..5);
    let before = scrape(&server);
    assert_eq!(value(&before, "ramet_packs_received_bytes_total{}"), 0.0);
    assert_eq!(value(&before, "ramet_store_things{kind=image}"), 0.0);
    let (_, capture) = server.run(Action::Capture, "web");
    upload(&capture, &web);
    server.pass(30);
    let committed: ramet_wire::api::Committed = capture.send("POST", "/v1/images", &[], &web.manifest).json(201);
    server.capture(&web);
    let (opened, restore) = server.run(Action::Restore, "web");
    let ids: Vec<_> = web.parts().map(|raw| ramet_wire::ChunkId::of(raw)).collect();
    let body = ramet_wire::api::encode_ids(&ids);
    let located: ramet_wire::api::Located = restore.send("POST", "/v1/chunks/locate", &[], &body).json(200);
    let bytes = server.as_nobody().get(&located.packs[0].url).done(200).body.len();
    server.pass(100);
    restore.post("/v1/receipts", &receipt(&server, &opened.run, &web, committed.id)).done(201);
    server.run(Action::Restore, "web").1.post("/v1/runs/current/end", &ramet_wire::api::EndRun { error: "no".into() });

    let after = scrape(&server);
    let is = |name: &str, wanted: f64| assert_eq!(value(&after, name), wanted, "{name}");
    is("ramet_runs_total{action=capture,state=done}", 2.0);
    is("ramet_runs_total{action=restore,state=done}", 1.0);
    is("ramet_runs_total{action=restore,state=failed}", 1.0);
    is("ramet_run_duration_seconds_sum{action=restore,state=done}", 100.0);
    is("ramet_run_duration_seconds_bucket{action=restore,le=64.0,state=done}", 0.0);
    is("ramet_run_duration_seconds_bucket{action=restore,le=128.0,state=done}", 1.0);
    // The second capture found all of its chunks.
    let chunks = ids.len() as f64;
    is("ramet_chunks_asked_total{store=missing}", chunks);
    is("ramet_chunks_asked_total{store=present}", chunks);
    is("ramet_packs_sent_bytes_total{}", bytes as f64);
    assert!(value(&after, "ramet_packs_received_bytes_total{}") >= bytes as f64);
    is("ramet_store_things{kind=image}", 1.0);
    is("ramet_requests_total{method=POST,route=/v1/receipts,status=201}", 1.0);
    assert_eq!(value(&after, "ramet_store_bytes{state=used}"), value(&after, "ramet_packs_received_bytes_total{}"));
}

#[test]
fn the_numbers_are_for_operators_and_collectors_and_a_collector_gets_nothing_else() {
    let server = Server::start();
    server.as_nobody().get("/metrics").refused(401);
    server.as_operator().get("/metrics").done(200);
    let collector = server.with_secret(&server.token(&[Scope::Metrics]));
    collector.get("/v1/images").refused(403);
    collector.post("/v1/runs", &crate::harness::open(Action::Restore, "web")).refused(403);
    let pin = serde_json::json!({ "scopes": ["metrics"], "images": "*", "expires": 60 });
    server.as_operator().post("/v1/pins", &pin).refused(400);
}
