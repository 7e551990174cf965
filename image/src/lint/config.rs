// SPDX-License-Identifier: MIT OR Apache-2.0
//! Rules on config.txt.

use rpifw::config::{Config, Line, Wrong};
use rpifw::partition::CONFIG;
use rpifw::{BOARDS, filter};

use super::{Fault, file};
use crate::boards::subject::Subject;

/// The config.txt of every partition that has one.
fn configs<'a>(subject: &'a Subject<'_>) -> impl Iterator<Item = (u32, Config)> + 'a {
    super::volumes(subject)
        .filter_map(|(number, volume)| Some((number, Config::load(volume, CONFIG).ok()??)))
}

fn problems(subject: &Subject<'_>, wanted: &[Wrong]) -> Vec<Fault> {
    let mut faults = Vec::new();
    for (number, config) in configs(subject) {
        let found = config.problems.into_iter().filter(|problem| wanted.contains(&problem.wrong));
        faults.extend(found.map(|p| (line(number, &p.file, p.line), p.text)));
    }
    faults
}

fn line(number: u32, name: &str, line: usize) -> String {
    format!("{}, line {line}", file(number, name))
}

/// Lines that the firmware cuts.
pub(super) fn length(subject: &Subject<'_>) -> Vec<Fault> {
    problems(subject, &[Wrong::Length])
}

/// Lines that it does not understand, files that it cannot include.
pub(super) fn form(subject: &Subject<'_>) -> Vec<Fault> {
    problems(subject, &[Wrong::Form, Wrong::Include])
}

/// Filters that do not exist.
pub(super) fn filter(subject: &Subject<'_>) -> Vec<Fault> {
    let mut faults = Vec::new();
    for (number, config) in configs(subject) {
        for (name, at, found) in &config.lines {
            let Line::Filter(text) = found else { continue };
            if BOARDS.first().is_some_and(|board| !filter::is_known(text, board)) {
                faults.push((line(number, name, *at), format!("there is no filter [{text}]")));
            }
        }
    }
    faults
}

/// Its rules changed until 2026. (raspberrypi/rpi-eeprom, release notes)
pub(super) fn auto_initramfs(subject: &Subject<'_>) -> Vec<Fault> {
    let mut faults = Vec::new();
    for (number, config) in configs(subject) {
        for (name, at, found) in &config.lines {
            let Line::Setting(key, value) = found else { continue };
            if key == "auto_initramfs" && value != "0" {
                let what = "auto_initramfs follows rules that changed from release to release";
                faults.push((line(number, name, *at), what.to_owned()));
            }
        }
    }
    faults
}
