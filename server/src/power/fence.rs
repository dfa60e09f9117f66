//! Whatever a `fence_*` agent reaches: WTI, APC, DRAC, iLO, PDUs, hypervisors.
//!
//! In: an agent that is installed on the server, an address, user, password, plug. Out: states and orders, by the fence
//! agents' standard input (FenceAgentAPI.md: `name=value` lines; exit status 0 on or done, 2 off).
//! Promise: no option of an operator runs a program or opens a file; an agent that shows passwords in an argv is refused.

use super::address::Address;
use super::run::{Program, RunError, Tools, run};
use super::{Attempts, NextBoot, Power, PowerError, PowerState, Secret, Trouble, What, tried};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

/// Longest time for one call: agents log in by telnet or SSH and wait for prompts.
const LIMIT: Duration = Duration::from_secs(60);

/// Agents that hand the password to a helper's arguments, and what to use instead.
const TELLTALES: &[&str] = &[
    "fence_ipmilan",
    "fence_ipmilanplus",
    "fence_idrac",
    "fence_ilo3",
    "fence_ilo4",
    "fence_ilo5",
    "fence_imm",
    "fence_amt",
    "fence_vmware",
];

/// Options that only say how to talk. Not among them: paths, scripts and files, which the agent would run or read as
/// the server's user; `debug` and `verbose`, which write down what is said.
const OPTIONS: &[&str] = &[
    "cmd_prompt",
    "command_prompt",
    "delay",
    "disable_timeout",
    "inet4_only",
    "inet6_only",
    "ipport",
    "login_timeout",
    "method",
    "missing_as_off",
    "notls",
    "plug_separator",
    "port_as_ip",
    "power_timeout",
    "power_wait",
    "redfish_uri",
    "retry_on",
    "secure",
    "separator",
    "shell_timeout",
    "snmp_auth_prot",
    "snmp_priv_prot",
    "snmp_sec_level",
    "snmp_version",
    "ssh",
    "ssl",
    "ssl_insecure",
    "ssl_secure",
    "switch",
    "systems_uri",
    "tls1.0",
    "uuid",
];

/// A fence agent, and what it is told.
#[derive(Clone, Debug)]
pub struct Fence {
    tools: Tools,
    agent: String,
    address: Address,
    user: String,
    secret: Secret,
    plug: String,
    options: BTreeMap<String, String>,
}

/// Whether `agent` may be used with `options`.
///
/// # Errors
/// What is wrong, for the operator.
pub fn check(agent: &str, options: &BTreeMap<String, String>) -> Result<(), String> {
    let word = |text: &str| text.bytes().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'_');
    if agent.len() > 64 || !agent.strip_prefix("fence_").is_some_and(|rest| !rest.is_empty() && word(rest)) {
        return Err(format!("{agent:?} is no name of a fence agent, like fence_wti"));
    }
    if TELLTALES.contains(&agent) {
        let instead = if agent == "fence_amt" || agent == "fence_vmware" { "another agent" } else { "kind ipmi" };
        return Err(format!("{agent} shows the password in the arguments of a program; use {instead}"));
    }
    match options.iter().find(|(name, value)| !OPTIONS.contains(&name.as_str()) || !plain(value)) {
        None => Ok(()),
        Some((name, _)) if OPTIONS.contains(&name.as_str()) => Err(format!("option {name} has a control character")),
        Some((name, _)) => Err(format!("option {name:?} is none of {}", OPTIONS.join(", "))),
    }
}

/// It fits into one line.
#[must_use]
pub fn plain(text: &str) -> bool {
    !text.chars().any(char::is_control)
}

impl Fence {
    /// What [`check`] has let pass.
    #[must_use]
    pub const fn new(
        tools: Tools,
        agent: String,
        address: Address,
        user: String,
        secret: Secret,
        plug: String,
        options: BTreeMap<String, String>,
    ) -> Self {
        Self { tools, agent, address, user, secret, plug, options }
    }

    /// What the agent reads. SNMP's secret is its community, unless there is a user (version 3).
    fn lines(&self, action: &str) -> String {
        let mut lines = format!("action={action}\nip={}\n", self.address.host());
        let snmp = self.agent.ends_with("_snmp") && self.user.is_empty();
        let secret = if snmp { "community" } else { "password" };
        let port = self.address.port().map(|port| port.to_string()).unwrap_or_default();
        let own = [("ipport", port.as_str()), ("username", &self.user), (secret, self.secret.expose())];
        let plug = [("plug", self.plug.as_str())];
        for (name, value) in own.into_iter().chain(plug).filter(|(_, value)| !value.is_empty()) {
            let _ = writeln!(lines, "{name}={value}");
        }
        for (name, value) in &self.options {
            let _ = writeln!(lines, "{name}={value}");
        }
        lines
    }

    /// One call: its exit status 0 or 2, and its last line.
    fn ask(&self, what: What, action: &str) -> Result<(i32, String), PowerError> {
        let failed = |trouble, said: &str| PowerError::new(trouble, what, self.how(), self.secret.redact(said));
        let Some(path) = self.tools.find(&self.agent) else {
            return Err(failed(Trouble::MissingTool, &format!("{} is not installed on the server", self.agent)));
        };
        // Warnings of Python about its own future are not the agent's answer.
        let env = [("PYTHONWARNINGS", "ignore"), ("PYTHONDONTWRITEBYTECODE", "1")];
        let stdin = self.lines(action);
        let program = Program { tools: &self.tools, path: &path, args: &[], env: &env, stdin: &stdin, limit: LIMIT };
        let ran = run(&program).map_err(|error| {
            let trouble = if matches!(error, RunError::Late { .. }) { Trouble::Timeout } else { Trouble::MissingTool };
            failed(trouble, &crate::text::chain(&error))
        })?;
        let text = format!("{}\n{}", ran.out, ran.err);
        match ran.status {
            Some(status @ (0 | 2)) => Ok((status, self.secret.redact(&told(&text)))),
            _ => {
                let said = told(&text);
                Err(failed(judge(&text), &said))
            }
        }
    }

    fn order(&self, what: What, action: &str, log: &mut dyn Attempts) -> Result<(), PowerError> {
        tried(log, what, &self.agent, || match self.ask(what, action)? {
            (0, said) => Ok(((), said)),
            (_, said) => Err(PowerError::new(Trouble::Refused, what, self.how(), said)),
        })
    }
}

/// The line that says what happened: the first error, else the last line.
fn told(text: &str) -> String {
    let lines = || text.lines().map(str::trim).filter(|line| !line.is_empty());
    let error = lines().find(|line| line.contains("ERROR") || line.contains("Failed"));
    error.or_else(|| lines().next_back()).unwrap_or("it said nothing").to_owned()
}

/// Words of fencing.py (fence-agents 4.12, `_error_str`). It does not tell a wrong password from a closed port: both
/// are taken as a login that failed, because tries may lock the account.
fn judge(text: &str) -> Trouble {
    let text = text.to_ascii_lowercase();
    let has = |words: &[&str]| words.iter().any(|words| text.contains(words));
    if has(&["timed out", "timeout", "connection lost", "connection timed"]) {
        Trouble::Timeout
    } else if has(&["couldn't connect", "connection refused", "no route to host", "could not resolve", "unknown host"])
    {
        Trouble::Unreachable
    } else if has(&["login", "password", "unauthorized", "401", "authentication"]) {
        Trouble::Auth
    } else if has(&["not supported", "unrecognised action", "unrecognized action"]) {
        Trouble::Unsupported
    } else {
        Trouble::Refused
    }
}

impl Power for Fence {
    fn how(&self) -> String {
        self.agent.clone()
    }

    fn status(&self, log: &mut dyn Attempts) -> Result<PowerState, PowerError> {
        tried(log, What::Status, &self.agent, || {
            let (status, said) = self.ask(What::Status, "status")?;
            Ok((if status == 0 { PowerState::On } else { PowerState::Off }, said))
        })
    }

    fn on(&self, log: &mut dyn Attempts) -> Result<(), PowerError> {
        self.order(What::On, "on", log)
    }

    fn soft_off(&self, log: &mut dyn Attempts) -> Result<(), PowerError> {
        tried(log, What::SoftOff, &self.agent, || {
            let words = "fence agents take the power away; there is no soft off";
            Err(PowerError::new(Trouble::Unsupported, What::SoftOff, self.how(), words))
        })
    }

    fn hard_off(&self, log: &mut dyn Attempts) -> Result<(), PowerError> {
        self.order(What::HardOff, "off", log)
    }

    fn next_boot_network(&self, _uefi: bool, _log: &mut dyn Attempts) -> Result<NextBoot, PowerError> {
        Ok(NextBoot::Unsupported)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;
    use std::path::Path;

    fn double(folder: &Path, agent: &str, body: &str, options: &[(&str, &str)]) -> Fence {
        let script = format!("#!/bin/sh\necho \"args:$*\" >{0}/in\ncat >>{0}/in\n{body}\n", folder.display());
        std::fs::write(folder.join(agent), script).unwrap();
        std::fs::set_permissions(folder.join(agent), std::fs::Permissions::from_mode(0o755)).unwrap();
        let tools = Tools::only(vec![folder.to_owned(), "/usr/bin".into(), "/bin".into()]);
        let options = options.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let address = "10.9.8.7:2323".parse().unwrap();
        let secret = Secret::new("hush".into());
        Fence::new(tools, agent.to_owned(), address, "admin".into(), secret, "7".into(), options)
    }

    #[test]
    fn an_agent_reads_everything_from_its_standard_input_and_has_no_arguments() {
        let folder = tempfile::tempdir().unwrap();
        let pdu = double(folder.path(), "fence_wti", "exit 2", &[("ssh", "1")]);
        assert_eq!(pdu.status(&mut Vec::new()).unwrap(), PowerState::Off);
        let read = std::fs::read_to_string(folder.path().join("in")).unwrap();
        let want = "args:\naction=status\nip=10.9.8.7\nipport=2323\nusername=admin\npassword=hush\nplug=7\nssh=1\n";
        assert_eq!(read, want);
        pdu.hard_off(&mut Vec::new()).unwrap_err();
        assert!(std::fs::read_to_string(folder.path().join("in")).unwrap().contains("action=off\n"));
    }

    #[test]
    fn snmp_gets_its_secret_as_the_community() {
        let folder = tempfile::tempdir().unwrap();
        let mut pdu = double(folder.path(), "fence_apc_snmp", "exit 0", &[]);
        pdu.user = String::new();
        pdu.on(&mut Vec::new()).unwrap();
        let read = std::fs::read_to_string(folder.path().join("in")).unwrap();
        assert!(read.contains("community=hush\n") && !read.contains("password"), "{read}");
    }

    #[test]
    fn a_failure_is_told_apart_by_what_the_agent_says_and_without_the_password() {
        let folder = tempfile::tempdir().unwrap();
        for (said, trouble) in [
            ("2026 ERROR: Unable to connect/login to fencing device", Trouble::Auth),
            ("2026 ERROR: Connection timed out", Trouble::Timeout),
            ("2026 ERROR: Failed: hush is no plug", Trouble::Refused),
            ("", Trouble::Refused),
        ] {
            let pdu = double(folder.path(), "fence_wti", &format!("echo '{said}' >&2; exit 1"), &[]);
            let error = pdu.on(&mut Vec::new()).unwrap_err();
            assert_eq!(error.trouble, trouble, "{said}: {error}");
            assert!(!error.to_string().contains("hush"), "{error}");
        }
        let pdu = double(folder.path(), "fence_wti", "exit 0", &[]);
        let mut gone = pdu.clone();
        gone.agent = "fence_gone".into();
        let error = gone.status(&mut Vec::new()).unwrap_err();
        assert_eq!(
            (error.trouble, error.said.as_str()),
            (Trouble::MissingTool, "fence_gone is not installed on the server")
        );
        assert_eq!(pdu.soft_off(&mut Vec::new()).unwrap_err().trouble, Trouble::Unsupported);
    }

    #[test]
    fn agents_and_options_that_leak_or_run_programs_are_refused() {
        let one = |name: &str, value: &str| BTreeMap::from([(name.to_owned(), value.to_owned())]);
        assert_eq!(check("fence_wti", &one("ssh", "1")), Ok(()));
        for (agent, options) in [
            ("wti", BTreeMap::new()),
            ("fence_", BTreeMap::new()),
            ("fence_../../bin/sh", BTreeMap::new()),
            ("fence_ipmilan", BTreeMap::new()),
            ("fence_idrac", BTreeMap::new()),
            ("fence_wti", one("passwd_script", "/bin/sh")),
            ("fence_wti", one("ssh_path", "/bin/sh")),
            ("fence_wti", one("ssh_options", "-oProxyCommand=x")),
            ("fence_wti", one("identity_file", "/etc/shadow")),
            ("fence_wti", one("debug_file", "/tmp/x")),
            ("fence_wti", one("action", "on")),
            ("fence_wti", one("separator", "a\npassword_script=/bin/sh")),
        ] {
            assert!(check(agent, &options).is_err(), "{agent} {options:?}");
        }
    }
}
