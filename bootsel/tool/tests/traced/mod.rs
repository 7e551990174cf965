// SPDX-License-Identifier: MIT OR Apache-2.0
//! Runs the tool as it is built and stands behind its descriptors: each of its system calls stops, requests of a device are
//! answered, and it can be ended before any call that changes something. The tool knows nothing of it.
#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::panic,
    reason = "a test stops where something is wrong, and not every test needs everything"
)]

pub(crate) mod firmware;

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nix::sys::ptrace::{self, Options};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use crate::device::{Device, Outcome};
use firmware::Firmware;

/// `_IOWR(100, 0, char *)` on a 64-bit machine. (Raspberry Pi's Linux: `drivers/char/broadcom/vcio.c`)
const PROPERTY: u64 = 0xc008_6400;
/// More than any message has.
const MESSAGE: usize = 1 << 16;

/// Of x86_64. (`arch/x86/entry/syscalls/syscall_64.tbl`)
const WRITE: u64 = 1;
const IOCTL: u64 = 16;
const PREAD: u64 = 17;
const PWRITE: u64 = 18;
const OPENAT: u64 = 257;
/// fsync, fdatasync
const SYNCS: [u64; 2] = [74, 75];
/// pwrite64, fsync, fdatasync, ftruncate, rename, mkdir, unlink
const CHANGES: [u64; 7] = [PWRITE, 74, 75, 77, 82, 83, 87];
/// `O_CREAT`
const CREATE: u64 = 0o100;

/// What stands behind descriptors of the tool.
pub(crate) trait Behind {
    /// Whether it answers this request to this file.
    fn takes(&self, request: u64, file: &Path) -> bool;

    /// Whether that changes something; `memory` is the tool's, with the argument at `address`.
    fn changes(&self, memory: &File, address: u64) -> bool {
        let _ = (memory, address);
        false
    }

    /// Answers; what the call gives.
    fn answer(&mut self, memory: &File, address: u64) -> i64;

    /// The tool writes these bytes in place.
    fn writes(&mut self, file: &Path, at: u64, bytes: &[u8]) {
        let _ = (file, at, bytes);
    }

    /// It has what it wrote before brought onto the medium.
    fn syncs(&mut self, file: &Path) {
        let _ = file;
    }

    /// The tool reads or writes a file in place: what the call gives instead of being made.
    fn touched(&mut self, file: &Path, writes: bool) -> Option<i64> {
        let _ = (file, writes);
        None
    }
}

impl Behind for Firmware {
    fn takes(&self, request: u64, file: &Path) -> bool {
        request == PROPERTY && file.ends_with("dev/vcio")
    }

    /// What the driver does: it takes as many bytes as the message says, and writes as many.
    fn answer(&mut self, memory: &File, address: u64) -> i64 {
        let mut word = [0; 4];
        memory.read_exact_at(&mut word, address).unwrap();
        let mut message = vec![0; u32::from_le_bytes(word) as usize];
        assert!(message.len() <= MESSAGE && message.len() >= 12 && message.len().is_multiple_of(4));
        memory.read_exact_at(&mut message, address).unwrap();
        let given = self.property(&mut message);
        memory.write_all_at(&message, address).unwrap();
        given
    }
}

/// How a run ended.
#[derive(Debug)]
pub(crate) enum End {
    Exited(Outcome),
    /// Ended before that call.
    Killed(u64),
}

impl End {
    #[track_caller]
    pub(crate) fn outcome(self) -> Outcome {
        match self {
            Self::Exited(outcome) => outcome,
            Self::Killed(call) => panic!("killed before system call {call}"),
        }
    }
}

/// Runs `bootsel` with these arguments on a machine with that behind it; it is ended before its n-th call that changes
/// something, where so many are made.
pub(crate) fn run(
    device: &Device,
    arguments: &[&str],
    behind: &mut dyn Behind,
    until: Option<usize>,
) -> End {
    run_signalled(device, arguments, behind, until.map(|until| (until, Signal::SIGKILL)))
}

/// The same with any signal: one that does not end it at once comes where it does. Its exit code is then that of a shell.
pub(crate) fn run_signalled(
    device: &Device,
    arguments: &[&str],
    behind: &mut dyn Behind,
    until: Option<(usize, Signal)>,
) -> End {
    let [out, err] = ["out", "err"].map(|name| device.path(name));
    let tool = device.command(arguments);
    let mut shell = Command::new("sh");
    // stopped until somebody watches it
    shell.args(["-c", "kill -STOP $$; exec \"$0\" \"$@\""]).arg(tool.get_program());
    shell.args(tool.get_args()).stdin(Stdio::null());
    shell.stdout(File::create(&out).unwrap()).stderr(File::create(&err).unwrap());
    #[allow(clippy::zombie_processes, reason = "waitpid below, as a tracer does")]
    let child = shell.spawn().unwrap();
    let pid = Pid::from_raw(i32::try_from(child.id()).unwrap());
    let stopped = waitpid(pid, Some(WaitPidFlag::WUNTRACED)).unwrap();
    assert!(matches!(stopped, WaitStatus::Stopped(_, Signal::SIGSTOP)), "{stopped:?}");
    ptrace::seize(pid, Options::PTRACE_O_TRACESYSGOOD | Options::PTRACE_O_EXITKILL).unwrap();
    kill(pid, Signal::SIGCONT).unwrap();
    let code = Tracer { pid, behind, until, changes: 0, answer: None, runs: false }.watch();
    let text = |path| String::from_utf8(fs::read(path).unwrap()).unwrap();
    match code {
        Ok(code) => End::Exited(Outcome { code, out: text(out), err: text(err) }),
        Err(call) => End::Killed(call),
    }
}

struct Tracer<'a> {
    pid: Pid,
    behind: &'a mut dyn Behind,
    until: Option<(usize, Signal)>,
    changes: usize,
    /// What the call gives that was not made.
    answer: Option<i64>,
    /// Whether the shell has become the tool.
    runs: bool,
}

impl Tracer<'_> {
    /// The exit code, or the call before which it was ended.
    fn watch(mut self) -> Result<i32, u64> {
        loop {
            match waitpid(self.pid, None).unwrap() {
                WaitStatus::Exited(_, code) => return Ok(code),
                WaitStatus::Signaled(_, signal, _) => return Ok(128 + signal as i32),
                WaitStatus::PtraceSyscall(_) => {
                    if let Some((call, signal)) = self.system_call() {
                        kill(self.pid, signal).unwrap();
                        if signal != Signal::SIGKILL {
                            ptrace::syscall(self.pid, None).unwrap();
                            continue;
                        }
                        while !matches!(waitpid(self.pid, None), Ok(WaitStatus::Signaled(..))) {}
                        return Err(call);
                    }
                    ptrace::syscall(self.pid, None).unwrap();
                }
                WaitStatus::PtraceEvent(..) => ptrace::syscall(self.pid, None).unwrap(),
                WaitStatus::Stopped(_, signal) => ptrace::syscall(self.pid, signal).unwrap(),
                other => panic!("{other:?}"),
            }
        }
    }

    /// At the entry or the exit of a call; the number of one before which the signal comes.
    fn system_call(&mut self) -> Option<(u64, Signal)> {
        /// `PTRACE_SYSCALL_INFO_ENTRY`
        const ENTRY: u8 = 1;
        let mut registers = ptrace::getregs(self.pid).unwrap();
        if ptrace::syscall_info(self.pid).unwrap().op != ENTRY {
            if let Some(answer) = self.answer.take() {
                registers.rax = answer.cast_unsigned();
                ptrace::setregs(self.pid, registers).unwrap();
            }
            self.runs = self.runs || self.is_tool();
            return None;
        }
        let call = registers.orig_rax;
        let memory = (call == IOCTL).then(|| self.memory());
        let (request, address) = (registers.rsi & 0xffff_ffff, registers.rdx);
        let memory = memory.filter(|_| self.behind.takes(request, &self.file(registers.rdi)));
        let asks = memory.as_ref().is_some_and(|memory| self.behind.changes(memory, address));
        let creates = call == OPENAT && registers.rdx & CREATE != 0;
        let writes = call == WRITE && registers.rdi > 2;
        let changes = self.runs && (CHANGES.contains(&call) || creates || writes || asks);
        self.changes += usize::from(changes);
        let until = self.until.filter(|(until, _)| changes && *until == self.changes);
        if until.is_some_and(|(_, signal)| signal == Signal::SIGKILL) {
            return until.map(|(_, signal)| (call, signal));
        }
        if call == PWRITE {
            let mut bytes = vec![0; registers.rdx as usize];
            self.memory().read_exact_at(&mut bytes, registers.rsi).unwrap();
            self.behind.writes(&self.file(registers.rdi), registers.r10, &bytes);
        } else if SYNCS.contains(&call) {
            self.behind.syncs(&self.file(registers.rdi));
        }
        self.answer = match &memory {
            Some(memory) => Some(self.behind.answer(memory, address)),
            None if [PREAD, PWRITE].contains(&call) => {
                self.behind.touched(&self.file(registers.rdi), call == PWRITE)
            }
            None => None,
        };
        if self.answer.is_some() {
            // no such call: it gives what is put there at its exit
            registers.orig_rax = u64::MAX;
            ptrace::setregs(self.pid, registers).unwrap();
        }
        until.map(|(_, signal)| (call, signal))
    }

    fn is_tool(&self) -> bool {
        let program = fs::read_link(format!("/proc/{}/exe", self.pid)).unwrap();
        program.ends_with("bootsel")
    }

    fn file(&self, descriptor: u64) -> PathBuf {
        fs::read_link(format!("/proc/{}/fd/{descriptor}", self.pid)).unwrap_or_default()
    }

    fn memory(&self) -> File {
        let path = format!("/proc/{}/mem", self.pid);
        OpenOptions::new().read(true).write(true).open(path).unwrap()
    }
}
