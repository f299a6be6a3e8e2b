// SPDX-License-Identifier: GPL-2.0

//! Block devices that are made of others: what they take, and what they must
//! not.

use anyhow::{ensure, Result};
use dormouse_vm::Vm;

use crate::steps::{
    expect_result, get, prepare, refused, resume, set, there_and_back_on, with_program, FOLDER,
    SMALL_MIB,
};
use crate::{Lab, Scenario};

/// The scenarios of this file.
pub const SCENARIOS: &[Scenario] = &[
    Scenario::new(
        "loop-below",
        "partitions of loop devices, and device-mapper, md and ext4 above these, take no image",
        loop_below,
    ),
    Scenario::new(
        "mapping-changes",
        "thin volumes, snapshots, their origins and bcache take no image, and are named",
        mapping_changes,
    ),
    Scenario::new(
        "swap-on-stack",
        "an image in swap space on dm-crypt on dm-linear on an array of two disks",
        on_stack,
    ),
];

/// Makes a device of device-mapper without udev, which would make its node.
const DM: &str = "dmsetup --noudevsync --noudevrules";

/// Makes `/dev/mapper/late` of `table`, which the next boot does not make by itself.
///
/// # Errors
///
/// When the guest does not.
pub fn map_late(vm: &mut Vm, table: &str) -> Result<()> {
    vm.run(&format!(
        "{DM} create late --table '{table}' && dmsetup mknodes"
    ))?;
    Ok(())
}

/// Adds the programs of the host that put devices together.
fn with_tools(vm: Vm) -> Result<Vm> {
    let tools = [
        "/sbin/dmsetup",
        "/sbin/losetup",
        "/sbin/mdadm",
        "/sbin/mke2fs",
        "/usr/bin/addpart",
        "/usr/sbin/make-bcache",
    ];
    tools.into_iter().try_fold(vm, with_program)
}

/// Runs `lines` as a script that ends at the first error.
fn run_all(vm: &mut Vm, lines: &str) -> Result<()> {
    vm.run(&format!(
        "set -e\nPATH=/sbin:/usr/sbin:/usr/bin:$PATH\n{lines}"
    ))?;
    Ok(())
}

/// Where `path` is refused as target, with `why`, and the swap module says the
/// same of it.
fn refuse(vm: &mut Vm, path: &str, why: &str) -> Result<()> {
    let command = format!("echo {path} > {FOLDER}/target");
    refused(vm, &command, "Invalid argument")?;
    let sentence = format!("target {path} cannot take an image: it is on {why}");
    expect_result(vm, -22, &[&sentence])?;
    ensure!(get(vm, "target")? == "auto", "the target changed");
    let areas = get(vm, "modules/swap/areas")?;
    let line = format!("{path} is on {why}");
    ensure!(
        areas.lines().any(|found| found.starts_with(&line)),
        "no '{line}' in\n{areas}"
    );
    Ok(())
}

/// Makes ext4 on `device`, and expects that no file there can be one for
/// images, because of `why`.
fn refuse_file(vm: &mut Vm, device: &str, why: &str) -> Result<()> {
    run_all(
        vm,
        &format!("mke2fs -q -F -b 4096 {device}\nmkdir -p /m\nmount -t ext4 {device} /m"),
    )?;
    let command = format!("echo /m/image 2M > {FOLDER}/modules/file/create");
    refused(vm, &command, "not supported")?;
    expect_result(vm, -95, &[&format!("file /m/image is on {why}")])?;
    vm.run("[ ! -e /m/image ] && umount /m")?;
    Ok(())
}

/// Hibernates to the first disk although all of `others` are active swap areas,
/// and resumes; the log says why they are left out.
fn all_but(vm: &mut Vm, others: &[(&str, &str)]) -> Result<()> {
    prepare(vm)?;
    there_and_back_on(vm, 0)?;
    let log = vm.log_of(0)?;
    for (path, why) in others {
        let line = format!("swap area {path} is left out: it is on {why}");
        ensure!(log.contains(&line), "the log has no '{line}'");
    }
    let areas = get(vm, "modules/swap/areas")?;
    ensure!(
        areas
            .lines()
            .any(|line| line == "/dev/vda can take an image"),
        "{areas}"
    );
    vm.assert_clean()
}

fn loop_below(lab: &Lab) -> Result<()> {
    let vm = lab.small().swap_disk("512M")?;
    let vm = vm.append("loop.max_loop=6");
    let mut vm = with_tools(vm)?;
    vm.boot()?;
    vm.run("swapon /dev/vda")?;
    for number in 0..6 {
        run_all(
            &mut vm,
            &format!("truncate -s 32M /d{number}\nlosetup /dev/loop{number} /d{number}"),
        )?;
    }
    run_all(
        &mut vm,
        &format!(
            "addpart /dev/loop0 1 2048 40000
             {DM} create line --table '0 40000 linear /dev/loop1 8'
             insmod /modules/raid1.ko
             mdadm --create /dev/md0 --run --metadata=1.0 --assume-clean --level=1 --raid-devices=2 /dev/loop2 /dev/loop3
             {DM} create over --table '0 40000 linear /dev/md0 8'
             addpart /dev/loop4 1 2048 40000"
        ),
    )?;
    let parts = [
        ("/dev/loop0p1", "a loop device (loop0), which stands still"),
        ("/dev/dm-0", "a loop device (loop1), which stands still"),
        ("/dev/dm-1", "a loop device (loop"),
        ("/dev/loop5", "a loop device (loop5), which stands still"),
    ];
    for (path, _) in parts {
        run_all(&mut vm, &format!("mkswap {path}\nswapon {path}"))?;
    }
    for (path, why) in parts {
        refuse(&mut vm, path, why)?;
    }
    refuse_file(
        &mut vm,
        "/dev/loop4p1",
        "a loop device (loop4), which stands still",
    )?;
    all_but(&mut vm, &parts)
}

fn mapping_changes(lab: &Lab) -> Result<()> {
    let mut vm = lab.small().swap_disk("512M")?;
    for _ in 0..4 {
        vm = vm.disk("32M")?;
    }
    let mut vm = with_tools(vm)?;
    vm.boot()?;
    vm.run("swapon /dev/vda")?;
    // Pool: dm-0 and dm-1 are metadata and data, dm-2 the pool, dm-3 and dm-4
    // its volumes; dm-5 and dm-6 are an origin and a snapshot of it.
    run_all(
        &mut vm,
        &format!(
            "{DM} create meta --table '0 8192 linear /dev/vdb 0'
             {DM} create data --table '0 57344 linear /dev/vdb 8192'
             {DM} create pool --table '0 57344 thin-pool /dev/dm-0 /dev/dm-1 128 0'
             {DM} message pool 0 'create_thin 0'
             {DM} message pool 0 'create_thin 1'
             {DM} create thin --table '0 40000 thin /dev/dm-2 0'
             {DM} create more --table '0 40000 thin /dev/dm-2 1'
             {DM} create origin --table '0 40000 snapshot-origin /dev/vdc'
             {DM} create snap --table '0 40000 snapshot /dev/vdc /dev/vdd P 8'
             make-bcache -B /dev/vde
             echo /dev/vde > /sys/fs/bcache/register
             until [ -b /dev/bcache0 ]; do usleep 50000; done"
        ),
    )?;
    let parts = [
        (
            "/dev/dm-3",
            "device-mapper target thin (dm-3), which may keep",
        ),
        (
            "/dev/dm-5",
            "device-mapper target snapshot-origin (dm-5), which may",
        ),
        (
            "/dev/dm-6",
            "device-mapper target snapshot (dm-6), which may keep",
        ),
        ("/dev/bcache0", "bcache (bcache0), which may keep"),
    ];
    for (path, _) in parts {
        run_all(&mut vm, &format!("mkswap {path}\nswapon {path}"))?;
    }
    for (path, why) in parts {
        refuse(&mut vm, path, why)?;
    }
    refuse_file(
        &mut vm,
        "/dev/dm-4",
        "device-mapper target thin (dm-4), which may",
    )?;
    all_but(&mut vm, &parts)
}

/// Puts the devices of [`on_stack`] together, in every boot.
const STACK: &str = "#!/bin/sh
export PATH=/sbin:/usr/sbin:/bin:/usr/bin
insmod /modules/md-mod.ko
insmod /modules/raid1.ko
mdadm --build /dev/md0 --assume-clean --level=1 --raid-devices=2 /dev/vda /dev/vdb
dmsetup --noudevsync --noudevrules create line --table '0 1000000 linear /dev/md0 4096'
dmsetup --noudevsync --noudevrules create secret --table \"0 1000000 crypt aes-xts-plain64 \
    0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef 0 /dev/dm-0 0\"
";

fn on_stack(lab: &Lab) -> Result<()> {
    let vm = lab.vm().mem(SMALL_MIB).disk("512M")?.disk("512M")?;
    let vm = with_tools(vm)?;
    let mut vm = vm.file("/etc/early", 0o755, STACK);
    vm.boot()?;
    vm.run("mkswap /dev/dm-1 && swapon /dev/dm-1")?;
    let areas = get(&mut vm, "modules/swap/areas")?;
    ensure!(areas == "/dev/dm-1 can take an image", "{areas}");
    let number = vm.run("cat /sys/block/dm-1/dev")?;
    vm.set_append(&format!("dm.resume={}", number.trim()));
    prepare(&mut vm)?;
    set(&mut vm, "target", "/dev/dm-1")?;
    for _ in 0..2 {
        vm.hibernate()?;
        // The same ciphertext on both disks, where the mark is.
        let mut marks = Vec::new();
        for disk in [0, 1] {
            marks.push(vm.get_disk(disk)?.read((2 << 20) + 4086, 10)?);
        }
        ensure!(marks[0] == marks[1], "the disks differ: {marks:?}");
        ensure!(
            marks[0] != b"LINHIB0001" && marks[0] != [0; 10],
            "no ciphertext but {marks:?}"
        );
        resume(&mut vm)?;
    }
    vm.assert_clean()
}
