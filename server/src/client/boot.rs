//! The operator's side of network boot.
//!
//! In: what an operator wants. Out: the server's answer as the wire's types.
//! Promise: as in the parent; a build is sent file by file, its `build.json` last, which makes it one set.

use super::{ClientError, Operator, check_id, read_json, shape};
use crate::boot::files::{Build, FILE_MAX, Installed};
use crate::http::boot::file_path;
use ramet_wire::agents::{AddPin, AgentSeen, Approve, Arm, Armed, PinAdded, PinInfo};
use ramet_wire::build::BUILD;
use ramet_wire::settings::Mac;
use std::fs::File;
use std::io;
use std::path::Path;

impl Operator {
    /// Agents without a token that were heard of lately.
    ///
    /// # Errors
    /// [`ClientError`], as everywhere here.
    pub fn agents(&self) -> Result<Vec<AgentSeen>, ClientError> {
        self.get("listing agents", "/v1/agents")
    }

    /// Gives an agent its work.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn approve(&self, code: &str, approve: &Approve) -> Result<AgentSeen, ClientError> {
        let what = format!("approving agent {}", crate::text::clean(code, 16));
        // A path is made of it.
        let code = crate::waiting::typed(code)
            .ok_or_else(|| super::refused(&what, "a code has 8 characters, as XXXX-XXXX"))?;
        self.post(&what, &format!("/v1/agents/{code}/approve"), approve)
    }

    /// Makes a PIN.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn add_pin(&self, pin: &AddPin) -> Result<PinAdded, ClientError> {
        self.post("adding a PIN", "/v1/pins", pin)
    }

    /// All PINs.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn pins(&self) -> Result<Vec<PinInfo>, ClientError> {
        self.get("listing PINs", "/v1/pins")
    }

    /// Removes a PIN.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn remove_pin(&self, id: &str) -> Result<(), ClientError> {
        let what = format!("removing PIN {}", crate::text::clean(id, 16));
        check_id(&what, id)?;
        self.ask(&what, "DELETE", &format!("/v1/pins/{id}"), Vec::new()).map(drop)
    }

    /// Arms a machine.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn arm(&self, mac: Mac, arm: &Arm) -> Result<Armed, ClientError> {
        let what = format!("arming {mac}");
        let body = serde_json::to_vec(arm).map_err(|error| shape(&what, error.into()))?;
        read_json(&what, self.ask(&what, "PUT", &format!("/v1/netboot/{mac}"), body)?)
    }

    /// All armed machines.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn armed(&self) -> Result<Vec<Armed>, ClientError> {
        self.get("listing armed machines", "/v1/netboot")
    }

    /// Disarms a machine.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn disarm(&self, mac: Mac) -> Result<(), ClientError> {
        self.ask(&format!("disarming {mac}"), "DELETE", &format!("/v1/netboot/{mac}"), Vec::new()).map(drop)
    }

    /// Installs the builder's folder; `say` hears the name of each file.
    ///
    /// # Errors
    /// [`ClientError`]; what was installed before stays then.
    pub fn install_boot(&self, dir: &Path, say: &mut dyn FnMut(&str, u64)) -> Result<Installed, ClientError> {
        let failed = |name: &str| {
            let doing = format!("reading {}", dir.join(name).display());
            move |source| ClientError::File { doing, source }
        };
        let text = std::fs::read(dir.join(BUILD)).map_err(failed(BUILD))?;
        let build = Build::read(&text).map_err(|error| super::refused("reading build.json", &error.to_string()))?;
        for (name, made) in build.wanted() {
            let file = File::open(dir.join(name)).map_err(failed(name))?;
            let size = file.metadata().map_err(failed(name))?.len();
            if size != made.size || size > FILE_MAX {
                let source = io::Error::other(format!("file has {size} bytes, build.json says {}", made.size));
                return Err(failed(name)(source));
            }
            say(name, size);
            self.upload(&format!("sending {name}"), &file_path(name), file, size)?;
        }
        let size = text.len() as u64;
        read_json("installing", self.upload("installing", &file_path(BUILD), io::Cursor::new(text), size)?)
    }

    /// What is installed.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn boot_files(&self) -> Result<Installed, ClientError> {
        self.get("listing boot files", "/v1/boot")
    }

    /// Removes the boot files.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn remove_boot(&self) -> Result<(), ClientError> {
        self.ask("removing the boot files", "DELETE", "/v1/boot", Vec::new()).map(drop)
    }
}
