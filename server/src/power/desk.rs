//! Orders for machines: their settings, their secrets, one order at a time for each.
//!
//! In: a machine's number and what shall happen. Out: what happened; every attempt is in the database at once.
//! Promise: two orders never meet at one BMC; a secret is decrypted for one order and dropped with it; what is recorded
//! survives the server.

use super::drive::{self, Driven, Limits, Order};
use super::probe::{Found, probe};
use super::run::Tools;
use super::settings::Settings;
use super::vault::{Source, Vault, VaultError};
use super::{Attempt, Attempts, Power, PowerError, PowerState, Secret, Trouble, What};
use crate::db::power::{self as rows, PowerRow, Target};
use crate::db::{Db, DbError};
use crate::text::chain;
use ramet_store::Clock;
use ramet_wire::power::{PowerAction, PowerAttempt, PowerKind, PowerOptions};
use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};
use tokio::runtime::Handle;

/// What all orders share.
#[derive(Debug)]
pub struct Desk {
    source: Source,
    vault: Mutex<Option<Vault>>,
    tools: Tools,
    limits: Limits,
    busy: Mutex<HashSet<i64>>,
}

/// A machine's turn: while it lives, nobody else gives orders.
#[derive(Debug)]
pub struct Turn<'a> {
    desk: &'a Desk,
    machine: i64,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.desk.busy.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.machine);
    }
}

impl Desk {
    /// The key is read when it is needed first.
    #[must_use]
    pub fn new(source: Source, tools: Tools, limits: Limits) -> Self {
        Self { source, vault: Mutex::default(), tools, limits, busy: Mutex::default() }
    }

    /// Reads a key that was named, so that a server does not start without it. One beside the database can wait until a
    /// password is set.
    ///
    /// # Errors
    /// [`VaultError`].
    pub fn unlock(&self) -> Result<(), VaultError> {
        if matches!(self.source, Source::File(_)) { self.with_vault(|_| Ok(())) } else { Ok(()) }
    }

    fn with_vault<T>(&self, work: impl FnOnce(&Vault) -> Result<T, VaultError>) -> Result<T, VaultError> {
        let mut vault = self.vault.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(vault) = vault.as_ref() {
            return work(vault);
        }
        work(vault.insert(Vault::open(&self.source)?))
    }

    /// Encrypts a machine's password.
    ///
    /// # Errors
    /// [`VaultError`].
    pub fn seal(&self, machine: i64, secret: &Secret) -> Result<Vec<u8>, VaultError> {
        self.with_vault(|vault| vault.seal(&machine.to_be_bytes(), secret))
    }

    /// The machine's turn, unless an order for it is under way.
    #[must_use]
    pub fn turn(&self, machine: i64) -> Option<Turn<'_>> {
        let fresh = self.busy.lock().unwrap_or_else(PoisonError::into_inner).insert(machine);
        fresh.then(|| Turn { desk: self, machine })
    }

    /// Settings with the password in the clear; without any, a person switches the machine.
    ///
    /// # Errors
    /// [`Trouble::Settings`] when the password does not open.
    pub fn settings(&self, target: &Target, row: Option<PowerRow>) -> Result<Settings, PowerError> {
        let row = row.unwrap_or_else(|| PowerRow {
            kind: PowerKind::Manual,
            address: String::new(),
            user: String::new(),
            secret: None,
            options: PowerOptions::default(),
            probed: None,
            pin: None,
        });
        let closed = |error: VaultError| {
            tracing::error!(machine = target.name, error = %chain(&error), "opening a BMC's password");
            PowerError::new(Trouble::Settings, What::Status, row.kind.word(), error.to_string())
        };
        let open = |blob: &[u8]| self.with_vault(|vault| vault.unseal(&target.id.to_be_bytes(), blob));
        let secret = match &row.secret {
            Some(blob) => open(blob).map_err(closed)?,
            None => Secret::new(String::new()),
        };
        let PowerRow { kind, address, user, options, probed, pin, .. } = row;
        Ok(Settings { kind, address, user, secret, options, probed, pin, macs: target.macs.clone() })
    }
}

/// Gives orders. Blocking: for threads that may block, inside or beside the runtime.
pub struct Hand<'a> {
    /// The desk.
    pub desk: &'a Desk,
    /// Where settings are and attempts go.
    pub db: &'a Db,
    /// The time of attempts.
    pub clock: &'a Clock,
    /// The runtime on which the database answers.
    pub runtime: Handle,
}

impl std::fmt::Debug for Hand<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hand").field("desk", &self.desk).finish_non_exhaustive()
    }
}

/// Asked while states are awaited: whether the order is not wanted any more.
pub type Stop<'a> = &'a (dyn Fn() -> bool + Sync);

impl Hand<'_> {
    fn now(&self) -> i64 {
        i64::try_from(self.clock.unix()).unwrap_or(i64::MAX)
    }

    fn call<T, F>(&self, doing: &'static str, work: F) -> Result<T, PowerError>
    where
        T: Send + 'static,
        F: FnOnce(&mut rusqlite::Connection) -> rusqlite::Result<T> + Send + 'static,
    {
        self.runtime.block_on(self.db.call(doing, work)).map_err(|error: DbError| {
            tracing::error!(error = %chain(&error), "database");
            PowerError::new(Trouble::Busy, What::Status, "database", "the server cannot reach its database")
        })
    }

    fn find(&self, machine: i64) -> Result<(Target, Option<PowerRow>), PowerError> {
        let read = move |db: &mut rusqlite::Connection| Ok((rows::target_of(db, machine)?, rows::find(db, machine)?));
        let (target, row) = self.call("reading power settings", read)?;
        let gone = || PowerError::new(Trouble::Settings, What::Status, "inventory", "the machine is gone");
        Ok((target.ok_or_else(gone)?, row))
    }

    fn turn(&self, machine: i64) -> Result<Turn<'_>, PowerError> {
        let words = "another power order for this machine is under way";
        self.desk.turn(machine).ok_or_else(|| PowerError::new(Trouble::Busy, What::Status, "server", words))
    }

    fn log<'a>(&'a self, machine: i64, job: Option<i64>, stop: Stop<'a>) -> Log<'a> {
        Log { hand: self, machine, job, stop, last: None }
    }

    /// What a job needs to know before it starts: the protocol, whether it reads states and sets the next boot.
    ///
    /// # Errors
    /// [`Trouble::Settings`] when the settings are of no use: nobody probed them, the password does not open.
    pub fn driver(&self, machine: i64) -> Result<Box<dyn Power>, PowerError> {
        let (target, row) = self.find(machine)?;
        self.desk.settings(&target, row)?.open(&self.desk.tools)
    }

    /// One order for one machine. `order.network` is made by [`Hand::network`].
    ///
    /// # Errors
    /// [`PowerError`]; [`Trouble::Busy`] while another order is under way.
    pub fn order(
        &self,
        machine: i64,
        job: Option<i64>,
        action: PowerAction,
        order: Order,
        stop: Stop<'_>,
    ) -> Result<Driven, PowerError> {
        let _turn = self.turn(machine)?;
        let power = self.driver(machine)?;
        let (limits, mut log) = (&self.desk.limits, self.log(machine, job, stop));
        let power = power.as_ref();
        match action {
            PowerAction::Status => {
                let state = drive::status(power, limits, &mut log)?;
                Ok(Driven { state, next_boot: None, notes: Vec::new() })
            }
            PowerAction::On => drive::on(power, order, limits, &mut log),
            PowerAction::Off => drive::off(power, order, limits, &mut log),
            PowerAction::Cycle => drive::cycle(power, order, limits, &mut log),
        }
    }

    /// The state alone.
    ///
    /// # Errors
    /// As [`Hand::order`].
    pub fn status(&self, machine: i64, job: Option<i64>) -> Result<PowerState, PowerError> {
        let driven = self.order(machine, job, PowerAction::Status, Order::default(), &|| false);
        driven.map(|driven| driven.state)
    }

    /// How a machine starts from the network: by UEFI or not.
    ///
    /// # Errors
    /// [`PowerError`] when the machine is gone.
    pub fn network(&self, machine: i64) -> Result<bool, PowerError> {
        self.find(machine).map(|(target, _)| target.uefi)
    }

    /// Finds out what the machine's power speaks, and remembers it.
    ///
    /// # Errors
    /// [`PowerError`].
    pub fn probe(&self, machine: i64) -> Result<PowerRow, PowerError> {
        let _turn = self.turn(machine)?;
        let (target, row) = self.find(machine)?;
        let words = "no power is set for this machine; `ramet power set` does";
        let none = || PowerError::new(Trouble::Settings, What::Probe, "manual", words);
        let row = row.ok_or_else(none)?;
        let settings = self.desk.settings(&target, Some(row.clone()))?;
        let mut log = self.log(machine, None, &|| false);
        let Found { mut probed, pin } = probe(&settings, &self.desk.tools, &self.desk.limits, &mut log)?;
        probed.at = crate::time::rfc3339(self.now());
        tracing::info!(machine = target.name, kind = %probed.kind, suite = probed.suite, "power probed");
        let (kept, result, shown) = (row.clone(), probed.clone(), pin.clone());
        let keep = move |db: &mut rusqlite::Connection| rows::found(db, machine, &kept, &result, shown.as_deref());
        if !self.call("keeping a probe's result", keep)? {
            let words = "the settings were changed during the probe; probe again";
            return Err(PowerError::new(Trouble::Busy, What::Probe, row.kind.word(), words));
        }
        Ok(PowerRow { probed: Some(probed), pin, ..row })
    }
}

/// Attempts on their way to the database.
struct Log<'a> {
    hand: &'a Hand<'a>,
    machine: i64,
    job: Option<i64>,
    stop: Stop<'a>,
    last: Option<Attempt>,
}

impl Attempts for Log<'_> {
    fn note(&mut self, attempt: Attempt) {
        // While a state is awaited it is read each two seconds: the same answer again is no news.
        let again = self.last.as_ref().is_some_and(|last| {
            attempt.what == What::Status
                && (last.what, last.trouble, &last.detail) == (attempt.what, attempt.trouble, &attempt.detail)
        });
        if again {
            return;
        }
        let row = PowerAttempt {
            at: String::new(),
            job: None,
            what: attempt.what.word().to_owned(),
            how: attempt.how.clone(),
            result: attempt.trouble.map_or("ok", Trouble::word).to_owned(),
            detail: attempt.detail.clone(),
            seconds: (attempt.took.as_secs_f64() * 1000.0).round() / 1000.0,
        };
        tracing::debug!(machine = self.machine, job = self.job, ?row, "power");
        let (machine, job, now) = (self.machine, self.job, self.hand.now());
        // What cannot be recorded is in the log by now; the order goes on.
        let _ = self.hand.call("recording a power attempt", move |db| rows::record(db, machine, job, now, &row));
        self.last = Some(attempt);
    }

    fn stopped(&self) -> bool {
        (self.stop)()
    }
}
