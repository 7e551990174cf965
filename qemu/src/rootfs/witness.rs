// SPDX-License-Identifier: MIT OR Apache-2.0
//! The test root: its init reports what it finds.

use anyhow::Result;

use super::{Programs, Tree};
use crate::cargo;

/// How the directories lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Layout {
    /// /lib and /sbin are links, /lib an absolute one: followed on the initramfs' side it would lead nowhere.
    Merged,
    /// No links: for file systems that have none.
    Plain,
}

pub(crate) fn tree(programs: Programs, layout: Layout) -> Result<Tree> {
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
    let program = match programs {
        Programs::Arm64 => cargo::WITNESS,
        Programs::EveryPi => cargo::WITNESS_ARMV6,
    };
    tree.program(&format!("{usr}sbin/init"), &program.shipped()?)?;
    Ok(tree)
}
