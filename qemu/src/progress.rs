// SPDX-License-Identifier: MIT OR Apache-2.0
//! One line for each thing that takes time: a spinner while it lasts on a terminal, and how long it took at its end.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use anyhow::Result;
use indicatif::{ProgressBar, ProgressStyle};

/// Does `work` and says so. What it returns is shown behind `what`.
pub(crate) fn step<T>(what: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
    let began = Instant::now();
    let spinner = spinner(what);
    let result = work();
    spinner.finish_and_clear();
    let mark = if result.is_ok() { "" } else { " failed" };
    note(&format!("{what}{mark} ({:.1} s)", began.elapsed().as_secs_f64()));
    result
}

fn spinner(what: &str) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{spinner} {msg} {elapsed}");
    let style = style.unwrap_or_else(|_| ProgressStyle::default_spinner());
    let spinner = ProgressBar::new_spinner().with_style(style).with_message(what.to_owned());
    spinner.enable_steady_tick(Duration::from_millis(200));
    spinner
}

/// One line for the person at the keyboard; standard output is for results.
pub(crate) fn note(text: &str) {
    eprintln!("{text}");
}
