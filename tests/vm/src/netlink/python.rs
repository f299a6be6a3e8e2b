// SPDX-License-Identifier: GPL-2.0

//! A filesystem with Python, as the host has it, and the kernel tree's netlink
//! client.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{ensure, Context, Result};

use crate::Lab;

/// The interpreter, also of the guest.
const PYTHON: &str = "/usr/bin/python3";

/// Where the client is in a kernel tree, and the specification in ours.
const YNL: &str = "tools/net/ynl";
const SPEC: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../../Documentation/netlink/specs/hibernate.yaml"
);

/// Lets the client look for the family, which the host does not have, and
/// prints the files that this took.
const FILES: &str = r#"
import sys
ynl, spec = sys.argv[1:]
sys.path.insert(0, ynl)
sys.argv[1:] = ["--spec", spec, "--no-schema", "--do", "get-state"]
import cli, select
try:
    cli.main()
except Exception as error:
    assert "not supported" in str(error), error
for module in list(sys.modules.values()):
    for name in "__file__", "__cached__":
        print(getattr(module, name, None) or "")
"#;

fn output(command: &mut Command) -> Result<String> {
    let output = command.output();
    let output = output.with_context(|| format!("cannot run {command:?}"))?;
    ensure!(
        output.status.success(),
        "{command:?}: {}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Makes an ext4 on `disk` whose root has Python, the client in `/ynl`, the
/// specification, and `scripts` beside the client.
///
/// # Errors
///
/// When the host lacks something of it.
pub(super) fn install(lab: &Lab, disk: &Path, scripts: &[(&str, &str)]) -> Result<()> {
    let tree = lab.build()?.parent().context("the build has no tree")?;
    let ynl = tree.join(YNL);
    let list = output(
        Command::new(PYTHON)
            .args(["-B", "-c", FILES])
            .arg(&ynl)
            .arg(SPEC),
    )?;
    let mut files: BTreeSet<&str> = list
        .lines()
        .filter(|file| file.starts_with("/usr/") && Path::new(file).exists())
        .collect();
    files.insert(PYTHON);
    let mut libraries = String::new();
    for file in &files {
        if file.ends_with(".so") || *file == PYTHON {
            libraries.push_str(&output(Command::new("ldd").arg(file))?);
        }
    }
    let libraries = libraries.split_whitespace();
    files.extend(libraries.filter(|word| word.starts_with('/')));

    let root = tempfile::tempdir()?;
    let root = root.path();
    output(
        Command::new("cp")
            // It looks for the folders above the files as if they were here.
            .current_dir("/")
            .args(["--parents", "-L", "-p", "-t"])
            .arg(root)
            .args(&files),
    )?;
    for folder in ["ynl/lib", "tmp"] {
        fs::create_dir_all(root.join(folder))?;
    }
    for name in ["cli.py", "lib/__init__.py", "lib/nlspec.py", "lib/ynl.py"] {
        fs::copy(ynl.join(name), root.join("ynl").join(name))
            .with_context(|| format!("the kernel has no {YNL}/{name}"))?;
    }
    fs::copy(SPEC, root.join("hibernate.yaml")).context("no specification")?;
    for (name, text) in scripts {
        fs::write(root.join(format!("ynl/{name}.py")), text)?;
    }
    output(
        Command::new("/sbin/mkfs.ext4")
            .args(["-q", "-F", "-d"])
            .arg(root)
            .arg(disk),
    )
    .map(|_| ())
}
