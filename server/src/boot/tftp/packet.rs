//! TFTP's packets (RFC 1350) and options (RFC 2347, 2348, 2349, 7440).
//!
//! In: datagrams of anyone. Out: a request within our bounds, or the error to answer with.
//! Promise: an option that we do not know or cannot keep is left out of the answer, as RFC 2347 wants it.

/// Largest request that is read; RFC 2347 allows 512.
pub(super) const REQUEST_MAX: usize = 512;
/// Bytes per block without an option.
const BLKSIZE: u16 = 512;
/// Largest block: an Ethernet frame without the headers of IPv4, UDP and TFTP, so that nothing is cut up on the way.
const BLKSIZE_MAX: u16 = 1468;
/// Most blocks in flight.
const WINDOW_MAX: u16 = 64;
/// Longest timeout that is kept, in seconds; RFC 2349 allows 255, which would hold a place for too long.
const TIMEOUT_MAX: u8 = 10;

/// Error codes of RFC 1350.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Code {
    Undefined = 0,
    NotFound = 1,
    Access = 2,
    Illegal = 4,
}

/// A request to read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Request {
    pub name: String,
    pub blksize: u16,
    pub window: u16,
    /// Seconds; none without the option.
    pub timeout: Option<u8>,
    /// The asker wants to know the file's size.
    pub tsize: bool,
    /// What is granted, by name, in the asker's order; `tsize` gets its value later.
    granted: Vec<(&'static str, u64)>,
}

/// Reads a datagram that opens a transfer.
///
/// # Errors
/// What to answer; none for what is not worth an answer.
pub(super) fn request(bytes: &[u8]) -> Result<Request, Option<(Code, &'static str)>> {
    match bytes.first_chunk::<2>() {
        Some([0, 1]) => {}
        Some([0, 2]) => return Err(Some((Code::Access, "read-only"))),
        // Acknowledgements and errors belong to transfers that are over.
        _ => return Err(None),
    }
    let illegal = || Some((Code::Illegal, "the request is not one"));
    let text = bytes[2..].strip_suffix(&[0]).ok_or_else(illegal)?;
    let text = std::str::from_utf8(text).map_err(|_| illegal())?;
    let mut words = text.split('\0');
    let (name, mode) = (words.next().unwrap_or_default(), words.next().ok_or_else(illegal)?);
    if !mode.eq_ignore_ascii_case("octet") {
        return Err(Some((Code::Undefined, "only mode octet")));
    }
    let mut request = Request {
        name: name.to_owned(),
        blksize: BLKSIZE,
        window: 1,
        timeout: None,
        tsize: false,
        granted: Vec::new(),
    };
    while let (Some(option), Some(value)) = (words.next(), words.next()) {
        request.grant(&option.to_ascii_lowercase(), value);
    }
    Ok(request)
}

impl Request {
    fn grant(&mut self, option: &str, value: &str) {
        let Ok(value) = value.parse::<u64>() else { return };
        let within = |least: u64, most: u64| (least..=most).contains(&value);
        let granted = match option {
            "blksize" if within(8, 65_464) => {
                self.blksize = u16::try_from(value).unwrap_or(BLKSIZE_MAX).min(BLKSIZE_MAX);
                ("blksize", u64::from(self.blksize))
            }
            "windowsize" if within(1, 65_535) => {
                self.window = u16::try_from(value).unwrap_or(WINDOW_MAX).min(WINDOW_MAX);
                ("windowsize", u64::from(self.window))
            }
            // It is granted as asked or not at all.
            "timeout" if within(1, TIMEOUT_MAX.into()) => {
                self.timeout = u8::try_from(value).ok();
                ("timeout", value)
            }
            "tsize" => {
                self.tsize = true;
                ("tsize", 0)
            }
            _ => return,
        };
        if self.granted.iter().all(|(name, _)| *name != granted.0) {
            self.granted.push(granted);
        }
    }

    /// The answer to the options; none when there were none that we keep.
    pub(super) fn oack(&self, size: u64) -> Option<Vec<u8>> {
        if self.granted.is_empty() {
            return None;
        }
        let mut bytes = vec![0, 6];
        for (name, value) in &self.granted {
            let value = if *name == "tsize" { size } else { *value };
            bytes.extend(format!("{name}\0{value}\0").bytes());
        }
        Some(bytes)
    }
}

/// One block; numbers wrap to 0, as all clients expect that read files over 32 MiB.
pub(super) fn data(number: u16, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(4 + payload.len());
    bytes.extend([0, 3]);
    bytes.extend(number.to_be_bytes());
    bytes.extend(payload);
    bytes
}

pub(super) fn error(code: Code, message: &str) -> Vec<u8> {
    let mut bytes = vec![0, 5, 0, code as u8];
    bytes.extend(message.bytes());
    bytes.push(0);
    bytes
}

/// What the reader of a file says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reply {
    /// All up to this block are there.
    Ack(u16),
    /// It is over.
    Error,
    /// Nothing of this protocol.
    Other,
}

pub(super) fn reply(bytes: &[u8]) -> Reply {
    match bytes {
        [0, 4, high, low] => Reply::Ack(u16::from_be_bytes([*high, *low])),
        [0, 5, ..] => Reply::Error,
        _ => Reply::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_granted_within_our_bounds_and_unknown_ones_left_out() {
        let asked =
            b"\0\x01vmlinuz\0octet\0tsize\x000\0blksize\x0065464\0multicast\0\0WINDOWSIZE\x00999\0timeout\x003\0";
        let request = request(asked).unwrap();
        assert_eq!(
            (request.name.as_str(), request.blksize, request.window, request.timeout),
            ("vmlinuz", 1468, 64, Some(3))
        );
        let oack = request.oack(1234).unwrap();
        assert_eq!(oack, b"\0\x06tsize\x001234\0blksize\x001468\0windowsize\x0064\0timeout\x003\0");
    }

    #[test]
    fn options_out_of_range_are_not_granted() {
        let request =
            request(b"\0\x01a\0OCTET\0blksize\x007\0windowsize\x000\0timeout\x00255\0blksize\0x\0tail\0").unwrap();
        assert_eq!((request.blksize, request.window, request.timeout, request.oack(1)), (512, 1, None, None));
    }

    #[test]
    fn what_is_no_request_to_read_is_refused_or_not_answered() {
        assert_eq!(request(b"\0\x02vmlinuz\0octet\0"), Err(Some((Code::Access, "read-only"))));
        assert_eq!(request(b"\0\x01vmlinuz\0netascii\0"), Err(Some((Code::Undefined, "only mode octet"))));
        for illegal in [&b"\0\x01"[..], b"\0\x01a", b"\0\x01a\0", b"\0\x01\xff\0octet\0", b"\0\x01a\0octet"] {
            assert!(matches!(request(illegal), Err(Some((Code::Illegal, _)))), "{illegal:?}");
        }
        for silent in [&b""[..], b"\0", b"\0\x04\0\x01", b"\0\x05\0\0x\0", b"GET / HTTP"] {
            assert_eq!(request(silent), Err(None), "{silent:?}");
        }
    }
}
