// SPDX-License-Identifier: MIT OR Apache-2.0
//! The floor of the whole job.

#![cfg_attr(all(target_arch = "aarch64", target_env = "musl"), no_std, no_main)]

floor::entry!("nop", main_floor);

fn main_floor() -> ! {
    floor::end(floor::device(false))
}
