//! Packs out, receipts in.

use crate::harness::{Http, Server, image, noise, open, receipt, upload};
use ramet_store::testing::TestImage;
use ramet_wire::ChunkId;
use ramet_wire::api::{
    Action, ErrorKind, ImageInfo, ImageState, Located, ReportDamage, RunInfo, RunOpened, RunState, SignedManifest,
    encode_ids,
};
use ramet_wire::frame::{CHUNK_MAX, Opener};
use ramet_wire::receipt::{Origin, Proof, Receipt, SignedReceipt};
use ramet_wire::sign::Domain;

fn locate(http: &Http, image: &TestImage) -> Located {
    let ids: Vec<ChunkId> = image.parts().map(|raw| ChunkId::of(raw)).collect();
    http.send("POST", "/v1/chunks/locate", &[], &encode_ids(&ids)).json(200)
}

#[test]
fn a_restore_reads_every_chunk_at_the_address_that_it_was_given() {
    let server = Server::start();
    let wanted = image("web", 0..30);
    server.capture(&wanted);
    let (_, http) = server.run(Action::Restore, "web");
    let located = locate(&http, &wanted);
    assert!(located.missing.is_empty());
    let parts: Vec<&Vec<u8>> = wanted.parts().collect();
    let mut seen = 0;
    let (mut opener, mut buf) = (Opener::new().unwrap(), vec![0; CHUNK_MAX as usize]);
    // No session: the address is enough.
    let bulk = server.as_nobody();
    for pack in &located.packs {
        assert!(pack.url.starts_with(server.running().url()), "{}", pack.url);
        for (index, offset, stored, raw) in &pack.chunks {
            let range = format!("bytes={offset}-{}", offset + u64::from(*stored) - 1);
            let answer = bulk.send("GET", &pack.url, &[("range", &range)], &[]).done(206);
            assert_eq!(answer.body.len(), *stored as usize);
            let part = parts[*index as usize];
            assert!(opener.open(&answer.body, ChunkId::of(part), *raw, &mut buf).is_ok());
            seen += 1;
        }
    }
    assert_eq!(seen, parts.len());
    let lacking = http.send("POST", "/v1/chunks/locate", &[], &[9; 64]).json::<Located>(200);
    assert_eq!((lacking.missing, lacking.packs.len()), (vec![0, 1], 0));
}

#[test]
fn ranges_of_a_pack_are_served_exactly() {
    let server = Server::start();
    let wanted = image("web", 0..30);
    server.capture(&wanted);
    let (_, http) = server.run(Action::Restore, "web");
    let url = locate(&http, &wanted).packs[0].url.clone();
    let whole = http.get(&url).done(200);
    let len = whole.body.len();
    assert_eq!(whole.headers["content-length"], len.to_string().as_str());
    assert_eq!(whole.headers["accept-ranges"], "bytes");
    let head = http.send("HEAD", &url, &[], &[]).done(200);
    assert_eq!((head.body.len(), &head.headers["content-length"]), (0, &whole.headers["content-length"]));
    for (range, from, to) in [
        ("bytes=0-0".to_owned(), 0, 1),
        (format!("bytes=10-{}", len * 2), 10, len),
        ("bytes=100-199".to_owned(), 100, 200),
        ("bytes=-7".to_owned(), len - 7, len),
    ] {
        let answer = http.send("GET", &url, &[("range", &range)], &[]).done(206);
        assert!(answer.body == whole.body[from..to], "{range}");
        assert_eq!(answer.headers["content-range"], format!("bytes {from}-{}/{len}", to - 1).as_str());
    }
    for range in [format!("bytes={len}-"), "bytes=0-1,5-6".to_owned(), "bytes=5-1".to_owned(), "pages=1-2".to_owned()] {
        let answer = http.send("GET", &url, &[("range", &range)], &[]);
        assert_eq!(answer.headers["content-range"], format!("bytes */{len}").as_str());
        answer.refused(416);
    }
    let gone = http.get(&format!("/v1/packs/{}", ramet_wire::PackName([1; 32]))).refused(404);
    assert_eq!(gone.kind, ErrorKind::Retry);
}

#[test]
fn a_pack_of_many_mebibytes_arrives_whole() {
    let server = Server::start();
    let chunks = noise(1, 9);
    let wanted = TestImage::new("web", "2026-11-22T10:00:00Z", &chunks);
    server.capture(&wanted);
    let (_, http) = server.run(Action::Restore, "web");
    for pack in locate(&http, &wanted).packs {
        let whole = http.get(&pack.url).done(200);
        assert_eq!(ramet_wire::PackName::of(&whole.body), pack.pack);
        let part = http.send("GET", &pack.url, &[("range", "bytes=1000000-3500000")], &[]).done(206);
        assert!(whole.body.len() < 3_500_001 || part.body == whole.body[1_000_000..=3_500_000]);
    }
}

#[test]
fn an_address_is_good_for_its_own_pack_and_for_a_while() {
    let server = Server::start();
    server.capture(&image("web", 0..3));
    server.capture(&image("db", 3..6));
    let (_, http) = server.run(Action::Restore, "web");
    let (one, two) = (locate(&http, &image("web", 0..3)), locate(&http, &image("db", 3..6)));
    let (url, other) = (&one.packs[0].url, &two.packs[0].url);
    let query = url.split_once('?').unwrap().1;
    let bulk = server.as_nobody();
    bulk.get(url).done(200);
    bulk.get(&format!("{}?{query}", other.split_once('?').unwrap().0)).refused(403);
    bulk.get(&url.replace("exp=1", "exp=2")).refused(403);
    bulk.get(&format!("{}?", url.split_once('?').unwrap().0)).refused(403);
    bulk.get(url.split_once('?').unwrap().0).refused(401);
    server.pass(3600);
    let expired = bulk.get(url).refused(403);
    assert_eq!(expired.kind, ErrorKind::Retry);
}

#[test]
fn addresses_in_answers_never_name_a_host_that_is_not_the_servers() {
    let server = Server::start();
    let wanted = image("web", 0..2);
    server.capture(&wanted);
    let (_, http) = server.run(Action::Restore, "web");
    let ids = encode_ids(&[ChunkId::of(&wanted.chunks[0])]);
    let located: Located = http.send("POST", "/v1/chunks/locate", &[("host", "evil.example")], &ids).json(200);
    assert!(located.packs[0].url.starts_with("https://127.0.0.1:"), "{}", located.packs[0].url);
}

#[test]
fn a_restore_is_bound_to_the_version_that_was_latest_when_it_began() {
    let server = Server::start();
    let old = server.capture(&image("web", 0..3));
    let (opened, http) = server.run(Action::Restore, "web");
    assert_eq!(opened.image.as_ref().unwrap().id, old.id);
    let new = server.capture(&image("web", 0..4));
    server.capture(&image("db", 0..2));
    let info: ImageInfo = http.get("/v1/images/web").json(200);
    assert_eq!(info.id, old.id);
    let signed: SignedManifest = http.get("/v1/images/web/manifest").json(200);
    assert_eq!(ramet_wire::ImageId::of(signed.manifest.as_bytes()), old.id);
    assert!(signed.key.verifies(Domain::Manifest, signed.manifest.as_bytes(), &signed.signature.0));
    assert_eq!(signed.key.fingerprint(), server.running().fingerprint());
    http.get(&format!("/v1/images/web@{}", old.id)).done(200);
    http.get(&format!("/v1/images/web@{}", new.id)).refused(403);
    http.get("/v1/images/db/manifest").refused(403);
    let token = server.token(&[ramet_wire::api::Scope::Restore]);
    let exact = open(Action::Restore, &format!("web@{}", old.id));
    let opened: RunOpened = server.with_secret(&token).post("/v1/runs", &exact).json(201);
    assert_eq!(opened.image.unwrap().id, old.id);
    server.with_secret(&token).post("/v1/runs", &open(Action::Restore, "nothing")).refused(404);
    server.with_secret(&token).post("/v1/runs", &open(Action::Restore, "web@0123456789abcdef")).refused(404);
}

#[test]
fn a_receipt_is_compared_with_the_manifest_and_countersigned() {
    let server = Server::start();
    let wanted = image("web", 0..8);
    let committed = server.capture(&wanted);
    let (opened, http) = server.run(Action::Restore, "web");
    let text = serde_json::to_string_pretty(&receipt(&server, &opened.run, &wanted, committed.id)).unwrap();
    let signed: SignedReceipt = http.send("POST", "/v1/receipts", &[], text.as_bytes()).json(201);
    assert_eq!(signed.receipt, text);
    assert_eq!(signed.key.fingerprint(), server.running().fingerprint());
    assert!(signed.key.verifies(Domain::Receipt, text.as_bytes(), &signed.signature.0));
    let again: SignedReceipt = http.send("POST", "/v1/receipts", &[], text.as_bytes()).json(201);
    assert_eq!(again, signed);
    http.send("POST", "/v1/receipts", &[], text.replace("1.5", "1.6").as_bytes()).refused(409);
    let run: RunInfo = server.as_operator().get(&format!("/v1/runs/{}", opened.run)).json(200);
    assert_eq!((run.state, run.receipt), (RunState::Done, Some(signed)));
    http.send("POST", "/v1/chunks/locate", &[], &[0; 32]).refused(409);
}

#[test]
fn a_receipt_without_read_back_leaves_the_run_unproven() {
    let server = Server::start();
    let wanted = image("web", 0..8);
    let committed = server.capture(&wanted);
    let (opened, http) = server.run(Action::Restore, "web");
    let mut receipt = receipt(&server, &opened.run, &wanted, committed.id);
    receipt.disks[0].proof = Proof::None;
    receipt.disks[0].spaces[0].proven_data_bytes = 0;
    http.post("/v1/receipts", &receipt).done(201);
    let run: RunInfo = server.as_operator().get(&format!("/v1/runs/{}", opened.run)).json(200);
    assert_eq!(run.state, RunState::Unproven);
}

#[test]
fn receipts_that_lie_are_refused() {
    let server = Server::start();
    let wanted = image("web", 0..8);
    let old = server.capture(&image("web", 0..7));
    let committed = server.capture(&wanted);
    let (opened, http) = server.run(Action::Restore, "web");
    let honest = receipt(&server, &opened.run, &wanted, committed.id);
    type Lie = (&'static str, fn(&mut Receipt));
    let lies: [Lie; 9] = [
        ("fewer bytes", |r| r.disks[0].spaces[0].proven_data_bytes -= 4096),
        ("more bytes", |r| r.disks[0].spaces[0].proven_data_bytes += 4096),
        ("another digest", |r| r.disks[0].spaces[0].digest.0[0] ^= 1),
        ("no partition", |r| r.disks[0].spaces.clear()),
        ("no disk", |r| r.disks.clear()),
        ("a disk twice", |r| r.disks.push(r.disks[0].clone())),
        ("another name", |r| r.image = "db".parse().unwrap()),
        ("another run", |r| r.run = Some("0123456789abcdef".into())),
        ("no run", |r| r.run = None),
    ];
    for (label, lie) in lies {
        let mut receipt = honest.clone();
        lie(&mut receipt);
        let refused = http.post("/v1/receipts", &receipt);
        assert_eq!(refused.status, 422, "{label}: {}", refused.text());
    }
    let mut receipt = Receipt { id: old.id, ..honest.clone() };
    http.post("/v1/receipts", &receipt).refused(422);
    receipt = Receipt { origin: Origin::IntegrityOnly(server.running().fingerprint()), ..honest.clone() };
    http.post("/v1/receipts", &receipt).refused(422);
    receipt = Receipt { format: 2, ..honest.clone() };
    http.post("/v1/receipts", &receipt).refused(422);
    http.send("POST", "/v1/receipts", &[], b"{}").refused(400);
    // None of that ended the run.
    http.post("/v1/receipts", &honest).done(201);
}

#[test]
fn a_restore_of_some_partitions_names_ones_that_the_image_has() {
    let server = Server::start();
    let wanted = image("web", 0..8);
    let committed = server.capture(&wanted);
    let token = server.token(&[ramet_wire::api::Scope::Restore]);
    let mut some = open(Action::Restore, "web");
    some.partitions = vec![7];
    // Otherwise a receipt without any partition would prove it.
    let refused = server.with_secret(&token).post("/v1/runs", &some).refused(400);
    assert!(refused.message.contains('7'), "{}", refused.message);
    some.partitions = vec![0];
    let opened: RunOpened = server.with_secret(&token).post("/v1/runs", &some).json(201);
    let http = server.with_secret(&opened.session);
    let mut receipt = receipt(&server, &opened.run, &wanted, committed.id);
    let space = receipt.disks[0].spaces.pop().unwrap();
    http.post("/v1/receipts", &receipt).refused(422);
    receipt.disks[0].spaces.push(space);
    http.post("/v1/receipts", &receipt).done(201);
}

#[test]
fn chunks_reported_damaged_are_looked_at_and_the_next_capture_heals_them() {
    let server = Server::start();
    let wanted = image("web", 0..4);
    let committed = server.capture(&wanted);
    let (_, http) = server.run(Action::Restore, "web");
    let located = locate(&http, &wanted);
    let (pack, (index, offset, _, _)) = (&located.packs[0], located.packs[0].chunks[0]);
    let name = pack.pack.to_string();
    let path = server.state().join("store/packs").join(&name[..2]).join(&name);
    let good = ChunkId::of(&wanted.chunks[1]);
    let bad = ChunkId::of(wanted.parts().nth(index as usize).unwrap());
    assert_ne!(good, bad);
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[usize::try_from(offset).unwrap() + 6] ^= 0xff;
    std::fs::write(&path, &bytes).unwrap();
    let seen = http.post("/v1/damage", &ReportDamage { chunks: vec![good, bad] });
    let seen: ramet_server::http::chunks::DamageSeen = seen.json(200);
    assert_eq!(seen.lost, [bad]);
    let state = || server.as_operator().get("/v1/images/web").json::<ImageInfo>(200).state;
    assert_eq!(state(), ImageState::Damaged);
    let (_, again) = server.run(Action::Capture, "web");
    upload(&again, &wanted);
    let same: ramet_wire::api::Committed = again.send("POST", "/v1/images", &[], &wanted.manifest).json(201);
    assert_eq!(same.id, committed.id);
    assert_eq!(state(), ImageState::Complete);
    http.post("/v1/damage", &ReportDamage { chunks: vec![] }).refused(400);
}
