// SPDX-License-Identifier: MIT OR Apache-2.0
//! `early_<release>`: the cpio archive with the modules that one kernel loads before it can see the data
//! partition, resolved here so that init only has to insert a list of files.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};

use crate::cpio::Archive;
use crate::load::{self, Line, Resolver};
use crate::machines::{ALWAYS, Driver, Machine};

/// A module by name, and who asked for it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Wanted<'a> {
    driver: Names<'a>,
    required: bool,
    by: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Names<'a> {
    Table(&'static [&'static str]),
    Given(&'a str),
}

/// The files to load, relative to the release's directory, in order: watchdogs, storage, the modules of
/// `names`, then what every boot needs. Each brings what it depends on; what is built in takes no file.
///
/// # Errors
/// Names the module that the kernel has neither as a file nor built in, and who needs it.
pub fn resolve(
    resolver: &Resolver,
    release: &str,
    machines: &[Machine],
    names: &[String],
) -> Result<Vec<Line>> {
    let mut order: Vec<Line> = Vec::new();
    for wanted in list(machines, names) {
        for line in lines(resolver, release, &wanted)? {
            match order.iter_mut().find(|known| known.path == line.path) {
                Some(known) => known.optional &= line.optional,
                None => order.push(line),
            }
        }
    }
    Ok(order)
}

/// What is wanted, in the order to load it.
fn list<'a>(machines: &[Machine], names: &'a [String]) -> Vec<Wanted<'a>> {
    let table = |drivers: &[Driver], by: &str| -> Vec<Wanted<'a>> {
        let one = |driver: &Driver| Wanted {
            driver: Names::Table(driver.names),
            required: driver.required,
            by: by.to_owned(),
        };
        drivers.iter().map(one).collect()
    };
    let needs = |machine: &Machine| format!("machine {machine:?}").to_lowercase();
    let watchdogs = machines.iter().flat_map(|m| table(m.watchdogs(), &needs(m)));
    let storage = machines.iter().flat_map(|m| table(m.storage(), &needs(m)));
    let given = names.iter().map(|name| Wanted {
        driver: Names::Given(name),
        required: true,
        by: "the configured list of early modules".to_owned(),
    });
    watchdogs.chain(storage).chain(given).chain(table(ALWAYS, "every boot")).collect()
}

/// The files of one driver; several names may each have one.
fn lines(resolver: &Resolver, release: &str, wanted: &Wanted<'_>) -> Result<Vec<Line>> {
    let names: &[&str] = match &wanted.driver {
        Names::Table(names) => names,
        Names::Given(name) => &[name],
    };
    let (mut lines, mut found) = (Vec::new(), false);
    for name in names {
        if let Some(more) = resolver.lines(name)? {
            found = true;
            lines.extend(more);
        }
    }
    if wanted.required && !found {
        bail!(
            "kernel {release} has no module {} and does not have it built in: {} needs it",
            names.join(" or "),
            wanted.by
        );
    }
    Ok(lines)
}

/// The archive: `lib/modules/<release>/early` and the files it lists. `directory` is the release's, and its
/// modules are plain .ko files.
///
/// # Errors
/// Where a file cannot be read.
pub fn archive(directory: &Path, release: &str, order: &[Line]) -> Result<Archive> {
    let mut archive = Archive::default();
    let base = format!("lib/modules/{release}");
    archive.file(&format!("{base}/early"), 0o644, load::text(order).into_bytes());
    for Line { path, .. } in order {
        let file = directory.join(path);
        let data = fs::read(&file).with_context(|| format!("cannot read {}", file.display()))?;
        archive.file(&format!("{base}/{path}"), 0o644, data);
    }
    Ok(archive)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(wanted: &[Wanted<'_>]) -> Vec<String> {
        let one = |wanted: &Wanted<'_>| match &wanted.driver {
            Names::Table(names) => names[0].to_owned(),
            Names::Given(name) => (*name).to_owned(),
        };
        wanted.iter().map(one).collect()
    }

    #[test]
    fn watchdogs_of_all_machines_come_first() {
        let given = ["nvme".to_owned()];
        let wanted = list(&[Machine::Raspi, Machine::Virt], &given);
        let expected = [
            "bcm2835_wdt",
            "i6300esb",
            "mmc_block",
            "gpio_raspberrypi_exp",
            "gpio_brcmstb",
            "fixed",
            "gpio_regulator",
            "bcm2835",
            "sdhci_iproc",
            "sdhci_brcmstb",
            "nvmem_rmem",
            "virtio_pci",
            "virtio_mmio",
            "virtio_blk",
            "sdhci_pci",
            "mmc_block",
            "nvme",
            "loop",
            "squashfs",
            "ext4",
            "overlay",
        ];
        assert_eq!(names(&wanted), expected);
        assert_eq!(wanted[0].by, "machine raspi");
        assert!(wanted.iter().filter(|wanted| !wanted.required).count() == 10);
    }

    #[test]
    fn buses_before_disks() {
        let wanted = names(&list(&[Machine::Uefi], &[]));
        let at = |name: &str| wanted.iter().position(|known| known == name).unwrap();
        assert!(at("sbsa_gwdt") < at("virtio_pci") && at("i6300esb") < at("virtio_pci"));
        // each kind of disk that docs/uefi.md promises
        for name in ["virtio_blk", "virtio_scsi", "sd_mod", "nvme", "ahci", "usb_storage", "uas"] {
            assert!(at(name) < at("ext4"), "{name}");
        }
    }

    #[test]
    fn archive_holds_the_list_and_the_files() {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir(directory.path().join("kernel")).unwrap();
        fs::write(directory.path().join("kernel/b.ko"), "B").unwrap();
        let order = [Line { path: "kernel/b.ko".to_owned(), optional: false }];
        let archive = archive(directory.path(), "6.12-x", &order).unwrap();
        assert!(archive.contains("lib/modules/6.12-x/early"));
        assert!(archive.contains("lib/modules/6.12-x/kernel/b.ko"));
    }
}
