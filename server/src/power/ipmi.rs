//! IPMI 2.0 over the network, by ipmitool.
//!
//! In: a BMC's address, user, password, cipher suite. Out: states and orders of the chassis (IPMI 2.0, chapter 28).
//! Promise: the password goes by environment; the suite is the one that a probe found, never 0, never another one.

use super::address::Address;
use super::run::{Program, RunError, Tools, run};
use super::{Attempts, NextBoot, Power, PowerError, PowerState, Secret, Trouble, What, judge, tried};
use std::time::Duration;

/// The suites that are tried, best first: HMAC-SHA256 with AES-128, HMAC-SHA1 with AES-128.
pub const SUITES: [u8; 2] = [17, 3];
/// Longest user name (IPMI 2.0, 22.28) and password (22.30), in bytes.
pub const LONGEST: (usize, usize) = (16, 20);
/// RMCP's port.
const PORT: u16 = 623;
/// Longest time for one call. ipmitool gives up a silent BMC after half a minute.
const LIMIT: Duration = Duration::from_secs(60);
/// Seconds until a packet is sent again. With ipmitool's own 1 s, a BMC that answers after 1.4 s never gets a session, or
/// one in which the answers of two requests are mixed: "RAKP 2 HMAC is invalid", as if the password were wrong.
const AGAIN: &str = "2";
/// The program.
const TOOL: &str = "ipmitool";

/// Set System Boot Options, parameter 3, bit 3: do not clear the flags when no power order comes within 60 s.
const KEEP_FLAGS: [&str; 5] = ["raw", "0x00", "0x08", "0x03", "0x08"];
/// Get System Boot Options, parameter 5: the boot flags.
const READ_FLAGS: [&str; 6] = ["raw", "0x00", "0x09", "0x05", "0x00", "0x00"];

/// A BMC.
#[derive(Clone, Debug)]
pub struct Ipmi {
    tools: Tools,
    address: Address,
    user: String,
    secret: Secret,
    suite: u8,
}

impl Ipmi {
    /// Nothing is sent yet.
    #[must_use]
    pub const fn new(tools: Tools, address: Address, user: String, secret: Secret, suite: u8) -> Self {
        Self { tools, address, user, secret, suite }
    }

    /// Arguments of a call.
    fn args<'a>(&'a self, port: &'a str, suite: &'a str, words: &[&'a str]) -> Vec<&'a str> {
        let host = self.address.host();
        // -v: without it a wrong password cannot be told from silence. -E: the password is in the environment.
        let mut args =
            vec!["-v", "-I", "lanplus", "-H", host, "-p", port, "-U", &self.user, "-E", "-C", suite, "-N", AGAIN];
        args.extend(words);
        args
    }

    /// One call; what it printed on standard output.
    fn ask(&self, what: What, words: &[&str]) -> Result<String, PowerError> {
        let failed = |trouble, said: &str| PowerError::new(trouble, what, self.how(), self.secret.redact(said));
        let Some(path) = self.tools.find(TOOL) else {
            return Err(failed(Trouble::MissingTool, "ipmitool is not installed on the server"));
        };
        let (port, suite) = (self.address.port().unwrap_or(PORT).to_string(), self.suite.to_string());
        let args = self.args(&port, &suite, words);
        let env = [("IPMI_PASSWORD", self.secret.expose())];
        let program = Program { tools: &self.tools, path: &path, args: &args, env: &env, stdin: "", limit: LIMIT };
        let ran = run(&program).map_err(|error| {
            let trouble = if matches!(error, RunError::Late { .. }) { Trouble::Timeout } else { Trouble::MissingTool };
            failed(trouble, &crate::text::chain(&error))
        })?;
        if ran.status == Some(0) {
            return Ok(ran.out);
        }
        let (trouble, said) = judge::ipmitool(&format!("{}\n{}", ran.err, ran.out));
        Err(failed(trouble, &said))
    }

    /// An order whose answer proves nothing.
    fn order(&self, what: What, words: &[&str], log: &mut dyn Attempts) -> Result<(), PowerError> {
        tried(log, what, &self.how(), || self.ask(what, words).map(|said| ((), last_line(&said))))
    }

    /// The boot flags, as the BMC has them now.
    ///
    /// # Errors
    /// [`PowerError`].
    pub fn boot_flags(&self, what: What, log: &mut dyn Attempts) -> Result<BootFlags, PowerError> {
        tried(log, what, &self.how(), || {
            let said = self.ask(what, &READ_FLAGS)?;
            let flags = BootFlags::read(&said);
            let flags = flags.ok_or_else(|| PowerError::new(Trouble::Garbled, what, self.how(), last_line(&said)))?;
            Ok((flags, flags.to_string()))
        })
    }
}

impl Power for Ipmi {
    fn how(&self) -> String {
        format!("ipmi suite {}", self.suite)
    }

    fn status(&self, log: &mut dyn Attempts) -> Result<PowerState, PowerError> {
        tried(log, What::Status, &self.how(), || {
            let said = last_line(&self.ask(What::Status, &["chassis", "power", "status"])?);
            match said.strip_prefix("Chassis Power is ") {
                Some("on") => Ok((PowerState::On, said)),
                Some("off") => Ok((PowerState::Off, said)),
                _ => Err(PowerError::new(Trouble::Garbled, What::Status, self.how(), said)),
            }
        })
    }

    fn on(&self, log: &mut dyn Attempts) -> Result<(), PowerError> {
        self.order(What::On, &["chassis", "power", "on"], log)
    }

    fn soft_off(&self, log: &mut dyn Attempts) -> Result<(), PowerError> {
        self.order(What::SoftOff, &["chassis", "power", "soft"], log)
    }

    fn hard_off(&self, log: &mut dyn Attempts) -> Result<(), PowerError> {
        self.order(What::HardOff, &["chassis", "power", "off"], log)
    }

    fn next_boot_network(&self, uefi: bool, log: &mut dyn Attempts) -> Result<NextBoot, PowerError> {
        // Many BMCs do not know parameter 3; then the flag lives for 60 s, and power follows at once anyway.
        if let Err(error) = self.order(What::NextBoot, &KEEP_FLAGS, log)
            && !matches!(error.trouble, Trouble::Unsupported | Trouble::Refused)
        {
            return Err(error);
        }
        let set: &[&str] =
            if uefi { &["chassis", "bootdev", "pxe", "options=efiboot"] } else { &["chassis", "bootdev", "pxe"] };
        match self.order(What::NextBoot, set, log) {
            Ok(()) => {}
            Err(error) if error.trouble == Trouble::Unsupported => return Ok(NextBoot::Unsupported),
            Err(error) => return Err(error),
        }
        match self.boot_flags(What::NextBoot, log) {
            Ok(flags) => Ok(flags.judge(uefi)),
            Err(error) if error.trouble == Trouble::Auth => Err(error),
            Err(error) => Ok(NextBoot::SetUnverified(format!("the boot flags cannot be read back: {}", error.said))),
        }
    }
}

/// The last line that says something.
fn last_line(said: &str) -> String {
    said.lines().map(str::trim).rfind(|line| !line.is_empty()).unwrap_or_default().to_owned()
}

/// Boot option parameter 5 (IPMI 2.0, table 28-14), its first two bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BootFlags([u8; 2]);

impl BootFlags {
    /// From ipmitool's line of bytes: version, parameter, and the parameter's five bytes.
    #[must_use]
    pub fn read(said: &str) -> Option<Self> {
        let line = last_line(said);
        let bytes: Option<Vec<u8>> =
            line.split_whitespace().take(16).map(|byte| u8::from_str_radix(byte, 16).ok()).collect();
        match bytes?.as_slice() {
            // Bit 7 of the parameter's number says that it is marked invalid or locked; the flags tell the rest.
            [_, parameter, one, two, _, _, _] if parameter & 0x7f == 5 => Some(Self([*one, *two])),
            _ => None,
        }
    }

    /// Whether they say: network, once.
    #[must_use]
    pub fn judge(self, uefi: bool) -> NextBoot {
        let [one, two] = self.0;
        let mut odd = Vec::new();
        if (two >> 2) & 0xf != 1 {
            odd.push("another device than the network");
        }
        if one & 0x80 == 0 {
            odd.push("flags that are not valid");
        }
        if one & 0x40 != 0 {
            odd.push("for ever instead of once");
        }
        if (one & 0x20 != 0) != uefi {
            odd.push(if uefi { "BIOS instead of UEFI" } else { "UEFI instead of BIOS" });
        }
        if odd.is_empty() {
            return NextBoot::Set;
        }
        NextBoot::SetUnverified(format!("the BMC reads back {self}: {}", odd.join(", ")))
    }
}

impl std::fmt::Display for BootFlags {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "boot flags {:02x} {:02x}", self.0[0], self.0[1])
    }
}

#[cfg(test)]
mod tests;
