// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the integration tests share: a mount namespace per test, loop devices, the tools that judge us.

use std::fs;
use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};

/// Runs `test` on a thread with a mount namespace of its own, in which `scratch` is an empty tmpfs. All that it
/// mounts goes with the thread; nothing of it is seen outside.
pub fn in_namespace(test: impl FnOnce(&Scratch) + Send) {
    assert!(
        nix::unistd::geteuid().is_root(),
        "these tests mount and attach loop devices: run them as root"
    );
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().to_owned();
    let ended = thread::scope(|scope| {
        scope
            .spawn(|| {
                let none = None::<&Path>;
                unshare(CloneFlags::CLONE_NEWNS)
                    .expect("a mount namespace (CAP_SYS_ADMIN is missing?)");
                mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)
                    .expect("private mounts");
                mount(Some("tmpfs"), &path, Some("tmpfs"), MsFlags::empty(), none)
                    .expect("a tmpfs");
                test(&Scratch(path));
            })
            .join()
    });
    ended.unwrap_or_else(|panic| resume_unwind(panic));
}

/// The tmpfs of a test.
#[derive(Debug)]
pub struct Scratch(PathBuf);

impl Scratch {
    /// The path of `name` in it.
    pub fn path(&self, name: &str) -> String {
        self.0.join(name).into_os_string().into_string().expect("a path in UTF-8")
    }

    /// Creates a file, and the directories on its way.
    pub fn file(&self, name: &str, content: impl AsRef<[u8]>) -> String {
        let path = self.path(name);
        fs::create_dir_all(Path::new(&path).parent().expect("a parent")).expect("directories");
        fs::write(&path, content).expect("a file");
        path
    }

    /// Creates a directory, and those on its way.
    pub fn directory(&self, name: &str) -> String {
        let path = self.path(name);
        fs::create_dir_all(&path).expect("a directory");
        path
    }

    /// A file of zeros, sparse.
    pub fn zeros(&self, name: &str, bytes: u64) -> String {
        let path = self.path(name);
        fs::File::create(&path).and_then(|file| file.set_len(bytes)).expect("a sparse file");
        path
    }

    /// A squashfs image of a directory that holds `hello` with the text "world".
    pub fn squashfs(&self, name: &str, options: &[&str]) -> String {
        let (image, content) = (self.path(name), self.directory(&format!("{name}.content")));
        fs::write(format!("{content}/hello"), "world").expect("a file");
        // So long that it is not kept in the inode table: something of the data can be damaged.
        fs::write(format!("{content}/long"), [b'x'; 300_000]).expect("a file");
        run(
            "mksquashfs",
            &[&[content.as_str(), &image, "-quiet", "-no-progress"], options].concat(),
        );
        image
    }

    /// An ext4 image.
    pub fn ext4(&self, name: &str, options: &[&str]) -> String {
        let image = self.zeros(name, 16 << 20);
        run("mke2fs", &[&["-q", "-F", "-t", "ext4"], options, &[&image]].concat());
        image
    }
}

/// What a tool writes to its standard output; panics with its error output where it fails.
#[track_caller]
pub fn run(tool: &str, arguments: &[&str]) -> String {
    let output = Command::new(tool).args(arguments).output();
    let output = output.unwrap_or_else(|error| panic!("{tool} is needed by this test: {error}"));
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{tool} {arguments:?}: {}\n{stderr}", output.status);
    String::from_utf8(output.stdout).expect("UTF-8").trim_end().to_owned()
}

/// A loop device that losetup set up; writable unless `-r` is among the options.
#[derive(Debug)]
pub struct Loop {
    /// `/dev/loop7`
    pub node: String,
}

impl Loop {
    /// Attaches `image`.
    pub fn attach(image: &str, options: &[&str]) -> Loop {
        Loop { node: run("losetup", &[&["--find", "--show"], options, &[image]].concat()) }
    }

    /// `loop7`
    pub fn name(&self) -> &str {
        self.node.trim_start_matches("/dev/")
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        // In use still: it goes with its last user.
        let _ = Command::new("losetup").args(["--detach", &self.node]).status();
    }
}

/// A line of mountinfo.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// Filesystem type.
    pub kind: String,
    /// Source.
    pub source: String,
    /// Options of the mount, a comma, and those of the filesystem.
    pub options: String,
}

/// What is mounted on `target`, lowest first, in the namespace of this thread.
pub fn mounts_on(target: &str) -> Vec<Mount> {
    // Not /proc/self: that is the main thread with its own namespace.
    let text = fs::read_to_string("/proc/thread-self/mountinfo").expect("mountinfo");
    let mount = |line: &str| {
        let fields: Vec<&str> = line.split(' ').collect();
        let dash = fields.iter().position(|field| *field == "-")?;
        let [kind, source, options] = fields.get(dash + 1..)? else { return None };
        (fields[4] == target).then(|| Mount {
            kind: (*kind).to_owned(),
            source: (*source).to_owned(),
            options: format!("{},{options}", fields[5]),
        })
    };
    text.lines().filter_map(mount).collect()
}
