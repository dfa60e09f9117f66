//! On, off and cycle, proven by reading back.
//!
//! In: a driver, what is allowed, limits. Out: the state that was read last.
//! Promise: an order counts when the state says so, whatever was answered; hard off happens only where it is allowed;
//! a silence is asked again, a refusal is not.
//!
//! ```text
//! cycle = off, next boot, on
//! off   = soft off ─ 120 s ─► off?  ─ no, and allowed ─► hard off ─► off?
//! on    = next boot, on ─► on?
//! ```

use super::{Attempts, NextBoot, Power, PowerError, PowerState, Trouble, What};
use std::time::{Duration, Instant};

/// How often an order is given whose answer got lost and whose effect is not seen.
const ORDERS: u32 = 3;
/// A tool that asks a silent BMC takes longer.
const AT_ONCE: Duration = Duration::from_secs(1);

/// How long things may take.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// For the operating system to shut down after the power button.
    pub soft_off: Duration,
    /// From an order until it is read back: on, hard off.
    pub settle: Duration,
    /// Between two looks at the state.
    pub look: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { soft_off: Duration::from_secs(120), settle: Duration::from_secs(60), look: Duration::from_secs(2) }
    }
}

/// What shall happen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Order {
    /// Hard off is allowed where soft off does not help.
    pub force_off: bool,
    /// The start that follows is from the network: in UEFI mode or not.
    pub network: Option<bool>,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Driven {
    /// Read last; unknown only where it cannot be read.
    pub state: PowerState,
    /// How setting the next boot ended, where it was wanted and there was a start.
    pub next_boot: Option<NextBoot>,
    /// What else an operator should know.
    pub notes: Vec<String>,
}

impl Driven {
    fn new(state: PowerState) -> Self {
        Self { state, next_boot: None, notes: Vec::new() }
    }
}

/// Reads the state; a silence is asked again, and a machine that is on its way to a state is waited for.
///
/// # Errors
/// [`PowerError`].
pub fn status(power: &dyn Power, limits: &Limits, log: &mut dyn Attempts) -> Result<PowerState, PowerError> {
    let until = Instant::now() + limits.settle;
    loop {
        let state = patient(limits, log, |log| power.status(log))?;
        if state != PowerState::Unknown || !power.reads_state() {
            return Ok(state);
        }
        stopped(power, log)?;
        if Instant::now() >= until {
            let words = format!("the machine is neither on nor off for {} s", limits.settle.as_secs());
            return Err(PowerError::new(Trouble::Busy, What::Status, power.how(), words));
        }
        std::thread::sleep(limits.look);
    }
}

/// Switches off, and reads back.
///
/// # Errors
/// [`PowerError`]: [`Trouble::Refused`] when soft off does not help and hard off is not allowed.
pub fn off(power: &dyn Power, order: Order, limits: &Limits, log: &mut dyn Attempts) -> Result<Driven, PowerError> {
    if !power.reads_state() {
        let gone = if order.force_off { power.hard_off(log) } else { power.soft_off(log) };
        return gone.map(|()| Driven::new(PowerState::Unknown));
    }
    let mut driven = Driven::new(PowerState::Off);
    if status(power, limits, log)? == PowerState::Off {
        return Ok(driven);
    }
    let soft = given(power, What::SoftOff, PowerState::Off, limits.soft_off, limits, log);
    let soft = match soft {
        Ok(()) => return Ok(driven),
        // Without the power button's way there is only the hard one; and a system that stays on has refused to go.
        Err(error) if matches!(error.trouble, Trouble::LiesOk | Trouble::Unsupported | Trouble::Refused) => error,
        Err(error) if error.is_passing() => error,
        Err(error) => return Err(error),
    };
    if !order.force_off {
        let words = if soft.trouble == Trouble::LiesOk {
            format!(
                "the machine is still on {} s after soft off; --force-off allows to take its power",
                limits.soft_off.as_secs()
            )
        } else {
            format!("{}; --force-off allows to take the machine's power", soft.said)
        };
        let trouble = if soft.trouble == Trouble::LiesOk { Trouble::Refused } else { soft.trouble };
        return Err(PowerError::new(trouble, What::SoftOff, power.how(), words));
    }
    driven.notes.push(format!("switched off hard: {}", soft.said));
    given(power, What::HardOff, PowerState::Off, limits.settle, limits, log)?;
    Ok(driven)
}

/// Switches on, from the network where wanted, and reads back. A machine that is on stays as it is.
///
/// # Errors
/// [`PowerError`].
pub fn on(power: &dyn Power, order: Order, limits: &Limits, log: &mut dyn Attempts) -> Result<Driven, PowerError> {
    if power.reads_state() && status(power, limits, log)? == PowerState::On {
        let mut driven = Driven::new(PowerState::On);
        driven.notes.push("it was on already".to_owned());
        return Ok(driven);
    }
    start(power, order, limits, log)
}

/// Makes the machine start anew: off if it is not, then on. Never a reset.
///
/// # Errors
/// [`PowerError`].
pub fn cycle(power: &dyn Power, order: Order, limits: &Limits, log: &mut dyn Attempts) -> Result<Driven, PowerError> {
    if !power.reads_state() {
        return start(power, order, limits, log);
    }
    let gone = off(power, order, limits, log)?;
    let mut driven = start(power, order, limits, log)?;
    driven.notes.splice(0..0, gone.notes);
    Ok(driven)
}

/// Next boot and on, for a machine that is off; the power follows the boot flag at once, which may live for a minute.
fn start(power: &dyn Power, order: Order, limits: &Limits, log: &mut dyn Attempts) -> Result<Driven, PowerError> {
    let mut driven = Driven::new(PowerState::On);
    if let Some(uefi) = order.network {
        let next = patient(limits, log, |log| power.next_boot_network(uefi, log))?;
        match &next {
            NextBoot::Set => {}
            NextBoot::SetUnverified(words) => driven.notes.push(words.clone()),
            NextBoot::Unsupported => {
                driven.notes.push("there is no next-boot setting: it must be network-first".to_owned())
            }
        }
        driven.next_boot = Some(next);
    }
    if !power.reads_state() {
        power.on(log)?;
        driven.state = PowerState::Unknown;
        driven.notes.push("whether it runs cannot be read; if it ran before, restart it by hand".to_owned());
        return Ok(driven);
    }
    given(power, What::On, PowerState::On, limits.settle, limits, log)?;
    Ok(driven)
}

/// Gives one order and waits until the state is `wanted`, at most `within` for each time that it is given.
fn given(
    power: &dyn Power,
    what: What,
    wanted: PowerState,
    within: Duration,
    limits: &Limits,
    log: &mut dyn Attempts,
) -> Result<(), PowerError> {
    let mut time = 0;
    loop {
        time += 1;
        let answer = match what {
            What::On => power.on(log),
            What::SoftOff => power.soft_off(log),
            _ => power.hard_off(log),
        };
        let lost = match answer {
            Ok(()) => None,
            Err(error) if error.is_passing() => Some(error),
            Err(error) => return Err(error),
        };
        // An order that was not answered may have been heard: the state tells. It is given again sooner.
        let wait = if lost.is_some() { within.min(limits.settle / 4) } else { within };
        match (reaches(power, wanted, wait, limits, log), lost) {
            (Ok(_), _) => return Ok(()),
            (Err(error), _) if error.trouble != Trouble::LiesOk && !error.is_passing() => return Err(error),
            (Err(_), Some(_)) if time < ORDERS => {}
            (Err(_), Some(lost)) => return Err(lost),
            (Err(error), None) => {
                let words = format!("it answered OK, and {}", error.said);
                let trouble = error.trouble;
                return Err(PowerError::new(
                    trouble,
                    what,
                    power.how(),
                    if trouble == Trouble::LiesOk { &words } else { &error.said },
                ));
            }
        }
    }
}

/// Looks at the state until it is `wanted`.
fn reaches(
    power: &dyn Power,
    wanted: PowerState,
    within: Duration,
    limits: &Limits,
    log: &mut dyn Attempts,
) -> Result<PowerState, PowerError> {
    let until = Instant::now() + within;
    loop {
        let seen = match power.status(log) {
            Ok(state) if state == wanted => return Ok(state),
            Ok(state) => {
                let words = format!("the state is still {state} after {} s", within.as_secs_f32());
                PowerError::new(Trouble::LiesOk, What::Status, power.how(), words)
            }
            Err(error) if error.is_passing() => error,
            Err(error) => return Err(error),
        };
        if Instant::now() >= until {
            return Err(seen);
        }
        stopped(power, log)?;
        std::thread::sleep(limits.look);
    }
}

/// Asks up to three times while the trouble is one that passes. Where nobody answered at all, the tool has asked often;
/// but one that gave up at once has met a session that a network mixed up, not silence.
fn patient<T>(
    limits: &Limits,
    log: &mut dyn Attempts,
    mut ask: impl FnMut(&mut dyn Attempts) -> Result<T, PowerError>,
) -> Result<T, PowerError> {
    for _ in 1..ORDERS {
        let begun = Instant::now();
        match ask(log) {
            Err(error) if asks_again(&error, begun.elapsed()) && !log.stopped() => std::thread::sleep(limits.look),
            result => return result,
        }
    }
    ask(log)
}

fn asks_again(error: &PowerError, took: Duration) -> bool {
    error.is_passing() && (error.trouble != Trouble::Unreachable || took < AT_ONCE)
}

fn stopped(power: &dyn Power, log: &dyn Attempts) -> Result<(), PowerError> {
    if !log.stopped() {
        return Ok(());
    }
    Err(PowerError::new(Trouble::Stopped, What::Status, power.how(), "it is not wanted any more"))
}

#[cfg(test)]
mod tests;
