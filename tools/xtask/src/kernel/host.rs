// SPDX-License-Identifier: GPL-2.0

//! What the build needs of this machine besides packages.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{bail, Context, Result};

use crate::paths::Paths;
use crate::progress;

/// Version of bindgen that is known to work with 6.12.
const BINDGEN: &str = "0.73.2";

/// The programs that build Rust in the kernel.
#[derive(Clone, Debug)]
pub struct Toolchain {
    bindgen: PathBuf,
    libclang: PathBuf,
}

impl Toolchain {
    /// Finds them, and builds bindgen when it is not in the cache.
    ///
    /// # Errors
    ///
    /// When libclang is missing or bindgen cannot be built.
    pub fn find(paths: &Paths) -> Result<Self> {
        let folder = paths.cached(&format!("bindgen-{BINDGEN}"))?;
        let bindgen = folder.join("bin/bindgen");
        if !bindgen.exists() {
            let log = paths.cached("logs")?.join("bindgen.log");
            let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or("cargo".into()));
            cargo.args([
                "install",
                "--locked",
                "bindgen-cli",
                "--version",
                BINDGEN,
                "--root",
            ]);
            cargo.arg(&folder).current_dir(&folder);
            // It runs for seconds, and takes minutes to be built for speed.
            cargo.env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "1");
            progress::run(
                &format!("building bindgen {BINDGEN}"),
                &mut cargo,
                &log,
                false,
            )?;
        }
        Ok(Toolchain {
            bindgen,
            libclang: libclang()?,
        })
    }

    /// A `make` in the kernel tree with these programs and a clean environment.
    pub fn make(&self, tree: &Path, output: &str) -> Command {
        let mut make = Command::new("make");
        // A relative O= keeps kbuild's notes valid when a tree is copied.
        make.arg("-C").arg(tree).arg(format!("O={output}"));
        make.args(self.variables());
        make.args(["KBUILD_BUILD_USER=dormouse", "KBUILD_BUILD_HOST=dormouse"]);
        self.environment(&mut make);
        make
    }

    /// What `make` has to be told of these programs.
    pub fn variables(&self) -> Vec<String> {
        let mut variables: Vec<String> = [
            "RUSTC=/usr/bin/rustc",
            "RUSTDOC=/usr/bin/rustdoc",
            "RUSTFMT=/usr/bin/rustfmt",
        ]
        .map(String::from)
        .to_vec();
        variables.push(format!("BINDGEN={}", self.bindgen.display()));
        variables
    }

    /// Gives a program that calls `make` the environment for it.
    pub fn environment(&self, command: &mut Command) {
        command.env("LIBCLANG_PATH", &self.libclang);
        command.env("RUST_LIB_SRC", "/usr/lib/rustlib/src/rust/library");
        command.env("LC_ALL", "C");
        // An outer make and cargo leave settings that are not meant for kbuild.
        let foreign = [
            "MAKEFLAGS",
            "MFLAGS",
            "MAKELEVEL",
            "LD_LIBRARY_PATH",
            "KBUILD_OUTPUT",
            "RUSTFLAGS",
            "ARCH",
            "CROSS_COMPILE",
            "LLVM",
        ];
        for name in foreign {
            command.env_remove(name);
        }
    }
}

/// Versions of all compilers, with `cc` for C, as far as they decide what is
/// built.
///
/// # Errors
///
/// When a compiler cannot be run.
pub fn version(cc: &str) -> Result<String> {
    let mut text = format!("bindgen {BINDGEN}\n");
    for program in ["/usr/bin/rustc", cc] {
        let output = Command::new(program).arg("--version").output();
        let output = output.with_context(|| format!("cannot run {program}"))?;
        text.push_str(&String::from_utf8_lossy(&output.stdout));
    }
    Ok(text)
}

fn libclang() -> Result<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/usr/lib")
        .context("no /usr/lib")?
        .flatten()
    {
        let name = entry.file_name().to_string_lossy().into_owned();
        let number = name
            .strip_prefix("llvm-")
            .and_then(|number| number.parse::<u32>().ok());
        let folder = entry.path().join("lib");
        if let (Some(number), true) = (number, folder.join("libclang.so").exists()) {
            found.push((number, folder));
        }
    }
    found.sort();
    Ok(found
        .pop()
        .context("no libclang.so below /usr/lib/llvm-*/lib")?
        .1)
}

/// Checks that `gib` GiB are free where `folder` is.
///
/// # Errors
///
/// When they are not.
pub fn check_disk(folder: &Path, gib: u64) -> Result<()> {
    let room = nix::sys::statvfs::statvfs(folder)?;
    let free = (room.blocks_available() as u64 * room.fragment_size() as u64) >> 30;
    if free < gib {
        let at = folder.display();
        bail!("{gib} GiB of free disk are needed at {at}, {free} GiB are there (XDG_CACHE_HOME chooses another place)");
    }
    Ok(())
}

/// Checks that `mib` MiB of memory are available.
///
/// # Errors
///
/// When they are not.
pub fn check_memory(mib: u64) -> Result<()> {
    let text = std::fs::read_to_string("/proc/meminfo")?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("MemAvailable:"));
    let number = line.and_then(|line| line.trim().split(' ').next()?.parse::<u64>().ok());
    let available = number.context("no MemAvailable in /proc/meminfo")? >> 10;
    if available < mib {
        bail!("{mib} MiB of memory are needed, {available} MiB are available");
    }
    Ok(())
}

/// Number of processors to build with.
pub fn jobs() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}
