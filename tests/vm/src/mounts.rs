// SPDX-License-Identifier: GPL-2.0

//! Filesystems of the saved system that somebody else had mounted.

use std::time::{Duration, Instant};

use anyhow::{ensure, Result};
use dormouse_vm::Vm;

use crate::files::{host, OTHER_NAMES};
use crate::image;
use crate::power::resume_by;
use crate::stacks::map_late;
use crate::stalls::Brake;
use crate::steps::{
    boot_fresh, expect_result, expect_type, get, prepare, refused, resume, set, there_and_back,
    with_program, FIRST_DISK, FOLDER, SMALL_MIB,
};
use crate::{Lab, Scenario};

/// The scenarios of this file.
pub const SCENARIOS: &[Scenario] = &[
    Scenario::new(
        "mounted-since",
        "an image in swap space is refused and kept once a filesystem of its system was mounted",
        mounted_since,
    ),
    Scenario::new(
        "passed-by",
        "after a boot went on without an image, one with a filesystem that is not seen needs a retry by hand",
        passed_by,
    ),
    Scenario::new(
        "passed-by-member",
        "a boot that does not find an area with a part of the image notes that it went on without it",
        passed_by_member,
    ),
    Scenario::new(
        "mounted-many",
        "filesystems in many files keep none on a disk from being looked at",
        many,
    ),
    Scenario::new(
        "mounted-twice",
        "of two copies of a filesystem one was mounted since: the image waits for a retry by hand",
        twice,
    ),
    Scenario::new(
        "mounted-silent",
        "a disk that says nothing is waited for once, however many filesystems are looked for",
        silent,
    ),
    Scenario::new(
        "mounted-since-btrfs",
        "the same with btrfs, and with a filesystem on a loop device, which holds up nothing",
        btrfs,
    ),
];

/// Takes the second disk away from a boot with `dm.without_vdb`.
const WITHOUT: &str = "#!/bin/sh
grep -q dm.without_vdb /proc/cmdline || exit 0
basename $(readlink /sys/block/vdb/device) > /sys/bus/virtio/drivers/virtio_blk/unbind
";

const MOUNT: &str = "mkdir -p /mnt && mount -t ext4 /dev/vdb /mnt";

/// A machine whose second disk is a mounted filesystem, ready to hibernate, with
/// a script that runs early in a boot.
fn ready(lab: &Lab, early: &str) -> Result<Vm> {
    let vm = lab.small().swap_disk("512M")?.disk("64M")?;
    let mut vm = vm.file("/etc/early", 0o755, early);
    vm.get_disk(1)?.mkfs()?;
    vm.boot()?;
    vm.run(&format!("{MOUNT} && echo before > /mnt/note"))?;
    vm.run("swapon /dev/vda")?;
    prepare(&mut vm)?;
    Ok(vm)
}

fn mounted_since(lab: &Lab) -> Result<()> {
    let mut vm = ready(lab, OTHER_NAMES)?;
    // As long as nobody touches it, other boots and other names do no harm:
    // there the swap space is on vdb.
    vm.hibernate()?;
    vm.set_append("");
    boot_fresh(&mut vm)?;
    vm.power_off()?;
    vm.set_append("resume=/dev/vdb dm.resume=1 dm.other_names");
    resume(&mut vm)?;
    vm.run("grep -q before /mnt/note && echo after >> /mnt/note")?;

    vm.hibernate()?;
    vm.set_append("");
    boot_fresh(&mut vm)?;
    vm.run(MOUNT)?;
    // Now, while it is mounted, and ever after.
    let ask = format!("echo /dev/vda > {FOLDER}/resume");
    refused(&mut vm, &ask, "Stale file handle")?;
    vm.run("echo other > /mnt/other && umount /mnt")?;
    vm.power_off()?;
    vm.set_append(FIRST_DISK);
    boot_fresh(&mut vm)?;
    let parts = [
        "the filesystem on vdb (UUID ",
        ") was mounted since the image was saved",
        "write \"erase\" to",
    ];
    expect_result(&mut vm, -116, &parts)?;
    expect_type(&vm, 0, "swsuspend")?;
    ensure!(
        get(&mut vm, "image")?.starts_with("state: committed"),
        "the image was not kept"
    );
    set(&mut vm, "image", "erase")?;
    expect_type(&vm, 0, "swap")?;
    vm.run(&format!(
        "{MOUNT} && grep -q other /mnt/other && umount /mnt"
    ))?;
    vm.assert_clean()
}

fn many(lab: &Lab) -> Result<()> {
    let vm = lab.small().swap_disk("512M")?.disk("64M")?;
    let mut vm = with_program(vm, "/sbin/dmsetup")?;
    vm.get_disk(1)?.mkfs()?;
    vm.boot()?;
    // More than an image can describe, and all of them older than that on the disk.
    vm.run(
        "mkdir /files && dd if=/dev/zero of=/files/disk bs=64k count=4 2> /dev/null && \
         mke2fs -q /files/disk && n=0; while [ $n -lt 66 ]; do n=$((n + 1)); \
         mkdir /files/$n && mount -o ro,loop -t ext4 /files/disk /files/$n || exit 1; done",
    )?;
    map_late(&mut vm, "0 131072 linear /dev/vdb 0")?;
    vm.run("mkdir /mnt && mount -t ext4 /dev/mapper/late /mnt && echo a > /mnt/note")?;
    vm.run("swapon /dev/vda")?;
    prepare(&mut vm)?;
    vm.hibernate()?;
    vm.set_append("");
    boot_fresh(&mut vm)?;
    vm.run(&format!("{MOUNT} && echo b > /mnt/note && umount /mnt"))?;
    let ask = format!("echo /dev/vda > {FOLDER}/resume");
    refused(&mut vm, &ask, "Stale file handle")?;
    expect_result(&mut vm, -116, &["was mounted since the image was saved"])?;
    vm.assert_clean()
}

fn twice(lab: &Lab) -> Result<()> {
    // Neither of the copies is where the filesystem was.
    let early = "#!/bin/sh\ngrep -q dm.move /proc/cmdline || exit 0\n\
        basename $(readlink /sys/block/vdb/device) > /sys/bus/virtio/drivers/virtio_blk/unbind\n";
    let vm = lab.small().swap_disk("512M")?.disk("64M")?;
    let mut vm = vm
        .disk("64M")?
        .disk("64M")?
        .file("/etc/early", 0o755, early);
    vm.get_disk(1)?.mkfs()?;
    vm.boot()?;
    vm.run(&format!("{MOUNT} && echo before > /mnt/note"))?;
    vm.run("swapon /dev/vda")?;
    prepare(&mut vm)?;
    vm.hibernate()?;
    let saved = vm.get_disk(1)?.read(0, 64 << 20)?;
    vm.get_disk(2)?.write(0, &saved)?;
    vm.set_append("");
    boot_fresh(&mut vm)?;
    vm.run(&format!("{MOUNT} && echo after > /mnt/note && umount /mnt"))?;
    vm.power_off()?;
    // The one that was used since is where the filesystem was.
    vm.set_append(FIRST_DISK);
    boot_fresh(&mut vm)?;
    let parts = ["is there twice: as it was on vdc, and mounted since on vdb"];
    expect_result(&mut vm, -114, &parts)?;
    vm.power_off()?;
    let used = vm.get_disk(1)?.read(0, 64 << 20)?;
    vm.get_disk(3)?.write(0, &used)?;
    vm.set_append(&format!("{FIRST_DISK} dm.move"));
    boot_fresh(&mut vm)?;
    let parts = [
        "is there twice: as it was on vdc, and mounted since on vdd",
        "write \"retry\" to",
    ];
    expect_result(&mut vm, -114, &parts)?;
    expect_type(&vm, 0, "swsuspend")?;
    vm.assert_clean()
}

/// How long a disk that says nothing is waited for.
const SILENCE: Duration = Duration::from_secs(20);

fn silent(lab: &Lab) -> Result<()> {
    let vm = lab.small().swap_disk("512M")?.disk("16M")?.disk("16M")?;
    let mut vm = with_program(vm, "/sbin/dmsetup")?;
    (1..3).try_for_each(|number| vm.get_disk(number)?.mkfs())?;
    vm.boot()?;
    // The next boot does not have the second device, and looks everywhere.
    map_late(&mut vm, "0 32768 linear /dev/vdc 0")?;
    vm.run("mkdir /b /c && mount -t ext4 /dev/vdb /b && mount -t ext4 /dev/mapper/late /c")?;
    vm.run("swapon /dev/vda")?;
    prepare(&mut vm)?;
    vm.hibernate()?;
    vm.set_append("");
    boot_fresh(&mut vm)?;
    let disk = Brake::Disk(1);
    disk.stop(&mut vm)?;
    let begin = Instant::now();
    let ask = format!("echo /dev/vda > {FOLDER}/resume");
    refused(&mut vm, &ask, "Operation already in progress")?;
    let took = begin.elapsed();
    let parts = ["vdb cannot be read, so whether its filesystem with UUID "];
    expect_result(&mut vm, -114, &parts)?;
    ensure!(
        took > SILENCE && took < SILENCE * 2,
        "the boot was held up for {took:?}"
    );
    disk.go_on(&mut vm)?;
    vm.power_off()?;
    vm.set_append(FIRST_DISK);
    resume(&mut vm)?;
    vm.assert_clean()
}

/// Hibernates, and lets a boot with less memory refuse the image. Leaves the machine off.
///
/// # Errors
///
/// When it is not refused, or something else fails.
pub fn pass(mut vm: Vm) -> Result<Vm> {
    vm.hibernate()?;
    let mut vm = vm.mem(SMALL_MIB - 32);
    vm.set_append(FIRST_DISK);
    boot_fresh(&mut vm)?;
    expect_result(&mut vm, -116, &["and now there are ", "it is kept"])?;
    let image = get(&mut vm, "image")?;
    ensure!(image.contains(PASSED), "the image is {image}");
    vm.power_off()?;
    Ok(vm.mem(SMALL_MIB))
}

const PASSED: &str = "passed: a boot went on without it";

fn passed_by(lab: &Lab) -> Result<()> {
    let without = format!("{FIRST_DISK} dm.without_vdb");
    let mut vm = ready(lab, WITHOUT)?;
    // While nothing else has run, a filesystem that is not there is no obstacle.
    vm.hibernate()?;
    vm.set_append(&without);
    resume(&mut vm)?;
    vm.run("grep -q before /mnt/note && echo after >> /mnt/note && sync")?;

    let mut vm = pass(vm)?;
    vm.set_append(&without);
    boot_fresh(&mut vm)?;
    let parts = [
        "a boot went on without this image, and the filesystem with UUID ",
        "that was on vdb cannot be seen now",
        "write \"retry\" to",
    ];
    expect_result(&mut vm, -114, &parts)?;
    expect_type(&vm, 0, "swsuspend")?;
    let info = vm.run("dormouse image info /dev/vda")?;
    ensure!(
        info.contains("passed          a boot went on without it"),
        "{info}"
    );
    resume_by(&mut vm, "retry")?;

    // One that is seen, and is as it was, needs nobody.
    let mut vm = pass(vm)?;
    resume(&mut vm)?;

    // A boot that refuses and looks again itself may have had the wrong key.
    vm.hibernate()?;
    vm.set_append("dm.without_vdb");
    boot_fresh(&mut vm)?;
    set(&mut vm, "encryptor", "aes-gcm")?;
    let ask = format!("echo /dev/vda > {FOLDER}/resume");
    refused(&mut vm, &ask, "Operation not permitted")?;
    set(&mut vm, "encryptor", "none")?;
    resume_by(&mut vm, "/dev/vda")?;
    vm.assert_clean()
}

fn passed_by_member(lab: &Lab) -> Result<()> {
    let vm = lab.small().swap_disk("256M")?.swap_disk("256M")?;
    // The swapon of busybox knows no priorities.
    let vm = with_program(vm, "/sbin/swapon")?;
    let mut vm = vm.file("/etc/early", 0o755, WITHOUT);
    vm.boot()?;
    vm.run("/sbin/swapon -p 5 /dev/vda && /sbin/swapon -p 5 /dev/vdb")?;
    prepare(&mut vm)?;
    vm.hibernate()?;
    vm.set_append(&format!("{FIRST_DISK} dm.without_vdb"));
    boot_fresh(&mut vm)?;
    let parts = ["which holds a part of the image, is not there"];
    expect_result(&mut vm, -6, &parts)?;
    vm.power_off()?;
    let superblock = image::superblock(vm.get_disk(0)?)?;
    let passed = superblock.is_some_and(|sb| sb.passed_by != 0);
    ensure!(passed, "it is not noted that a boot went on without it");
    // The parts are all there, and no filesystem is unseen.
    vm.set_append(FIRST_DISK);
    resume(&mut vm)?;
    vm.assert_clean()
}

fn btrfs(lab: &Lab) -> Result<()> {
    const MOUNT: &str = "mkdir -p /mnt && mount -t btrfs /dev/vdb /mnt";
    let mut vm = lab.small().swap_disk("512M")?.disk("200M")?;
    host("/sbin/mkfs.btrfs", &["-q", "-f"], &vm, 1)?;
    vm.boot()?;
    vm.run(&format!("{MOUNT} && swapon /dev/vda"))?;
    // Nobody serves it while kernel threads are frozen.
    vm.run(
        "dd if=/dev/zero of=/mnt/disk bs=1M count=8 2> /dev/null && losetup /dev/loop0 /mnt/disk",
    )?;
    vm.run("mke2fs -q -b 4096 /dev/loop0 && mkdir /loop && mount -t ext4 /dev/loop0 /loop")?;
    prepare(&mut vm)?;
    there_and_back(&mut vm)?;
    vm.run("echo after > /loop/note && sync")?;

    vm.hibernate()?;
    vm.set_append("");
    boot_fresh(&mut vm)?;
    vm.run(&format!(
        "{MOUNT} && echo other > /mnt/other && umount /mnt"
    ))?;
    vm.power_off()?;
    vm.set_append(FIRST_DISK);
    boot_fresh(&mut vm)?;
    let parts = [
        "the filesystem on vdb (UUID ",
        ") was mounted since the image was saved",
    ];
    expect_result(&mut vm, -116, &parts)?;
    vm.assert_clean()
}
