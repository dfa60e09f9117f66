//! What agent, server and operators say to each other over HTTPS.
//!
//! In and out: JSON bodies, and two binary ones for lists of chunk ids. Routes: see FORMAT.md, "Messages".
//! Promise: requests are strict (unknown fields are refused), answers are tolerant (unknown fields are ignored).

use crate::id::{ChunkId, Fingerprint, ImageId, PackName};
use crate::manifest::Source;
use crate::name::{ImageGlob, ImageName, ImageRef};
use serde::{Deserialize, Serialize};

/// Most chunk ids in one question.
pub const IDS_MAX: usize = 4096;
/// Largest JSON body of a request, manifests and receipts apart, in bytes.
pub const BODY_MAX: usize = 1 << 20;

/// Which direction, or who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// May open a run that captures.
    Capture,
    /// May open a run that restores.
    Restore,
    /// An operator: everything else.
    Admin,
    /// May read the numbers at `/metrics`, and nothing else.
    Metrics,
    /// May say once that the clone of one job has booted. Never an operator's to give.
    #[serde(rename = "first-boot")]
    FirstBoot,
}

impl std::str::FromStr for Scope {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "capture" => Ok(Self::Capture),
            "restore" => Ok(Self::Restore),
            "admin" => Ok(Self::Admin),
            "metrics" => Ok(Self::Metrics),
            "first-boot" => Ok(Self::FirstBoot),
            _ => Err(format!("scope {text:?} is none of capture, restore, admin, metrics")),
        }
    }
}

impl std::fmt::Display for Scope {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Capture => "capture",
            Self::Restore => "restore",
            Self::Admin => "admin",
            Self::Metrics => "metrics",
            Self::FirstBoot => "first-boot",
        })
    }
}

/// What a run does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// Disk to store.
    Capture,
    /// Store to disk.
    Restore,
}

/// `POST /v1/runs`, with a token: opens a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OpenRun {
    /// The agent's version; the server accepts this and the previous minor version.
    pub agent: String,
    /// Direction.
    pub action: Action,
    /// Capture: the name. Restore: the name, or one version of it.
    pub image: ImageRef,
    /// Restore: only these partitions (numbers, of all disks); empty for whole disks. The receipt may lack the others.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub partitions: Vec<u32>,
    /// The machine that asks.
    #[serde(default)]
    pub machine: Source,
}

/// Answer to [`OpenRun`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunOpened {
    /// The run's id.
    pub run: String,
    /// Bearer secret for all further requests of this run: 64 hex digits.
    pub session: String,
    /// The server's version.
    pub server: String,
    /// Seconds without a request after which the session lapses.
    pub lapses: u64,
    /// Restore: the version that will be restored, and its state.
    #[serde(default)]
    pub image: Option<ImageInfo>,
}

/// How far a run is. Strict in what is stored, tolerant in what is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RunState {
    /// Under way.
    Running,
    /// Ended, with a published image or an accepted receipt.
    Done,
    /// Restored, not read back.
    Unproven,
    /// Ended with an error.
    Failed,
    /// Not heard of for too long.
    Lost,
    /// From a newer version.
    #[serde(other)]
    Unknown,
}

/// `POST /v1/runs/current`, with a session: a heartbeat, and how far the run is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Heartbeat {
    /// The step under way, by name.
    pub step: String,
    /// Bytes done.
    pub done: u64,
    /// Bytes to do.
    pub total: u64,
}

/// `POST /v1/runs/current/end`, with a session: the run is over without an image or receipt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EndRun {
    /// Why, for people; control characters are stripped.
    pub error: String,
}

/// `GET /v1/runs`: one run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunInfo {
    /// Its id.
    pub run: String,
    /// Direction.
    pub action: Action,
    /// Image, with the version once it is known.
    pub image: ImageRef,
    /// State.
    pub state: RunState,
    /// Peer address and machine.
    pub agent: String,
    /// RFC 3339.
    pub started: String,
    /// RFC 3339.
    pub ended: Option<String>,
    /// Step, error, or nothing.
    pub detail: String,
    /// Bytes done and to do.
    pub done: u64,
    /// Bytes to do.
    pub total: u64,
    /// The countersigned receipt.
    pub receipt: Option<crate::receipt::SignedReceipt>,
}

/// The body of `POST /v1/chunks/missing` and `/v1/chunks/locate`: ids back to back, 32 bytes each.
#[must_use]
pub fn encode_ids(ids: &[ChunkId]) -> Vec<u8> {
    ids.iter().flat_map(|id| id.0).collect()
}

/// Reads [`encode_ids`]; `None` for none, too many, or a broken length.
#[must_use]
pub fn decode_ids(body: &[u8]) -> Option<Vec<ChunkId>> {
    let (ids, rest) = body.as_chunks::<32>();
    let fits = rest.is_empty() && (1..=IDS_MAX).contains(&ids.len());
    fits.then(|| ids.iter().map(|id| ChunkId(*id)).collect())
}

/// The answer of `/v1/chunks/missing`: bit i of byte i/8, lowest first, set when id i is missing.
#[must_use]
pub fn encode_bitmap(bits: &[bool]) -> Vec<u8> {
    let byte = |bits: &[bool]| bits.iter().enumerate().fold(0, |byte, (i, bit)| byte | u8::from(*bit) << i);
    bits.chunks(8).map(byte).collect()
}

/// Reads [`encode_bitmap`] for `count` ids; `None` for a wrong length or bits past the end.
#[must_use]
pub fn decode_bitmap(bytes: &[u8], count: usize) -> Option<Vec<bool>> {
    let bits: Vec<bool> = bytes.iter().flat_map(|byte| (0..8).map(move |i| byte >> i & 1 == 1)).collect();
    let fits = bytes.len() == count.div_ceil(8) && bits[count..].iter().all(|bit| !bit);
    fits.then(|| bits[..count].to_vec())
}

/// The answer of `/v1/chunks/locate`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Located {
    /// The packs that hold them.
    pub packs: Vec<LocatedPack>,
    /// Indexes of ids that the store does not have.
    pub missing: Vec<u32>,
}

/// One pack of an answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LocatedPack {
    /// Its name.
    pub pack: PackName,
    /// Where to read it: absolute, with whatever the reader needs in its query. Never built by the agent.
    pub url: String,
    /// Index of the id in the question, offset, stored length, raw length.
    pub chunks: Vec<(u32, u64, u32, u32)>,
}

/// Answer to a commit that cannot be published yet (409): chunks the store lacks, at most [`IDS_MAX`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StillMissing {
    /// Their ids.
    pub missing: Vec<ChunkId>,
}

/// `POST /v1/images`, with a capture session: body is the manifest as it shall lie. The server signs it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Committed {
    /// The new version.
    pub id: ImageId,
    /// The store's commit number.
    pub number: u64,
}

/// Whether an image can be restored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ImageState {
    /// Every segment and chunk is there, as far as the store knows.
    Complete,
    /// Chunks were found damaged; capturing the healthy source again heals it.
    Damaged,
    /// From a newer version.
    #[serde(other)]
    Unknown,
}

/// One version of an image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageInfo {
    /// Its name.
    pub name: ImageName,
    /// Its version.
    pub id: ImageId,
    /// The store's commit number: the highest of a name is its latest.
    pub number: u64,
    /// When it was captured, by the agent's clock.
    pub created: String,
    /// Whether it can be restored.
    pub state: ImageState,
    /// Disks.
    pub disks: u32,
    /// Data bytes, raw.
    pub data_bytes: u64,
}

/// `GET /v1/images/{ref}/manifest`: bytes and signature, as they lie.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignedManifest {
    /// The manifest's JSON, byte for byte.
    pub manifest: String,
    /// The identity that signed it.
    pub key: crate::sign::PublicKey,
    /// Over the bytes of `manifest`, domain [`crate::sign::Domain::Manifest`].
    pub signature: crate::sign::Signature,
}

/// `POST /v1/damage`, with a restore session: chunks that arrived damaged. The server looks for itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReportDamage {
    /// Their ids, at most [`IDS_MAX`].
    pub chunks: Vec<ChunkId>,
}

/// `POST /v1/tokens`, operators only.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AddToken {
    /// What it may do.
    pub scopes: Vec<Scope>,
    /// To which images.
    pub images: ImageGlob,
    /// Seconds until it expires; none for never.
    pub expires: Option<u64>,
    /// Void after one run.
    pub once: bool,
}

/// Answer to [`AddToken`]: the only time the secret is shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenAdded {
    /// Its id, for `token ls` and `token rm`.
    pub id: String,
    /// The secret.
    pub token: String,
}

/// `GET /v1/tokens`: one token, without its secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenInfo {
    /// Its id.
    pub id: String,
    /// What it may do.
    pub scopes: Vec<Scope>,
    /// To which images.
    pub images: ImageGlob,
    /// RFC 3339; none for never.
    pub expires: Option<String>,
    /// Void after one run.
    pub once: bool,
    /// Runs it opened.
    pub used: u64,
}

/// `GET /v1/version`, for anyone: who is there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerVersion {
    /// The server's version.
    pub server: String,
    /// The image format it stores.
    pub format: u32,
    /// Its identity.
    pub key: Fingerprint,
    /// Its time of day, in seconds since 1970: agents set their clocks by it.
    #[serde(default)]
    pub time: u64,
}

/// What the asker can do about an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ErrorKind {
    /// Ask again later.
    Retry,
    /// An operator must decide.
    Refused,
    /// Data is damaged or missing.
    Damaged,
    /// A mistake in Ramet.
    Bug,
    /// From a newer version.
    #[serde(other)]
    Unknown,
}

/// The body of every answer that is not 2xx, [`StillMissing`] apart.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApiError {
    /// What to do about it.
    pub kind: ErrorKind,
    /// What happened: object, cause, both numbers.
    pub message: String,
}

/// The oldest minor version of an agent that a server of `server` accepts is the one before; same major.
///
/// # Errors
/// Both versions, as a sentence for the operator.
pub fn check_agent_version(agent: &str, server: &str) -> Result<(), String> {
    let parse = |text: &str| -> Option<(u32, u32)> {
        let mut parts = text.split('.').map(|part| part.parse().ok());
        Some((parts.next()??, parts.next()??))
    };
    let fits = match (parse(agent), parse(server)) {
        (Some((major, minor)), Some((own_major, own_minor))) => {
            major == own_major && (minor == own_minor || Some(minor) == own_minor.checked_sub(1))
        }
        _ => false,
    };
    if fits {
        return Ok(());
    }
    let agent: String = agent.chars().filter(|c| c.is_ascii_graphic()).take(32).collect();
    Err(format!("agent is version {agent}, this server is {server} and accepts its own and the previous minor version"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_and_bitmaps_come_back_and_wrong_lengths_do_not() {
        let ids: Vec<ChunkId> = (0..11_u8).map(|i| ChunkId([i; 32])).collect();
        assert_eq!(decode_ids(&encode_ids(&ids)), Some(ids));
        assert_eq!(decode_ids(&[]), None);
        assert_eq!(decode_ids(&[0; 33]), None);
        assert_eq!(decode_ids(&vec![0; 32 * (IDS_MAX + 1)]), None);
        let bits = [true, false, false, true, false, false, false, false, true];
        assert_eq!(encode_bitmap(&bits), [0b1001, 1]);
        assert_eq!(decode_bitmap(&[0b1001, 1], 9).as_deref(), Some(&bits[..]));
        assert_eq!(decode_bitmap(&[0b1001, 3], 9), None);
        assert_eq!(decode_bitmap(&[0b1001], 9), None);
    }

    #[test]
    fn accepts_agents_of_this_and_the_previous_minor_version() {
        for (agent, fits) in
            [("1.4.9", true), ("1.3.0", true), ("1.5.0", false), ("1.2.0", false), ("2.4.0", false), ("x", false)]
        {
            assert_eq!(check_agent_version(agent, "1.4.0").is_ok(), fits, "{agent}");
        }
        assert!(check_agent_version("1.9.0", "1.4.0").unwrap_err().contains("1.9.0"));
    }

    #[test]
    fn a_state_from_a_newer_version_is_shown_as_unknown() {
        assert_eq!(serde_json::from_str::<RunState>("\"levitating\"").unwrap(), RunState::Unknown);
    }
}
