// SPDX-License-Identifier: MIT OR Apache-2.0
//! Where the time of this boot went: the stages of init's report as a table, as JSON, and as a picture.
//!
//! The report is init's own, but it lies in a directory that others can write to: what is in it is bounded and never trusted.

use std::fmt::Write as _;

use clap::Args;
use serde_json::{Value, json};

use crate::error::{Error, Result};
use crate::report::print;
use crate::root::Root;

/// What init writes.
const REPORT: &str = "run/pivot/boot.json";
/// More stages than this are not shown: a boot has a dozen.
const STAGES: usize = 64;
/// Longer names are cut.
const NAME: usize = 24;
/// Columns of the longest bar.
const COLUMNS: u64 = 40;

/// How it is shown.
#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct Form {
    /// For machines.
    #[arg(long, conflicts_with = "svg")]
    json: bool,
    /// A picture.
    #[arg(long)]
    svg: bool,
}

/// From one moment to another, in microseconds since the kernel started.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Stage {
    name: String,
    start: u64,
    end: u64,
}

impl Stage {
    fn took(&self) -> u64 {
        self.end.saturating_sub(self.start)
    }
}

/// `bootsel timing`
pub(crate) fn timing(root: &Root, form: Form) -> Result<()> {
    let path = root.path(REPORT);
    let cannot = |why: &str| Error::Failed(format!("{}: {why}", path.display()));
    let text = root.text(REPORT).ok_or_else(|| cannot("cannot be read: was this boot pivot's?"))?;
    let stages = parse(&text).ok_or_else(|| cannot("has no stages"))?;
    print(&match form {
        Form { json: true, .. } => format!("{:#}\n", as_json(&stages)),
        Form { svg: true, .. } => as_svg(&stages),
        Form { .. } => as_text(&stages),
    })
}

/// The kernel's time until init began, and init's stages; `None` where the text has none.
fn parse(text: &str) -> Option<Vec<Stage>> {
    let report: Value = serde_json::from_str(text).ok()?;
    let listed = report.get("stages")?.as_array()?;
    let stage = |value: &Value| {
        let number = |key: &str| value.get(key).and_then(Value::as_u64);
        let name = value.get("name")?.as_str()?.chars().take(NAME);
        // as init names them: nothing that would mean something in a terminal or in XML
        let plain = |c: char| if c.is_ascii_alphanumeric() || "_-".contains(c) { c } else { '?' };
        let (start, end) = (number("start_us")?, number("end_us")?);
        Some(Stage { name: name.map(plain).collect(), start, end: end.max(start) })
    };
    let mut stages: Vec<Stage> = listed.iter().filter_map(stage).take(STAGES).collect();
    let start = stages.iter().map(|stage| stage.start).min()?;
    stages.insert(0, Stage { name: "kernel".into(), start: 0, end: start });
    Some(stages)
}

/// The end of the last stage.
fn end(stages: &[Stage]) -> u64 {
    stages.iter().map(|stage| stage.end).max().unwrap_or_default()
}

fn init_took(stages: &[Stage]) -> u64 {
    end(stages).saturating_sub(stages.first().map_or(0, |kernel| kernel.end))
}

fn as_json(stages: &[Stage]) -> Value {
    let list = stages
        .iter()
        .map(|stage| json!({ "name": stage.name, "start_us": stage.start, "us": stage.took() }));
    json!({ "stages": list.collect::<Value>(), "init_us": init_took(stages), "end_us": end(stages) })
}

/// A part of the whole: `share` of `of`.
fn scaled(part: u64, whole: u64, of: u64) -> u64 {
    let scaled = u128::from(part) * u128::from(of) / u128::from(whole.max(1));
    u64::try_from(scaled).unwrap_or(of).min(of)
}

/// The bars are to the scale of init's stages; the kernel's is longer than all of them and has none.
fn as_text(stages: &[Stage]) -> String {
    let longest = stages.iter().skip(1).map(Stage::took).max().unwrap_or_default();
    let mut text = String::new();
    for (number, stage) in stages.iter().enumerate() {
        let bar = if number == 0 { 0 } else { scaled(stage.took(), longest, COLUMNS) };
        let bar = "#".repeat(usize::try_from(bar).unwrap_or_default());
        let line = format!("{:<NAME$} {:>14} {bar}", stage.name, milliseconds(stage.took()));
        let _ = writeln!(text, "{}", line.trim_end());
    }
    let (init, end) = (milliseconds(init_took(stages)), milliseconds(end(stages)));
    let _ = writeln!(text, "init took {init}; the root was entered {end} after the kernel's start");
    text
}

/// `12.345 ms`
fn milliseconds(microseconds: u64) -> String {
    format!("{}.{:03} ms", microseconds / 1000, microseconds % 1000)
}

/// One bar for each stage, where it lies in init's time.
fn as_svg(stages: &[Stage]) -> String {
    /// Pixels: the picture, where the bars begin, how long they may be, and the height of a row.
    const WIDTH: u64 = 960;
    const LEFT: u64 = 180;
    const ROOM: u64 = 640;
    const ROW: u64 = 22;
    let began = stages.first().map_or(0, |kernel| kernel.end);
    let height = ROW * (stages.len() as u64 + 2);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{height}\" font-family=\"sans-serif\" \
         font-size=\"13\">\n<rect width=\"{WIDTH}\" height=\"{height}\" fill=\"#fff\"/>\n"
    );
    let whole = init_took(stages);
    for (stage, row) in stages.iter().zip(1..) {
        let y = ROW * row;
        let at = LEFT + scaled(stage.start.saturating_sub(began), whole, ROOM);
        let (long, colour) = match row {
            1 => (0, "#888"),
            _ => (scaled(stage.took(), whole, ROOM).max(1), "#2a78d6"),
        };
        let _ = writeln!(
            svg,
            "<text x=\"{0}\" y=\"{y}\" text-anchor=\"end\">{1}</text><rect x=\"{at}\" y=\"{2}\" width=\"{long}\" height=\"14\" \
             fill=\"{colour}\"/><text x=\"{3}\" y=\"{y}\">{4}</text>",
            LEFT - 8,
            stage.name,
            y - 12,
            at + long + 6,
            milliseconds(stage.took())
        );
    }
    let y = ROW * (stages.len() as u64 + 1);
    let _ = writeln!(
        svg,
        "<text x=\"{LEFT}\" y=\"{y}\">init {}, root entered {} after the kernel's start</text>\n</svg>",
        milliseconds(whole),
        milliseconds(end(stages))
    );
    svg
}

#[cfg(test)]
mod tests {
    use super::*;

    const REPORT: &str = r#"{"version":1,"pivot":"0.1.0","degraded":[],"stages":[
        {"name":"api","start_us":559000,"end_us":560500},{"name":"early_modules","start_us":560500,"end_us":600500}]}"#;

    fn stages() -> Vec<Stage> {
        parse(REPORT).unwrap()
    }

    #[test]
    fn the_kernel_comes_first() {
        let [kernel, api, modules] = &stages()[..] else { panic!("{:?}", stages()) };
        assert_eq!((kernel.name.as_str(), kernel.took()), ("kernel", 559_000));
        assert_eq!((api.name.as_str(), api.took()), ("api", 1500));
        assert_eq!(modules.end, 600_500);
        assert_eq!(init_took(&stages()), 41_500);
    }

    #[test]
    fn a_table() {
        let text = as_text(&stages());
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines[0], "kernel                       559.000 ms");
        assert_eq!(lines[1], "api                            1.500 ms #");
        assert!(lines[2].ends_with(&format!(" 40.000 ms {}", "#".repeat(40))), "{text}");
        assert_eq!(
            lines[3],
            "init took 41.500 ms; the root was entered 600.500 ms after the kernel's start"
        );
    }

    #[test]
    fn for_machines() {
        let json = as_json(&stages());
        assert_eq!(json["stages"][2]["us"], 40_000);
        assert_eq!(json["init_us"], 41_500);
        assert_eq!(json["end_us"], 600_500);
    }

    #[test]
    fn a_picture_is_whole_and_has_every_stage() {
        let svg = as_svg(&stages());
        assert!(svg.starts_with("<svg ") && svg.ends_with("</svg>\n"), "{svg}");
        for name in ["kernel", "api", "early_modules"] {
            assert_eq!(svg.matches(&format!(">{name}<")).count(), 1, "{svg}");
        }
        let numbers =
            svg.split("width=\"").skip(1).filter_map(|rest| rest.split('"').next()?.parse().ok());
        assert!(numbers.into_iter().all(|width: u64| width <= 960), "{svg}");
    }

    #[track_caller]
    fn nothing(text: &str) {
        assert_eq!(parse(text), None, "{text}");
    }

    #[test]
    fn what_is_no_report() {
        nothing("");
        nothing("{}");
        nothing(r#"{"stages":7}"#);
        nothing(r#"{"stages":[]}"#);
        nothing(r#"{"stages":[{"name":"a","start_us":-1,"end_us":2}]}"#);
        nothing(r#"{"stages":[{"name":7,"start_us":1,"end_us":2}]}"#);
    }

    #[test]
    fn a_hostile_report_is_bounded() {
        let hostile = format!(
            "{{\"name\":\"<script>\\u001b[2J{}\",\"start_us\":{},\"end_us\":0}}",
            "x".repeat(999),
            u64::MAX
        );
        let early = r#"{"name":"b","start_us":0,"end_us":18446744073709551615}"#;
        let list = [vec![hostile.as_str(); 999], vec![early; 999]].concat();
        for order in [list.clone(), list.into_iter().rev().collect()] {
            let stages = parse(&format!("{{\"stages\":[{}]}}", order.join(","))).unwrap();
            assert_eq!(stages.len(), STAGES + 1);
            let shown = [as_text(&stages), as_svg(&stages), as_json(&stages).to_string()];
            assert!(
                shown.iter().all(|text| text.len() < 32 << 10 && !text.contains("<script")),
                "{shown:?}"
            );
            assert!(shown.iter().all(|text| !text.contains('\u{1b}')));
        }
    }
}
