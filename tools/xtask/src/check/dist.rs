// SPDX-License-Identifier: GPL-2.0

//! The hooks of `dist/`.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};

use super::Tally;
use crate::hash::files_below;
use crate::packages;
use crate::paths::Paths;

/// Shells in which an initramfs may run the script, each with its arguments.
const SHELLS: &[&[&str]] = &[&["dash"], &["bash", "--posix"], &["busybox", "sh"]];

/// shellcheck over the hooks and over what makes and tests them.
pub fn shellcheck(paths: &Paths) -> Result<Tally> {
    packages::ensure(packages::SHELL)?;
    let mut tally = Tally::default();
    for file in scripts(paths)? {
        let text = std::fs::read_to_string(&file)?;
        // What is not there to be looked into is of the initramfs.
        let mut command = Command::new("shellcheck");
        command.args(["--exclude=SC1091", "--shell"]);
        command.arg(match text.starts_with("#!/bin/bash") {
            true => "bash",
            false => "sh",
        });
        let output = command
            .arg(&file)
            .output()
            .context("cannot run shellcheck")?;
        let good = output.status.success();
        if !good {
            print!("{}", String::from_utf8_lossy(&output.stdout));
            print!("{}", String::from_utf8_lossy(&output.stderr));
        }
        tally.add(Tally::of(good));
    }
    Ok(tally)
}

/// Files that begin as scripts do.
fn scripts(paths: &Paths) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for folder in [
        "dist",
        "tests/dist",
        "tools/xtask/src/debian",
        "tools/xtask/src/fresh",
    ] {
        files.extend(files_below(&paths.root.join(folder))?);
    }
    files.retain(|file| {
        let text = std::fs::read(file).unwrap_or_default();
        text.starts_with(b"#!") && !text.starts_with(b"#!/usr/bin/make")
    });
    Ok(files)
}

/// What the script of every initramfs does, in each of the shells that one may have.
pub fn hooks(paths: &Paths) -> Result<Tally> {
    packages::ensure(packages::SHELL)?;
    let mut tally = Tally::default();
    for shell in SHELLS {
        let output = Command::new(paths.root.join("tests/dist/resume.sh"))
            .args(*shell)
            .output()
            .context("cannot run tests/dist/resume.sh")?;
        let text = String::from_utf8_lossy(&output.stdout);
        let count = |word: &str| text.lines().filter(|line| line.starts_with(word)).count();
        let found = Tally {
            passed: count("ok "),
            // A script that breaks off has failed as well.
            failed: count("FAILED ") + usize::from(!output.status.success()),
        };
        if found.failed > 0 || found.passed == 0 {
            println!("in {}:\n{text}", shell.join(" "));
            print!("{}", String::from_utf8_lossy(&output.stderr));
        }
        tally.add(found);
    }
    Ok(tally)
}
