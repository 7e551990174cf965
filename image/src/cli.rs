// SPDX-License-Identifier: MIT OR Apache-2.0
//! The command line of `pivot-image`. Exit codes: 0, 1 for an error, 2 for wrong usage (clap's own).

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::compress::Compression;
use crate::initramfs::Arch;
use crate::machines::Machine;
use crate::squashfs::{Codec, Writer};

/// Builds initramfs, squashfs files, revisions and disk images for pivot, and shows what is in them.
///
/// Needs no root rights. Equal input gives equal files.
#[derive(Debug, Parser)]
#[command(name = "pivot-image", version, max_term_width = 100)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
    /// Keep unpacked kernels and written squashfs files here (default: ~/.cache/pivot/image)
    #[arg(long, global = true, value_name = "DIR")]
    pub cache: Option<PathBuf>,
    /// Do everything anew and keep nothing
    #[arg(long, global = true, conflicts_with = "cache")]
    pub no_cache: bool,
    /// Print errors only
    #[arg(long, short, global = true)]
    pub quiet: bool,
}

/// The subcommands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Build everything that a configuration describes, a disk image at last
    Build(Build),
    /// Build the revision directory that a configuration describes, without a disk image
    Revision(Build),
    /// Make the initramfs alone, for an image pipeline of your own
    Initramfs(Initramfs),
    /// Make modules_RELEASE.squashfs of a kernel, and its early modules
    Modules(Modules),
    /// Compile a Linux that fits pivot, or check how one was built
    Kernel(Kernel),
    /// Merge directories into firmware.squashfs
    Firmware(Firmware),
    /// Make a key pair to sign bundles with
    Keys(Keys),
    /// Make a signed bundle, which devices install, of what build or revision made
    Bundle(Bundle),
    /// Show what is in a disk image, block map, initramfs, program, manifest, revision, squashfs file or bundle
    Inspect(Inspect),
    /// Show what each Raspberry Pi would boot from a disk image
    Boards(Look),
    /// Look for what a board would stop at: exit code 1 where there is an error, 0 with warnings alone
    Lint(Look),
    /// Write a disk image to an SD card, a USB stick or another disk
    Flash(Flash),
}

/// `build` and `revision`
#[derive(Debug, Args)]
pub struct Build {
    /// The configuration, see docs/example.toml
    #[arg(value_name = "CONFIG.toml")]
    pub config: PathBuf,
    /// Where the files go; made if it is not there
    #[arg(long, short, value_name = "DIR", default_value = "out")]
    pub out: PathBuf,
    /// Print what was made as JSON
    #[arg(long)]
    pub json: bool,
}

/// `initramfs`
#[derive(Debug, Args)]
pub struct Initramfs {
    /// A program to be PID 1, once per machine (AArch64, ARM); default: what `cargo device` built
    #[arg(long, value_name = "FILE")]
    pub init: Vec<PathBuf>,
    /// Whose program is /init
    #[arg(long, value_enum, default_value_t)]
    pub arch: Arch,
    /// A static e2fsck, to be run on a data partition that is marked as having errors
    #[arg(long, value_name = "FILE")]
    pub e2fsck: Option<PathBuf>,
    /// A static shell for pivot.rescue=shell
    #[arg(long, value_name = "FILE")]
    pub shell: Option<PathBuf>,
    /// Append the early modules of this kernel (a package, or a directory with boot/ and lib/modules/)
    #[arg(long, value_name = "KERNEL")]
    pub kernel: Vec<PathBuf>,
    #[command(flatten)]
    #[allow(missing_docs, reason = "a comment here would become the help text of the subcommand")]
    pub early: Early,
    /// Compression
    #[arg(long, value_enum, default_value_t)]
    pub compression: Compression,
    /// The file to write
    #[arg(long, short, value_name = "FILE", default_value = "initramfs")]
    pub out: PathBuf,
}

/// Which modules of a `kernel` are early ones.
#[derive(Debug, Args)]
pub struct Early {
    /// Take the storage and watchdog drivers of this machine
    #[arg(long, value_enum, value_name = "MACHINE", requires = "kernel")]
    pub machine: Vec<Machine>,
    /// Take this module, too
    #[arg(long = "early", value_name = "MODULE", requires = "kernel")]
    pub modules: Vec<String>,
}

/// `modules`
#[derive(Debug, Args)]
pub struct Modules {
    /// A kernel package, or a directory with boot/ and lib/modules/RELEASE/
    #[arg(value_name = "KERNEL")]
    pub kernel: PathBuf,
    #[command(flatten)]
    #[allow(missing_docs, reason = "a comment here would become the help text of the subcommand")]
    pub early: Early,
    #[command(flatten)]
    #[allow(missing_docs, reason = "a comment here would become the help text of the subcommand")]
    pub squashfs: Squashfs,
    /// The directory for modules_RELEASE.squashfs and early_RELEASE
    #[arg(long, short, value_name = "DIR", default_value = ".")]
    pub out: PathBuf,
}

/// How squashfs files are written.
#[derive(Debug, Args)]
pub struct Squashfs {
    /// Compression; default: the best that the kernel reads
    #[arg(long, value_enum)]
    pub compression: Option<Codec>,
    /// Level of zstd, 1 to 22
    #[arg(long, value_name = "N")]
    pub zstd_level: Option<u32>,
    /// What writes the file
    #[arg(long, value_enum, default_value_t)]
    pub writer: Writer,
}

/// `kernel`
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub struct Kernel {
    /// Instead of compiling one
    #[command(subcommand)]
    pub check: Option<KernelCommand>,
    /// Pieces of configuration, the later ones before the earlier: base, virt, rpi3, rpi4, containers, small, or
    /// files of your own
    #[arg(long, value_name = "NAME,...", value_delimiter = ',', required = true)]
    pub fragments: Vec<String>,
    /// What is taken for all that they do not name
    #[arg(long, value_enum, default_value_t)]
    pub base: Base,
    /// Linux's sources: a directory, or Debian's package; default: the package linux-source-6.12
    #[arg(long, value_name = "DIR|DEB")]
    pub source: Option<PathBuf>,
    /// Put a copy of the kernel here, a directory as a configuration takes it; without it, print where it is kept
    #[arg(long, short, visible_alias = "output", value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// End of the release, as in 6.12.95-NAME; default: the names of the fragments but `base`
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
    /// How many compilers run at a time; default: one for each processor
    #[arg(long, short, value_name = "N")]
    pub jobs: Option<std::num::NonZero<usize>>,
    /// Print the configuration that comes of it, and compile nothing
    #[arg(long, conflicts_with_all = ["out", "json"])]
    pub config_only: bool,
    /// Print what was made as JSON
    #[arg(long)]
    pub json: bool,
}

/// Where a configuration begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Base {
    /// No to everything: a kernel for known machines
    #[default]
    Allnoconfig,
    /// Upstream's for all 64-bit Arm machines, most of it as modules
    Defconfig,
}

/// `kernel check`
#[derive(Debug, Subcommand)]
pub enum KernelCommand {
    /// Show which features of pivot a kernel has built in, as a module, or not at all: exit code 1 where it cannot boot
    Check(KernelCheck),
}

/// `kernel check`
#[derive(Debug, Args)]
pub struct KernelCheck {
    /// A configuration, a kernel that carries its own, a package, or a directory with boot/ and lib/modules/
    #[arg(value_name = "CONFIG|IMAGE|DEB|DIR")]
    pub kernel: PathBuf,
    /// It must boot this machine, too
    #[arg(long, value_enum, value_name = "MACHINE")]
    pub machine: Vec<Machine>,
    /// As JSON
    #[arg(long)]
    pub json: bool,
}

/// `firmware`
#[derive(Debug, Args)]
pub struct Firmware {
    /// Each is laid over the ones before it
    #[arg(value_name = "DIR", required = true)]
    pub directories: Vec<PathBuf>,
    #[command(flatten)]
    #[allow(missing_docs, reason = "a comment here would become the help text of the subcommand")]
    pub squashfs: Squashfs,
    /// Check that this kernel reads it (a package or a directory)
    #[arg(long, value_name = "KERNEL")]
    pub kernel: Vec<PathBuf>,
    /// The file to write
    #[arg(long, short, value_name = "FILE", default_value = "firmware.squashfs")]
    pub out: PathBuf,
}

/// `keys`
#[derive(Debug, Args)]
pub struct Keys {
    /// Where NAME.key and NAME.pub go; made if it is not there
    #[arg(long, short, value_name = "DIR")]
    pub out: PathBuf,
    /// Name of the two files
    #[arg(long, value_name = "NAME", default_value = "pivot")]
    pub name: String,
    /// Encrypt the secret key with the first line of this file
    #[arg(long, value_name = "FILE")]
    pub password_file: Option<PathBuf>,
    /// Print what was made as JSON
    #[arg(long)]
    pub json: bool,
}

/// `bundle`
#[derive(Debug, Args)]
pub struct Bundle {
    /// The directory that build or revision filled
    #[arg(value_name = "DIR")]
    pub directory: PathBuf,
    /// The secret key to sign with; default: the signature of revision.key in the configuration
    #[arg(long, value_name = "FILE")]
    pub key: Option<PathBuf>,
    /// The first line of this file is the password of the key
    #[arg(long, value_name = "FILE", requires = "key")]
    pub password_file: Option<PathBuf>,
    /// The file to write
    #[arg(long, short, value_name = "FILE", default_value = "update.bundle")]
    pub out: PathBuf,
}

/// `inspect`
#[derive(Debug, Args)]
pub struct Inspect {
    /// What to look at
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Verify the signature of a bundle with the keys DIR/*.pub
    #[arg(long, value_name = "DIR")]
    pub keys: Option<PathBuf>,
    /// As JSON
    #[arg(long)]
    pub json: bool,
}

/// `flash`
#[derive(Debug, Args)]
pub struct Flash {
    /// A disk image, plain or as .zst, .xz or .gz
    #[arg(value_name = "IMAGE")]
    pub image: PathBuf,
    /// The whole disk that is overwritten, such as /dev/sdb or /dev/mmcblk0
    #[arg(value_name = "DEVICE")]
    pub device: PathBuf,
    /// Write a disk that is not removable, or a regular file; never one that is in use
    #[arg(long)]
    pub force: bool,
    /// Do not read back what was written
    #[arg(long)]
    pub no_verify: bool,
    /// The block map; default: IMAGE.bmap, also without .zst, .xz and .img
    #[arg(long, value_name = "FILE")]
    pub bmap: Option<PathBuf>,
    /// Write all of the image, also what its block map leaves out
    #[arg(long, conflicts_with = "bmap")]
    pub no_bmap: bool,
    /// Print what was done as JSON
    #[arg(long)]
    pub json: bool,
}

/// `boards` and `lint`
#[derive(Debug, Args)]
pub struct Look {
    /// A disk image
    #[arg(value_name = "IMAGE")]
    pub image: PathBuf,
    /// As JSON
    #[arg(long)]
    pub json: bool,
}
