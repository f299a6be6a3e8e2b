// SPDX-License-Identifier: GPL-2.0

//! The KUnit suites as other subsystems' are run: by the kernel's kunit.py.

use std::process::Command;

use anyhow::{Context, Result};

use super::{host, lock, tree};
use crate::packages;
use crate::paths::Paths;

/// The kernel's own tool.
const TOOL: &str = "tools/testing/kunit/kunit.py";

/// Runs it with our `.kunitconfig` and `arguments`; true when all tests passed.
///
/// It drops CONFIG_RUST without a word when it does not find the tools for it,
/// so it is told where they are.
///
/// # Errors
///
/// Missing packages or room, or when it cannot be run.
pub fn run(paths: &Paths, arguments: &[String]) -> Result<bool> {
    packages::ensure_kernel()?;
    let _lock = lock(paths)?;
    let tools = host::Toolchain::find(paths)?;
    host::check_disk(&paths.cache, 2)?;
    let tree = tree::prepare(paths)?;
    let mut command = Command::new("/usr/bin/python3");
    command.current_dir(&tree).args(["-B", TOOL, "run"]);
    command.arg(format!("--kunitconfig={}/kunit", tree::PLACE));
    command.arg("--build_dir").arg(paths.cached("kunit-py")?);
    command.arg(format!("--jobs={}", host::jobs()));
    for variable in tools.variables() {
        command.arg(format!("--make_options={variable}"));
    }
    command.args(arguments);
    tools.environment(&mut command);
    let status = command.status().context("cannot run python3")?;
    Ok(status.success())
}
