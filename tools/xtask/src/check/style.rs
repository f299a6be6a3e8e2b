// SPDX-License-Identifier: GPL-2.0

//! Format and style.

use std::path::PathBuf;
use std::process::{Command, Output};

use anyhow::{bail, Context, Result};

use super::Tally;
use crate::hash::files_below;
use crate::kernel::{self, Config};
use crate::packages;
use crate::paths::Paths;
use crate::ynl;

/// Folders with our sources.
const FOLDERS: &[&str] = &[
    "core", "modules", "ui", "kunit", "samples", "tests", "tools",
];

/// What checkpatch asks of a mainline submission and not of a repository.
const IGNORED: &str =
    "FILE_PATH_CHANGES,MISSING_SIGN_OFF,NO_AUTHOR_SIGN_OFF,FROM_SIGN_OFF_MISMATCH";

fn sources(paths: &Paths, endings: &[&str]) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for folder in FOLDERS {
        files.extend(files_below(&paths.root.join(folder))?);
    }
    files.retain(|file| {
        let ending = file.extension().unwrap_or_default().to_string_lossy();
        endings.contains(&ending.as_ref())
    });
    Ok(files)
}

/// rustfmt over every Rust file.
pub fn format(paths: &Paths) -> Result<Tally> {
    packages::ensure_kernel()?;
    let files = sources(paths, &["rs"])?;
    if files.is_empty() {
        bail!("there are no Rust files");
    }
    let output = Command::new("rustfmt")
        .args(["--check", "--edition", "2021", "--config-path"])
        .arg(paths.root.join("rustfmt.toml"))
        .args(&files)
        .output()
        .context("cannot run rustfmt")?;
    Ok(judge(&output))
}

/// clippy over this workspace.
pub fn clippy(paths: &Paths) -> Result<Tally> {
    packages::ensure_kernel()?;
    let output = Command::new(std::env::var_os("CARGO").unwrap_or("cargo".into()))
        .args([
            "clippy",
            "--quiet",
            "--workspace",
            "--all-targets",
            "--",
            "-D",
            "warnings",
        ])
        .current_dir(&paths.root)
        .output()
        .context("cannot run cargo")?;
    Ok(judge(&output))
}

/// clippy over the kernel's crates, where they are modules and where KUnit is.
pub fn kernel_clippy(paths: &Paths) -> Result<Tally> {
    let mut good = true;
    for config in [Config::Uml, Config::Debug] {
        for (source, output) in kernel::lint(paths, config)? {
            if !output.status.success() {
                println!("{source}");
            }
            good &= judge(&output) == Tally::of(true);
        }
    }
    Ok(Tally::of(good))
}

fn judge(output: &Output) -> Tally {
    let good = output.status.success();
    if !good {
        print!("{}", String::from_utf8_lossy(&output.stdout));
        print!("{}", String::from_utf8_lossy(&output.stderr));
    }
    Tally::of(good)
}

/// The kernel's checkpatch over our C files and our patches.
pub fn checkpatch(paths: &Paths) -> Result<Tally> {
    let tree = kernel::source(paths)?;
    let mut good = true;
    let patches = files_below(&paths.root.join("patches"))?;
    let patches = patches
        .into_iter()
        .filter(|file| file.extension().is_some_and(|end| end == "patch"));
    let files = sources(paths, &["c", "h"])?
        .into_iter()
        .map(|file| (true, file));
    for (is_file, file) in files.chain(patches.map(|file| (false, file))) {
        let mut command = Command::new("perl");
        command
            .arg(tree.join("scripts/checkpatch.pl"))
            .current_dir(&tree);
        command.args(["--quiet", "--no-summary", "--ignore", IGNORED]);
        if is_file {
            command.arg("--file");
        }
        let output = command
            .arg(&file)
            .output()
            .context("cannot run checkpatch")?;
        if !output.status.success() {
            println!("{}", file.display());
        }
        good &= judge(&output) == Tally::of(true);
    }
    Ok(Tally::of(good))
}

/// The files that the kernel's generator makes of our netlink specification.
pub fn generated(paths: &Paths) -> Result<Tally> {
    let (stale, good) = ynl::stale(paths)?;
    for name in &stale {
        println!("{name} is not what comes out now: run 'cargo xtask ynl'");
    }
    Ok(Tally {
        passed: good,
        failed: stale.len(),
    })
}
