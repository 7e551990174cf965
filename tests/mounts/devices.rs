// SPDX-License-Identifier: MIT OR Apache-2.0
//! Devices by name in the sysfs of this machine. The tables are written by sfdisk and sgdisk; since the kernel of a
//! test machine may not read them, its partitions are added by hand.

use std::thread;
use std::time::{Duration, Instant};

use mount::block::{BlockDevice, Roots, find, list};
use mount::device::DeviceName;
use mount::uevent::Uevents;
use mount::wait::{self, Deadline};
use tests::{Loop, in_namespace, run};

const ROOTS: Roots<'static> = Roots { sys: "/sys", dev: "/dev" };

fn found(name: &str) -> Option<BlockDevice> {
    find(&ROOTS, &DeviceName::parse(name).unwrap()).unwrap()
}

#[track_caller]
fn check(name: &str, expected: Option<&str>) {
    assert_eq!(found(name).map(|device| device.node), expected, "{name}");
}

// Start and size of a partition are in sectors of 512 bytes.
fn add(disk: &Loop, number: u32, start: &str, size: &str) -> String {
    let node = format!("{}p{number}", disk.node);
    // Where the kernel reads the table itself it is there already.
    if !std::fs::exists(&node).unwrap() {
        run("addpart", &[&disk.node, &number.to_string(), start, size]);
    }
    node
}

#[test]
fn a_loop_device_by_node_and_number() {
    in_namespace(|scratch| {
        let device = Loop::attach(&scratch.zeros("image", 1 << 20), &[]);
        let ours = found(&device.node).unwrap();
        let stat = run("stat", &["-c", "%Hr:%Lr %r", &device.node]);
        assert_eq!(
            stat,
            format!("{0}:{1} {2}", ours.major, ours.minor, (ours.major << 8) | ours.minor)
        );
        assert_eq!((ours.name, ours.node), (device.name(), &*device.node));
        check(&format!("{}:{}", ours.major, ours.minor), Some(&device.node));
        check(&format!("{:02x}{:02x}", ours.major, ours.minor), Some(&device.node));
        assert!(!list(&ROOTS).contains(" loop0"));
        println!("block devices: {}", list(&ROOTS));
    });
}

#[test]
fn partitions_of_an_mbr_by_sfdisk() {
    in_namespace(|scratch| {
        let image = scratch.zeros("image", 8 << 20);
        let table =
            scratch.file("table", "label: dos\nlabel-id: 0x8a3f1c02\n2048,2048,c\n4096,2048,83\n");
        run("sh", &["-c", &format!("sfdisk -q {image} < {table}")]);
        let disk = Loop::attach(&image, &["--partscan"]);
        let first = add(&disk, 1, "2048", "2048");
        let second = add(&disk, 2, "4096", "2048");
        let uuid = run("blkid", &["-p", "-o", "value", "-s", "PART_ENTRY_UUID", &second]);
        assert_eq!(uuid, "8a3f1c02-02");
        check("PARTUUID=8A3F1C02-02", Some(&second));
        check("PARTUUID=8a3f1c02-02/PARTNROFF=-1", Some(&first));
        check("PARTUUID=8a3f1c02-03", None);
        check("/dev/disk/by-partuuid/8a3f1c02-01", Some(&first));
        check(&first, Some(&first));
    });
}

const GUID: &str = "5A6B7C8D-1111-4222-8333-0A0B0C0D0E0F";

fn gpt(image: &str) {
    let arguments =
        ["-n", "1:2048:4095", "-n", "4:4096:6143", "-c", "4:dätä-5A6B", "-u", &format!("4:{GUID}")];
    run("sgdisk", &[&arguments[..], &[image]].concat());
}

#[test]
fn partitions_of_a_gpt_by_sgdisk_and_its_backup() {
    in_namespace(|scratch| {
        let image = scratch.zeros("image", 8 << 20);
        gpt(&image);
        let disk = Loop::attach(&image, &["--partscan"]);
        add(&disk, 1, "2048", "2048");
        let data = add(&disk, 4, "4096", "2048");
        check(&format!("PARTUUID={GUID}"), Some(&data));
        check("PARTLABEL=dätä-5A6B", Some(&data));
        check("PARTLABEL=dätä", None);
        // The first header is gone: the one in the last sector counts.
        run(
            "dd",
            &[
                "status=none",
                "if=/dev/zero",
                &format!("of={}", disk.node),
                "bs=512",
                "seek=1",
                "count=1",
            ],
        );
        check(&format!("PARTUUID={}", GUID.to_lowercase()), Some(&data));
        let last = (8 << 20) / 512 - 1;
        run(
            "dd",
            &[
                "status=none",
                "if=/dev/zero",
                &format!("of={}", disk.node),
                "bs=512",
                &format!("seek={last}"),
                "count=1",
            ],
        );
        check(&format!("PARTUUID={GUID}"), None);
    });
}

#[test]
fn logical_blocks_of_4096_bytes() {
    in_namespace(|scratch| {
        let disk = Loop::attach(
            &scratch.zeros("image", 8 << 20),
            &["--partscan", "--sector-size", "4096"],
        );
        let guid = "5A6B7C8D-4096-4222-8333-0A0B0C0D0E0F";
        run(
            "sgdisk",
            &["-n", "2:256:511", "-u", &format!("2:{guid}"), "-c", "2:four-k-5A6B", &disk.node],
        );
        let data = add(&disk, 2, "2048", "2048");
        check(&format!("PARTUUID={guid}"), Some(&data));
        check("PARTLABEL=four-k-5A6B", Some(&data));
    });
}

#[test]
fn the_same_card_twice_is_refused_by_name() {
    in_namespace(|scratch| {
        let image = scratch.zeros("image", 8 << 20);
        let table = scratch.file("table", "label: dos\nlabel-id: 0x8a3f1c0f\n2048,2048,c\n");
        run("sh", &["-c", &format!("sfdisk -q {image} < {table}")]);
        let disks = [Loop::attach(&image, &["--partscan"]), Loop::attach(&image, &["--partscan"])];
        let mut nodes = disks.each_ref().map(|disk| add(disk, 1, "2048", "2048"));
        nodes.sort();
        let name = "PARTUUID=8a3f1c0f-01";
        let text = find(&ROOTS, &DeviceName::parse(name).unwrap()).unwrap_err().to_string();
        assert_eq!(
            text,
            format!("cannot choose between {} and {}: both are {name}", nodes[0], nodes[1])
        );
    });
}

#[test]
fn a_partition_that_comes_late_is_told_by_its_uevent() {
    in_namespace(|scratch| {
        let disk = Loop::attach(&scratch.zeros("image", 8 << 20), &["--partscan"]);
        let node = format!("{}p3", disk.node);
        let name = DeviceName::parse(&node).unwrap();
        let uevents = Uevents::open().unwrap();
        thread::scope(|scope| {
            let adder = scope.spawn(|| {
                thread::sleep(Duration::from_millis(350));
                add(&disk, 3, "2048", "2048");
                Instant::now()
            });
            let device = wait::device(&ROOTS, &name, Some(&uevents), &Deadline::new(20)).unwrap();
            let (late, added) = (Instant::now(), adder.join().unwrap());
            assert_eq!(device.node, node);
            println!("seen {:?} after addpart ended", late.saturating_duration_since(added));
        });
    });
}

#[test]
fn what_does_not_come_is_named_at_the_deadline() {
    let name = DeviceName::parse("PARTLABEL=no such partition").unwrap();
    let uevents = Uevents::open().unwrap();
    let began = Instant::now();
    let error = wait::device(&ROOTS, &name, Some(&uevents), &Deadline::new(1)).unwrap_err();
    let text = error.to_string();
    assert!(text.starts_with("no device PARTLABEL=no such partition after "), "{text}");
    assert!((1000..10_000).contains(&began.elapsed().as_millis()), "{:?}", began.elapsed());
}
