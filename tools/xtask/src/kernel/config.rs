// SPDX-License-Identifier: GPL-2.0

//! Kernel configurations: which exist, how they are made and checked.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{bail, Context, Result};

use super::host::Toolchain;
use crate::paths::Paths;

/// A kernel that we build.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Config {
    /// The small guest of demo and bench
    Guest,
    /// The guest with lock and sleep checks, for tests
    Debug,
    /// The guest that runs Debian, with the drivers of its disk as modules
    Debian,
    /// The guest with all modules built in
    Builtin,
    /// The guest with debugging information, for crash
    Dwarf,
    /// The debug guest with failures to inject and a search for leaks
    Faults,
    /// The same with checks of all accesses to memory
    Kasan,
    /// The debug guest with a search for data races
    Kcsan,
    /// User-mode Linux with the KUnit suites
    #[value(skip)]
    Uml,
}

impl Config {
    /// Its name in folders and messages.
    pub fn name(self) -> &'static str {
        match self {
            Config::Guest => "guest",
            Config::Debug => "debug",
            Config::Debian => "debian",
            Config::Builtin => "builtin",
            Config::Dwarf => "dwarf",
            Config::Faults => "faults",
            Config::Kasan => "kasan",
            Config::Kcsan => "kcsan",
            Config::Uml => "uml",
        }
    }

    /// Its build folder, relative to the tree.
    pub fn output(self) -> String {
        format!("o-{}", self.name())
    }

    /// The C compiler. KASAN in Rust code is that of LLVM, and the kernel wants
    /// the same in C.
    pub fn compiler(self) -> &'static str {
        match self {
            Config::Kasan => "clang-19",
            _ => "gcc",
        }
    }

    /// What its checks cost a guest: how many times longer things take, and how
    /// much more memory they need, in MiB.
    pub fn cost(self) -> (u32, u32) {
        match self {
            Config::Faults => (2, 64),
            Config::Kasan => (5, 256),
            Config::Kcsan => (5, 64),
            _ => (1, 0),
        }
    }

    /// What has to be made.
    pub fn targets(self) -> &'static [&'static str] {
        match self {
            Config::Uml => &["linux"],
            Config::Debian => &["bindeb-pkg"],
            _ => &["bzImage", "modules"],
        }
    }

    /// Arguments for every make of it.
    pub fn arguments(self) -> &'static [&'static str] {
        match self {
            Config::Uml => &["ARCH=um"],
            // The package of the kernel alone, without its headers.
            Config::Debian => &["ARCH=x86_64", "DPKG_FLAGS=--rules-target=binary-image"],
            Config::Kasan => &["ARCH=x86_64", "CC=clang-19"],
            _ => &["ARCH=x86_64"],
        }
    }

    /// Fragments in the checkout, later ones win.
    pub fn fragments(self, paths: &Paths) -> Vec<PathBuf> {
        let file = |name: &str| paths.root.join("tools/config").join(name);
        match self {
            Config::Guest => vec![file("guest.config")],
            Config::Debug => vec![file("guest.config"), file("debug.config")],
            Config::Debian => vec![file("guest.config"), file("debian.config")],
            Config::Builtin => vec![file("guest.config"), file("builtin.config")],
            Config::Dwarf => vec![file("guest.config"), file("dwarf.config")],
            Config::Faults => vec![
                file("guest.config"),
                file("debug.config"),
                file("faults.config"),
            ],
            Config::Kasan => vec![
                file("guest.config"),
                file("debug.config"),
                file("faults.config"),
                file("kasan.config"),
            ],
            Config::Kcsan => vec![
                file("guest.config"),
                file("debug.config"),
                file("kcsan.config"),
            ],
            Config::Uml => vec![paths.root.join("kunit/.kunitconfig")],
        }
    }
}

/// Writes `.config` of the build folder. kbuild leaves the file alone when
/// nothing changes, so nothing is rebuilt for it.
///
/// # Errors
///
/// When a symbol of a fragment does not get its value: it does not exist, or
/// something that it depends on is missing.
pub fn configure(paths: &Paths, tools: &Toolchain, tree: &Path, config: Config) -> Result<()> {
    let mut wanted = BTreeMap::new();
    for fragment in config.fragments(paths) {
        let text = fs::read_to_string(&fragment)
            .with_context(|| format!("cannot read {}", fragment.display()))?;
        wanted.extend(symbols(&text));
    }
    let output = tree.join(config.output());
    fs::create_dir_all(&output)?;
    let merged = output.join("wanted.config");
    let lines = wanted
        .iter()
        .map(|(name, value)| format!("{name}={value}\n"));
    fs::write(&merged, lines.collect::<String>())?;
    let mut make = tools.make(tree, &config.output());
    make.args(config.arguments())
        .env("KCONFIG_ALLCONFIG", &merged);
    // What kunit.py does with a .kunitconfig: defaults for all the rest.
    make.arg(if config == Config::Uml {
        "alldefconfig"
    } else {
        "allnoconfig"
    });
    quiet(&mut make)?;
    let got = symbols(&fs::read_to_string(output.join(".config"))?);
    let off = String::from("n");
    let wrong: Vec<String> = wanted
        .iter()
        .filter(|(name, value)| got.get(*name).unwrap_or(&off) != *value)
        .map(|(name, value)| {
            format!(
                "{name}: {value} wanted, {} got",
                got.get(name).unwrap_or(&off)
            )
        })
        .collect();
    if !wrong.is_empty() {
        bail!(
            "the {} kernel cannot be configured as asked:\n{}",
            config.name(),
            wrong.join("\n")
        );
    }
    Ok(())
}

fn quiet(command: &mut Command) -> Result<()> {
    let output = command.output().context("cannot run make")?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        bail!("configuring failed:\n{said}");
    }
    Ok(())
}

/// Symbols and values of a configuration or fragment; `n` for those not set.
fn symbols(text: &str) -> BTreeMap<String, String> {
    let symbol = |line: &str| {
        let unset = line
            .strip_prefix("# ")
            .and_then(|rest| rest.strip_suffix(" is not set"));
        let (name, value) = match unset {
            Some(name) => (name, "n"),
            None => line.split_once('=')?,
        };
        name.starts_with("CONFIG_")
            .then(|| (name.to_string(), value.to_string()))
    };
    text.lines()
        .filter_map(|line| symbol(line.trim()))
        .collect()
}
