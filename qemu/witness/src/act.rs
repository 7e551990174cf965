// SPDX-License-Identifier: MIT OR Apache-2.0
//! What `witness.*` asks for, and how the system ends.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::process::Command;
use std::thread::sleep;
use std::time::Duration;

use nix::mount::{MsFlags, mount};
use nix::sys::reboot::{RebootMode, reboot};
use nix::unistd::sync;
use witness::report::Ran;

/// The tables of SMBIOS, as the firmware has them in memory (kernel: drivers/firmware/dmi_scan.c).
const SMBIOS: &str = "/sys/firmware/dmi/tables/DMI";

/// The kernel command line, and what is added where a boot loader that takes no words made it: the strings of an SMBIOS
/// structure for the maker of a machine (type 11), each ended by a NUL.
#[derive(Debug)]
pub(crate) struct Words {
    pub(crate) line: String,
    added: String,
}

impl Words {
    pub(crate) fn read() -> io::Result<Self> {
        let bytes = fs::read("/proc/cmdline")?;
        let tables = fs::read(SMBIOS).unwrap_or_default();
        let texts = tables.split(|byte| *byte == 0).map(String::from_utf8_lossy);
        // the first string stands right behind the head of its structure
        let ours = texts.filter_map(|text| {
            text.find("witness.").and_then(|at| text.get(at..).map(str::to_owned))
        });
        let added: Vec<String> = ours.collect();
        let line = String::from_utf8_lossy(&bytes).trim_end().to_owned();
        Ok(Self { line, added: added.join(" ") })
    }

    pub(crate) fn has(&self, action: &str) -> bool {
        self.ours().any(|word| word == action)
    }

    fn values<'a>(&'a self, action: &'a str) -> impl Iterator<Item = &'a str> {
        self.ours().filter_map(move |word| word.strip_prefix(action)?.strip_prefix('='))
    }

    fn ours(&self) -> impl Iterator<Item = &str> {
        let words = self.line.split_whitespace().chain(self.added.split_whitespace());
        words.filter_map(|word| word.strip_prefix("witness."))
    }
}

pub(crate) fn write(words: &Words) -> BTreeMap<&str, String> {
    let boot_id = fs::read("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    words.values("write").map(|path| (path, outcome(fs::write(path, &boot_id)))).collect()
}

pub(crate) fn read(words: &Words) -> BTreeMap<&str, Option<String>> {
    words.values("read").map(|path| (path, fs::read_to_string(path).ok())).collect()
}

/// Runs the programs that are asked for, one after the other.
pub(crate) fn run(words: &Words) -> Vec<Ran> {
    words.values("run").map(run_one).collect()
}

/// What is to be run when everything is reported, `witness.last=`.
pub(crate) fn last(words: &Words) -> Option<&str> {
    words.values("last").next()
}

/// A program and its arguments, separated by commas: the command line's words have no spaces.
pub(crate) fn run_one(words: &str) -> Ran {
    let words: Vec<String> = words.split(',').map(str::to_owned).collect();
    let (program, arguments) = words.split_first().map_or(("", &[][..]), |(p, a)| (p.as_str(), a));
    let mut command = Command::new(program);
    // The kernel gives its init none.
    command.args(arguments).env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
    let output = command.output();
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    match output {
        Ok(output) => Ran {
            command: words,
            status: output.status.code(),
            stdout: text(output.stdout),
            stderr: text(output.stderr),
        },
        Err(why) => Ran { command: words, stderr: why.to_string(), ..Ran::default() },
    }
}

/// A kernel panic, by its own means (Documentation/admin-guide/sysrq.rst).
pub(crate) fn panic() -> io::Result<()> {
    fs::write("/proc/sysrq-trigger", "c")
}

/// `ok` or the reason.
fn outcome(result: io::Result<()>) -> String {
    result.map_or_else(|why| why.to_string(), |()| "ok".to_owned())
}

/// Takes the watchdog over as a root file system should: opens it anew and feeds it, longer than its timeout is.
pub(crate) fn feed(seconds: u64) -> io::Result<()> {
    let mut watchdog = File::options().write(true).open("/dev/watchdog0")?;
    for _ in 0..seconds / 5 {
        watchdog.write_all(b"f")?;
        sleep(Duration::from_secs(5));
    }
    // The magic character: closing it stops it.
    watchdog.write_all(b"V")
}

/// The kernel writes only what is an emergency to the console from now on (proc_sys_kernel(5), printk: the first number):
/// not into the middle of a line of ours.
pub(crate) fn silence_kernel() -> io::Result<()> {
    fs::write("/proc/sys/kernel/printk", "1")
}

/// As systemd-shutdown leaves the disks: the root first, because an overlay's files lie on the data partition.
pub(crate) fn remount_read_only() -> BTreeMap<&'static str, String> {
    sync();
    let flags = MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY;
    let remount = |target| mount(None::<&str>, target, None::<&str>, flags, None::<&str>);
    let targets = ["/", "/run/pivot/data"].into_iter();
    let done = targets.map(|target| (target, outcome(remount(target).map_err(io::Error::from))));
    let done = done.collect();
    sync();
    done
}

/// Nothing more happens, until the watchdog does it.
pub(crate) fn hang() -> ! {
    loop {
        sleep(Duration::from_secs(3600));
    }
}

pub(crate) fn restart() {
    end(RebootMode::RB_AUTOBOOT);
}

pub(crate) fn power_off() {
    end(RebootMode::RB_POWER_OFF);
}

fn end(how: RebootMode) {
    let Err(why) = reboot(how);
    let _ = writeln!(io::stderr(), "witness: cannot end: {why}");
}
