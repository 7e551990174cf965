// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is there: each function looks at one thing and changes nothing, except the last.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Error, ErrorKind};
use std::path::Path;
use std::process::{Command, ExitCode};

use nix::mount::{MntFlags, umount2};
use nix::sched::{CloneFlags, setns, unshare};
use serde_json::Value;
use witness::report::{Loop, Mount, Watchdog};

/// A file of one line, without its end; empty where it cannot be read.
pub(crate) fn attribute(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default().trim_end().to_owned()
}

pub(crate) fn arguments() -> Vec<String> {
    std::env::args_os().skip(1).map(|word| word.to_string_lossy().into_owned()).collect()
}

pub(crate) fn environment() -> BTreeMap<String, String> {
    let text = |s: std::ffi::OsString| s.to_string_lossy().into_owned();
    std::env::vars_os().map(|(name, value)| (text(name), text(value))).collect()
}

/// `AT_PAGESZ` of the auxiliary vector: pairs of this program's words, ended by zero.
pub(crate) fn page_size() -> io::Result<u64> {
    const AT_PAGESZ: u64 = 6;
    let bytes = fs::read("/proc/self/auxv")?;
    let words: Vec<u64> = bytes
        .chunks_exact(size_of::<usize>())
        .map(|word| word.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte)))
        .collect();
    let found = words.chunks_exact(2).find(|pair| pair.first() == Some(&AT_PAGESZ));
    Ok(found.and_then(|pair| pair.last().copied()).unwrap_or_default())
}

/// Open descriptors, without the one that lists them.
pub(crate) fn descriptors() -> io::Result<BTreeMap<String, String>> {
    let mut open = BTreeMap::new();
    for entry in fs::read_dir("/proc/self/fd")? {
        let entry = entry?;
        if let Ok(target) = fs::read_link(entry.path())
            && !target.starts_with("/proc/1/fd")
        {
            let number = entry.file_name().to_string_lossy().into_owned();
            open.insert(number, target.to_string_lossy().into_owned());
        }
    }
    Ok(open)
}

pub(crate) fn mounts() -> io::Result<Vec<Mount>> {
    let text = fs::read_to_string("/proc/self/mountinfo")?;
    Ok(text.lines().filter_map(mount).collect())
}

fn mount(line: &str) -> Option<Mount> {
    let (front, back) = line.split_once(" - ")?;
    let mut front = front.split(' ').skip(3).map(str::to_owned);
    let mut back = back.split(' ').map(str::to_owned);
    Some(Mount {
        root: front.next()?,
        target: front.next()?,
        options: front.next()?,
        kind: back.next()?,
        source: back.next()?,
        super_options: back.next()?,
    })
}

pub(crate) fn modules() -> io::Result<Vec<String>> {
    let text = fs::read_to_string("/proc/modules")?;
    Ok(text.lines().filter_map(|line| line.split(' ').next()).map(str::to_owned).collect())
}

pub(crate) fn loops() -> io::Result<Vec<Loop>> {
    let mut loops = Vec::new();
    for name in names("/sys/block") {
        let file = |leaf: &str| attribute(&format!("/sys/block/{name}/{leaf}"));
        let backing_file = file("loop/backing_file");
        if !backing_file.is_empty() {
            let (autoclear, read_only) = (file("loop/autoclear") == "1", file("ro") == "1");
            loops.push(Loop { name, backing_file, autoclear, read_only });
        }
    }
    Ok(loops)
}

pub(crate) fn watchdog() -> Option<Watchdog> {
    let directory = "/sys/class/watchdog/watchdog0";
    Path::new(directory).exists().then(|| {
        let file = |leaf: &str| attribute(&format!("{directory}/{leaf}"));
        Watchdog {
            identity: file("identity"),
            state: file("state"),
            timeout: file("timeout"),
            nowayout: file("nowayout"),
        }
    })
}

/// Everything that runs beside the kernel's threads (children of process 2) and this process.
pub(crate) fn processes() -> io::Result<Vec<String>> {
    let mut found = Vec::new();
    for pid in
        names("/proc").into_iter().filter(|name| name.parse::<u32>().is_ok_and(|pid| pid > 2))
    {
        // The name is in parentheses and may hold blanks; state and parent follow it.
        let stat = attribute(&format!("/proc/{pid}/stat"));
        let parent = stat.rsplit_once(')').and_then(|(_, rest)| rest.split_whitespace().nth(1));
        if parent.is_some_and(|parent| parent != "2") {
            found.push(stat);
        }
    }
    Ok(found)
}

/// Asks a child: the answer changes who asks. Process 1 could not enter a namespace either, because it shares its root
/// with the kernel's threads.
fn ask(question: &str) -> String {
    match Command::new("/proc/self/exe").arg(question).output() {
        Ok(output) => String::from_utf8_lossy(&output.stdout).into_owned(),
        Err(why) => why.to_string(),
    }
}

/// The child's part.
#[expect(clippy::print_stdout, reason = "the answer to the parent")]
pub(crate) fn answer(question: &str) -> ExitCode {
    let answer = match question {
        "user-namespace" => {
            unshare(CloneFlags::CLONE_NEWUSER).map_err(Error::from).map(|()| "ok".into())
        }
        "initramfs" => below_root().map(|left| left.join("\n")),
        _ => Err(Error::from(ErrorKind::Unsupported)),
    };
    print!("{}", answer.unwrap_or_else(|why| format!("{question}: {why}")));
    ExitCode::SUCCESS
}

pub(crate) fn user_namespace() -> String {
    ask("user-namespace")
}

/// What is left in the initramfs. There is no way back, so this comes last.
pub(crate) fn initramfs() -> Vec<String> {
    ask("initramfs").lines().map(str::to_owned).collect()
}

/// Names in a directory, sorted; none where it is missing.
pub(crate) fn names(directory: &str) -> Vec<String> {
    let Ok(entries) = fs::read_dir(directory) else { return Vec::new() };
    let mut names: Vec<_> =
        entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

pub(crate) fn boot() -> Option<Value> {
    let text = fs::read("/run/pivot/boot.json").ok()?;
    Some(serde_json::from_slice(&text).unwrap_or_else(|why| Value::String(why.to_string())))
}

/// The initramfs is the file system below the root. The root is taken away, and entering the own mount namespace anew
/// makes what lies below it `/`.
fn below_root() -> io::Result<Vec<String>> {
    let namespace = File::open("/proc/self/ns/mnt")?;
    umount2("/", MntFlags::MNT_DETACH)?;
    setns(namespace, CloneFlags::CLONE_NEWNS)?;
    let mut left = Vec::new();
    walk(Path::new("/"), &mut left)?;
    Ok(left)
}

fn walk(directory: &Path, left: &mut Vec<String>) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        left.push(entry.path().to_string_lossy().into_owned());
        if entry.file_type()?.is_dir() {
            walk(&entry.path(), left)?;
        }
    }
    Ok(())
}
