//! What DHCP clients remember.
//!
//! In: their state. Out: none.
//! Promise: only identifiers and leases go; settings stay.

use super::{IdentityError, Work};
use ramet_wire::identity::MachineId;

const SAY: &str = "a lease or identifier of the source";

pub(super) fn stage(work: &mut Work<'_>) -> Result<(), IdentityError> {
    if work.wanted.machine_id == Some(MachineId::Keep) || work.again {
        return Ok(());
    }
    let lease = |name: &str| name.ends_with(".lease") || name.ends_with(".leases");
    // ISC dhclient keeps its DUID in its leases.
    for folder in ["/var/lib/dhcp", "/var/lib/dhclient", "/var/lib/NetworkManager"] {
        work.remove_in(folder, lease, SAY)?;
    }
    work.remove_all(&["/var/lib/NetworkManager/secret_key", "/etc/dhcpcd.duid", "/etc/dhcpcd.secret"], SAY)?;
    let dhcpcd = |name: &str| lease(name) || ["duid", "secret"].contains(&name) || name.ends_with(".lease6");
    for folder in ["/var/lib/dhcpcd", "/var/lib/dhcpcd5"] {
        work.remove_in(folder, dhcpcd, SAY)?;
    }
    let wicked =
        |name: &str| ["duid.xml", "iaid.xml"].contains(&name) || name.starts_with("lease-") && name.ends_with(".xml");
    work.remove_in("/var/lib/wicked", wicked, SAY)?;
    work.remove_all(&["/var/lib/systemd/network"], SAY)?;
    let conf = "/etc/systemd/networkd.conf";
    if work.root.is_file(conf)?
        && work.root.text(conf)?.is_some_and(|text| text.lines().any(|line| line.starts_with("DUIDRawData=")))
    {
        work.note(conf, "DUIDRawData= in it is the source's, and stays");
    }
    Ok(())
}
