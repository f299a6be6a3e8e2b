// SPDX-License-Identifier: GPL-2.0

//! Steps that many scenarios are made of.

use std::process::Command;

use anyhow::{bail, ensure, Context, Result};
use dormouse_vm::{Arrival, Vm};

use crate::Lab;

/// Where the settings of Dormouse are.
pub const FOLDER: &str = "/sys/power/hibernate";

/// Finds the image on the first disk: the kernel is told where it is, and /init
/// asks for it when the modules are loaded.
pub const FIRST_DISK: &str = "resume=/dev/vda dm.resume=1";

/// Memory of a small machine, in MiB: with the workload, less than half of it
/// is in use, so that nothing need be freed for a snapshot.
pub const SMALL_MIB: u32 = 320;

impl Lab {
    /// A machine of [`SMALL_MIB`] that looks for an image on its first disk.
    pub fn small(&self) -> Vm {
        self.vm().mem(SMALL_MIB).append(FIRST_DISK)
    }

    /// A small machine whose first disk is swap space, booted, with that
    /// activated, a workload, and Dormouse enabled with compressor lz4.
    ///
    /// # Errors
    ///
    /// When something of that fails.
    pub fn sleepy(&self) -> Result<Vm> {
        let mut vm = self.small().swap_disk("512M")?;
        vm.boot()?;
        vm.run("swapon /dev/vda")?;
        prepare(&mut vm)?;
        Ok(vm)
    }
}

/// Starts a workload and enables Dormouse, with compressor lz4.
///
/// # Errors
///
/// When the guest refuses.
pub fn prepare(vm: &mut Vm) -> Result<()> {
    vm.run("guest work start mib=24 file_mib=4")?;
    set(vm, "compressor", "lz4")?;
    set(vm, "enabled", "1")
}

/// Writes `value` to an attribute.
///
/// # Errors
///
/// When it is refused.
pub fn set(vm: &mut Vm, attribute: &str, value: &str) -> Result<()> {
    vm.run(&format!("echo '{value}' > {FOLDER}/{attribute}"))?;
    Ok(())
}

/// Reads an attribute, without the newline at its end.
///
/// # Errors
///
/// When it cannot be read.
pub fn get(vm: &mut Vm, attribute: &str) -> Result<String> {
    let text = vm.run(&format!("cat {FOLDER}/{attribute}"))?;
    Ok(text.trim_end().to_string())
}

/// Checks that `command` fails with `message`, as busybox words errors.
///
/// # Errors
///
/// When it does not.
pub fn refused(vm: &mut Vm, command: &str, message: &str) -> Result<()> {
    let output = vm.try_run(command)?;
    ensure!(
        output.code != 0 && output.text.contains(message),
        "'{command}' gave {} '{}' instead of '{message}'",
        output.code,
        output.text.trim()
    );
    Ok(())
}

/// Checks that `last_result` begins with `errno` and contains all `parts`, and
/// that the kernel log has the same sentence.
///
/// # Errors
///
/// When something of that is missing.
pub fn expect_result(vm: &mut Vm, errno: i32, parts: &[&str]) -> Result<String> {
    let result = get(vm, "last_result")?;
    ensure!(
        result.starts_with(&format!("{errno} ")),
        "last_result is not {errno}: {result}"
    );
    if let Some(part) = parts.iter().find(|part| !result.contains(**part)) {
        bail!("last_result says nothing of '{part}': {result}");
    }
    let sentence = result.splitn(3, ' ').nth(2).context("no sentence")?;
    ensure!(
        vm.log()?.contains(sentence),
        "the kernel log does not say '{sentence}'"
    );
    Ok(result)
}

/// The guest's clock at line `number` of the log, in milliseconds.
///
/// # Errors
///
/// When there is no such line, or no time in it.
pub fn clock(vm: &Vm, number: usize) -> Result<u64> {
    let lines = vm.log()?.lines();
    let line = lines.get(number).context("no such line")?;
    let inner = line.trim_start_matches('[').split(']').next();
    let seconds: f64 = inner.unwrap_or_default().trim().parse()?;
    Ok((seconds * 1000.0) as u64)
}

/// Boots, and checks that the system which hibernated goes on with every byte
/// of its workload.
///
/// # Errors
///
/// When it does not.
pub fn resume(vm: &mut Vm) -> Result<()> {
    let arrival = vm.boot()?;
    went_on(vm, arrival)
}

/// The same for a machine that is up already.
///
/// # Errors
///
/// When the system is a new one or the workload has changed.
pub fn went_on(vm: &mut Vm, arrival: Arrival) -> Result<()> {
    if arrival != Arrival::Resumed {
        let result = get(vm, "last_result")?;
        bail!("it did not resume: {result}");
    }
    vm.run("guest work verify")?;
    expect_result(vm, 0, &["resumed the system is back: saved", "loaded in"])?;
    // What this kernel did not live to see.
    let stats = get(vm, "stats")?;
    for name in [
        "image_pages",
        "frames",
        "stored_bytes",
        "atomic_ns",
        "write_ns",
        "load_ns",
    ] {
        ensure!(
            !stats.contains(&format!("{name}: 0")) && stats.contains(&format!("{name}: ")),
            "after the resume stats do not know {name}:\n{stats}"
        );
    }
    Ok(())
}

/// Boots, and checks that a new system comes up.
///
/// # Errors
///
/// When another one does.
pub fn boot_fresh(vm: &mut Vm) -> Result<()> {
    ensure!(vm.boot()? == Arrival::Fresh, "it resumed");
    Ok(())
}

/// Hibernates to the first disk and resumes, with all that is to be seen of it
/// from outside.
///
/// # Errors
///
/// When something is not as it should be.
pub fn there_and_back(vm: &mut Vm) -> Result<()> {
    there_and_back_on(vm, 0)
}

/// The same with disk `number`.
///
/// # Errors
///
/// When something is not as it should be.
pub fn there_and_back_on(vm: &mut Vm, number: usize) -> Result<()> {
    vm.hibernate()?;
    expect_type(vm, number, "swsuspend")?;
    resume(vm)?;
    expect_type(vm, number, "swap")
}

/// Checks what `blkid` of the host calls disk `number`.
///
/// # Errors
///
/// When it is another type, or `blkid` is missing.
pub fn expect_type(vm: &Vm, number: usize, wanted: &str) -> Result<()> {
    let output = Command::new("/sbin/blkid")
        .args(["-p", "-o", "value", "-s", "TYPE"])
        .arg(vm.get_disk(number)?.path())
        .output()
        .context("cannot run blkid")?;
    let found = String::from_utf8_lossy(&output.stdout);
    ensure!(
        found.trim() == wanted,
        "blkid calls disk {number} '{}' instead of '{wanted}'",
        found.trim()
    );
    Ok(())
}

/// Adds a program of the host to the guest, with the libraries it needs.
///
/// # Errors
///
/// When the host does not have it, or one of its libraries.
pub fn with_program(vm: Vm, path: &str) -> Result<Vm> {
    let output = Command::new("ldd").arg(path).output();
    let output = output.context("cannot run ldd")?;
    ensure!(output.status.success(), "the host has no {path}");
    let list = String::from_utf8_lossy(&output.stdout).into_owned();
    let libraries = list.split_whitespace().filter(|word| word.starts_with('/'));
    let mut vm = vm;
    for file in std::iter::once(path).chain(libraries) {
        let data = std::fs::read(file).with_context(|| format!("cannot read {file}"))?;
        vm = vm.file(file, 0o755, data);
    }
    Ok(vm)
}
