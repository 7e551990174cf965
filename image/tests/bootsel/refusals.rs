// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is refused, before a file is written.

use std::fs;
use std::os::unix::fs::symlink;

use super::common::{Project, refusal};
use super::{config, project, revision};

const DIRECTORY: &str = "directory = \"rootfs\"";

#[track_caller]
fn refused(project: &Project, text: &str, why: &str) {
    project.write("demo.toml", text.as_bytes());
    let (error, code) = refusal(&mut revision(project, "out"));
    assert!(error.contains(why) && error.contains("demo.toml") && code == 1, "{error}");
    assert!(!project.path("out").exists(), "refused before any work");
}

#[test]
fn roots_that_nothing_is_put_into() {
    let Some(project) = project() else { return };
    let why = "bootsel: root.squashfs is taken as it is, and nothing can be put into it: give the root as a directory";
    refused(&project, &config("", "squashfs = \"root.squashfs\""), why);
    let text = config("", DIRECTORY).replace("[root]\ndirectory = \"rootfs\"\n", "");
    refused(&project, &text, "bootsel: there is no [root] section to put it into");
    fs::remove_file(project.path("rootfs/usr/lib/systemd/systemd")).unwrap();
    refused(&project, &config("", DIRECTORY), "the root has no systemd: say units = false");
    project.write("rootfs.tar", b"no archive");
    refused(&project, &config("", "tar = \"rootfs.tar\""), "rootfs.tar");
}

#[test]
fn places_that_cannot_be() {
    let Some(project) = project() else { return };
    let text = config("", DIRECTORY);
    project.write("rootfs/etc/pivot", b"");
    refused(
        &project,
        &text,
        "cannot put /etc/pivot/keys/pivot.pub in place: /etc/pivot is no directory",
    );
    fs::remove_file(project.path("rootfs/etc/pivot")).unwrap();
    symlink("/run/pivot/etc", project.path("rootfs/etc/pivot")).unwrap();
    refused(&project, &text, "a link leads to /run, which is not there");
    fs::remove_file(project.path("rootfs/etc/pivot")).unwrap();
    fs::create_dir(project.path("rootfs/usr/sbin/bootsel")).unwrap();
    refused(&project, &text, "/usr/sbin/bootsel is a directory");
}

#[test]
fn keys() {
    let Some(project) = project() else { return };
    let none = config("", DIRECTORY).replace("key = \"keys/pivot.key\"\n", "");
    refused(&project, &none, "bootsel.keys: no public key");
    refused(&project, &config("keys = []", DIRECTORY), "bootsel.keys: no public key");
    let with = |keys: &str| config(&format!("keys = [{keys}]"), DIRECTORY);
    refused(&project, &with("\"keys/pivot.key\""), "pivot.key: expected a file NAME.pub");
    refused(&project, &with("\"keys/none.pub\""), "cannot read");
    project.write("bad.pub", b"x");
    refused(&project, &with("\"bad.pub\""), "bad.pub");
    fs::create_dir(project.path("more")).unwrap();
    fs::copy(project.path("keys/pivot.pub"), project.path("more/pivot.pub")).unwrap();
    refused(&project, &with("\"keys/pivot.pub\", \"more/pivot.pub\""), "a second pivot.pub");
}

#[test]
fn programs() {
    let Some(project) = project() else { return };
    project.write("bootsel", b"#!/bin/sh\n");
    refused(&project, &config("", DIRECTORY), "bootsel: not an ELF file");
    let text = config("", DIRECTORY).replace("program = \"bootsel\"\n", "");
    project.write("demo.toml", text.as_bytes());
    let (error, _) = refusal(
        revision(&project, "out")
            .env("CARGO_TARGET_DIR", project.path("target"))
            .current_dir(project.path("")),
    );
    assert!(error.contains("target/aarch64-unknown-linux-musl/release/bootsel"), "{error}");
    assert!(error.contains("cargo device") && error.contains("bootsel.program"), "{error}");
}

#[test]
fn settings() {
    let Some(project) = project() else { return };
    let units = |line: &str| config(&format!("units = false\n{line}"), DIRECTORY);
    let why = "bootsel.deadline: is a matter of the units";
    refused(&project, &units("deadline = \"5min\""), why);
    refused(&project, &units("health_network = true"), "bootsel.health_network: is a matter");
}
