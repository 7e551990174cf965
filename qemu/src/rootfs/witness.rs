// SPDX-License-Identifier: MIT OR Apache-2.0
//! The test root: its init reports what it finds.

use anyhow::Result;

use super::Tree;
use crate::cargo;

/// How the directories lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Layout {
    /// /lib and /sbin are links, /lib an absolute one: followed on the initramfs' side it would lead nowhere.
    Merged,
    /// No links: for file systems that have none.
    Plain,
}

pub(crate) fn tree(layout: Layout) -> Result<Tree> {
    let common = ["dev", "etc", "mnt", "proc", "run", "sys", "tmp"];
    let tree = Tree::new(&common)?;
    let usr = if layout == Layout::Merged { "usr/" } else { "" };
    for directory in ["lib/firmware", "lib/modules", "sbin"] {
        std::fs::create_dir_all(tree.path().join(format!("{usr}{directory}")))?;
    }
    if layout == Layout::Merged {
        tree.link("lib", "/usr/lib")?;
        tree.link("sbin", "usr/sbin")?;
    }
    tree.program(&format!("{usr}sbin/init"), &cargo::WITNESS.shipped()?)?;
    Ok(tree)
}
