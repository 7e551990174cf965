// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a person sees while an image is built: a bar on a terminal, one plain line per step elsewhere.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

/// Where the progress goes: a bar, lines, or nowhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Standard error is a terminal.
    Bars,
    /// It is a file or a pipe.
    Lines,
    /// `--quiet`.
    Silent,
}

impl Progress {
    /// Chooses by what standard error is.
    #[must_use]
    pub fn new(quiet: bool) -> Self {
        match (quiet, std::io::stderr().is_terminal()) {
            (true, _) => Self::Silent,
            (false, true) => Self::Bars,
            (false, false) => Self::Lines,
        }
    }

    /// Begins a step of `total` bytes; 0 where that is not known.
    #[must_use]
    pub fn step(self, what: &str, total: u64) -> Step {
        let bar = match (self, total) {
            (Self::Bars, 0) => ProgressBar::new_spinner().with_style(style("{spinner} {msg}")),
            (Self::Bars, _) => ProgressBar::new(total)
                .with_style(style("{msg} {wide_bar} {bytes}/{total_bytes} {bytes_per_sec} {eta}")),
            _ => ProgressBar::hidden(),
        };
        bar.set_message(what.to_owned());
        if self == Self::Bars {
            bar.enable_steady_tick(Duration::from_millis(200));
        }
        Step { progress: self, what: what.to_owned(), bar, began: Instant::now() }
    }

    /// One line that belongs to no step.
    pub fn note(self, text: &str) {
        if self != Self::Silent {
            eprintln!("{text}");
        }
    }
}

/// The template is a constant of this file, so the fallback is never seen.
fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

/// A running step; dropped without [`Step::done`] it leaves no line behind.
#[derive(Debug)]
pub struct Step {
    progress: Progress,
    what: String,
    bar: ProgressBar,
    began: Instant,
}

impl Step {
    /// So many more bytes are done.
    pub fn advance(&self, bytes: u64) {
        self.bar.inc(bytes);
    }

    /// What it is at, for who looks at a terminal.
    pub fn say(&self, text: &str) {
        self.bar.set_message(text.to_owned());
    }

    /// Ends the step with one line: what, its outcome, and the seconds where it took long.
    pub fn done(self, outcome: &str) {
        self.bar.finish_and_clear();
        let seconds = self.began.elapsed().as_secs_f64();
        let time = if seconds >= 0.5 { format!(" ({seconds:.1} s)") } else { String::new() };
        self.progress.note(&format!("{}: {outcome}{time}", self.what));
    }
}

impl Drop for Step {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

/// `1234567` as `1.2 MB`: decimal units, as on the box of an SD card.
#[must_use]
pub fn size(bytes: u64) -> String {
    match bytes {
        0..1_000 => format!("{bytes} bytes"),
        1_000..1_000_000 => format!("{}.{} kB", bytes / 1_000, bytes / 100 % 10),
        _ => format!("{}.{} MB", bytes / 1_000_000, bytes / 100_000 % 10),
    }
}

#[cfg(test)]
mod tests {
    use super::size;

    #[test]
    fn sizes() {
        assert_eq!(size(999), "999 bytes");
        assert_eq!(size(46_210), "46.2 kB");
        assert_eq!(size(87_195_648), "87.1 MB");
    }
}
