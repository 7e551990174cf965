// SPDX-License-Identifier: MIT OR Apache-2.0
//! The stages of a boot, as the program shows them.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test stops where something is wrong"
)]

mod device;

use device::Device;

const REPORT: &str = r#"{"version":1,"stages":[{"name":"api","start_us":500000,"end_us":501000},
    {"name":"mount_root","start_us":501000,"end_us":531000}]}"#;

#[test]
fn in_all_three_forms() {
    let device = Device::new();
    device.put("run/pivot/boot.json", REPORT);
    let text = device.run(&["timing"]);
    assert!(text.code == 0 && text.out.contains("mount_root"), "{text:?}");
    let json = device.run(&["timing", "--json"]);
    let json: serde_json::Value = serde_json::from_str(&json.out).unwrap();
    assert_eq!(json["init_us"], 31_000);
    let svg = device.run(&["timing", "--svg"]);
    assert!(
        svg.code == 0 && svg.out.starts_with("<svg") && svg.out.ends_with("</svg>\n"),
        "{svg:?}"
    );
    assert_eq!(device.run(&["timing", "--svg", "--json"]).code, 2);
}

#[test]
fn where_there_is_no_report() {
    let device = Device::new();
    let _ = std::fs::remove_file(device.root.path().join("run/pivot/boot.json"));
    let outcome = device.run(&["timing"]);
    assert!(outcome.code == 3 && outcome.err.contains("run/pivot/boot.json"), "{outcome:?}");
    device.put("run/pivot/boot.json", "{}");
    let outcome = device.run(&["timing"]);
    assert!(outcome.code == 3 && outcome.err.contains("has no stages"), "{outcome:?}");
}
