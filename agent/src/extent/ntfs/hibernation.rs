//! Whether a hibernated Windows still uses the volume.
//!
//! In: an opened volume. Out: why it is in use, if it is: what the header of \hiberfil.sys says.
//! Promise: not in use only if there is no such file, its header is zero, or it says that Windows woke up from it.
//!
//! The first four bytes: `hibr`, `HIBR` hibernated or shut down by fast startup; `rstr`, `RSTR` an attempt to wake up;
//! `link`, `LINK` the image lies elsewhere; `wake`, `WAKE` used up. A file below 4 KiB stands on volumes beside that of
//! a hibernated Windows.
//!
//! Source: ntfs-3g, `ntfs_volume_check_hiberfile` in `volume.c`; libhibr, "Windows Hibernation File (hiberfil.sys) format".

use super::super::ExtentError;
use super::super::error::believe;
use super::attribute::{DATA, Reference, UNNAMED};
use super::directory;
use super::volume::{ROOT, Volume};

const NAME: &str = "hiberfil.sys";
const HEADER_LEN: u64 = 4096;

/// Why a hibernated Windows uses the volume, if one does.
pub(super) fn in_use(volume: &Volume<'_>) -> Result<Option<String>, ExtentError> {
    for file in directory::look_up(volume, &volume.record(ROOT)?, NAME)? {
        let reason = image(volume, file)?;
        if reason.is_some() {
            return Ok(reason);
        }
    }
    Ok(None)
}

/// What the header of one file says.
fn image(volume: &Volume<'_>, file: Reference) -> Result<Option<String>, ExtentError> {
    let record = volume.record(file.number)?;
    believe!(
        record.this == file,
        "{NAME} is use {} of MFT record {}, the root directory says {}",
        record.this.sequence,
        file.number,
        file.sequence
    );
    let Some(data) = volume.stream(&record, DATA, UNNAMED)?.filter(|data| !data.transformed) else {
        return Err(ExtentError::doubt(format!("{NAME} (MFT record {}) has no plain data", file.number)));
    };
    if data.size < HEADER_LEN {
        return Ok(Some(format!("{NAME} has {} bytes: Windows is hibernated on another volume", data.size)));
    }
    // Windows writes its image past the file system: what was "never written" is looked at too.
    let mut magic = [0; 4];
    data.read(volume.part, 0, &mut magic)?;
    if magic == [0; 4] || magic.eq_ignore_ascii_case(b"wake") {
        return Ok(None);
    }
    let known = [b"hibr", b"rstr", b"link"].into_iter().any(|known| magic.eq_ignore_ascii_case(known));
    if known || data.initialized > 0 {
        let magic = magic.escape_ascii();
        return Ok(Some(format!("Windows is hibernated on it ({NAME} starts with {magic}), or by fast startup")));
    }
    Ok(None)
}
