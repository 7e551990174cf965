// SPDX-License-Identifier: MIT OR Apache-2.0
use std::format;
use std::string::String;
use std::vec::Vec;

use super::*;

#[track_caller]
fn words(line: &str, expected: &[(&str, Option<&str>)]) {
    let mut rest = line;
    let words = std::iter::from_fn(|| next_word(&mut rest));
    let got: Vec<_> = words.map(|w| (w.key, w.value)).collect();
    assert_eq!(got, expected);
}

#[test]
fn words_are_split_as_the_kernel_does() {
    words("", &[]);
    words(" a  b=1\tc=\n", &[("a", None), ("b", Some("1")), ("c", Some(""))]);
    words(r#"a="b c" d"#, &[("a", Some("b c")), ("d", None)]);
    words(r#""a=b c" d"#, &[("a", Some("b c")), ("d", None)]);
    words(r#"root=PARTLABEL="my root""#, &[("root", Some("PARTLABEL=\"my root\""))]);
    words(r#"a="open quote"#, &[("a", Some("open quote"))]);
    words("a -- b", &[("a", None)]);
    words("a=b=c", &[("a", Some("b=c"))]);
    words("a\0b", &[("a", None), ("b", None)]);
    words("a\0\" b \0c", &[("a", None), (" b ", None), ("c", None)]);
}

fn parsed(line: &str) -> (Cmdline<'_>, Vec<String>) {
    let mut complaints = Vec::new();
    let cmdline = Cmdline::parse(line, &mut |complaint| complaints.push(complaint.into()));
    (cmdline, complaints)
}

fn parse(line: &str) -> Cmdline<'_> {
    parsed(line).0
}

#[track_caller]
fn complaint(line: &str, expected: &str) {
    let (_, got) = parsed(line);
    assert!(got.iter().any(|c| c.contains(expected)), "{line:?} gave {got:?}");
}

#[test]
fn what_cannot_be_used_is_complained_about() {
    complaint("pivot.nonsense=1", "pivot.nonsense=1 is not a parameter");
    complaint("pivot.overlay=ram", "pivot.overlay=ram is none of");
    complaint("pivot.rescue", "pivot.rescue= is none of");
    complaint("pivot.timeout=0", "pivot.timeout=0 is not between");
    complaint("pivot.timeout=99999999999", "not a number");
    complaint("pivot.watchdog=soon", "pivot.watchdog=soon is neither off");
    complaint("pivot.slot=c", "pivot.slot=c is neither a nor b");
    complaint("pivot.init=sbin/init", "not an absolute path");
    complaint("pivot.trial=maybe", "neither 1 nor 0");
    complaint("pivot.grow=never", "neither 1 nor 0");
    complaint("pivot.watchdog=20", "pivot.watchdog=20 is refused");
    complaint("rootdelay=x", "rootdelay=x is not a number");
}

#[test]
fn a_real_command_line_gives_no_complaint() {
    // A Pi 5's, as its firmware and ours put it together.
    let line = "reboot=w coherent_pool=1M 8250.nr_uarts=1 pci=pcie_bus_safe console=ttyAMA10,115200 \
        pivot.data=PARTUUID=4f6d9c1e-04 pivot.revision=7 pivot.slot=b pivot.trial pivot.overlay=persistent \
        pivot.watchdog=15 systemd.watchdog_sec=15 panic=5 systemd.gpt_auto=0 rootwait quiet\n";
    let (cmdline, complaints) = parsed(line);
    assert_eq!(complaints, Vec::<String>::new());
    assert_eq!(cmdline.data, Some("PARTUUID=4f6d9c1e-04"));
    assert_eq!(cmdline.slot, Some(Slot::B));
    assert!(cmdline.trial && cmdline.read_only);
    assert_eq!(cmdline.overlay, Overlay::Persistent);
    assert_eq!(cmdline.watchdog, WatchdogWish::Arm(15));
    assert_eq!(cmdline.timeout, TIMEOUT);
}

#[test]
fn the_last_of_several_wins() {
    let cmdline = parse("root=/dev/a root=/dev/b ro rw pivot.trial pivot.trial=0");
    assert_eq!(cmdline.root, Some("/dev/b"));
    assert!(!cmdline.read_only && !cmdline.trial);
    let grow = ["", "pivot.grow=on", "pivot.grow=off", "pivot.grow=never"];
    assert_eq!(grow.map(|line| parse(line).grow), [true, true, false, true]);
}

#[test]
fn pivot_init_wins_over_init_wherever_it_stands() {
    for line in ["init=/a pivot.init=/b", "pivot.init=/b init=/a"] {
        assert_eq!(parse(line).init, Some("/b"), "{line}");
    }
    assert_eq!(parse("init=/a").init, Some("/a"));
}

#[track_caller]
fn wish(value: &str, expected: WatchdogWish) {
    let line = format!("pivot.watchdog={value}");
    assert_eq!(parse(&line).watchdog, expected, "{line}");
}

#[test]
fn watchdog_values_that_reset_a_pi_early_are_refused() {
    wish("off", WatchdogWish::Off);
    for good in [1, 2, 8, 15, 25, 31, 60, 300] {
        wish(&format!("{good}"), WatchdogWish::Arm(good));
    }
    for bad in ["16", "17", "20", "24", "32", "40", "64", "0", "-1", "soon", "99999999999"] {
        wish(bad, WatchdogWish::Arm(WATCHDOG));
    }
    assert_eq!(parse("pivot.watchdog").watchdog, WatchdogWish::Arm(WATCHDOG));
    assert_eq!(parse("quiet").watchdog, WatchdogWish::TakeOver);
}

#[test]
fn options_of_modules_are_bounded() {
    let line: String = (0..=OPTIONS).map(|number| format!("m.o={number} ")).collect();
    let (cmdline, complaints) = parsed(&line);
    assert!(cmdline.module_options("m").ends_with("o=63"));
    assert_eq!(complaints, ["m.o=64 is one option of modules too many"]);
}

#[test]
fn module_options_are_found_under_both_spellings() {
    let cmdline = parse("loop.max_loop=0 virtio-blk.num_request_queues=1 loop.x \"m.s=a b\"");
    assert_eq!(cmdline.module_options("loop"), "max_loop=0 x");
    assert_eq!(cmdline.module_options("virtio_blk"), "num_request_queues=1");
    assert_eq!(cmdline.module_options("m"), "s=\"a b\"");
    assert_eq!(cmdline.module_options("other"), "");
    assert_eq!(cmdline.module_options("loo"), "");
    assert_eq!(cmdline.module_options(""), "");
}

#[test]
fn garbage_of_a_mebibyte_is_survived() {
    let mut bytes: Vec<u8> =
        (0..1 << 20).map(|i: u32| i.wrapping_mul(2_654_435_761).to_le_bytes()[1]).collect();
    bytes.extend_from_slice(b"\" pivot.revision=7 ");
    let _ = parse(&String::from_utf8_lossy(&bytes));
    let line = [b"pivot.revision=\xff\xfe ".repeat(1 << 16), b"pivot.revision=7".to_vec()].concat();
    assert_eq!(parse(&String::from_utf8_lossy(&line)).revision, Some("7"));
}
