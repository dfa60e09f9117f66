//! First boots: a clone calls once with a token of its own, and its job and machine say so.

use crate::fleet::*;
use crate::harness::{Http, image};
use ramet_store::testing::TestImage;
use ramet_wire::adapt::*;
use ramet_wire::agents::Work;
use ramet_wire::api::{AddToken, ErrorKind, Scope, TokenInfo};
use ramet_wire::jobs::*;
use ramet_wire::machines::*;
use ramet_wire::settings::Then;
use std::time::Duration;

fn calls(call: BootCall) -> JobOptions {
    JobOptions { first_boot: Some(call), ..JobOptions::default() }
}

fn booted(host: &str, id: u8) -> Booted {
    Booted {
        host: host.into(),
        kernel: "6.1.0".into(),
        os: "Debian GNU/Linux 12".into(),
        machine_id: format!("{id:02x}").repeat(16),
        addresses: vec!["10.0.0.2".into()],
        ssh_keys: vec![format!("SHA256:{host}")],
    }
}

/// A job whose agent has left; its work, and the number of the job.
fn left(fleet: &Fleet, web: &TestImage, number: u8, options: JobOptions) -> (u64, Work) {
    let job = fleet.ask(&restore_with("web", &[number], options))[0];
    fleet.until_it(job, "on", |job| job.step.contains("waits for its agent"));
    let work = fleet.say(&hello(number, u32::try_from(job).unwrap() + 1000)).work.unwrap();
    fleet.finish(&work, &fleet.begin(&work), web);
    // One whose machine is not started again is over at once.
    fleet.until_it(job, "leaving", |job| matches!(job.state, JobState::Leaving | JobState::Confirmed));
    (job, work)
}

fn caller(fleet: &Fleet, work: &Work) -> Http {
    let call = work.adapt.as_ref().unwrap().first_boot.clone().unwrap();
    assert_eq!(call.server, fleet.server.running().url());
    assert_eq!(call.key, fleet.server.running().fingerprint());
    fleet.server.with_secret(&call.token)
}

#[test]
fn a_job_that_waits_for_its_clone_is_confirmed_by_the_call_alone() {
    let fleet = Fleet::start();
    let web = image("web", 0..3);
    fleet.server.capture(&web);
    fleet.machine(1);
    let (job, work) = left(&fleet, &web, 1, calls(BootCall::Awaited));
    fleet.server.pass(5 * 60);
    fleet.until_it(job, "waiting", |job| job.step.contains("first boot"));
    assert_eq!(fleet.job(job).job.state, JobState::Leaving, "that it is on and quiet proves nothing");
    let http = caller(&fleet, &work);
    http.post("/v1/first-boot", &booted("web01", 1)).done(204);
    let end = fleet.until(job, JobState::Confirmed);
    assert_eq!((end.job.seen, end.job.booted.as_deref()), (Seen::Booted, Some("web01")));
    assert_eq!((end.job.first_boot, end.job.step.as_str()), (Some(BootCall::Awaited), "booted as web01"));
    let seen = end.booted.unwrap();
    assert_eq!((seen.job, seen.peer.as_str(), &seen.booted), (job, "127.0.0.1", &booted("web01", 1)));
    let machine = fleet.detail(1);
    assert_eq!(machine.machine.booted, Some(seen));
    let told = machine.history.iter().find(|event| event.what == "booted").unwrap();
    assert!(told.detail.contains("booted as web01") && told.detail.contains("6.1.0"), "{told:?}");
    let listed: Vec<MachineInfo> = fleet.server.as_operator().get("/v1/machines").json(200);
    assert_eq!(listed[0].booted.as_ref().unwrap().booted.host, "web01");
    let metrics = fleet.server.as_operator().get("/metrics").text();
    assert!(metrics.contains("ramet_first_boots_total{duplicate=\"no\"} 1"), "{metrics}");
    assert!(metrics.contains("ramet_first_boot_wait_seconds_sum 300"), "{metrics}");
    // Another life of the disks is another clone's.
    fleet.switches.of(machine.machine.id, |switch| switch.on = false);
    left(&fleet, &web, 1, JobOptions::default());
    assert_eq!(fleet.detail(1).machine.booted, None);
}

#[test]
fn a_call_before_the_settling_time_is_over_ends_the_wait() {
    let fleet = Fleet::start();
    let web = image("web", 0..3);
    fleet.server.capture(&web);
    fleet.machine(1);
    let (job, work) = left(&fleet, &web, 1, calls(BootCall::Awaited));
    caller(&fleet, &work).post("/v1/first-boot", &booted("web01", 1)).done(204);
    assert_eq!(fleet.until(job, JobState::Confirmed).job.seen, Seen::Booted);
}

#[test]
fn a_clone_that_does_not_call_in_time_fails_its_job_and_a_late_call_is_noted_all_the_same() {
    let fleet = Fleet::start();
    let web = image("web", 0..3);
    fleet.server.capture(&web);
    fleet.machine(1);
    let options = JobOptions { boot_limit: Some(600), ..calls(BootCall::Awaited) };
    let (job, work) = left(&fleet, &web, 1, options);
    fleet.server.pass(599);
    std::thread::sleep(Duration::from_millis(200));
    assert_eq!(fleet.job(job).job.state, JobState::Leaving);
    fleet.server.pass(1);
    let end = fleet.until(job, JobState::Failed).job;
    assert_eq!((end.cause, end.try_now), (Some(Cause::NotBooted), 1), "the restore itself is proven");
    assert!(end.message.contains("600 s") && end.next.contains("console of web01"), "{end:?}");
    caller(&fleet, &work).post("/v1/first-boot", &booted("web01", 1)).done(204);
    let late = fleet.job(job).job;
    assert_eq!((late.state, late.seen), (JobState::Failed, Seen::Booted));
    assert_eq!(late.booted.as_deref(), Some("web01"));
}

#[test]
fn a_call_that_nobody_waits_for_is_kept_and_one_that_never_came_can_be_told() {
    let fleet = Fleet::start();
    let web = image("web", 0..3);
    fleet.server.capture(&web);
    fleet.machine(1);
    let (job, work) = left(&fleet, &web, 1, calls(BootCall::Noted));
    fleet.server.pass(120);
    let end = fleet.until(job, JobState::Confirmed).job;
    assert_eq!((end.seen, end.first_boot, end.booted), (Seen::Left, Some(BootCall::Noted), None));
    fleet.server.pass(3600);
    caller(&fleet, &work).post("/v1/first-boot", &booted("web01", 1)).done(204);
    let after = fleet.job(job).job;
    assert_eq!((after.state, after.seen, after.booted.as_deref()), (JobState::Confirmed, Seen::Booted, Some("web01")));
    assert_eq!(fleet.detail(1).machine.booted.unwrap().booted.host, "web01");
}

#[test]
fn the_token_is_for_one_call_of_one_job_expires_and_opens_nothing_else() {
    let fleet = Fleet::start();
    let web = image("web", 0..3);
    fleet.server.capture(&web);
    fleet.machine(1);
    let (_, work) = left(&fleet, &web, 1, calls(BootCall::Noted));
    let (http, said) = (caller(&fleet, &work), booted("web01", 1));
    for route in ramet_server::http::routes::ROUTES.iter().filter(|route| !route.path.contains("first-boot")) {
        if route.who.contains(&ramet_server::http::auth::Caller::Anyone) {
            continue;
        }
        let answer = http.send(route.verb.text(), &route.path.replace(['{', '}'], ""), &[], b"{}");
        assert_eq!(answer.status, 403, "{} {}", route.verb.text(), route.path);
    }
    // What is refused before it was taken in counts for nothing.
    let oversized = Booted { os: "x".repeat(BOOTED_MAX), ..said.clone() };
    http.post("/v1/first-boot", &oversized).refused(413);
    http.send("POST", "/v1/first-boot", &[], b"{\"host\":\"a\",\"kernel\":\"b\",\"more\":1}").refused(400);
    http.post("/v1/first-boot", &Booted { host: String::new(), ..said.clone() }).refused(400);
    http.post("/v1/first-boot", &said).done(204);
    let again = http.post("/v1/first-boot", &said).refused(401);
    assert!(again.kind == ErrorKind::Refused && again.message.contains("had it"), "{}", again.message);
    let tokens: Vec<TokenInfo> = fleet.server.as_operator().get("/v1/tokens").json(200);
    assert!(tokens.iter().any(|token| token.scopes == [Scope::FirstBoot] && token.used == 1), "{tokens:?}");
    fleet.switches.of(fleet.detail(1).machine.id, |switch| switch.on = false);
    fleet.server.pass(120);
    fleet.until_it(1, "over", |job| job.state.is_over());
    let (_, work) = left(&fleet, &web, 1, calls(BootCall::Noted));
    fleet.server.pass(24 * 3600);
    caller(&fleet, &work).post("/v1/first-boot", &said).refused(401);
    let images = ramet_wire::ImageGlob::any();
    let add = AddToken { scopes: vec![Scope::FirstBoot], images, expires: None, once: true };
    fleet.server.as_operator().post("/v1/tokens", &add).refused(400);
}

#[test]
fn a_job_that_is_tried_again_or_cancelled_takes_back_the_token_of_a_clone_that_is_not_proven() {
    let fleet = Fleet::start();
    fleet.server.capture(&image("web", 0..3));
    fleet.machine(1);
    let job = fleet.ask(&restore_with("web", &[1], calls(BootCall::Noted)))[0];
    fleet.until_it(job, "on", |job| job.step.contains("waits for its agent"));
    let first = fleet.say(&hello(1, 5)).work.unwrap();
    // The same boot began anew: what it was given before is void.
    fleet.begin(&first);
    let second = fleet.say(&hello(1, 5)).work.unwrap();
    assert_ne!(first.adapt, second.adapt);
    caller(&fleet, &first).post("/v1/first-boot", &booted("web01", 1)).refused(401);
    fleet.server.as_operator().send("POST", &format!("/v1/jobs/{job}/cancel"), &[], b"").done(200);
    caller(&fleet, &second).post("/v1/first-boot", &booted("web01", 1)).refused(401);
    assert_eq!(fleet.job(job).job.booted, None);
}

#[test]
fn two_machines_that_say_they_are_one_are_both_marked_and_it_is_in_the_audit() {
    let fleet = Fleet::start();
    let web = image("web", 0..3);
    fleet.server.capture(&web);
    for number in 1..=3 {
        fleet.machine(number);
    }
    for (number, said) in [(1, booted("web01", 1)), (2, booted("web02", 2)), (3, booted("web03", 1))] {
        let (_, work) = left(&fleet, &web, number, calls(BootCall::Noted));
        caller(&fleet, &work).post("/v1/first-boot", &said).done(204);
    }
    let note = |number: u8| fleet.detail(number).machine.note;
    assert!(note(1).contains("duplicate identity: same machine-id as web03"), "{}", note(1));
    assert!(note(3).contains("duplicate identity: same machine-id as web01"), "{}", note(3));
    assert_eq!(note(2), "");
    assert!(fleet.detail(1).history.iter().any(|event| event.what == "duplicate"));
    let audit: Vec<AuditEvent> = fleet.server.as_operator().get("/v1/audit").json(200);
    let event = audit.iter().find(|event| event.what == "duplicate identity").unwrap();
    assert_eq!((event.who.as_str(), event.object.as_str()), ("server", "web03 web01"));
    let metrics = fleet.server.as_operator().get("/metrics").text();
    assert!(metrics.contains("ramet_first_boots_total{duplicate=\"yes\"} 1"), "{metrics}");
    // A restore of one of them ends it.
    fleet.switches.of(fleet.detail(3).machine.id, |switch| switch.on = false);
    fleet.server.pass(120);
    fleet.until_it(3, "over", |job| job.state.is_over());
    left(&fleet, &web, 3, JobOptions { then: Some(Then::Wait), ..JobOptions::default() });
    assert_eq!((note(1), note(3)), (String::new(), String::new()));
}
