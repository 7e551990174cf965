// SPDX-License-Identifier: MIT OR Apache-2.0
//! The program `pivot-image`.
#![allow(clippy::print_stderr, reason = "errors go to standard error")]

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    match image::run::run(image::cli::Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("pivot-image: {error:#}");
            ExitCode::FAILURE
        }
    }
}
