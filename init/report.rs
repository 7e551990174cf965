// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the boot did and how long each stage took: `/run/pivot/boot.json` for the booted system, one line for kmsg.

use alloc::string::String;
use alloc::vec::Vec;

use bootsel::format;
use bootsel::text::{Decimal, hex_digit};

use crate::kmsg::say;

/// Where the report is found in the booted system.
pub(crate) const PATH: &str = "/run/pivot/boot.json";

/// Which of an image's programs this is. uname(2) cannot tell: a 64-bit kernel runs the ARMv6 one, too.
const INIT: &str = if cfg!(target_arch = "arm") {
    "armv6"
} else if cfg!(target_arch = "aarch64") {
    "aarch64"
} else {
    "x86_64"
};

/// The report, written as it comes: nothing is kept but the text.
#[derive(Debug)]
pub(crate) struct Report {
    /// Whether each stage is logged when it is done: `pivot.debug`.
    pub(crate) debug: bool,
    start: u64,
    last: u64,
    reached: &'static str,
    facts: String,
    degraded: String,
    stages: String,
    /// One line for the log: every stage with its milliseconds.
    summary: String,
}

impl Report {
    /// Begins now.
    pub(crate) fn start() -> Self {
        let start = now();
        let (degraded, stages, summary) = (String::new(), String::new(), String::new());
        let mut report = Self {
            debug: false,
            start,
            last: start,
            reached: "start",
            facts: String::new(),
            degraded,
            stages,
            summary,
        };
        report.fact("pivot", env!("PIVOT_VERSION"));
        report.fact("init", INIT);
        report
    }

    /// The stage that ends here. Times are microseconds since the kernel started (`CLOCK_BOOTTIME`).
    pub(crate) fn stage(&mut self, name: &'static str) {
        let (start, end) = (self.last, now());
        let spent = end.saturating_sub(start);
        self.stages.push_str(&format!(
            "{}{{\"name\":\"{name}\",\"start_us\":{},\"end_us\":{}}}",
            comma(&self.stages),
            Decimal(start),
            Decimal(end)
        ));
        self.summary.push_str(name);
        push_milliseconds(&mut self.summary, spent);
        self.summary.push_str(", ");
        (self.last, self.reached) = (end, name);
        if self.debug {
            say!(Debug, "stage {name} is done");
        }
    }

    /// When the boot began, in microseconds since the kernel started.
    pub(crate) fn began(&self) -> u64 {
        self.start
    }

    /// The last stage that was finished: how far the boot came.
    pub(crate) fn reached(&self) -> &'static str {
        self.reached
    }

    /// Something that was found or decided.
    pub(crate) fn fact(&mut self, name: &str, value: &str) {
        self.facts.push(',');
        push_string(&mut self.facts, name);
        self.facts.push(':');
        push_string(&mut self.facts, value);
    }

    /// What is missing, if anything is.
    pub(crate) fn missing(&self) -> Option<&str> {
        Some(&*self.degraded).filter(|list| !list.is_empty())
    }

    /// Something that is missing although the boot goes on.
    pub(crate) fn degraded(&mut self, what: &str) {
        self.degraded.push_str(comma(&self.degraded));
        push_string(&mut self.degraded, what);
    }

    /// One line for the log: every stage with its milliseconds.
    pub(crate) fn summary(&self) -> String {
        let mut summary = format!("{}in all", self.summary);
        push_milliseconds(&mut summary, self.last.saturating_sub(self.start));
        summary
    }

    /// The report as JSON.
    pub(crate) fn json(&self) -> String {
        let Self { facts, degraded, stages, .. } = self;
        format!("{{\"version\":1{facts},\"degraded\":[{degraded}],\"stages\":[{stages}]}}\n")
    }
}

fn comma(list: &str) -> &'static str {
    if list.is_empty() { "" } else { "," }
}

fn now() -> u64 {
    uapi::clock::boottime() / 1000
}

/// ` 12.345 ms`, by hand: the formatting of padded numbers is a KiB.
fn push_milliseconds(text: &mut String, microseconds: u64) {
    text.push_str(&format!(" {}.", Decimal(microseconds / 1000)));
    // With three digits: behind a one that is then taken away.
    let fraction = format!("{} ms", Decimal(1000 + microseconds % 1000));
    text.push_str(fraction.get(1..).unwrap_or_default());
}

/// A JSON string (RFC 8259 section 7).
fn push_string(json: &mut String, text: &str) {
    let mut bytes = Vec::from([b'"']);
    for byte in text.bytes() {
        match byte {
            b'"' | b'\\' => bytes.push(b'\\'),
            ..b' ' => {
                bytes.extend_from_slice(b"\\u00");
                bytes.push(b'0' + (byte >> 4));
                bytes.push(hex_digit(byte.into()));
                continue;
            }
            _ => {}
        }
        bytes.push(byte);
    }
    bytes.push(b'"');
    // What was done to the text was done at ASCII characters.
    json.push_str(str::from_utf8(&bytes).unwrap_or_default());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_escaped_and_complete() {
        let mut report = Report::start();
        report.fact("release", "6.1\"\\\n");
        report.degraded("no firmware");
        report.degraded("no modules");
        report.stage("api");
        let json = report.json();
        assert!(json.contains(r#""release":"6.1\"\\\u000a""#), "{json}");
        assert!(json.contains(r#""degraded":["no firmware","no modules"]"#), "{json}");
        assert!(json.contains(r#""stages":[{"name":"api","start_us":"#), "{json}");
        assert_eq!(report.reached(), "api");
        assert!(report.summary().starts_with("api "), "{}", report.summary());
    }
}
