//! What machines become beyond the copy: declared, planned, ordered, proven; and whether they would boot.

use crate::fleet::*;
use crate::harness::{Answer, image, receipt};
use ramet_store::testing::TestImage;
use ramet_wire::adapt::*;
use ramet_wire::agents::{DiskSeen, Work};
use ramet_wire::api::{Action, RunOpened};
use ramet_wire::jobs::*;
use ramet_wire::machines::*;
use ramet_wire::manifest::{Content, Manifest};
use ramet_wire::settings::Then;
use ramet_wire::tags::*;

fn declare(fleet: &Fleet, number: u8, toml: &str) -> Answer {
    let set = SetMachine { identity: Some(toml.to_owned()), ..SetMachine::default() };
    let path = format!("/v1/machines/{}", name(number));
    fleet.server.as_operator().send("PUT", &path, &[], &serde_json::to_vec(&set).unwrap())
}

fn declare_tag(fleet: &Fleet, tag: &str, toml: &str) -> Answer {
    let set = SetTag { identity: toml.to_owned() };
    let path = format!("/v1/tags/{tag}");
    fleet.server.as_operator().send("PUT", &path, &[], &serde_json::to_vec(&set).unwrap())
}

fn identity(fleet: &Fleet, number: u8) -> MachineIdentity {
    fleet.server.as_operator().get(&format!("/v1/machines/{}/identity", name(number))).json(200)
}

fn plan(fleet: &Fleet, request: &AddJobs, status: u16) -> Plan {
    fleet.server.as_operator().post("/v1/jobs", request).json(status)
}

fn dry(options: JobOptions) -> JobOptions {
    JobOptions { dry_run: true, ..options }
}

/// The work of a job once its machine is on.
fn claimed(fleet: &Fleet, job: u64, number: u8) -> Work {
    fleet.until_it(job, "on", |job| job.step.contains("waits for its agent"));
    fleet.say(&hello(number, u32::try_from(job).unwrap() + 1000)).work.unwrap()
}

/// Sends a receipt that says this was done beyond the copy, and leaves.
fn prove(fleet: &Fleet, work: &Work, image: &TestImage, adapted: Option<Adapted>) {
    let run: (RunOpened, _) = fleet.begin(work);
    let id = run.0.image.as_ref().unwrap().id;
    let honest = receipt(&fleet.server, &run.0.run, image, id);
    let receipt = ramet_wire::receipt::Receipt { adapted, ..honest };
    run.1.post("/v1/receipts", &receipt).done(201);
    run.1.post("/v1/jobs/current/leaving", &leaving(Then::Reboot)).done(204);
}

/// A new machine that the inventory knows by an agent that looked at it; it is off again, and its switch has forgotten.
fn looked_at(fleet: &Fleet, number: u8, disk: impl FnOnce(&mut DiskSeen)) -> u64 {
    let id = fleet.machine(number);
    let looks = AddJobs::Inventory { to: vec![name(number)], tag: None, options: JobOptions::default() };
    let job = fleet.ask(&looks)[0];
    fleet.until_it(job, "on", |job| job.step.contains("waits for its agent"));
    let mut found = hello(number, 7 + u32::from(number));
    disk(&mut found.disks[0]);
    fleet.say(&found);
    fleet.until(job, JobState::Leaving);
    fleet.server.pass(120);
    fleet.until(job, JobState::Confirmed);
    fleet.switches.of(id, |switch| (switch.on, switch.orders) = (false, Vec::new()));
    id
}

#[test]
fn what_is_declared_for_a_machine_stands_over_its_tags_and_is_shown_rendered() {
    let fleet = Fleet::start();
    fleet.machine(1);
    fleet.machine(2);
    declare_tag(&fleet, "rack", "hostname = \"{{ name }}.example\"\n").done(200);
    assert_eq!(identity(&fleet, 1).identity.unwrap().hostname.as_deref(), Some("web01.example"));
    declare(&fleet, 2, "hostname = \"db-{{ macs[0] | split(':') | join('') }}\"\n").done(200);
    let own = identity(&fleet, 2);
    assert_eq!(own.identity.unwrap().hostname.as_deref(), Some("db-525400000002"));
    assert_eq!(own.from, ["tag rack", "machine web02"]);
    assert_eq!(own.vars.tags, ["rack"]);
    let detail = fleet.detail(2);
    let declared = detail.identity.unwrap();
    assert!(declared.toml.contains("macs[0]") && declared.by == "operator local", "{declared:?}");
    let told = format!("{:?}{}", detail.history, fleet.server.as_operator().get("/v1/audit").text());
    assert!(!told.contains("macs[0]"), "what is declared may hold secrets: {told}");
    let tags: Vec<TagInfo> = fleet.server.as_operator().get("/v1/tags").json(200);
    assert_eq!((tags.len(), tags[0].machines, tags[0].declared), (1, 2, true));
    let tag: TagDetail = fleet.server.as_operator().get("/v1/tags/rack").json(200);
    assert!(tag.identity.unwrap().toml.contains("example"));
    declare(&fleet, 2, "").done(200);
    assert!(fleet.detail(2).identity.is_none());
    declare_tag(&fleet, "rack", "").done(200);
    assert!(identity(&fleet, 1).identity.is_none());
    fleet.server.as_operator().get("/v1/tags/nobody").refused(404);
}

#[test]
fn refuses_declarations_that_cannot_be_read_or_do_not_render_and_keeps_what_was_there() {
    let fleet = Fleet::start();
    fleet.machine(1);
    declare(&fleet, 1, "hostname = \"good\"\n").done(200);
    for (toml, status, word) in [
        ("hostnmae = \"x\"\n", 400, "hostnmae"),
        ("hostname = \n", 400, "TOML"),
        ("hostname = \"{{ nmae }}\"\n", 409, "hostname"),
    ] {
        let refused = declare(&fleet, 1, toml).refused(status);
        assert!(refused.message.contains(word), "{toml}: {}", refused.message);
    }
    let long = format!("hostname = \"x\"\n# {}\n", "y".repeat(DECLARED_MAX));
    assert!(declare(&fleet, 1, &long).refused(400).message.contains("are allowed"));
    assert_eq!(identity(&fleet, 1).identity.unwrap().hostname.as_deref(), Some("good"));
    // Of a tag it must render for every machine that has it.
    declare(&fleet, 1, "").done(200);
    let refused = declare_tag(&fleet, "rack", "hostname = \"{{ nmae }}\"\n").refused(409);
    assert!(refused.message.contains("web01") && refused.message.contains("hostname"), "{}", refused.message);
    let set = SetMachines {
        machines: vec!["web01".into()],
        tag: None,
        all: false,
        set: SetMachine { identity: Some("hostnmae = \"x\"".into()), ..SetMachine::default() },
    };
    let many = serde_json::to_vec(&set).unwrap();
    fleet.server.as_operator().send("PUT", "/v1/machines", &[], &many).refused(400);
    assert!(identity(&fleet, 1).identity.is_none());
}

#[test]
fn a_plan_says_what_machines_become_and_its_digest_covers_it() {
    let fleet = Fleet::start();
    fleet.server.capture(&image("web", 0..3));
    fleet.machine(1);
    let of = |options: JobOptions| plan(&fleet, &restore_with("web", &[1], dry(options)), 200);
    let plain = of(JobOptions::default());
    assert_eq!(plain.machines[0].becomes, None, "nothing is declared");
    declare_tag(&fleet, "rack", "hostname = \"{{ name }}\"\n").done(200);
    let named = of(JobOptions::default());
    let becomes = named.machines[0].becomes.clone().unwrap();
    assert_eq!((becomes.hostname.as_deref(), becomes.identity, becomes.size.as_str()), (Some("web01"), true, "keep"));
    let copy = of(JobOptions { identity: Some(false), ..JobOptions::default() });
    assert_eq!((&copy.machines[0].becomes, &copy.digest), (&None, &plain.digest));
    let more = of(JobOptions {
        new_uuids: true,
        size: Size::Fill,
        first_boot: Some(BootCall::Awaited),
        ..JobOptions::default()
    });
    let becomes = more.machines[0].becomes.clone().unwrap();
    assert!(becomes.new_uuids && becomes.first_boot && becomes.size == "fill", "{becomes:?}");
    let mut digests = vec![plain.digest, named.digest.clone(), more.digest];
    digests.dedup();
    assert_eq!(digests.len(), 3);
    // Another declaration is another plan.
    declare_tag(&fleet, "rack", "hostname = \"other-{{ name }}\"\n").done(200);
    let request = restore_with("web", &[1], JobOptions { agreed: Some(named.digest), ..JobOptions::default() });
    let refused = fleet.server.as_operator().post("/v1/jobs", &request).refused(409);
    assert!(refused.message.contains("agreed"), "{}", refused.message);
}

#[test]
fn a_plan_refuses_a_machine_that_cannot_become_what_is_asked_before_anything_is_done() {
    let fleet = Fleet::start();
    fleet.server.capture(&image("web", 0..3));
    let ids = [fleet.machine(1), fleet.machine(2)];
    let refusals = |options: JobOptions, to: &[u8]| -> Vec<String> {
        let plan = plan(&fleet, &restore_with("web", to, options), 409);
        plan.machines.into_iter().filter_map(|machine| machine.refused).collect()
    };
    let must = JobOptions { identity: Some(true), ..JobOptions::default() };
    assert!(refusals(must, &[1])[0].contains("no identity is declared for web01"));
    // A tag that came later: what is declared for it does not render here.
    let odd = "hostname = \"{% if name == 'web02' %}two{% else %}{{ nobody }}{% endif %}\"\n";
    declare_tag(&fleet, "odd", odd).done(200);
    let set = SetMachine { add_tags: vec!["odd".parse().unwrap()], ..SetMachine::default() };
    let body = serde_json::to_vec(&set).unwrap();
    fleet.server.as_operator().send("PUT", "/v1/machines/web01", &[], &body).done(200);
    let all = refusals(JobOptions::default(), &[1, 2]);
    assert!(all.len() == 1 && all[0].contains("web01") && all[0].contains("tag odd"), "{all:?}");
    assert!(all[0].contains("hostname"), "{all:?}");
    declare_tag(&fleet, "odd", "").done(200);
    // Two machines with one name.
    declare_tag(&fleet, "rack", "hostname = \"www\"\n").done(200);
    let all = refusals(JobOptions::default(), &[1, 2]);
    assert!(all.len() == 1 && all[0].contains("web01") && all[0].contains("web02"), "{all:?}");
    assert!(all[0].contains("host name www"), "{all:?}");
    // And two with one address, whatever their names.
    let card = "[network.lan]\nmac = \"{{ macs[0] }}\"\naddresses = [\"192.0.2.21/24\"]\n";
    declare_tag(&fleet, "rack", &format!("hostname = \"{{{{ name }}}}\"\n{card}")).done(200);
    let all = refusals(JobOptions::default(), &[1, 2]);
    assert!(all.len() == 1 && all[0].contains("web01") && all[0].contains("web02"), "{all:?}");
    assert!(all[0].contains("address 192.0.2.21"), "{all:?}");
    for id in ids {
        fleet.switches.of(id, |switch| assert!(switch.orders.iter().all(|order| order == "status"), "{switch:?}"));
    }
    let bad = |options: JobOptions| {
        fleet.server.as_operator().post("/v1/jobs", &restore_with("web", &[1], options)).refused(400);
    };
    bad(JobOptions { boot_limit: Some(60), ..JobOptions::default() });
    let awaited = JobOptions { first_boot: Some(BootCall::Awaited), ..JobOptions::default() };
    bad(JobOptions { boot_limit: Some(0), ..awaited.clone() });
    bad(JobOptions { boot_limit: Some(BOOT_LIMIT_MAX + 1), ..awaited.clone() });
    bad(JobOptions { then: Some(Then::Poweroff), ..awaited });
    bad(JobOptions { size: Size::Layout(Layout::default()), ..JobOptions::default() });
}

#[test]
fn an_agent_gets_the_rendered_order_and_a_receipt_that_says_it_was_carried_out_ends_well() {
    let fleet = Fleet::start();
    let web = image("web", 0..3);
    fleet.server.capture(&web);
    fleet.machine(1);
    declare_tag(&fleet, "rack", "hostname = \"{{ name }}\"\n").done(200);
    let options = JobOptions { new_uuids: true, size: Size::Fill, ..JobOptions::default() };
    let job = fleet.ask(&restore_with("web", &[1], options))[0];
    // What was agreed to is what is done.
    declare_tag(&fleet, "rack", "hostname = \"later\"\n").done(200);
    let work = claimed(&fleet, job, 1);
    let adapt = work.adapt.clone().unwrap();
    assert_eq!(adapt.identity.unwrap().hostname.as_deref(), Some("web01"));
    assert!(adapt.new_uuids && adapt.size == Size::Fill && adapt.first_boot.is_none());
    prove(&fleet, &work, &web, Some(Adapted { identity: true, ..Adapted::default() }));
    fleet.until(job, JobState::Leaving);
    fleet.server.pass(120);
    let end = fleet.until(job, JobState::Confirmed);
    assert_eq!(end.becomes.unwrap().hostname.as_deref(), Some("web01"));
    let runs = fleet.detail(1).machine.runs.unwrap();
    assert!(!runs.without_identity);
}

#[test]
fn a_receipt_without_the_identity_that_was_ordered_fails_the_job_and_the_machine_says_so() {
    let fleet = Fleet::start();
    let web = image("web", 0..3);
    fleet.server.capture(&web);
    for (number, adapted, why) in [
        (1, None, "does not say"),
        (2, Some(Adapted { without: Some("no system that is known".into()), ..Adapted::default() }), "no system"),
    ] {
        fleet.machine(number);
        declare(&fleet, number, "hostname = \"{{ name }}\"\n").done(200);
        let job = fleet.ask(&restore("web", &[number]))[0];
        let work = claimed(&fleet, job, number);
        prove(&fleet, &work, &web, adapted);
        let end = fleet.until(job, JobState::Failed).job;
        assert_eq!((end.cause, end.try_now), (Some(Cause::WithoutIdentity), 1), "another try would do the same");
        assert!(end.message.contains(why) && end.next.contains("--no-identity"), "{end:?}");
        let machine = fleet.detail(number);
        assert!(machine.machine.runs.unwrap().without_identity && machine.receipt.is_some());
        let event = machine.history.iter().find(|event| event.what == "restore failed").unwrap();
        assert!(event.detail.contains("without identity"), "{event:?}");
    }
    // The plain copy that was asked for is no failure.
    let plain = JobOptions { identity: Some(false), ..JobOptions::default() };
    fleet.switches.of(fleet.detail(1).machine.id, |switch| switch.on = false);
    let job = fleet.ask(&restore_with("web", &[1], plain))[0];
    let work = claimed(&fleet, job, 1);
    assert_eq!(work.adapt, None);
    prove(&fleet, &work, &web, None);
    fleet.until(job, JobState::Leaving);
    assert!(!fleet.detail(1).machine.runs.unwrap().without_identity);
}

#[test]
fn an_image_that_would_not_boot_is_refused_unless_overruled_and_unknown_is_a_warning() {
    let fleet = Fleet::start();
    fleet.server.capture(&image("web", 0..3));
    looked_at(&fleet, 1, |disk| disk.sector = 4096);
    let refused = plan(&fleet, &restore("web", &[1]), 409);
    let why = refused.machines[0].refused.clone().unwrap();
    assert!(why.contains("512") && why.contains("4096") && why.contains("--ignore boot-check"), "{why}");
    let ignore = JobOptions { ignore: vec![Check::BootCheck], ..JobOptions::default() };
    let job = plan(&fleet, &restore_with("web", &[1], ignore), 201).jobs[0];
    fleet.until(job, JobState::Boot);
    fleet.machine(2);
    let open = plan(&fleet, &restore_with("web", &[2], dry(JobOptions::default())), 200);
    let warned = open.machines[0].warnings.iter().any(|warning| warning.contains("boots is not known"));
    assert!(warned, "nothing is known of its hardware: {open:?}");
}

#[test]
fn a_smaller_disk_is_refused_by_the_plan_when_what_never_shrinks_is_larger_and_told_with_all_numbers_otherwise() {
    let fleet = Fleet::start();
    let web = image("web", 0..3);
    let as_if = |name: &str, kind: &str| {
        let mut manifest = Manifest::read(&web.manifest).unwrap();
        manifest.name = name.parse().unwrap();
        manifest.disks[0].partitions[0].content = Content::of(kind);
        manifest.disks[0].partitions[0].whole = false;
        TestImage { name: manifest.name.clone(), manifest: manifest.write().unwrap(), ..image(name, 0..3) }
    };
    let (ext, xfs) = (as_if("ext", "ext4"), as_if("xfs", "xfs"));
    fleet.server.capture(&ext);
    fleet.server.capture(&xfs);
    let disk = &Manifest::read(&web.manifest).unwrap().disks[0];
    let (size, len) = (disk.size, disk.partitions[0].range.len());
    looked_at(&fleet, 1, |disk| disk.size = len - 4096);
    let fill = || JobOptions { size: Size::Fill, ..dry(JobOptions::default()) };
    let refused = plan(&fleet, &restore_with("xfs", &[1], fill()), 200).machines.remove(0).refused.unwrap();
    for word in [&(len - 4096).to_string(), &len.to_string(), "xfs"] {
        assert!(refused.contains(word), "{word}: {refused}");
    }
    let fits = plan(&fleet, &restore_with("ext", &[1], fill()), 200).machines.remove(0);
    let used = Manifest::read(&ext.manifest).unwrap().disks[0].partitions[0].used_bytes;
    let numbers = format!("has {} bytes, the image's disk 0 {size}, of which {used} are in use", len - 4096);
    assert!(fits.warnings.iter().any(|warning| warning.contains(&numbers)), "{numbers}: {fits:?}");
    // Without a wish, nothing is resized.
    plan(&fleet, &restore("ext", &[1]), 409);
}

#[test]
fn a_clone_whose_image_would_not_boot_ends_before_its_machine_is_switched_on() {
    let fleet = Fleet::start();
    let web = image("web01", 0..3);
    fleet.machine(1);
    let id = looked_at(&fleet, 2, |disk| disk.sector = 4096);
    looked_at(&fleet, 3, |_| ());
    let (machine, image, to) = ("web01".into(), None, vec![name(2), name(3)]);
    let jobs = fleet.ask(&AddJobs::Clone { machine, image, to, tag: None, options: JobOptions::default() });
    let [_, capture, two, three] = jobs[..] else { panic!("{jobs:?}") };
    let work = claimed(&fleet, capture, 1);
    assert_eq!(work.action, Action::Capture);
    fleet.finish(&work, &fleet.begin(&work), &web);
    let end = fleet.until(two, JobState::Failed).job;
    assert_eq!((end.cause, end.try_now), (Some(Cause::WillNotBoot), 0));
    assert!(end.message.contains("4096") && end.next.contains("--ignore boot-check"), "{end:?}");
    // Nothing has changed: to try again is to ask again.
    fleet.server.as_operator().send("POST", &format!("/v1/jobs/{two}/retry"), &[], b"").done(200);
    let again = fleet.until(two, JobState::Failed);
    assert_eq!(again.events.iter().filter(|event| event.what == "will-not-boot").count(), 2, "{:?}", again.events);
    fleet.switches.of(id, |switch| {
        assert!(switch.orders.iter().all(|order| order == "status"), "it was left alone: {:?}", switch.orders);
    });
    let there = fleet.until(three, JobState::Boot);
    assert!(there.events.iter().any(|event| event.what == "boot-check"), "{:?}", there.events);
}

#[test]
fn a_rule_says_what_its_machines_become_with_the_tags_that_it_gives_them() {
    let fleet = Fleet::start();
    fleet.server.capture(&image("web", 0..3));
    declare_tag(&fleet, "auto", "hostname = \"auto-{{ serial }}\"\n").done(200);
    let rule = AddRule {
        accept: true,
        tags: vec!["auto".parse().unwrap()],
        restore: Some("web".parse().unwrap()),
        wipe_existing: true,
        new_uuids: true,
        first_boot: Some(BootCall::Noted),
        ..AddRule::default()
    };
    fleet.server.as_operator().post("/v1/rules", &rule).done(201);
    let then = Some(Then::Wait);
    let odd = AddRule { first_boot: Some(BootCall::Awaited), then, ..rule };
    fleet.server.as_operator().post("/v1/rules", &odd).refused(400);
    let mut stranger = hello(9, 1);
    stranger.machine.serial = Some("S9".into());
    let adapt = fleet.say(&stranger).work.unwrap().adapt.unwrap();
    assert_eq!(adapt.identity.unwrap().hostname.as_deref(), Some("auto-S9"));
    assert!(adapt.new_uuids && adapt.first_boot.is_some());
}
