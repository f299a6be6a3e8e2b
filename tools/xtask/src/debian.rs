// SPDX-License-Identifier: GPL-2.0

//! A real Debian as a guest: its disk with our kernel and our package installed.
//!
//! Everything lies in the cache, each part under a key of what it is made of:
//!
//!     debian/base-KEY.tar   Debian's own packages, which take the network and long
//!     debian/KEY/           disk, vmlinuz, initrd

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use vm_scenarios::debian::Machine;
use vm_scenarios::{Kernel, Lab};

use crate::check::{scenarios, Tally};
use crate::hash::Key;
use crate::kernel::{self, Config};
use crate::paths::Paths;
use crate::{deb, guest, packages, progress, system};

const IMAGE_SH: &str = include_str!("debian/image.sh");
const SETUP_SH: &str = include_str!("debian/setup.sh");
/// What is installed from Debian, besides what is essential.
const PACKAGES: &str = "systemd-sysv,dbus,udev,kmod,initramfs-tools,busybox,zstd,libpam-systemd,\
    e2fsprogs,iproute2,openssh-server,postgresql,dracut-core,dracut-network,isc-dhcp-client,\
    procps,plymouth";
/// Disks that stay in the cache; each takes about 1 GiB.
const KEEP: usize = 2;

/// The machine, built when it is not there. For [`vm_scenarios::Lab`].
///
/// # Errors
///
/// When something cannot be built or downloaded.
pub fn machine() -> Result<Machine> {
    let paths = Paths::find()?;
    packages::ensure(packages::DEBIAN)?;
    let built = kernel::build(&paths, Config::Debian)?;
    let kernel = built.package()?;
    let ours = deb::build(&paths)?;
    let [agent, _] = guest::build(&paths)?;
    let suite = suite()?;
    let cache = paths.cached("debian")?;

    let mut key = Key::default();
    key.text(&suite);
    key.text(PACKAGES);
    let base = cache.join(format!("base-{}.tar", key.finish()));
    let mut key = Key::default();
    for file in [&kernel, &ours, &agent] {
        key.files(file.parent().context("no folder")?, file)?;
    }
    key.text(IMAGE_SH);
    key.text(SETUP_SH);
    key.text(&base.to_string_lossy());
    let folder = cache.join(key.finish());

    let _lock = kernel::exclusive(&paths, "debian.lock")?;
    if !base.exists() {
        script(
            &paths,
            "installing Debian",
            &["base", &suite, PACKAGES],
            &base,
        )?;
    }
    if !folder.exists() {
        let part = cache.join("part");
        if part.exists() {
            // What another user left in there may not be ours to remove.
            as_root("rm").arg("-rf").arg(&part).status()?;
        }
        fs::create_dir_all(&part)?;
        fs::write(part.join("setup.sh"), SETUP_SH)?;
        fs::copy(&kernel, part.join("linux-image.deb"))?;
        fs::copy(&ours, part.join("dormouse.deb"))?;
        fs::copy(&agent, part.join("guest"))?;
        let base = base.to_string_lossy();
        script(&paths, "making the Debian guest", &["disk", &base], &part)?;
        fs::rename(&part, &folder)?;
        prune(&cache)?;
    }
    fs::write(folder.join("used"), "")?;
    let mut system = system::of(&paths, &folder.join("vmlinuz"), &[])?;
    system.logs = None;
    Ok(Machine {
        system,
        disk: folder.join("disk"),
        initramfs: folder.join("initrd"),
        dracut: folder.join("dracut"),
        dracut_nbd: folder.join("dracut-nbd"),
    })
}

/// Makes the machine, says where it is, and runs the scenarios of it with these names.
///
/// # Errors
///
/// When something cannot be built, or there is no such scenario.
pub fn run(paths: &Paths, names: &[String]) -> Result<bool> {
    let made = machine()?;
    println!("{}", made.disk.parent().unwrap_or(&made.disk).display());
    let lab = Lab {
        system: made.system,
        kernel: Kernel::Tested,
        others: Default::default(),
        builds: Default::default(),
        debian: machine,
    };
    let logs = paths.cached("logs/debian")?;
    let mut total = Tally::default();
    for name in names {
        let mut all = vm_scenarios::debian::SCENARIOS.iter();
        let scenario = all
            .find(|scenario| scenario.name == name)
            .with_context(|| format!("there is no scenario {name}"))?;
        let named = (name.clone(), *scenario);
        total.add(scenarios::one(&named, &lab, logs.join(name)));
    }
    Ok(total.all_passed())
}

/// The release of Debian that runs here.
fn suite() -> Result<String> {
    let text = fs::read_to_string("/etc/os-release").context("this is not a Debian system")?;
    let name = text
        .lines()
        .find_map(|line| line.strip_prefix("VERSION_CODENAME="));
    Ok(name
        .context("this Debian does not say which it is")?
        .to_string())
}

/// A command that runs as root, by way of sudo where this does not.
pub fn as_root(program: &str) -> Command {
    if nix::unistd::geteuid().is_root() {
        return Command::new(program);
    }
    eprintln!("(asking for root rights with sudo)");
    let mut command = Command::new("sudo");
    command.args(["--preserve-env=DORMOUSE_OWNER", program]);
    command
}

/// Runs image.sh, whose last argument is a path.
fn script(paths: &Paths, label: &str, words: &[&str], path: &Path) -> Result<()> {
    let file = paths.root.join("tools/xtask/src/debian/image.sh");
    let owner = fs::metadata(&paths.cache)?;
    let log = paths.cached("logs")?.join("debian.log");
    let mut command = as_root("sh");
    command.arg(file).args(words).arg(path);
    command.env("DORMOUSE_OWNER", format!("{}:{}", owner.uid(), owner.gid()));
    progress::run(label, &mut command, &log, false)
}

fn prune(cache: &Path) -> Result<()> {
    let mut found: Vec<(std::time::SystemTime, PathBuf)> = Vec::new();
    for entry in fs::read_dir(cache)? {
        let path = entry?.path();
        if let Ok(meta) = fs::metadata(path.join("used")) {
            found.push((meta.modified()?, path));
        }
    }
    found.sort();
    let surplus = (found.len() + 1).saturating_sub(KEEP);
    for (_, path) in &found[..surplus.min(found.len())] {
        fs::remove_dir_all(path)?;
    }
    Ok(())
}
