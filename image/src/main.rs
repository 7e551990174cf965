// SPDX-License-Identifier: MIT OR Apache-2.0
//! The program `pivot-image`.
#![allow(clippy::print_stderr, reason = "errors go to standard error")]

use std::process::ExitCode;

use clap::Parser;
use image::scratch;

fn main() -> ExitCode {
    let cli = image::cli::Cli::parse();
    match scratch::end_on_signals().and_then(|()| image::run::run(cli)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            scratch::settle();
            eprintln!("pivot-image: {error:#}");
            ExitCode::FAILURE
        }
    }
}
