// SPDX-License-Identifier: MIT OR Apache-2.0
//! Linked as init is (see the workspace's build.rs): segments for every page size, no C library's start.

use std::env;

fn main() {
    if env::var("CARGO_CFG_TARGET_ENV").as_deref() == Ok("musl") {
        let directory = env::var("CARGO_MANIFEST_DIR").unwrap_or_default();
        let script = format!("{directory}/../../init/link.ld");
        println!("cargo::rerun-if-changed={script}");
        let flags = ["-zmax-page-size=65536", "-znorelro", "--no-rosegment", "--no-eh-frame-hdr"];
        for argument in flags.into_iter().chain(["--entry=floor_start", &script]) {
            println!("cargo::rustc-link-arg-bins={argument}");
        }
    }
}
