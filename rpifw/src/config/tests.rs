// SPDX-License-Identifier: MIT OR Apache-2.0

use super::{Address, Config, Settings, Wrong};
use crate::fixture::Files;
use crate::{board, filter::Context};
use proptest::prelude::*;

#[track_caller]
fn evaluate(text: &str) -> (Settings, Vec<String>) {
    let context = Context { board: board("pi3b").unwrap(), tryboot: false, partition: 2 };
    Config::parse("config.txt", text.as_bytes()).evaluate(&context)
}

#[test]
fn settings() {
    let (found, notes) = evaluate(
        "# comment\r\n\r\n  arm_64bit=1\r\nkernel=kernel8.img\ncmdline=c.txt\ndevice_tree=x.dtb\nos_prefix=a/\n\
         overlay_prefix=o/\nupstream_kernel=1\nkernel_watchdog_timeout=60\nenable_uart=1\nauto_initramfs=0\n\
         dtoverlay=disable-bt\ndtparam=watchdog=on\ngpu_mem=16\ngpu_mem=32\n\
         initramfs initrd,early8.img followkernel\n",
    );
    let own = |text: &str| Some(text.to_owned());
    let expected = Settings {
        kernel: own("kernel8.img"),
        arm_64bit: Some(true),
        initramfs: vec!["initrd".to_owned(), "early8.img".to_owned()],
        initramfs_address: Address::FollowKernel,
        cmdline: own("c.txt"),
        device_tree: own("x.dtb"),
        overlays: vec![
            ("dtoverlay".to_owned(), "disable-bt".to_owned()),
            ("dtparam".to_owned(), "watchdog=on".to_owned()),
        ],
        os_prefix: own("a/"),
        overlay_prefix: own("o/"),
        upstream_kernel: true,
        kernel_watchdog_timeout: Some(60),
        enable_uart: true,
        auto_initramfs: false,
        other: vec![
            ("gpu_mem".to_owned(), "16".to_owned()),
            ("gpu_mem".to_owned(), "32".to_owned()),
        ],
    };
    assert_eq!(found, expected);
    assert_eq!(found.get("gpu_mem"), Some("32"));
    assert_eq!(notes, Vec::<String>::new());
}

#[test]
fn filters_and_later_lines() {
    let kernel = |text| evaluate(text).0.kernel.unwrap_or_default();
    assert_eq!(kernel("kernel=a\n[pi3]\nkernel=b\n[pi4]\nkernel=c\n"), "b");
    assert_eq!(kernel("[pi3]\nkernel=b\n[all]\nkernel=a\n"), "a");
    assert_eq!(kernel("[none]\nkernel=a\n"), "");
    assert_eq!(kernel("[tryboot]\nkernel=a\n"), "");
    assert_eq!(kernel("[boot_partition=2]\nkernel=a\n[boot_partition=3]\nkernel=b\n"), "a");
    assert_eq!(kernel("kernel=a\nkernel=b"), "b");
}

#[track_caller]
fn noted(text: &str, expected: &str) {
    let (_, notes) = evaluate(text);
    assert!(notes.iter().any(|note| note == expected), "{notes:?}");
}

#[test]
fn notes() {
    noted("[pi6]", "config.txt, line 1: there is no filter [pi6]; taken as not matching");
    noted(
        "\n[gpio4=1]",
        "config.txt, line 2: [gpio4=1] depends on the very board; taken as not matching",
    );
    noted(
        "initramfs a followkernel\ninitramfs b followkernel",
        "config.txt, line 2: a second initramfs: taken as replacing the first",
    );
    noted("initramfs a", "config.txt, line 1: initramfs without an address");
    noted("initramfs a here", "config.txt, line 1: here is no address; taken as followkernel");
    noted("arm_64bit=yes", "config.txt, line 1: arm_64bit=yes is no number; taken as 0");
    noted(
        "auto_initramfs=1",
        "config.txt, line 1: auto_initramfs names files by rules that changed from release to release; say initramfs",
    );
}

#[test]
fn second_initramfs() {
    let (found, _) = evaluate("initramfs a,b 0x800000\n[pi3]\ninitramfs c,d 0\n");
    assert_eq!(found.initramfs, ["c", "d"]);
    assert_eq!(found.initramfs_address, Address::FollowKernel);
    assert_eq!(evaluate("initramfs a 0x800000").0.initramfs_address, Address::At(0x80_0000));
    assert_eq!(evaluate("ramfsfile=a,b").0.initramfs, ["a", "b"]);
}

#[track_caller]
fn problem(text: &str, line: usize, wrong: Wrong, expected: &str) {
    let config = Config::parse("config.txt", text.as_bytes());
    let found: Vec<_> =
        config.problems.iter().map(|p| (p.line, p.wrong, p.text.as_str())).collect();
    assert_eq!(found, [(line, wrong, expected)]);
}

#[test]
fn problems() {
    let fits = format!("kernel={}", "k".repeat(91));
    assert_eq!(Config::parse("config.txt", fits.as_bytes()).problems, []);
    problem(&format!("{fits}x"), 1, Wrong::Length, "has 99 characters, the firmware reads 98");
    assert_eq!(evaluate(&format!("{fits}xyz")).0.kernel.unwrap().len(), 91);
    problem("\n[pi3", 2, Wrong::Form, "a filter without its ]");
    problem("arm_64bit", 1, Wrong::Form, "neither a filter nor property=value");
    problem("arm_64bit = 1", 1, Wrong::Form, "a blank beside the =");
    // 98 bytes, whatever the characters are
    problem(
        &format!("# {}", "\u{e4}".repeat(49)),
        1,
        Wrong::Length,
        "has 100 characters, the firmware reads 98",
    );
}

#[test]
fn includes() {
    let files = Files::default()
        .with("config.txt", "kernel=a\n[pi3]\ninclude more.txt\narm_64bit=1\ninclude none.txt\n")
        .with("more.txt", "kernel=b\n[pi4]\n");
    let config = Config::load(&files, "config.txt").unwrap().unwrap();
    let context = Context { board: board("pi3b").unwrap(), tryboot: false, partition: 2 };
    let (found, _) = config.evaluate(&context);
    // the filter of the included file lasts
    assert_eq!((found.kernel.as_deref(), found.arm_64bit), (Some("b"), None));
    let [problem] = config.problems.as_slice() else { panic!() };
    assert_eq!((problem.line, problem.text.as_str()), (5, "cannot include none.txt"));
    assert_eq!(Config::load(&files, "other.txt"), Ok(None));
}

#[test]
fn includes_without_end() {
    let files = Files::default().with("config.txt", &"include config.txt\n".repeat(50));
    let config = Config::load(&files, "config.txt").unwrap().unwrap();
    assert_eq!(config.lines, []);
    assert!(config.problems.len() > 100);
}

proptest! {
    #[test]
    fn any_bytes(bytes: Vec<u8>) {
        let context = Context { board: board("pi3b").unwrap(), tryboot: true, partition: 3 };
        let _ = Config::parse("config.txt", &bytes).evaluate(&context);
    }

    #[test]
    fn any_lines(lines in prop::collection::vec(
        "(\\[.{0,12}\\]?|(kernel|initramfs|ramfsfile|arm_64bit|dtoverlay|include)[ =,].{0,120}|.{0,100})", 0..40))
    {
        let context = Context { board: board("pi02w").unwrap(), tryboot: true, partition: 3 };
        let _ = Config::parse("config.txt", lines.join("\n").as_bytes()).evaluate(&context);
    }
}
