// SPDX-License-Identifier: MIT OR Apache-2.0
//! One run of a machine without a person: console, witness and QMP are recorded until it ends.

use std::fs;
use std::io::{Read, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde_json::Value;
use witness::Report;

use crate::qmp::{self, Event};
use crate::tool;

/// Something to type once the console shows a text.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Typed {
    /// Looked for behind the last one's place.
    pub(crate) after: &'static str,
    /// Sent as it is.
    pub(crate) text: &'static str,
}

/// When QEMU is killed in the middle of what it does.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kill {
    /// Counted from the moment at which the console shows this; from the start where it is empty.
    pub(crate) after: &'static str,
    pub(crate) delay: Duration,
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// QEMU ended by itself.
    Itself,
    /// It was killed where that was asked for.
    Killed,
    /// It was killed at the wall limit.
    AtLimit,
}

/// Everything that a run has shown.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) console: String,
    /// What the witness said, or why that is no report.
    pub(crate) report: Result<Report, String>,
    pub(crate) events: Vec<Event>,
    pub(crate) ended: Ended,
    pub(crate) wall: Duration,
}

/// QEMU, killed when the run is over, however that came.
struct Guard(Child);

/// Why QEMU, started with `-no-reboot`, ended.
pub(crate) fn restarted(events: &[Event]) -> bool {
    events.iter().any(|event| event.name == "SHUTDOWN" && event.reason == "guest-reset")
}

impl Drop for Guard {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts a machine that has no console, types what `script` says, and waits for its end: it powers off or restarts.
pub(crate) fn run(qemu: Command, script: &[Typed], limit: Duration) -> Result<Outcome> {
    attend(qemu, Ports::Two, script, None, limit)
}

/// The same where the witness reports on the console: UEFI firmware of 2022 takes the second serial port for its own where
/// there is one (QEMU, docs/system/arm/virt.rst).
pub(crate) fn run_on_one_port(qemu: Command, limit: Duration) -> Result<Outcome> {
    attend(qemu, Ports::One, &[], None, limit)
}

/// The same, killed in the middle.
pub(crate) fn run_on_one_port_and_kill(
    qemu: Command,
    kill: Kill,
    limit: Duration,
) -> Result<Outcome> {
    attend(qemu, Ports::One, &[], Some(kill), limit)
}

/// How many serial ports the machine has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ports {
    One,
    Two,
}

/// The same without anybody who types, killed in the middle (SIGKILL), if it does not end before.
pub(crate) fn run_and_kill(qemu: Command, kill: Kill, limit: Duration) -> Result<Outcome> {
    attend(qemu, Ports::Two, &[], Some(kill), limit)
}

fn attend(
    mut qemu: Command,
    ports: Ports,
    script: &[Typed],
    kill: Option<Kill>,
    limit: Duration,
) -> Result<Outcome> {
    let directory = tempfile::tempdir()?;
    let (socket, channel) = (directory.path().join("qmp"), directory.path().join("witness"));
    let events = qmp::listen(&socket)?;
    qemu.args(["-display", "none", "-monitor", "none", "-no-reboot", "-S", "-serial", "stdio"]);
    if ports == Ports::Two {
        qemu.arg("-serial").arg(format!("file:{}", channel.display()));
    }
    qemu.arg("-qmp").arg(format!("unix:{}", socket.display()));
    let began = Instant::now();
    let mut qemu = bound_to_us(&qemu);
    let child = qemu.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut guard = Guard(child.context("cannot run qemu-system-aarch64")?);
    let console = Arc::new(Mutex::new(Vec::new()));
    let readers = [
        guard.0.stdout.take().map(|pipe| record(pipe, &console)),
        guard.0.stderr.take().map(|pipe| record(pipe, &console)),
    ];
    let ended = wait(&mut guard.0, script, kill, &console, began + limit)?;
    drop(guard);
    for reader in readers.into_iter().flatten() {
        // A reader that panicked has recorded what it could.
        let _ = reader.join();
    }
    // QEMU never connected if it did not like its arguments: nobody else will, so connect and leave.
    drop(std::os::unix::net::UnixStream::connect(&socket));
    let events = events.join().unwrap_or_default();
    let (channel, console) = (fs::read_to_string(&channel).unwrap_or_default(), text(&console));
    // A machine without a second serial port: the report stands between the other lines of the console.
    let report = report(if channel.is_empty() { &console } else { &channel });
    Ok(Outcome { console, report, events, ended, wall: began.elapsed() })
}

/// The command, killed by the kernel where we are: then nobody is left to drop the guard.
fn bound_to_us(qemu: &Command) -> Command {
    let mut command = tool::command("setpriv");
    command.args(["--pdeathsig", "KILL"]).arg(qemu.get_program()).args(qemu.get_args());
    command
}

type Console = Arc<Mutex<Vec<u8>>>;

fn record(mut pipe: impl Read + Send + 'static, console: &Console) -> thread::JoinHandle<()> {
    let console = Arc::clone(console);
    thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok(count @ 1..) = pipe.read(&mut buffer) {
            let mut all = console.lock().unwrap_or_else(PoisonError::into_inner);
            all.extend_from_slice(buffer.get(..count).unwrap_or_default());
        }
    })
}

fn text(console: &Console) -> String {
    let all = console.lock().unwrap_or_else(PoisonError::into_inner);
    plain(&String::from_utf8_lossy(&all))
}

/// Without carriage returns and without what moves a terminal's cursor or sets its colours (ECMA-48: ESC, `[`,
/// parameters, a final byte from `@` on).
fn plain(text: &str) -> String {
    let text = text.replace('\r', "");
    let mut pieces = text.split("\u{1b}[");
    let mut plain = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        let end = piece.find(|c: char| ('@'..='~').contains(&c)).map_or(piece.len(), |i| i + 1);
        plain.push_str(piece.get(end..).unwrap_or_default());
    }
    plain
}

fn wait(
    child: &mut Child,
    script: &[Typed],
    kill: Option<Kill>,
    console: &Console,
    limit: Instant,
) -> Result<Ended> {
    let mut stdin = child.stdin.take();
    let mut script = script.iter().peekable();
    let mut seen = 0;
    let mut last = None;
    while child.try_wait()?.is_none() {
        let now = Instant::now();
        if now > limit {
            return Ok(Ended::AtLimit);
        }
        if let Some(Kill { after, delay }) = kill {
            if last.is_none() && text(console).contains(after) {
                last = Some(now + delay);
            }
            if last.is_some_and(|last| now > last) {
                return Ok(Ended::Killed);
            }
        }
        if let Some(next) = script.peek() {
            let all = text(console);
            let behind = all.get(seen..).unwrap_or_default();
            if let Some(at) = behind.find(next.after) {
                seen += at + next.after.len();
                send(stdin.as_mut(), next.text)?;
                script.next();
            }
        }
        thread::sleep(Duration::from_millis(20));
    }
    Ok(Ended::Itself)
}

fn send(stdin: Option<&mut ChildStdin>, text: &str) -> Result<()> {
    let stdin = stdin.context("the console takes no input")?;
    stdin.write_all(text.as_bytes()).and_then(|()| stdin.flush()).context("cannot type")
}

fn report(text: &str) -> Result<Report, String> {
    let mut all = witness::frame::decode(text).map_err(|why| why.to_string())?;
    if all.get("complete") != Some(&Value::Bool(true)) {
        let came: Vec<_> = all.keys().cloned().collect();
        return Err(format!("the witness's report has no end; it holds: {}", came.join(" ")));
    }
    // What was not looked at keeps its default.
    let Ok(Value::Object(mut whole)) = serde_json::to_value(Report::default()) else {
        return Err("the report's default is no object".into());
    };
    whole.append(&mut all);
    serde_json::from_value(Value::Object(whole)).map_err(|why| format!("the report: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_console_is_plain_text() {
        assert_eq!(plain("[\u{1b}[0;1;31mFAILED\u{1b}[0m] x\r\n"), "[FAILED] x\n");
        assert_eq!(plain("\u{1b}[?2004hroot# \u{1b}[6n"), "root# ");
        assert_eq!(plain("cut \u{1b}[0;1"), "cut ");
    }
}
