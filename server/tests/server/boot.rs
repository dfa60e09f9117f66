//! Boot files: installed over the API, served over plain HTTP and TFTP.

use crate::harness::Server;
use ramet_server::boot::files::Installed;
use ramet_wire::agents::{Arm, Armed};
use ramet_wire::build::BUILD;
use ramet_wire::id::{hex, sha256};
use ramet_wire::settings::Mode;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::process::Command;
use std::time::Duration;

const CARD: &str = "52:54:00:00:00:01";

fn serving() -> Server {
    Server::with(|config| {
        config.boot = Some("127.0.0.1:0".parse().unwrap());
        config.tftp = Some("127.0.0.1:0".parse().unwrap());
    })
}

/// Large enough for several blocks of a body and for TFTP's numbers to matter.
fn kernel() -> Vec<u8> {
    (0..3_000_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect()
}

fn files() -> Vec<(&'static str, Vec<u8>)> {
    vec![("vmlinuz", kernel()), ("initramfs.zst", b"initramfs".to_vec()), ("ramet.efi", vec![7; 1024])]
}

fn build(files: &[(&str, Vec<u8>)], also: &str) -> Vec<u8> {
    let made: Vec<String> = files
        .iter()
        .map(|(name, bytes)| format!("\"{name}\":{{\"size\":{},\"sha256\":\"{}\"}}", bytes.len(), hex(&sha256(bytes))))
        .collect();
    let files = made.join(",");
    format!("{{\"version\":\"0.1.0\",\"built\":1,\"kernel\":\"6.1.0\",\"files\":{{{files}}}{also}}}").into_bytes()
}

pub fn install(server: &Server) -> Installed {
    for (name, bytes) in files() {
        server.as_operator().send("PUT", &format!("/v1/boot/{name}"), &[], &bytes).done(204);
    }
    server.as_operator().send("PUT", &format!("/v1/boot/{BUILD}"), &[], &build(&files(), "")).json(200)
}

/// One request as it travels: status line and headers, body.
fn plain(addr: SocketAddr, method: &str, path: &str, headers: &str) -> (String, Vec<u8>) {
    let mut tcp = TcpStream::connect(addr).unwrap();
    tcp.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    write!(tcp, "{method} {path} HTTP/1.1\r\nhost: evil.example\r\nconnection: close\r\n{headers}\r\n").unwrap();
    let mut bytes = Vec::new();
    tcp.read_to_end(&mut bytes).unwrap();
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n").unwrap();
    (String::from_utf8_lossy(&bytes[..end]).to_ascii_lowercase(), bytes[end + 4..].to_vec())
}

fn http(server: &Server, method: &str, path: &str) -> (String, Vec<u8>) {
    plain(server.running().boot_addr().unwrap(), method, path, "")
}

fn script(server: &Server, path: &str) -> String {
    let (head, body) = http(server, "GET", path);
    assert!(head.starts_with("http/1.1 200"), "{path}: {head}");
    String::from_utf8(body).unwrap()
}

fn arm(server: &Server) {
    let image = Some("web".parse().unwrap());
    let arm = Arm {
        mode: Mode::Restore,
        image,
        once: true,
        expires: None,
        then: None,
        disk: String::new(),
        name: String::new(),
    };
    let body = serde_json::to_vec(&arm).unwrap();
    server.as_operator().send("PUT", &format!("/v1/netboot/{CARD}"), &[], &body).done(200);
}

#[test]
fn a_build_is_served_once_it_is_whole_and_survives_a_restart() {
    let mut server = serving();
    assert!(http(&server, "GET", "/vmlinuz").0.starts_with("http/1.1 404"));
    for (name, bytes) in files() {
        server.as_operator().send("PUT", &format!("/v1/boot/{name}"), &[], &bytes).done(204);
        assert!(http(&server, "GET", "/vmlinuz").0.starts_with("http/1.1 404"), "not before build.json");
    }
    let mut other = files();
    other[1].1.push(b'x');
    let refused = server.as_operator().send("PUT", &format!("/v1/boot/{BUILD}"), &[], &build(&other, "")).refused(422);
    assert!(refused.message.contains("initramfs.zst is 9 bytes"), "{}", refused.message);
    let installed = install(&server);
    assert_eq!((installed.kernel.as_str(), installed.files.len()), ("6.1.0", 3));
    for _ in 0..2 {
        assert!(http(&server, "GET", "/vmlinuz").1 == kernel());
        assert_eq!(server.as_operator().get("/v1/boot").json::<Installed>(200), installed);
        server.restart();
    }
    server.as_operator().delete("/v1/boot").done(204);
    assert!(http(&server, "GET", "/vmlinuz").0.starts_with("http/1.1 404"));
}

#[test]
fn a_build_with_a_token_other_names_and_other_lengths_are_refused() {
    let server = serving();
    let put = |name: &str, bytes: &[u8]| server.as_operator().send("PUT", &format!("/v1/boot/{name}"), &[], bytes);
    let refused = put(BUILD, &build(&files(), ",\"token\":true")).refused(422);
    assert!(refused.message.contains("token"), "{}", refused.message);
    put("evil.efi", b"x").refused(404);
    put("..%2fidentity.key", b"x").refused(404);
    put(BUILD, &vec![b' '; 2 << 20]).refused(413);
    put(BUILD, b"{}").refused(422);
    assert_eq!(server.as_operator().get("/v1/boot").json::<Installed>(200), Installed::default());
}

#[test]
fn files_have_lengths_and_ranges_and_nothing_else_is_served() {
    let server = serving();
    install(&server);
    let addr = server.running().boot_addr().unwrap();
    let (head, body) = http(&server, "HEAD", "/ramet.efi");
    assert!(head.contains("content-length: 1024") && head.contains("application/efi") && body.is_empty(), "{head}");
    let (head, body) = plain(addr, "GET", "/vmlinuz", "range: bytes=1500000-1500009\r\n");
    assert!(head.starts_with("http/1.1 206") && head.contains("bytes 1500000-1500009/3000000"), "{head}");
    assert_eq!(body, kernel()[1_500_000..1_500_010]);
    assert!(plain(addr, "GET", "/vmlinuz", "range: bytes=9000000-\r\n").0.starts_with("http/1.1 416"));
    for method in ["POST", "PUT", "DELETE", "OPTIONS"] {
        assert!(http(&server, method, "/vmlinuz").0.starts_with("http/1.1 405"), "{method}");
    }
    for path in [
        "/",
        "/build.json",
        "/identity.key",
        "/../identity.key",
        "/%2e%2e/identity.key",
        "/vmlinuz/../../ramet.db",
        "/v1/version",
        "/v1/tokens",
        "/mac/nonsense.ipxe",
        "/grub/x86_64-efi/command.lst",
    ] {
        assert!(http(&server, "GET", path).0.starts_with("http/1.1 404"), "{path}");
    }
    let (head, body) = http(&server, "HEAD", "/boot.ipxe");
    assert!(body.is_empty() && !head.contains("content-length: 0"), "{head}");
}

#[test]
fn scripts_name_the_operators_urls_and_what_the_card_is_armed_with() {
    let server = serving();
    install(&server);
    let (boot, api) = (server.running().boot_addr().unwrap(), server.running().url().to_owned());
    let first = script(&server, "/boot.ipxe");
    assert!(first.contains(&format!("http://{boot}/mac/")), "{first}");
    let card = "/mac/52-54-00-00-00-01.ipxe";
    let menu = script(&server, card);
    assert!(menu.contains("choose --default disk --timeout 10000") && menu.contains("clone.mode=menu"), "{menu}");
    arm(&server);
    let key = server.running().fingerprint().to_string();
    for path in [card, "/grub/grub.cfg-01-52-54-00-00-00-01", "/grub/mac/52:54:00:00:00:01.cfg"] {
        let text = script(&server, path);
        for words in
            ["clone.mode=restore", "clone.image=web", &format!("clone.server={api}"), &format!("clone.key={key}")]
        {
            assert!(text.contains(words), "{path} lacks {words}: {text}");
        }
        assert!(!text.contains("evil.example") && !text.contains("rmt_"), "{text}");
    }
    assert!(script(&server, "/mac/52-54-00-00-00-02.ipxe").contains("clone.mode=menu"), "another card");
    let armed: Vec<Armed> = server.as_operator().get("/v1/netboot").json(200);
    assert!(armed[0].fetched.is_some());
}

/// Debian's `tftp-hpa` and curl are the oracles.
#[test]
fn real_clients_read_the_same_bytes_over_tftp() {
    let server = serving();
    install(&server);
    let addr = server.running().tftp_addr().unwrap();
    let dir = tempfile::tempdir().unwrap();
    for (size, file) in [("512", "a"), ("1468", "b"), ("65464", "c")] {
        let out = dir.path().join(file);
        let url = format!("tftp://{addr}/vmlinuz");
        let curl = Command::new("curl")
            .args(["-fsS", "--max-time", "60", "--tftp-blksize", size, "-o"])
            .arg(&out)
            .arg(url)
            .output()
            .unwrap();
        assert!(curl.status.success(), "{size}: {}", String::from_utf8_lossy(&curl.stderr));
        assert!(std::fs::read(&out).unwrap() == kernel(), "{size}");
    }
    let (port, out) = (addr.port().to_string(), dir.path().join("d"));
    let get = |name: &str| {
        let hpa = Command::new("tftp").args(["-m", "binary", "127.0.0.1", &port, "-c", "get", name]).arg(&out).output();
        let hpa = hpa.unwrap();
        String::from_utf8_lossy(&hpa.stdout).into_owned() + &String::from_utf8_lossy(&hpa.stderr)
    };
    get("/ramet.efi");
    assert_eq!(std::fs::read(&out).unwrap(), [7; 1024], "a whole number of blocks ends with an empty one");
    get("//grub/grub.cfg");
    assert!(std::fs::read_to_string(&out).unwrap().contains("net_default_mac"));
    for name in ["../identity.key", "/etc/passwd", "build.json", "nothing"] {
        assert!(get(name).contains("no such boot file"), "{name}");
    }
    let put = Command::new("tftp")
        .args(["-m", "binary", "127.0.0.1", &port, "-c", "put"])
        .arg(&out)
        .arg("vmlinuz")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&put.stdout).into_owned() + &String::from_utf8_lossy(&put.stderr);
    assert!(said.contains("read-only"), "{said}");
}

/// An asker of our own: options, windows and losses that real clients do not show at will.
struct Asker {
    socket: UdpSocket,
    peer: SocketAddr,
}

impl Asker {
    fn ask(server: SocketAddr, name: &str, options: &str) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        let request = [b"\0\x01", name.as_bytes(), b"\0octet\0", options.as_bytes()].concat();
        socket.send_to(&request, server).unwrap();
        Self { socket, peer: server }
    }

    fn hear(&mut self) -> Vec<u8> {
        let mut buf = [0; 2048];
        let (len, peer) = self.socket.recv_from(&mut buf).unwrap();
        self.peer = peer;
        buf[..len].to_vec()
    }

    fn ack(&self, block: u16) {
        self.socket.send_to(&[&[0, 4][..], &block.to_be_bytes()].concat(), self.peer).unwrap();
    }
}

#[test]
fn a_window_is_sent_at_once_and_again_from_where_something_was_lost() {
    let server = serving();
    install(&server);
    let addr = server.running().tftp_addr().unwrap();
    let mut asker = Asker::ask(addr, "vmlinuz", "blksize\x001000\0windowsize\x004\0tsize\x000\0timeout\x001\0");
    assert_eq!(asker.hear(), b"\0\x06blksize\x001000\0windowsize\x004\0tsize\x003000000\0timeout\x001\0");
    assert_ne!(asker.peer, addr, "a transfer has a port of its own");
    asker.ack(0);
    let number = |bytes: &[u8]| u16::from_be_bytes([bytes[2], bytes[3]]);
    assert_eq!((0..4).map(|_| number(&asker.hear())).collect::<Vec<_>>(), [1, 2, 3, 4]);
    asker.ack(2);
    let again: Vec<Vec<u8>> = (0..4).map(|_| asker.hear()).collect();
    assert_eq!(again.iter().map(|bytes| number(bytes)).collect::<Vec<_>>(), [3, 4, 5, 6]);
    assert_eq!(again[0][4..], kernel()[2000..3000]);
    // Nothing is said: after a second all of it comes again.
    assert_eq!((0..4).map(|_| number(&asker.hear())).collect::<Vec<_>>(), [3, 4, 5, 6]);
    // An acknowledgement that came twice does not start it again.
    asker.ack(2);
    asker.ack(6);
    assert_eq!((0..4).map(|_| number(&asker.hear())).collect::<Vec<_>>(), [7, 8, 9, 10]);
}

#[test]
fn one_address_gets_a_few_transfers_and_a_request_that_comes_again_is_one() {
    let server = serving();
    install(&server);
    let addr = server.running().tftp_addr().unwrap();
    let mut first = Asker::ask(addr, "vmlinuz", "");
    assert_eq!(first.hear().len(), 516);
    let transfer = first.peer;
    first.socket.send_to(b"\0\x01vmlinuz\0octet\0", addr).unwrap();
    for _ in 0..2 {
        first.hear();
        assert_eq!(first.peer, transfer);
    }
    let mut others: Vec<Asker> = (0..6).map(|_| Asker::ask(addr, "vmlinuz", "")).collect();
    let mut ask_around = |patience| {
        others.retain(|asker| {
            asker.socket.set_read_timeout(Some(patience)).unwrap();
            asker.socket.recv_from(&mut [0; 600]).is_err()
        });
        others.len()
    };
    // However long the server takes, three of them hear of it, and then nobody does.
    let until = std::time::Instant::now() + Duration::from_secs(30);
    while ask_around(Duration::from_millis(50)) > 3 {
        assert!(std::time::Instant::now() < until, "fewer than three were answered");
    }
    assert_eq!(ask_around(Duration::from_millis(200)), 3);
}
