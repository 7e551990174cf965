// SPDX-License-Identifier: MIT OR Apache-2.0
//! Mounts inside a new root that is not to be trusted, and the step into it.

use std::fs;
use std::os::fd::AsRawFd;
use std::os::unix::fs::symlink;
use std::process::Command;

use mount::filesystem::tmpfs;
use mount::new_root::Root;
use rustix::mount::{mount_bind, mount_move};
use rustix::process::{chdir, chroot};
use tests::{Scratch, in_namespace, mounts_on};

// A new root with a few directories, and next to it what it must not reach.
fn new_root(scratch: &Scratch) -> (String, Root) {
    let path = scratch.path("sysroot");
    tmpfs(&path, "mode=755").unwrap();
    for directory in ["dev", "proc", "run", "usr/lib/modules", "usr/lib/firmware", "usr/sbin"] {
        scratch.directory(&format!("sysroot/{directory}"));
    }
    scratch.file("outside/marker", "");
    scratch.file("source/marker", "");
    let root = Root::open(&path).unwrap();
    (path, root)
}

#[test]
fn absolute_links_are_meant_inside() {
    in_namespace(|scratch| {
        let (path, root) = new_root(scratch);
        symlink("/usr/lib", format!("{path}/lib")).unwrap();
        symlink("usr/sbin", format!("{path}/sbin")).unwrap();
        scratch.file("sysroot/usr/lib/systemd/systemd", "");
        symlink("/lib/systemd/systemd", format!("{path}/usr/sbin/init")).unwrap();
        root.bind_into(&scratch.path("source"), "lib/modules").unwrap();
        root.bind_into(&scratch.path("source"), "/lib/firmware").unwrap();
        assert!(fs::exists(format!("{path}/usr/lib/modules/marker")).unwrap());
        assert!(fs::exists(format!("{path}/usr/lib/firmware/marker")).unwrap());
        for there in ["sbin/init", "/sbin/init", "lib/modules/marker", ".", ""] {
            assert_eq!(root.exists(there), !there.is_empty(), "{there}");
        }
        assert!(!root.exists("sbin/telinit"));
        // a program is opened where the new root has it
        scratch.file("sysroot/usr/lib/tool", "inside");
        symlink("/lib/tool", format!("{path}/usr/sbin/tool")).unwrap();
        let program = root.program("/sbin/tool").unwrap();
        let path = format!("/proc/self/fd/{}", program.as_raw_fd());
        assert_eq!(fs::read_to_string(path).unwrap(), "inside");
    });
}

#[test]
fn hostile_links_lead_nowhere() {
    in_namespace(|scratch| {
        let (path, root) = new_root(scratch);
        tmpfs(&format!("{path}/run"), "").unwrap();
        let up = "../".repeat(20);
        let outside = scratch.path("outside");
        let links = [
            ("up", format!("{up}{outside}")),
            ("absolute", outside.clone()),
            ("lib", format!("/usr/../../../..{outside}")),
            ("round", "/round".to_owned()),
            ("process", "/proc/self/root".to_owned()),
            ("cwd", "/proc/self/cwd".to_owned()),
        ];
        for (name, to) in &links {
            symlink(to, format!("{path}/{name}")).unwrap();
        }
        mount_bind("/proc", format!("{path}/proc")).unwrap();
        for (name, _) in &links {
            assert!(!root.exists(&format!("{name}/marker")), "{name}");
            assert!(root.program(&format!("{name}/marker")).is_err(), "{name}");
            let text = root.bind_into(&scratch.path("source"), name).unwrap_err().to_string();
            let source = scratch.path("source");
            assert!(
                text.starts_with(&format!("cannot mount {source} on {path}/{name} (bind): ")),
                "{text}"
            );
        }
        for inside in ["../outside", "/../outside", "run/../../outside"] {
            assert!(root.bind_into(&scratch.path("source"), inside).is_err(), "{inside}");
            assert!(!root.exists(inside), "{inside}");
        }
        // The kernel's own links to everywhere.
        assert!(!root.exists("proc/self/root/etc"));
        assert!(root.bind_into(&scratch.path("source"), "proc/self/cwd").is_err());
        assert!(mounts_on(&outside).is_empty());
    });
}

// Where a link out of the root has a place of that name inside, it is that place.
#[test]
fn parents_end_at_the_new_root() {
    in_namespace(|scratch| {
        let (path, root) = new_root(scratch);
        symlink("../../../../usr/lib", format!("{path}/lib")).unwrap();
        root.bind_into(&scratch.path("source"), "lib/modules").unwrap();
        assert_eq!(mounts_on(&format!("{path}/usr/lib/modules")).len(), 1);
    });
}

#[test]
fn mounts_are_moved() {
    in_namespace(|scratch| {
        let (path, root) = new_root(scratch);
        let source = scratch.path("run");
        tmpfs(&source, "").unwrap();
        tmpfs(&format!("{source}/pivot/data"), "").unwrap();
        fs::write(format!("{source}/pivot/data/kept"), "").unwrap();
        root.move_into(&source, "run").unwrap();
        assert!(fs::exists(format!("{path}/run/pivot/data/kept")).unwrap());
        assert!(mounts_on(&source).is_empty());
        assert_eq!(mounts_on(&format!("{path}/run/pivot/data")).len(), 1);
        let plain = scratch.directory("plain");
        let error = root.move_into(&plain, "run").unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("cannot mount {plain} on {path}/run (move): Invalid argument")
        );
        let error = root.move_into(&format!("{path}/run"), "mnt").unwrap_err();
        let expected =
            format!("cannot mount {path}/run on {path}/mnt (move): No such file or directory");
        assert_eq!(error.to_string(), expected);
    });
}

#[test]
fn directories_are_created_inside() {
    in_namespace(|scratch| {
        let (path, root) = new_root(scratch);
        symlink("/usr/lib", format!("{path}/lib")).unwrap();
        symlink(scratch.path("outside"), format!("{path}/out")).unwrap();
        for directory in ["sys", "/sys", "lib/other", "usr/share/"] {
            root.create_dir(directory).unwrap();
        }
        assert!(fs::metadata(format!("{path}/usr/lib/other")).unwrap().is_dir());
        assert!(fs::metadata(format!("{path}/usr/share")).unwrap().is_dir());
        let error = root.create_dir("out/new").unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("cannot create {path}/out/new: No such file or directory")
        );
        assert!(!fs::exists(scratch.path("outside/new")).unwrap());
    });
}

// The new root is this machine's own root, bound: it has all that unshare(1) needs.
fn enter(scratch: &Scratch, moved: bool) -> bool {
    let path = scratch.directory("sysroot");
    mount_bind("/", &path).unwrap();
    let root = Root::open(&path).unwrap();
    // All that init moves, in its order.
    for (source, inside) in [("/dev", "dev"), ("/sys", "sys"), ("/proc", "proc")] {
        root.move_into(source, inside).unwrap();
    }
    chdir(&path).unwrap();
    if moved {
        mount_move(".", "/").unwrap();
    }
    chroot(".").unwrap();
    chdir("/").unwrap();
    let output =
        Command::new("unshare").args(["--user", "cat", "/proc/self/uid_map"]).output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() || text.contains("Operation not permitted"), "{text}");
    output.status.success()
}

#[test]
fn user_namespaces_work_after_the_move() {
    in_namespace(|scratch| {
        assert!(enter(scratch, true), "no user namespace after MS_MOVE and chroot")
    });
}

// The negative control: without MS_MOVE the booted system is in a chroot, and the kernel refuses.
#[test]
fn user_namespaces_are_refused_in_a_mere_chroot() {
    in_namespace(|scratch| assert!(!enter(scratch, false), "MS_MOVE would not be needed"));
}
