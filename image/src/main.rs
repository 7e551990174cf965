// SPDX-License-Identifier: MIT OR Apache-2.0
//! The program `pivot-image`.

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
