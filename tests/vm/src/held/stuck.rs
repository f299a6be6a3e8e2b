// SPDX-License-Identifier: GPL-2.0

//! Filesystems whose disks do not answer, or slowly, when they are frozen or
//! thawed.

use std::time::{Duration, Instant};

use anyhow::{ensure, Context, Result};
use dormouse_vm::Vm;

use super::{busy, busy_on, clean, given_up, write_to_all, SNAPSHOT};
use crate::stacks::map_late;
use crate::steps::{expect_result, set, there_and_back, with_program, FOLDER};
use crate::{aborts, Lab};

/// How long a step may take.
const LONG: Duration = Duration::from_secs(90);
/// Longer than the kernel waits for a filesystem, and for another one to thaw.
const HUNG: &str = "timeout 20";

/// Hibernates, and stops `disks` when user tasks are frozen: the kernel's sync is
/// over, tasks wrote after it, and ours has not begun.
fn stop_before_the_freeze(vm: &mut Vm, disks: &[usize]) -> Result<u64> {
    let from = vm.log()?.len();
    let seq = vm.send("echo disk > /sys/power/state")?;
    let frozen = "Freezing user space processes completed";
    vm.log()?.wait_for(frozen, from, LONG)?;
    for &disk in disks {
        vm.qmp()?.stop_disk(disk)?;
    }
    Ok(seq)
}

/// Waits for the end of a save that fails because `name` does not come to rest.
fn refused(vm: &mut Vm, seq: u64, name: &str) -> Result<()> {
    given_up(vm, seq)?;
    expect_result(vm, -110, &[&format!("{name} does not come to rest")])?;
    Ok(())
}

pub fn stuck(lab: &Lab) -> Result<()> {
    let mut vm = busy(lab)?;
    write_to_all(&mut vm)?;
    let seq = stop_before_the_freeze(&mut vm, &[1])?;
    refused(&mut vm, seq, "the ext4 filesystem on vdb")?;
    // What is not stuck works at once, and the rest when the disk does.
    vm.run("echo more > /xfs/more && echo more > /btrfs/more && guest work verify")?;
    vm.qmp()?.throttle(1, 0)?;
    vm.run("echo more > /ext4/more && sync")?;
    there_and_back(&mut vm)?;
    vm.assert_clean()
}

/// The thread that writes dirty pages in the background holds a lock of the filesystem
/// meanwhile, and the freeze waits for that lock first.
pub fn written(lab: &Lab) -> Result<()> {
    let mut vm = busy(lab)?;
    vm.run(
        "cd /proc/sys/vm && echo 1 > dirty_expire_centisecs && echo 1 > dirty_writeback_centisecs",
    )?;
    // With room for a few small requests it waits in the middle of a file.
    vm.run("cd /sys/block/vdb/queue && echo 4 > max_sectors_kb && echo 4 > nr_requests")?;
    vm.run("writer /ext4 over > /dev/null 2>&1 < /dev/null &")?;
    vm.run("sleep 1")?;
    let seq = stop_before_the_freeze(&mut vm, &[1])?;
    refused(&mut vm, seq, "the ext4 filesystem on vdb")?;
    vm.qmp()?.throttle(1, 0)?;
    vm.run("killall writer; sleep 1; rm /ext4/big; sync")?;
    there_and_back(&mut vm)?;
    vm.assert_clean()
}

pub fn late(lab: &Lab) -> Result<()> {
    let mut vm = busy(lab)?;
    // An ext4 writes whenever it is frozen.
    vm.run("mkdir /new && mke2fs -q /dev/vde && mount -t ext4 /dev/vde /new")?;
    write_to_all(&mut vm)?;
    // The newest and the oldest: what is between them is frozen after the one and
    // before the other.
    let seq = stop_before_the_freeze(&mut vm, &[4, 1])?;
    refused(&mut vm, seq, "the ext4 filesystem on vde")?;
    vm.qmp()?.throttle(4, 0)?;
    vm.run("echo more > /new/more && sync -f /new/more")?;
    std::thread::sleep(Duration::from_secs(2));
    vm.run(&format!("{HUNG} sh -c 'echo more > /xfs/more'"))
        .context("the xfs was frozen, and nobody thaws it")?;
    // With the oldest still stuck.
    vm.run("killall writer; sleep 1; umount /xfs")?;
    clean(&vm, "xfs", 2)?;
    vm.qmp()?.throttle(1, 0)?;
    vm.run("mount -t xfs /dev/vdc /xfs && echo more > /ext4/more && sync")?;
    there_and_back(&mut vm)?;
    vm.assert_clean()
}

/// Suspends the device of a filesystem when the image is written, and syncs the filesystem. The
/// sync has a lock of it from then on. For a task that is kept running.
const SYNCER: &str = "#!/bin/sh
until read -r now < /sys/power/hibernate/state && [ \"$now\" = write ]; do :; done
dmsetup --noudevsync suspend --nolockfs late
sync -f /synced/file
";

pub fn synced(lab: &Lab) -> Result<()> {
    let vm = lab.small().file("/bin/syncer", 0o755, SYNCER);
    let mut vm = busy_on(with_program(vm, "/sbin/dmsetup")?)?;
    set(&mut vm, "io_timeout", "6")?;
    map_late(&mut vm, "0 32768 linear /dev/vde 0")?;
    vm.run(
        "mkdir /synced && mke2fs -q /dev/mapper/late && \
         mount -t ext4 /dev/mapper/late /synced && echo a > /synced/file",
    )?;
    // It is thawed after that.
    vm.run("umount /xfs && mount -t xfs /dev/vdc /xfs && sync")?;
    vm.run(&format!(
        "syncer > /dev/null 2>&1 < /dev/null & echo $! > {FOLDER}/keep_running"
    ))?;
    let begin = Instant::now();
    let seq = vm.send("echo disk > /sys/power/state")?;
    given_up(&mut vm, seq)?;
    expect_result(
        &mut vm,
        -110,
        &["which has a mounted filesystem, does not answer"],
    )?;
    let took = begin.elapsed();
    ensure!(took < LONG / 2, "it came back after {} s", took.as_secs());
    vm.run(&format!("{HUNG} sh -c 'echo more > /xfs/more'"))
        .context("another filesystem is frozen")?;
    ensure!(
        vm.log()?
            .contains("the ext4 filesystem on dm-0 is still frozen"),
        "the log does not say which filesystem is frozen"
    );
    vm.run("dmsetup --noudevsync resume late && echo more > /synced/more && sync")?;
    set(&mut vm, "keep_running", "")?;
    there_and_back(&mut vm)?;
    vm.assert_clean()
}

pub fn thaw(lab: &Lab) -> Result<()> {
    let mut vm = busy_on(aborts::watched(lab.small()))?;
    write_to_all(&mut vm)?;
    aborts::watch(&mut vm, "write", "abort")?;
    let from = vm.log()?.len();
    let seq = vm.send("echo disk > /sys/power/state")?;
    vm.log()?.wait_for(SNAPSHOT, from, LONG)?;
    vm.qmp()?.stop_disk(1)?;
    let begin = Instant::now();
    given_up(&mut vm, seq)?;
    let took = begin.elapsed();
    ensure!(
        took < Duration::from_secs(25),
        "it came back after {} s",
        took.as_secs()
    );
    ensure!(
        vm.log()?
            .contains("the ext4 filesystem on vdb is still frozen, as its device does not answer"),
        "the log does not say which filesystem is frozen"
    );
    vm.run(&format!(
        "{HUNG} sh -c 'echo more > /xfs/more && echo more > /btrfs/more'"
    ))
    .context("another filesystem is frozen")?;
    // A save in between would meddle with that.
    let refusal = vm.try_run("echo disk > /sys/power/state")?;
    ensure!(refusal.code != 0, "another save began");
    expect_result(
        &mut vm,
        -16,
        &["the last attempt still waits for the ext4 filesystem on vdb"],
    )?;
    vm.qmp()?.throttle(1, 0)?;
    vm.run("echo more > /ext4/more && sync")?;
    set(&mut vm, "keep_running", "")?;
    there_and_back(&mut vm)?;
    vm.assert_clean()
}
