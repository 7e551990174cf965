// SPDX-License-Identifier: MIT OR Apache-2.0
//! The units among those of a real systemd, judged by `systemd-analyze verify`.

use std::fs;
use std::path::Path;

use super::common::{output, program};
use super::{config, project, revision};

/// What systemd says of its targets with our units beside its own, after a change to one of them.
fn verify(units: &Path, unit: &str, change: impl Fn(&str) -> String) -> String {
    let text = fs::read_to_string(units.join(unit)).unwrap();
    fs::write(units.join(unit), change(&text)).unwrap();
    let mut analyze = program("systemd-analyze", "systemd").unwrap();
    // an empty part stands for systemd's own directories
    let path = format!("{}:", units.display());
    analyze.env("SYSTEMD_UNIT_PATH", path).args(["verify", "--man=no"]);
    analyze.args(["multi-user.target", "graphical.target", "emergency.target"]);
    for name in ["commit.service", "deadline.timer", "deadline.service", "collect.service"] {
        analyze.arg(format!("pivot-{name}"));
    }
    let found = analyze.arg("pivot-health-network.service").output().unwrap();
    fs::write(units.join(unit), text).unwrap();
    let error = String::from_utf8(found.stderr).unwrap();
    assert!(found.status.success() || !error.is_empty());
    error
}

#[test]
fn systemd_finds_no_fault() {
    let Some(project) = project() else { return };
    if program("systemd-analyze", "systemd").is_none()
        || !Path::new("/lib/systemd/system/systemd-pstore.service").exists()
    {
        return;
    }
    project
        .write("demo.toml", config("health_network = true", "directory = \"rootfs\"").as_bytes());
    output(&mut revision(&project, "out"));
    let mut unsquashfs = program("unsquashfs", "squashfs-tools").unwrap();
    unsquashfs.arg("-no-progress").arg("-d").arg(project.path("unpacked"));
    output(unsquashfs.arg(project.path("out/root.squashfs")));
    let units = project.path("unpacked/usr/lib/systemd/system");
    // the host does not have the program; that it is enabled is the image's matter on Debian
    for entry in fs::read_dir(&units).unwrap().map(Result::unwrap).filter(|e| e.path().is_file()) {
        let text = fs::read_to_string(entry.path()).unwrap();
        fs::write(entry.path(), text.replace("/usr/sbin/bootsel", "/bin/true")).unwrap();
    }
    let pstore = units.join("sysinit.target.wants/systemd-pstore.service");
    std::os::unix::fs::symlink("/lib/systemd/system/systemd-pstore.service", pstore).unwrap();
    let same = |text: &str| text.to_owned();
    assert_eq!(verify(&units, "pivot-commit.service", same), "");
    // it would see a fault: an order in a circle, a word that does not exist
    let circle = |text: &str| text.replace("DefaultDependencies=no\n", "");
    let error = verify(&units, "pivot-collect.service", circle);
    assert!(error.contains("ordering cycle"), "{error}");
    let error = verify(&units, "pivot-commit.service", |text| text.replace("After=", "Behind="));
    assert!(error.contains("Unknown key") && error.contains("Behind"), "{error}");
}
