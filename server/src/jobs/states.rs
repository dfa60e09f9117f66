//! The states of a job, and what leads from one to the next: one table.
//!
//! In: a state and what happened. Out: the next state, or none where that cannot happen there.
//! Promise: no other code decides on a state; every state that is not over is left by time alone, if by nothing else.
//!
//! ```text
//!            ┌──────────────────────── again (a try is left) ───────────────────────┐
//!            ▼                                                                      │
//!  ┌──────────────┐ begin ┌───────┐ off  ┌──────┐ claim ┌─────────┐ done ┌─────────┐│
//!  │    queued    ├──────►│ power ├─────►│ boot ├──────►│ running ├─────►│ leaving ├┼─ seen ─► confirmed
//!  └──┬───────────┘       └───┬───┘      └──┬───┘       └────┬────┘      └────┬────┘│
//!     │      └── here: its agent waits ────►│                │                │     │
//!     │                       └─────────────┴── again ───────┴────────────────┼─────┘
//!     ├─ fail ────────────────┴─────────────┴── fail ────────┴────────────────┴──────────► failed
//!     └─ cancel ──────────── (from each of them) ────────────────────────────────────────► cancelled
//!                                                            └─ silent, no try left ─────► lost
//!
//!  failed, cancelled, lost ── retry (an operator's) ──► queued
//! ```
//!
//! | state | boot file | who may claim | left by time |
//! |---|---|---|---|
//! | queued | as ever | nobody | when it is its turn, and the image that it waits for is published |
//! | power | local disk | nobody | limits of the power system |
//! | boot | the agent | one boot of its machine, until the window closes | the window |
//! | running | local disk | the same boot again | the lease |
//! | leaving | local disk | nobody; an agent that comes back is a failure | the wait for its proofs |

use ramet_wire::jobs::JobState::{self, Boot, Cancelled, Confirmed, Failed, Leaving, Lost, Power, Queued, Running};

/// What happens to a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// It is its turn.
    Begin,
    /// Its turn, and its machine's agent is waiting already.
    Here,
    /// Its machine is off, or nobody but a person can switch it: from now on its boot file offers the agent.
    Off,
    /// A boot of its machine took it.
    Claim,
    /// The image is published, the receipt accepted, or the look done.
    Done,
    /// Everything that was to be seen was seen.
    Seen,
    /// This try failed, and another one is left.
    Again,
    /// It failed.
    Fail,
    /// Its agent was not heard of any more, and no try is left.
    Lose,
    /// An operator ends it.
    Cancel,
    /// An operator begins it anew.
    Retry,
}

/// From, event, to.
pub const TABLE: &[(JobState, Event, JobState)] = &[
    (Queued, Event::Begin, Power),
    (Queued, Event::Here, Boot),
    (Queued, Event::Fail, Failed),
    (Queued, Event::Cancel, Cancelled),
    (Power, Event::Off, Boot),
    (Power, Event::Again, Queued),
    (Power, Event::Fail, Failed),
    (Power, Event::Cancel, Cancelled),
    (Boot, Event::Claim, Running),
    (Boot, Event::Again, Queued),
    (Boot, Event::Fail, Failed),
    (Boot, Event::Cancel, Cancelled),
    (Running, Event::Done, Leaving),
    (Running, Event::Again, Queued),
    (Running, Event::Fail, Failed),
    (Running, Event::Lose, Lost),
    (Running, Event::Cancel, Cancelled),
    (Leaving, Event::Seen, Confirmed),
    (Leaving, Event::Fail, Failed),
    (Leaving, Event::Cancel, Cancelled),
    (Failed, Event::Retry, Queued),
    (Cancelled, Event::Retry, Queued),
    (Lost, Event::Retry, Queued),
];

/// Where `event` leads from `state`; none where it cannot happen.
#[must_use]
pub fn next(state: JobState, event: Event) -> Option<JobState> {
    TABLE.iter().find(|(from, what, _)| *from == state && *what == event).map(|(_, _, to)| *to)
}

/// A machine in this state is busy with its job: no other job of it goes on.
#[must_use]
pub const fn is_active(state: JobState) -> bool {
    matches!(state, Power | Boot | Running | Leaving)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_state_can_be_reached_and_left_and_no_row_is_twice() {
        let mut rows = BTreeSet::new();
        for (from, event, to) in TABLE {
            assert!(rows.insert((from.word(), format!("{event:?}"))), "{from} {event:?} stands twice");
            assert_ne!(from, to);
        }
        for state in JobState::ALL {
            let reached = *state == Queued || TABLE.iter().any(|(_, _, to)| to == state);
            assert!(reached, "{state} is never reached");
            let left = TABLE.iter().any(|(from, ..)| from == state);
            assert_eq!(left, *state != Confirmed, "{state}");
        }
    }

    #[test]
    fn every_open_state_can_be_cancelled_and_fail_and_no_state_that_is_over_can() {
        for state in JobState::ALL {
            assert_eq!(next(*state, Event::Cancel).is_some(), !state.is_over(), "{state}");
            assert_eq!(next(*state, Event::Fail).is_some(), !state.is_over(), "{state}");
            let again = matches!(state, Failed | Cancelled | Lost);
            assert_eq!(next(*state, Event::Retry).is_some(), again, "{state}");
        }
    }

    #[test]
    fn the_agent_is_claimed_in_boot_alone() {
        for state in JobState::ALL {
            assert_eq!(next(*state, Event::Claim).is_some(), *state == Boot, "{state}");
        }
    }
}
