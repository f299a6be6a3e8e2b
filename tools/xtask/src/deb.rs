// SPDX-License-Identifier: GPL-2.0

//! `cargo xtask deb`: the Debian package of the command and the hooks.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{bail, Context, Result};

use crate::hash::{files_below, Key};
use crate::paths::Paths;
use crate::{guest, packages, progress};

/// Builds the package with debhelper from `dist/`, or finds it built.
///
/// # Errors
///
/// When something cannot be built.
pub fn build(paths: &Paths) -> Result<PathBuf> {
    packages::ensure(packages::DEB)?;
    let [_, client] = guest::build(paths)?;
    let dist = paths.root.join("dist");
    let mut key = Key::default();
    key.files(&paths.root, &dist)?;
    key.files(client.parent().context("no folder")?, &client)?;
    let folder = paths.cached("deb")?.join(key.finish());
    if !folder.exists() {
        let part = paths.cached("deb")?.join("part");
        if part.exists() {
            fs::remove_dir_all(&part)?;
        }
        // debhelper wants debian/ at the top, and puts results beside the top.
        let top = part.join("dormouse");
        for file in files_below(&dist)? {
            copy(&file, &top.join(file.strip_prefix(&dist)?))?;
        }
        copy(&client, &top.join("dormouse"))?;
        let log = paths.cached("logs")?.join("deb.log");
        let mut command = Command::new("dpkg-buildpackage");
        command
            .args([
                "--build=binary",
                "--unsigned-changes",
                "--no-check-builddeps",
            ])
            .current_dir(&top)
            .env("LC_ALL", "C");
        progress::run("building the Debian package", &mut command, &log, false)?;
        fs::rename(&part, &folder)?;
    }
    find(&folder, "dormouse_")
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to.parent().context("no folder")?)?;
    fs::copy(from, to).with_context(|| format!("cannot copy {}", from.display()))?;
    Ok(())
}

/// The package in `folder` whose name begins with `name`.
///
/// # Errors
///
/// When there is none.
pub fn find(folder: &Path, name: &str) -> Result<PathBuf> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let file = path.file_name().unwrap_or_default().to_string_lossy();
        if file.starts_with(name) && file.ends_with(".deb") {
            return Ok(path);
        }
    }
    bail!("there is no package {name}*.deb in {}", folder.display())
}
