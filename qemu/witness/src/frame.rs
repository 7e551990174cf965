// SPDX-License-Identifier: MIT OR Apache-2.0
//! Records on a serial line: each is split into lines of bounded length with a number and a checksum, so that a line
//! that was lost, cut or mixed with something else is noticed. Whole lines of others may lie between them: on a console
//! they do.
//!
//! `W <number> <+ or .> <crc32 of the rest> <piece of JSON>`; the piece after `.` ends its record.

use std::fmt;

use serde_json::{Map, Value};

/// What every line begins with.
const MARK: &str = "W ";

/// Bytes of JSON on one line.
const PIECE: usize = 1000;

/// The lines of one record; `number` is that of the next line and counts on.
#[must_use]
pub fn encode(number: &mut u32, record: &str) -> String {
    let mut lines = String::new();
    let mut rest = record;
    loop {
        let (piece, after) = rest.split_at(cut(rest));
        let mark = if after.is_empty() { '.' } else { '+' };
        let crc = crc32(piece.as_bytes());
        lines.push_str(&format!("{MARK}{number} {mark} {crc:08x} {piece}\n"));
        *number = number.wrapping_add(1);
        rest = after;
        if rest.is_empty() {
            return lines;
        }
    }
}

/// Where to cut: at most PIECE bytes, between two characters.
fn cut(text: &str) -> usize {
    (0..=PIECE.min(text.len())).rev().find(|&i| text.is_char_boundary(i)).unwrap_or(text.len())
}

/// CRC-32 (IEEE 802.3), bit by bit: a report has a few KiB.
fn crc32(bytes: &[u8]) -> u32 {
    let step = |crc: u32, _| if crc & 1 == 1 { (crc >> 1) ^ 0xedb8_8320 } else { crc >> 1 };
    !bytes.iter().fold(!0u32, |crc, &byte| (0..8).fold(crc ^ u32::from(byte), step))
}

/// Why a channel's content is no report.
#[derive(Debug, PartialEq, Eq)]
pub struct Broken {
    line: usize,
    what: &'static str,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {} of the witness's report: {}", self.line, self.what)
    }
}

impl std::error::Error for Broken {}

/// Reads records, each an object, and lays them over each other into one object. Lines that do not begin as ours are
/// passed over.
///
/// # Errors
/// The first line of ours that is not as [`encode`] wrote it, or that is missing.
pub fn decode(text: &str) -> Result<Map<String, Value>, Broken> {
    let mut all = Map::new();
    let mut record = String::new();
    let lines = text.lines().enumerate().filter(|(_, line)| line.starts_with(MARK));
    for (expected, (index, line)) in (0u32..).zip(lines) {
        let broken = |what| Broken { line: index + 1, what };
        let (number, last, piece) = parse(line).ok_or(broken("not a record"))?;
        if number != expected {
            return Err(broken("lines before it are lost"));
        }
        record.push_str(piece);
        if last {
            let object = serde_json::from_str::<Map<String, Value>>(&record);
            all.extend(object.map_err(|_| broken("not a JSON object"))?);
            record.clear();
        }
    }
    Ok(all)
}

/// The number, whether it ends a record, and the piece; `None` where the checksum does not fit.
fn parse(line: &str) -> Option<(u32, bool, &str)> {
    let mut fields = line.strip_prefix(MARK)?.splitn(4, ' ');
    let number = fields.next()?.parse().ok()?;
    let last = match fields.next()? {
        "." => true,
        "+" => false,
        _ => return None,
    };
    let crc = u32::from_str_radix(fields.next()?, 16).ok()?;
    let piece = fields.next()?;
    (crc32(piece.as_bytes()) == crc).then_some((number, last, piece))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(records: &[&str]) -> String {
        let mut number = 0;
        records.iter().map(|record| encode(&mut number, record)).collect()
    }

    #[test]
    fn the_checksum_is_the_common_one() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
    }

    #[test]
    fn records_come_back_as_one_object() {
        let long = format!("{{\"c\":\"{}\"}}", "ä".repeat(3 * PIECE));
        let all = decode(&sent(&["{\"a\":1}", "{\"b\":[2]}", &long, "{\"a\":3}"])).unwrap();
        assert_eq!(all.len(), 3);
        assert_eq!(all["a"], 3);
        assert_eq!(all["c"].as_str().map(|c| c.chars().count()), Some(3 * PIECE));
    }

    #[track_caller]
    fn check(text: &str, line: usize, what: &'static str) {
        assert_eq!(decode(text), Err(Broken { line, what }));
    }

    #[test]
    fn what_was_lost_or_changed_is_noticed() {
        let text = sent(&["{\"a\":1}", "{\"b\":2}", "{\"c\":3}"]);
        let lines: Vec<_> = text.lines().collect();
        check(&[lines[0], lines[2]].join("\n"), 2, "lines before it are lost");
        check(&text.replace("\"b\":2", "\"b\":3"), 2, "not a record");
        check(&lines[1..].join("\n"), 1, "lines before it are lost");
        // A line of others that began where one of ours had not ended, and the other way round.
        check(&format!("{}[    1.0] usb 1-1: hello", lines[0]), 1, "not a record");
        check(
            &format!("{}\nusb 1-1: {}\n{}", lines[0], lines[1], lines[2]),
            3,
            "lines before it are lost",
        );
        check(&sent(&["[1]"]), 1, "not a JSON object");
    }

    #[test]
    fn whole_lines_of_others_may_lie_between() {
        let record = format!("{{\"c\":\"{}\"}}", "x".repeat(2 * PIECE));
        let text =
            sent(&["{\"a\":1}", &record]).replace('\n', "\n[    1.0] usb 1-1: W 1\nWarning\n\n");
        let all =
            decode(&format!("Run /init as init process\n{text}reboot: Power down\n")).unwrap();
        assert_eq!((all.len(), &all["a"]), (2, &Value::from(1)));
    }

    #[test]
    fn a_last_record_that_is_cut_is_missing() {
        let text = sent(&["{\"a\":1}", &format!("{{\"b\":\"{}\"}}", "x".repeat(PIECE))]);
        let cut: String = text.lines().take(2).map(|line| format!("{line}\n")).collect();
        assert!(!decode(&cut).unwrap().contains_key("b"));
    }
}
