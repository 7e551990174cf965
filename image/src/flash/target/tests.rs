// SPDX-License-Identifier: MIT OR Apache-2.0

use std::os::unix::fs::symlink;

use super::*;

/// `/proc` and `/sys` of a machine with a card reader at USB, an SD host, and a disk.
struct Machine(tempfile::TempDir);

const MOUNTINFO: &str = "\
22 1 8:1 / / rw - ext4 /dev/sda1 rw
23 22 8:17 / /media/my\\040card rw,relatime shared:1 - vfat /dev/sdb1 rw
24 22 0:40 /vol /mnt rw - btrfs /dev/sdc1 rw
";

impl Machine {
    fn new() -> Self {
        let machine = Self(tempfile::tempdir().unwrap());
        machine.disk("pci0/ata1/block/sda", "8:0", &[("removable", "0")]);
        machine.disk("pci0/usb2/2-1/host6/block/sdb", "8:16", &[("removable", "0")]);
        machine.disk("pci0/usb2/2-2/host7/block/sdc", "8:32", &[("removable", "1")]);
        machine.disk("soc/mmc0/block/mmcblk0", "179:0", &[("device/type", "SD")]);
        machine.disk("soc/mmc1/block/mmcblk1", "179:8", &[("device/type", "MMC")]);
        machine.disk("pci0/nvme0/block/nvme0n1", "259:0", &[("queue/logical_block_size", "4096")]);
        for (disk, partition, number) in [
            ("pci0/ata1/block/sda", "sda1", "8:1"),
            ("pci0/usb2/2-1/host6/block/sdb", "sdb1", "8:17"),
            ("pci0/usb2/2-2/host7/block/sdc", "sdc1", "8:33"),
            ("soc/mmc0/block/mmcblk0", "mmcblk0p1", "179:1"),
        ] {
            machine.disk(&format!("{disk}/{partition}"), number, &[("partition", "1")]);
        }
        machine.write("proc/self/mountinfo", MOUNTINFO);
        machine.write("proc/swaps", "Filename Type Size Used Priority\n");
        fs::create_dir_all(machine.0.path().join("sys/block")).unwrap();
        machine
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.0.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// 1 GiB.
    fn disk(&self, path: &str, number: &str, fields: &[(&str, &str)]) {
        let all = [("size", "2097152"), ("ro", "0"), ("dev", number)];
        for (name, value) in all.iter().chain(fields) {
            self.write(&format!("sys/devices/{path}/{name}"), &format!("{value}\n"));
        }
        fs::create_dir_all(self.0.path().join("sys/dev/block")).unwrap();
        let link = self.0.path().join("sys/dev/block").join(number);
        symlink(format!("../../devices/{path}"), link).unwrap();
    }

    #[track_caller]
    fn check(&self, path: &str, number: &str, expected: &str) {
        self.check_with(path, number, 1 << 30, false, expected);
    }

    #[track_caller]
    fn check_with(&self, path: &str, number: &str, bytes: u64, force: bool, expected: &str) {
        let target = Target::disk(Path::new(path), number, self.0.path()).unwrap();
        let found = target.check(bytes, force).err().map_or_else(String::new, |e| e.to_string());
        assert_eq!(found, expected);
    }
}

#[test]
fn cards_and_sticks_are_taken() {
    let machine = Machine::new();
    machine.check("/dev/mmcblk0", "179:0", "");
    machine.write("proc/self/mountinfo", "");
    machine.check("/dev/sdb", "8:16", "");
    machine.check("/dev/sdc", "8:32", "");
}

#[test]
fn fixed_disks_take_force() {
    let machine = Machine::new();
    let text = "/dev/mmcblk1 is not removable and may be a disk of this machine: --force writes it all the same";
    machine.check("/dev/mmcblk1", "179:8", text);
    machine.check_with("/dev/mmcblk1", "179:8", 1 << 30, true, "");
}

#[test]
fn in_use_whatever_force_says() {
    let machine = Machine::new();
    let check = |path, number, expected| machine.check_with(path, number, 1, true, expected);
    check("/dev/sda", "8:0", "/dev/sda holds the running system: / is on /dev/sda1");
    check("/dev/sdb", "8:16", "/dev/sdb1 is mounted on /media/my card: umount /dev/sdb1");
    check("/dev/sdc", "8:32", "/dev/sdc1 is mounted on /mnt: umount /dev/sdc1");
    let partition = "/dev/mmcblk0p1 is a partition: an image is for a whole disk, /dev/mmcblk0";
    check("/dev/mmcblk0p1", "179:1", partition);
    machine.write("proc/swaps", "Filename Type\n/dev/mmcblk1 partition 1 0 -2\n/dev/sdx file\n");
    check("/dev/mmcblk1", "179:8", "/dev/mmcblk1 is swap space: swapoff /dev/mmcblk1");
    machine.write("sys/block/loop3/loop/backing_file", "/dev/mmcblk0p1\n");
    machine.write("sys/devices/soc/mmc0/block/mmcblk0/mmcblk0p1/holders/dm-0", "");
    let holder = "/dev/mmcblk0p1 is in use by dm-0: stop its encryption, volume group or RAID";
    let by_loop = "/dev/mmcblk0 is in use by /dev/loop3: losetup -d /dev/loop3";
    check("/dev/mmcblk0", "179:0", &format!("{holder}; {by_loop}"));
}

#[test]
fn what_cannot_hold_the_image() {
    let machine = Machine::new();
    let check = |path, number, bytes, text| machine.check_with(path, number, bytes, true, text);
    let small = "/dev/mmcblk0 is too small: it has 1073741824 bytes, the image 1073742336";
    check("/dev/mmcblk0", "179:0", (1 << 30) + 512, small);
    let sectors =
        "/dev/nvme0n1 has sectors of 4096 bytes: the partition table of the image counts in 512";
    check("/dev/nvme0n1", "259:0", 1, sectors);
    machine.write("sys/devices/soc/mmc0/block/mmcblk0/ro", "1\n");
    let protected = "/dev/mmcblk0 is write-protected: see the switch of the card or adapter";
    check("/dev/mmcblk0", "179:0", 1, protected);
    machine.write("sys/devices/soc/mmc0/block/mmcblk0/size", "0\n");
    check("/dev/mmcblk0", "179:0", 1, "/dev/mmcblk0 has no medium: put the card in");
}

#[test]
fn what_is_no_disk() {
    let look = |path: &str| Target::look(Path::new(path), Path::new("/"));
    assert_eq!(look("/dev/null").unwrap_err().to_string(), "/dev/null is no block device");
    assert!(format!("{:#}", look("/dev/no-such").unwrap_err()).contains("No such file"));
}
