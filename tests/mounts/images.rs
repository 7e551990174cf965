// SPDX-License-Identifier: MIT OR Apache-2.0
//! Loop devices and squashfs.

use std::fs;
use std::path::Path;
use std::thread;
use std::time::Duration;

use mount::filesystem::unmount;
use mount::image;
use tests::{Mount, in_namespace, mounts_on, run};

// What losetup reads back of a loop device.
fn losetup(node: &str) -> String {
    let columns = "BACK-FILE,RO,AUTOCLEAR,DIO,OFFSET,SIZELIMIT,LOG-SEC";
    run("losetup", &["--list", "--noheadings", "--raw", "--output", columns, node])
}

fn loop_of(target: &str) -> String {
    let [Mount { kind, source, options }] = &mounts_on(target)[..] else {
        panic!("not one mount on {target}")
    };
    assert_eq!(kind, "squashfs");
    assert!(options.split(',').all(|option| option != "rw"), "{options}");
    source.clone()
}

// Freeing is left to a kernel thread.
fn is_free_soon(node: &str) -> bool {
    let bound = node.replace("/dev/", "/sys/block/") + "/loop/backing_file";
    (0..100).any(|_| {
        thread::sleep(Duration::from_millis(20));
        !Path::new(&bound).exists()
    })
}

#[test]
fn squashfs_on_a_loop_device_that_frees_itself() {
    in_namespace(|scratch| {
        let (image, target) = (scratch.squashfs("a.squashfs", &[]), scratch.path("deep/er/target"));
        image::squashfs(&image, &target).unwrap();
        assert_eq!(fs::read(format!("{target}/hello")).unwrap(), b"world");
        let node = loop_of(&target);
        assert_eq!(losetup(&node), format!("{image} 1 1 0 0 0 512"));
        let open = fs::read_dir("/proc/self/fd").unwrap().flatten();
        let links = open.filter_map(|entry| fs::read_link(entry.path()).ok());
        let ours = [Path::new(&node), Path::new(&image)];
        assert_eq!(links.filter(|link| ours.contains(&link.as_path())).count(), 0, "left open");
        unmount(&target, false).unwrap();
        assert!(is_free_soon(&node), "{node} is still bound");
    });
}

#[test]
fn image_can_be_unlinked_and_detached_while_in_use() {
    in_namespace(|scratch| {
        let (image, target) = (scratch.squashfs("a.squashfs", &[]), scratch.path("target"));
        image::squashfs(&image, &target).unwrap();
        let node = loop_of(&target);
        let open = fs::File::open(format!("{target}/long")).unwrap();
        fs::remove_file(&image).unwrap();
        unmount(&target, true).unwrap();
        assert!(mounts_on(&target).is_empty());
        assert_eq!(std::io::read_to_string(&open).unwrap().len(), 300_000);
        drop(open);
        assert!(is_free_soon(&node), "{node} is still bound");
    });
}

#[track_caller]
fn check_refused(image: &str, target: &str, expected: &str) {
    let text = image::squashfs(image, target).unwrap_err().to_string();
    assert_eq!(text, expected);
    assert!(mounts_on(target).is_empty());
    let bound = run("losetup", &["--list", "--noheadings", "--raw", "--output", "BACK-FILE"]);
    assert!(!bound.lines().any(|file| file == image), "{image} is still bound");
}

#[test]
fn what_is_no_image_is_refused_by_name() {
    in_namespace(|scratch| {
        let target = scratch.path("target");
        let missing = scratch.path("missing.squashfs");
        check_refused(
            &missing,
            &target,
            &format!("cannot open {missing}: No such file or directory"),
        );
        let noise: Vec<u8> = (0..100_000_u32).map(|i| (i.wrapping_mul(i) >> 3) as u8).collect();
        for content in [&[][..], b"hsqs", &[0; 8192], &noise] {
            let file = scratch.file("noise.squashfs", content);
            check_refused(
                &file,
                &target,
                &format!("cannot use image {file}: no squashfs superblock"),
            );
        }
        let directory = scratch.directory("directory");
        check_refused(
            &directory,
            &target,
            &format!("cannot use image {directory}: no squashfs superblock"),
        );
    });
}

#[test]
fn truncated_image_says_how_much_is_missing() {
    in_namespace(|scratch| {
        let (image, target) =
            (scratch.squashfs("a.squashfs", &["-noI", "-noD"]), scratch.path("target"));
        let whole = fs::read(&image).unwrap();
        let used = u64::from_le_bytes(whole[40..48].try_into().unwrap()) as usize;
        // The kernel reads whole blocks, to which the content has to be padded.
        let needed = used.next_multiple_of(1024);
        for length in [96, 4096, used - 1, needed - 1] {
            fs::write(&image, &whole[..length]).unwrap();
            let expected =
                format!("cannot use image {image}: truncated: {length} bytes of {needed}");
            check_refused(&image, &target, &expected);
        }
        fs::write(&image, &whole[..used.next_multiple_of(4096)]).unwrap();
        image::squashfs(&image, &target).unwrap();
    });
}

#[test]
fn damaged_image_is_refused_with_the_codec() {
    in_namespace(|scratch| {
        let (image, target) =
            (scratch.squashfs("a.squashfs", &["-comp", "zstd"]), scratch.path("target"));
        let whole = fs::read(&image).unwrap();
        let refused =
            |codec, why| format!("cannot mount {image} on {target} (squashfs, {codec}): {why}");
        // A codec of the future (at 20), and the version (at 28).
        for (at, byte, codec) in [(20, 7, "unknown codec"), (28, 3, "zstd"), (20, 2, "lzma")] {
            let mut damaged = whole.clone();
            damaged[at] = byte;
            fs::write(&image, damaged).unwrap();
            check_refused(&image, &target, &refused(codec, "Invalid argument"));
        }
        // The tables behind the data, where the root's inode is.
        let inodes = u64::from_le_bytes(whole[64..72].try_into().unwrap()) as usize;
        let mut damaged = whole.clone();
        damaged[inodes..].fill(0xff);
        fs::write(&image, damaged).unwrap();
        let text = image::squashfs(&image, &target).unwrap_err().to_string();
        assert!(text.starts_with(&refused("zstd", "I")), "{text}");
    });
}

#[test]
fn many_at_once_take_different_devices() {
    in_namespace(|scratch| {
        let image = scratch.squashfs("a.squashfs", &[]);
        let attach = || image::attach(&image, false).unwrap();
        let devices: Vec<_> = thread::scope(|scope| {
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(attach)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        let mut nodes: Vec<String> = devices.iter().map(|device| device.node.to_owned()).collect();
        nodes.sort();
        nodes.dedup();
        assert_eq!(nodes.len(), 8);
        drop(devices);
        assert!(nodes.iter().all(|node| is_free_soon(node)), "{nodes:?} are still bound");
    });
}

// Whether it is used depends on the image's filesystem; that the image is attached does not.
#[test]
fn direct_io_where_it_is_possible() {
    in_namespace(|scratch| {
        let image = scratch.squashfs("a.squashfs", &[]);
        let device = image::attach(&image, true).unwrap();
        let line = losetup(device.node);
        assert!(line.starts_with(&format!("{image} 1 1 ")), "{line}");
        let bytes = run("dd", &["status=none", "bs=4", "count=1", &format!("if={}", device.node)]);
        assert_eq!(bytes, "hsqs");
    });
}

// loopdev-3 is other people's code on the same devices.
#[cfg(feature = "oracle")]
#[test]
fn loopdev_sees_the_device_bound() {
    use mount::block::{Roots, find};
    use mount::device::DeviceName;
    in_namespace(|scratch| {
        let image = scratch.squashfs("a.squashfs", &[]);
        let device = image::attach(&image, false).unwrap();
        let theirs = loopdev::LoopDevice::open(device.node).unwrap();
        let roots = Roots { sys: "/sys", dev: "/dev" };
        let ours = find(&roots, &DeviceName::parse(device.node).unwrap()).unwrap().unwrap();
        assert_eq!(theirs.path().unwrap(), Path::new(&ours.node));
        assert_eq!((theirs.major().unwrap(), theirs.minor().unwrap()), (ours.major, ours.minor));
        let taken = theirs.attach_file(&image).unwrap_err();
        assert_eq!(taken.raw_os_error(), Some(nix::libc::EBUSY), "{taken}");
        let free = loopdev::LoopControl::open().unwrap().next_free().unwrap();
        assert_ne!(free.path(), theirs.path());
    });
}
