// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the boot did and how long each stage took: `/run/pivot/boot.json` for the booted system, one line for kmsg.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::Write as _;

/// Where the report is found in the booted system.
pub(crate) const PATH: &str = "/run/pivot/boot.json";

/// One stage of the boot, in microseconds since the kernel started (`CLOCK_BOOTTIME`).
#[derive(Debug)]
struct Stage {
    name: &'static str,
    start: u64,
    end: u64,
}

/// Stages, facts and degradations, in the order in which they came.
#[derive(Debug)]
pub(crate) struct Report {
    last: u64,
    stages: Vec<Stage>,
    facts: Vec<(&'static str, String)>,
    degraded: Vec<String>,
}

impl Report {
    /// Begins now.
    pub(crate) fn start() -> Self {
        Self { last: now(), stages: Vec::new(), facts: Vec::new(), degraded: Vec::new() }
    }

    /// The stage that ends here.
    pub(crate) fn stage(&mut self, name: &'static str) {
        let end = now();
        log::debug!("stage {name}: {} us", end.saturating_sub(self.last));
        self.stages.push(Stage { name, start: self.last, end });
        self.last = end;
    }

    /// The last stage that was finished: how far the boot came.
    pub(crate) fn reached(&self) -> &'static str {
        self.stages.last().map_or("start", |stage| stage.name)
    }

    /// Something that was found or decided.
    pub(crate) fn fact(&mut self, name: &'static str, value: &str) {
        self.facts.push((name, value.into()));
    }

    /// Something that is missing although the boot goes on.
    pub(crate) fn degraded(&mut self, what: String) {
        self.degraded.push(what);
    }

    /// One line for the log: every stage with its milliseconds.
    pub(crate) fn summary(&self) -> String {
        let mut line = String::new();
        for stage in &self.stages {
            let spent = stage.end.saturating_sub(stage.start);
            // Writing into a String cannot fail.
            let _ = write!(line, "{} {}.{:03} ms, ", stage.name, spent / 1000, spent % 1000);
        }
        let start = self.stages.first().map_or(self.last, |stage| stage.start);
        let total = self.last.saturating_sub(start);
        format!("{line}in all {}.{:03} ms", total / 1000, total % 1000)
    }

    /// The report as JSON.
    pub(crate) fn json(&self) -> String {
        let mut json = String::from("{\"version\":1,\"pivot\":");
        push_string(&mut json, env!("PIVOT_VERSION"));
        for (name, value) in &self.facts {
            json.push(',');
            push_string(&mut json, name);
            json.push(':');
            push_string(&mut json, value);
        }
        json.push_str(",\"degraded\":[");
        for (i, what) in self.degraded.iter().enumerate() {
            json.push_str(if i == 0 { "" } else { "," });
            push_string(&mut json, what);
        }
        json.push_str("],\"stages\":[");
        for (i, Stage { name, start, end }) in self.stages.iter().enumerate() {
            let comma = if i == 0 { "" } else { "," };
            // Writing into a String cannot fail.
            let _ = write!(
                json,
                "{comma}{{\"name\":\"{name}\",\"start_us\":{start},\"end_us\":{end}}}"
            );
        }
        json.push_str("]}\n");
        json
    }
}

fn now() -> u64 {
    uapi::clock::boottime() / 1000
}

/// A JSON string (RFC 8259 section 7).
fn push_string(json: &mut String, text: &str) {
    json.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => json.extend(['\\', c]),
            // Writing into a String cannot fail.
            c if c < ' ' => drop(write!(json, "\\u{:04x}", u32::from(c))),
            c => json.push(c),
        }
    }
    json.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_escaped_and_complete() {
        let mut report = Report::start();
        report.fact("release", "6.1\"\\\n");
        report.degraded("no firmware".into());
        report.degraded("no modules".into());
        report.stage("api");
        let json = report.json();
        assert!(json.contains(r#""release":"6.1\"\\\u000a""#), "{json}");
        assert!(json.contains(r#""degraded":["no firmware","no modules"]"#), "{json}");
        assert!(json.contains(r#""stages":[{"name":"api","start_us":"#), "{json}");
        assert_eq!(report.reached(), "api");
        assert!(report.summary().starts_with("api "), "{}", report.summary());
    }
}
