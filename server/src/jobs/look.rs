//! Is a machine back on its own disk? The last questions before a job is confirmed.
//!
//! In: a job in *leaving*. Out: confirmed with what was seen, not confirmed with what was not, or wait.
//! Promise: confirmed means that the agent left, the power was read back where it can be read, nobody came again within the
//! settling time, and everything that was expected answered.

use super::engine::{by_hand, machine_of};
use super::hands::{Errand, HandsError, PowerNow};
use crate::db::jobs::tick::{self, Look};
use crate::db::jobs::{JobRow, Said};
use crate::http::App;
use ramet_wire::adapt::BootCall;
use ramet_wire::jobs::{Cause, Expect, JobKind, Seen};
use ramet_wire::settings::Then;
use std::sync::Arc;
use std::time::Duration;

/// For one attempt to connect.
const CONNECT: Duration = Duration::from_secs(3);

/// What was proven is said with whatever was not.
fn proven(job: &JobRow) -> &'static str {
    match job.kind {
        JobKind::Capture => "the image is published",
        JobKind::Restore => "the restore is proven",
        _ => "the look is done",
    }
}

/// Looks once.
pub(super) async fn look(app: &Arc<App>, job: &JobRow, errand: Errand) -> Result<(), crate::db::DbError> {
    let Some(machine) = machine_of(app, job).await? else { return Ok(()) };
    let limits = &app.limits;
    let steady = app.both().steady;
    let since = |at: i64| Duration::from_secs(u64::try_from(steady.saturating_sub(at)).unwrap_or(0));
    let Some(left) = job.left_at else {
        let look = if since(job.since) < limits.leave_wait {
            Look::Wait("its agent is about to leave".to_owned())
        } else {
            let message = format!("{}, and its agent has not left for {} s", proven(job), since(job.since).as_secs());
            Look::Not(Said::bad(Cause::NotBack, message, format!("look at the console of {}", machine.name)))
        };
        return note(app, job, look, Seen::Nothing).await;
    };
    let gone = since(left);
    if job.seen == Seen::Booted && job.options.expect.is_empty() {
        // It runs, and nothing but itself could have said so.
        return note(app, job, Look::Confirmed, Seen::Nothing).await;
    }
    let then = job.follows.or(job.options.then).unwrap_or(Then::Reboot);
    if then == Then::Reboot && gone < limits.settle && job.seen != Seen::Booted {
        return note(app, job, Look::Wait("waits whether its agent comes again".to_owned()), Seen::Nothing).await;
    }
    let mut seen = Seen::Nothing;
    if job.options.first_boot == Some(BootCall::Awaited) && job.seen != Seen::Booted {
        let limit = job.options.boot_limit.map_or(limits.boot_wait, Duration::from_secs);
        return note(app, job, unbooted(job, &machine.name, gone, limit), Seen::Nothing).await;
    }
    if then == Then::Reboot && !job.options.expect.is_empty() {
        if let Some(missing) = first_missing(&job.options.expect).await {
            let look = if gone < limits.expect_wait {
                Look::Wait(format!("waits for {missing}"))
            } else {
                let message = format!("{}, and {missing} has not answered for {} s", proven(job), gone.as_secs());
                Look::Not(Said::bad(Cause::NotSeenUp, message, format!("look at the console of {}", machine.name)))
            };
            return note(app, job, look, Seen::Nothing).await;
        }
        seen = Seen::Up;
    }
    if by_hand(&machine) {
        return note(app, job, Look::Confirmed, seen).await;
    }
    let (hands, id) = (Arc::clone(&app.hands), machine.id);
    let power = tokio::task::spawn_blocking(move || hands.status(id, &errand)).await;
    let power = power.unwrap_or_else(|_| Err(unread()));
    let wanted = if then == Then::Poweroff { PowerNow::Off } else { PowerNow::On };
    let look = match power {
        Ok(found) if found == wanted || found == PowerNow::Unknown => Look::Confirmed,
        found if gone < limits.leave_wait => {
            let found = found.map_or_else(|error| error.message, |found| format!("{found:?}").to_lowercase());
            Look::Wait(format!("reads its power, which should be {wanted:?}, and is: {found}").to_lowercase())
        }
        Ok(found) => {
            let message = format!("{}, and its power is {found:?}, not {wanted:?}", proven(job)).to_lowercase();
            Look::Not(Said::bad(Cause::NotBack, message, format!("look at the console of {}", machine.name)))
        }
        Err(error) => {
            let message = format!("{}, and its power cannot be read: {}", proven(job), error.message);
            Look::Not(Said::bad(error.cause, message, error.next))
        }
    };
    let again = matches!(look, Look::Wait(_));
    note(app, job, look, seen).await?;
    if again {
        tokio::time::sleep(limits.look_pause).await;
    }
    Ok(())
}

/// Its clone is waited for, and has not called.
fn unbooted(job: &JobRow, name: &str, gone: Duration, limit: Duration) -> Look {
    if gone < limit {
        return Look::Wait("waits for its first boot".to_owned());
    }
    let message = format!("{}, and its clone has not called for {} s", proven(job), gone.as_secs());
    let next = format!(
        "look at the console of {name}: does it boot, and does it reach this server? its call is still taken for a day"
    );
    Look::Not(Said::bad(Cause::NotBooted, message, next))
}

fn unread() -> HandsError {
    let (message, next) = ("a worker of the server stopped".to_owned(), "the server's log says why".to_owned());
    HandsError { cause: Cause::PowerUnable, message, next, again: true }
}

/// The first that does not answer.
async fn first_missing(expect: &[Expect]) -> Option<&Expect> {
    for one in expect {
        if !answers(one).await {
            return Some(one);
        }
    }
    None
}

/// A connection is accepted there.
pub(crate) async fn answers(expect: &Expect) -> bool {
    let connect = tokio::net::TcpStream::connect((expect.host.as_str(), expect.port));
    matches!(tokio::time::timeout(CONNECT, connect).await, Ok(Ok(_)))
}

async fn note(app: &Arc<App>, job: &JobRow, look: Look, seen: Seen) -> Result<(), crate::db::DbError> {
    if let Look::Wait(words) = &look
        && *words == job.step
        && seen <= job.seen
    {
        return Ok(());
    }
    let (id, now) = (job.id, app.both());
    app.db.call("noting what was seen", move |db| tick::looked(db, id, &look, seen, now)).await
}
