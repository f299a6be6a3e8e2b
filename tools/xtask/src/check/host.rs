// SPDX-License-Identifier: GPL-2.0

//! Tests that run on the host.

use std::process::{Command, Stdio};

use anyhow::{bail, Context, Result};

use super::Tally;
use crate::packages;
use crate::paths::Paths;

/// Mutations that the short fuzz run feeds to each target.
const FUZZ_RUNS: &str = "20000";

/// Tests of this workspace: driver, guest program, tools, and the command, which talks to the
/// servers that guests have.
pub fn tools(paths: &Paths) -> Result<Tally> {
    packages::ensure(packages::GUEST)?;
    let mut cargo = cargo(paths);
    cargo.args(["test", "--quiet", "--workspace"]);
    test(&mut cargo)
}

/// Tests of the pure parts of the core.
pub fn pure(paths: &Paths) -> Result<Tally> {
    test(&mut pure_cargo(paths)?)
}

/// The corpus of the fuzz targets and mutations of it.
pub fn fuzz(paths: &Paths) -> Result<Tally> {
    let mut cargo = pure_cargo(paths)?;
    test(
        cargo
            .arg("fuzz_replay")
            .env("DORMOUSE_FUZZ_RUNS", FUZZ_RUNS),
    )
}

fn pure_cargo(paths: &Paths) -> Result<Command> {
    let mut cargo = cargo(paths);
    cargo
        .args(["test", "--quiet", "--manifest-path"])
        .arg(paths.root.join("tests/host/Cargo.toml"));
    cargo.arg("--target-dir").arg(paths.cached("host")?);
    Ok(cargo)
}

fn cargo(paths: &Paths) -> Command {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or("cargo".into()));
    cargo.current_dir(&paths.root);
    cargo
}

/// Runs a `cargo test` and counts what it reports.
fn test(cargo: &mut Command) -> Result<Tally> {
    let output = cargo
        .stderr(Stdio::inherit())
        .output()
        .context("cannot run cargo")?;
    let text = String::from_utf8_lossy(&output.stdout);
    let tally = count(&text);
    if !output.status.success() || tally.failed > 0 {
        print!("{text}");
    }
    if !output.status.success() && tally.failed == 0 {
        bail!("cargo test failed before its tests");
    }
    if tally == Tally::default() {
        bail!("cargo test ran no tests");
    }
    Ok(tally)
}

fn count(text: &str) -> Tally {
    let mut tally = Tally::default();
    let lines = text
        .lines()
        .filter_map(|line| line.trim().strip_prefix("test result: "));
    for part in lines.flat_map(|line| line.split(['.', ';'])) {
        let mut words = part.split_whitespace();
        let number = words.next().and_then(|word| word.parse().ok()).unwrap_or(0);
        match words.next() {
            Some("passed") => tally.passed += number,
            Some("failed") => tally.failed += number,
            _ => {}
        }
    }
    tally
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_all_results() {
        let text = "running 3 tests\n\ntest result: ok. 3 passed; 0 failed; 1 ignored; finished\n\
                    test result: FAILED. 1 passed; 2 failed; 0 ignored; 0 measured\n";
        let tally = count(text);
        assert_eq!((tally.passed, tally.failed), (4, 2));
    }
}
