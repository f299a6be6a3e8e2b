// SPDX-License-Identifier: GPL-2.0

//! Filesystems of the saved system that somebody else had mounted.

use anyhow::{ensure, Result};
use dormouse_vm::Vm;

use crate::files::{host, OTHER_NAMES};
use crate::steps::{
    boot_fresh, expect_result, expect_type, get, prepare, refused, resume, set, there_and_back,
    FIRST_DISK, FOLDER,
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
        "mounted-since-btrfs",
        "the same with btrfs, and with a filesystem on a loop device, which holds up nothing",
        btrfs,
    ),
];

const MOUNT: &str = "mkdir -p /mnt && mount -t ext4 /dev/vdb /mnt";

/// A machine whose second disk is a mounted filesystem, ready to hibernate.
fn ready(lab: &Lab) -> Result<Vm> {
    let vm = lab.small().swap_disk("512M")?.disk("64M")?;
    let mut vm = vm.file("/etc/early", 0o755, OTHER_NAMES);
    vm.get_disk(1)?.mkfs()?;
    vm.boot()?;
    vm.run(&format!("{MOUNT} && echo before > /mnt/note"))?;
    vm.run("swapon /dev/vda")?;
    prepare(&mut vm)?;
    Ok(vm)
}

fn mounted_since(lab: &Lab) -> Result<()> {
    let mut vm = ready(lab)?;
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
