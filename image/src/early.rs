// SPDX-License-Identifier: MIT OR Apache-2.0
//! `early_<release>`: the cpio archive with the modules that one kernel loads before it can see the data
//! partition, resolved here so that init only has to insert a list of files.

use std::collections::HashSet;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use modules::Tree;

use crate::cpio::Archive;
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
pub fn resolve(tree: &Tree, release: &str, machines: &[Machine], names: &[String]) -> Result<Vec<String>> {
    let (mut order, mut seen) = (Vec::new(), HashSet::new());
    for wanted in list(machines, names) {
        for path in files(tree, release, &wanted)? {
            if seen.insert(path.clone()) {
                order.push(path);
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
fn files(tree: &Tree, release: &str, wanted: &Wanted<'_>) -> Result<Vec<String>> {
    let names: &[&str] = match &wanted.driver {
        Names::Table(names) => names,
        Names::Given(name) => &[name],
    };
    let (mut files, mut found) = (Vec::new(), false);
    for name in names {
        match tree.load_order(name) {
            Ok(paths) => {
                found = true;
                files.extend(paths);
            }
            Err(modules::Error::Unknown { .. }) => {}
            Err(error) => bail!("module {name} of kernel {release}: {error}"),
        }
    }
    if wanted.required && !found {
        bail!(
            "kernel {release} has no module {} and does not have it built in: {} needs it",
            names.join(" or "),
            wanted.by
        );
    }
    Ok(files)
}

/// The archive: `lib/modules/<release>/early` and the files it lists. `directory` is the release's, and its
/// modules are plain .ko files.
///
/// # Errors
/// Where a file cannot be read.
pub fn archive(directory: &Path, release: &str, order: &[String]) -> Result<Archive> {
    let mut archive = Archive::default();
    let base = format!("lib/modules/{release}");
    let list: String = order.iter().map(|path| format!("{path}\n")).collect();
    archive.file(&format!("{base}/early"), 0o644, list.into_bytes());
    for path in order {
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
            "bcm2835_wdt", "i6300esb", "mmc_block", "bcm2835", "sdhci_iproc", "sdhci_brcmstb", "virtio_pci",
            "virtio_mmio", "virtio_blk", "nvme", "loop", "squashfs", "ext4", "overlay",
        ];
        assert_eq!(names(&wanted), expected);
        assert_eq!(wanted[0].by, "machine raspi");
        assert!(wanted.iter().filter(|wanted| !wanted.required).count() == 2);
    }

    #[test]
    fn archive_holds_the_list_and_the_files() {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir(directory.path().join("kernel")).unwrap();
        fs::write(directory.path().join("kernel/b.ko"), "B").unwrap();
        let order = ["kernel/b.ko".to_owned()];
        let archive = archive(directory.path(), "6.12-x", &order).unwrap();
        assert!(archive.contains("lib/modules/6.12-x/early"));
        assert!(archive.contains("lib/modules/6.12-x/kernel/b.ko"));
    }
}
