//! The command `ramet`, as scripts use it.

use crate::harness::{Http, image, noise, open, pack, upload};
use ramet_wire::api::{Action, EndRun, ErrorKind, Located, RunOpened, encode_ids};
use ramet_wire::{ChunkId, Fingerprint};
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

/// A server as a process of its own.
struct Process {
    child: Child,
    url: String,
    dir: tempfile::TempDir,
}

impl Process {
    fn start(shell: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let script = format!("{shell} exec \"$0\" serve --state \"$1\" --listen=127.0.0.1:0 2>\"$1.log\"");
        let mut child = Command::new("sh")
            .args(["-c", &script, env!("CARGO_BIN_EXE_ramet")])
            .arg(dir.path().join("state"))
            .env("RAMET_LOG", "trace")
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        let url = line.strip_prefix("listening on ").unwrap_or_else(|| panic!("{line:?}")).trim().to_owned();
        assert!(url.starts_with("https://127.0.0.1:"), "{url}");
        Self { child, url, dir }
    }

    fn state(&self) -> PathBuf {
        self.dir.path().join("state")
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("state.log")).unwrap()
    }

    fn stop(&mut self) -> i32 {
        Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status().unwrap();
        self.child.wait().unwrap().code().unwrap()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn ramet(line: &str, state: &Path) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ramet"));
    command.args(line.split_whitespace()).env_remove("RAMET_SERVER").env("RAMET_STATE", state).output().unwrap()
}

fn out(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout.clone()).unwrap()
}

#[test]
fn the_commands_work_beside_a_running_server_and_without_one() {
    let mut server = Process::start("");
    let state = server.state();
    for running in [true, false] {
        let key = out(&ramet("key", &state));
        assert!(key.trim().parse::<Fingerprint>().is_ok() && key.lines().count() == 1, "{key}");
        let token = out(&ramet("token add --scope=capture,restore --image=web-* --expires 7d --once", &state));
        assert!(token.starts_with("rmt_") && token.lines().count() == 1, "{token}");
        let listed: serde_json::Value = serde_json::from_str(&out(&ramet("token ls --json", &state))).unwrap();
        let id = listed[0]["id"].as_str().unwrap();
        assert_eq!(listed[0]["images"], "web-*");
        out(&ramet(&format!("token rm {id}"), &state));
        assert_eq!(out(&ramet("token ls --json", &state)).trim(), "[]");
        assert_eq!(out(&ramet("image ls --json", &state)).trim(), "[]");
        assert_eq!(out(&ramet("run ls --json", &state)).trim(), "[]");
        let report: serde_json::Value = serde_json::from_str(&out(&ramet("store check --json", &state))).unwrap();
        assert_eq!(report["clean"], true);
        out(&ramet("store collect", &state));
        let file = state.with_extension(if running { "1.tar" } else { "2.tar" });
        out(&ramet(&format!("backup {}", file.display()), &state));
        assert_eq!(ramet(&format!("backup {}", file.display()), &state).status.code(), Some(1));
        assert_eq!(ramet("image show nothing", &state).status.code(), Some(2));
        if running {
            assert_eq!(server.stop(), 0);
        }
    }
}

#[test]
fn commands_from_elsewhere_need_url_token_and_key() {
    let server = Process::start("");
    let (key, admin) = (out(&ramet("key", &server.state())), out(&ramet("token add --scope admin", &server.state())));
    let remote = |server: &str, key: &str, token: &str, line: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ramet"));
        command.args(line.split_whitespace()).env_remove("RAMET_STATE");
        command.env("RAMET_SERVER", server).env("RAMET_KEY", key.trim()).env("RAMET_TOKEN", token.trim());
        command.output().unwrap()
    };
    out(&remote(&server.url, &key, &admin, "image ls"));
    let other = format!("sha256:{}", "0".repeat(64));
    let refused = remote(&server.url, &other, &admin, "image ls");
    assert_eq!(refused.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&refused.stderr).contains(key.trim()));
    let capture = out(&ramet("token add --scope capture", &server.state()));
    assert_eq!(remote(&server.url, &key, &capture, "image ls").status.code(), Some(2));
    assert_eq!(remote("https://127.0.0.1:1", &key, &admin, "image ls").status.code(), Some(1));
    assert_eq!(remote(&server.url, "", &admin, "image ls").status.code(), Some(3));
    assert_eq!(remote("", "", "", "image ls").status.code(), Some(3));
    assert_eq!(remote(&server.url, &key, &admin, "image frob").status.code(), Some(3));
}

#[test]
fn usage_version_document_and_completions_are_printed() {
    let nowhere = Path::new("/nonexistent");
    assert_eq!(out(&ramet("--version", nowhere)), format!("ramet {}\n", ramet_server::http::VERSION));
    assert!(out(&ramet("--help", nowhere)).contains("serve"));
    assert!(out(&ramet("token add --help", nowhere)).contains("--scope"));
    assert_eq!(out(&ramet("openapi", nowhere)), ramet_server::openapi::text());
    for shell in ["bash", "zsh", "fish"] {
        assert!(out(&ramet(&format!("completion {shell}"), nowhere)).contains("ramet"));
    }
    for line in ["", "frobnicate", "completion tcsh", "token add --scope fly", "serve --listen nowhere --state /tmp/x"]
    {
        assert_eq!(ramet(line, nowhere).status.code(), Some(3), "{line}");
    }
    assert_eq!(ramet("image ls", nowhere).status.code(), Some(2));
    assert!(!nowhere.exists());
}

#[test]
fn two_servers_do_not_share_a_folder() {
    let server = Process::start("");
    let second = ramet(&format!("serve --listen 127.0.0.1:0 --state {}", server.state().display()), &server.state());
    assert_eq!(second.status.code(), Some(2));
    let message = String::from_utf8_lossy(&second.stderr).into_owned();
    assert!(message.contains("in use by process"), "{message}");
}

/// A capture and a restore as an agent with this token does them; every secret that was used.
fn exercise(server: &Process) -> Vec<String> {
    let key: Fingerprint = out(&ramet("key", &server.state())).trim().parse().unwrap();
    let token = out(&ramet("token add --scope capture,restore", &server.state())).trim().to_owned();
    let agent = |secret: &str| Http::new(&server.url, key, Some(secret.to_owned()));
    let wanted = image("web", 0..5);
    let capture: RunOpened = agent(&token).post("/v1/runs", &open(Action::Capture, "web")).json(201);
    upload(&agent(&capture.session), &wanted);
    agent(&capture.session).send("POST", "/v1/images", &[], &wanted.manifest).done(201);
    let restore: RunOpened = agent(&token).post("/v1/runs", &open(Action::Restore, "web")).json(201);
    let ids = encode_ids(&[ChunkId::of(&wanted.chunks[0])]);
    let located: Located = agent(&restore.session).send("POST", "/v1/chunks/locate", &[], &ids).json(200);
    Http::new(&server.url, key, None).get(&located.packs[0].url).done(200);
    Http::new(&server.url, key, None).get(&located.packs[0].url.replace("exp=", "exp=1")).refused(403);
    agent(&token).get("/v1/images").refused(403);
    let over = EndRun { error: "that was all".to_owned() };
    agent(&restore.session).post("/v1/runs/current/end", &over).done(204);
    let sig = located.packs[0].url.split_once("sig=").unwrap().1.to_owned();
    let note = std::fs::read_to_string(server.state().join("local.json")).unwrap();
    let note: serde_json::Value = serde_json::from_str(&note).unwrap();
    let local = note["token"].as_str().unwrap().rsplit_once('_').unwrap().1.to_owned();
    let secret = token.rsplit_once('_').unwrap().1.to_owned();
    vec![secret, capture.session, restore.session, sig, local]
}

#[test]
fn no_secret_is_ever_in_the_log() {
    let mut server = Process::start("");
    let secrets = exercise(&server);
    assert_eq!(server.stop(), 0);
    let log = server.log();
    assert!(log.contains("run opened") && log.contains("listening"), "{log}");
    for secret in secrets {
        assert!(!log.contains(&secret), "a secret is in the log");
    }
}

#[test]
fn a_full_store_refuses_uploads_and_goes_on_serving() {
    // No file may grow beyond 1 MiB: to the store that is a full disk.
    let server = Process::start("trap '' XFSZ; ulimit -f 2048;");
    let key: Fingerprint = out(&ramet("key", &server.state())).trim().parse().unwrap();
    let token = out(&ramet("token add --scope capture", &server.state())).trim().to_owned();
    let agent = |secret: &str| Http::new(&server.url, key, Some(secret.to_owned()));
    let opened: RunOpened = agent(&token).post("/v1/runs", &open(Action::Capture, "web")).json(201);
    let http = agent(&opened.session);
    let chunks = noise(1, 5);
    let (name, bytes) = pack(&chunks.iter().collect::<Vec<_>>());
    let refused = http.send("PUT", &format!("/v1/packs/{name}"), &[], &bytes).refused(507);
    assert_eq!(refused.kind, ErrorKind::Refused);
    let wanted = image("web", 0..5);
    upload(&http, &wanted);
    http.send("POST", "/v1/images", &[], &wanted.manifest).done(201);
}

#[test]
fn a_server_that_stops_leaves_one_line_on_stdout_and_no_note() {
    let mut server = Process::start("");
    assert!(server.state().join("local.json").exists());
    assert_eq!(server.stop(), 0);
    let mut rest = String::new();
    server.child.stdout.as_mut().unwrap().read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "");
    assert!(!server.state().join("local.json").exists());
}

#[test]
fn memory_stays_below_256_mib_while_many_upload_and_download() {
    let server = Process::start("");
    let key: Fingerprint = out(&ramet("key", &server.state())).trim().parse().unwrap();
    let token = out(&ramet("token add --scope capture,restore", &server.state())).trim().to_owned();
    let agent = |secret: &str| Http::new(&server.url, key, Some(secret.to_owned()));
    let image = ramet_store::testing::TestImage::new("web", "2026-11-22T10:00:00Z", &noise(0, 2));
    let capture: RunOpened = agent(&token).post("/v1/runs", &open(Action::Capture, "web")).json(201);
    upload(&agent(&capture.session), &image);
    agent(&capture.session).send("POST", "/v1/images", &[], &image.manifest).done(201);
    let capture: RunOpened = agent(&token).post("/v1/runs", &open(Action::Capture, "web")).json(201);
    let restore: RunOpened = agent(&token).post("/v1/runs", &open(Action::Restore, "web")).json(201);
    let packs: Vec<_> = (1..5).map(|seed| pack(&noise(seed, 30).iter().collect::<Vec<_>>())).collect();
    std::thread::scope(|scope| {
        for (name, bytes) in &packs {
            let http = agent(&capture.session);
            scope.spawn(move || http.send("PUT", &format!("/v1/packs/{name}"), &[], bytes).done(204));
        }
    });
    std::thread::scope(|scope| {
        for reader in 0..36 {
            let (name, bytes) = &packs[reader % packs.len()];
            let http = agent(&restore.session);
            scope.spawn(move || {
                let whole = http.get(&format!("/v1/packs/{name}")).done(200);
                assert!(whole.body == *bytes);
            });
        }
    });
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.child.id())).unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")).unwrap();
    let peak: u64 = peak.parse().unwrap();
    assert!(peak < 256 << 10, "{peak} KiB");
    eprintln!("peak {peak} KiB");
}

#[test]
fn a_check_names_the_image_that_a_flipped_bit_touches_and_fails() {
    let server = Process::start("");
    exercise(&server);
    let mut packs = Vec::new();
    for folder in std::fs::read_dir(server.state().join("store/packs")).unwrap() {
        packs.extend(std::fs::read_dir(folder.unwrap().path()).unwrap().map(|entry| entry.unwrap().path()));
    }
    let mut bytes = std::fs::read(&packs[0]).unwrap();
    bytes[14] ^= 4;
    std::fs::write(&packs[0], bytes).unwrap();
    for line in ["image check web", "store check", "store check --json"] {
        let checked = ramet(line, &server.state());
        assert_eq!(checked.status.code(), Some(1), "{line}");
        let text = String::from_utf8_lossy(&checked.stdout).into_owned();
        assert!(text.contains("web@"), "{line}: {text}");
    }
    let images = out(&ramet("image ls", &server.state()));
    assert!(images.contains("damaged"), "{images}");
    let shown = out(&ramet("image show web", &server.state()));
    assert!(shown.contains("disk 0") && shown.contains("raw"), "{shown}");
    let runs: serde_json::Value = serde_json::from_str(&out(&ramet("run ls --json", &server.state()))).unwrap();
    let id = runs[0]["run"].as_str().unwrap();
    let run: serde_json::Value =
        serde_json::from_str(&out(&ramet(&format!("run show {id}"), &server.state()))).unwrap();
    assert_eq!(run["action"], "restore");
    assert_eq!(ramet("run show ../tokens", &server.state()).status.code(), Some(2));
    assert!(out(&ramet("image rm web", &server.state())).contains("web"));
    assert_eq!(out(&ramet("image ls --json", &server.state())).trim(), "[]");
}

#[test]
fn a_log_as_json_is_one_object_per_line_with_its_fields_at_the_top() {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("log");
    let mut child = Command::new(env!("CARGO_BIN_EXE_ramet"))
        .args(["serve", "--listen", "127.0.0.1:0", "--log-format", "json", "--state"])
        .arg(dir.path().join("state"))
        .env("RAMET_LOG", "debug")
        .stdout(Stdio::piped())
        .stderr(std::fs::File::create(&log).unwrap())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    out(&ramet("token add --scope capture", &dir.path().join("state")));
    child.kill().unwrap();
    child.wait().unwrap();
    let text = std::fs::read_to_string(&log).unwrap();
    let lines: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(lines.iter().all(|line| line["timestamp"].is_string() && line["level"].is_string()), "{text}");
    let listening = lines.iter().find(|line| line["message"] == "listening").unwrap();
    assert!(listening["key"].as_str().unwrap().starts_with("sha256:"), "{listening}");
    let answered = lines.iter().find(|line| line["path"] == "/v1/tokens").unwrap();
    assert_eq!((answered["verb"].as_str(), answered["status"].as_u64()), (Some("POST"), Some(201)));
}
