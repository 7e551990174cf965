// SPDX-License-Identifier: MIT OR Apache-2.0
//! The report for people: a table, then what it has no room for.

use std::collections::BTreeMap;
use std::fmt;

use super::evidence::Driver;
use super::{Bootloader, Entry, Outcome, Report, Taken};

const HEAD: [&str; 8] =
    ["board", "slot", "kernel", "release", "device tree", "initramfs", "modules", "SD card"];

const STOPS: &str = "stops: ";

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rows = vec![HEAD.map(str::to_owned)];
        rows.extend(self.boards.iter().flat_map(lines));
        // a reason to stop runs over the columns
        let fits = |row: &[String; 8], column| column < 2 || !row[2].starts_with(STOPS);
        let width = |column: usize| {
            let rows = rows.iter().filter(|row| fits(row, column));
            rows.map(|row| row[column].chars().count()).max()
        };
        let widths: Vec<usize> = (0..HEAD.len()).map(|column| width(column).unwrap_or(0)).collect();
        for row in &rows {
            let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
            writeln!(f, "{}", cells.collect::<Vec<_>>().join("  ").trim_end())?;
        }
        self.list(f, "command line", |taken| vec![taken.cmdline.clone()])?;
        // the card's driver comes first in what the kernel lacks
        let late = |taken: &Taken| usize::from(taken.medium == Some(Driver::Late));
        self.list(f, "does not boot", |taken| {
            taken.kernel_lacks.iter().take(late(taken)).cloned().collect()
        })?;
        self.list(f, "emulation only", |taken| {
            let kernel = taken.kernel_lacks.iter().skip(late(taken));
            taken.firmware_lacks.iter().chain(kernel).cloned().collect()
        })?;
        self.list(f, "note", |taken| taken.notes.clone())?;
        for Bootloader { shipped, boards } in &self.eeprom {
            writeln!(f, "\nbootloader for the eeprom: {shipped}\n  {}", boards.join(" "))?;
            for (name, what) in &shipped.problems {
                writeln!(f, "  PROBLEM: {name} {what}")?;
            }
        }
        for other in &self.other_kernels {
            match other.with_arm_64bit_0.as_slice() {
                [] => writeln!(f, "\n{}: no board takes it", other.kernel)?,
                boards => writeln!(
                    f,
                    "\n{}: taken only with arm_64bit=0 in config.txt, by {}",
                    other.kernel,
                    boards.join(" ")
                )?,
            }
        }
        Ok(())
    }
}

impl Report {
    /// Each text once, with the boards that it is true of.
    fn list(
        &self,
        f: &mut fmt::Formatter<'_>,
        title: &str,
        of: impl Fn(&Taken) -> Vec<String>,
    ) -> fmt::Result {
        let mut boards: BTreeMap<String, Vec<&str>> = BTreeMap::new();
        for entry in &self.boards {
            for outcome in [&entry.normal, &entry.trial] {
                let Some(taken) = outcome.taken() else { continue };
                for text in of(taken) {
                    let names = boards.entry(text).or_default();
                    if names.last() != Some(&entry.board) {
                        names.push(entry.board);
                    }
                }
            }
        }
        for (text, names) in boards {
            let all = names.len() == self.boards.len();
            let names = if all { "all boards".to_owned() } else { names.join(" ") };
            writeln!(f, "\n{title}: {text}\n  {names}")?;
        }
        Ok(())
    }
}

/// One line where normal and trial differ in nothing but the slot.
fn lines(entry: &Entry) -> Vec<[String; 8]> {
    let [mut normal, trial] = [&entry.normal, &entry.trial].map(cells);
    if normal[2..] == trial[2..] {
        if normal[1] != trial[1] {
            normal[1] = format!("{}, try {}", normal[1], trial[1]);
        }
        normal[0] = entry.board.to_owned();
        return vec![normal];
    }
    let named = |mut row: [String; 8], what: &str| {
        row[0] = format!("{}{what}", entry.board);
        row
    };
    vec![named(normal, ""), named(trial, " try")]
}

fn cells(outcome: &Outcome) -> [String; 8] {
    match outcome {
        Outcome::Stops { stop } => {
            let mut row = [const { String::new() }; 8];
            // a place like any other's slot
            let (place, reason) = stop.split_once(": ").unwrap_or(("", stop));
            row[1] = place.replace("partition ", "p");
            row[2] = format!("{STOPS}{reason}");
            row
        }
        Outcome::Boots(taken) => [
            String::new(),
            taken.slot.clone().unwrap_or_else(|| format!("partition {}", taken.partition)),
            taken.kernel.clone(),
            taken.release.clone().unwrap_or_else(|| "?".to_owned()),
            taken.dtb.clone().unwrap_or_else(|| "none".to_owned()),
            taken.initramfs.join(","),
            if taken.modules { "yes" } else { "missing" }.to_owned(),
            medium(taken),
        ],
    }
}

fn medium(taken: &Taken) -> String {
    let how = match taken.medium {
        None => return "?".to_owned(),
        Some(Driver::None) => return "no driver".to_owned(),
        Some(Driver::BuiltIn) => "built in",
        Some(Driver::Early) => "early",
        Some(Driver::Late) => "not early",
    };
    format!("{} ({how})", taken.medium_driver)
}
