//! The operator's side of the fleet.
//!
//! In: what an operator wants. Out: the server's answer as the wire's types.
//! Promise: as in the parent; no path is made of a word that could be another path.

use super::{ClientError, Operator, read_json, refused, shape};
use crate::text::clean;
use ramet_wire::jobs::{AddJobs, JobDetail, JobInfo, Plan};
use ramet_wire::machines::{
    AcceptMachine, AddMachine, AddRule, AuditEvent, Changed, Label, MachineDetail, MachineInfo, RuleInfo, SetMachine,
    SetMachines,
};
use ramet_wire::tags::{MachineIdentity, SetTag, TagDetail, TagInfo};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Longest answer to a request for work that is read, in bytes: a plan of 10,000 machines with their disks.
const PLAN_MAX: u64 = 64 << 20;

impl Operator {
    /// All machines.
    ///
    /// # Errors
    /// [`ClientError`], as everywhere here.
    pub fn machines(&self) -> Result<Vec<MachineInfo>, ClientError> {
        self.get("listing machines", "/v1/machines")
    }

    /// All that is known of one.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn machine(&self, machine: &str) -> Result<MachineDetail, ClientError> {
        let what = format!("looking for machine {}", clean(machine, 64));
        self.get(&what, &path(&what, machine, "")?)
    }

    /// Adds one.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn add_machine(&self, machine: &AddMachine) -> Result<MachineDetail, ClientError> {
        self.post(&format!("adding machine {}", machine.name), "/v1/machines", machine)
    }

    /// Removes one.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn remove_machine(&self, machine: &str) -> Result<(), ClientError> {
        let what = format!("removing machine {}", clean(machine, 64));
        self.ask(&what, "DELETE", &path(&what, machine, "")?, Vec::new()).map(drop)
    }

    /// Accepts one.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn accept_machine(&self, machine: &str, accept: &AcceptMachine) -> Result<MachineDetail, ClientError> {
        let what = format!("accepting machine {}", clean(machine, 64));
        self.post(&what, &path(&what, machine, "/accept")?, accept)
    }

    /// Changes one.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn set_machine(&self, machine: &str, set: &SetMachine) -> Result<MachineDetail, ClientError> {
        let what = format!("setting machine {}", clean(machine, 64));
        self.put(&what, &path(&what, machine, "")?, set)
    }

    /// Changes many, all or none.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn set_machines(&self, set: &SetMachines) -> Result<Changed, ClientError> {
        self.put("setting machines", "/v1/machines", set)
    }

    /// Who the next clone on a machine would be.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn identity(&self, machine: &str) -> Result<MachineIdentity, ClientError> {
        let what = format!("reading the identity for machine {}", clean(machine, 64));
        self.get(&what, &path(&what, machine, "/identity")?)
    }

    /// All tags.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn tags(&self) -> Result<Vec<TagInfo>, ClientError> {
        self.get("listing tags", "/v1/tags")
    }

    /// One tag with what is declared for it.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn tag(&self, tag: &Label) -> Result<TagDetail, ClientError> {
        self.get(&format!("looking for tag {tag}"), &format!("/v1/tags/{tag}"))
    }

    /// Declares an identity for a tag.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn set_tag(&self, tag: &Label, set: &SetTag) -> Result<TagDetail, ClientError> {
        self.put(&format!("setting tag {tag}"), &format!("/v1/tags/{tag}"), set)
    }

    /// Makes a rule.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn add_rule(&self, rule: &AddRule) -> Result<RuleInfo, ClientError> {
        self.post("adding a rule", "/v1/rules", rule)
    }

    /// All rules.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn rules(&self) -> Result<Vec<RuleInfo>, ClientError> {
        self.get("listing rules", "/v1/rules")
    }

    /// Removes a rule.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn remove_rule(&self, id: u64) -> Result<(), ClientError> {
        self.ask(&format!("removing rule {id}"), "DELETE", &format!("/v1/rules/{id}"), Vec::new()).map(drop)
    }

    /// What would be done, or is done: whoever refused is named in the plan, and then nothing is.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn add_jobs(&self, jobs: &AddJobs) -> Result<Plan, ClientError> {
        let what = "asking for work";
        let body = serde_json::to_vec(jobs).map_err(|error| shape(what, error.into()))?;
        let reply = self.door.send("POST", "/v1/jobs", body);
        let mut reply = reply.map_err(|source| ClientError::Away { what: what.to_owned(), source })?;
        if reply.status != 409 {
            return read_json(what, super::judge(what, Ok(reply))?);
        }
        let mut text = Vec::new();
        let mut body = std::io::Read::take(&mut reply.body, PLAN_MAX);
        std::io::Read::read_to_end(&mut body, &mut text).map_err(|source| shape(what, source))?;
        if let Ok(plan) = serde_json::from_slice(&text) {
            return Ok(plan);
        }
        let (status, length) = (reply.status, Some(text.len() as u64));
        let body = Box::new(std::io::Cursor::new(text));
        read_json(what, super::judge(what, Ok(super::Reply { status, length, body }))?)
    }

    /// All jobs that the server remembers, the newest first.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn jobs(&self) -> Result<Vec<JobInfo>, ClientError> {
        self.get("listing jobs", "/v1/jobs")
    }

    /// One job with its parts.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn job(&self, id: u64) -> Result<JobDetail, ClientError> {
        self.get(&format!("looking for job {id}"), &format!("/v1/jobs/{id}"))
    }

    /// Cancels a job and its parts.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn cancel_job(&self, id: u64) -> Result<JobDetail, ClientError> {
        self.post(&format!("cancelling job {id}"), &format!("/v1/jobs/{id}/cancel"), &serde_json::json!({}))
    }

    /// Tries a job again, or those of its parts that have not succeeded.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn retry_job(&self, id: u64) -> Result<JobDetail, ClientError> {
        self.post(&format!("retrying job {id}"), &format!("/v1/jobs/{id}/retry"), &serde_json::json!({}))
    }

    /// The newest acts before a number, newest first.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn audit(&self, most: u32, before: Option<u64>) -> Result<Vec<AuditEvent>, ClientError> {
        let before = before.map(|before| format!("&before={before}")).unwrap_or_default();
        self.get("listing the audit", &format!("/v1/audit?most={most}{before}"))
    }

    fn put<T: DeserializeOwned>(&self, what: &str, path: &str, body: &impl Serialize) -> Result<T, ClientError> {
        let body = serde_json::to_vec(body).map_err(|error| shape(what, error.into()))?;
        read_json(what, self.ask(what, "PUT", path, body)?)
    }
}

/// The path of a machine: by name, address of a card, or number.
fn path(what: &str, machine: &str, more: &str) -> Result<String, ClientError> {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | ':');
    let name = (1..=64).contains(&machine.len()) && machine.starts_with(|c: char| c.is_ascii_alphanumeric());
    if name && machine.chars().all(fits) {
        return Ok(format!("/v1/machines/{machine}{more}"));
    }
    Err(refused(what, "that is neither a name nor the address of a card"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_is_named_in_a_way_that_is_no_other_path() {
        assert_eq!(path("", "web01.example", "/accept").unwrap(), "/v1/machines/web01.example/accept");
        assert!(path("", "52:54:00:12:34:56", "").is_ok());
        for bad in ["", "..", ".", "a/b", "a?b", "a#b", "a b", "a%2f", &"a".repeat(65)] {
            assert!(path("", bad, "").is_err(), "{bad}");
        }
    }
}
