// SPDX-License-Identifier: GPL-2.0

//! Debian packages: finds what is missing, says why, installs it.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{bail, Context, Result};

/// Something that comes from a package.
#[derive(Clone, Copy, Debug)]
pub struct Need {
    /// Packages that provide it, best first; one of them is enough.
    pub packages: &'static [&'static str],
    /// What it is for, in a few words.
    pub why: &'static str,
}

const fn need(packages: &'static [&'static str], why: &'static str) -> Need {
    Need { packages, why }
}

/// What building a kernel takes, besides Rust.
const KERNEL: &[Need] = &[
    need(&["linux-source-6.12"], "the kernel's source"),
    need(&["gcc"], "C compiler"),
    need(
        &["libc6-dev"],
        "host programs of kbuild, static guest program",
    ),
    need(&["make"], "kbuild"),
    need(&["patch"], "applies patches/"),
    need(&["xz-utils"], "unpacks the source"),
    need(&["lz4"], "compresses the kernel"),
    need(&["rsync"], "copies our sources into the tree"),
    need(&["flex"], "kbuild"),
    need(&["bison"], "kbuild"),
    need(&["bc"], "kbuild"),
    need(&["cpio"], "kbuild"),
    need(&["kmod"], "depmod"),
    need(&["perl"], "kbuild, checkpatch"),
    need(&["python3"], "kbuild"),
    need(&["libelf-dev"], "objtool"),
    need(&["libssl-dev"], "kbuild"),
    need(&["libclang-19-dev", "libclang-16-dev"], "bindgen"),
];

/// What building a kernel with KASAN takes.
pub const CLANG: &[Need] = &[need(&["clang-19"], "C compiler, for KASAN beside Rust")];

/// What running guests takes.
pub const GUEST: &[Need] = &[
    need(&["qemu-system-x86"], "runs guests"),
    need(&["busybox-static"], "user space of guests"),
    need(
        &["util-linux"],
        "setpriv, so that no guest outlives its test",
    ),
    need(&["e2fsprogs"], "disks of guests with a filesystem"),
    need(&["mount"], "swapon with priorities, and losetup, in guests"),
    need(&["dmsetup"], "device-mapper, in guests"),
    need(&["mdadm"], "arrays of disks, in guests"),
    need(&["bcache-tools"], "bcache, in guests"),
    need(&["xfsprogs"], "disks of guests with xfs"),
    need(&["btrfs-progs"], "disks of guests with btrfs"),
    need(&["dosfstools"], "disks of guests with FAT"),
    need(&["fuse2fs"], "a filesystem in user space, in guests"),
    need(
        &["qemu-utils"],
        "qemu-nbd, a server of network block devices",
    ),
    need(&["nbdkit"], "another one, which can be made to fail"),
    need(&["nbd-server"], "a third one"),
    need(&["nbd-client"], "what network storage is compared with"),
    need(&["swtpm"], "a TPM for guests"),
    need(&["swtpm-tools"], "makes that TPM"),
    need(&["keyutils"], "keys that no passphrase makes, in guests"),
    need(&["python3"], "the kernel's netlink client, in guests"),
    need(&["python3-yaml"], "the same"),
];

/// What checking the boot hooks takes.
pub const SHELL: &[Need] = &[
    need(&["shellcheck"], "faults of shell scripts"),
    need(&["busybox-static"], "a shell as in an initramfs"),
    need(&["dash"], "another one"),
    need(&["bash"], "a third one"),
];

/// What building Debian packages takes.
pub const DEB: &[Need] = &[
    need(&["dpkg-dev"], "builds Debian packages"),
    need(&["debhelper"], "the same"),
];

/// What the Debian guest takes.
pub const DEBIAN: &[Need] = &[
    need(&["mmdebstrap"], "installs Debian in a folder"),
    need(&["fdisk"], "partitions of the Debian guest's disk"),
    need(&["e2fsprogs"], "its root filesystem"),
    need(&["util-linux"], "its swap space"),
];

/// What a new Debian in a folder takes.
pub const FRESH: &[Need] = &[
    need(&["mmdebstrap"], "installs Debian in a folder"),
    need(&["git"], "clones this checkout"),
    need(&["util-linux"], "mounts for it alone"),
];

/// What the kernel's tools for netlink specifications take.
pub const YNL: &[Need] = &[
    need(&["python3"], "runs them"),
    need(&["python3-yaml"], "specifications are YAML"),
    need(&["python3-jsonschema"], "checks them against the schema"),
];

/// Rust for the kernel, for bindgen and for the checks of style.
const RUST: &[Need] = &[
    need(&["rustc"], "Rust compiler for the kernel"),
    need(&["rust-src"], "Rust's core library for the kernel"),
    need(&["cargo"], "builds bindgen and the tools"),
    need(&["rustfmt"], "format of bindings and of our sources"),
    need(&["rust-clippy"], "lints"),
];

/// The same in Debian 12, where the plain names are packages too old for the kernel.
const RUST_DEBIAN_12: &[Need] = &[
    need(&["rustc-web"], RUST[0].why),
    need(&["rust-web-src"], RUST[1].why),
    need(&["cargo-web"], RUST[2].why),
    need(&["rustfmt-web"], RUST[3].why),
    need(&["rust-web-clippy"], RUST[4].why),
];

fn rust() -> &'static [Need] {
    let release = std::fs::read_to_string("/etc/os-release").unwrap_or_default();
    let is_12 = release.lines().any(|line| line == "VERSION_ID=\"12\"");
    if is_12 {
        RUST_DEBIAN_12
    } else {
        RUST
    }
}

/// Installs what is missing to build kernels and to check sources.
///
/// # Errors
///
/// As [`ensure`].
pub fn ensure_kernel() -> Result<()> {
    ensure(&[KERNEL, rust()].concat())
}

/// Installs what is missing of `needs`.
///
/// # Errors
///
/// When apt fails, or there are no means to become root; the message is what
/// the user has to do.
pub fn ensure(needs: &[Need]) -> Result<()> {
    let missing: Vec<Need> = needs.iter().copied().filter(is_missing).collect();
    if missing.is_empty() {
        return Ok(());
    }
    if !Path::new("/usr/bin/apt-get").exists() {
        let names: Vec<&str> = missing.iter().map(|need| need.packages[0]).collect();
        bail!(
            "this is not a Debian system; install what these packages hold: {}",
            names.join(" ")
        );
    }
    if !missing.iter().all(has_candidate) {
        apt(&["update", "-qq"])?;
    }
    let mut names = Vec::new();
    for need in &missing {
        let name = need
            .packages
            .iter()
            .find(|name| is_available(name))
            .with_context(|| {
                let list = need.packages.join(" or ");
                format!(
                    "apt knows no package {list} ({}): Debian 12 or 13 is needed",
                    need.why
                )
            })?;
        eprintln!("installing {name}: {}", need.why);
        names.push(*name);
    }
    let mut arguments = vec!["install", "-y", "-qq", "--no-install-recommends"];
    arguments.extend(&names);
    apt(&arguments)
}

fn apt(arguments: &[&str]) -> Result<()> {
    let root = nix::unistd::geteuid().is_root();
    let mut command = Command::new(if root { "env" } else { "sudo" });
    if !root {
        eprintln!("(asking for root rights with sudo)");
        command.arg("env");
    }
    let status = command
        .args(["DEBIAN_FRONTEND=noninteractive", "apt-get"])
        .args(arguments)
        .stdin(Stdio::inherit())
        .stdout(Stdio::null())
        .status();
    match status {
        Ok(status) if status.success() => Ok(()),
        Ok(_) => bail!(
            "'apt-get {}' failed; see its messages above",
            arguments.join(" ")
        ),
        Err(_) => bail!(
            "run 'apt-get {}' as root, there is no sudo here",
            arguments.join(" ")
        ),
    }
}

fn is_missing(need: &Need) -> bool {
    !need.packages.iter().any(|name| {
        let status = query("dpkg-query", &["-W", "-f", "${db:Status-Status}", name]);
        status.as_deref() == Some("installed")
    })
}

fn has_candidate(need: &Need) -> bool {
    need.packages.iter().any(|name| is_available(name))
}

fn is_available(name: &str) -> bool {
    let policy = query("apt-cache", &["policy", name]).unwrap_or_default();
    policy.contains("Candidate:") && !policy.contains("Candidate: (none)")
}

/// Version of an installed package.
///
/// # Errors
///
/// When it is not installed.
pub fn version(package: &str) -> Result<String> {
    query("dpkg-query", &["-W", "-f", "${Version}", package])
        .with_context(|| format!("the package {package} is not installed"))
}

fn query(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program)
        .args(arguments)
        .env("LC_ALL", "C")
        .output()
        .ok()?;
    output
        .status
        .success()
        .then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}
