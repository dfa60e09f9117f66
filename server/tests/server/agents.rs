//! Agents without a token: Hello, codes, PINs, armed machines.

use crate::harness::{Http, Server, image, open, receipt, upload};
use ramet_store::testing::TestImage;
use ramet_wire::ImageRef;
use ramet_wire::agents::*;
use ramet_wire::api::{Action, ErrorKind, ImageInfo, OpenRun, RunOpened, Scope, ServerVersion};
use ramet_wire::manifest::Source;
use ramet_wire::settings::{Mac, Mode, Then};

const CARD: Mac = Mac([0x52, 0x54, 0, 0, 0, 1]);
const OTHER: Mac = Mac([0x52, 0x54, 0, 0, 0, 2]);

fn hello(nonce: u32, mode: Mode, macs: &[Mac]) -> Hello {
    Hello {
        agent: ramet_server::http::VERSION.to_owned(),
        nonce: format!("{nonce:032x}"),
        mode,
        machine: Source { serial: Some("S\x1b[31m1".into()), ..Source::default() },
        macs: macs.to_vec(),
        ..Hello::default()
    }
}

fn say(server: &Server, hello: &Hello) -> Orders {
    server.as_nobody().post("/v1/agents", hello).json(200)
}

fn arm(mode: Mode, image: Option<&str>) -> Arm {
    let image = image.map(|image| image.parse().unwrap());
    Arm { mode, image, once: false, expires: None, then: None, disk: String::new(), name: String::new() }
}

fn put(server: &Server, mac: Mac, arm: &Arm) -> Armed {
    let body = serde_json::to_vec(arm).unwrap();
    server.as_operator().send("PUT", &format!("/v1/netboot/{mac}"), &[], &body).json(200)
}

fn armed(server: &Server) -> Vec<Armed> {
    server.as_operator().get("/v1/netboot").json(200)
}

fn approve(server: &Server, code: &str, capture: Option<&str>, restore: Option<&str>) -> crate::harness::Answer {
    let (capture, restore) = (capture.map(|name| name.parse().unwrap()), restore.map(|image| image.parse().unwrap()));
    let body = Approve { capture, restore, job: None, then: Some(Then::Wait), disk: "0:serial=a b".into() };
    server.as_operator().post(&format!("/v1/agents/{code}/approve"), &body)
}

fn begin(server: &Server, work: &Work) -> (RunOpened, Http) {
    let body = OpenRun { image: work.image.clone(), ..open(work.action, "x") };
    let opened: RunOpened = server.with_secret(&work.token).post("/v1/runs", &body).json(201);
    let http = server.with_secret(&opened.session);
    (opened, http)
}

/// Ends the run as an honest agent does.
fn finish(server: &Server, work: &Work, run: &(RunOpened, Http), image: &TestImage) {
    match work.action {
        Action::Capture => {
            upload(&run.1, image);
            run.1.send("POST", "/v1/images", &[], &image.manifest).done(201);
        }
        Action::Restore => {
            let id = run.0.image.as_ref().unwrap().id;
            run.1.post("/v1/receipts", &receipt(server, &run.0.run, image, id)).done(201);
        }
    }
}

#[test]
fn a_waiting_agent_shows_a_code_and_gets_exactly_what_an_operator_approves() {
    let server = Server::start();
    server.capture(&image("web", 0..3));
    server.capture(&image("db", 3..5));
    let orders = say(&server, &hello(1, Mode::Menu, &[CARD]));
    assert_eq!((orders.state, orders.work), (OrderState::Waiting, None));
    assert_eq!(orders.code.len(), 8);
    assert_ne!(say(&server, &hello(2, Mode::Menu, &[CARD])).code, orders.code);
    let seen: Vec<AgentSeen> = server.as_operator().get("/v1/agents").json(200);
    assert_eq!(seen.len(), 2);
    assert!(seen.iter().all(|agent| agent.hello.machine.serial.as_deref() == Some("S [31m1")), "{seen:?}");
    approve(&server, &orders.code, None, Some("nothing")).refused(404);
    approve(&server, &orders.code, None, None).refused(400);
    approve(&server, &orders.code, Some("web"), Some("web")).refused(400);
    approve(&server, "2222-2222", Some("web"), None).refused(404);
    approve(&server, "nonsense", Some("web"), None).refused(400);
    let code = format!("{}-{}", orders.code[..4].to_lowercase(), &orders.code[4..]);
    let seen: AgentSeen = approve(&server, &code, None, Some("web")).json(200);
    assert_eq!(seen.state, OrderState::Go);
    let orders = say(&server, &hello(1, Mode::Menu, &[CARD]));
    let work = orders.work.unwrap();
    assert_eq!((orders.state, work.action, work.then), (OrderState::Go, Action::Restore, Some(Then::Wait)));
    assert_eq!((work.image.name.as_str(), work.disk.as_str()), ("web", "0:serial=a b"));
    assert_eq!(say(&server, &hello(1, Mode::Menu, &[CARD])).work, Some(work.clone()), "the same answer again");
    assert_eq!(say(&server, &hello(2, Mode::Menu, &[CARD])).state, OrderState::Waiting, "another boot gets nothing");
    let http = server.with_secret(&work.token);
    http.post("/v1/runs", &open(Action::Capture, "web")).refused(403);
    http.post("/v1/runs", &open(Action::Restore, "db")).refused(403);
    // A version that was published after the approval is not what was approved.
    server.capture(&image("web", 7..9));
    http.post("/v1/runs", &open(Action::Restore, "web")).refused(403);
    let (opened, _) = begin(&server, &work);
    assert_eq!(opened.image.unwrap().id, work.image.id.unwrap());
    http.post("/v1/runs", &OpenRun { image: work.image.clone(), ..open(Action::Restore, "web") }).refused(401);
    let orders = say(&server, &hello(1, Mode::Menu, &[CARD]));
    assert_eq!((orders.state, orders.work), (OrderState::Waiting, None), "the token is used");
}

#[test]
fn an_approval_is_good_for_fifteen_minutes_and_the_next_one_takes_it_back() {
    let server = Server::start();
    let code = say(&server, &hello(1, Mode::Menu, &[CARD])).code;
    approve(&server, &code, Some("one"), None).done(200);
    let first = say(&server, &hello(1, Mode::Menu, &[CARD])).work.unwrap();
    approve(&server, &code, Some("two"), None).done(200);
    let second = say(&server, &hello(1, Mode::Menu, &[CARD])).work.unwrap();
    assert_eq!(second.image.name.as_str(), "two");
    server.with_secret(&first.token).post("/v1/runs", &open(Action::Capture, "one")).refused(401);
    server.pass(500);
    assert_eq!(say(&server, &hello(1, Mode::Menu, &[CARD])).work.as_ref(), Some(&second));
    server.pass(400);
    assert_eq!(say(&server, &hello(1, Mode::Menu, &[CARD])).state, OrderState::Waiting);
    server.with_secret(&second.token).post("/v1/runs", &open(Action::Capture, "two")).refused(401);
}

#[test]
fn a_hello_that_is_none_is_refused_and_a_newer_agent_hears_both_versions() {
    let server = Server::start();
    let nobody = server.as_nobody();
    let good = hello(1, Mode::Job, &[CARD]);
    let bad = [
        Hello { nonce: "0".repeat(31), ..good.clone() },
        Hello { nonce: "A".repeat(32), ..good.clone() },
        Hello { macs: vec![Mac([0; 6])], ..good.clone() },
        Hello { macs: vec![Mac([0xff; 6])], ..good.clone() },
        Hello { macs: (0..33).map(|n| Mac([2, 0, 0, 0, 0, n])).collect(), ..good.clone() },
    ];
    for bad in bad {
        nobody.post("/v1/agents", &bad).refused(400);
    }
    nobody.send("POST", "/v1/agents", &[], b"{\"agent\":\"0.1.0\",\"nonce\":1}").refused(400);
    nobody.send("POST", "/v1/agents", &[], &vec![b' '; 200 << 10]).refused(413);
    let refused = nobody.post("/v1/agents", &Hello { agent: "99.1.0".into(), ..good }).refused(426);
    assert!(refused.message.contains("99.1.0") && refused.message.contains(ramet_server::http::VERSION));
    let seen: Vec<AgentSeen> = server.as_operator().get("/v1/agents").json(200);
    assert!(seen.is_empty(), "{seen:?}");
}

#[test]
fn strangers_are_bounded_in_pace_and_in_number() {
    let server = Server::with(|config| {
        config.limits.pace_of_peer = std::time::Duration::from_secs(3600);
        config.limits.burst = (800, 4);
        config.limits.agents = 2;
    });
    say(&server, &hello(1, Mode::Menu, &[]));
    say(&server, &hello(2, Mode::Menu, &[]));
    assert_eq!(server.as_nobody().post("/v1/agents", &hello(3, Mode::Menu, &[])).refused(503).kind, ErrorKind::Retry);
    say(&server, &hello(1, Mode::Menu, &[]));
    let refused = server.as_nobody().post("/v1/agents", &hello(1, Mode::Menu, &[])).refused(429);
    assert_eq!(refused.kind, ErrorKind::Retry);
    server.as_nobody().post("/v1/agents/pin", &EnterPin { nonce: "0".repeat(32), pin: "12345678".into() }).refused(429);
}

#[test]
fn an_armed_machine_gets_its_work_and_its_boot_line_must_agree() {
    let server = Server::start();
    server.capture(&image("web", 0..3));
    assert_eq!(say(&server, &hello(1, Mode::Job, &[CARD])).state, OrderState::Nothing);
    assert_eq!(say(&server, &hello(2, Mode::Restore, &[CARD])).state, OrderState::Waiting);
    put(
        &server,
        CARD,
        &Arm { then: Some(Then::Poweroff), disk: "0:serial=x".into(), ..arm(Mode::Restore, Some("web")) },
    );
    assert_eq!(say(&server, &hello(3, Mode::Menu, &[CARD])).state, OrderState::Waiting);
    assert_eq!(say(&server, &hello(3, Mode::Inventory, &[CARD])).state, OrderState::Nothing);
    let other = say(&server, &hello(3, Mode::Capture, &[CARD]));
    assert_eq!(other.state, OrderState::Waiting);
    assert!(other.message.contains("restore") && other.message.contains("capture"), "{}", other.message);
    let work = say(&server, &hello(1, Mode::Job, &[OTHER, CARD])).work.unwrap();
    assert_eq!((work.action, work.then, work.disk.as_str()), (Action::Restore, Some(Then::Poweroff), "0:serial=x"));
    assert_eq!(work.image, "web".parse::<ImageRef>().unwrap());
    assert_eq!(say(&server, &hello(1, Mode::Job, &[CARD])).work, Some(work));
    put(&server, CARD, &arm(Mode::Menu, None));
    assert_eq!(say(&server, &hello(1, Mode::Job, &[CARD])).state, OrderState::Waiting);
    put(&server, CARD, &arm(Mode::Inventory, None));
    assert_eq!(say(&server, &hello(1, Mode::Job, &[CARD])).state, OrderState::Nothing);
}

#[test]
fn another_boot_of_a_machine_whose_work_is_held_is_claimed_and_both_addresses_are_known() {
    let mut server = Server::start();
    let web = image("web", 0..3);
    server.capture(&web);
    put(&server, CARD, &arm(Mode::Restore, Some("web")));
    let work = say(&server, &hello(1, Mode::Restore, &[CARD])).work.unwrap();
    let claimed = say(&server, &hello(2, Mode::Restore, &[CARD]));
    assert_eq!((claimed.state, &claimed.work), (OrderState::Claimed, &None));
    let seen: Vec<AgentSeen> = server.as_operator().get("/v1/agents").json(200);
    let other = seen.iter().find(|agent| agent.state == OrderState::Claimed).unwrap();
    assert!(other.peer == "127.0.0.1" && other.note.matches("127.0.0.1").count() == 2, "{}", other.note);
    // The claim is not forgotten with the server's memory; the first boot gets a new token in place of the lost one.
    server.restart();
    assert_eq!(say(&server, &hello(2, Mode::Restore, &[CARD])).state, OrderState::Claimed);
    let again = say(&server, &hello(1, Mode::Restore, &[CARD])).work.unwrap();
    server.with_secret(&work.token).post("/v1/runs", &open(Action::Restore, "web")).refused(401);
    let run = begin(&server, &again);
    server.pass(800);
    run.1.post("/v1/runs/current", &crate::harness::beat()).done(204);
    server.pass(200);
    assert_eq!(say(&server, &hello(3, Mode::Restore, &[CARD])).state, OrderState::Claimed, "its run lives");
    finish(&server, &again, &run, &web);
    assert_eq!(say(&server, &hello(1, Mode::Restore, &[CARD])).state, OrderState::Nothing, "this boot is done");
    assert_eq!(say(&server, &hello(3, Mode::Restore, &[CARD])).state, OrderState::Go, "the next boot is not");
}

#[test]
fn a_token_that_was_handed_out_and_never_used_frees_the_machine_after_fifteen_minutes() {
    let server = Server::start();
    put(&server, CARD, &arm(Mode::Capture, Some("web")));
    let lost = say(&server, &hello(1, Mode::Job, &[CARD])).work.unwrap();
    server.pass(899);
    assert_eq!(say(&server, &hello(2, Mode::Job, &[CARD])).state, OrderState::Claimed);
    server.pass(1);
    let work = say(&server, &hello(2, Mode::Job, &[CARD])).work.unwrap();
    assert_ne!(work.token, lost.token);
    server.with_secret(&lost.token).post("/v1/runs", &open(Action::Capture, "web")).refused(401);
}

#[test]
fn once_is_over_when_a_run_is_done_and_not_before() {
    let server = Server::start();
    let web = image("web", 0..3);
    for (mode, name) in [(Mode::Capture, "web"), (Mode::Restore, "web")] {
        put(&server, CARD, &Arm { once: true, ..arm(mode, Some(name)) });
        let cut = say(&server, &hello(1, mode, &[CARD])).work.unwrap();
        let (_, http) = begin(&server, &cut);
        http.post("/v1/runs/current/end", &ramet_wire::api::EndRun { error: "the disk is gone".into() }).done(204);
        assert_eq!(armed(&server).len(), 1, "a run that failed disarms nothing");
        let work = say(&server, &hello(2, mode, &[CARD])).work.unwrap();
        let run = begin(&server, &work);
        assert_eq!(armed(&server).len(), 1);
        finish(&server, &work, &run, &web);
        assert!(armed(&server).is_empty(), "{mode:?}");
    }
    put(&server, CARD, &arm(Mode::Restore, Some("web")));
    let work = say(&server, &hello(3, Mode::Job, &[CARD])).work.unwrap();
    let run = begin(&server, &work);
    // Armed anew while the old work goes on: its end is not the new one's.
    put(&server, CARD, &Arm { once: true, ..arm(Mode::Restore, Some("web")) });
    finish(&server, &work, &run, &web);
    assert_eq!(armed(&server).len(), 1);
}

#[test]
fn two_cards_with_different_work_are_refused_with_both_and_with_the_same_are_one() {
    let server = Server::start();
    put(&server, CARD, &Arm { once: true, ..arm(Mode::Capture, Some("web")) });
    put(&server, OTHER, &arm(Mode::Capture, Some("db")));
    let refused = server.as_nobody().post("/v1/agents", &hello(1, Mode::Job, &[CARD, OTHER])).refused(409);
    for word in [CARD.to_string(), OTHER.to_string(), "web".into(), "db".into()] {
        assert!(refused.message.contains(&word), "{}", refused.message);
    }
    put(&server, OTHER, &Arm { once: true, ..arm(Mode::Capture, Some("web")) });
    let work = say(&server, &hello(1, Mode::Job, &[CARD, OTHER])).work.unwrap();
    assert_eq!(say(&server, &hello(2, Mode::Job, &[OTHER])).state, OrderState::Claimed);
    finish(&server, &work, &begin(&server, &work), &image("web", 0..3));
    assert!(armed(&server).is_empty());
}

#[test]
fn disarming_takes_back_what_was_handed_out_and_an_expiry_does_too() {
    let server = Server::start();
    put(&server, CARD, &arm(Mode::Capture, Some("web")));
    let work = say(&server, &hello(1, Mode::Job, &[CARD])).work.unwrap();
    server.as_operator().delete(&format!("/v1/netboot/{}", "52-54-00-00-00-01")).done(204);
    server.as_operator().delete(&format!("/v1/netboot/{CARD}")).refused(404);
    server.with_secret(&work.token).post("/v1/runs", &open(Action::Capture, "web")).refused(401);
    assert_eq!(say(&server, &hello(1, Mode::Job, &[CARD])).state, OrderState::Nothing);
    let row =
        put(&server, CARD, &Arm { expires: Some(60), name: " a\x07b ".into(), ..arm(Mode::Capture, Some("web")) });
    assert!(row.expires.is_some() && row.arm.name == "a b", "{row:?}");
    server.pass(60);
    assert!(armed(&server).is_empty());
    assert_eq!(say(&server, &hello(2, Mode::Job, &[CARD])).state, OrderState::Nothing);
}

#[test]
fn what_cannot_be_armed_is_refused() {
    let server = Server::with(|config| config.limits.armed = 1);
    let send = |mac: &str, arm: &Arm| {
        server.as_operator().send("PUT", &format!("/v1/netboot/{mac}"), &[], &serde_json::to_vec(arm).unwrap())
    };
    let good = arm(Mode::Restore, Some("web"));
    for (mac, arm) in [
        ("nonsense", good.clone()),
        ("ff:ff:ff:ff:ff:ff", good.clone()),
        ("52:54:00:00:00:01", arm(Mode::Restore, None)),
        ("52:54:00:00:00:01", arm(Mode::Menu, Some("web"))),
        ("52:54:00:00:00:01", arm(Mode::Job, Some("web"))),
        ("52:54:00:00:00:01", arm(Mode::Capture, Some("web@0123456789abcdef"))),
        ("52:54:00:00:00:01", Arm { disk: "sda".into(), ..good.clone() }),
        ("52:54:00:00:00:01", Arm { disk: "0:serial=a\"b".into(), ..good.clone() }),
        ("52:54:00:00:00:01", Arm { disk: "0:serial=a\nb".into(), ..good.clone() }),
        ("52:54:00:00:00:01", Arm { expires: Some(0), ..good.clone() }),
    ] {
        send(mac, &arm).refused(400);
    }
    send("52:54:00:00:00:01", &good).done(200);
    send("52:54:00:00:00:01", &good).done(200);
    send("52:54:00:00:00:02", &good).refused(409);
}

#[test]
fn a_pin_gives_its_rights_to_a_boot_that_said_hello() {
    let server = Server::start();
    server.capture(&image("web-1", 0..3));
    server.capture(&image("web-1", 3..5));
    server.capture(&image("web-2", 0..2));
    server.capture(&image("db", 5..7));
    let add = AddPin { scopes: vec![Scope::Restore], images: "web-*".parse().unwrap(), expires: 3600 };
    let added: PinAdded = server.as_operator().post("/v1/pins", &add).json(201);
    assert!(added.pin.len() == 8 && added.pin.bytes().all(|c| c.is_ascii_digit()));
    let enter = EnterPin { nonce: format!("{:032x}", 1), pin: added.pin.clone() };
    server.as_nobody().post("/v1/agents/pin", &enter).refused(403);
    say(&server, &hello(1, Mode::Menu, &[CARD]));
    let accepted: PinAccepted = server.as_nobody().post("/v1/agents/pin", &enter).json(200);
    assert_eq!((accepted.scopes.as_slice(), accepted.images.to_string().as_str()), (&[Scope::Restore][..], "web-*"));
    let again: PinAccepted = server.as_nobody().post("/v1/agents/pin", &enter).json(200);
    assert_eq!(again, accepted);
    let http = server.with_secret(&accepted.token);
    let images: Vec<ImageInfo> = http.get("/v1/agents/images").json(200);
    let names: Vec<(&str, u64)> = images.iter().map(|info| (info.name.as_str(), info.number)).collect();
    assert_eq!(names, [("web-1", 2), ("web-2", 3)]);
    http.post("/v1/runs", &open(Action::Restore, "web-1")).done(201);
    http.post("/v1/runs", &open(Action::Restore, "web-1")).done(201);
    http.post("/v1/runs", &open(Action::Restore, "db")).refused(403);
    http.post("/v1/runs", &open(Action::Capture, "web-1")).refused(403);
    http.get("/v1/tokens").refused(403);
    let capture = server.token(&[Scope::Capture]);
    server.with_secret(&capture).get("/v1/agents/images").refused(403);
    let listed: Vec<PinInfo> = server.as_operator().get("/v1/pins").json(200);
    assert_eq!((listed.len(), listed[0].tries), (1, 10), "the try before the Hello and none of the right ones count");
    server.as_operator().delete(&format!("/v1/pins/{}", added.id)).done(204);
    http.post("/v1/runs", &open(Action::Restore, "web-1")).refused(401);
    server.as_nobody().post("/v1/agents/pin", &enter).refused(403);
}

#[test]
fn ten_wrong_tries_by_whomever_and_every_pin_is_void() {
    let server = Server::start();
    let add = AddPin { scopes: vec![Scope::Capture], images: "*".parse().unwrap(), expires: 60 };
    let one: PinAdded = server.as_operator().post("/v1/pins", &add).json(201);
    let other: PinAdded = server.as_operator().post("/v1/pins", &add).json(201);
    let enter = |nonce: u32, pin: &str| {
        let nonce = format!("{nonce:032x}");
        server.as_nobody().post("/v1/agents/pin", &EnterPin { nonce, pin: pin.to_owned() })
    };
    for nonce in 0..5 {
        say(&server, &hello(nonce, Mode::Menu, &[]));
    }
    let mut wrong = (0..100_000_000_u32).map(|n| format!("{n:08}")).filter(|pin| *pin != one.pin && *pin != other.pin);
    for bad in ["", "1234567", "123456789", "1234567a", "１２３４５６７８"] {
        enter(1, bad).refused(400);
    }
    for n in 0..9 {
        enter(n % 5, &wrong.next().unwrap()).refused(403);
    }
    enter(1, &one.pin).done(200);
    enter(2, &wrong.next().unwrap()).refused(403);
    enter(1, &one.pin).refused(403);
    enter(3, &other.pin).refused(403);
    let listed: Vec<PinInfo> = server.as_operator().get("/v1/pins").json(200);
    assert_eq!(listed.iter().map(|pin| pin.tries).collect::<Vec<_>>(), [0, 0]);
    let fresh: PinAdded = server.as_operator().post("/v1/pins", &add).json(201);
    server.pass(60);
    say(&server, &hello(1, Mode::Menu, &[]));
    enter(1, &fresh.pin).refused(403);
    assert!(server.as_operator().get("/v1/pins").json::<Vec<PinInfo>>(200).is_empty());
}

#[test]
fn a_pin_is_never_an_operators_nor_for_ever_and_is_not_stored() {
    let server = Server::start();
    let good = AddPin { scopes: vec![Scope::Capture], images: "*".parse().unwrap(), expires: 60 };
    for bad in [
        AddPin { scopes: vec![Scope::Admin], ..good.clone() },
        AddPin { scopes: vec![Scope::Capture, Scope::Admin], ..good.clone() },
        AddPin { scopes: vec![], ..good.clone() },
        AddPin { expires: 0, ..good.clone() },
        AddPin { expires: 604_801, ..good.clone() },
    ] {
        server.as_operator().post("/v1/pins", &bad).refused(400);
    }
    let added: PinAdded = server.as_operator().post("/v1/pins", &good).json(201);
    for file in ["ramet.db", "ramet.db-wal"] {
        let bytes = std::fs::read(server.state().join(file)).unwrap_or_default();
        assert!(!String::from_utf8_lossy(&bytes).contains(&added.pin), "{file}");
    }
    assert!(!server.as_operator().get("/v1/pins").text().contains(&added.pin));
}

#[test]
fn no_token_that_was_handed_out_lies_on_disk_and_the_version_tells_the_time() {
    let server = Server::start();
    put(&server, CARD, &arm(Mode::Capture, Some("web")));
    let work = say(&server, &hello(1, Mode::Job, &[CARD])).work.unwrap();
    let nonce = format!("{:032x}", 1);
    let secret = work.token.rsplit_once('_').unwrap().1.to_owned();
    for file in ["ramet.db", "ramet.db-wal"] {
        let bytes = std::fs::read(server.state().join(file)).unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes);
        assert!(!text.contains(&secret) && !text.contains(&nonce), "{file}");
    }
    assert!(!server.as_operator().get("/v1/agents").text().contains(&secret));
    let version: ServerVersion = server.as_nobody().get("/v1/version").json(200);
    assert_eq!(version.time, crate::harness::BEGIN);
}
