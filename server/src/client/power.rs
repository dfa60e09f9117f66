//! The operator's side of power.
//!
//! In: what an operator wants. Out: the server's answer as the wire's types.
//! Promise: as in the parent; a secret goes in a body over pinned TLS and nowhere else.

use super::{ClientError, Operator, read_json, refused, shape};
use ramet_wire::power::{PowerAttempt, PowerDone, PowerOrder, PowerShown, SetPower};
use serde::de::DeserializeOwned;

/// A path is made of it.
fn path(what: &str, machine: &str, rest: &str) -> Result<String, ClientError> {
    let plain = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'.' | b'_' | b'-' | b':');
    if machine.is_empty() || machine.len() > 80 || !machine.bytes().all(plain) || machine.starts_with('.') {
        return Err(refused(what, "a machine's name is made of letters, digits, '.', '_' and '-'"));
    }
    Ok(format!("/v1/machines/{machine}/power{rest}"))
}

fn what(doing: &str, machine: &str) -> String {
    format!("{doing} {}", crate::text::clean(machine, 80))
}

impl Operator {
    /// How a machine's power is reached.
    ///
    /// # Errors
    /// [`ClientError`], as everywhere here.
    pub fn power(&self, machine: &str) -> Result<PowerShown, ClientError> {
        let what = what("reading the power settings of", machine);
        self.get(&what, &path(&what, machine, "")?)
    }

    /// Sets it.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn set_power(&self, machine: &str, set: &SetPower) -> Result<PowerShown, ClientError> {
        let what = what("setting the power of", machine);
        let body = serde_json::to_vec(set).map_err(|error| shape(&what, error.into()))?;
        read_json(&what, self.ask(&what, "PUT", &path(&what, machine, "")?, body)?)
    }

    /// Forgets it.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn remove_power(&self, machine: &str) -> Result<(), ClientError> {
        let what = what("removing the power settings of", machine);
        self.ask(&what, "DELETE", &path(&what, machine, "")?, Vec::new()).map(drop)
    }

    /// Finds out what a machine's power speaks.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn probe_power(&self, machine: &str) -> Result<PowerShown, ClientError> {
        let what = what("probing the power of", machine);
        let report = self.work(&what, &path(&what, machine, "/probe")?, Vec::new(), &mut |_, _| ())?;
        read(&what, report)
    }

    /// What was tried, the newest first.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn power_attempts(&self, machine: &str) -> Result<Vec<PowerAttempt>, ClientError> {
        let what = what("reading the power attempts of", machine);
        self.get(&what, &path(&what, machine, "/attempts")?)
    }

    /// Switches machines, or reads their states; `progress` hears how many are done.
    ///
    /// # Errors
    /// [`ClientError`]; a machine that failed is no error here.
    pub fn order_power(
        &self,
        order: &PowerOrder,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<Vec<PowerDone>, ClientError> {
        let what = "ordering power";
        let body = serde_json::to_vec(order).map_err(|error| shape(what, error.into()))?;
        read(what, self.work(what, "/v1/power", body, progress)?)
    }
}

fn read<T: DeserializeOwned>(what: &str, report: serde_json::Value) -> Result<T, ClientError> {
    serde_json::from_value(report).map_err(|error| shape(what, error.into()))
}
