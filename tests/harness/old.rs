//! Former lives of a disk: metadata of RAID and ZFS as their tools leave it.
//!
//! In: a disk. Out: the same with a superblock that `mdadm --examine` reads, or labels that `blkid -p` takes for ZFS.
//! Promise: the tools are asked whether they see it; the kernel needs no driver for either.

use crate::attach::{Loop, Mounted};
use crate::check::blkid;
use crate::disk::{Disk, Fs, Part};
use crate::tool::{arg, attempt, run};

/// Bytes of an md superblock with room for 128 devices.
const MD_SIZE: usize = 256 + 2 * 128;

/// Makes `part` the first of two members of a RAID 1 with metadata 1.0: a superblock 8 to 12 KiB before the end.
///
/// Layout: `struct mdp_superblock_1` in the kernel's `include/uapi/linux/raid/md_p.h`.
///
/// # Panics
/// When `mdadm --examine` does not read it.
pub fn make_md_member(disk: &Disk, part: &Part) {
    // In sectors: 8 KiB before the end, down to a multiple of 4 KiB.
    let at = (part.size / 512 - 16) & !7;
    let mut sb = vec![0_u8; MD_SIZE];
    let mut put = |offset: usize, bytes: &[u8]| sb[offset..offset + bytes.len()].copy_from_slice(bytes);
    put(0, &0xa92b_4efc_u32.to_le_bytes()); // magic
    put(4, &1_u32.to_le_bytes()); // major version
    put(16, b"set uuid 16 byte"); // set_uuid
    put(32, b"genet:0"); // set_name
    put(64, &1_600_000_000_u64.to_le_bytes()); // ctime
    put(72, &1_u32.to_le_bytes()); // level
    put(80, &at.to_le_bytes()); // size, in sectors
    put(92, &2_u32.to_le_bytes()); // raid_disks
    put(128, &0_u64.to_le_bytes()); // data_offset
    put(136, &at.to_le_bytes()); // data_size
    put(144, &at.to_le_bytes()); // super_offset
    put(168, b"dev. uuid 16 byt"); // device_uuid
    put(192, &1_600_000_001_u64.to_le_bytes()); // utime
    put(200, &17_u64.to_le_bytes()); // events
    put(208, &u64::MAX.to_le_bytes()); // resync_offset: in sync
    put(220, &128_u32.to_le_bytes()); // max_dev
    for role in 0..128 {
        let value: u16 = if role < 2 { role } else { 0xffff };
        put(256 + 2 * usize::from(role), &value.to_le_bytes());
    }
    let sum: u64 = sb.chunks_exact(4).map(|word| u64::from(u32::from_le_bytes(word.try_into().unwrap()))).sum();
    let folded = (sum & 0xffff_ffff) + (sum >> 32);
    sb[216..220].copy_from_slice(&u32::try_from(folded & 0xffff_ffff).unwrap().to_le_bytes());
    disk.write(part.start + at * 512, &sb);
    assert!(is_md_member(disk, part), "mdadm does not see its superblock");
}

/// `mdadm --examine` sees a member.
#[must_use]
pub fn is_md_member(disk: &Disk, part: &Part) -> bool {
    let device = Loop::part(disk, part);
    let said = attempt("mdadm", &["--examine", device.name()]);
    said.text.contains("Magic : a92b4efc")
}

/// Makes `part` a member of a ZFS pool as far as blkid looks: four labels of 256 KiB, each with its uberblocks.
///
/// Layout: "ZFS On-Disk Specification", section 1.3: two labels at the start, two at the end; uberblocks of 1 KiB from
/// 128 KiB of a label on. libblkid looks at devices of 64 MiB and more.
///
/// # Panics
/// When `blkid -p` does not see it.
pub fn make_zfs_member(disk: &Disk, part: &Part) {
    let label = 256 * 1024;
    let end = part.size / label * label;
    for start in [0, label, end - 2 * label, end - label] {
        // The head of the list of names and values: XDR, little endian host.
        disk.write(part.start + start + 16 * 1024, &[1, 1, 0, 0]);
        for nr in 0..128_u64 {
            let mut uberblock = vec![0_u8; 1024];
            for (word, value) in
                [0x00ba_b10c_u64, 5000, 1000 + nr, 0x1234_5678_9abc_def0, 1_600_000_000].iter().enumerate()
            {
                uberblock[word * 8..word * 8 + 8].copy_from_slice(&value.to_le_bytes());
            }
            disk.write(part.start + start + 128 * 1024 + nr * 1024, &uberblock);
        }
    }
    let said = blkid(disk, part);
    assert!(said.contains("zfs_member"), "blkid does not see ZFS: {said}");
}

/// Puts a file system with `count` files into `part`: what `e2fsck -b` could bring back.
pub fn make_ext(disk: &Disk, part: &Part, args: &[&str], count: usize) {
    disk.format(part, Fs::Ext(args));
    let mounted = Mounted::writable(disk, part);
    for nr in 0..count {
        let folder = mounted.at().join(format!("dead{}", nr / 500));
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join(format!("dead{nr}")), format!("dead {nr}")).unwrap();
    }
    run("sync", &["-f", arg(mounted.at())]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::MIB;

    #[test]
    fn the_tools_see_md_and_zfs() {
        let disk = Disk::with_sgdisk(128 * MIB, &["-n", "1:0:+40M", "-n", "2:0:0"]);
        make_md_member(&disk, &disk.part(1));
        make_zfs_member(&disk, &disk.part(2));
        let whole = Disk::blank(40 * MIB);
        make_md_member(&whole, &whole.part(0));
    }
}
