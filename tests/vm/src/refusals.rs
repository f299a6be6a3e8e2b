// SPDX-License-Identifier: GPL-2.0

//! What is refused, and what becomes of the image then.

use std::time::Duration;

use anyhow::{ensure, Context, Result};
use dormouse_vm::Vm;

use crate::steps::{
    boot_fresh, expect_result, expect_type, get, prepare, refused, resume, set, there_and_back,
    with_program, FIRST_DISK, FOLDER, SMALL_MIB,
};
use crate::{Lab, Scenario};

/// The scenarios of this file.
pub const SCENARIOS: &[Scenario] = &[
    Scenario::new(
        "no-swap",
        "without swap space there is no hibernation, and a sentence says why",
        no_swap,
    ),
    Scenario::new(
        "swap-too-small",
        "too little swap space: the sentence counts what is needed and what there is",
        swap_too_small,
    ),
    Scenario::new(
        "missing-module",
        "an image whose compressor or writer is not loaded is kept, and resumed when they are",
        missing_module,
    ),
    Scenario::new(
        "other-kernel",
        "an image of another kernel build is kept, and resumed by its own",
        other_kernel,
    ),
    Scenario::long(
        "other-memory",
        "an image is kept while there is another amount of memory",
        other_memory,
    ),
    Scenario::new(
        "swapon-gives-up",
        "an image beside which swapon has been at work is never resumed",
        swapon_gives_up,
    ),
    Scenario::new(
        "second-attempt",
        "an image whose load was cut off is not tried again by itself, but on request",
        second_attempt,
    ),
    Scenario::new(
        "task-refuses",
        "a task that does not freeze is named, with the filesystem and the process it waits for",
        task_refuses,
    ),
    Scenario::new(
        "locked-down-meanwhile",
        "a kernel that is locked down after hibernation has begun saves nothing",
        locked_down_meanwhile,
    ),
    Scenario::new(
        "erase",
        "erase gives the swap space back, and there is no image",
        erase,
    ),
];

const STATE: &str = "echo disk > /sys/power/state";

fn no_swap(lab: &Lab) -> Result<()> {
    let mut vm = lab.small();
    vm.boot()?;
    prepare(&mut vm)?;
    for command in [STATE, "echo 1 > /sys/power/hibernate/start"] {
        refused(&mut vm, command, "No space left on device")?;
        expect_result(
            &mut vm,
            -28,
            &["no space for an image", "is a swap area active?"],
        )?;
        ensure!(get(&mut vm, "state")? == "idle", "the cycle goes on");
    }
    vm.run("guest work verify")?;
    vm.assert_clean()
}

fn locked_down_meanwhile(lab: &Lab) -> Result<()> {
    let mut vm = lab.sleepy()?;
    vm.run("mount -t securityfs security /sys/kernel/security")?;
    // The kernel has asked already when a cycle begins.
    vm.run(&format!(
        "(until read -r now < {FOLDER}/state && [ \"$now\" = begin ]; do :; done; \
         echo integrity > /sys/kernel/security/lockdown) > /dev/null 2>&1 &"
    ))?;
    refused(&mut vm, STATE, "Operation not permitted")?;
    let lockdown = vm.run("cat /sys/kernel/security/lockdown")?;
    ensure!(lockdown.contains("[integrity]"), "lockdown is {lockdown}");
    let parts = ["hibernation is not allowed any more: ", "was locked down"];
    expect_result(&mut vm, -1, &parts)?;
    ensure!(get(&mut vm, "state")? == "idle", "the cycle goes on");
    expect_type(&vm, 0, "swap")?;
    vm.run("guest work verify")?;
    vm.assert_clean()
}

/// Number before the first ` kB` after `part`.
fn kb_after(text: &str, part: &str) -> Result<u64> {
    let (_, rest) = text
        .split_once(part)
        .with_context(|| format!("no '{part}' in '{text}'"))?;
    let number = rest.trim_start().split(' ').next().unwrap_or_default();
    number
        .parse()
        .with_context(|| format!("no number after '{part}' in '{text}'"))
}

fn swap_too_small(lab: &Lab) -> Result<()> {
    let mut vm = lab.small().swap_disk("16M")?.swap_disk("512M")?;
    vm.boot()?;
    vm.run("swapon /dev/vda")?;
    prepare(&mut vm)?;
    set(&mut vm, "compressor", "none")?;
    refused(&mut vm, STATE, "No space left on device")?;
    let result = expect_result(
        &mut vm,
        -28,
        &[
            "not enough space for the image: needed",
            "at 100 %",
            "/dev/vda",
        ],
    )?;
    let (needed, available) = (
        kb_after(&result, "needed")?,
        kb_after(&result, "available")?,
    );
    ensure!(
        needed > 40 * 1024 && (8 * 1024..=16 * 1024).contains(&available),
        "needed {needed} kB, available {available} kB"
    );
    expect_type(&vm, 0, "swap")?;
    vm.run("guest work verify")?;
    // And with enough of it, the same system does hibernate.
    vm.run("swapon /dev/vdb")?;
    vm.hibernate()?;
    resume(&mut vm)?;
    vm.assert_clean()
}

fn missing_module(lab: &Lab) -> Result<()> {
    let mut vm = lab.sleepy()?;
    vm.hibernate()?;

    vm.set_missing(&["dormouse_lz4"]);
    boot_fresh(&mut vm)?;
    expect_result(
        &mut vm,
        -2,
        &["needs module dormouse_lz4 (compress), which is not loaded; it is kept"],
    )?;
    ensure!(
        get(&mut vm, "image")?.contains("state: committed"),
        "no image"
    );
    vm.power_off()?;
    expect_type(&vm, 0, "swsuspend")?;

    vm.set_missing(&["dormouse_swap"]);
    boot_fresh(&mut vm)?;
    refused(
        &mut vm,
        &format!("echo 1 > {FOLDER}/resume"),
        "No such device",
    )?;
    vm.power_off()?;
    expect_type(&vm, 0, "swsuspend")?;

    vm.set_missing(&[]);
    resume(&mut vm)?;
    expect_type(&vm, 0, "swap")?;
    vm.assert_clean()
}

/// CRC-32C, as the image has it.
fn crc32c(data: &[u8]) -> u32 {
    !data.iter().fold(!0u32, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| {
            (crc >> 1) ^ (0x82f6_3b78 & (crc & 1).wrapping_neg())
        })
    })
}

/// Changes the header of the image on the first disk to one that another
/// kernel would have written, with a good seal; returns what it was before.
fn forge_kernel(vm: &Vm) -> Result<(u64, Vec<u8>)> {
    let disk = vm.get_disk(0)?;
    let at = disk.find(b"DMHEADER", 4096)?.context("no header")?;
    let before = disk.read(at, 16 * 4096)?;
    let mut header = before.clone();
    let total = u32::from_le_bytes(header[16..20].try_into()?) as usize;
    let build = header
        .windows(9)
        .position(|part| part == b"-dormouse")
        .context("no release in the header")?;
    header[build..build + 9].copy_from_slice(b"-hamsters");
    header[12..16].fill(0);
    let seal = crc32c(&header[..total]);
    header[12..16].copy_from_slice(&seal.to_le_bytes());
    disk.write(at, &header)?;
    Ok((at, before))
}

fn other_kernel(lab: &Lab) -> Result<()> {
    let mut vm = lab.sleepy()?;
    vm.hibernate()?;
    let (at, header) = forge_kernel(&vm)?;
    boot_fresh(&mut vm)?;
    expect_result(
        &mut vm,
        -116,
        &[
            "made by another kernel (6.12.",
            "-hamsters",
            "not by this one; it is kept",
        ],
    )?;
    refused(&mut vm, "swapon /dev/vda", "Invalid argument")?;
    vm.power_off()?;
    expect_type(&vm, 0, "swsuspend")?;
    vm.get_disk(0)?.write(at, &header)?;
    resume(&mut vm)?;
    vm.assert_clean()
}

fn other_memory(lab: &Lab) -> Result<()> {
    let mut vm = lab.sleepy()?;
    vm.hibernate()?;
    let mut vm = vm.mem(SMALL_MIB + 64);
    boot_fresh(&mut vm)?;
    let result = expect_result(
        &mut vm,
        -116,
        &["kB of memory, and now there are", "it is kept"],
    )?;
    let (then, now) = (
        kb_after(&result, "made with")?,
        kb_after(&result, "there are")?,
    );
    ensure!(now - then == 64 * 1024, "{then} kB and {now} kB");
    vm.power_off()?;
    let mut vm = vm.mem(SMALL_MIB);
    resume(&mut vm)?;
    vm.assert_clean()
}

fn swapon_gives_up(lab: &Lab) -> Result<()> {
    let vm = with_program(lab.small().swap_disk("512M")?, "/sbin/swapon")?;
    let mut vm = vm;
    vm.boot()?;
    vm.run("swapon /dev/vda")?;
    prepare(&mut vm)?;
    vm.hibernate()?;

    // A boot that does not look for images.
    vm.set_append("");
    boot_fresh(&mut vm)?;
    refused(&mut vm, "swapon /dev/vda", "Invalid argument")?;
    let said = vm.run("/sbin/swapon /dev/vda 2>&1")?;
    ensure!(
        said.contains("Rewriting the swap signature"),
        "swapon says: {said}"
    );
    set(&mut vm, "target", "/dev/vda")?;
    let image = get(&mut vm, "image")?;
    ensure!(image.contains("discarded: "), "image says: {image}");
    vm.power_off()?;

    vm.set_append(FIRST_DISK);
    boot_fresh(&mut vm)?;
    expect_result(
        &mut vm,
        -116,
        &["the image was given up", "swapon does that"],
    )?;
    ensure!(get(&mut vm, "image")? == "none", "there still is an image");
    vm.run("swapon /dev/vda")?;
    prepare(&mut vm)?;
    there_and_back(&mut vm)?;
    vm.assert_clean()
}

fn second_attempt(lab: &Lab) -> Result<()> {
    let mut vm = lab.sleepy()?;
    vm.hibernate()?;
    for _ in 0..3 {
        vm.start()?;
        vm.log()?
            .wait_for("load: 10%", 0, Duration::from_secs(120))?;
        vm.kill();
    }

    boot_fresh(&mut vm)?;
    expect_result(
        &mut vm,
        -114,
        &["cut off 3 times", "it is kept", "retry", "erase"],
    )?;
    let image = get(&mut vm, "image")?;
    ensure!(
        image.contains("state: committed") && image.contains("attempts: 3"),
        "image: {image}"
    );
    vm.power_off()?;
    expect_type(&vm, 0, "swsuspend")?;

    vm.set_append("resume=/dev/vda dm.resume=retry");
    resume(&mut vm)?;
    vm.set_append(FIRST_DISK);
    // The next image is one like any other.
    there_and_back(&mut vm)?;
    vm.assert_clean()
}

fn task_refuses(lab: &Lab) -> Result<()> {
    let vm = lab.small().swap_disk("512M")?.disk("16M")?;
    let mut vm = with_program(vm, "/usr/bin/fuse2fs")?.allow("refusing to freeze");
    vm.get_disk(1)?.mkfs()?;
    vm.boot()?;
    vm.run("swapon /dev/vda && mkdir /fuse && /usr/bin/fuse2fs /dev/vdb /fuse")?;
    prepare(&mut vm)?;
    vm.run("echo 2000 > /sys/power/pm_freeze_timeout")?;
    let server = vm.run("pidof fuse2fs")?;
    let server = server.trim();
    vm.run(&format!("kill -STOP {server}"))?;
    let reader = vm.run("ls /fuse/none > /dev/null 2>&1 & echo $!")?;
    let task = format!("\"ls\" (pid {}) waits in ", reader.trim());
    let server = format!("which \"fuse2fs\" (pid {server}) serves");
    for command in [STATE, "echo 1 > /sys/power/hibernate/start"] {
        refused(&mut vm, command, "Device or resource busy")?;
        let parts = [
            "begin 1 task does not freeze: ",
            &task,
            "for FUSE filesystem /fuse (connection ",
            &server,
        ];
        expect_result(&mut vm, -16, &parts)?;
    }
    vm.run("guest work verify && pidof ls")?;
    expect_type(&vm, 0, "swap")?;
    // The same machine hibernates when the answer has come.
    vm.run("kill -CONT $(pidof fuse2fs); while pidof ls; do usleep 50000; done")?;
    there_and_back(&mut vm)?;
    vm.run("ls /fuse > /dev/null")?;
    vm.assert_clean()?;

    // It keeps a boot from loading an image as well.
    vm.run("fusermount -u /fuse || umount /fuse")?;
    vm.hibernate()?;
    vm.set_append("");
    boot_fresh(&mut vm)?;
    vm.run("mkdir /fuse && /usr/bin/fuse2fs /dev/vdb /fuse")?;
    vm.run("echo 2000 > /sys/power/pm_freeze_timeout")?;
    vm.run("kill -STOP $(pidof fuse2fs) && (ls /fuse/none > /dev/null 2>&1 &)")?;
    let ask = format!("echo /dev/vda > {FOLDER}/resume");
    refused(&mut vm, &ask, "Device or resource busy")?;
    let parts = [
        "check 1 task does not freeze: ",
        "for FUSE filesystem /fuse (connection ",
        "; the image is kept",
    ];
    expect_result(&mut vm, -16, &parts)?;
    vm.power_off()?;
    expect_type(&vm, 0, "swsuspend")?;
    vm.set_append(FIRST_DISK);
    resume(&mut vm)?;
    vm.assert_clean()
}

fn erase(lab: &Lab) -> Result<()> {
    let mut vm = lab.sleepy()?;
    vm.hibernate()?;
    vm.set_append("resume=/dev/vda");
    boot_fresh(&mut vm)?;
    ensure!(
        get(&mut vm, "image")?.contains("state: committed"),
        "no image"
    );
    set(&mut vm, "image", "erase")?;
    ensure!(get(&mut vm, "image")? == "none", "there still is an image");
    expect_type(&vm, 0, "swap")?;
    refused(
        &mut vm,
        &format!("echo erase > {FOLDER}/image"),
        "No such device",
    )?;
    refused(
        &mut vm,
        &format!("echo 1 > {FOLDER}/resume"),
        "No such device",
    )?;
    vm.run("swapon /dev/vda")?;
    vm.power_off()?;
    vm.set_append(FIRST_DISK);
    boot_fresh(&mut vm)?;
    let header = vm.get_disk(0)?.read(4096 - 512, 502)?;
    ensure!(
        header.iter().all(|&byte| byte == 0),
        "the swap header is not as it was"
    );
    vm.assert_clean()
}
