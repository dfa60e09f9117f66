//! Disks as a made-up sysfs shows them.

use super::super::fake::Machine;
use super::*;

#[test]
fn lists_disks_and_nothing_else() {
    let machine = Machine::new();
    for (name, id) in [("loop0", "7:0"), ("ram0", "1:0"), ("zram0", "253:0"), ("sr0", "11:0"), ("fd0", "2:0")] {
        machine.device(name, id, 100);
    }
    machine.device("sda", "8:0", 1000).partition("sda1", "8:1", 1, 8, 100).partition("sda2", "8:2", 2, 200, 800);
    machine.device("sdb", "8:16", 0);
    machine.device("nvme0n1", "259:0", 5000);
    machine.device("dm-0", "252:0", 800).slave("sda2");
    let disks = machine.disks().list().unwrap();
    let names: Vec<&str> = disks.iter().map(|disk| disk.name.as_str()).collect();
    assert_eq!(names, ["nvme0n1", "sda"]);
    let sda = &disks[1];
    assert_eq!(sda.size, 1000 * 512);
    assert_eq!(sda.id, DiskId::Block { major: 8, minor: 0 });
    let parts: Vec<_> = sda.partitions.iter().map(|p| (p.name.as_str(), p.number, p.range)).collect();
    let range = |start: u64, len: u64| ByteRange::new(start * 512, len * 512).unwrap();
    assert_eq!(parts, [("sda1", 1, range(8, 100)), ("sda2", 2, range(200, 800))]);
    assert_eq!(machine.disks().partition_number(DiskId::Block { major: 8, minor: 0 }), None);
}

#[test]
fn names_a_disk_by_what_it_says_itself() {
    let machine = Machine::new();
    machine
        .device("sda", "8:0", 1000)
        .file("device/model", b"SAMSUNG MZ7LH960 \n")
        .file("device/vpd_pg80", b"\0\x80\0\x0eS45NNA0R123456")
        .file("device/wwid", b"naa.5002538e01234567\n")
        .file("queue/logical_block_size", b"512\n")
        .file("queue/physical_block_size", b"4096\n")
        .file("removable", b"1\n");
    machine
        .device("nvme0n1", "259:0", 1000)
        .file("device/serial", b"S4EVNX0R1  \n")
        .file("device/transport", b"pcie\n")
        .file("wwid", b"eui.0025385b71b0a8f2\n")
        .file("queue/logical_block_size", b"4096\n")
        .file("queue/physical_block_size", b"4096\n");
    machine.device("nvme1n1", "259:1", 1000).file("device/transport", b"tcp\n");
    let disks = machine.disks().list().unwrap();
    let [local, remote, sata] = &disks[..] else { panic!("{disks:?}") };
    assert_eq!(sata.serial.as_deref(), Some("S45NNA0R123456"));
    assert_eq!(sata.model.as_deref(), Some("SAMSUNG MZ7LH960"));
    assert_eq!(sata.wwn.as_deref(), Some("naa.5002538e01234567"));
    assert_eq!((sata.sector_size, sata.physical_sector_size, sata.removable), (512, 4096, true));
    assert_eq!(local.serial.as_deref(), Some("S4EVNX0R1"));
    assert_eq!(local.wwn.as_deref(), Some("eui.0025385b71b0a8f2"));
    assert_eq!((local.sector_size, local.transport.as_deref()), (4096, Some("nvme")));
    assert_eq!(remote.transport.as_deref(), Some("nvme-of"));
}

#[test]
fn a_serial_page_cut_short_gives_no_more_than_it_has() {
    let machine = Machine::new();
    for page in [&b""[..], b"\0", b"\0\x80\0", b"\0\x80\0\xff", b"\0\x83\0\x04ABCD"] {
        machine.device("sda", "8:0", 1000).file("device/vpd_pg80", page);
        assert_eq!(machine.disks().list().unwrap()[0].serial, None, "{page:?}");
    }
    machine.device("sda", "8:0", 1000).file("device/vpd_pg80", b"\0\x80\0\xffAB");
    assert_eq!(machine.disks().list().unwrap()[0].serial.as_deref(), Some("AB"));
}

/// A machine whose only disk, `sda`, hangs there.
fn at(path: &str) -> Machine {
    let machine = Machine::new();
    let device = machine.root().join("sys/devices").join(path);
    std::fs::create_dir_all(&device).unwrap();
    std::fs::write(device.join("dev"), "8:0\n").unwrap();
    std::fs::write(device.join("size"), "1000\n").unwrap();
    for class in ["sys/block", "sys/class/block"] {
        std::os::unix::fs::symlink(&device, machine.root().join(class).join("sda")).unwrap();
    }
    machine
}

#[test]
fn a_usb_disk_has_the_serial_number_of_its_usb_device() {
    let machine = at("pci0000:00/0000:00:14.0/usb2/2-1/2-1:1.0/host6/target6:0:0/6:0:0:0/block/sda");
    let serial = || machine.disks().list().unwrap()[0].serial.clone();
    assert_eq!(serial(), None);
    // The root hub has a number too; it is not the disk's.
    machine.write("sys/devices/pci0000:00/0000:00:14.0/usb2/idVendor", b"1d6b\n");
    machine.write("sys/devices/pci0000:00/0000:00:14.0/usb2/serial", b"0000:00:14.0\n");
    machine.write("sys/devices/pci0000:00/0000:00:14.0/usb2/2-1/idVendor", b"0951\n");
    assert_eq!(serial(), None);
    machine.write("sys/devices/pci0000:00/0000:00:14.0/usb2/2-1/serial", b"60A44C3FAC5\n");
    assert_eq!(serial().as_deref(), Some("60A44C3FAC5"));
}

#[test]
fn transport_is_read_from_where_the_device_hangs() {
    let paths = [
        ("pci0000:00/0000:00:14.0/usb2/2-1/2-1:1.0/host6/target6:0:0/6:0:0:0/block/sda", Some("usb")),
        ("pci0000:00/0000:00:17.0/ata1/host0/target0:0:0/0:0:0:0/block/sda", Some("sata")),
        ("pci0000:00/0000:3b:00.0/host1/rport-1:0-2/target1:0:2/1:0:2:1/block/sda", Some("fc")),
        ("platform/host9/session1/target9:0:0/9:0:0:1/block/sda", Some("iscsi")),
        ("pci0000:00/0000:03:00.0/host0/port-0:0/end_device-0:0/target0:0:0/0:0:0:0/block/sda", Some("sas")),
        ("pci0000:00/0000:00:04.0/virtio1/block/sda", Some("virtio")),
        ("platform/strange/block/sda", None),
    ];
    for (path, wanted) in paths {
        let machine = at(path);
        assert_eq!(machine.disks().list().unwrap()[0].transport.as_deref(), wanted, "{path}");
    }
}

#[test]
fn what_a_disk_hangs_from_is_named_from_the_processor_on_without_bridges() {
    let xhci = "pci:v00008086d0000A36Dsv0sd0bc0Csc03i30";
    let machine = at("pci0000:00/0000:00:1d.0/0000:03:00.0/usb2/2-1/2-1:1.0/host6/target6:0:0/6:0:0:0/block/sda");
    let top = "sys/devices/pci0000:00/0000:00:1d.0";
    machine.write(&format!("{top}/modalias"), b"pci:v00008086d0000A330sv0sd0bc06sc04i00\n");
    machine.write(&format!("{top}/0000:03:00.0/modalias"), format!("{xhci}\n").as_bytes());
    let usb = "usb:v0951p1666d0110dc00dsc00dp00ic08isc06ip50in00";
    machine.write(&format!("{top}/0000:03:00.0/usb2/2-1/2-1:1.0/modalias"), usb.as_bytes());
    let unit = format!("{top}/0000:03:00.0/usb2/2-1/2-1:1.0/host6/target6:0:0/6:0:0:0/modalias");
    machine.write(&unit, b"scsi:t-0x00\n");
    assert_eq!(machine.disks().list().unwrap()[0].controllers, [xhci, usb, "scsi:t-0x00"]);
    assert_eq!(at("platform/strange/block/sda").disks().list().unwrap()[0].controllers, [""; 0]);
}

#[test]
fn a_namespace_of_a_subsystem_hangs_from_the_first_of_its_controllers() {
    let machine = Machine::new();
    let alias = b"pci:v0000144Dd0000A808sv0sd0bc01sc08i02\n";
    machine.device("nvme0n1", "259:0", 1000).file("device/nvme0/modalias", alias);
    assert_eq!(machine.disks().list().unwrap()[0].controllers.len(), 1);
}

#[test]
fn the_running_kernel_can_be_asked() {
    for disk in Disks::from_sysfs().list().unwrap() {
        assert!(disk.size > 0 && [512, 4096].contains(&disk.sector_size), "{disk:?}");
    }
}
