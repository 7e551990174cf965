// SPDX-License-Identifier: MIT OR Apache-2.0
//! In which order modules are inserted.
//!
//! The order is modprobe's (`kmod_module_get_probe_list` of libkmod): a module's dependencies, each with what is said
//! of it in modules.softdep before and after it, then the module in the same way. What comes up again is left out.
//! In one thing we differ: libkmod takes a module that it found by an alias for another one than the same found by its
//! name, so a loop of softdeps through an alias is cut in another place. No kernel has one.

use alloc::string::{String, ToString};
use alloc::vec::Vec;

use crate::tree::{Found, Module, Tree, softdeps};
use crate::{Error, module_name};

/// Most modules of one order: Debian 6.12's longest has 21.
const MODULES: usize = 512;
/// Most steps, of which a module costs a few: how often a softdep comes up again is written on the disk.
const STEPS: usize = 1 << 14;

/// What is still to be done, the next one last. A list and not a recursion: how deep it goes is written on the disk.
enum Step {
    /// Look for a softdep, which may be an alias. One that is not there is left out: that is what "soft" means.
    Find(String),
    /// A module with all that it depends on.
    Visit(Module),
    /// One file, with its softdeps.
    Surround(String),
    /// One file.
    Insert(String),
}

/// The files to insert so that all of `modules` are loaded. `name` is what was asked for, for messages.
pub(crate) fn order(tree: &Tree, name: &str, modules: Vec<Module>) -> Result<Vec<String>, Error> {
    let mut steps: Vec<Step> = modules.into_iter().rev().map(Step::Visit).collect();
    let mut visited: Vec<String> = Vec::new();
    let mut files: Vec<String> = Vec::new();
    for _ in 0..STEPS {
        let Some(step) = steps.pop() else { return Ok(files) };
        match step {
            Step::Find(alias) => {
                if let Found::Modules(found) = tree.find(&alias)? {
                    steps.extend(found.into_iter().rev().map(Step::Visit));
                }
            }
            // This ends loops of softdeps: each module is entered once.
            Step::Visit(module) if visited.contains(&module.path) => {}
            Step::Visit(Module { path, dependencies }) => {
                visited.push(path.clone());
                steps.push(Step::Surround(path));
                steps.extend(dependencies.into_iter().rev().map(Step::Surround));
            }
            Step::Surround(path) => {
                let (before, after) = softdeps(&tree.softdeps, &module_name(&path));
                let find = |name: &str| Step::Find(name.to_string());
                steps.extend(after.into_iter().rev().map(find));
                steps.push(Step::Insert(path));
                steps.extend(before.into_iter().rev().map(find));
            }
            Step::Insert(path) if files.contains(&path) => {}
            Step::Insert(path) => files.push(path),
        }
        if files.len() > MODULES || steps.len() > STEPS {
            break;
        }
    }
    Err(Error::TooMany { name: name.to_string() })
}
