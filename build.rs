// SPDX-License-Identifier: MIT OR Apache-2.0
//! Link arguments of the device binaries and the version string; nothing else.

use std::env;

fn main() {
    println!("cargo::rerun-if-env-changed=PIVOT_VERSION");
    println!("cargo::rustc-env=PIVOT_VERSION={}", version());
    // Here and not in .cargo/config.toml: a RUSTFLAGS variable replaces every `rustflags` key there.
    if env::var("CARGO_CFG_TARGET_ENV").as_deref() == Ok("musl") {
        // 64 KiB segments: the Pi 5 kernel has 16 KiB pages, other Arm64 kernels 64 KiB, and a kernel refuses
        // an ELF file whose segments are aligned to less than its page (execve: EINVAL).
        // No RELRO (only a dynamic loader would apply it) and no rodata segment: two LOADs, the smallest file.
        for argument in ["-zmax-page-size=65536", "-znorelro", "--no-rosegment"] {
            println!("cargo::rustc-link-arg-bins={argument}");
        }
        // Not for the other device binaries: theirs is std, and a panic of theirs may print a backtrace.
        if env::var("CARGO_PKG_NAME").as_deref() == Ok("pivot") {
            println!("cargo::rerun-if-changed=init/link.ld");
            let root = env::var("CARGO_MANIFEST_DIR").unwrap_or_default();
            println!("cargo::rustc-link-arg-bins=--no-eh-frame-hdr");
            println!("cargo::rustc-link-arg-bins=--icf=all");
            // C strings that end alike share their ends.
            println!("cargo::rustc-link-arg-bins=-O2");
            // Its own start (init/entry.rs); the C library's is then unreferenced and left out.
            println!("cargo::rustc-link-arg-bins=--entry=pivot_start");
            println!("cargo::rustc-link-arg-bins={root}/init/link.ld");
            // Beside the program, what is where in it, for cargo verify --bench: the program itself has no names.
            // (OUT_DIR is build/PACKAGE-HASH/out there.)
            let out = env::var("OUT_DIR").unwrap_or_default();
            println!("cargo::rustc-link-arg-bins=-Map={out}/../../../init.map");
            println!("cargo::rustc-link-arg-bins=--no-demangle");
        }
    }
}

/// PIVOT_VERSION where a packager sets it, the package's version elsewhere: two builds of one tree are equal.
fn version() -> String {
    let given = env::var("PIVOT_VERSION").ok().filter(|v| !v.is_empty());
    given.or_else(|| env::var("CARGO_PKG_VERSION").ok()).unwrap_or_default()
}
