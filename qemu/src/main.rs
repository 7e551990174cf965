// SPDX-License-Identifier: MIT OR Apache-2.0
//! `cargo boot` and `cargo verify`: builds what ships, boots the very bytes under QEMU, and tests them.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a program for the command line")]

mod apt;
mod bench;
mod board;
mod boot;
mod cargo;
mod cli;
mod e2e;
mod elf;
mod fetch;
mod image;
mod machine;
mod progress;
mod qmp;
mod random;
mod recorder;
mod rootfs;
mod run;
mod setup;
mod standin;
mod tool;
mod uefi;
mod verify;

use std::process::ExitCode;

use clap::Parser;

use cli::{Cli, Command};

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Boot(options) => boot::boot(&options),
        Command::Device => cargo::build_device(),
        Command::Verify(options) => verify::verify(&options),
    };
    result.unwrap_or_else(|why| {
        eprintln!("error: {why:#}");
        ExitCode::FAILURE
    })
}
