//! Jobs that an operator cancels.
//!
//! In: jobs in every state, and a power system that is slow. Out: cancelled jobs.
//! Promise: nothing of a cancelled job's agent is accepted, and no order of it goes on.

use crate::fleet::*;
use crate::harness::{beat, image, open};
use ramet_wire::api::OpenRun;
use ramet_wire::jobs::*;

#[test]
fn a_job_is_cancelled_at_any_point_and_nothing_of_its_agent_is_accepted_afterwards() {
    let fleet = Fleet::start();
    let web = image("web", 0..3);
    fleet.server.capture(&web);
    fleet.machine(1);
    let cancel = |job: u64| fleet.server.as_operator().send("POST", &format!("/v1/jobs/{job}/cancel"), &[], b"");
    for point in ["boot", "claimed", "running", "leaving"] {
        let job = fleet.ask(&restore_with("web", &[1], forced()))[0];
        fleet.until_it(job, "on", |job| job.step.contains("waits for its agent"));
        let nonce = u32::try_from(job).unwrap();
        let work = (point != "boot").then(|| fleet.say(&hello(1, nonce)).work.unwrap());
        let run = work.as_ref().filter(|_| point != "claimed").map(|work| fleet.begin(work));
        if point == "leaving" {
            fleet.finish(work.as_ref().unwrap(), run.as_ref().unwrap(), &web);
        }
        cancel(job).done(200);
        let end = fleet.job(job).job;
        assert_eq!((end.state, end.cause), (JobState::Cancelled, Some(Cause::Operator)), "{point}");
        match (point, work, run) {
            ("running", Some(work), Some(run)) => {
                fleet.result(&work, &run, &web).refused(409);
                run.1.post("/v1/runs/current", &beat()).refused(409);
            }
            ("claimed", Some(work), _) => {
                let body = OpenRun { image: work.image.clone(), ..open(work.action, "x") };
                fleet.server.with_secret(&work.token).post("/v1/runs", &body).refused(401);
            }
            _ => {}
        }
        cancel(job).refused(409);
    }
}

#[test]
fn a_cancelled_job_gives_up_the_order_that_its_power_system_is_slow_to_carry_out() {
    let fleet = Fleet::start();
    fleet.server.capture(&image("web", 0..3));
    let id = fleet.machine(1);
    fleet.switches.of(id, |switch| (switch.on, switch.slow) = (true, true));
    let job = fleet.ask(&restore_with("web", &[1], forced()))[0];
    fleet.ordered(id, "order to go off", |orders| orders.last().is_some_and(|order| order.ends_with("off")));
    fleet.server.as_operator().send("POST", &format!("/v1/jobs/{job}/cancel"), &[], b"").done(200);
    fleet.ordered(id, "end of that order", |orders| orders.last().is_some_and(|order| order == "given up"));
    // What the hand says when it gives up changes nothing, and it is free for the next job.
    fleet.switches.of(id, |switch| switch.slow = false);
    let next = fleet.ask(&restore_with("web", &[1], forced()))[0];
    fleet.until_it(next, "on", |job| job.step.contains("waits for its agent"));
    let end = fleet.job(job).job;
    assert_eq!((end.state, end.cause), (JobState::Cancelled, Some(Cause::Operator)), "{end:?}");
}
