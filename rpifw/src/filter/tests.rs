// SPDX-License-Identifier: MIT OR Apache-2.0

use super::{Context, Filters, Holds};
use crate::{BOARDS, board};
use proptest::prelude::*;

/// Which boards a model filter matches, from the table of conditional.adoc.
#[track_caller]
fn model(filter: &str, boards: &str) {
    let matching = BOARDS.iter().filter(|board| {
        let context = Context { board, tryboot: false, partition: 2 };
        Filters::default().add(filter, &context) == Holds::Known(true)
    });
    let names: Vec<_> = matching.map(|board| board.name).collect();
    assert_eq!(names.join(" "), boards);
}

#[test]
fn models() {
    model("pi1", "pi1a pi1b-rev1 pi1b pi1a+ pi1b+ cm1");
    model("pi2", "pi2b pi2b-1.2");
    model("pi3", "pi3b pi3b+ pi3a+ cm3 cm3+");
    model("pi3+", "pi3b+ pi3a+");
    model("pi4", "pi4b pi400 cm4 cm4s");
    model("pi400", "pi400");
    model("cm4", "cm4");
    model("cm4s", "cm4s");
    model("pi0", "pi0 pi0w pi02w");
    model("pi0w", "pi0w pi02w");
    model("pi02", "pi02w");
    model("cm0", "cm0");
    model("pi5", "pi5 pi5-d0 cm5 cm5l pi500 pi500+");
    model("cm5", "cm5 cm5l");
    model("pi500", "pi500 pi500+");
    model("PI4", "pi4b pi400 cm4 cm4s");
    model("board-type=0x14", "cm4");
    model("board-type=8", "pi3b");
    model("none", "");
}

/// Filters one after the other on a Pi 3 B+ in a trial from partition 3.
#[track_caller]
fn pass(filters: &[&str], expected: bool) {
    let context = Context { board: board("pi3b+").unwrap(), tryboot: true, partition: 3 };
    let mut all = Filters::default();
    for filter in filters {
        let _ = all.add(filter, &context);
    }
    assert_eq!(all.pass(), expected, "{filters:?}");
}

#[test]
fn combined() {
    pass(&[], true);
    pass(&["pi3"], true);
    // "Filters of the same type replace each other, so [pi2] overrides [pi1]"
    pass(&["pi4", "pi3+"], true);
    pass(&["pi3", "pi4"], false);
    // "Filters of different types can be combined"
    pass(&["pi3", "EDID=VSC-TD2220"], false);
    pass(&["tryboot", "pi3"], true);
    pass(&["tryboot", "pi4"], false);
    pass(&["pi4", "tryboot"], false);
    // "It resets all previously set filters"
    pass(&["pi4", "EDID=VSC-TD2220", "all"], true);
    pass(&["none"], false);
    pass(&["none", "all"], true);
    pass(&["none", "pi3"], false);
    pass(&["pi6", "pi3"], false);
    pass(&["pi6", "all", "pi3"], true);
}

#[track_caller]
fn holds(filter: &str, expected: Holds) {
    let context = Context { board: board("pi3b+").unwrap(), tryboot: true, partition: 3 };
    assert_eq!(Filters::default().add(filter, &context), expected, "{filter}");
}

#[test]
fn single() {
    let (yes, no) = (Holds::Known(true), Holds::Known(false));
    holds("all", yes);
    holds("tryboot", yes);
    holds("boot_partition=3", yes);
    holds("boot_partition=2", no);
    holds("partition=3", yes);
    holds("boot_partition<4", yes);
    holds("boot_partition>3", no);
    holds("boot_partition&1", yes);
    holds("boot_partition&0x6=2", yes);
    holds("boot_partition&0x6=4", no);
    // type 0x0d
    holds("board-type=0x0d", yes);
    holds("board-type=13", yes);
    holds("HDMI:1", yes);
    for filter in [
        "EDID=VSC-TD2220",
        "0x12345678",
        "gpio4=1",
        "gpio27=0",
        "cust_otp7=1",
        "bootvar0&1",
        "boot_count>2",
    ] {
        holds(filter, Holds::Depends);
    }
    for filter in [
        "pi6",
        "pi",
        "",
        "edid",
        "edid=",
        "HDMI:2",
        "gpio=1",
        "gpio4",
        "gpio4=2",
        "0x",
        "12345678",
        "0xyz",
        "boot_partition",
        "boot_partition=",
        "boot_partition=x",
        "board-type=0x",
        "cust_otp=1",
        "boot_count",
        "partition=3=4",
        "p\u{e4}5",
    ] {
        holds(filter, Holds::Unknown);
    }
}

proptest! {
    #[test]
    fn any_text(filters: Vec<String>) {
        let context = Context { board: board("cm4").unwrap(), tryboot: false, partition: 2 };
        let mut all = Filters::default();
        for filter in filters {
            let _ = all.add(&filter, &context);
        }
        all.add("all", &context);
        prop_assert!(all.pass());
    }
}
