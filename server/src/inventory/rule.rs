//! Which machines a rule means.
//!
//! In: `vendor=Dell* memory>=16G tag=web`, `10.0.0.0/24`. Out: whether a machine is one of those.
//! Promise: a rule that cannot be read is refused when it is made; what is not known of a machine does not fit.

use crate::db::machines::Report;
use ramet_wire::machines::Label;
use std::net::IpAddr;

/// Longest match, in bytes.
const MATCH_MAX: usize = 1000;
/// What may stand before the sign.
const KEYS: &str = "vendor, product, serial, uuid, mac, firmware, tag, memory, disks, disk, cpus";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sign {
    Is,
    AtLeast,
    AtMost,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Word {
    key: &'static str,
    sign: Sign,
    text: String,
    number: u64,
}

/// A match that was read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Match(Vec<Word>);

/// What is matched.
#[derive(Debug)]
pub struct Subject<'a> {
    /// What its agent said.
    pub report: &'a Report,
    /// Its tags.
    pub tags: &'a [Label],
}

impl Match {
    /// Reads a match.
    ///
    /// # Errors
    /// What is wanted.
    pub fn read(text: &str) -> Result<Self, String> {
        if text.len() > MATCH_MAX {
            return Err(format!("match has {} bytes, {MATCH_MAX} are allowed", text.len()));
        }
        text.split_whitespace().map(word).collect::<Result<_, _>>().map(Self)
    }

    /// Every word fits.
    #[must_use]
    pub fn fits(&self, subject: &Subject<'_>) -> bool {
        self.0.iter().all(|word| fits(word, subject))
    }
}

fn word(text: &str) -> Result<Word, String> {
    let wrong = || format!("match {text:?}: wanted KEY=VALUE, KEY>=NUMBER or KEY<=NUMBER, with KEY one of {KEYS}");
    let (key, sign, value) = if let Some((key, value)) = text.split_once(">=") {
        (key, Sign::AtLeast, value)
    } else if let Some((key, value)) = text.split_once("<=") {
        (key, Sign::AtMost, value)
    } else {
        let (key, value) = text.split_once('=').ok_or_else(wrong)?;
        (key, Sign::Is, value)
    };
    let key = KEYS.split(", ").find(|known| *known == key).ok_or_else(wrong)?;
    let counts = matches!(key, "memory" | "disks" | "disk" | "cpus");
    if value.is_empty() || (sign != Sign::Is && !counts) {
        return Err(wrong());
    }
    let number = if counts { number(value).ok_or_else(wrong)? } else { 0 };
    Ok(Word { key, sign, text: value.to_ascii_lowercase(), number })
}

/// `16`, `16K`, `16M`, `16G`, `16T`: powers of 1024.
fn number(text: &str) -> Option<u64> {
    let (digits, shift) = match text.as_bytes().last()? {
        b'K' | b'k' => (&text[..text.len() - 1], 10),
        b'M' | b'm' => (&text[..text.len() - 1], 20),
        b'G' | b'g' => (&text[..text.len() - 1], 30),
        b'T' | b't' => (&text[..text.len() - 1], 40),
        _ => (text, 0),
    };
    let number = digits.parse::<u64>().ok()?;
    number.checked_mul(1 << shift)
}

/// `*` stands for any run of characters; neither case nor what is not there counts.
fn like(pattern: &str, text: Option<&str>) -> bool {
    let Some(text) = text.map(str::to_ascii_lowercase) else { return false };
    let mut parts = pattern.split('*');
    let Some(mut rest) = text.strip_prefix(parts.next().unwrap_or_default()) else { return false };
    let mut parts = parts.peekable();
    if parts.peek().is_none() {
        return rest.is_empty();
    }
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return rest.ends_with(part);
        }
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    true
}

fn fits(word: &Word, subject: &Subject<'_>) -> bool {
    let (report, text) = (subject.report, word.text.as_str());
    let source = &report.source;
    let holds = |found: u64| match word.sign {
        Sign::Is => found == word.number,
        Sign::AtLeast => found >= word.number,
        Sign::AtMost => found <= word.number,
    };
    let mut usable = super::candidates(&report.disks);
    match word.key {
        "vendor" => like(text, source.vendor.as_deref()),
        "product" => like(text, source.product.as_deref()),
        "serial" => like(text, source.serial.as_deref()),
        "uuid" => like(text, report.uuid.as_deref()),
        "firmware" => like(text, source.firmware.as_deref()),
        "mac" => report.macs.iter().any(|mac| like(text, Some(&mac.to_string()))),
        "tag" => subject.tags.iter().any(|tag| like(text, Some(tag.as_str()))),
        "disks" => holds(usable.count() as u64),
        "disk" => usable.any(|disk| holds(disk.size)),
        "memory" => report.hardware.as_ref().is_some_and(|hardware| hardware.memory > 0 && holds(hardware.memory)),
        "cpus" => report.hardware.as_ref().is_some_and(|hardware| holds(u64::from(hardware.cpu.threads))),
        _ => false,
    }
}

/// A network: `10.0.0.0/24`, `fd00::/64`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subnet(IpAddr, u32);

impl Subnet {
    /// Reads one.
    ///
    /// # Errors
    /// What is wanted.
    pub fn read(text: &str) -> Result<Self, String> {
        let wrong = || format!("subnet {text:?}: wanted ADDRESS/LENGTH, as 10.0.0.0/24");
        let (address, length) = text.split_once('/').ok_or_else(wrong)?;
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let length = length.parse().ok().filter(|length| *length <= most).ok_or_else(wrong)?;
        Ok(Self(address, length))
    }

    /// The address is in it.
    #[must_use]
    pub fn holds(&self, address: IpAddr) -> bool {
        let bits = |address: IpAddr| match address {
            IpAddr::V4(address) => (32, u128::from(u32::from(address))),
            IpAddr::V6(address) => (128, u128::from(address)),
        };
        let ((width, own), (other_width, other)) = (bits(self.0), bits(address.to_canonical()));
        width == other_width && (own ^ other).checked_shr(width - self.1).unwrap_or(0) == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ramet_wire::agents::DiskSeen;
    use ramet_wire::hardware::Hardware;
    use ramet_wire::manifest::Source;
    use ramet_wire::settings::Mac;

    fn machine() -> Report {
        let vendor = Some("Dell Inc.".to_owned());
        Report {
            macs: vec![Mac([0x52, 0x54, 0, 0, 0, 1])],
            source: Source { vendor, ..Source::default() },
            disks: vec![DiskSeen { size: 500 << 30, ..DiskSeen::default() }],
            hardware: Some(Hardware { memory: 16 << 30, ..Hardware::default() }),
            ..Report::default()
        }
    }

    #[test]
    fn every_word_must_fit_and_what_is_not_known_does_not() {
        let (report, tags) = (machine(), ["web".parse().unwrap()]);
        let subject = Subject { report: &report, tags: &tags };
        for good in
            ["", "vendor=dell*", "memory>=16G disks=1", "disk>=400G disk<=1T mac=52:54:00:*", "tag=web vendor=*inc."]
        {
            assert!(Match::read(good).unwrap().fits(&subject), "{good}");
        }
        for bad in
            ["vendor=dell", "memory>=17G", "vendor=dell* memory<=1G", "product=*", "cpus>=1", "tag=db", "disks=2"]
        {
            assert!(!Match::read(bad).unwrap().fits(&subject), "{bad}");
        }
    }

    #[test]
    fn a_match_that_cannot_be_read_is_refused() {
        for bad in ["vendor", "vendor=", "vendor>=1", "colour=red", "memory>=lots", "memory>=99999999999999T", "=1"] {
            assert!(Match::read(bad).is_err(), "{bad}");
        }
        assert!(Match::read(&"mac=* ".repeat(1000)).is_err());
    }

    #[test]
    fn a_subnet_holds_its_own_addresses_alone() {
        let holds = |net: &str, address: &str| Subnet::read(net).unwrap().holds(address.parse().unwrap());
        assert!(holds("10.0.0.0/24", "10.0.0.255") && holds("0.0.0.0/0", "1.2.3.4") && holds("fd00::/64", "fd00::1"));
        assert!(holds("10.0.0.7/32", "10.0.0.7") && holds("10.0.0.0/8", "::ffff:10.1.2.3"));
        assert!(
            !holds("10.0.0.0/24", "10.0.1.0") && !holds("fd00::/64", "fd00:0:0:1::1") && !holds("::/0", "10.0.0.1")
        );
        for bad in ["10.0.0.0", "10.0.0.0/33", "x/8", "10.0.0.0/-1"] {
            assert!(Subnet::read(bad).is_err(), "{bad}");
        }
    }
}
