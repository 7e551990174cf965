// SPDX-License-Identifier: MIT OR Apache-2.0
//! Builds programs of the workspace with cargo and says where they are.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result, bail};
use serde::Deserialize;

/// The target of all device programs.
pub(crate) const DEVICE: &str = "aarch64-unknown-linux-musl";

/// The workspace: this package lies directly below it.
pub(crate) fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."))
}

/// Cargo in the workspace; the one that runs us, if one does.
pub(crate) fn cargo() -> Command {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(workspace()).stdin(Stdio::null());
    // `cargo run` sets them for its program; to the cargo below they would be a changed environment, a reason to
    // build everything anew.
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy();
        if name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_") {
            cargo.env_remove(&*name);
        }
    }
    cargo
}

/// A program of the workspace.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Program {
    pub(crate) package: &'static str,
    pub(crate) name: &'static str,
    /// Built for a device, or for this machine.
    pub(crate) device: bool,
}

pub(crate) const INIT: Program = Program { package: "pivot", name: "init", device: true };
pub(crate) const WITNESS: Program = Program { package: "witness", name: "witness", device: true };
pub(crate) const IMAGE: Program = Program { package: "image", name: "pivot-image", device: false };

/// A line of `--message-format=json`; the others are skipped.
#[derive(Deserialize)]
struct Message {
    executable: Option<PathBuf>,
}

impl Program {
    /// Builds it; cargo shows its own progress. `adapt` may change the command.
    pub(crate) fn build(self, adapt: impl FnOnce(&mut Command)) -> Result<PathBuf> {
        let mut cargo = cargo();
        cargo.args(["build", "--locked", "--package", self.package, "--bin", self.name]);
        cargo.arg("--message-format=json-render-diagnostics");
        match self.device {
            true => cargo.args(["--release", "--target", DEVICE]),
            false => cargo.args(["--profile", "host"]),
        };
        adapt(&mut cargo);
        let output = cargo.stderr(Stdio::inherit()).output().context("cannot run cargo")?;
        if !output.status.success() {
            bail!("cargo could not build {} ({})", self.name, output.status);
        }
        let text = String::from_utf8_lossy(&output.stdout);
        let messages = text.lines().filter_map(|line| serde_json::from_str::<Message>(line).ok());
        let mut made = messages.filter_map(|message| message.executable);
        made.next_back().with_context(|| format!("cargo names no program for {}", self.name))
    }

    /// Builds it as it ships, once in a run.
    pub(crate) fn shipped(self) -> Result<PathBuf> {
        static BUILT: Mutex<BTreeMap<&str, PathBuf>> = Mutex::new(BTreeMap::new());
        let mut built = BUILT.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(path) = built.get(self.name) {
            return Ok(path.clone());
        }
        let path = self.build(|_| {})?;
        built.insert(self.name, path.clone());
        Ok(path)
    }
}

/// The directory of what is built.
pub(crate) fn target() -> Result<PathBuf> {
    #[derive(Deserialize)]
    struct Metadata {
        target_directory: PathBuf,
    }
    let mut query = cargo();
    query.args(["metadata", "--no-deps", "--format-version", "1", "--locked"]);
    let text = crate::tool::run(&mut query)?;
    let metadata: Metadata = serde_json::from_str(&text).context("cargo metadata")?;
    Ok(metadata.target_directory)
}
