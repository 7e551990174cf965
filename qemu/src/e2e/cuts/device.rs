// SPDX-License-Identifier: MIT OR Apache-2.0
//! The device whose power is cut: a factory image and two bundles for it, and what each revision must look like when it
//! lies in a slot and on the data partition.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::slice::from_ref;

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};

use super::grub::Grub;
use super::world::World;
use crate::e2e::life::{Maker, identity};
use crate::fetch::{self, Store, Wanted};
use crate::image::{Config, Image, Output};
use crate::random::Random;
use crate::rootfs::{self, Programs};
use crate::tool;

/// What content is compared by.
pub(super) type Hash = [u8; 32];

/// Slots are compared in pieces of this length.
pub(super) const PIECE: usize = 4096;
/// What a root has beside its programs: a file that is no other revision's.
const OWN: usize = 3 << 20;
/// What the kernel of a test prints goes to QEMU; nobody feeds the watchdog while a program of the test works.
const CMDLINE: &str = "console=ttyAMA0 panic=-1 pivot.watchdog=off";
/// See `life`.
const SIZES: [&str; 2] = ["4M", "34M"];
/// GRUB takes a kernel that is not packed.
const UEFI_SIZES: [&str; 2] = ["8M", "64M"];

/// Writes a sector that no partition has: where one command ends and the next begins. The flush behind it is of no
/// command.
const MARK: &str = "#!/bin/sh
exec /bin/busybox dd if=/dev/zero of=/dev/vda bs=512 count=1 seek=$1 conv=notrunc,fsync
";
/// Leaves out the N-th call of a system call, which seems to have worked all the same: CALL N COMMAND...
const WITHOUT: &str = "#!/bin/sh
call=$1; shift; number=$1; shift
exec /usr/bin/strace -y -e trace=fdatasync,syncfs,fsync,sync -e inject=$call:retval=0:when=$number /usr/sbin/bootsel \"$@\"
";
/// The kernel writes back what it must, and nothing because of its age: a quick device is done before that.
const LAZY: &str = "#!/bin/sh
/bin/busybox mount -o remount,commit=300 /run/pivot/data || exit 1
for name in expire writeback; do echo 60000 > /proc/sys/vm/dirty_${name}_centisecs || exit 1; done
";
/// Nothing waits for what a command leaves to the kernel, but its states are to be looked at, too.
const SETTLED: &str = "#!/bin/sh
/usr/sbin/bootsel \"$@\" && exec /bin/busybox sync
";
/// Partition 2 loses its first sector, as if the card had lost it.
const ROT: &str = "#!/bin/sh
exec /bin/busybox dd if=/dev/zero of=/dev/vda2 bs=512 count=1 conv=notrunc,fsync
";

/// A revision as it must be.
#[derive(Debug)]
pub(super) struct Revision {
    /// Its files on the data partition: length and hash.
    pub(super) files: BTreeMap<String, (u64, Hash)>,
    /// The pieces of a slot that holds it: slot a's and slot b's.
    pub(super) slots: [Vec<Hash>; 2],
}

/// All there is before the first boot.
#[derive(Debug)]
pub(crate) struct Device {
    pub(crate) world: World,
    /// In the world of that name.
    pub(super) grub: Option<Grub>,
    pub(super) factory: Image,
    /// Of revision 2 and of revision 3.
    pub(super) bundles: [PathBuf; 2],
    pub(super) revisions: BTreeMap<u32, Revision>,
    pub(super) directory: PathBuf,
}

impl Device {
    pub(crate) fn make(maker: &Maker<'_>, world: World) -> Result<Self> {
        let directory = maker.directory.join(world.directory());
        fs::create_dir_all(&directory)?;
        let parts = Parts::get(maker, world)?;
        let key = maker.key()?;
        // What lies behind the initramfs in a boot volume lies elsewhere in the next revision's.
        let busybox = directory.join("busybox");
        fetch::unpack(&Store::open()?.get(Wanted::Busybox)?, "bin/busybox", &busybox)?;
        let build = |number: u32| {
            let out = directory.join(format!("revision{number}"));
            fs::create_dir_all(&out)?;
            let root = root(number, &key.with_extension("pub"), &out)?;
            let table = if world == World::Pi { "mbr" } else { "gpt" };
            let config = Config {
                revision: number,
                uefi: parts.grub.as_ref().map(|paths| paths.each_ref().map(PathBuf::as_path)),
                rpi: parts.firmware.as_deref(),
                cmdline: CMDLINE,
                shell: (number == 2).then_some(&busybox),
                sizes: Some(parts.sizes),
                ..Config::new("cuts", table, maker.init, from_ref(&parts.kernel), &root)
            };
            let image = config.build(maker.pivot_image, &out, Output::Quiet)?;
            let bundle = directory.join(format!("{number}.bundle"));
            let mut make = tool::command(&maker.pivot_image.to_string_lossy());
            make.args(["--quiet", "bundle"]).arg(&out).arg("--key").arg(&key);
            tool::run(make.arg("--out").arg(&bundle))?;
            Ok::<_, anyhow::Error>((Revision::read(&image, &out)?, image, bundle))
        };
        let ((first, factory, _), (second, _, two), (third, _, three)) =
            (build(1)?, build(2)?, build(3)?);
        let revisions = BTreeMap::from([(1, first), (2, second), (3, third)]);
        let computer = directory.join("computer");
        fs::create_dir_all(&computer)?;
        let grub = (world == World::Grub).then(|| Grub::new(&factory, &computer)).transpose()?;
        Ok(Self { world, grub, factory, bundles: [two, three], revisions, directory })
    }
}

/// What differs between the worlds.
struct Parts {
    kernel: (PathBuf, &'static [&'static str]),
    /// A Raspberry Pi's.
    firmware: Option<PathBuf>,
    /// With shim.
    grub: Option<[PathBuf; 2]>,
    sizes: [&'static str; 2],
}

impl Parts {
    fn get(maker: &Maker<'_>, world: World) -> Result<Self> {
        let mut store = Store::open()?;
        let kernel = store.get(Wanted::Kernel)?;
        Ok(match world {
            World::Pi => Self {
                kernel: (maker.slim(&kernel)?, &["virt"]),
                firmware: Some(store.get(Wanted::RaspiFirmware)?),
                grub: None,
                sizes: SIZES,
            },
            World::Grub => Self {
                kernel: (maker.slim_for_uefi(&kernel)?, &["uefi"]),
                firmware: None,
                grub: Some([store.get(Wanted::Grub)?, store.get(Wanted::Shim)?]),
                sizes: UEFI_SIZES,
            },
        })
    }
}

/// A device's root with what the tests of cuts need.
fn root(number: u32, key: &Path, out: &Path) -> Result<PathBuf> {
    let tree = rootfs::device_tree(Programs::Arm64, &identity(number), key)?;
    let place = |path: &str| tree.path().join(path);
    let scripts =
        [("mark", MARK), ("without", WITHOUT), ("settled", SETTLED), ("lazy", LAZY), ("rot", ROT)];
    for (name, text) in scripts {
        let path = place(&format!("etc/{name}"));
        fs::write(&path, text)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
    }
    let (strace, libc) = {
        let mut store = Store::open()?;
        (store.get(Wanted::Strace)?, store.get(Wanted::Libc)?)
    };
    fs::create_dir_all(place("usr/bin"))?;
    fetch::unpack(&strace, "usr/bin/strace", &place("usr/bin/strace"))?;
    for library in ["libc.so.6", "ld-linux-aarch64.so.1"] {
        let inside = format!("lib/aarch64-linux-gnu/{library}");
        fetch::unpack(&libc, &inside, &place(&format!("usr/lib/{library}")))?;
    }
    let mut random = Random(u64::from(number));
    let own: Vec<u8> = (0..OWN).map(|_| random.byte()).collect();
    fs::write(place("etc/own"), own)?;
    rootfs::pack(&tree, out)
}

impl Revision {
    /// From a disk image that has it in both slots, and the directory that the builder filled.
    fn read(image: &Image, out: &Path) -> Result<Self> {
        let mut files = BTreeMap::new();
        for entry in fs::read_dir(out.join("revision"))? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let content = fs::read(entry.path())?;
            files.insert(name, (content.len() as u64, Sha256::digest(&content).into()));
        }
        let disk = File::open(&image.disk)?;
        let slot = |number: usize| {
            let place = image.partitions.get(number).context("no boot partition")?;
            (0..place.length / PIECE as u64)
                .map(|piece| piece_at(&disk, place.start + piece * PIECE as u64))
                .collect::<Result<Vec<_>>>()
        };
        Ok(Self { files, slots: [slot(1)?, slot(2)?] })
    }
}

/// The hash of a piece of a disk.
pub(super) fn piece_at(disk: &File, at: u64) -> Result<Hash> {
    let mut piece = [0; PIECE];
    disk.read_exact_at(&mut piece, at)?;
    Ok(Sha256::digest(piece).into())
}
