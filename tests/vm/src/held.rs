// SPDX-License-Identifier: GPL-2.0

//! Filesystems that hold still while an image is written, and the meter that
//! proves it.

use std::collections::hash_map::DefaultHasher;
use std::hash::Hasher;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{bail, ensure, Context, Result};
use dormouse_host::image::superblock::State;
use dormouse_vm::agent::Progress;
use dormouse_vm::{Disk, Hibernated, Output, Vm};

use crate::files::host;
use crate::stalls::Brake;
use crate::steps::{
    expect_result, expect_type, prepare, resume, set, there_and_back, with_program,
};
use crate::{image, Lab, Scenario};

mod behind;
mod stuck;

/// The scenarios of this file.
pub const SCENARIOS: &[Scenario] = &[
    Scenario::new(
        "held-still",
        "ext4, xfs and btrfs written to until the freeze: not a byte of their disks changes while the image is written",
        still,
    ),
    Scenario::new(
        "held-off",
        "without freezing, what the kernel writes behind the image is seen, and the image given up",
        off,
    ),
    Scenario::new(
        "held-discards",
        "what an ext4 discards in the background is over before the snapshot",
        discards,
    ),
    Scenario::new(
        "held-others",
        "filesystems that are stacked, in a file, without a freeze of their own, or frozen by others",
        others,
    ),
    Scenario::new(
        "held-stuck",
        "a filesystem whose disk stands still is named, and the machine goes on",
        stuck::stuck,
    ),
    Scenario::new(
        "held-written",
        "the kernel writes to the disk that stands still already: its filesystem is named all the same",
        stuck::written,
    ),
    Scenario::new(
        "held-late",
        "a freeze that was given up freezes nothing more; what is unmounted meanwhile is shut down",
        stuck::late,
    ),
    Scenario::new(
        "held-thaw",
        "a filesystem whose disk does not answer when it is thawed holds up no other",
        stuck::thaw,
    ),
    Scenario::new(
        "held-synced",
        "who syncs a filesystem whose disk stands still keeps no other from being thawed",
        stuck::synced,
    ),
    Scenario::new(
        "held-raw",
        "what a task wrote to the disk of a filesystem is written before the snapshot",
        raw,
    ),
    Scenario::new(
        "held-stuck-both",
        "the disk of the image stands still as well when the freeze fails: all memory comes back",
        both_stuck,
    ),
    Scenario::new(
        "written-behind",
        "a kept process that writes to the disk of a filesystem: the image is given up, and both are named",
        behind::behind,
    ),
];

/// What the log says at the snapshot, when no device works.
const SNAPSHOT: &str = "snapshot: copying pages";

/// Filesystems on the second to fourth disk.
const FILESYSTEMS: [&str; 3] = ["ext4", "xfs", "btrfs"];

/// Writes to a folder until it is killed, with what makes the threads of a
/// filesystem work: data that is not written yet, files that are renamed and
/// removed, and on btrfs snapshots that are deleted. With `over` it writes the
/// same file over and over.
const WRITER: &str = r#"#!/bin/sh
cd $1 || exit 1
while [ "$2" = over ]; do
	dd if=/dev/zero of=big bs=64k count=256 conv=notrunc 2> /dev/null
done
mkdir -p many
[ $1 = /btrfs ] && btrfs -q subvolume create live
n=0
while :; do
	n=$((n + 1))
	dd if=/dev/zero bs=64k count=8 2> /dev/null | tr '\0' "$((n % 10))" > new
	mv new many/$((n % 40))
	rm -f many/$(((n + 20) % 40))
	echo $n >> count
	if [ -d live ]; then
		cp many/$((n % 40)) live/$((n % 7))
		btrfs -q subvolume snapshot live snap$n
		btrfs -q subvolume delete snap$n
	fi
	usleep 20000
done
"#;

/// What is on a disk, block by block.
fn blocks(disk: &Disk) -> Result<Vec<u64>> {
    const STEP: usize = 1 << 20;
    let size = disk.size()?;
    let mut found = Vec::new();
    for at in (0..size).step_by(STEP) {
        let length = STEP.min(usize::try_from(size - at)?);
        for block in disk.read(at, length)?.chunks(4096) {
            let mut hasher = DefaultHasher::new();
            hasher.write(block);
            found.push(hasher.finish());
        }
    }
    Ok(found)
}

/// A machine with swap space and three filesystems, which are written to.
///
/// # Errors
///
/// When a program of the host is missing, or something fails.
pub fn busy(lab: &Lab) -> Result<Vm> {
    busy_on(lab.small())
}

/// The same with `vm`, which has no disk yet.
fn busy_on(vm: Vm) -> Result<Vm> {
    let vm = vm.swap_disk("512M")?;
    let vm = vm.disk("128M")?.disk("400M")?.disk("256M")?.disk("16M")?;
    let vm = with_program(vm, "/bin/btrfs")?;
    let mut vm = vm.file("/bin/writer", 0o755, WRITER);
    vm.get_disk(1)?.mkfs()?;
    host("/sbin/mkfs.xfs", &["-q", "-f"], &vm, 2)?;
    host("/sbin/mkfs.btrfs", &["-q", "-f"], &vm, 3)?;
    host("/sbin/mkfs.vfat", &[], &vm, 4)?;
    vm.boot()?;
    vm.run("swapon /dev/vda")?;
    for (fs, disk) in FILESYSTEMS.iter().zip(["vdb", "vdc", "vdd"]) {
        // Its transactions end in the middle of a save.
        let options = if *fs == "btrfs" { "-o commit=1" } else { "" };
        vm.run(&format!(
            "mkdir /{fs} && mount -t {fs} {options} /dev/{disk} /{fs}"
        ))?;
    }
    prepare(&mut vm)?;
    Ok(vm)
}

/// Waits until `condition` is true in the guest.
fn until(vm: &mut Vm, condition: &str) -> Result<()> {
    vm.run(&format!(
        "n=0; until {condition}; do sleep 1; n=$((n + 1)); test $n -lt 60 || exit 1; done"
    ))?;
    Ok(())
}

/// Starts to write to all of them.
///
/// # Errors
///
/// When the guest refuses.
pub fn write_to_all(vm: &mut Vm) -> Result<()> {
    for fs in FILESYSTEMS {
        vm.run(&format!("writer /{fs} > /{fs}.log 2>&1 < /dev/null &"))?;
    }
    for fs in FILESYSTEMS {
        until(vm, &format!("test $(wc -l < /{fs}/count) -gt 2"))?;
    }
    Ok(())
}

/// Hibernates with the writer's disk so slow that the save lasts at least
/// `least`, and compares the disks at the snapshot with those at power-off.
///
/// # Errors
///
/// When a disk has changed, a filesystem is not clean, or something fails.
pub fn compared(vm: &mut Vm, least: Duration) -> Result<()> {
    let from = vm.log()?.len();
    vm.send("echo disk > /sys/power/state")?;
    vm.log()?
        .wait_for(SNAPSHOT, from, Duration::from_secs(120))?;
    // Nothing is written while the disks are read.
    vm.qmp()?.pause()?;
    let before: Result<Vec<_>> = (1..=3).map(|n| blocks(vm.get_disk(n)?)).collect();
    let before = before?;
    vm.qmp()?.throttle(0, 200_000)?;
    vm.qmp()?.go_on()?;
    let start = Instant::now();
    while start.elapsed() < least {
        ensure!(vm.is_running(), "the machine went off too soon");
        std::thread::sleep(Duration::from_millis(200));
    }
    vm.qmp()?.throttle(0, 0)?;
    vm.finish(Duration::from_secs(180))?;
    for (number, (fs, before)) in (1..=3).zip(FILESYSTEMS.iter().zip(before)) {
        let after = blocks(vm.get_disk(number)?)?;
        let changed = before.iter().zip(&after).filter(|(a, b)| a != b).count();
        ensure!(
            changed == 0,
            "{changed} blocks of the {fs} changed after the snapshot"
        );
        clean(vm, fs, number)?;
    }
    expect_type(vm, 0, "swsuspend")
}

/// Checks that the filesystem on disk `number` needs no repair, nor a replay of
/// its journal.
fn clean(vm: &Vm, fs: &str, number: usize) -> Result<()> {
    match fs {
        "ext4" => {
            host("/sbin/e2fsck", &["-f", "-n"], vm, number)?;
            let flags = vm.get_disk(number)?.read(1024 + 96, 4)?;
            ensure!(flags[0] & 4 == 0, "the journal of the ext4 is not empty");
            Ok(())
        }
        "xfs" => sound_xfs(vm.get_disk(number)?),
        "btrfs" => host("/bin/btrfs", &["check", "--readonly"], vm, number),
        _ => bail!("no filesystem {fs}"),
    }
}

/// Checks that the xfs on `disk` needs no repair. A frozen one, unlike a mounted
/// one that is cut off, has all metadata in its place; but it keeps a record in
/// the log on purpose, and the counters in the superblock are made anew at the
/// next mount.
fn sound_xfs(disk: &Disk) -> Result<()> {
    let output = Command::new("/sbin/xfs_repair")
        .args(["-n", "-f"])
        .arg(disk.path())
        .output()
        .context("cannot run xfs_repair")?;
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    let counters = ["sb_fdblocks ", "sb_ifree ", "sb_icount "];
    let fault = |line: &&str| {
        let words = ["bad ", "would ", "corrupt", "disconnected inode ", "error"];
        !counters.iter().any(|name| line.starts_with(name))
            && words.iter().any(|word| line.contains(word))
    };
    ensure!(
        said.contains("traversal finished"),
        "xfs_repair gave up: {said}"
    );
    match said.lines().find(fault) {
        Some(line) => bail!("xfs_repair says: {line}"),
        None => Ok(()),
    }
}

/// Deletes half of many small files, which are discarded one by one, and hibernates right after.
const DISCARD: &str = "\
rm /held/*[02468] && echo disk > /sys/power/state";

/// Discards that a filesystem does in the background are over before the snapshot.
fn discards(lab: &Lab) -> Result<()> {
    let vm = lab.small().swap_disk("512M")?.disk("256M")?;
    vm.get_disk(1)?.mkfs()?;
    let mut vm = vm;
    vm.boot()?;
    vm.run("swapon /dev/vda && mkdir /held && mount -t ext4 -o discard /dev/vdb /held")?;
    vm.run("n=0; while test $n -lt 8000; do echo $n > /held/$n; n=$((n + 1)); done; sync")?;
    prepare(&mut vm)?;
    match vm.hibernate_by(DISCARD)? {
        Hibernated::PoweredOff => {}
        other => bail!("the save ended in {other:?}"),
    }
    host("/sbin/e2fsck", &["-f", "-n"], &vm, 1)?;
    resume(&mut vm)?;
    vm.run("test $(ls /held | wc -l) -gt 4000 && umount /held")?;
    host("/sbin/e2fsck", &["-f", "-n"], &vm, 1)?;
    vm.assert_clean()
}

fn still(lab: &Lab) -> Result<()> {
    let mut vm = busy(lab)?;
    write_to_all(&mut vm)?;
    compared(&mut vm, Duration::from_secs(8))?;
    resume(&mut vm)?;
    finish(&mut vm)
}

/// The writers go on where they were, and leave filesystems that are sound.
///
/// # Errors
///
/// When they do not.
pub fn finish(vm: &mut Vm) -> Result<()> {
    for fs in FILESYSTEMS {
        let before = vm.run(&format!("wc -l < /{fs}/count"))?;
        let more = format!("test $(wc -l < /{fs}/count) -gt {}", before.trim());
        until(vm, &more)?;
        vm.run(&format!("test ! -s /{fs}.log || ! cat /{fs}.log"))?;
    }
    vm.run("killall writer; sleep 1; umount /ext4 /xfs /btrfs")?;
    vm.power_off()?;
    for (fs, number) in FILESYSTEMS.iter().zip(1..) {
        clean(vm, fs, number)?;
    }
    vm.assert_clean()
}

/// Saves slowly; what the command says that was refused, or nothing when the machine
/// went off.
fn written_behind(vm: &mut Vm) -> Result<Option<Output>> {
    let from = vm.log()?.len();
    let seq = vm.send("echo disk > /sys/power/state")?;
    vm.log()?
        .wait_for(SNAPSHOT, from, Duration::from_secs(120))?;
    vm.qmp()?.throttle(0, 200_000)?;
    std::thread::sleep(Duration::from_secs(14));
    if vm.is_running() {
        vm.qmp()?.throttle(0, 0)?;
    }
    match vm.wait(seq, Duration::from_secs(180), |_| {})? {
        Progress::Done(output) => Ok(Some(output)),
        Progress::Gone => Ok(None),
        other => bail!("the save ended in {other:?}"),
    }
}

fn off(lab: &Lab) -> Result<()> {
    let mut vm = busy(lab)?;
    set(&mut vm, "freeze_filesystems", "0")?;
    write_to_all(&mut vm)?;
    // What is dirtied after the kernel's sync is written 7 to 10 seconds later, when the
    // snapshot is long taken.
    vm.run("cd /proc/sys/vm && echo 800 > dirty_expire_centisecs && echo 200 > dirty_writeback_centisecs")?;
    vm.run("dd if=/dev/zero of=/ext4/big bs=1M count=16 2> /dev/null; sync")?;
    vm.run("writer /ext4 over > /dev/null 2>&1 < /dev/null &")?;
    // Only what is dirtied in the moment between the kernel's sync and the freezer is written
    // behind the image, so one save may find nothing to do.
    let mut given_up = None;
    for _ in 0..4 {
        given_up = written_behind(&mut vm)?;
        if given_up.is_some() {
            break;
        }
        resume(&mut vm)?;
    }
    let output = given_up.context("nothing was ever written behind an image")?;
    ensure!(output.code != 0, "it came back without an error");
    let parts = [
        "bytes were written to vd",
        "no task was kept running, so a part of the kernel wrote",
    ];
    expect_result(&mut vm, -116, &parts)?;
    ensure!(
        vm.log()?
            .contains("filesystems are not frozen: the setting freeze_filesystems is 0"),
        "nothing is said of the setting"
    );
    expect_type(&vm, 0, "swap")?;
    vm.run("guest work verify")?;
    finish(&mut vm)
}

fn others(lab: &Lab) -> Result<()> {
    let mut vm = busy(lab)?;
    vm.run("mkdir /loop /over /fat /lower && dd if=/dev/zero of=/ext4/disk bs=1M count=40 2> /dev/null")?;
    vm.run(
        "losetup /dev/loop0 /ext4/disk && mke2fs -q -b 4096 /dev/loop0 && mount /dev/loop0 /loop",
    )?;
    vm.run("mkdir /xfs/upper /xfs/work && mount -t overlay -o lowerdir=/lower,upperdir=/xfs/upper,workdir=/xfs/work over /over")?;
    vm.run("mount -t vfat /dev/vde /fat")?;
    // Frozen by its user, with a process that waits to write.
    vm.run(
        "fsfreeze --freeze /btrfs && (sh -c 'echo waited > /btrfs/note' > /dev/null 2>&1 &) && sleep 1",
    )?;
    for folder in ["/over", "/loop", "/ext4", "/fat"] {
        vm.run(&format!("writer {folder} > /dev/null 2>&1 < /dev/null &"))?;
    }
    until(
        &mut vm,
        "test -s /over/count -a -s /loop/count -a -s /fat/count",
    )?;
    there_and_back(&mut vm)?;
    vm.run("test ! -e /btrfs/note && fsfreeze --unfreeze /btrfs && sleep 1 && grep -q waited /btrfs/note")?;
    // Thawed, all of them.
    for folder in ["/over", "/loop", "/fat", "/ext4", "/xfs", "/btrfs"] {
        vm.run(&format!(
            "echo more > {folder}/more && sync -f {folder}/more"
        ))?;
    }
    vm.run("killall writer; sleep 1; umount /over /loop /fat && losetup -d /dev/loop0 && umount /ext4 /xfs /btrfs")?;
    vm.power_off()?;
    for (fs, number) in FILESYSTEMS.iter().zip(1..) {
        clean(&vm, fs, number)?;
    }
    vm.assert_clean()
}

fn raw(lab: &Lab) -> Result<()> {
    let mut vm = busy(lab)?;
    // The first block, which the filesystem leaves alone, and does not write when it is frozen: it
    // may have several devices. What the last round left in the page cache is due when the image is
    // being written.
    vm.run("cd /proc/sys/vm && echo 600 > dirty_expire_centisecs && echo 200 > dirty_writeback_centisecs")?;
    vm.run("sh -c 'while :; do echo x | dd of=/dev/vdd conv=notrunc 2> /dev/null; usleep 5000; done' > /dev/null 2>&1 &")?;
    let from = vm.log()?.len();
    vm.send("echo disk > /sys/power/state")?;
    vm.log()?
        .wait_for(SNAPSHOT, from, Duration::from_secs(120))?;
    vm.qmp()?.throttle(0, 200_000)?;
    std::thread::sleep(Duration::from_secs(12));
    vm.qmp()?.throttle(0, 0)?;
    vm.finish(Duration::from_secs(180))?;
    resume(&mut vm)?;
    vm.assert_clean()
}

/// Waits for the end of a save that is given up.
fn given_up(vm: &mut Vm, seq: u64) -> Result<()> {
    let progress = vm.wait(seq, Duration::from_secs(90), |_| {})?;
    let output = progress.done("echo disk > /sys/power/state")?;
    ensure!(output.code != 0, "it came back without an error");
    Ok(())
}

/// Free memory of a guest, in kB, when nothing is cached.
fn free_kb(vm: &mut Vm) -> Result<u64> {
    let text = vm.run(
        "sync; echo 3 > /proc/sys/vm/drop_caches; sleep 1; \
         sed -n 's/^MemFree: *\\([0-9]*\\) kB/\\1/p' /proc/meminfo",
    )?;
    Ok(text.trim().parse()?)
}

/// Waits until disk `number` says that a save is under way.
fn until_recorded(vm: &Vm, number: usize) -> Result<()> {
    let begin = Instant::now();
    loop {
        let sb = image::superblock(vm.get_disk(number)?).ok().flatten();
        if sb.is_some_and(|sb| sb.state == State::Writing) {
            return Ok(());
        }
        ensure!(
            begin.elapsed() < Duration::from_secs(60),
            "the save was not recorded"
        );
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn both_stuck(lab: &Lab) -> Result<()> {
    let mut vm = busy(lab)?;
    set(&mut vm, "io_timeout", "10")?;
    let before = free_kb(&mut vm)?;
    vm.run("writer /ext4 over > /dev/null 2>&1 < /dev/null &")?;
    until(&mut vm, "test -s /ext4/big")?;
    let from = vm.log()?.len();
    let seq = vm.send("echo disk > /sys/power/state")?;
    let frozen = "Freezing user space processes completed";
    vm.log()?.wait_for(frozen, from, Duration::from_secs(60))?;
    Brake::Disk(1).stop(&mut vm)?;
    until_recorded(&vm, 0)?;
    Brake::Disk(0).stop(&mut vm)?;
    let begin = Instant::now();
    given_up(&mut vm, seq)?;
    // Not once for each of them.
    let took = begin.elapsed().as_secs();
    ensure!(took < 18, "it came back after {took} s");
    let parts = ["the ext4 filesystem on vdb does not come to rest"];
    expect_result(&mut vm, -110, &parts)?;
    ensure!(
        vm.log()?
            .contains("the storage could not be told that the save failed"),
        "the disk of the image has answered"
    );
    Brake::Disk(0).go_on(&mut vm)?;
    Brake::Disk(1).go_on(&mut vm)?;
    vm.run("killall writer; sleep 1; rm /ext4/big; guest work verify")?;
    let after = free_kb(&mut vm)?;
    ensure!(
        after + 16 * 1024 > before,
        "of {before} kB that were free {after} kB are left"
    );
    there_and_back(&mut vm)?;
    vm.assert_clean()
}
