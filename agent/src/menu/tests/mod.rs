//! Screens, by keys and events.
//!
//! In: what a person presses and what the server says. Out: whole screens, compared with those in `screens/` beside this file.
//! Promise: `RAMET_WRITE_SCREENS=1` writes them anew; whoever does that reads the difference.

use super::keys::Key;
use super::screen::{HEIGHT, WIDTH};
use super::state::{Command, Event, Page, Server, State, Topic};
use super::{draw, turn};
use crate::cli::Exit;
use crate::job::{Found, Stop};
use crate::progress::{Part, Snapshot};
use crate::write::{DiskPlan, Plan};
use ramet_wire::agents::{PinAccepted, Work};
use ramet_wire::api::{Action, ImageInfo, ImageState, Scope};
use ramet_wire::boot::{Answer, Verdict};
use ramet_wire::receipt::{Origin, Proof};
use ramet_wire::settings::{From as Source, Then};
use ramet_wire::{Fingerprint, ImageId};
use std::path::Path;

const KEY: Fingerprint = Fingerprint([0xab; 32]);

fn menu() -> State {
    let mut state = State::new("Maker Model 9".to_owned(), Some("https://boot.example:8443".to_owned()));
    let server = Server::Reached { key: KEY, code: "23456789".to_owned(), message: String::new() };
    assert!(turn(&mut state, Event::Server(server)).is_empty());
    state
}

fn press(state: &mut State, keys: &str) -> Vec<Command> {
    let key = |c| match c {
        '\n' => Key::Enter,
        '\x1b' => Key::Escape,
        'v' => Key::Down,
        '^' => Key::Up,
        c => Key::Char(c),
    };
    keys.chars().flat_map(|c| turn(state, Event::Key(key(c)))).collect()
}

fn typed(state: &mut State, text: &str) -> Vec<Command> {
    text.chars().flat_map(|c| turn(state, Event::Key(Key::Char(c)))).collect()
}

/// Compares the screen with the one of this name.
#[track_caller]
fn shows(state: &State, name: &str) {
    let version = concat!("Ramet ", env!("CARGO_PKG_VERSION"));
    let text = draw(state).text().replace(version, "Ramet V.V.V");
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/menu/tests/screens").join(format!("{name}.txt"));
    if std::env::var_os("RAMET_WRITE_SCREENS").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, format!("{text}\n")).unwrap();
    }
    let wanted = std::fs::read_to_string(&path).unwrap();
    assert!(text.lines().count() <= HEIGHT && text.lines().all(|line| line.len() <= WIDTH));
    assert_eq!(format!("{text}\n"), wanted, "{name}");
}

fn image(name: &str, disks: u32) -> ImageInfo {
    ImageInfo {
        name: name.parse().unwrap(),
        id: ImageId([0x1e; 8]),
        number: 7,
        created: "2026-11-22T20:45:21Z".to_owned(),
        state: ImageState::Complete,
        disks,
        data_bytes: 757 << 20,
    }
}

fn disk(name: &str, serial: Option<&str>, against: Option<&str>) -> Found {
    Found {
        path: format!("/dev/{name}").into(),
        name: name.to_owned(),
        size: 480 << 30,
        sector: 512,
        model: Some("FAST 480".to_owned()),
        serial: serial.map(str::to_owned),
        wwn: None,
        transport: None,
        controllers: Vec::new(),
        holds: None,
        against: against.map(str::to_owned),
    }
}

fn plan() -> Plan {
    Plan {
        image: "web@1e1e1e1e1e1e1e1e".parse().unwrap(),
        created: "2026-11-22T20:45:21Z".to_owned(),
        origin: Origin::Pinned(KEY),
        inconsistent: false,
        warnings: Vec::new(),
        boot: Some(Verdict {
            answer: Answer::No,
            reasons: vec!["the image starts by UEFI and the target by BIOS: switch its firmware to UEFI".to_owned()],
        }),
        proof: Proof::Device,
        disks: vec![DiskPlan {
            ordinal: 0,
            source_size: 100 << 20,
            source: "no model or serial known".to_owned(),
            path: "/dev/sda".to_owned(),
            size: 480 << 30,
            sector_size: 512,
            target: "FAST 480, serial S1".to_owned(),
            holds: vec!["gpt table with 2 partitions".to_owned()],
            partitions: Vec::new(),
            table: "gpt with 2 partitions, byte for byte".to_owned(),
            sizes: Vec::new(),
            data_bytes: 1000,
            zero_bytes: 2000,
            blank_bytes: 0,
        }],
    }
}

fn work(action: Action, then: Option<Then>) -> Work {
    Work {
        action,
        image: "web".parse().unwrap(),
        token: "t".to_owned(),
        then,
        disk: String::new(),
        job: None,
        blank_only: false,
        adapt: None,
    }
}

/// The plan of a restore that a person chose by a PIN.
fn at_the_plan() -> State {
    let mut state = menu();
    press(&mut state, "2");
    let accepted = PinAccepted { token: "t".to_owned(), scopes: vec![Scope::Restore], images: "*".parse().unwrap() };
    assert_eq!(turn(&mut state, Event::Pin(Ok(accepted))), [Command::ListImages(Source::Server)]);
    turn(&mut state, Event::Images(Ok(vec![image("db", 2), image("web", 1)])));
    assert_eq!(press(&mut state, "v\n"), [Command::LookAtDisks]);
    turn(&mut state, Event::Disks(vec![disk("sda", Some("S1"), None), disk("sdb", None, Some("is removable"))]));
    let commands = press(&mut state, "\n");
    let wanted = Command::Restore("web@1e1e1e1e1e1e1e1e".parse().unwrap(), Source::Server, vec!["/dev/sda".into()]);
    assert_eq!(commands, [wanted]);
    turn(&mut state, Event::Plan(plan()));
    state
}

#[test]
fn the_main_page_says_who_the_server_is_and_what_an_operator_types_and_nothing_of_the_store() {
    shows(&menu(), "home");
    shows(&State::new("Maker Model 9".to_owned(), None), "home_without_server");
}

#[test]
fn a_server_that_nobody_pinned_is_shown_and_asked_about() {
    let mut state = State::new(String::new(), Some("https://boot.example:8443".to_owned()));
    turn(&mut state, Event::Server(Server::Unknown(KEY)));
    shows(&state, "trust");
    assert!(press(&mut state, "\nx").is_empty());
    assert_eq!(press(&mut state, "n"), [Command::Trust(false)]);
    assert!(draw(&state).text().contains("t: look again"));
    assert_eq!(press(&mut state, "ty"), [Command::Trust(true)]);
    assert_eq!(state.page, Page::Home);
}

#[test]
fn without_a_token_a_pin_or_an_operator_opens_the_store() {
    let mut state = menu();
    assert!(press(&mut state, "2").is_empty());
    assert!(typed(&mut state, "12x34 5678").is_empty());
    shows(&state, "access");
    assert_eq!(press(&mut state, "\n"), [Command::SendPin("12345678".to_owned())]);
    turn(&mut state, Event::Pin(Err("checking the PIN: it is wrong, 9 tries are left".to_owned())));
    assert!(draw(&state).text().contains("9 tries are left"));
    let accepted = PinAccepted { token: "t".to_owned(), scopes: vec![Scope::Capture], images: "*".parse().unwrap() };
    assert!(turn(&mut state, Event::Pin(Ok(accepted))).is_empty());
    assert!(draw(&state).text().contains("The PIN does not allow to restore."));
}

#[test]
fn images_and_disks_are_chosen_with_arrows() {
    let mut state = menu();
    state.rights = vec![Scope::Restore];
    assert_eq!(press(&mut state, "2"), [Command::ListImages(Source::Server)]);
    turn(&mut state, Event::Images(Ok(vec![image("db", 2), image("web", 1)])));
    shows(&state, "images");
    press(&mut state, "\n");
    let found = vec![disk("sda", Some("S1"), None), disk("sdb", Some("S2"), Some("is removable"))];
    turn(&mut state, Event::Disks(found));
    assert!(press(&mut state, "v\n").is_empty(), "two disks are needed");
    shows(&state, "disks");
    let paths = vec!["/dev/sdb".into(), "/dev/sda".into()];
    let wanted = Command::Restore("db@1e1e1e1e1e1e1e1e".parse().unwrap(), Source::Server, paths);
    assert_eq!(press(&mut state, "^\n"), [wanted]);
}

#[test]
fn nothing_is_erased_before_a_serial_number_or_the_word_was_typed() {
    let mut state = at_the_plan();
    shows(&state, "plan");
    for wrong in ["\n", "yes\n", "S2\n"] {
        assert!(press(&mut state, wrong).is_empty(), "{wrong}");
        assert!(draw(&state).text().contains("neither the disk's serial number"));
        for _ in 0..4 {
            turn(&mut state, Event::Key(Key::Backspace));
        }
    }
    let mut by_serial = state.clone();
    assert_eq!(press(&mut by_serial, "S1\n"), [Command::Answer(true)]);
    assert_eq!(press(&mut state.clone(), "erase\n"), [Command::Answer(true)]);
    assert_eq!(press(&mut state, "erase\x1b"), [Command::Answer(false)]);
}

#[test]
fn a_run_shows_each_partition_rate_time_left_and_what_was_present() {
    let mut state = at_the_plan();
    press(&mut state, "S1\n");
    let part = |name: &str, total: u64, done: u64| Part { name: name.to_owned(), total, done };
    let now = Snapshot {
        step: "restoring".to_owned(),
        total: 4 << 30,
        done: 1 << 30,
        present: 1 << 29,
        moved: 100 << 20,
        parts: vec![part("disk 0 table", 1 << 20, 1 << 20), part("disk 0 partition 1", 2 << 30, 1 << 29)],
    };
    turn(&mut state, Event::Say("restoring web onto /dev/sda".to_owned()));
    turn(&mut state, Event::Progress(now, 8.0, 75.0));
    shows(&state, "running");
    // No key ends or leaves a run.
    assert!(press(&mut state, "\x1b1567\n").is_empty());
    assert_eq!(state.page, Page::Running);
    turn(&mut state, Event::Ended(Ok("restored web@1e1e onto /dev/sda in 75 s".to_owned())));
    shows(&state, "ended");
    assert_eq!(press(&mut state, "r"), [Command::Leave(Then::Reboot)]);
    assert!(press(&mut state, "\n").is_empty());
    assert_eq!(state.page, Page::Home);
}

#[test]
fn what_an_operator_approves_starts_and_ends_by_itself() {
    let mut state = menu();
    press(&mut state, "1");
    let order = work(Action::Restore, None);
    assert_eq!(turn(&mut state, Event::Work(order.clone())), [Command::Work(order.clone())]);
    assert!(state.is_busy());
    assert!(turn(&mut state, Event::Work(order)).is_empty(), "one run at a time");
    turn(&mut state, Event::Ended(Ok("restored".to_owned())));
    assert!(draw(&state).text().contains("reboots in 10 s"));
    assert!(turn(&mut state, Event::Left(3)).is_empty());
    let mut stays = state.clone();
    assert_eq!(press(&mut stays, "x"), [Command::Stay]);
    assert!(turn(&mut stays, Event::Left(0)).is_empty());
    assert_eq!(turn(&mut state, Event::Left(0)), [Command::Leave(Then::Reboot)]);
}

#[test]
fn a_failed_run_that_an_operator_approved_keeps_the_machine_up_unless_told_otherwise() {
    for (then, left) in [(None, false), (Some(Then::Wait), false), (Some(Then::Poweroff), true)] {
        let mut state = menu();
        turn(&mut state, Event::Work(work(Action::Capture, then)));
        let stop = Stop { words: "no disk was found".to_owned(), exit: Exit::Refused, then: None };
        turn(&mut state, Event::Ended(Err(stop)));
        let text = draw(&state).text();
        assert!(text.contains("It did not go through") && text.contains("no disk was found"), "{text}");
        assert_eq!(text.contains("powers off in"), left, "{then:?}");
    }
}

#[test]
fn a_capture_needs_a_name_that_is_one() {
    let mut state = menu();
    state.rights = vec![Scope::Capture];
    assert!(press(&mut state, "1").is_empty());
    typed(&mut state, "-web");
    assert!(press(&mut state, "\n").is_empty());
    assert!(draw(&state).text().contains("image name has '-' at position 0"));
    (0..4).for_each(|_| drop(turn(&mut state, Event::Key(Key::Backspace))));
    typed(&mut state, "lab.pc");
    assert_eq!(press(&mut state, "\n"), [Command::LookAtDisks]);
    turn(&mut state, Event::Disks(vec![disk("sda", Some("S1"), None)]));
    let wanted = Command::Capture("lab.pc".parse().unwrap(), vec!["/dev/sda".into()]);
    assert_eq!(press(&mut state, "\n"), [wanted]);
}

#[test]
fn everything_local_works_without_a_server() {
    let mut state = State::new(String::new(), None);
    press(&mut state, "1");
    assert!(draw(&state).text().contains("A capture goes to a server"));
    press(&mut state, "x2");
    assert!(draw(&state).text().contains("There is nothing to restore from"));
    press(&mut state, "x");
    for (entry, topic) in [("3", Topic::Inspect), ("4", Topic::Hardware), ("5", Topic::Trouble)] {
        assert_eq!(press(&mut state, entry), [Command::Gather(topic)]);
        turn(&mut state, Event::Text((0..50).map(|n| format!("line {n}")).collect()));
        turn(&mut state, Event::Key(Key::PageDown));
        let text = draw(&state).text();
        assert!(text.contains("line 15") && !text.contains("line 14\n") && text.contains("more lines"), "{text}");
        press(&mut state, "\x1b");
    }
    state.medium = true;
    assert_eq!(press(&mut state, "2"), [Command::ListImages(Source::Media)]);
}

#[test]
fn with_a_medium_and_a_server_a_person_chooses_and_the_server_needs_a_right() {
    let mut state = menu();
    state.medium = true;
    assert!(press(&mut state, "2").is_empty());
    assert!(draw(&state).text().contains("1  from this boot medium"));
    assert_eq!(press(&mut state, "1"), [Command::ListImages(Source::Media)]);
    assert!(press(&mut state, "\x1b22").is_empty());
    assert!(matches!(state.page, Page::Access { .. }), "{:?}", state.page);
}

#[test]
fn rebooting_is_asked_about_and_ctrl_l_draws_anew() {
    let mut state = menu();
    assert!(press(&mut state, "6n7").is_empty());
    assert!(draw(&state).text().contains("Power this machine off?"));
    assert_eq!(press(&mut state, "y"), [Command::Leave(Then::Poweroff)]);
    assert_eq!(turn(&mut state, Event::Key(Key::Redraw)), [Command::Redraw]);
}
