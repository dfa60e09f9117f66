//! Jobs: from an operator's word to a machine that is back on its own disk.
//!
//! In: requests, clocks, agents' words, power systems. Out: jobs in the database, each in a state with a cause.
//! Promise: what is under way is in the database; a server that was killed goes on where it was.
//!
//! ```text
//! request ─→ plan (what would be done) ─→ jobs, queued
//!                                           │   engine: one tick a second
//!                                           ▼
//!              states (the table) ←─ tick: what is due ─→ hands: power │ look: is it back
//!                     ▲
//!                     └── claim, beats, receipts, leaving: what agents say
//! ```

mod beyond;
pub mod draft;
pub mod engine;
pub mod hands;
mod look;
pub mod plan;
pub mod states;

pub(crate) use look::answers;
