// SPDX-License-Identifier: GPL-2.0

//! The command, and images that were made to exhaust it, as large as the bar is for.

use std::process::Command;

use anyhow::{ensure, Context, Result};

/// Size of the images.
const MIB: &str = "64";

/// Runs the test of the command that `make check` runs with smaller images.
///
/// # Errors
///
/// When it fails, with all that it says: what each image took.
pub fn run() -> Result<()> {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or("cargo".into()));
    cargo.current_dir(env!("CARGO_MANIFEST_DIR"));
    cargo.args(["test", "--quiet", "--package", "dormouse"]);
    cargo.args(["--test", "hostile"]);
    cargo.env("DORMOUSE_HOSTILE_MIB", MIB);
    let output = cargo.output().context("cannot run cargo")?;
    ensure!(
        output.status.success(),
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}
