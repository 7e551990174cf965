// SPDX-License-Identifier: MIT OR Apache-2.0
//! What `[bootsel]` puts into a root file system, listed by unsquashfs. Whether a booted system then does what the units
//! say is for qemu/ to show.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "a test stops where something is wrong"
)]

#[path = "../common/mod.rs"]
mod common;
mod refusals;
mod units;

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

use common::{CONFIG, Project, as_user, assert_equal, elf, output, pivot_image, program};

/// Mode, owner, time and path of what is always added where nothing was before.
const ADDED: &str = "\
drwxr-xr-x 0/0 1970-01-01 00:00 etc/pivot
drwxr-xr-x 0/0 1970-01-01 00:00 etc/pivot/keys
-rw-r--r-- 0/0 1970-01-01 00:00 etc/pivot/keys/pivot.pub
drwxr-xr-x 0/0 1970-01-01 00:00 usr/lib/systemd/system
drwxr-xr-x 0/0 1970-01-01 00:00 usr/lib/systemd/system.conf.d
-rw-r--r-- 0/0 1970-01-01 00:00 usr/lib/systemd/system.conf.d/50-pivot.conf
drwxr-xr-x 0/0 1970-01-01 00:00 usr/lib/systemd/system/multi-user.target.wants
lrwxrwxrwx 0/0 1970-01-01 00:00 usr/lib/systemd/system/multi-user.target.wants/pivot-commit.service -> ../pivot-commit.service
-rw-r--r-- 0/0 1970-01-01 00:00 usr/lib/systemd/system/pivot-collect.service
-rw-r--r-- 0/0 1970-01-01 00:00 usr/lib/systemd/system/pivot-commit.service
-rw-r--r-- 0/0 1970-01-01 00:00 usr/lib/systemd/system/pivot-deadline.service
-rw-r--r-- 0/0 1970-01-01 00:00 usr/lib/systemd/system/pivot-deadline.timer
-rw-r--r-- 0/0 1970-01-01 00:00 usr/lib/systemd/system/pivot-health-network.service
drwxr-xr-x 0/0 1970-01-01 00:00 usr/lib/systemd/system/sysinit.target.wants
lrwxrwxrwx 0/0 1970-01-01 00:00 usr/lib/systemd/system/sysinit.target.wants/pivot-collect.service -> ../pivot-collect.service
lrwxrwxrwx 0/0 1970-01-01 00:00 usr/lib/systemd/system/sysinit.target.wants/pivot-deadline.timer -> ../pivot-deadline.timer
-rwxr-xr-x 0/0 1970-01-01 00:00 usr/sbin/bootsel
";

/// A project with keys, a program, and a root with a systemd and a merged `/usr`; none where a program is missing.
fn project() -> Option<Project> {
    let needed = [("depmod", "kmod"), ("mksquashfs", "squashfs-tools")];
    if !needed.iter().all(|(name, package)| program(name, package).is_some()) {
        return None;
    }
    let project = Project::new();
    output(pivot_image().arg("keys").arg("-o").arg(project.path("keys")));
    project.write("bootsel", &[elf(), b"the tool".to_vec()].concat());
    fs::remove_dir_all(project.path("rootfs/sbin")).unwrap();
    project.write("rootfs/usr/sbin/init", b"init");
    project.write("rootfs/usr/lib/systemd/systemd", b"systemd");
    project.write("rootfs/etc/passwd", b"root");
    symlink("usr/sbin", project.path("rootfs/sbin")).unwrap();
    symlink("usr/lib", project.path("rootfs/lib")).unwrap();
    project.write("demo.toml", config("", "directory = \"rootfs\"").as_bytes());
    Some(project)
}

/// The configuration with these lines in `[bootsel]` and in `[root]`.
fn config(bootsel: &str, root: &str) -> String {
    let text = CONFIG.replace("version = 1", "version = 1\nkey = \"keys/pivot.key\"");
    let text = text.replace("directory = \"rootfs\"", root);
    format!("{text}[bootsel]\nprogram = \"bootsel\"\n{bootsel}\n")
}

fn revision(project: &Project, out: &str) -> Command {
    let mut command = pivot_image();
    command.arg("revision").arg(project.path("demo.toml")).arg("-o").arg(project.path(out));
    command
}

/// Sorted lines of unsquashfs, without the sizes and without the line of the root itself.
fn listed(root: &Path) -> String {
    let mut unsquashfs = program("unsquashfs", "squashfs-tools").unwrap();
    let text = output(unsquashfs.env("TZ", "UTC").arg("-lln").arg(root));
    let line = |line: &str| {
        let words: Vec<_> = line.split_whitespace().collect();
        let path = words.get(5)?.strip_prefix("squashfs-root/")?;
        let rest = words[6..].join(" ");
        let line = [words[0], words[1], words[3], words[4], path, &rest].join(" ");
        Some((path.to_owned(), format!("{}\n", line.trim_end())))
    };
    let mut lines: Vec<_> = text.lines().filter_map(line).collect();
    lines.sort();
    lines.into_iter().map(|(_, line)| line).collect()
}

/// The lines of `all` that are not in `less`.
fn more(all: &str, less: &str) -> String {
    let known: Vec<_> = less.lines().collect();
    all.lines().filter(|line| !known.contains(line)).map(|line| format!("{line}\n")).collect()
}

fn read(root: &Path, path: &str) -> Vec<u8> {
    let mut unsquashfs = program("unsquashfs", "squashfs-tools").unwrap();
    let output = unsquashfs.arg("-cat").arg(root).arg(path).output().unwrap();
    assert!(output.status.success(), "{path}");
    output.stdout
}

/// A root of the project, built with and without the section.
fn built(project: &Project, root: &str) -> (String, String) {
    let text = config("", root);
    let (before, _) = text.split_once("[bootsel]").unwrap();
    project.write("demo.toml", before.as_bytes());
    output(&mut revision(project, "plain"));
    project.write("demo.toml", text.as_bytes());
    output(&mut revision(project, "out"));
    (listed(&project.path("plain/root.squashfs")), listed(&project.path("out/root.squashfs")))
}

#[test]
fn directory() {
    let Some(project) = project() else { return };
    let (plain, with) = built(&project, "directory = \"rootfs\"");
    assert_eq!(more(&with, &plain), ADDED);
    assert_eq!(more(&plain, &with), "");
    let root = project.path("out/root.squashfs");
    assert_eq!(read(&root, "usr/sbin/bootsel"), fs::read(project.path("bootsel")).unwrap());
    assert_eq!(
        read(&root, "etc/pivot/keys/pivot.pub"),
        fs::read(project.path("keys/pivot.pub")).unwrap()
    );
    let units = Path::new(env!("CARGO_MANIFEST_DIR")).join("units");
    for entry in fs::read_dir(units).unwrap().map(Result::unwrap) {
        let name = entry.file_name().into_string().unwrap();
        let directory = if name.ends_with(".conf") { "system.conf.d" } else { "system" };
        let found = read(&root, &format!("usr/lib/systemd/{directory}/{name}"));
        assert_eq!(found, fs::read(entry.path()).unwrap(), "{name}");
    }
    // the root itself is as it was
    assert!(!project.path("rootfs/usr/sbin/bootsel").exists());
}

/// An archive as somebody else's tools make it: packed, `./` before the names, users, `/usr/sbin` merged, too.
#[test]
fn archive() {
    let Some(project) = project() else { return };
    let rootfs = project.path("rootfs");
    fs::rename(rootfs.join("usr/sbin"), rootfs.join("usr/bin")).unwrap();
    symlink("bin", rootfs.join("usr/sbin")).unwrap();
    project.write("rootfs/home/user/file", b"x");
    let tar = project.path("root.tar.gz");
    let mut command = Command::new("tar");
    command
        .args(["--owner=1000", "--group=1001", "-C"])
        .arg(&rootfs)
        .arg("-czf")
        .arg(&tar)
        .arg(".");
    output(&mut command);
    let (plain, with) = built(&project, "tar = \"root.tar.gz\"");
    let sorted = |text: &str| {
        let mut lines: Vec<_> = text.lines().map(str::to_owned).collect();
        lines.sort();
        lines
    };
    let expected = ADDED.replace("usr/sbin/bootsel", "usr/bin/bootsel");
    assert_eq!(sorted(&more(&with, &plain)), sorted(&expected));
    assert_eq!(more(&plain, &with), "");
    assert!(with.contains(" 1000/1001 "), "{with}");
    let root = project.path("out/root.squashfs");
    assert_eq!(read(&root, "usr/bin/bootsel"), fs::read(project.path("bootsel")).unwrap());
}

/// A root that has some of it already, as one does that was made from a device.
#[test]
fn what_was_there() {
    let Some(project) = project() else { return };
    project.write("rootfs/usr/sbin/bootsel", b"old");
    project.write("rootfs/usr/lib/systemd/system/pivot-commit.service", b"old");
    project.write("rootfs/usr/lib/systemd/system/other.service", b"other");
    project.write("rootfs/etc/pivot/keys/old.pub", b"old");
    let private = fs::Permissions::from_mode(0o750);
    fs::set_permissions(project.path("rootfs/etc/pivot"), private).unwrap();
    output(
        Command::new("tar")
            .arg("-C")
            .arg(project.path("rootfs"))
            .arg("-cf")
            .arg(project.path("root.tar"))
            .arg("."),
    );
    // two of one name, as `tar --append` leaves them
    output(
        Command::new("tar")
            .arg("-C")
            .arg(project.path("rootfs"))
            .arg("-rf")
            .arg(project.path("root.tar"))
            .arg("./usr/sbin/bootsel"),
    );
    for root in ["directory = \"rootfs\"", "tar = \"root.tar\""] {
        let (plain, with) = built(&project, root);
        let gone: Vec<_> = more(&plain, &with)
            .lines()
            .map(|line| line.rsplit(' ').next().unwrap().to_owned())
            .collect();
        assert_eq!(
            gone,
            ["usr/lib/systemd/system/pivot-commit.service", "usr/sbin/bootsel"],
            "{root}"
        );
        let image = project.path("out/root.squashfs");
        assert_eq!(read(&image, "usr/sbin/bootsel"), fs::read(project.path("bootsel")).unwrap());
        assert_eq!(read(&image, "etc/pivot/keys/old.pub"), b"old");
        assert_eq!(read(&image, "usr/lib/systemd/system/other.service"), b"other");
        assert!(with.contains("drwxr-x--- ") && with.contains(" etc/pivot\n"), "{with}");
        let text = String::from_utf8(revision_loud(&project).output().unwrap().stderr).unwrap();
        let note = "of the root's own files these are replaced: usr/sbin/bootsel, usr/lib/systemd/system/pivot-commit.service";
        assert!(text.contains(note), "{text}");
        assert!(text.contains("the root trusts keys of its own: old.pub"), "{text}");
    }
}

/// Of the root itself and of directories that no member says anything of, too: whoever builds, and whenever.
#[test]
fn archive_for_anybody() {
    let (Some(project), Some(_)) = (project(), program("setpriv", "util-linux")) else { return };
    let tar = project.path("root.tar");
    let mut command = Command::new("tar");
    command.args(["--mode=0750", "--mtime=@1000", "--no-recursion", "-C"]);
    output(command.arg(project.path("rootfs")).arg("-cf").arg(&tar).args([
        ".",
        "etc",
        "etc/passwd",
    ]));
    let mut command = Command::new("tar");
    command.args(["--mode=0755", "--mtime=@2000", "-C"]).arg(project.path("rootfs"));
    output(command.arg("-rf").arg(&tar).args(["usr/sbin/init", "usr/lib/systemd/systemd"]));
    project.write("demo.toml", config("", "tar = \"root.tar\"").as_bytes());
    let key = fs::Permissions::from_mode(0o644);
    fs::set_permissions(project.path("keys/pivot.key"), key).unwrap();
    output(&mut revision(&project, "one"));
    output(&mut as_user(&project, &revision(&project, "two")));
    let mut unsquashfs = program("unsquashfs", "squashfs-tools").unwrap();
    let text =
        output(unsquashfs.env("TZ", "UTC").arg("-lln").arg(project.path("two/root.squashfs")));
    let line = |path: &str| {
        let line = text.lines().find(|line| line.ends_with(&format!(" {path}"))).unwrap();
        line.split_whitespace().collect::<Vec<_>>()
    };
    let root = line("squashfs-root");
    assert_eq!((root[0], root[3], root[4]), ("drwxr-x---", "1970-01-01", "00:33"), "{text}");
    // before squashfs-tools 4.6 it takes a user namespace
    let namespaces =
        as_user(&project, program("unshare", "util-linux").unwrap().args(["-r", "true"])).status();
    if !namespaces.is_ok_and(|status| status.success()) {
        eprintln!("SKIPPED: a user may make no user namespace");
        return;
    }
    assert_eq!(root[1], "0/0", "{text}");
    assert_eq!(line("squashfs-root/usr")[..2], ["drwxr-xr-x", "0/0"], "{text}");
    assert_equal(&project.path("one/root.squashfs"), &project.path("two/root.squashfs"));
}

fn revision_loud(project: &Project) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pivot-image"));
    command.arg("--no-cache").arg("revision").arg(project.path("demo.toml"));
    command.arg("-o").arg(project.path("loud"));
    command
}

#[test]
fn equal_input_gives_equal_roots() {
    let Some(project) = project() else { return };
    output(
        Command::new("tar")
            .arg("-C")
            .arg(project.path("rootfs"))
            .arg("-cf")
            .arg(project.path("root.tar"))
            .arg("."),
    );
    for root in ["directory = \"rootfs\"", "tar = \"root.tar\""] {
        project.write("demo.toml", config("", root).as_bytes());
        output(&mut revision(&project, "one"));
        std::thread::sleep(std::time::Duration::from_millis(1100));
        output(&mut revision(&project, "two"));
        assert_equal(&project.path("one/root.squashfs"), &project.path("two/root.squashfs"));
        assert_equal(
            &project.path("one/revision/manifest"),
            &project.path("two/revision/manifest"),
        );
    }
}

#[test]
fn settings() {
    let Some(project) = project() else { return };
    let lines = "deadline = \"5min\"\nhealth_network = \"example.com:443\"\nkeys = [\"keys/pivot.pub\", \"more/b.pub\"]";
    output(pivot_image().args(["keys", "--name", "b", "-o"]).arg(project.path("more")));
    project.write("demo.toml", config(lines, "directory = \"rootfs\"").as_bytes());
    output(&mut revision(&project, "out"));
    let root = project.path("out/root.squashfs");
    let text = |path: &str| String::from_utf8(read(&root, path)).unwrap();
    assert!(text("usr/lib/systemd/system/pivot-deadline.timer").contains("\nOnBootSec=5min\n"));
    let check = text("usr/lib/systemd/system/pivot-health-network.service");
    assert!(
        check.contains("\nExecStart=/usr/sbin/bootsel reachable --timeout 300 example.com:443\n"),
        "{check}"
    );
    let list = listed(&root);
    assert!(list.contains(
        "/boot-complete.target.requires/pivot-health-network.service -> ../pivot-health-network.service\n"
    ));
    assert!(
        list.contains(" etc/pivot/keys/pivot.pub\n") && list.contains(" etc/pivot/keys/b.pub\n")
    );
    project.write("demo.toml", config("units = false", "directory = \"rootfs\"").as_bytes());
    output(&mut revision(&project, "out"));
    let list = listed(&root);
    assert!(list.contains(" usr/sbin/bootsel\n") && list.contains(" etc/pivot/keys/pivot.pub\n"));
    assert!(!list.contains("pivot-") && !list.contains("50-pivot"), "{list}");
}
