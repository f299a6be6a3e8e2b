// SPDX-License-Identifier: GPL-2.0

//! Mounted filesystems, and what they are on.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Result;

use super::Check;
use crate::cli::Context;
use crate::system::System;

const NAME: &str = "filesystems";

/// Only those with something to say.
pub(super) fn checks(context: &Context) -> Result<Vec<Check>> {
    let mounts = context.system.mounts();
    let devices = devices(&context.system, &mounts);
    let mut all = Vec::new();
    if context
        .control
        .get_if_there("freeze_filesystems")?
        .as_deref()
        == Some("0")
    {
        all.push(Check::note(
            NAME,
            "they are not frozen (freeze_filesystems is 0): a save is stopped when the kernel writes behind it",
            "dormouse config set freeze_filesystems=1",
        ));
    }
    all.extend(devices.iter().flat_map(|device| {
        let served = served(device);
        served.into_iter().chain(uncounted(device))
    }));
    Ok(all)
}

/// A device with a mounted filesystem.
struct Device {
    /// Where that is mounted.
    at: String,
    /// Folder of the device in sysfs.
    folder: PathBuf,
}

/// Devices with mounted filesystems, each once.
fn devices(system: &System, mounts: &[crate::system::Mount]) -> Vec<Device> {
    let mut seen = BTreeSet::new();
    let of = |mount: &crate::system::Mount| {
        let folder = system.block_folder(mount)?;
        let at = mount.at.clone();
        seen.insert(folder.clone()).then_some(Device { at, folder })
    };
    mounts.iter().filter_map(of).collect()
}

fn name(folder: &Path) -> String {
    let name = folder.file_name().unwrap_or_default();
    name.to_string_lossy().into_owned()
}

/// The disk that a partition is a part of; every other device itself.
fn disk(folder: &Path) -> &Path {
    match folder.join("partition").exists() {
        true => folder.parent().unwrap_or(folder),
        false => folder,
    }
}

/// Names of the disks below a device, down through device-mapper and md.
fn disks(folder: &Path, names: &mut BTreeSet<String>, depth: usize) {
    let below: Vec<PathBuf> = fs::read_dir(folder.join("slaves"))
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.path().canonicalize().ok())
        .collect();
    // As deep as the kernel stacks them.
    if below.is_empty() || depth == 0 {
        names.insert(name(disk(folder)));
    } else {
        for folder in &below {
            disks(folder, names, depth.saturating_sub(1));
        }
    }
}

/// One that a process has to answer for, which is frozen before the filesystem is.
fn served(device: &Device) -> Option<Check> {
    let mut names = BTreeSet::new();
    disks(&device.folder, &mut names, 8);
    let at = &device.at;
    names.iter().find_map(|name| {
        if name.starts_with("ublk") {
            let found = format!("{at} is on {name}, which a process serves that will be frozen");
            return Some(Check::fail(NAME, found, format!("umount {at}")));
        }
        name.starts_with("nbd").then(|| {
            Check::note(
                NAME,
                format!(
                    "{at} is on {name}, and every save is refused if this machine is its server"
                ),
                format!("then umount {at}"),
            )
        })
    })
}

/// One on which a write behind the image would not be seen.
fn uncounted(device: &Device) -> Option<Check> {
    let disk = disk(&device.folder);
    let counts = fs::read_to_string(disk.join("queue/iostats")).ok()?;
    (counts.trim() == "0").then(|| {
        let (at, name) = (&device.at, name(disk));
        Check::note(
            NAME,
            format!("what is written to {name}, which has {at}, is not counted: a write behind the image would not be seen"),
            format!("echo 1 > /sys/block/{name}/queue/iostats"),
        )
    })
}
