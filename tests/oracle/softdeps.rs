// SPDX-License-Identifier: MIT OR Apache-2.0
//! Softdeps that no kernel has: those of Debian's kernels come out right with much that is wrong, since what is to be
//! loaded after a module depends on it.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use crate::Fixture;

/// A number below `limit`, the same ones in every run (xorshift).
fn some(state: &mut u64, limit: usize) -> usize {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    usize::try_from(*state >> 33).unwrap() % limit
}

/// Softdeps that no kernel has: loops, chains, modules before and after each other, aliases, names of nothing. (Not
/// loops through an alias: `modules::order` says why.) The files of the package are linked, all but modules.softdep.
fn with_softdeps(real: &Fixture, base: &Path, names: &[&str], state: &mut u64) -> Fixture {
    let directory = base.join(&real.release);
    fs::create_dir(&directory).unwrap();
    for entry in fs::read_dir(&real.directory).unwrap().map(Result::unwrap) {
        if entry.file_name() != "modules.softdep" {
            symlink(entry.path(), directory.join(entry.file_name())).unwrap();
        }
    }
    let mut lines = String::new();
    for name in names {
        lines.push_str(&format!("softdep {name}"));
        for place in ["pre:", "post:"] {
            lines.push_str(&format!(" {place}"));
            for _ in 0..some(state, 3) {
                lines.push_str(&format!(" {}", names[some(state, names.len())]));
            }
        }
        lines.push('\n');
    }
    fs::write(directory.join("modules.softdep"), lines).unwrap();
    Fixture::of(base.to_str().unwrap(), &real.release)
}

#[test]
fn softdeps_that_no_kernel_has() {
    let real = Fixture::open();
    // Those that have the aliases below can be found in two ways.
    let aliased = |name: &String| name.starts_with("sha") || name.starts_with("crc32c");
    let all: Vec<String> = real.modules().into_iter().filter(|name| !aliased(name)).collect();
    let (mut state, mut looked, mut files) = (0x9E37_79B9_7F4A_7C15, 0, 0);
    for size in [1, 2, 3, 5, 8, 12, 20, 40] {
        for _ in 0..20 {
            let base = tempfile::tempdir().unwrap();
            let mut names = vec!["crypto-crc32c", "crypto-sha256", "no_such_module"];
            names.extend((0..size).map(|_| all[some(&mut state, all.len())].as_str()));
            // One line a module: of two libkmod would take the first.
            names.sort_unstable();
            names.dedup();
            let fixture = with_softdeps(&real, base.path(), &names, &mut state);
            for name in names {
                let ours = fixture.ours(name);
                assert_eq!(ours, fixture.plain.files(name), "order of {name}: ours, libkmod's");
                looked += 1;
                files += ours.map_or(0, |ours| ours.len());
            }
        }
    }
    println!("{looked} modules with made-up softdeps, {files} files in order");
}
