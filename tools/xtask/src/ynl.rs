// SPDX-License-Identifier: GPL-2.0

//! What the kernel's own generator makes of the specification of our netlink
//! family. It is in the repository, so that a kernel builds without Python's
//! YAML; `cargo xtask check` sees to it that it is what comes out.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{ensure, Context, Result};

use crate::kernel;
use crate::packages;
use crate::paths::Paths;

/// The specification.
const SPEC: &str = "Documentation/netlink/specs/hibernate.yaml";

/// What the kernel says of specifications like it.
const SCHEMA: &str = "Documentation/netlink/genetlink.yaml";

/// What is generated: mode, kind, file in the checkout.
const OUTPUTS: &[(&str, &str, &str)] = &[
    ("uapi", "--header", "ui/include/uapi/linux/hibernate.h"),
    ("kernel", "--header", "core/sys/genl_gen.h"),
    ("kernel", "--source", "core/sys/genl_gen.c"),
];

/// Generates all files; gives their names in the checkout and contents.
///
/// # Errors
///
/// When the specification does not fit the kernel's schema, or the generator
/// fails.
fn generate(paths: &Paths) -> Result<Vec<(&'static str, Vec<u8>)>> {
    packages::ensure(packages::YNL)?;
    let tree = kernel::source(paths)?;
    // The generator looks for the schema beside the specification, and for the
    // root of the kernel by this file.
    let folder = tempfile::tempdir()?;
    let at = |name: &str| folder.path().join(name);
    fs::create_dir_all(at("Documentation/netlink/specs"))?;
    fs::write(at("MAINTAINERS"), "")?;
    fs::copy(tree.join(SCHEMA), at(SCHEMA)).with_context(|| format!("no {SCHEMA}"))?;
    fs::copy(paths.root.join(SPEC), at(SPEC)).with_context(|| format!("no {SPEC}"))?;
    let mut files = Vec::new();
    for (mode, kind, name) in OUTPUTS {
        let base = Path::new(name).file_name().context("no file name")?;
        let out = folder.path().join(base);
        let output = Command::new("/usr/bin/python3")
            .arg("-B")
            .arg(tree.join("tools/net/ynl/ynl-gen-c.py"))
            .args(["--mode", mode, kind, "--spec"])
            .arg(at(SPEC))
            .arg("-o")
            .arg(&out)
            .output()
            .context("cannot run python3")?;
        ensure!(
            output.status.success(),
            "{name} cannot be generated from {SPEC}:\n{}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        files.push((*name, fs::read(&out)?));
    }
    Ok(files)
}

/// Brings the generated files up to date.
///
/// # Errors
///
/// When they cannot be generated or written.
pub fn write(paths: &Paths) -> Result<()> {
    for (name, contents) in generate(paths)? {
        fs::write(paths.root.join(name), contents)
            .with_context(|| format!("cannot write {name}"))?;
    }
    Ok(())
}

/// Names of generated files that are not what would be generated now, and the
/// number of those that are.
///
/// # Errors
///
/// When they cannot be generated.
pub fn stale(paths: &Paths) -> Result<(Vec<&'static str>, usize)> {
    let files = generate(paths)?;
    let all = files.len();
    let stale: Vec<_> = files
        .into_iter()
        .filter(|(name, new)| fs::read(paths.root.join(name)).map_or(true, |old| old != *new))
        .map(|(name, _)| name)
        .collect();
    let good = all - stale.len();
    Ok((stale, good))
}
