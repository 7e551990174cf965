// SPDX-License-Identifier: MIT OR Apache-2.0
//! Device trees and overlays of a slot.
//!
//! The firmware asks for the names of the vendor's kernel (`bcm2710-rpi-3-b.dtb`), and kernel.org's has other ones
//! (`bcm2837-rpi-3-b.dtb`). Each tree is stored under its own name, and once more under the vendor's where no kernel
//! brings that. Where several kernels have a tree, it is taken from the one that its boards boot by default.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Result;

use crate::config::KernelFile::{self, V6, V7, V7l, V8, V2712};
use crate::fat::Content;
use crate::kernel::Kernel;
use crate::tree::{Node, Tree};

/// The vendor's name and kernel.org's, the best first. (raspberrypi/firmware: boot/; U-Boot:
/// board/raspberrypi/rpi/rpi.c, which has the trees that a mainline kernel is given on each board.)
const NAMES: &[(&str, &[&str])] = &[
    ("bcm2708-rpi-b-rev1.dtb", &["bcm2835-rpi-b.dtb"]),
    ("bcm2708-rpi-b.dtb", &["bcm2835-rpi-b-rev2.dtb", "bcm2835-rpi-b.dtb"]),
    ("bcm2708-rpi-b-plus.dtb", &["bcm2835-rpi-b-plus.dtb"]),
    ("bcm2708-rpi-cm.dtb", &["bcm2835-rpi-cm1-io1.dtb"]),
    ("bcm2708-rpi-zero.dtb", &["bcm2835-rpi-zero.dtb"]),
    ("bcm2708-rpi-zero-w.dtb", &["bcm2835-rpi-zero-w.dtb"]),
    ("bcm2709-rpi-2-b.dtb", &["bcm2836-rpi-2-b.dtb"]),
    // revision 1.2 has the later chip, and U-Boot gives it the same tree
    ("bcm2710-rpi-2-b.dtb", &["bcm2837-rpi-2-b.dtb", "bcm2836-rpi-2-b.dtb"]),
    ("bcm2710-rpi-3-b.dtb", &["bcm2837-rpi-3-b.dtb"]),
    ("bcm2710-rpi-3-b-plus.dtb", &["bcm2837-rpi-3-b-plus.dtb"]),
    ("bcm2710-rpi-cm3.dtb", &["bcm2837-rpi-cm3-io3.dtb"]),
    ("bcm2710-rpi-zero-2.dtb", &["bcm2837-rpi-zero-2-w.dtb"]),
    ("bcm2710-rpi-zero-2-w.dtb", &["bcm2837-rpi-zero-2-w.dtb"]),
    ("bcm2711-rpi-cm4.dtb", &["bcm2711-rpi-cm4-io.dtb"]),
    ("bcm2712d0-rpi-5-b.dtb", &["bcm2712-d-rpi-5-b.dtb"]),
];

/// Kernels by whose tree is taken, for trees whose names begin like this; of the first line that fits.
const PREFERENCE: &[(&str, &[KernelFile])] = &[
    ("bcm2708", &[V6]),
    ("bcm2835", &[V6]),
    ("bcm2709", &[V7]),
    ("bcm2836", &[V7]),
    ("bcm2710-rpi-2-b", &[V7, V8]),
    ("bcm2837-rpi-2-b", &[V7, V8]),
    ("bcm2710", &[V8, V7]),
    ("bcm2837", &[V8, V7]),
    ("bcm2711", &[V8, V7l]),
    ("bcm2712", &[V2712, V8]),
];

/// Overlays are nearly the same for all kernels of one version.
const OVERLAYS: &[KernelFile] = &[V8, V2712, V7l, V7, V6];

/// The kernels of an image by their files.
pub type Kernels<'a> = BTreeMap<KernelFile, &'a Kernel>;

/// Device trees for the root directory of a slot.
///
/// # Errors
/// Where a kernel's directory cannot be read.
pub fn trees(kernels: &Kernels<'_>) -> Result<Vec<(String, Content)>> {
    let mut by_kernel = BTreeMap::new();
    for (file, kernel) in kernels {
        by_kernel.insert(*file, files(&kernel.dtbs)?);
    }
    let mut out = BTreeMap::new();
    for name in by_kernel.values().flat_map(BTreeMap::keys) {
        // none where no kernel here is for the board
        let from = preference(name).iter().find_map(|file| by_kernel.get(file)?.get(name));
        out.extend(from.map(|from| (name.clone(), from.clone())));
    }
    for (vendors, upstream) in NAMES {
        let copy = upstream.iter().find_map(|name| out.get(*name)).cloned();
        if let (Some(copy), false) = (copy, out.contains_key(*vendors)) {
            out.insert((*vendors).to_owned(), copy);
        }
    }
    Ok(out.into_iter().collect())
}

fn preference(name: &str) -> &'static [KernelFile] {
    PREFERENCE.iter().find(|(prefix, _)| name.starts_with(prefix)).map_or(&[], |row| row.1)
}

/// Overlays of all kernels, to lie in `overlays/`; `more` are those that come with the firmware.
///
/// # Errors
/// Where a kernel's directory cannot be read.
pub fn overlays(
    kernels: &Kernels<'_>,
    more: &[(String, Content)],
) -> Result<Vec<(String, Content)>> {
    let mut out = BTreeMap::new();
    for kernel in OVERLAYS.iter().filter_map(|file| kernels.get(file)) {
        for (name, content) in files(&kernel.overlays)? {
            out.entry(name).or_insert(content);
        }
    }
    for (name, content) in more {
        out.entry(name.clone()).or_insert_with(|| content.clone());
    }
    Ok(out.into_iter().map(|(name, content)| (format!("overlays/{name}"), content)).collect())
}

/// The files of a directory, by their names.
fn files(directory: &Path) -> Result<BTreeMap<String, Content>> {
    let mut tree = Tree::default();
    tree.add(directory)?;
    let file = |(path, node): (&Path, &Node)| match node {
        Node::File(from, length, _) => {
            Some((path.to_string_lossy().into_owned(), Content::File(from.clone(), *length)))
        }
        _ => None,
    };
    Ok(tree.iter().filter_map(file).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(name: &str, expected: &[KernelFile]) {
        assert_eq!(preference(name), expected, "{name}");
    }

    #[test]
    fn kernel_that_a_board_takes_by_default() {
        check("bcm2835-rpi-zero.dtb", &[V6]);
        check("bcm2836-rpi-2-b.dtb", &[V7]);
        check("bcm2710-rpi-2-b.dtb", &[V7, V8]);
        check("bcm2710-rpi-3-b.dtb", &[V8, V7]);
        check("bcm2711-rpi-4-b.dtb", &[V8, V7l]);
        check("bcm2712d0-rpi-5-b.dtb", &[V2712, V8]);
        check("bcm2718-unknown.dtb", &[]);
    }
}
