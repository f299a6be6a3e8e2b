// SPDX-License-Identifier: GPL-2.0

//! What README.md promises, tried on a machine that has nothing: a new Debian in
//! a folder, and a clone of this checkout in it, without any cache.

use std::path::Path;
use std::process::Command;
use std::time::Instant;

use anyhow::{ensure, Context, Result};

use crate::debian::as_root;
use crate::packages;
use crate::paths::Paths;

const FRESH_SH: &str = "tools/xtask/src/fresh/fresh.sh";

/// What to try.
#[derive(clap::Args)]
pub struct Args {
    /// Release of Debian, such as bookworm or trixie
    suite: String,
    /// What make is to do, one after the other; the first one has to install everything
    #[arg(default_values = ["check", "demo"])]
    targets: Vec<String>,
    /// Leaves the folder there, also when all went well
    #[arg(long)]
    keep: bool,
}

/// Runs the task; true when each make ended well. What is not committed is not
/// tried.
///
/// # Errors
///
/// When Debian cannot be installed.
pub fn run(paths: &Paths, args: &Args) -> Result<bool> {
    packages::ensure(packages::FRESH)?;
    let name = &args.suite;
    let plain = !name.is_empty() && name.bytes().all(|b| b.is_ascii_lowercase());
    ensure!(plain, "a release of Debian has a name such as trixie");
    let root = paths.cached("fresh")?.join(name);
    if root.exists() {
        script(paths, &["remove".as_ref(), &root])?;
    }
    script(
        paths,
        &["install".as_ref(), name.as_ref(), &root, &paths.root],
    )
    .with_context(|| format!("cannot install {name}"))?;
    let mut good = true;
    for target in &args.targets {
        let start = Instant::now();
        let result = script(paths, &["make".as_ref(), &root, target.as_ref()]);
        let seconds = start.elapsed().as_secs();
        let word = if result.is_ok() { "ok    " } else { "FAILED" };
        println!(
            "{word} make {target} in a new {name}: {}:{:02}",
            seconds / 60,
            seconds % 60
        );
        good &= result.is_ok();
    }
    match good && !args.keep {
        true => script(paths, &["remove".as_ref(), &root])?,
        false => println!("it is in {}", root.display()),
    }
    Ok(good)
}

fn script(paths: &Paths, words: &[&Path]) -> Result<()> {
    let mut command: Command = as_root("sh");
    let status = command.arg(paths.root.join(FRESH_SH)).args(words).status();
    let status = status.context("cannot run sh")?;
    ensure!(status.success(), "{FRESH_SH} ended with {status}");
    Ok(())
}
