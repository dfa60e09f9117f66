//! Peers that stall, lie about lengths, or come in crowds.

use crate::harness::{Server, image, noise, open, pack, upload};
use ramet_server::client::pin::{PinError, pinned_ca};
use ramet_store::testing::chunk;
use ramet_wire::Fingerprint;
use ramet_wire::api::{Action, BODY_MAX, ErrorKind, Scope};
use ramet_wire::frame::CHUNK_MAX;
use ramet_wire::pack::PACK_TARGET;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A TLS connection over which anything can be said.
fn raw(server: &Server) -> StreamOwned<ClientConnection, TcpStream> {
    raw_with(server, rustls::ALL_VERSIONS)
}

fn raw_with(
    server: &Server,
    versions: &[&'static rustls::SupportedProtocolVersion],
) -> StreamOwned<ClientConnection, TcpStream> {
    let mut roots = RootCertStore::empty();
    roots.add(pinned_ca(server.running().url(), server.running().fingerprint()).unwrap()).unwrap();
    let mut config = ClientConfig::builder_with_provider(ramet_server::identity::tls::provider())
        .with_protocol_versions(versions)
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let name = ServerName::try_from("localhost").unwrap();
    let tcp = TcpStream::connect(server.running().addr()).unwrap();
    tcp.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    StreamOwned::new(ClientConnection::new(Arc::new(config), name).unwrap(), tcp)
}

/// Everything until the other side closes, however it does.
fn rest(stream: &mut impl Read) -> String {
    let mut bytes = Vec::new();
    let _ = stream.read_to_end(&mut bytes);
    String::from_utf8_lossy(&bytes).into_owned()
}

#[test]
fn a_server_with_another_key_is_refused_with_both_fingerprints() {
    let server = Server::start();
    let wrong = Fingerprint([7; 32]);
    let refused = pinned_ca(server.running().url(), wrong).unwrap_err();
    let PinError::Other { found, pinned, .. } = &refused else { panic!("{refused}") };
    assert_eq!((*found, *pinned), (server.running().fingerprint(), wrong));
}

#[test]
fn an_upload_that_is_cut_short_leaves_nothing() {
    let server = Server::start();
    let (opened, http) = server.run(Action::Capture, "web");
    let (name, bytes) = pack(&[&chunk(1), &chunk(2)]);
    let mut stream = raw(&server);
    write!(
        stream,
        "PUT /v1/packs/{name} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {}\r\ncontent-length: {}\r\n\r\n",
        opened.session,
        bytes.len()
    )
    .unwrap();
    stream.write_all(&bytes[..bytes.len() / 2]).unwrap();
    stream.flush().unwrap();
    drop(stream);
    let tmp = server.state().join("store/tmp");
    let until = Instant::now() + Duration::from_secs(20);
    while std::fs::read_dir(&tmp).unwrap().count() > 0 {
        assert!(Instant::now() < until, "the half pack is still there");
        std::thread::sleep(Duration::from_millis(20));
    }
    http.send("PUT", &format!("/v1/packs/{name}"), &[], &bytes).done(204);
}

#[test]
fn an_upload_without_a_length_is_refused() {
    let server = Server::start();
    let (opened, _) = server.run(Action::Capture, "web");
    let (name, _) = pack(&[&chunk(1)]);
    let mut stream = raw(&server);
    write!(
        stream,
        "PUT /v1/packs/{name} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {}\r\ntransfer-encoding: chunked\r\n\
         connection: close\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
        opened.session
    )
    .unwrap();
    let answer = rest(&mut stream);
    assert!(answer.starts_with("HTTP/1.1 411 "), "{answer}");
}

#[test]
fn a_sender_that_stalls_is_cut_off() {
    let server = Server::with(|config| {
        config.limits.stall = Duration::from_millis(300);
        config.limits.header_wait = Duration::from_millis(600);
    });
    let (opened, _) = server.run(Action::Capture, "web");
    let began = Instant::now();
    // In the middle of the headers.
    let mut stream = raw(&server);
    stream.write_all(b"GET /v1/version HTTP/1.1\r\nhost: loc").unwrap();
    stream.flush().unwrap();
    assert!(!rest(&mut stream).starts_with("HTTP/1.1 200"));
    // In the middle of a body.
    let mut stream = raw(&server);
    let head = "POST /v1/runs/current HTTP/1.1\r\nhost: localhost\r\ncontent-length: 100\r\n";
    write!(stream, "{head}authorization: Bearer {}\r\n\r\n{{", opened.session).unwrap();
    stream.flush().unwrap();
    let answer = rest(&mut stream);
    assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
    // Before the handshake.
    let mut tcp = TcpStream::connect(server.running().addr()).unwrap();
    tcp.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    assert!(began.elapsed() < Duration::from_secs(25), "{:?}", began.elapsed());
    drop(tcp.write_all(b"\x16"));
}

#[test]
fn a_reader_that_stalls_does_not_hold_its_place() {
    let server = Server::with(|config| {
        config.limits.stall = Duration::from_millis(500);
        config.limits.downloads = 1;
    });
    // All in one pack, which no socket holds.
    let chunks = noise(1, usize::try_from(PACK_TARGET / u64::from(CHUNK_MAX)).unwrap() - 1);
    let wanted = ramet_store::testing::TestImage::new("web", "2026-11-22T10:00:00Z", &chunks);
    server.capture(&wanted);
    let (opened, http) = server.run(Action::Restore, "web");
    let ids = ramet_wire::api::encode_ids(&[ramet_wire::ChunkId::of(&chunks[0])]);
    let located: ramet_wire::api::Located = http.send("POST", "/v1/chunks/locate", &[], &ids).json(200);
    let name = located.packs[0].pack;
    let mut stream = raw(&server);
    write!(
        stream,
        "GET /v1/packs/{name} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {}\r\n\r\n",
        opened.session
    )
    .unwrap();
    stream.flush().unwrap();
    let mut first = [0; 1024];
    stream.read_exact(&mut first).unwrap();
    // The only place is taken; it is given back when the reader's patience with us ends.
    let whole = http.get(&located.packs[0].url).done(200);
    assert_eq!(ramet_wire::PackName::of(&whole.body), name);
}

#[test]
fn more_connections_than_allowed_are_closed() {
    let server = Server::with(|config| config.limits.connections = 4);
    let idle: Vec<TcpStream> = (0..8).map(|_| TcpStream::connect(server.running().addr()).unwrap()).collect();
    let mut closed = 0;
    for mut tcp in idle {
        tcp.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
        closed += usize::from(matches!(tcp.read(&mut [0; 1]), Ok(0)));
    }
    assert_eq!(closed, 4);
    // Those that left made room.
    server.as_nobody().get("/v1/version").done(200);
}

#[test]
fn bodies_that_are_too_large_or_too_deep_or_no_json_are_refused() {
    let server = Server::start();
    let token = server.token(&[Scope::Capture]);
    let http = server.with_secret(&token);
    let refused = http.send("POST", "/v1/runs", &[], &vec![b' '; BODY_MAX + 1]).refused(413);
    assert!(refused.message.contains(&BODY_MAX.to_string()), "{}", refused.message);
    http.send("POST", "/v1/runs", &[], "[".repeat(BODY_MAX / 2).as_bytes()).refused(400);
    http.send("POST", "/v1/runs", &[], b"{\"agent\":").refused(400);
    http.send("POST", "/v1/runs", &[], &[0xff; 100]).refused(400);
    let mut more = serde_json::to_value(open(Action::Capture, "web")).unwrap();
    more["surprise"] = 1.into();
    http.post("/v1/runs", &more).refused(400);
    server.as_operator().get("/v1/images/%ff%fe").refused(400);
    let (_, capture) = server.run(Action::Capture, "web");
    for len in [0, 31, 33, 32 * 4096 + 32] {
        let answer = capture.send("POST", "/v1/chunks/missing", &[], &vec![0; len]);
        assert!(matches!(answer.status, 400 | 413), "{len}: {}", answer.status);
    }
}

#[test]
fn a_lie_about_the_length_of_a_small_body_is_noticed() {
    let server = Server::start();
    let (opened, _) = server.run(Action::Capture, "web");
    let mut stream = raw(&server);
    let head =
        "POST /v1/chunks/missing HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ntransfer-encoding: chunked\r\n";
    write!(stream, "{head}authorization: Bearer {}\r\n\r\n", opened.session).unwrap();
    // Without an announced length, more than the route takes.
    for _ in 0..5 {
        let _ = write!(stream, "8000\r\n{}\r\n", "x".repeat(0x8000));
    }
    let _ = stream.write_all(b"0\r\n\r\n");
    let _ = stream.flush();
    let answer = rest(&mut stream);
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
}

#[test]
fn many_agents_at_once_are_all_served() {
    let server = Server::start();
    let wanted = image("web", 0..40);
    std::thread::scope(|scope| {
        for worker in 0..8_u64 {
            let (server, wanted) = (&server, &wanted);
            scope.spawn(move || {
                let own = image(&format!("web-{worker}"), worker * 20..worker * 20 + 40);
                server.capture(&own);
                let (_, http) = server.run(Action::Capture, "web");
                upload(&http, wanted);
            });
        }
    });
    let images: Vec<ramet_wire::api::ImageInfo> = server.as_operator().get("/v1/images").json(200);
    assert_eq!(images.len(), 8);
    let numbers: std::collections::BTreeSet<u64> = images.iter().map(|info| info.number).collect();
    assert_eq!(numbers.len(), 8);
    assert_eq!(server.as_operator().get("/v1/images/none").refused(404).kind, ErrorKind::Refused);
}

#[test]
fn an_upload_under_way_is_finished_when_the_server_stops() {
    let mut server = Server::start();
    let (opened, _) = server.run(Action::Capture, "web");
    let (name, bytes) = pack(&[&chunk(1), &chunk(2)]);
    let mut stream = raw(&server);
    let head = format!("PUT /v1/packs/{name} HTTP/1.1\r\nhost: localhost\r\ncontent-length: {}\r\n", bytes.len());
    write!(stream, "{head}authorization: Bearer {}\r\n\r\n", opened.session).unwrap();
    let (one, two) = bytes.split_at(bytes.len() / 2);
    stream.write_all(one).unwrap();
    stream.flush().unwrap();
    std::thread::sleep(Duration::from_millis(300));
    let running = server.running.take().unwrap();
    running.stopper().stop();
    std::thread::sleep(Duration::from_millis(300));
    stream.write_all(two).unwrap();
    stream.flush().unwrap();
    let answer = rest(&mut stream);
    assert!(answer.starts_with("HTTP/1.1 204 "), "{answer}");
    running.wait().unwrap();
}

#[test]
fn tls_1_2_and_1_3_are_spoken_with_http_1_1() {
    let server = Server::start();
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let mut stream = raw_with(&server, &[version]);
        stream.write_all(b"GET /v1/version HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").unwrap();
        let answer = rest(&mut stream);
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        assert_eq!(stream.conn.protocol_version(), Some(version.version));
        assert_eq!(stream.conn.alpn_protocol(), Some(&b"http/1.1"[..]));
    }
}
