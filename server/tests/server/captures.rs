//! Packs in, images published.

use crate::harness::{Server, image, open, pack, upload};
use ramet_store::testing::chunk;
use ramet_wire::ChunkId;
use ramet_wire::api::{Action, Committed, EndRun, ErrorKind, ImageInfo, RunInfo, RunState, StillMissing};
use ramet_wire::api::{decode_bitmap, encode_ids};
use ramet_wire::pack::PACK_MAX;

#[test]
fn a_capture_uploads_what_is_missing_and_publishes_its_image() {
    let server = Server::start();
    let first = image("web", 0..20);
    let committed = server.capture(&first);
    let images: Vec<ImageInfo> = server.as_operator().get("/v1/images").json(200);
    assert_eq!((images.len(), images[0].id, images[0].number), (1, committed.id, committed.number));
    // The same chunks again: nothing is missing.
    let (_, http) = server.run(Action::Capture, "other");
    let ids: Vec<ChunkId> = first.chunks.iter().map(|raw| ChunkId::of(raw)).collect();
    let answer = http.send("POST", "/v1/chunks/missing", &[], &encode_ids(&ids)).done(200);
    assert_eq!(decode_bitmap(&answer.body, ids.len()).unwrap(), vec![false; ids.len()]);
}

#[test]
fn an_upload_that_is_sent_again_is_the_same_as_once() {
    let server = Server::start();
    let (_, http) = server.run(Action::Capture, "web");
    let (name, bytes) = pack(&[&chunk(1), &chunk(2)]);
    for _ in 0..3 {
        http.send("PUT", &format!("/v1/packs/{name}"), &[], &bytes).done(204);
    }
}

#[test]
fn uploads_that_are_not_what_they_say_are_refused() {
    let server = Server::start();
    let (_, http) = server.run(Action::Capture, "web");
    let (name, bytes) = pack(&[&chunk(1), &chunk(2)]);
    let (other, _) = pack(&[&chunk(3)]);
    let path = |name: &dyn std::fmt::Display| format!("/v1/packs/{name}");
    let refused = http.send("PUT", &path(&other), &[], &bytes).refused(422);
    assert!(refused.message.contains(&name.to_string()) && refused.message.contains(&other.to_string()));
    assert_eq!(refused.kind, ErrorKind::Damaged);
    let mut flipped = bytes.clone();
    flipped[20] ^= 1;
    http.send("PUT", &path(&ramet_wire::PackName::of(&flipped)), &[], &flipped).refused(422);
    http.send("PUT", &path(&ramet_wire::PackName::of(&bytes[..40])), &[], &bytes[..40]).refused(422);
    for bad in ["..", "%2e%2e%2fidentity.key", "abc", &name.to_string().to_uppercase(), &"a".repeat(300)] {
        let answer = http.send("PUT", &path(&bad), &[], &bytes);
        assert!(matches!(answer.status, 400 | 404), "{bad}: {}", answer.status);
    }
    http.send("PUT", &path(&name), &[], &bytes).done(204);
}

#[test]
fn a_pack_over_64_mib_is_refused_with_both_numbers() {
    let server = Server::start();
    let (_, http) = server.run(Action::Capture, "web");
    let bytes = vec![0; usize::try_from(PACK_MAX).unwrap() + 1];
    let name = ramet_wire::PackName([1; 32]);
    let refused = http.send("PUT", &format!("/v1/packs/{name}"), &[], &bytes).refused(413);
    assert!(refused.message.contains(&(PACK_MAX + 1).to_string()) && refused.message.contains(&PACK_MAX.to_string()));
}

#[test]
fn a_commit_lists_the_chunks_that_are_missing() {
    let server = Server::start();
    let wanted = image("web", 0..5);
    let (_, http) = server.run(Action::Capture, "web");
    let missing: StillMissing = http.send("POST", "/v1/images", &[], &wanted.manifest).json(409);
    assert!(!missing.missing.is_empty());
    upload(&http, &wanted);
    http.send("POST", "/v1/images", &[], &wanted.manifest).done(201);
}

#[test]
fn a_capture_session_publishes_exactly_its_own_name_once() {
    let server = Server::start();
    let (own, foreign, later) = (image("web", 0..5), image("db", 0..5), image("web", 0..6));
    let (opened, http) = server.run(Action::Capture, "web");
    upload(&http, &own);
    upload(&http, &foreign);
    upload(&http, &later);
    let refused = http.send("POST", "/v1/images", &[], &foreign.manifest).refused(403);
    assert!(refused.message.contains("db") && refused.message.contains("web"), "{}", refused.message);
    let first: Committed = http.send("POST", "/v1/images", &[], &own.manifest).json(201);
    // The same again is a retry whose answer was lost; another is a second image.
    let again: Committed = http.send("POST", "/v1/images", &[], &own.manifest).json(201);
    assert_eq!(first, again);
    http.send("POST", "/v1/images", &[], &later.manifest).refused(409);
    http.send("POST", "/v1/chunks/missing", &[], &[1; 32]).refused(409);
    let (name, bytes) = pack(&[&chunk(99)]);
    http.send("PUT", &format!("/v1/packs/{name}"), &[], &bytes).refused(409);
    let run: RunInfo = server.as_operator().get(&format!("/v1/runs/{}", opened.run)).json(200);
    assert_eq!((run.state, run.image.id), (RunState::Done, Some(first.id)));
    let images: Vec<ImageInfo> = server.as_operator().get("/v1/images").json(200);
    assert_eq!(images.len(), 1);
}

#[test]
fn a_manifest_that_breaks_a_rule_is_refused() {
    let server = Server::start();
    let own = image("web", 0..3);
    let (_, http) = server.run(Action::Capture, "web");
    upload(&http, &own);
    let text = String::from_utf8(own.manifest.clone()).unwrap();
    for (from, to) in [("\"format\": 1", "\"format\": 2"), ("\"features\": []", "\"features\": [\"levitation\"]")] {
        assert!(text.contains(from), "{text}");
        http.send("POST", "/v1/images", &[], text.replace(from, to).as_bytes()).refused(422);
    }
    http.send("POST", "/v1/images", &[], &own.manifest[..100]).refused(422);
    http.send("POST", "/v1/images", &[], b"").refused(422);
}

#[test]
fn a_capture_cannot_be_opened_for_one_version_or_some_partitions() {
    let server = Server::start();
    let token = server.token(&[ramet_wire::api::Scope::Capture]);
    let http = server.with_secret(&token);
    http.post("/v1/runs", &open(Action::Capture, "web@0123456789abcdef")).refused(400);
    let mut partial = open(Action::Capture, "web");
    partial.partitions = vec![1];
    http.post("/v1/runs", &partial).refused(400);
}

#[test]
fn names_that_are_none_are_refused_wherever_they_come() {
    let server = Server::start();
    server.capture(&image("web", 0..2));
    let token = server.token(&[ramet_wire::api::Scope::Capture]);
    for bad in ["a/b", "..", "a\0b", "", &"x".repeat(300), "a b", "web@zz"] {
        let body = serde_json::json!({ "agent": ramet_server::http::VERSION, "action": "capture", "image": bad });
        server.with_secret(&token).post("/v1/runs", &body).refused(400);
    }
    for bad in ["a%2Fb", "%2e%2e", "a%00b", &"x".repeat(300), "web%40zz", "..%2f..%2fidentity.key"] {
        for path in [format!("/v1/images/{bad}"), format!("/v1/images/{bad}/manifest")] {
            let answer = server.as_operator().get(&path);
            assert!(matches!(answer.status, 400 | 404), "{path}: {}", answer.status);
        }
        let answer = server.as_operator().delete(&format!("/v1/images/{bad}"));
        assert!(matches!(answer.status, 400 | 404), "{bad}: {}", answer.status);
    }
}

#[test]
fn a_run_that_ends_with_an_error_says_it_without_control_characters() {
    let server = Server::start();
    let (opened, http) = server.run(Action::Capture, "web");
    http.post("/v1/runs/current/end", &EndRun { error: "disk \x1b[31mgone\r\n".into() }).done(204);
    http.post("/v1/runs/current/end", &EndRun { error: "again".into() }).done(204);
    let run: RunInfo = server.as_operator().get(&format!("/v1/runs/{}", opened.run)).json(200);
    assert_eq!((run.state, run.detail.as_str()), (RunState::Failed, "disk  [31mgone  "));
}

#[test]
fn the_next_run_after_an_interrupted_one_finds_its_packs() {
    let mut server = Server::start();
    let wanted = image("web", 0..9);
    let (_, http) = server.run(Action::Capture, "web");
    upload(&http, &wanted);
    // The server dies; the agent gives up.
    server.running.take().unwrap().abort();
    server.up();
    let (_, http) = server.run(Action::Capture, "web");
    http.send("POST", "/v1/images", &[], &wanted.manifest).done(201);
}

#[test]
fn removing_an_image_by_name_removes_all_its_versions() {
    let server = Server::start();
    let (one, two) = (server.capture(&image("web", 0..3)), server.capture(&image("web", 0..4)));
    let three = server.capture(&image("web", 0..5));
    let gone: Vec<ImageInfo> = server.as_operator().delete(&format!("/v1/images/web@{}", two.id)).json(200);
    assert_eq!(gone.iter().map(|info| info.id).collect::<Vec<_>>(), [two.id]);
    let latest: ImageInfo = server.as_operator().get("/v1/images/web").json(200);
    assert_eq!(latest.id, three.id);
    let gone: Vec<ImageInfo> = server.as_operator().delete("/v1/images/web").json(200);
    assert_eq!(gone.iter().map(|info| info.id).collect::<Vec<_>>(), [one.id, three.id]);
    server.as_operator().get("/v1/images/web").refused(404);
    server.as_operator().delete("/v1/images/web").refused(404);
}
