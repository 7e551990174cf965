// SPDX-License-Identifier: MIT OR Apache-2.0
//! The initramfs images that Debian's own generators make: dracut with systemd, and initramfs-tools. Made once, in an arm64
//! Debian of mmdebstrap's, with the kernel and modules of everything else here.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use super::contenders::Contender;
use super::measure::{Boot, Job};
use super::world::World;
use crate::rootfs::customized;
use crate::{fetch, progress};

/// The name in the table, the file, and how it is made inside of the Debian.
const GENERATORS: [(&str, &str, &str); 2] = [
    (
        "dracut, systemd",
        "dracut.img",
        "dracut --force --no-hostonly --no-hostonly-cmdline --compress cat --kver RELEASE /boot/dracut.img",
    ),
    ("initramfs-tools", "initramfs-tools.img", "mkinitramfs -o /boot/initramfs-tools.img RELEASE"),
];

/// Beside the essential packages.
const PACKAGES: &str =
    "busybox,dracut-core,initramfs-tools-core,klibc-utils,kmod,systemd,systemd-sysv,udev,zstd";

impl World {
    /// Those for the root device: the other job is none of theirs. Where they were not made yet it takes `all`.
    pub(super) fn packaged(&self, job: Job, all: bool) -> Result<Vec<Contender>> {
        let directory = fetch::cache()?.join("bench").join(&self.boot.release);
        let made = GENERATORS.iter().all(|(_, file, _)| directory.join(file).exists());
        if job == Job::Device || !(made || all) {
            return Ok(Vec::new());
        }
        if !made {
            self.generate(&directory)?;
        }
        GENERATORS
            .iter()
            .map(|(name, file, _)| {
                let initramfs =
                    fs::read(directory.join(file)).with_context(|| (*file).to_owned())?;
                let length = initramfs.len() as u64;
                let boot = Boot { limit: super::contenders::LONG, ..self.boot(job, initramfs) };
                Ok(Contender { name, boot, program: 0, initramfs: length, parallel: true })
            })
            .collect()
    }

    /// Makes the images: half an hour where programs for arm64 are emulated.
    fn generate(&self, cache: &Path) -> Result<()> {
        fs::create_dir_all(cache).with_context(|| format!("cannot make {}", cache.display()))?;
        let script = self.directory.join("generate.sh");
        let commands = GENERATORS.map(|(_, file, command)| {
            let command = command.replace("RELEASE", &self.boot.release);
            // those that are not compressed are compressed here, where it is fast
            let copy = format!("cp \"$1/boot/{file}\" '{}/{file}'", cache.display());
            let pack = format!("zstd -q -f -19 \"$1/boot/{file}\" -o '{}/{file}'", cache.display());
            let pick = format!(
                "if head -c 4 \"$1/boot/{file}\" | grep -q 0707; then {pack}; else {copy}; fi"
            );
            format!("chroot \"$1\" {command}\n{pick}\n")
        });
        let text = format!(
            "set -e\ncp -r '{0}/lib/modules' \"$1/lib/\"\ncp '{0}'/boot/config-* \"$1/boot/\"\n: > \"$1/etc/fstab\"\n\
             chroot \"$1\" depmod {1}\n{2}",
            self.kernel.display(),
            self.boot.release,
            commands.concat()
        );
        fs::write(&script, text)?;
        let hook = format!("sh '{}' \"$1\"", script.display());
        progress::step("dracut and initramfs-tools in a Debian", || customized(PACKAGES, &hook))
    }
}
