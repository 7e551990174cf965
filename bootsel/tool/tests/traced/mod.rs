// SPDX-License-Identifier: MIT OR Apache-2.0
//! Runs the tool as it is built and stands behind its descriptors: each of its system calls stops, requests of the
//! mailbox are answered, and it can be ended before any call that writes. The tool knows nothing of it.
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
const OPENAT: u64 = 257;
/// pwrite64, fsync, fdatasync, ftruncate, rename, mkdir, unlink
const CHANGES: [u64; 7] = [18, 74, 75, 77, 82, 83, 87];
/// `O_CREAT`
const CREATE: u64 = 0o100;

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

/// Runs `bootsel` with these arguments on a machine with that firmware; it is ended before its n-th call that changes
/// something, where so many are made.
pub(crate) fn run(
    device: &Device,
    arguments: &[&str],
    firmware: &mut Firmware,
    until: Option<usize>,
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
    let code = Tracer { pid, firmware, until, changes: 0, answer: None, runs: false }.watch();
    let text = |path| String::from_utf8(fs::read(path).unwrap()).unwrap();
    match code {
        Ok(code) => End::Exited(Outcome { code, out: text(out), err: text(err) }),
        Err(call) => End::Killed(call),
    }
}

struct Tracer<'a> {
    pid: Pid,
    firmware: &'a mut Firmware,
    until: Option<usize>,
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
                WaitStatus::PtraceSyscall(_) => {
                    if let Some(call) = self.system_call() {
                        kill(self.pid, Signal::SIGKILL).unwrap();
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

    /// At the entry or the exit of a call; the number of one that is not to be made.
    fn system_call(&mut self) -> Option<u64> {
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
        if call == IOCTL && registers.rsi & 0xffff_ffff == PROPERTY && self.is_vcio(registers.rdi) {
            self.answer = Some(self.property(registers.rdx));
            // no such call: it gives what is put there at its exit
            registers.orig_rax = u64::MAX;
            ptrace::setregs(self.pid, registers).unwrap();
        }
        let creates = call == OPENAT && registers.rdx & CREATE != 0;
        let writes = call == WRITE && registers.rdi > 2;
        if self.runs && (CHANGES.contains(&call) || creates || writes) {
            self.changes += 1;
            return Some(call).filter(|_| self.until == Some(self.changes));
        }
        None
    }

    fn is_tool(&self) -> bool {
        let program = fs::read_link(format!("/proc/{}/exe", self.pid)).unwrap();
        program.ends_with("bootsel")
    }

    fn is_vcio(&self, descriptor: u64) -> bool {
        let file = fs::read_link(format!("/proc/{}/fd/{descriptor}", self.pid)).unwrap();
        file.ends_with("dev/vcio")
    }

    /// What the driver does: it takes as many bytes as the message says, and writes as many.
    fn property(&mut self, address: u64) -> i64 {
        let path = format!("/proc/{}/mem", self.pid);
        let memory = OpenOptions::new().read(true).write(true).open(path).unwrap();
        let mut word = [0; 4];
        memory.read_exact_at(&mut word, address).unwrap();
        let mut message = vec![0; u32::from_le_bytes(word) as usize];
        assert!(message.len() <= MESSAGE && message.len() >= 12 && message.len().is_multiple_of(4));
        memory.read_exact_at(&mut message, address).unwrap();
        let given = self.firmware.answer(&mut message);
        memory.write_all_at(&message, address).unwrap();
        given
    }
}
