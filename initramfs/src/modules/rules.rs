//! The rules by which modules are chosen.
//!
//! In: nothing. Out: folders and names for each set of machines.
//! Promise: what a set names exists, as a module or built in, or the build is refused; folders take what is in them.

use std::str::FromStr;

/// For which machines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Set {
    /// Every machine.
    #[default]
    All,
    /// Virtual machines of QEMU, KVM, VMware, Hyper-V, Xen and clouds.
    Vm,
}

impl FromStr for Set {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "all" => Ok(Self::All),
            "vm" => Ok(Self::Vm),
            _ => Err(format!("{text:?} is no set of modules; there are all and vm")),
        }
    }
}

impl Set {
    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Vm => "vm",
        }
    }

    /// What `initramfs.zst` with Debian's kernel and no firmware may take, in bytes.
    #[must_use]
    pub const fn bytes_max(self) -> u64 {
        match self {
            Self::All => 24 << 20,
            Self::Vm => 11 << 20,
        }
    }

    /// Modules that must be there.
    #[must_use]
    pub fn names(self) -> Vec<&'static str> {
        let more = match self {
            Self::All => METAL,
            Self::Vm => GUESTS,
        };
        COMMON.iter().chain(more).flat_map(|line| line.split(' ')).collect()
    }

    /// Folders that are taken whole.
    #[must_use]
    pub const fn folders(self) -> &'static [&'static str] {
        match self {
            Self::All => FOLDERS,
            Self::Vm => &[],
        }
    }
}

/// Every machine: what the agent itself needs, and what all virtual machines have.
const COMMON: &[&str] = &[
    // file systems that the agent mounts, and what they ask the kernel for: vfat wants its code pages by name
    "ext4 vfat nls_cp437 nls_ascii nls_iso8859-1 nls_utf8 isofs udf squashfs loop efivarfs",
    // file systems and volumes of clones that are changed after they were restored, and memory for what has to shrink
    "xfs btrfs dm_mod zram lzo_rle crc32c_generic",
    // disks
    "ahci ata_piix nvme sd_mod sr_mod virtio_blk virtio_scsi virtio_pci virtio_mmio usb_storage uas",
    // keyboards
    "atkbd i8042 usbhid hid_generic ehci_pci ohci_pci uhci_hcd xhci_pci virtio_input",
    // networks
    "virtio_net e1000 e1000e 8021q af_packet ipv6",
    // random numbers, management, watchdogs; lpc_ich and i2c_i801 are where an iTCO watchdog appears
    "virtio_rng ipmi_si ipmi_devintf softdog i6300esb ib700wdt iTCO_wdt lpc_ich i2c_i801 rtc_cmos",
];

/// Virtual machines only.
const GUESTS: &[&str] = &[
    // QEMU's other disks and cards
    "sym53c8xx megaraid_sas mptsas mptspi 8139cp 8139too pcnet32 igb igbvf ixgbevf iavf tulip",
    // VMware
    "vmw_pvscsi vmxnet3",
    // Hyper-V and Azure
    "hv_vmbus hv_storvsc hv_netvsc hv_utils hid_hyperv hyperv_keyboard pci_hyperv mana",
    // Xen
    "xen_blkfront xen_netfront xen_scsifront xen_kbdfront",
    // clouds
    "ena gve ptp_kvm",
];

/// Real machines: what the folders below do not hold.
const METAL: &[&str] = &[
    "vmxnet3 xen_netfront xen_kbdfront hyperv_keyboard hv_utils ptp_kvm nvme_tcp vmd sp5100_tco overlay",
    // keyboards that hid_generic leaves to their own driver, and the receivers of wireless ones
    "hid_a4tech hid_apple hid_asus hid_belkin hid_cherry hid_chicony hid_corsair hid_cypress hid_elecom hid_ezkey",
    "hid_gembird hid_holtek_kbd hid_hyperv hid_ite hid_kensington hid_keytouch hid_kye hid_lenovo hid_lg_g15",
    "hid_logitech hid_logitech_dj hid_logitech_hidpp hid_macally hid_microsoft hid_monterey hid_multitouch hid_ortek",
    "hid_primax hid_redragon hid_roccat hid_samsung hid_semitek hid_steelseries hid_sunplus hid_topseed hid_zydacron",
    "i2c_hid_acpi",
];

/// All storage controllers, Ethernet and USB cards, USB hosts, watchdogs, IPMI.
const FOLDERS: &[&str] = &[
    "kernel/drivers/ata",
    "kernel/drivers/block",
    "kernel/drivers/char/hw_random",
    "kernel/drivers/char/ipmi",
    "kernel/drivers/hv",
    "kernel/drivers/message/fusion",
    "kernel/drivers/mmc",
    "kernel/drivers/net/ethernet",
    "kernel/drivers/net/hyperv",
    "kernel/drivers/net/mdio",
    "kernel/drivers/net/pcs",
    "kernel/drivers/net/phy",
    "kernel/drivers/net/usb",
    "kernel/drivers/nvme/host",
    "kernel/drivers/pci/controller",
    "kernel/drivers/scsi",
    "kernel/drivers/ufs",
    "kernel/drivers/usb/host",
    "kernel/drivers/usb/storage",
    "kernel/drivers/virtio",
    "kernel/drivers/watchdog",
];

/// In those folders, and left ashore: nothing that a machine boots from or talks through needs it.
const EXCEPT: &[&str] = &[
    // devices made of software, and disks that are files of another machine
    "aoe brd drbd nbd null_blk rbd scsi_debug ublk_drv xen_blkback rnbd_client rnbd_server",
    // they take memory away from a machine that needs it
    "hv_balloon virtio_balloon virtio_mem",
    // storage over RDMA brings the whole of InfiniBand
    "nvme_rdma",
    // switches, not cards
    "mlxsw_core mlxsw_i2c mlxsw_minimal mlxsw_pci mlxsw_spectrum prestera prestera_pci",
    // a probe of the floppy drive costs seconds
    "floppy",
];

/// Whether a module stays ashore although its folder is taken.
#[must_use]
pub fn stays_ashore(name: &str) -> bool {
    EXCEPT.iter().any(|line| line.split(' ').any(|except| except == name))
}
