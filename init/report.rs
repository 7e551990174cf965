// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the boot did and how long each stage took: `/run/pivot/boot.json` for the booted system, one line for kmsg.

use bootsel::text::{hex_digit, of};
use mount::text;
use mount::text::decimal;
use uapi::memory;

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
    facts: &'static str,
    degraded: &'static str,
    stages: &'static str,
    /// One line for the log: every stage with its milliseconds.
    summary: &'static str,
}

impl Report {
    /// Begins now.
    pub(crate) fn start() -> Self {
        let start = now();
        let mut report = Self {
            debug: false,
            start,
            last: start,
            reached: "start",
            facts: "",
            degraded: "",
            stages: "",
            summary: "",
        };
        report.fact("pivot", env!("PIVOT_VERSION"));
        report.fact("init", INIT);
        report
    }

    /// The stage that ends here. Times are microseconds since the kernel started (`CLOCK_BOOTTIME`).
    pub(crate) fn stage(&mut self, name: &'static str) {
        let (start, end) = (self.last, now());
        let spent = end.saturating_sub(start);
        self.stages = text!(
            r#"{}{}{"name":"{}","start_us":{},"end_us":{}}"#,
            self.stages,
            comma(self.stages),
            name,
            decimal(start),
            decimal(end)
        );
        self.summary = text!("{}{} {} ms, ", self.summary, name, milliseconds(spent));
        (self.last, self.reached) = (end, name);
        if self.debug {
            say!(Debug, "stage {} is done", name);
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
    #[inline(never)]
    pub(crate) fn fact(&mut self, name: &str, value: &str) {
        self.facts = text!("{},{}:{}", self.facts, json_string(name), json_string(value));
    }

    /// What is missing, if anything is.
    pub(crate) fn missing(&self) -> Option<&'static str> {
        Some(self.degraded).filter(|list| !list.is_empty())
    }

    /// Something that is missing although the boot goes on.
    pub(crate) fn degraded(&mut self, what: &str) {
        let comma = comma(self.degraded);
        self.degraded = text!("{}{}{}", self.degraded, comma, json_string(what));
    }

    /// One line for the log: every stage with its milliseconds.
    pub(crate) fn summary(&self) -> &'static str {
        let all = self.last.saturating_sub(self.start);
        text!("{}in all {} ms", self.summary, milliseconds(all))
    }

    /// The report as JSON.
    pub(crate) fn json(&self) -> &'static str {
        let Self { facts, degraded, stages, .. } = self;
        text!("{\"version\":1{},\"degraded\":[{}],\"stages\":[{}]}\n", facts, degraded, stages)
    }
}

fn comma(list: &str) -> &'static str {
    if list.is_empty() { "" } else { "," }
}

fn now() -> u64 {
    uapi::clock::boottime() / 1000
}

/// `12.345`
fn milliseconds(microseconds: u64) -> &'static str {
    // With three digits: behind a one that is then taken away.
    let fraction = decimal(1000 + microseconds % 1000).get(1..).unwrap_or_default();
    text!("{}.{}", decimal(microseconds / 1000), fraction)
}

/// A JSON string (RFC 8259 section 7).
fn json_string(text: &str) -> &'static str {
    // The longest is six bytes for each.
    let bytes = memory::bytes(text.len().saturating_mul(6).saturating_add(2));
    let mut length = 0;
    let mut put = |byte| {
        if let Some(place) = bytes.get_mut(length) {
            *place = byte;
            length += 1;
        }
    };
    put(b'"');
    for byte in text.bytes() {
        match byte {
            ..b' ' => {
                let (high, low) = (b'0' + (byte >> 4), hex_digit(byte.into()));
                [b'\\', b'u', b'0', b'0', high, low].into_iter().for_each(&mut put);
                continue;
            }
            b'"' | b'\\' => put(b'\\'),
            _ => {}
        }
        put(byte);
    }
    put(b'"');
    // What was done to the text was done at ASCII characters.
    of(bytes.get(..length).unwrap_or_default())
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
