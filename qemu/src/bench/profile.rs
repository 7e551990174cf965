// SPDX-License-Identifier: MIT OR Apache-2.0
//! What pivot spends its instructions on: by function, and by system call beside the floor's.

use std::collections::BTreeMap;
use std::fs;

use anyhow::Result;

use super::compare::grouped;
use super::map::Map;
use super::measure::Job;
use super::plugin::Counts;
use super::world::World;
use crate::cargo;

/// How many rows a table has.
const ROWS: usize = 25;

/// Prints the tables, and leaves what was counted for every system call in the directory.
pub(crate) fn show(world: &World) -> Result<()> {
    let map = Map::of(&cargo::INIT.shipped()?)?;
    for job in [Job::Device, Job::Root] {
        let floor = world.measure(&world.floor(job)?.boot, false)?.counts;
        let pivot = world.measure(&world.pivot(job)?.boot, true)?.counts;
        println!("{job:?}: {} instructions of init\n", grouped(pivot.user));
        functions(&pivot, &map);
        calls(&pivot, &floor);
        for (name, counts) in [("floor", &floor), ("pivot", &pivot)] {
            let path = world.directory.join(format!("calls-{job:?}-{name}"));
            let lines =
                counts.calls.iter().map(|c| format!("{} {} {}\n", c.number, c.user, c.kernel));
            fs::write(path, lines.collect::<String>())?;
        }
    }
    Ok(())
}

fn functions(counts: &Counts, map: &Map) {
    let mut by_name: BTreeMap<&str, u64> = BTreeMap::new();
    for (address, count) in &counts.places {
        *by_name.entry(map.name(*address)).or_default() += count;
    }
    let mut rows: Vec<_> = by_name.into_iter().collect();
    rows.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    println!("| function | instructions |\n|---|--:|");
    for (name, count) in rows.iter().take(ROWS) {
        println!("| `{name}` | {} |", grouped(*count));
    }
    println!();
}

fn calls(pivot: &Counts, floor: &Counts) {
    let sums = |counts: &Counts| {
        let mut sums: BTreeMap<i32, (u64, u64)> = BTreeMap::new();
        for call in &counts.calls {
            let sum = sums.entry(call.number).or_default();
            *sum = (sum.0 + 1, sum.1 + call.kernel);
        }
        sums
    };
    let (ours, least) = (sums(pivot), sums(floor));
    let other = |number: &i32| least.get(number).copied().unwrap_or_default();
    let mut rows: Vec<_> = ours.iter().collect();
    rows.sort_by_key(|(number, (_, kernel))| {
        std::cmp::Reverse(kernel.saturating_sub(other(number).1))
    });
    println!(
        "| system call | times | kernel instructions | the floor's times | the floor's instructions |"
    );
    println!("|---|--:|--:|--:|--:|");
    for (number, (times, kernel)) in rows.into_iter().take(ROWS) {
        let (t, k) = other(number);
        let name = name(*number);
        println!("| {name} | {times} | {} | {t} | {} |", grouped(*kernel), grouped(k));
    }
    println!();
}

/// System calls of arm64 by their numbers (kernel: include/uapi/asm-generic/unistd.h), as far as an init makes them.
const CALLS: [(i32, &str); 42] = [
    (-1, "before the first"),
    (29, "ioctl"),
    (34, "mkdirat"),
    (35, "unlinkat"),
    (36, "symlinkat"),
    (37, "linkat"),
    (39, "umount2"),
    (40, "mount"),
    (43, "statfs"),
    (44, "fstatfs"),
    (45, "truncate"),
    (48, "faccessat"),
    (49, "chdir"),
    (51, "chroot"),
    (56, "openat"),
    (57, "close"),
    (61, "getdents64"),
    (62, "lseek"),
    (63, "read"),
    (64, "write"),
    (67, "pread64"),
    (68, "pwrite64"),
    (73, "ppoll"),
    (78, "readlinkat"),
    (79, "newfstatat"),
    (94, "exit_group"),
    (101, "nanosleep"),
    (113, "clock_gettime"),
    (129, "kill"),
    (160, "uname"),
    (172, "getpid"),
    (198, "socket"),
    (200, "bind"),
    (208, "setsockopt"),
    (220, "clone"),
    (221, "execve"),
    (260, "wait4"),
    (273, "finit_module"),
    (291, "statx"),
    (428, "open_tree"),
    (429, "move_mount"),
    (437, "openat2"),
];

/// The name, or the number.
fn name(number: i32) -> String {
    let known = CALLS.iter().find(|(known, _)| *known == number);
    known.map_or_else(|| number.to_string(), |(_, name)| (*name).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn system_calls_have_names() {
        assert_eq!(name(273), "finit_module");
        assert_eq!(name(9999), "9999");
        assert!(CALLS.is_sorted_by(|a, b| a.0 < b.0));
    }
}
