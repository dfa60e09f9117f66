//! A person at the power button.
//!
//! In: orders. Out: what the person shall do.
//! Promise: nothing is pretended: every order ends with `Trouble::Manual` and a sentence.

use super::{Attempts, NextBoot, Power, PowerError, PowerState, Trouble, What, tried};

/// No machine does it.
#[derive(Clone, Copy, Debug)]
pub struct Manual;

impl Manual {
    fn ask(self, what: What, log: &mut dyn Attempts, words: &str) -> Result<(), PowerError> {
        tried(log, what, "manual", || Err(PowerError::new(Trouble::Manual, what, self.how(), words)))
    }
}

impl Power for Manual {
    fn how(&self) -> String {
        "manual".to_owned()
    }

    fn reads_state(&self) -> bool {
        false
    }

    fn status(&self, _log: &mut dyn Attempts) -> Result<PowerState, PowerError> {
        Ok(PowerState::Unknown)
    }

    fn on(&self, log: &mut dyn Attempts) -> Result<(), PowerError> {
        self.ask(What::On, log, "switch the machine on by hand; restart it if it runs")
    }

    fn soft_off(&self, log: &mut dyn Attempts) -> Result<(), PowerError> {
        self.ask(What::SoftOff, log, "shut the machine down by hand")
    }

    fn hard_off(&self, log: &mut dyn Attempts) -> Result<(), PowerError> {
        self.ask(What::HardOff, log, "switch the machine off by hand")
    }

    fn next_boot_network(&self, _uefi: bool, _log: &mut dyn Attempts) -> Result<NextBoot, PowerError> {
        Ok(NextBoot::Unsupported)
    }
}
