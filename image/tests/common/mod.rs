// SPDX-License-Identifier: MIT OR Apache-2.0
//! A kernel, a program and a configuration that are small and made up, and programs that judge what was built.
#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stderr,
    clippy::indexing_slicing,
    reason = "a test stops where something is wrong, and not every test needs everything"
)]

pub(crate) mod pi;

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Release of the made-up kernel.
pub(crate) const RELEASE: &str = "6.12.0-test";

const MODULES: [(&str, &[&str]); 8] = [
    ("drivers/watchdog/i6300esb", &[]),
    ("drivers/block/virtio_blk", &[]),
    ("drivers/block/loop", &[]),
    ("fs/squashfs/squashfs", &[]),
    ("fs/jbd2/jbd2", &[]),
    ("fs/ext4/ext4", &["softdep=pre: sum"]),
    ("fs/overlayfs/overlay", &[]),
    ("crypto/sum", &[]),
];

/// The command as an ordinary user with an ordinary PATH, where the tests run as root.
pub(crate) fn as_user(project: &Project, command: &Command) -> Command {
    let mut words: Vec<std::ffi::OsString> = Vec::new();
    let root =
        fs::metadata("/proc/self").is_ok_and(|me| std::os::unix::fs::MetadataExt::uid(&me) == 0);
    if root {
        let everyone = std::os::unix::fs::PermissionsExt::from_mode(0o777);
        fs::set_permissions(project.path(""), everyone).unwrap();
        words.extend(["setpriv", "--reuid=4711", "--regid=4711", "--clear-groups"].map(Into::into));
    }
    // where cargo puts programs may be closed to others
    fs::copy(command.get_program(), project.path("program")).unwrap();
    words.push(project.path("program").into());
    words.extend(command.get_args().map(Into::into));
    let mut wrapped = Command::new(&words[0]);
    wrapped.args(&words[1..]).env("PATH", "/usr/bin:/bin").env("HOME", "/nonexistent");
    wrapped
}

/// The program, or a word on what is missing: such a test proves nothing, and says so.
pub(crate) fn program(name: &str, package: &str) -> Option<Command> {
    let path = image::tool::find(name, package).ok();
    if path.is_none() {
        eprintln!("SKIPPED: there is no {name} (package {package})");
    }
    path.map(|path| {
        let mut command = Command::new(path);
        command.env("LC_ALL", "C").env("MTOOLS_SKIP_CHECK", "1");
        command
    })
}

/// What the program printed; it must end well.
#[track_caller]
pub(crate) fn output(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let (out, err) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{command:?}: {}\n{out}{err}", output.status);
    out.into_owned()
}

/// `pivot-image`, as it was built, without a cache.
pub(crate) fn pivot_image() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pivot-image"));
    command.arg("--no-cache").arg("--quiet");
    command
}

/// What a build says that succeeds.
#[track_caller]
pub(crate) fn said(project: &Project) -> String {
    let mut build = Command::new(env!("CARGO_BIN_EXE_pivot-image"));
    build.args(["--no-cache", "build"]).arg(project.path("demo.toml"));
    let output = build.arg("-o").arg(project.path("out")).output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{text}");
    text
}

/// What it says when it fails, and its exit code.
#[track_caller]
pub(crate) fn refusal(command: &mut Command) -> (String, i32) {
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success(), "{command:?} succeeded");
    (text, output.status.code().unwrap())
}

/// A directory with a kernel, a program, a root and a configuration.
pub(crate) struct Project(pub(crate) tempfile::TempDir);

impl Project {
    pub(crate) fn new() -> Self {
        let project = Self(tempfile::tempdir().unwrap());
        for (name, modinfo) in MODULES {
            project
                .write(&format!("linux/lib/modules/{RELEASE}/kernel/{name}.ko"), &module(modinfo));
        }
        let builtin = "kernel/drivers/virtio/virtio_pci.ko\nkernel/drivers/virtio/virtio_mmio.ko\n";
        project.write(&format!("linux/lib/modules/{RELEASE}/modules.builtin"), builtin.as_bytes());
        project.write(&format!("linux/boot/vmlinuz-{RELEASE}"), &noise(200_000));
        project.configure_kernel(&[
            "RD_ZSTD",
            "RD_LZ4",
            "SQUASHFS",
            "SQUASHFS_ZSTD",
            "SQUASHFS_ZLIB",
        ]);
        project.write("init", &elf());
        project.write("firmware/brcm/a.bin", &noise(5_000));
        project.write("rootfs/sbin/init", &elf());
        project.write("demo.toml", CONFIG.as_bytes());
        // times of a root file system are part of it
        for name in ["rootfs/sbin/init", "rootfs/sbin", "rootfs"] {
            let times = fs::FileTimes::new().set_modified(std::time::UNIX_EPOCH);
            File::open(project.path(name)).unwrap().set_times(times).unwrap();
        }
        project
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, bytes: &[u8]) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }

    /// Options of the kernel that are `y`.
    pub(crate) fn configure_kernel(&self, options: &[&str]) {
        let text: String = options.iter().map(|option| format!("CONFIG_{option}=y\n")).collect();
        self.write(&format!("linux/boot/config-{RELEASE}"), text.as_bytes());
    }

    /// The configuration with one text replaced by another.
    pub(crate) fn configure(&self, from: &str, to: &str) {
        assert!(CONFIG.contains(from), "{from}");
        self.write("demo.toml", CONFIG.replace(from, to).as_bytes());
    }

    pub(crate) fn build(&self, out: &str) -> Command {
        let mut command = pivot_image();
        command.arg("build").arg(self.path("demo.toml")).arg("-o").arg(self.path(out));
        command
    }
}

pub(crate) const CONFIG: &str = r#"
name = "demo"
zstd_level = 3
[revision]
id = "r1"
version = 1
[disk]
table = "gpt"
cmdline = "console=ttyAMA0"
overlay = "volatile"
[initramfs]
init = ["init"]
[[kernel]]
directory = "linux"
machines = ["virt"]
[firmware]
directories = ["firmware"]
[root]
directory = "rootfs"
"#;

/// Bytes that do not compress, equal each time.
pub(crate) fn noise(length: usize) -> Vec<u8> {
    let mut state = 7_u64;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        state.to_be_bytes()[0]
    };
    (0..length).map(|_| next()).collect()
}

/// A static AArch64 program of one segment.
pub(crate) fn elf() -> Vec<u8> {
    let mut out = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\xb7\0\x01\0\0\0".to_vec();
    out.extend([0x40_0000_u64, 64, 0].map(u64::to_le_bytes).concat());
    out.extend([0, 0, 0, 0, 64, 0, 56, 0, 1, 0, 64, 0, 0, 0, 0, 0]);
    out.extend([1, 0, 0, 0, 5, 0, 0, 0]);
    out.extend([0, 0x40_0000, 0x40_0000, 120, 120, 0x10000_u64].map(u64::to_le_bytes).concat());
    out
}

/// The headers of a UEFI program for 64-bit Arm, and what follows.
pub(crate) fn efi(signed: bool, tail: &[u8]) -> Vec<u8> {
    let mut out = vec![0; 0x200];
    let parts: [(usize, &[u8]); 7] = [
        (0, b"MZ"),
        (0x3c, &[0x40]),
        (0x40, b"PE\0\0\x64\xaa"),
        (0x58, &[0x0b, 2]),
        // subsystem, number of directories, length of the certificates
        (0x58 + 68, &[10]),
        (0x58 + 108, &[16]),
        (0x58 + 112 + 36, &[u8::from(signed)]),
    ];
    for (at, bytes) in parts {
        out[at..at + bytes.len()].copy_from_slice(bytes);
    }
    out.extend(tail);
    out
}

/// The least that depmod takes for a module: an ELF file with a section .modinfo.
pub(crate) fn module(modinfo: &[&str]) -> Vec<u8> {
    let info: Vec<u8> = modinfo.iter().flat_map(|text| [text.as_bytes(), &[0]].concat()).collect();
    let names = b"\0.modinfo\0.symtab\0.strtab\0.shstrtab\0";
    // sh_name, sh_type, sh_link, sh_entsize, content
    let sections: [(u32, u32, u32, u64, &[u8]); 4] =
        [(1, 1, 0, 0, &info), (10, 2, 3, 24, &[0; 24]), (18, 3, 0, 0, &[0]), (26, 3, 0, 0, names)];
    let (mut content, mut table) = (Vec::<u8>::new(), vec![0; 64]);
    for (name, kind, link, entry, bytes) in sections {
        let offset = 64 + content.len() as u64;
        content.extend(bytes);
        table.extend([name, kind].map(u32::to_le_bytes).concat());
        table.extend([0, 0, offset, bytes.len() as u64].map(u64::to_le_bytes).concat());
        table.extend([link, 0].map(u32::to_le_bytes).concat());
        table.extend([1, entry].map(u64::to_le_bytes).concat());
    }
    let mut out = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x01\0\xb7\0\x01\0\0\0".to_vec();
    out.extend([0, 0, 64 + content.len() as u64].map(u64::to_le_bytes).concat());
    out.extend([0, 0, 0, 0, 64, 0, 0, 0, 0, 0, 64, 0, 5, 0, 4, 0]);
    out.extend(content);
    out.extend(table);
    out
}

/// A partition of an image as a file of its own.
pub(crate) fn partition(image: &Path, start_mib: u64, mib: u64, to: &Path) {
    let mut bytes = vec![0; usize::try_from(mib << 20).unwrap()];
    File::open(image).unwrap().read_exact_at(&mut bytes, start_mib << 20).unwrap();
    fs::write(to, bytes).unwrap();
}

/// The last partition of an image, which begins at `start_mib`, as a file of its own: a MiB is free behind it.
pub(crate) fn last_partition(image: &Path, start_mib: u64, to: &Path) {
    let mib = (fs::metadata(image).unwrap().len() >> 20) - start_mib - 1;
    partition(image, start_mib, mib, to);
}

/// Builds; false where a program is missing.
pub(crate) fn built(project: &Project) -> bool {
    let needed = [
        ("depmod", "kmod"),
        ("mke2fs", "e2fsprogs"),
        ("mksquashfs", "squashfs-tools"),
        ("mcopy", "mtools"),
    ];
    if !needed.iter().all(|(name, package)| program(name, package).is_some()) {
        return false;
    }
    output(&mut project.build("out"));
    true
}

/// A file on the partition that begins at `mib`, read by mtools.
#[track_caller]
pub(crate) fn read(image: &Path, mib: u64, name: &str) -> Vec<u8> {
    let copy = image.with_file_name("copy");
    let mut mcopy = program("mcopy", "mtools").unwrap();
    mcopy.args(["-n", "-o", "-i"]).arg(format!("{}@@{mib}M", image.display()));
    output(mcopy.arg(format!("::{name}")).arg(&copy));
    fs::read(copy).unwrap()
}

/// Compares two files by their content and says which differ.
#[track_caller]
pub(crate) fn assert_equal(one: &Path, two: &Path) {
    let (a, b) = (fs::read(one).unwrap(), fs::read(two).unwrap());
    let place = a.iter().zip(&b).position(|(a, b)| a != b);
    assert!(a.len() == b.len() && place.is_none(), "{}: differs at byte {place:?}", one.display());
}

/// A Debian package of these files, and of these symbolic links.
pub(crate) fn deb(architecture: &str, files: &[(&str, &[u8])], links: &[(&str, &str)]) -> Vec<u8> {
    let file = |tar: &mut tar::Builder<Vec<u8>>, path: &str, bytes: &[u8]| {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        tar.append_data(&mut header, format!("./{path}"), bytes).unwrap();
    };
    let mut control = tar::Builder::new(Vec::new());
    file(&mut control, "control", format!("Package: x\nArchitecture: {architecture}\n").as_bytes());
    let mut data = tar::Builder::new(Vec::new());
    files.iter().for_each(|(path, bytes)| file(&mut data, path, bytes));
    for (path, target) in links {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Symlink);
        header.set_size(0);
        data.append_link(&mut header, format!("./{path}"), target).unwrap();
    }
    let pack =
        |tar: tar::Builder<Vec<u8>>| zstd::bulk::compress(&tar.into_inner().unwrap(), 1).unwrap();
    let mut out = b"!<arch>\n".to_vec();
    for (name, bytes) in [
        ("debian-binary", b"2.0\n".to_vec()),
        ("control.tar.zst", pack(control)),
        ("data.tar.zst", pack(data)),
    ] {
        out.extend(format!("{name:<16}{:<32}{:<10}`\n", "0", bytes.len()).bytes());
        out.extend(bytes);
        out.resize(out.len().next_multiple_of(2), b'\n');
    }
    out
}

/// All files below a directory, as [`deb`] takes them.
pub(crate) fn files_below(directory: &Path) -> Vec<(String, Vec<u8>)> {
    let (mut out, mut waiting) = (Vec::new(), vec![directory.to_owned()]);
    while let Some(path) = waiting.pop() {
        for entry in fs::read_dir(path).unwrap().map(Result::unwrap) {
            if entry.path().is_dir() {
                waiting.push(entry.path());
            } else {
                let name = entry.path().strip_prefix(directory).unwrap().display().to_string();
                out.push((name, fs::read(entry.path()).unwrap()));
            }
        }
    }
    out.sort();
    out
}
