// SPDX-License-Identifier: GPL-2.0

//! Where images can be, and how they are found there.

use anyhow::{ensure, Result};
use dormouse_vm::{Disk, Vm};

use crate::stalls::Brake;
use crate::steps::{
    boot_fresh, expect_result, expect_type, get, prepare, refused, resume, set, there_and_back,
    with_program, FOLDER, SMALL_MIB,
};
use crate::{files, Lab, Scenario};

/// The scenarios of this file.
pub const SCENARIOS: &[Scenario] = &[
    Scenario::new(
        "swap-partition",
        "an image in a partition, found by the name of that",
        partition,
    ),
    Scenario::new(
        "swap-file",
        "an image in a file on ext4, found by resume= and resume_offset=",
        file,
    ),
    Scenario::long(
        "swap-file-btrfs",
        "an image in a swap file on btrfs, found by the offset that btrfs tells",
        btrfs,
    ),
    Scenario::long(
        "swap-files",
        "an image in two swap files on one device, half in each",
        two_files,
    ),
    Scenario::new(
        "spill-over",
        "the area of higher priority is too small, so the rest goes to the next one",
        spill_over,
    ),
    Scenario::long(
        "striped",
        "areas of equal priority hold about as much of the image each",
        striped,
    ),
    Scenario::new(
        "resume-by-target",
        "the image is found by a number written to resume, and by nothing else",
        by_target,
    ),
    Scenario::new(
        "kernel-resume-file",
        "a write to /sys/power/resume finds the image",
        kernel_resume,
    ),
    Scenario::new(
        "noresume",
        "an image survives boots with noresume and nohibernate, and is resumed then",
        noresume,
    ),
];

/// Writes a partition table with one partition of type `swap`, from 1 MiB to
/// the end.
fn partition_table(disk: &Disk) -> Result<()> {
    let start: u32 = 2048;
    let sectors = u32::try_from(disk.size()? / 512)? - start;
    let mut entry = [0u8; 16];
    entry[4] = 0x82;
    entry[8..12].copy_from_slice(&start.to_le_bytes());
    entry[12..].copy_from_slice(&sectors.to_le_bytes());
    disk.write(446, &entry)?;
    disk.write(510, &[0x55, 0xaa])
}

fn partition(lab: &Lab) -> Result<()> {
    let mut vm = lab
        .vm()
        .mem(SMALL_MIB)
        .append("resume=/dev/vda1 dm.resume=1")
        .disk("512M")?;
    partition_table(vm.get_disk(0)?)?;
    vm.boot()?;
    vm.run("mkswap /dev/vda1 && swapon /dev/vda1")?;
    prepare(&mut vm)?;
    for mark in [&b"LINHIB0001"[..], b"SWAPSPACE2"] {
        if mark == b"LINHIB0001" {
            vm.hibernate()?;
        } else {
            resume(&mut vm)?;
        }
        let found = vm.get_disk(0)?.read((1 << 20) + 4086, 10)?;
        ensure!(found == mark, "the mark is {}", found.escape_ascii());
    }
    vm.assert_clean()
}

/// The kernel arguments that name what the first disk has at `block`, where a
/// swap file begins.
fn by_offset(block: u64) -> String {
    format!("resume=/dev/vda resume_offset={block} dm.resume=1")
}

/// Starts a workload beside a swap file on `/mnt`, and leaves a note there.
fn at_work(vm: &mut Vm) -> Result<()> {
    vm.run("echo 'what is open' > /mnt/note && sync")?;
    prepare(vm)
}

/// Hibernates to a swap file that begins at `block` of the first disk, and
/// resumes with kernel arguments `append`; its filesystem goes on as well.
fn cycle_in_file(vm: &mut Vm, block: u64, append: &str) -> Result<()> {
    vm.set_append(append);
    vm.hibernate()?;
    let mark = vm.get_disk(0)?.read(block * 4096 + 4086, 10)?;
    ensure!(mark == b"LINHIB0001", "no mark but {}", mark.escape_ascii());
    resume(vm)?;
    vm.run("grep -q 'what is open' /mnt/note && echo more >> /mnt/note && sync")?;
    Ok(())
}

/// Takes leave of swap files and of the filesystem of type `fs` on `/mnt`, which
/// is as it should be.
fn let_go(vm: &mut Vm, fs: &str) -> Result<()> {
    // Without /etc/fstab busybox fails after the swap files; umount would too
    // when one was left.
    vm.run("swapoff -a; umount /mnt")?;
    files::sound(vm, fs)
}

fn file(lab: &Lab) -> Result<()> {
    let vm = lab.vm().mem(SMALL_MIB).disk("600M")?;
    let mut vm = files::boot_mounted(vm, "ext4", "rw")?;
    // In pieces, as files are that grew with others.
    vm.run("for n in 1 2 3; do dd if=/dev/zero of=/mnt/f$n bs=1M count=8 2>&1; done; rm /mnt/f2")?;
    vm.run("fallocate -l 300M /mnt/swap && chmod 600 /mnt/swap")?;
    vm.run("mkswap /mnt/swap && swapon /mnt/swap")?;
    at_work(&mut vm)?;
    let block = vm.get_disk(0)?.first_block("/swap")?;
    // For this boot, that the next one is named in the log.
    vm.run(&format!("echo 254:0:{block} > {FOLDER}/resume; true"))?;
    for append in [by_offset(block), format!("dm.resume=254:0:{block}")] {
        cycle_in_file(&mut vm, block, &append)?;
    }
    let_go(&mut vm, "ext4")
}

/// A machine with two swap disks of these sizes, active with these priorities.
fn two(lab: &Lab, sizes: [&str; 2], priorities: [i32; 2]) -> Result<Vm> {
    let vm = lab.small().swap_disk(sizes[0])?.swap_disk(sizes[1])?;
    // The one of busybox knows no priorities.
    let mut vm = with_program(vm, "/sbin/swapon")?;
    vm.boot()?;
    for (disk, priority) in ["vda", "vdb"].iter().zip(priorities) {
        vm.run(&format!("/sbin/swapon -p {priority} /dev/{disk}"))?;
    }
    prepare(&mut vm)?;
    Ok(vm)
}

/// Bytes of disk `number` that are not holes and not zero in steps of 4096.
fn written(vm: &Vm, number: usize) -> Result<u64> {
    let disk = vm.get_disk(number)?;
    let mut blocks = 0;
    let (size, step) = (disk.size()?, 1 << 20);
    for at in (0..size).step_by(step) {
        let length = usize::try_from(size - at)?.min(step);
        let data = disk.read(at, length)?;
        let full = |block: &&[u8]| block.iter().any(|&byte| byte != 0);
        blocks += data.chunks(4096).filter(full).count() as u64;
    }
    Ok(blocks * 4096)
}

fn both_types(vm: &Vm, wanted: &str) -> Result<()> {
    expect_type(vm, 0, wanted)?;
    expect_type(vm, 1, wanted)
}

fn btrfs(lab: &Lab) -> Result<()> {
    let vm = lab.vm().mem(SMALL_MIB).disk("640M")?;
    let vm = with_program(vm, "/bin/btrfs")?;
    let mut vm = files::boot_mounted(vm, "btrfs", "rw")?;
    vm.run("btrfs filesystem mkswapfile --size 300m /mnt/swap && swapon /mnt/swap")?;
    let block = vm.run("btrfs inspect-internal map-swapfile -r /mnt/swap")?;
    let block = block.trim().parse()?;
    at_work(&mut vm)?;
    cycle_in_file(&mut vm, block, &by_offset(block))?;
    let_go(&mut vm, "btrfs")
}

fn two_files(lab: &Lab) -> Result<()> {
    let vm = lab.vm().mem(SMALL_MIB).disk("640M")?;
    let vm = with_program(vm, "/sbin/swapon")?;
    let mut vm = files::boot_mounted(vm, "ext4", "rw")?;
    for name in ["one", "two"] {
        vm.run(&format!(
            "fallocate -l 160M /mnt/{name} && chmod 600 /mnt/{name} && mkswap /mnt/{name} && \
             /sbin/swapon -p 5 /mnt/{name}"
        ))?;
    }
    at_work(&mut vm)?;
    set(&mut vm, "compressor", "none")?;
    let block = vm.get_disk(0)?.first_block("/one")?;
    cycle_in_file(&mut vm, block, &by_offset(block))?;
    let_go(&mut vm, "ext4")?;
    for name in ["one", "two"] {
        let line = format!("swap area /mnt/{name}: ");
        ensure!(
            vm.log_of(0)?.contains(&line),
            "/mnt/{name} has no part of the image"
        );
    }
    Ok(())
}

fn spill_over(lab: &Lab) -> Result<()> {
    let mut vm = two(lab, ["16M", "512M"], [10, 1])?;
    set(&mut vm, "compressor", "none")?;
    vm.hibernate()?;
    both_types(&vm, "swsuspend")?;
    let (first, second) = (written(&vm, 0)?, written(&vm, 1)?);
    ensure!(
        first > 14 << 20 && second > 16 << 20,
        "{first} bytes on the small area, {second} on the other one"
    );

    // The second area only has a part, and says where the image begins.
    vm.set_append("resume=/dev/vdb dm.resume=1");
    boot_fresh(&mut vm)?;
    expect_result(
        &mut vm,
        -6,
        &["vdb only holds a part of an image, which began on 254:0"],
    )?;
    refused(&mut vm, "swapon /dev/vdb", "Invalid argument")?;
    vm.power_off()?;
    both_types(&vm, "swsuspend")?;

    vm.set_append("resume=/dev/vda dm.resume=1");
    resume(&mut vm)?;
    both_types(&vm, "swap")?;
    there_and_back(&mut vm)?;
    vm.assert_clean()
}

fn striped(lab: &Lab) -> Result<()> {
    let mut vm = two(lab, ["256M", "256M"], [5, 5])?;
    vm.hibernate()?;
    both_types(&vm, "swsuspend")?;
    let sizes = [written(&vm, 0)?, written(&vm, 1)?];
    // Stripes are small beside an image.
    ensure!(
        sizes[0].abs_diff(sizes[1]) < sizes[0].max(sizes[1]) / 4,
        "bytes on the areas: {sizes:?}"
    );
    resume(&mut vm)?;
    both_types(&vm, "swap")?;
    there_and_back(&mut vm)?;
    // Would never end if a slot of the image was still taken.
    vm.run("swapoff /dev/vda && swapoff /dev/vdb && guest work verify")?;
    vm.assert_clean()
}

fn by_target(lab: &Lab) -> Result<()> {
    // Without resume=: settings of the first boot must do.
    let mut vm = lab
        .vm()
        .mem(SMALL_MIB)
        .append("dm.resume=254:16")
        .swap_disk("64M")?
        .swap_disk("512M")?;
    vm.boot()?;
    vm.run("swapon /dev/vda && swapon /dev/vdb")?;
    prepare(&mut vm)?;
    set(&mut vm, "target", "/dev/vdb")?;
    vm.hibernate()?;
    expect_type(&vm, 0, "swap")?;
    expect_type(&vm, 1, "swsuspend")?;
    resume(&mut vm)?;
    expect_type(&vm, 1, "swap")?;
    ensure!(get(&mut vm, "target")? == "/dev/vdb", "another target");

    // By the UUID of the area.
    let uuid = vm.get_disk(1)?.read(1036, 16)?;
    let hex: String = uuid.iter().map(|byte| format!("{byte:02x}")).collect();
    let parts = [
        &hex[..8],
        &hex[8..12],
        &hex[12..16],
        &hex[16..20],
        &hex[20..],
    ];
    set(&mut vm, "target", &format!("UUID={}", parts.join("-")))?;
    vm.hibernate()?;
    expect_type(&vm, 0, "swap")?;
    expect_type(&vm, 1, "swsuspend")?;
    resume(&mut vm)?;
    vm.assert_clean()
}

fn kernel_resume(lab: &Lab) -> Result<()> {
    let mut vm = lab.sleepy()?;
    vm.set_append("dm.kernel_resume=/dev/vda");
    vm.hibernate()?;
    resume(&mut vm)?;
    vm.set_append("dm.kernel_resume=254:0");
    vm.hibernate()?;
    resume(&mut vm)?;
    expect_type(&vm, 0, "swap")?;

    // A place that says nothing is named.
    vm.hibernate()?;
    vm.set_append("");
    boot_fresh(&mut vm)?;
    set(&mut vm, "io_timeout", "5")?;
    Brake::Disk(0).stop(&mut vm)?;
    vm.run("echo 254:0 > /sys/power/resume")?;
    let silent = "no image could be looked for on \"254:0\", which does not answer";
    let result = get(&mut vm, "last_result")?;
    ensure!(
        result.starts_with("-110 ") && result.contains(silent),
        "last_result is {result}"
    );
    vm.power_off()?;
    vm.set_append("dm.kernel_resume=254:0");
    resume(&mut vm)?;
    vm.assert_clean()
}

fn noresume(lab: &Lab) -> Result<()> {
    let mut vm = lab.sleepy()?;
    vm.hibernate()?;
    for word in ["noresume", "nohibernate"] {
        vm.set_append(&format!("resume=/dev/vda dm.resume=1 {word}"));
        boot_fresh(&mut vm)?;
        for command in [
            format!("echo 1 > {FOLDER}/resume"),
            format!("echo /dev/vda > {FOLDER}/resume"),
        ] {
            refused(&mut vm, &command, "Operation not permitted")?;
        }
        refused(&mut vm, "swapon /dev/vda", "Invalid argument")?;
        vm.power_off()?;
        expect_type(&vm, 0, "swsuspend")?;
    }
    vm.set_append("resume=/dev/vda dm.resume=1");
    resume(&mut vm)?;
    expect_type(&vm, 0, "swap")?;
    vm.assert_clean()
}
