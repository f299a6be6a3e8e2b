// SPDX-License-Identifier: GPL-2.0

//! Disks that fail, and too little of everything.

use std::path::Path;

use anyhow::{bail, ensure, Context, Result};
use dormouse_vm::{Disk, Hibernated, Vm};

use crate::steps::{
    boot_fresh, expect_result, get, prepare, set, there_and_back, went_on, FIRST_DISK, FOLDER,
};
use crate::{Lab, Scenario};

/// The scenarios of this file.
pub const SCENARIOS: &[Scenario] = &[
    Scenario::new(
        "write-error",
        "the disk refuses a write in the middle of a save: the guest goes on",
        write_error,
    ),
    Scenario::new(
        "read-error",
        "the disk refuses a read in the middle of a load: the image is kept, and resumed later",
        read_error,
    ),
    Scenario::new(
        "disk-full",
        "memory compresses worse than expected and swap is full half-way: the guest goes on",
        disk_full,
    ),
    Scenario::new(
        "no-memory",
        "the workload leaves no room for the snapshot: refused with numbers",
        no_memory,
    ),
];

/// A machine whose disk refuses one kind of request for one sector: `write`
/// for ever, or `read` once in each boot.
fn failing(lab: &Lab, folder: &Path, kind: &str) -> Result<Vm> {
    let disk = Disk::create(&folder.join("disk"), 512 << 20)?;
    disk.mkswap()?;
    // 16 MiB: in the midst of the pages.
    let drive = format!(
        "if=virtio,cache=unsafe,format=raw,file.driver=blkdebug,file.image.driver=file,\
         file.image.filename={},file.inject-error.0.event=none,file.inject-error.0.iotype={kind},\
         file.inject-error.0.errno=5,file.inject-error.0.sector=32768,file.inject-error.0.once={}",
        disk.path().display(),
        if kind == "read" { "on" } else { "off" }
    );
    let mut vm = lab.small().qemu("-drive").qemu(&drive);
    vm.boot()?;
    vm.run("swapon /dev/vda")?;
    prepare(&mut vm)?;
    Ok(vm)
}

/// Hibernates, and checks that it fails with `message` and nothing is lost.
fn fails(vm: &mut Vm, message: &str) -> Result<()> {
    let swap = swap_used(vm)?;
    match vm.hibernate_by("echo disk > /sys/power/state")? {
        Hibernated::Returned(output) if output.code != 0 && output.text.contains(message) => {}
        other => bail!("'{message}' was expected, not {other:?}"),
    }
    vm.run("guest work verify")?;
    let now = swap_used(vm)?;
    // Memory that was freed for the snapshot may be there, an image may not.
    ensure!(
        now < swap + 24 * 1024,
        "{now} kB of swap space in use, {swap} kB before"
    );
    ensure!(get(vm, "state")? == "idle", "the cycle is not over");
    Ok(())
}

/// Swap space in use, in kB.
fn swap_used(vm: &mut Vm) -> Result<u64> {
    let text = vm.run("awk 'NR > 1 { used += $4 } END { print used + 0 }' /proc/swaps")?;
    Ok(text.trim().parse()?)
}

fn temporary() -> Result<tempfile::TempDir> {
    Ok(tempfile::Builder::new().prefix("dormouse-bad-").tempdir()?)
}

fn write_error(lab: &Lab) -> Result<()> {
    let folder = temporary()?;
    let mut vm = failing(lab, folder.path(), "write")?;
    for _ in 0..2 {
        fails(&mut vm, "Input/output error")?;
        expect_result(
            &mut vm,
            -5,
            &["the image could not be written to the storage"],
        )?;
    }
    vm.power_off()?;
    // The reason outlives the boot.
    boot_fresh(&mut vm)?;
    expect_result(
        &mut vm,
        -5,
        &["before the last boot, in step write: the image could not be written"],
    )?;
    vm.assert_clean()
}

fn read_error(lab: &Lab) -> Result<()> {
    let folder = temporary()?;
    let mut vm = failing(lab, folder.path(), "read")?;
    vm.hibernate()?;
    boot_fresh(&mut vm)?;
    expect_result(&mut vm, -5, &["the image could not be loaded; it is kept"])?;
    let image = get(&mut vm, "image")?;
    ensure!(
        image.contains("state: committed") && image.contains("attempts: 0"),
        "the image is {image}"
    );
    // The disk is well again: no request is needed, only another look.
    let from = vm.log()?.len();
    vm.send(&format!("echo 1 > {FOLDER}/resume"))?;
    let timeout = std::time::Duration::from_secs(120);
    vm.log()?.wait_for("kB of memory in", from, timeout)?;
    let arrival = vm.arrive(timeout)?;
    went_on(&mut vm, arrival)?;
    vm.assert_clean()
}

/// The number between `before` and ` kB` in `text`.
fn kb_after(text: &str, before: &str) -> Result<u64> {
    let rest = text.split(before).nth(1);
    let number = rest.and_then(|rest| rest.split(" kB").next()?.parse().ok());
    number.with_context(|| format!("no number behind '{before}' in '{text}'"))
}

fn disk_full(lab: &Lab) -> Result<()> {
    let mut vm = lab.small().mem(384).swap_disk("512M")?;
    vm.boot()?;
    vm.run("guest work start mib=16 file_mib=4")?;
    set(&mut vm, "compressor", "lz4")?;
    set(&mut vm, "enabled", "1")?;
    // Nothing of this can be compressed.
    vm.run("dd if=/dev/urandom of=/tmp/noise bs=1M count=80 2>&1 && md5sum /tmp/noise > /tmp/sum")?;
    vm.run("mkswap /dev/vda 4096; swapon /dev/vda")?;
    fails(&mut vm, "No space left on device")?;
    let result = expect_result(
        &mut vm,
        -28,
        &[
            "not enough space for the image: needed ",
            ", available ",
            "vda",
        ],
    )?;
    // Just as much as is expected to be needed.
    let needed = kb_after(&result, "needed ")?;
    vm.run(&format!(
        "swapoff /dev/vda; mkswap /dev/vda {}; swapon /dev/vda",
        needed + 4096
    ))?;
    fails(&mut vm, "No space left on device")?;
    expect_result(
        &mut vm,
        -28,
        &["the storage was full before the image was complete"],
    )?;
    vm.run("md5sum -c /tmp/sum")?;
    vm.run("swapoff /dev/vda; mkswap /dev/vda; swapon /dev/vda")?;
    there_and_back(&mut vm)?;
    vm.run("md5sum -c /tmp/sum")?;
    vm.assert_clean()
}

fn no_memory(lab: &Lab) -> Result<()> {
    let mut vm = lab.vm().mem(256).append(FIRST_DISK).swap_disk("512M")?;
    vm.boot()?;
    // Enough for the check of the room, but nothing to move memory to.
    vm.run("mkswap /dev/vda 8192; swapon /dev/vda")?;
    vm.run("guest work start mib=120 file_mib=16")?;
    set(&mut vm, "compressor", "lz4")?;
    set(&mut vm, "enabled", "1")?;
    fails(&mut vm, "Cannot allocate memory")?;
    expect_result(
        &mut vm,
        -12,
        &[
            "not enough memory for the snapshot: needed ",
            ", available ",
            "must be freed",
        ],
    )?;
    // More swap is the way out.
    vm.run("swapoff /dev/vda; mkswap /dev/vda; swapon /dev/vda")?;
    there_and_back(&mut vm)?;
    vm.assert_clean()
}
