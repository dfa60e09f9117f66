//! The engine's hand: jobs' orders, carried out by the desk.
//!
//! In: a machine, a job, what shall become of its power. Out: what was read back; the causes of jobs.
//! Promise: no order without its record; "nobody reads it" is told apart from "off".

use super::desk::{Desk, Hand};
use super::drive::{Driven, Order};
use super::{PowerError, PowerState, Trouble};
use crate::db::Db;
use crate::jobs::hands::{Errand, Hands, HandsError, PowerNow, Warnings};
use ramet_store::Clock;
use ramet_wire::jobs::Cause;
use ramet_wire::power::PowerAction;
use std::sync::Arc;
use tokio::runtime::Handle;

/// BMCs and whatever else the settings name.
#[derive(Clone, Debug)]
pub struct Bmc {
    /// Settings, secrets, turns.
    pub desk: Arc<Desk>,
    /// Where they are, and where attempts go.
    pub db: Arc<Db>,
    /// The time of attempts.
    pub clock: Clock,
}

impl Bmc {
    fn order(&self, machine: i64, errand: &Errand, action: PowerAction, order: Order) -> Result<Driven, HandsError> {
        // The engine calls on the runtime's threads for blocking work, which know their runtime.
        let hand = Hand { desk: &self.desk, db: &self.db, clock: &self.clock, runtime: Handle::current() };
        hand.order(machine, errand.job, action, order, &|| errand.is_given_up()).map_err(HandsError::from)
    }
}

impl From<PowerError> for HandsError {
    fn from(error: PowerError) -> Self {
        let cause = match error.trouble {
            Trouble::Auth => Cause::PowerAuth,
            Trouble::Unreachable | Trouble::Timeout | Trouble::Busy | Trouble::Garbled => Cause::PowerUnreachable,
            Trouble::LiesOk => Cause::PowerLies,
            _ => Cause::PowerUnable,
        };
        let (message, next, again) = (error.to_string(), error.next_step().to_owned(), error.is_passing());
        Self { cause, message, next, again }
    }
}

impl Hands for Bmc {
    fn status(&self, machine: i64, errand: &Errand) -> Result<PowerNow, HandsError> {
        let driven = self.order(machine, errand, PowerAction::Status, Order::default())?;
        Ok(match driven.state {
            PowerState::On => PowerNow::On,
            PowerState::Off => PowerNow::Off,
            PowerState::Unknown => PowerNow::Unknown,
        })
    }

    fn off(&self, machine: i64, errand: &Errand, hard: bool) -> Result<Warnings, HandsError> {
        let order = Order { force_off: hard, network: None };
        self.order(machine, errand, PowerAction::Off, order).map(|driven| driven.notes)
    }

    fn on_from_network(&self, machine: i64, errand: &Errand, uefi: bool) -> Result<Warnings, HandsError> {
        let order = Order { force_off: false, network: Some(uefi) };
        self.order(machine, errand, PowerAction::On, order).map(|driven| driven.notes)
    }
}
