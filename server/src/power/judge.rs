//! What ipmitool means.
//!
//! In: all that `ipmitool -v` said before it failed. Out: the kind of trouble, and the line that tells it.
//! Promise: "not supported" is only what the BMC itself answered, never silence: silence must not weaken a session.

use ramet_wire::power::Trouble;

/// Words of ipmitool 1.8.18 and 1.8.19 (lib/ipmi_lanplus.c, `ipmi_rakp_return_codes` and `completion_code_vals`), the
/// most telling first. Without `-v` a wrong password and a dead BMC say the same.
const WORDS: &[(&str, Trouble)] = &[
    ("rakp 2 hmac is invalid", Trouble::Auth),
    ("rakp 4 message has invalid integrity check value", Trouble::Auth),
    ("unauthorized name", Trouble::Auth),
    ("unauthorized guid", Trouble::Auth),
    ("invalid name length", Trouble::Auth),
    ("unauthorized role or privilege level", Trouble::Auth),
    ("invalid role", Trouble::Auth),
    ("invalid integrity check value", Trouble::Auth),
    ("insufficient privilege level", Trouble::Auth),
    ("set session privilege level to administrator failed: ", Trouble::Auth),
    ("password is longer than", Trouble::Auth),
    // Algorithms are agreed on in the open session response (IPMI 2.0, 13.17). Any other complaint in a RAKP message is
    // about a session whose messages were repeated or mixed up, whatever its words: ipmi_sim calls a second RAKP 3 "no
    // matching integrity payload". It must not weaken the suite.
    ("rakp 2 message indicates an error", Trouble::Timeout),
    ("rakp 4 message indicates an error", Trouble::Timeout),
    ("invalid authentication algorithm", Trouble::Unsupported),
    ("invalid integrity algorithm", Trouble::Unsupported),
    ("invalid confidentiality algorithm", Trouble::Unsupported),
    ("no cipher suite match", Trouble::Unsupported),
    ("no matching authentication payload", Trouble::Unsupported),
    ("no matching integrity payload", Trouble::Unsupported),
    ("no matching cipher suite", Trouble::Unsupported),
    ("ipmi v2.0 not supported", Trouble::Unsupported),
    ("insufficient resources", Trouble::Busy),
    ("node busy", Trouble::Busy),
    ("bmc initialization in progress", Trouble::Busy),
    ("out of space", Trouble::Busy),
    ("sdr/sel/fru update in progress", Trouble::Busy),
    ("command not supported in present state", Trouble::Refused),
    ("parameter not supported", Trouble::Unsupported),
    ("invalid command", Trouble::Unsupported),
    ("invalid data field", Trouble::Unsupported),
    ("parameter out of range", Trouble::Unsupported),
    ("address lookup for", Trouble::Unreachable),
    ("could not open socket", Trouble::Unreachable),
    ("no route to host", Trouble::Unreachable),
    ("network is unreachable", Trouble::Unreachable),
    ("connection refused", Trouble::Unreachable),
    ("get auth capabilities error", Trouble::Unreachable),
    ("no response from rakp", Trouble::Timeout),
    ("no response from", Trouble::Timeout),
    ("timeout", Trouble::Timeout),
    ("unable to establish", Trouble::Unreachable),
    ("no data available", Trouble::Timeout),
    // A command in an open session: with a reason the BMC gave it, without one its answer was lost on the way.
    ("failed: ", Trouble::Refused),
    ("failed", Trouble::Timeout),
    ("unable to ", Trouble::Timeout),
];

/// What the failure was, by the most telling line.
#[must_use]
pub fn ipmitool(said: &str) -> (Trouble, String) {
    let lines = || said.lines().map(str::trim).filter(|line| !line.is_empty());
    let own = |line: &&str| !line.to_ascii_lowercase().starts_with("invalid completion code received");
    for (words, trouble) in WORDS {
        if let Some(line) = lines().filter(own).find(|line| line.to_ascii_lowercase().contains(words)) {
            return (*trouble, line.trim_start_matches("> ").to_owned());
        }
    }
    let last = lines().rfind(own).unwrap_or("it said nothing");
    (Trouble::Garbled, last.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_way_to_fail_is_told_apart() {
        let session = "Error: Unable to establish IPMI v2 / RMCP+ session";
        let noise = "Loading IANA PEN Registry...\nInvalid completion code received: Invalid command";
        for (said, trouble, line) in [
            ("> RAKP 2 HMAC is invalid", Trouble::Auth, "RAKP 2 HMAC is invalid"),
            (
                "RAKP 2 message indicates an error : unauthorized name",
                Trouble::Auth,
                "RAKP 2 message indicates an error : unauthorized name",
            ),
            (
                "Error in open session response message : invalid authentication algorithm",
                Trouble::Unsupported,
                "Error in open session response message : invalid authentication algorithm",
            ),
            (
                "RAKP 4 message indicates an error : no matching integrity payload",
                Trouble::Timeout,
                "RAKP 4 message indicates an error : no matching integrity payload",
            ),
            (
                "RAKP 4 message indicates an error : invalid integrity check value",
                Trouble::Auth,
                "RAKP 4 message indicates an error : invalid integrity check value",
            ),
            ("Get Auth Capabilities error", Trouble::Unreachable, "Get Auth Capabilities error"),
            ("> Error: no response from RAKP 1 message", Trouble::Timeout, "Error: no response from RAKP 1 message"),
            ("", Trouble::Unreachable, session),
        ] {
            let (found, told) = ipmitool(&format!("{noise}\n{said}\n{session}\n"));
            assert_eq!((found, told.as_str()), (trouble, line));
        }
    }

    #[test]
    fn a_command_that_the_bmc_does_not_know_is_not_a_session_that_failed() {
        let raw =
            "Unable to send RAW command (channel=0x0 netfn=0x0 lun=0x0 cmd=0x8 rsp=0x80): Parameter not supported";
        assert_eq!(ipmitool(raw).0, Trouble::Unsupported);
        let state = "Set Chassis Power Control to Up/On failed: Command not supported in present state";
        assert_eq!(ipmitool(state).0, Trouble::Refused);
        assert_eq!(ipmitool("Set Chassis Power Control to Up/On failed: Unknown (0xff)").0, Trouble::Refused);
        // Without a reason nobody has answered: a lost packet is no wrong password.
        assert_eq!(ipmitool("Set Session Privilege Level to ADMINISTRATOR failed").0, Trouble::Timeout);
        let level = "Set Session Privilege Level to ADMINISTRATOR failed: Unknown (0x81)";
        assert_eq!(ipmitool(level).0, Trouble::Auth);
        assert_eq!(ipmitool("Unable to set Chassis Power Control to Up/On").0, Trouble::Timeout);
        assert_eq!(ipmitool("").0, Trouble::Garbled);
        assert_eq!(ipmitool("Invalid completion code received: Invalid command").0, Trouble::Garbled);
    }
}
