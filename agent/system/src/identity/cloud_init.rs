//! cloud-init's state, its seed, and what it shall leave alone.
//!
//! In: its folders. Out: none of the source's state, a seed of the `NoCloud` source, settings in `cloud.cfg.d`.
//! Promise: what is declared here is not undone by cloud-init at the next boot.

use super::{IdentityError, Work};
use crate::root::How;
use ramet_wire::identity::Renew;
use std::fmt::Write as _;

const SETTINGS: &str = "/etc/cloud/cloud.cfg.d/99-ramet.cfg";
const STATE: &str = "/var/lib/cloud";
const SEED: &str = "/var/lib/cloud/seed/nocloud";

pub(super) fn stage(work: &mut Work<'_>) -> Result<(), IdentityError> {
    let wanted = work.wanted;
    let cloud = wanted.cloud_init.clone().unwrap_or_default();
    let seeded = cloud.user_data.is_some() || cloud.meta_data.is_some();
    if !work.root.is_file("/etc/cloud/cloud.cfg")? {
        return if seeded { Err(IdentityError::CloudInit) } else { Ok(()) };
    }
    if (seeded || cloud.clear == Some(true)) && !work.again {
        // `cloud-init clean` takes all but the seed.
        work.remove_in(STATE, |name| name != "seed", "state of the source's cloud-init")?;
    }
    if seeded {
        let name = wanted.hostname.clone().unwrap_or_default();
        let meta = cloud.meta_data.unwrap_or_else(|| {
            let mut meta = format!("instance-id: ramet-{}\n", work.run);
            if !name.is_empty() {
                let _ = writeln!(meta, "local-hostname: {name}");
            }
            meta
        });
        work.root.mkdir(SEED, 0o700, (0, 0))?;
        // User data often has passwords.
        let how = How { say: "a seed for cloud-init", mode: Some(0o600), secret: true, ..How::default() };
        let user = cloud.user_data.unwrap_or_else(|| "#cloud-config\n{}\n".to_owned());
        work.root.write(format!("{SEED}/user-data"), user.as_bytes(), &how)?;
        work.root.write(format!("{SEED}/meta-data"), meta.as_bytes(), &how)?;
    }
    let mut text = String::from("# What Ramet gave this machine, cloud-init leaves alone.\n");
    if seeded {
        text.push_str("datasource_list: [NoCloud, None]\n");
    }
    if wanted.hostname.is_some() {
        text.push_str("preserve_hostname: true\nmanage_etc_hosts: false\n");
    }
    if wanted.ssh_host_keys != Some(Renew::Keep) {
        text.push_str("ssh_deletekeys: false\n");
    }
    if !wanted.network.is_empty() {
        text.push_str("network: {config: disabled}\n");
    }
    work.root.write(SETTINGS, text.as_bytes(), &How::say("cloud-init leaves alone what is declared"))?;
    Ok(())
}
