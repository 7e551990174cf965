// SPDX-License-Identifier: MIT OR Apache-2.0
//! The same, whose loop devices read past the page cache of the images.

#![cfg_attr(all(target_arch = "aarch64", target_env = "musl"), no_std, no_main)]

floor::entry!("nop", main_floor);

fn main_floor() -> ! {
    floor::end(floor::device(true))
}
