//! Times as people and the database write them.
//!
//! In: seconds since 1970 by the server's clock. Out: RFC 3339 in UTC.
//! Promise: no reading of a clock here.

use jiff::Timestamp;

/// `2026-11-22T10:00:00Z`.
#[must_use]
pub fn rfc3339(seconds: i64) -> String {
    Timestamp::from_second(seconds).unwrap_or(Timestamp::UNIX_EPOCH).to_string()
}

/// The seconds of a time in RFC 3339.
#[must_use]
pub fn unix(text: &str) -> Option<i64> {
    text.parse().ok().map(Timestamp::as_second)
}

/// The seconds of `90s`, `30m`, `12h`, `7d` or `4w`; at least 1 second, at most 100 years.
#[must_use]
pub fn duration(text: &str) -> Option<u64> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let unit: u64 = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86_400,
        "w" => 604_800,
        _ => return None,
    };
    let seconds = digits.parse::<u64>().ok()?.checked_mul(unit)?;
    (1..=EXPIRES_MAX).contains(&seconds).then_some(seconds)
}

/// Longest life of a token that expires, in seconds: a century.
pub const EXPIRES_MAX: u64 = 100 * 365 * 86_400;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_a_unit_and_bounds() {
        assert_eq!(duration("7d"), Some(604_800));
        assert_eq!(duration("90s"), Some(90));
        for bad in ["", "7", "d", "0d", "-1d", "7y", "99999999999999999999d", "9999999w", "7é", "+7d "] {
            assert_eq!(duration(bad), None, "{bad}");
        }
    }

    #[test]
    fn times_are_utc() {
        assert_eq!(rfc3339(0), "1970-01-01T00:00:00Z");
        assert_eq!(unix("2027-01-15T08:00:00Z").map(rfc3339).as_deref(), Some("2027-01-15T08:00:00Z"));
        assert_eq!(unix("yesterday"), None);
    }
}
