//! Jobs from an operator's word to their end.

use crate::fleet::*;
use crate::harness::{beat, image, open};
use ramet_server::jobs::hands::HandsError;
use ramet_wire::agents::{AgentSeen, Approve, OrderState};
use ramet_wire::api::{Action, EndRun, ErrorKind, ImageInfo, OpenRun};
use ramet_wire::jobs::*;
use ramet_wire::machines::*;
use ramet_wire::settings::{Mode, Then};
use std::time::Duration;

#[test]
fn a_restore_goes_through_all_states_and_ends_confirmed_on_its_own_disk() {
    let fleet = Fleet::start();
    let web = image("web", 0..3);
    fleet.server.capture(&web);
    let id = fleet.machine(1);
    let job = fleet.ask(&restore("web", &[1]))[0];
    let seen = fleet.until_it(job, "on", |job| job.step.contains("waits for its agent"));
    assert_eq!(seen.job.state, JobState::Boot);
    assert!(seen.job.image.unwrap().id.is_some(), "the version is fixed when it is asked for");
    assert_eq!(fleet.switches.of(id, |switch| switch.orders.last().cloned()).unwrap(), "on, network, uefi");
    let orders = fleet.say(&hello(1, 1));
    let work = orders.work.unwrap();
    assert_eq!((orders.state, work.action, work.job), (OrderState::Go, Action::Restore, Some(job)));
    assert_eq!(fleet.job(job).job.state, JobState::Running);
    assert_eq!(fleet.say(&hello(1, 1)).work.as_ref(), Some(&work), "the same nonce has the same answer");
    let run = fleet.begin(&work);
    run.1.post("/v1/runs/current", &beat()).done(204);
    let now = fleet.job(job).job;
    assert_eq!((now.step.as_str(), now.done, now.total), ("reading", 1, 2));
    let word: JobWord = run.1.post("/v1/jobs/current", &JobBeat::default()).json(200);
    assert!(word.go_on && word.job == job);
    fleet.finish(&work, &run, &web);
    let left = fleet.until(job, JobState::Leaving);
    assert_eq!(left.job.seen, Seen::Left);
    assert_eq!(fleet.say(&hello(1, 1)).state, OrderState::Nothing, "the same boot has done its work");
    fleet.server.pass(119);
    std::thread::sleep(Duration::from_millis(200));
    assert_eq!(fleet.job(job).job.state, JobState::Leaving, "nobody may come again for two minutes");
    fleet.server.pass(1);
    let end = fleet.until(job, JobState::Confirmed);
    assert!(end.job.ended.is_some() && end.job.cause.is_none() && end.job.next.is_empty(), "{end:?}");
    let machine = fleet.detail(1);
    let runs = machine.machine.runs.unwrap();
    assert_eq!((runs.image.to_string(), Some(runs.run)), (end.job.image.unwrap().to_string(), end.job.run));
    assert!(machine.receipt.is_some() && machine.hardware.is_some() && machine.machine.memory == 16 << 30);
    assert!(machine.history.iter().any(|event| event.what == "restore confirmed"), "{:?}", machine.history);
    let states: Vec<JobState> = end.events.iter().map(|event| event.state).collect();
    for state in [JobState::Queued, JobState::Power, JobState::Boot, JobState::Running, JobState::Leaving] {
        assert!(states.contains(&state), "{state}: {:?}", end.events);
    }
}

#[test]
fn a_clone_captures_first_and_restores_what_it_made_onto_all() {
    let fleet = Fleet::start();
    let web = image("web01", 0..3);
    let ids: Vec<u64> = (1..=3).map(|number| fleet.machine(number)).collect();
    fleet.switches.of(ids[0], |switch| switch.on = true);
    let request = AddJobs::Clone {
        machine: "web01".into(),
        image: None,
        to: Vec::new(),
        tag: Some("rack".parse().unwrap()),
        options: JobOptions { then: Some(Then::Poweroff), ..JobOptions::default() },
    };
    let jobs = fleet.ask(&request);
    let [tree, capture, one, other] = jobs[..] else { panic!("{jobs:?}") };
    fleet.until_it(capture, "on", |job| job.state == JobState::Boot && job.step.contains("waits"));
    let orders = fleet.switches.of(ids[0], |switch| switch.orders.clone());
    assert!(orders.contains(&"soft off".to_owned()) && !orders.contains(&"hard off".to_owned()), "{orders:?}");
    assert_eq!(fleet.job(one).job.state, JobState::Queued, "it waits for the capture");
    let work = fleet.say(&hello(1, 1)).work.unwrap();
    assert_eq!((work.action, work.then), (Action::Capture, None));
    fleet.finish(&work, &fleet.begin(&work), &web);
    // The image is there: nobody waits until its machine has come to rest.
    let made = fleet.until(capture, JobState::Leaving).job.image.unwrap();
    for (job, number) in [(one, 2), (other, 3)] {
        fleet.until_it(job, "on", |job| job.state == JobState::Boot && job.step.contains("waits"));
        let work = fleet.say(&hello(number, u32::from(number))).work.unwrap();
        assert_eq!((work.action, &work.image, work.then), (Action::Restore, &made, Some(Then::Poweroff)));
        fleet.finish(&work, &fleet.begin(&work), &web);
        fleet.until(job, JobState::Leaving);
        std::thread::sleep(Duration::from_millis(100));
        assert_eq!(fleet.job(job).job.state, JobState::Leaving, "it is still on");
        fleet.switches.of(ids[usize::from(number) - 1], |switch| switch.on = false);
        fleet.until(job, JobState::Confirmed);
    }
    assert_eq!(fleet.job(capture).job.state, JobState::Leaving);
    fleet.server.pass(120);
    fleet.until(capture, JobState::Confirmed);
    let tree = fleet.until(tree, JobState::Confirmed);
    assert_eq!((tree.parts.len(), tree.job.step.as_str()), (3, "3 of 3 confirmed"));
}

#[test]
fn a_plan_names_what_is_erased_and_refuses_what_nobody_allowed() {
    let fleet = Fleet::start();
    fleet.server.capture(&image("web", 0..3));
    let id = fleet.machine(1);
    let operator = fleet.server.as_operator();
    let ask = |options: JobOptions| operator.post("/v1/jobs", &restore_with("web", &[1], options));
    let dry = JobOptions { dry_run: true, ..JobOptions::default() };
    let plan: Plan = ask(dry.clone()).json(200);
    assert!(plan.jobs.is_empty() && plan.machines[0].power == "off" && plan.machines[0].refused.is_none());
    fleet.switches.of(id, |switch| switch.on = true);
    let plan: Plan = ask(JobOptions::default()).json(409);
    assert!(plan.machines[0].refused.as_ref().unwrap().contains("--force-off"), "{plan:?}");
    let set = |set: SetMachine| {
        operator.send("PUT", "/v1/machines/web01", &[], &serde_json::to_vec(&set).unwrap()).done(200);
    };
    set(SetMachine { protected: Some(true), ..SetMachine::default() });
    let plan: Plan = ask(forced()).json(409);
    assert!(plan.machines[0].refused.as_ref().unwrap().contains("protected"), "{plan:?}");
    set(SetMachine { protected: Some(false), ..SetMachine::default() });
    let plan: Plan = ask(JobOptions { dry_run: true, ..forced() }).json(200);
    fleet.server.capture(&image("web", 4..6));
    let agreed = Some(plan.digest);
    let refused = ask(JobOptions { agreed, ..forced() }).refused(409);
    assert!(refused.message.contains("agreed"), "another version came between: {}", refused.message);
    let job = {
        let plan: Plan = ask(forced()).json(201);
        plan.jobs[0]
    };
    let plan: Plan = ask(forced()).json(409);
    assert!(plan.machines[0].refused.as_ref().unwrap().contains(&format!("busy with job {job}")), "{plan:?}");
    ask(JobOptions { tries: Some(0), ..forced() }).refused(400);
    ask(JobOptions { disk: "sda".into(), ..forced() }).refused(400);
    operator.post("/v1/jobs", &restore("nothing", &[1])).refused(404);
    operator.post("/v1/jobs", &restore("web", &[9])).refused(404);
    operator.delete("/v1/machines/web01").refused(409);
}

#[test]
fn another_boot_that_claims_freezes_the_job_and_the_first_ones_result_is_refused() {
    let fleet = Fleet::start();
    let web = image("web01", 0..3);
    fleet.machine(1);
    let options = JobOptions::default();
    let job = fleet.ask(&AddJobs::Capture { machine: "web01".into(), image: "web01".parse().unwrap(), options })[0];
    fleet.until_it(job, "on", |job| job.step.contains("waits for its agent"));
    let work = fleet.say(&hello(1, 1)).work.unwrap();
    let run = fleet.begin(&work);
    let second = fleet.say(&hello(1, 2));
    assert_eq!((second.state, second.work), (OrderState::Claimed, None));
    assert!(second.message.contains("claimed twice"), "{}", second.message);
    let end = fleet.job(job).job;
    assert_eq!((end.state, end.cause), (JobState::Failed, Some(Cause::ClaimedTwice)));
    assert!(end.message.matches("127.0.0.1").count() == 2 && end.next.contains("retry"), "{end:?}");
    let refused = run.1.send("POST", "/v1/images", &[], &web.manifest).refused(409);
    assert!(refused.message.contains("has ended"), "{}", refused.message);
    let images: Vec<ImageInfo> = fleet.server.as_operator().get("/v1/images").json(200);
    assert!(images.is_empty(), "{images:?}");
    let word: JobWord = run.1.post("/v1/jobs/current", &JobBeat::default()).json(200);
    assert!(!word.go_on && word.message.contains("claimed twice"), "{word:?}");
    run.1.post("/v1/jobs/current/leaving", &leaving(Then::Reboot)).done(204);
    assert_eq!(fleet.job(job).job.state, JobState::Failed, "a last word changes nothing of a job that is over");
}

#[test]
fn the_boot_file_offers_the_agent_in_boot_alone_and_the_claim_takes_it_away() {
    let fleet = Fleet::start();
    let web = image("web", 0..3);
    fleet.server.capture(&web);
    let id = fleet.machine(1);
    crate::boot::install(&fleet.server);
    let agent = |text: &str| text.contains("clone.mode=job") && !text.contains("menu Ramet");
    let disk = |text: &str| !text.contains("kernel ") && text.contains("sanboot");
    assert!(fleet.boot_file(1).contains("menu Ramet"), "nothing to do");
    fleet.switches.of(id, |switch| {
        let (message, next) = ("no answer".to_owned(), String::new());
        switch.fails = Some(HandsError { cause: Cause::PowerUnreachable, message, next, again: true });
    });
    let job = fleet.ask(&restore("web", &[1]))[0];
    fleet.until_it(job, "tried", |job| job.cause == Some(Cause::PowerUnreachable));
    assert!(!agent(&fleet.boot_file(1)));
    fleet.switches.of(id, |switch| switch.fails = None);
    fleet.server.pass(30);
    fleet.until_it(job, "on", |job| job.step.contains("waits for its agent"));
    assert!(agent(&fleet.boot_file(1)), "{}", fleet.boot_file(1));
    let work = fleet.say(&hello(1, 1)).work.unwrap();
    assert!(disk(&fleet.boot_file(1)), "the claim takes the agent away");
    fleet.finish(&work, &fleet.begin(&work), &web);
    fleet.until(job, JobState::Leaving);
    assert!(disk(&fleet.boot_file(1)));
    fleet.until_it(job, "sent to its disk", |job| job.seen == Seen::AskedDisk);
    fleet.server.pass(120);
    assert_eq!(fleet.until(job, JobState::Confirmed).job.seen, Seen::AskedDisk);
}

#[test]
fn power_that_does_not_work_ends_in_a_state_with_its_cause() {
    let fleet = Fleet::start();
    fleet.server.capture(&image("web", 0..3));
    let id = fleet.machine(1);
    let fail = |cause: Cause, again: bool| {
        let (message, next) = (format!("it is {cause}"), "look at it".to_owned());
        fleet.switches.of(id, |switch| switch.fails = Some(HandsError { cause, message, next, again }));
    };
    // A wrong password is not tried again: BMCs lock accounts.
    fail(Cause::PowerAuth, false);
    let job = fleet.ask(&restore("web", &[1]))[0];
    let end = fleet.until(job, JobState::Failed).job;
    assert_eq!((end.cause, end.try_now, end.next.as_str()), (Some(Cause::PowerAuth), 1, "look at it"));
    // One that does not answer is tried three times, with growing pauses.
    fail(Cause::PowerUnreachable, true);
    let job = fleet.ask(&restore("web", &[1]))[0];
    for number in 1..3_u64 {
        fleet.until_it(job, "to be tried again", |job| {
            job.state == JobState::Queued && u64::from(job.try_now) == number
        });
        fleet.server.pass(30 * number);
    }
    let end = fleet.until(job, JobState::Failed).job;
    assert_eq!((end.cause, end.try_now), (Some(Cause::PowerUnreachable), 3));
    // One that answers OK and does nothing.
    fleet.switches.of(id, |switch| (switch.fails, switch.lies) = (None, true));
    let options = JobOptions { tries: Some(1), ..JobOptions::default() };
    let job = fleet.ask(&restore_with("web", &[1], options))[0];
    assert_eq!(fleet.until(job, JobState::Failed).job.cause, Some(Cause::PowerLies));
    fleet.switches.of(id, |switch| switch.lies = false);
    fleet.server.as_operator().send("POST", &format!("/v1/jobs/{job}/retry"), &[], b"").done(200);
    let again = fleet.until(job, JobState::Boot).job;
    assert_eq!((again.try_now, again.cause), (1, None));
}

#[test]
fn a_machine_that_starts_and_whose_agent_never_calls_is_tried_again_and_then_failed() {
    let fleet = Fleet::start();
    fleet.server.capture(&image("web", 0..3));
    let id = fleet.machine(1);
    let job = fleet.ask(&restore_with("web", &[1], JobOptions { tries: Some(2), ..JobOptions::default() }))[0];
    fleet.until_it(job, "on", |job| job.step.contains("waits for its agent"));
    fleet.server.pass(15 * 60);
    let again = fleet.until_it(job, "again", |job| job.state == JobState::Queued).job;
    assert_eq!(again.cause, Some(Cause::NoAgent));
    fleet.server.pass(30);
    fleet.until_it(job, "on again", |job| job.try_now == 2 && job.step.contains("waits for its agent"));
    let orders = fleet.switches.of(id, |switch| switch.orders.clone());
    assert!(orders.contains(&"hard off".to_owned()), "what runs there is ours: {orders:?}");
    fleet.server.pass(15 * 60);
    let end = fleet.until(job, JobState::Failed).job;
    assert!(end.cause == Some(Cause::NoAgent) && end.next.contains("console"), "{end:?}");
    assert_eq!(fleet.say(&hello(1, 7)).work, None, "the window is closed");
}

#[test]
fn an_agent_that_falls_silent_is_given_up_and_its_repetition_needs_a_new_claim() {
    let fleet = Fleet::start();
    let web = image("web", 0..3);
    fleet.server.capture(&web);
    fleet.machine(1);
    let job = fleet.ask(&restore_with("web", &[1], JobOptions { tries: Some(2), ..JobOptions::default() }))[0];
    fleet.until_it(job, "on", |job| job.step.contains("waits for its agent"));
    let work = fleet.say(&hello(1, 1)).work.unwrap();
    let run = fleet.begin(&work);
    fleet.server.pass(300);
    let again = fleet.until_it(job, "again", |job| job.state == JobState::Queued).job;
    assert_eq!(again.cause, Some(Cause::Silent));
    fleet.result(&work, &run, &web).refused(409);
    fleet.server.pass(30);
    fleet.until_it(job, "on again", |job| job.try_now == 2 && job.step.contains("waits for its agent"));
    let work = fleet.say(&hello(1, 2)).work.unwrap();
    fleet.begin(&work);
    fleet.server.pass(300);
    let end = fleet.until(job, JobState::Lost).job;
    assert!(end.cause == Some(Cause::Silent) && end.next.contains("retry"), "{end:?}");
}

#[test]
fn an_agents_refusal_ends_the_job_and_a_passing_error_is_tried_again() {
    let fleet = Fleet::start();
    fleet.server.capture(&image("web", 0..3));
    fleet.machine(1);
    let job = fleet.ask(&restore("web", &[1]))[0];
    fleet.until_it(job, "on", |job| job.step.contains("waits for its agent"));
    let work = fleet.say(&hello(1, 1)).work.unwrap();
    let run = fleet.begin(&work);
    run.1.post("/v1/runs/current/end", &EndRun { error: "connection lost".into() }).done(204);
    let error = Some("connection lost".to_owned());
    run.1
        .post("/v1/jobs/current/leaving", &JobLeaving { then: Then::Wait, error, kind: Some(ErrorKind::Retry) })
        .done(204);
    let again = fleet.until_it(job, "again", |job| job.state == JobState::Queued).job;
    assert!(again.message.contains("connection lost"), "{again:?}");
    fleet.server.pass(30);
    fleet.until_it(job, "on again", |job| job.try_now == 2 && job.step.contains("waits for its agent"));
    // Before a run was opened the token speaks for the agent.
    let work = fleet.say(&hello(1, 2)).work.unwrap();
    let error = Some("disk is 4 GiB, image needs 8 GiB".to_owned());
    let words = JobLeaving { then: Then::Wait, error, kind: Some(ErrorKind::Refused) };
    fleet.server.with_secret(&work.token).post("/v1/jobs/current/leaving", &words).done(204);
    let end = fleet.until(job, JobState::Failed).job;
    assert!(end.cause == Some(Cause::Agent) && end.message.contains("4 GiB") && end.try_now == 2, "{end:?}");
    let body = OpenRun { image: work.image.clone(), ..open(work.action, "x") };
    fleet.server.with_secret(&work.token).post("/v1/runs", &body).refused(401);
}

#[test]
fn an_agent_that_comes_again_or_a_machine_that_stays_off_is_not_confirmed() {
    let fleet = Fleet::start();
    let web = image("web", 0..3);
    fleet.server.capture(&web);
    let id = fleet.machine(1);
    let leave = |nonce: u32| {
        let job = fleet.ask(&restore_with("web", &[1], forced()))[0];
        fleet.until_it(job, "on", |job| job.step.contains("waits for its agent"));
        let work = fleet.say(&hello(1, nonce)).work.unwrap();
        fleet.finish(&work, &fleet.begin(&work), &web);
        fleet.until(job, JobState::Leaving);
        job
    };
    let job = leave(1);
    assert_eq!(fleet.say(&hello(1, 2)).state, OrderState::Nothing);
    let end = fleet.until(job, JobState::Failed).job;
    assert!(end.cause == Some(Cause::Returned) && end.next.contains("boot order"), "{end:?}");
    assert_eq!(end.seen, Seen::Left);
    let job = leave(3);
    fleet.switches.of(id, |switch| switch.on = false);
    fleet.server.pass(600);
    let end = fleet.until(job, JobState::Failed).job;
    assert!(end.cause == Some(Cause::NotBack) && end.message.contains("proven"), "{end:?}");
}

#[test]
fn what_is_expected_is_seen_up_before_a_job_is_confirmed() {
    let fleet = Fleet::start();
    let web = image("web", 0..3);
    fleet.server.capture(&web);
    fleet.machine(1);
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let run = |nonce: u32| {
        let expect = vec![format!("tcp:{port}@127.0.0.1").parse().unwrap()];
        let job = fleet.ask(&restore_with("web", &[1], JobOptions { expect, ..forced() }))[0];
        fleet.until_it(job, "on", |job| job.step.contains("waits for its agent"));
        let work = fleet.say(&hello(1, nonce)).work.unwrap();
        fleet.finish(&work, &fleet.begin(&work), &web);
        fleet.until(job, JobState::Leaving);
        fleet.server.pass(120);
        fleet.until_it(job, "waiting", |job| job.step.contains(&format!("tcp:{port}")));
        job
    };
    let job = run(1);
    fleet.server.pass(600);
    assert_eq!(fleet.until(job, JobState::Failed).job.cause, Some(Cause::NotSeenUp));
    let job = run(2);
    let _up = std::net::TcpListener::bind(("127.0.0.1", port)).unwrap();
    assert_eq!(fleet.until(job, JobState::Confirmed).job.seen, Seen::Up);
}

#[test]
fn a_machine_that_wants_approval_gets_its_job_by_its_code_alone() {
    let fleet = Fleet::start();
    fleet.server.capture(&image("web", 0..3));
    fleet.machine(1);
    fleet.machine(2);
    let set = serde_json::to_vec(&SetMachine { approve: Some(true), ..SetMachine::default() }).unwrap();
    fleet.server.as_operator().send("PUT", "/v1/machines/web01", &[], &set).done(200);
    let job = fleet.ask(&restore("web", &[1]))[0];
    fleet.until_it(job, "on", |job| job.step.contains("waits for its agent"));
    let orders = fleet.say(&hello(1, 1));
    assert_eq!((orders.state, orders.work), (OrderState::Waiting, None));
    assert!(fleet.job(job).job.step.contains(&orders.code[..4]), "{:?}", fleet.job(job).job);
    let approve = Approve { capture: None, restore: None, job: Some(job), then: None, disk: String::new() };
    let other = fleet.say(&hello(2, 2)).code;
    let refused = fleet.server.as_operator().post(&format!("/v1/agents/{other}/approve"), &approve).refused(409);
    assert!(refused.message.contains("not of web02"), "{}", refused.message);
    let code = orders.code;
    let _: AgentSeen = fleet.server.as_operator().post(&format!("/v1/agents/{code}/approve"), &approve).json(200);
    assert_eq!(fleet.say(&hello(1, 3)).work, None, "another boot was not approved");
    assert_eq!(fleet.say(&hello(1, 1)).work.unwrap().job, Some(job));
}

#[test]
fn an_agent_of_another_machine_and_one_with_other_disks_get_nothing() {
    let fleet = Fleet::start();
    fleet.server.capture(&image("web", 0..3));
    let id = fleet.machine(1);
    fleet.machine(2);
    // A look, so that the disks are known.
    let look = AddJobs::Inventory { to: vec!["web01".into()], tag: None, options: JobOptions::default() };
    let job = fleet.ask(&look)[0];
    fleet.until_it(job, "on", |job| job.step.contains("waits for its agent"));
    let mut inventory = hello(1, 1);
    inventory.mode = Mode::Inventory;
    assert_eq!(fleet.say(&inventory).state, OrderState::Nothing);
    fleet.until(job, JobState::Leaving);
    fleet.server.pass(120);
    fleet.until(job, JobState::Confirmed);
    assert_eq!(fleet.detail(1).disks[0].serial.as_deref(), Some("DISK1"));
    fleet.switches.of(id, |switch| switch.on = false);
    let dry = JobOptions { dry_run: true, ..JobOptions::default() };
    let plan: Plan = fleet.server.as_operator().post("/v1/jobs", &restore_with("web", &[1], dry)).json(200);
    assert_eq!(plan.machines[0].erases[0].serial.as_deref(), Some("DISK1"));
    let job = fleet.ask(&restore("web", &[1]))[0];
    fleet.until_it(job, "on", |job| job.step.contains("waits for its agent"));
    assert_eq!(fleet.say(&hello(2, 2)).work, None, "it is the job of another machine");
    let mut liar = hello(1, 3);
    liar.machine.uuid = hello(2, 0).machine.uuid;
    let orders = fleet.say(&liar);
    assert!(orders.work.is_none() && orders.message.contains("conflict"), "{orders:?}");
    let mut changed = hello(1, 4);
    changed.disks[0].serial = Some("OTHER".into());
    assert_eq!(fleet.say(&changed).state, OrderState::Nothing);
    let end = fleet.until(job, JobState::Failed).job;
    assert!(end.cause == Some(Cause::WrongMachine) && end.message.contains("DISK1"), "{end:?}");
}

#[test]
fn an_image_that_a_job_needs_is_not_removed() {
    let fleet = Fleet::start();
    fleet.server.capture(&image("web", 0..3));
    fleet.machine(1);
    let job = fleet.ask(&restore("web", &[1]))[0];
    let refused = fleet.server.as_operator().delete("/v1/images/web").refused(409);
    assert!(refused.message.contains(&format!("job {job}")), "{}", refused.message);
    fleet.server.as_operator().send("POST", &format!("/v1/jobs/{job}/cancel"), &[], b"").done(200);
    fleet.server.as_operator().delete("/v1/images/web").done(200);
}

#[test]
fn a_server_that_was_stopped_goes_on_where_it_was() {
    let mut fleet = Fleet::start();
    let web = image("web", 0..3);
    fleet.server.capture(&web);
    for number in 1..=3 {
        fleet.machine(number);
    }
    let jobs = fleet.ask(&restore("web", &[1, 2, 3]));
    for job in &jobs[1..] {
        fleet.until_it(*job, "on", |job| job.step.contains("waits for its agent"));
    }
    let first = fleet.say(&hello(1, 1)).work.unwrap();
    let second = fleet.say(&hello(2, 2)).work.unwrap();
    let (opened, _) = fleet.begin(&second);
    fleet.server.restart();
    // The third's agent calls only now; the first has its token, and the second its session.
    let third = fleet.say(&hello(3, 3)).work.unwrap();
    let run = fleet.begin(&third);
    fleet.finish(&third, &run, &web);
    assert_eq!(fleet.say(&hello(1, 1)).work.unwrap().job, first.job, "the same boot gets its work again");
    let http = fleet.server.with_secret(&opened.session);
    fleet.finish(&second, &(opened, http), &web);
    let work = fleet.say(&hello(1, 1)).work.unwrap();
    fleet.finish(&work, &fleet.begin(&work), &web);
    for job in &jobs[1..] {
        fleet.until(*job, JobState::Leaving);
    }
    fleet.server.restart();
    fleet.server.pass(120);
    fleet.until(jobs[0], JobState::Confirmed);
}

#[test]
fn limits_hold_in_all_per_group_and_for_power() {
    let fleet = Fleet::with(|config| (config.limits.jobs, config.limits.jobs_of_group) = (3, 2));
    fleet.server.capture(&image("web", 0..3));
    for number in 1..=5 {
        fleet.machine(number);
        if number <= 4 {
            let set = SetMachine { group: Some("a1".into()), ..SetMachine::default() };
            let path = format!("/v1/machines/{}", name(number));
            fleet.server.as_operator().send("PUT", &path, &[], &serde_json::to_vec(&set).unwrap()).done(200);
        }
    }
    let jobs = fleet.ask(&restore("web", &[1, 2, 3, 4, 5]));
    for job in [jobs[1], jobs[2], jobs[5]] {
        fleet.until(job, JobState::Boot);
    }
    for job in [jobs[3], jobs[4]] {
        assert_eq!(fleet.job(job).job.state, JobState::Queued);
    }
    fleet.server.as_operator().send("POST", &format!("/v1/jobs/{}/cancel", jobs[1]), &[], b"").done(200);
    fleet.until(jobs[3], JobState::Boot);
}

#[test]
fn a_clock_that_jumps_ends_no_job() {
    use ramet_server::Clock;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};
    let steady = Arc::new(AtomicU64::new(crate::harness::BEGIN));
    let counted = Arc::clone(&steady);
    let fleet = Fleet::with(move |config| {
        let counted = Arc::clone(&counted);
        let time = move || std::time::UNIX_EPOCH + Duration::from_secs(counted.load(Ordering::SeqCst));
        config.steady = Clock::from_fn(time);
    });
    let web = image("web", 0..3);
    fleet.server.capture(&web);
    fleet.machine(1);
    let job = fleet.ask(&restore("web", &[1]))[0];
    fleet.until_it(job, "on", |job| job.step.contains("waits for its agent"));
    fleet.server.pass(365 * 86_400);
    std::thread::sleep(Duration::from_millis(200));
    assert_eq!(fleet.job(job).job.state, JobState::Boot, "the window is still open");
    let work = fleet.say(&hello(1, 1)).work.unwrap();
    let run = fleet.begin(&work);
    fleet.server.now.fetch_sub(2 * 365 * 86_400, Ordering::SeqCst);
    run.1.post("/v1/runs/current", &beat()).done(204);
    fleet.server.now.fetch_add(4 * 365 * 86_400, Ordering::SeqCst);
    std::thread::sleep(Duration::from_millis(200));
    run.1.post("/v1/runs/current", &beat()).done(204);
    fleet.finish(&work, &run, &web);
    fleet.until(job, JobState::Leaving);
    steady.fetch_add(120, Ordering::SeqCst);
    fleet.until(job, JobState::Confirmed);
}

#[test]
fn malformed_requests_are_refused_on_every_route_of_the_fleet() {
    let fleet = Fleet::start();
    fleet.machine(1);
    let operator = fleet.server.as_operator();
    let long = format!("{{\"name\":\"{}\",\"macs\":[]}}", "a".repeat(65));
    for (verb, path, body) in [
        ("POST", "/v1/machines", "{"),
        ("POST", "/v1/machines", r#"{"name":"../x","macs":["52:54:00:00:00:07"]}"#),
        ("POST", "/v1/machines", long.as_str()),
        ("POST", "/v1/machines", r#"{"name":"x","macs":["52:54:00:00:00:07"],"wings":2}"#),
        ("PUT", "/v1/machines/web01", r#"{"health":"udp:1@x"}"#),
        ("PUT", "/v1/machines/web01", r#"{"group":"a b"}"#),
        ("PUT", "/v1/machines/web01", r#"{"add_macs":["01:00:00:00:00:00"]}"#),
        ("POST", "/v1/machines/web01/accept", "7"),
        ("POST", "/v1/rules", r#"{"when":"full-moon"}"#),
        ("POST", "/v1/jobs", r#"{"do":"levitate"}"#),
        ("POST", "/v1/jobs", r#"{"do":"restore","to":["web01"],"options":{"tries":-1}}"#),
    ] {
        operator.send(verb, path, &[], body.as_bytes()).refused(400);
    }
    for path in [
        "/v1/machines/nobody",
        "/v1/machines/..%2f..",
        "/v1/machines/id:99",
        "/v1/jobs/99",
        "/v1/jobs/x",
        "/v1/jobs/-1",
    ] {
        operator.get(path).refused(404);
    }
    let huge = format!("{{\"note\":\"{}\"}}", "a".repeat(2 << 20));
    operator.send("PUT", "/v1/machines/web01", &[], huge.as_bytes()).refused(413);
    let mut hello = serde_json::to_value(hello(1, 1)).unwrap();
    hello["hardware"]["wings"] = 2.into();
    fleet.server.as_nobody().post("/v1/agents", &hello).refused(400);
    let text = "x".repeat(300 << 10);
    fleet.server.as_nobody().post("/v1/agents", &text).refused(413);
}
