// SPDX-License-Identifier: MIT OR Apache-2.0
//! The init of the test root: reports what it finds, does what `witness.*` of the command line asks, and powers off.
//!
//! | word | does |
//! |---|---|
//! | `witness.write=PATH` | writes the boot id into PATH before it reports |
//! | `witness.read=PATH` | reports the content of PATH |
//! | `witness.run=PROGRAM,WORD,...` | runs it and reports its status and what it wrote |
//! | `witness.last=PROGRAM,WORD,...` | runs it after the report, with the disks still writable: for what restarts |
//! | `witness.panic` | makes the kernel panic after the report, likewise |
//! | `witness.feed` | takes the watchdog over and feeds it for 20 s before it powers off |
//! | `witness.hang` | does not power off and does not feed: the watchdog must reset |
//! | `witness.reboot` | restarts instead of powering off |

mod act;
mod collect;

use std::fs::File;
use std::io::{self, Write};
use std::process::ExitCode;

use nix::sys::termios::{self, SetArg};
use serde::Serialize;
use serde_json::json;
use witness::{CHANNEL, CONSOLE, frame};

/// Where the report goes, a record at a time, so that a witness that dies has said how far it came.
#[derive(Debug)]
struct Channel {
    device: File,
    number: u32,
}

impl Channel {
    fn open() -> io::Result<Self> {
        let open = |path| File::options().read(true).write(true).open(path);
        let device = match open(CHANNEL) {
            Err(why) if why.kind() == io::ErrorKind::NotFound => {
                act::silence_kernel()?;
                let mut console = open(CONSOLE)?;
                // Whatever stands there: our lines begin at a line's beginning.
                console.write_all(b"\n")?;
                console
            }
            channel => channel?,
        };
        let mut settings = termios::tcgetattr(&device)?;
        termios::cfmakeraw(&mut settings);
        termios::tcsetattr(&device, SetArg::TCSANOW, &settings)?;
        Ok(Self { device, number: 0 })
    }

    fn send(&mut self, name: &str, value: impl Serialize) -> io::Result<()> {
        let record = json!({ name: value }).to_string();
        self.device.write_all(frame::encode(&mut self.number, &record).as_bytes())?;
        Ok(termios::tcdrain(&self.device)?)
    }
}

fn main() -> ExitCode {
    // Process 1 has the command line's words as arguments, which may be no text.
    if let Some(question) = std::env::args_os().nth(1).filter(|_| std::process::id() != 1) {
        return collect::answer(&question.to_string_lossy());
    }
    if let Err(why) = run() {
        // The console: the host shows it with the failed run.
        let _ = writeln!(io::stderr(), "witness: {why}");
        act::power_off();
    }
    ExitCode::FAILURE
}

fn run() -> io::Result<()> {
    // First of all, before anything of ours is open.
    let descriptors = collect::descriptors()?;
    let mut channel = Channel::open()?;
    channel.send("descriptors", descriptors)?;
    let words = act::Words::read()?;
    channel.send("written", act::write(&words))?;
    report(&mut channel, &words)?;
    channel.send("ran", act::run(&words))?;
    if words.has("feed") {
        act::feed(20)?;
    }
    if words.has("hang") {
        channel.send("complete", true)?;
        act::hang();
    }
    let last = act::last(&words);
    if last.is_some() || words.has("panic") {
        // Not the initramfs: to look at it takes the root away, and with it every program.
        channel.send("complete", true)?;
        return end_with(last);
    }
    channel.send("remounted", act::remount_read_only())?;
    channel.send("initramfs", collect::initramfs())?;
    channel.send("complete", true)?;
    if words.has("reboot") {
        act::restart();
    }
    act::power_off();
    Ok(())
}

/// What ends the system by itself; where it does not, the console has why.
fn end_with(last: Option<&str>) -> io::Result<()> {
    let Some(last) = last else { return act::panic() };
    let ran = act::run_one(last);
    writeln!(io::stderr(), "witness: {last} ended: {:?} {}{}", ran.status, ran.stdout, ran.stderr)?;
    act::remount_read_only();
    act::power_off();
    Ok(())
}

fn report(channel: &mut Channel, words: &act::Words) -> io::Result<()> {
    let system = nix::sys::utsname::uname()?;
    let release = system.release().to_string_lossy().into_owned();
    channel.send("release", &release)?;
    channel.send("machine", system.machine().to_string_lossy())?;
    channel.send("page_size", collect::page_size()?)?;
    channel.send("pid", std::process::id())?;
    channel.send("arguments", collect::arguments())?;
    channel.send("environment", collect::environment())?;
    channel.send("cmdline", &words.line)?;
    channel.send("mounts", collect::mounts()?)?;
    channel.send("modules", collect::modules()?)?;
    channel.send("loops", collect::loops()?)?;
    channel.send("watchdog", collect::watchdog())?;
    channel.send("processes", collect::processes()?)?;
    channel.send("user_namespace", collect::user_namespace())?;
    channel
        .send("firmware_path", collect::attribute("/sys/module/firmware_class/parameters/path"))?;
    channel.send("lib_modules", collect::names(&format!("/lib/modules/{release}")))?;
    channel.send("lib_firmware", collect::names("/lib/firmware"))?;
    channel.send("boot", collect::boot())?;
    channel.send("read", act::read(words))
}
