// SPDX-License-Identifier: GPL-2.0

//! Builds the programs of guests, statically linked: the one that the driver talks to, and the
//! command of Dormouse.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{bail, Context, Result};

use crate::paths::Paths;

const TARGET: &str = "x86_64-unknown-linux-gnu";

/// Builds `tests/guest` and `ui/client` and returns both programs.
///
/// # Errors
///
/// When cargo fails; its messages are on standard error.
pub fn build(paths: &Paths) -> Result<[PathBuf; 2]> {
    let target = paths.cached("guest")?;
    // The target is named although it is the host's own, so that the flags do
    // not reach build scripts.
    let status = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args([
            "build",
            "--quiet",
            "--release",
            "--package",
            "dormouse-guest",
            "--package",
            "dormouse",
        ])
        .args(["--target", TARGET, "--target-dir"])
        .arg(&target)
        .env("RUSTFLAGS", "-C target-feature=+crt-static")
        .current_dir(&paths.root)
        .status()
        .context("cannot run cargo")?;
    if !status.success() {
        bail!("the programs of guests do not build");
    }
    let folder = target.join(TARGET).join("release");
    Ok([folder.join("guest"), folder.join("dormouse")])
}
