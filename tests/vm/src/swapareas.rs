// SPDX-License-Identifier: GPL-2.0

//! Swap areas with pages of the saved system that hold no part of its image.

use std::time::Duration;

use anyhow::{ensure, Context, Result};
use dormouse_host::image::superblock::{self, State};
use dormouse_host::image::BLOCK;
use dormouse_vm::agent::Progress;
use dormouse_vm::{Hibernated, Vm};

use crate::image::{self, SUPERBLOCK_AT};
use crate::netblock::servers::Server;
use crate::power::resume_by;
use crate::stacks::map_late;
use crate::stalls::{Brake, PATIENCE, REST};
use crate::steps::{
    boot_fresh, clock, expect_result, expect_type, get, refused, resume, set, with_program,
    FIRST_DISK, FOLDER, SMALL_MIB,
};
use crate::{aborts, files, mounts, netblock, Lab, Scenario};

/// The scenarios of this file.
pub const SCENARIOS: &[Scenario] = &[
    Scenario::new(
        "bystander",
        "a swap area beside the image is marked while that waits, and gets its signature back",
        there_and_back,
    ),
    Scenario::new(
        "bystander-used",
        "an image is given up once another system swapped to an area that has none of it",
        used,
    ),
    Scenario::new(
        "bystander-gone",
        "an image is kept while a swap area with pages of its system is not there",
        gone,
    ),
    Scenario::new(
        "bystander-copy",
        "an image is kept while a swap area beside it is there twice, or only as a copy",
        copied,
    ),
    Scenario::new(
        "bystander-passed",
        "a swap area that cannot be seen needs a retry by hand once a boot went on without the image",
        passed,
    ),
    Scenario::new(
        "bystander-abort",
        "areas beside an image get their signatures back when a save is stopped",
        stopped,
    ),
    Scenario::new(
        "bystander-offline",
        "the command erases an image in a system without hibernation, and all areas are swap again",
        offline,
    ),
    Scenario::new(
        "bystander-cut",
        "marks that a power cut leaves in vain are taken off by the next boot",
        cut,
    ),
    Scenario::new(
        "bystander-stalled",
        "the disk of a swap area beside the image stops in a save: it is waited for once",
        stalled,
    ),
    Scenario::new(
        "bystander-file",
        "swap areas beside an image in a file",
        beside_file,
    ),
    Scenario::new(
        "bystander-netblock",
        "swap areas beside an image on a network block device",
        beside_netblock,
    ),
];

/// Workload that takes more than half of a small machine's memory, so that a
/// save swaps a part of it out.
const WORK: &str = "guest work start mib=190 file_mib=4";

/// Gives the area on `device` its own signature back and uses it, as the
/// swapon of util-linux does.
fn use_by_hand(device: &str) -> String {
    format!(
        "printf SWAPSPACE2 | dd of={device} bs=1 seek=4086 conv=notrunc 2> /dev/null && \
         swapon {device} && swapoff {device}"
    )
}

/// Starts a workload of which a save swaps a part out to `device`, the swap
/// space of highest priority.
fn swap_out(vm: &mut Vm, device: &str) -> Result<()> {
    vm.run(&format!("swapon {device} && {WORK}"))?;
    set(vm, "compressor", "lz4")?;
    set(vm, "enabled", "1")
}

/// The swap header of disk `number`.
fn header(vm: &Vm, number: usize) -> Result<Vec<u8>> {
    vm.get_disk(number)?.read(0, BLOCK)
}

fn types(vm: &Vm, wanted: [&str; 2]) -> Result<()> {
    expect_type(vm, 0, wanted[0])?;
    expect_type(vm, 1, wanted[1])
}

const WAITING: [&str; 2] = ["swsuspend", "swsuspend"];
const AWAKE: [&str; 2] = ["swap", "swap"];

/// A machine whose image goes to the first disk and whose pages are on the
/// second one, too.
fn ready(lab: &Lab) -> Result<Vm> {
    ready_as(lab.small())
}

/// The same for `vm`, which has no disk yet.
fn ready_as(vm: Vm) -> Result<Vm> {
    start(with_areas(vm)?)
}

/// `vm`, which has no disk yet, with both areas.
fn with_areas(vm: Vm) -> Result<Vm> {
    let vm = vm.swap_disk("512M")?.swap_disk("512M")?;
    // What is in the place of the mark has to come back.
    let disk = vm.get_disk(1)?;
    disk.write(SUPERBLOCK_AT, &[0x5a; 500])?;
    disk.write(1052, b"second")?;
    Ok(vm)
}

fn start(mut vm: Vm) -> Result<Vm> {
    vm.boot()?;
    swap_out(&mut vm, "/dev/vdb")?;
    vm.run("swapon /dev/vda")?;
    set(&mut vm, "target", "/dev/vda")?;
    Ok(vm)
}

fn there_and_back(lab: &Lab) -> Result<()> {
    let mut vm = ready(lab)?;
    let before = header(&vm, 1)?;
    vm.hibernate()?;
    types(&vm, WAITING)?;
    ensure!(
        header(&vm, 1)?[..3584] == before[..3584],
        "UUID or label were changed"
    );
    // It says what it is, and nobody can use it.
    vm.set_append("resume=/dev/vdb dm.resume=1");
    boot_fresh(&mut vm)?;
    expect_result(
        &mut vm,
        -6,
        &["vdb only has pages of a saved system, whose image is somewhere else"],
    )?;
    refused(&mut vm, "swapon /dev/vdb", "Invalid argument")?;
    vm.power_off()?;
    types(&vm, WAITING)?;
    vm.set_append(FIRST_DISK);
    resume(&mut vm)?;
    types(&vm, AWAKE)?;
    ensure!(header(&vm, 1)? == before, "the header is another one");

    // A save that comes to nothing.
    vm.run("echo test_resume > /sys/power/disk")?;
    match vm.hibernate_by("echo disk > /sys/power/state")? {
        Hibernated::Returned(output) if output.code == 0 => {}
        other => anyhow::bail!("the test ended in {other:?}"),
    }
    vm.run("guest work verify && echo platform > /sys/power/disk")?;
    ensure!(header(&vm, 1)? == before, "the test left a mark");

    // Erased by another system.
    vm.hibernate()?;
    types(&vm, WAITING)?;
    vm.set_append("resume=/dev/vda");
    boot_fresh(&mut vm)?;
    set(&mut vm, "image", "erase")?;
    types(&vm, AWAKE)?;
    ensure!(header(&vm, 1)? == before, "the header is another one");
    vm.run("swapon /dev/vda && swapon /dev/vdb")?;
    vm.assert_clean()
}

/// Boots another system, which uses the area on `device`.
fn another_system(vm: &mut Vm, device: &str) -> Result<()> {
    let append = "resume=none";
    vm.set_append(append);
    boot_fresh(vm)?;
    vm.run(&use_by_hand(device))?;
    vm.power_off()
}

/// What the next boot says of it.
fn given_up(vm: &mut Vm, path: &str) -> Result<()> {
    let area = format!("swap area {path} (UUID ");
    expect_result(
        vm,
        -116,
        &[&area, "was put to use after it was saved", "given up"],
    )?;
    Ok(())
}

fn used(lab: &Lab) -> Result<()> {
    let mut vm = ready(lab)?;
    vm.hibernate()?;
    another_system(&mut vm, "/dev/vdb")?;
    vm.set_append(FIRST_DISK);
    boot_fresh(&mut vm)?;
    given_up(&mut vm, "/dev/vdb")?;
    types(&vm, AWAKE)?;
    vm.run("swapon /dev/vda && swapon /dev/vdb")?;
    vm.power_off()?;
    boot_fresh(&mut vm)?;
    vm.assert_clean()
}

fn gone(lab: &Lab) -> Result<()> {
    let mut vm = ready(lab)?;
    vm.hibernate()?;
    // Another area in its place.
    let uuid = vm.get_disk(1)?.read(1036, 16)?;
    vm.get_disk(1)?.write(1036, &[7; 16])?;
    boot_fresh(&mut vm)?;
    expect_result(
        &mut vm,
        -6,
        &[
            "swap area /dev/vdb (UUID ",
            "is not there; the image is kept",
        ],
    )?;
    vm.power_off()?;
    types(&vm, WAITING)?;
    vm.get_disk(1)?.write(1036, &uuid)?;
    resume(&mut vm)?;
    types(&vm, AWAKE)?;
    vm.assert_clean()
}

fn copied(lab: &Lab) -> Result<()> {
    let mut vm = start(with_areas(lab.small())?.disk("512M")?)?;
    vm.hibernate()?;
    let marked = header(&vm, 1)?;
    // A clone of the second disk, as far as anybody looks.
    let copy = |vm: &Vm, what: &[u8]| vm.get_disk(2)?.write(0, what);
    copy(&vm, &marked)?;
    another_system(&mut vm, "/dev/vdb")?;
    let used = header(&vm, 1)?;
    vm.set_append(FIRST_DISK);
    boot_fresh(&mut vm)?;
    let twice = "is there twice: as it was saved on vdc, and put to use since on vdb";
    expect_result(&mut vm, -76, &["swap area /dev/vdb (UUID ", twice])?;
    let told = vm.try_run("dormouse image verify /dev/vda")?;
    ensure!(
        told.code != 0 && told.text.contains("there twice"),
        "the command says {told:?}"
    );
    vm.power_off()?;
    types(&vm, ["swsuspend", "swap"])?;
    ensure!(header(&vm, 2)? == marked, "the copy was changed");
    // The one with the mark cannot be read.
    vm.set_append("");
    boot_fresh(&mut vm)?;
    Brake::Disk(2).stop(&mut vm)?;
    let ask = format!("echo /dev/vda > {FOLDER}/resume");
    refused(&mut vm, &ask, "not unique")?;
    let unread = "was put to use on vdb after it was saved, or vdb is a copy and it is on device";
    expect_result(&mut vm, -76, &["swap area /dev/vdb (UUID ", unread])?;
    vm.power_off()?;
    types(&vm, ["swsuspend", "swap"])?;
    vm.set_append(FIRST_DISK);
    // Nothing is where it was, and the copy has no mark.
    vm.get_disk(1)?.write(0, &vec![0; BLOCK])?;
    copy(&vm, &used)?;
    boot_fresh(&mut vm)?;
    let elsewhere = "is not where it was, and vdc is a copy, or was put to use since";
    expect_result(&mut vm, -6, &["swap area /dev/vdb (UUID ", elsewhere])?;
    vm.power_off()?;
    expect_type(&vm, 0, "swsuspend")?;
    // The right one is back, and alone.
    vm.get_disk(1)?.write(0, &marked)?;
    copy(&vm, &vec![0; BLOCK])?;
    resume(&mut vm)?;
    types(&vm, AWAKE)?;
    vm.assert_clean()
}

fn passed(lab: &Lab) -> Result<()> {
    // Only the saved system makes the device of the area.
    let vm = lab.small().swap_disk("512M")?.disk("512M")?;
    let mut vm = with_program(vm, "/sbin/dmsetup")?;
    vm.boot()?;
    map_late(&mut vm, "0 900000 linear /dev/vdb 4096")?;
    vm.run("mkswap /dev/mapper/late")?;
    swap_out(&mut vm, "/dev/mapper/late")?;
    vm.run("swapon /dev/vda")?;
    set(&mut vm, "target", "/dev/vda")?;
    vm.hibernate()?;
    vm.set_append(FIRST_DISK);
    resume(&mut vm)?;

    let mut vm = mounts::pass(vm)?;
    boot_fresh(&mut vm)?;
    let parts = [
        "a boot went on without this image, and swap area ",
        "cannot be seen now",
        "write \"retry\" to",
    ];
    expect_result(&mut vm, -114, &parts)?;
    expect_type(&vm, 0, "swsuspend")?;
    resume_by(&mut vm, "retry")?;
    vm.run("swapoff /dev/mapper/late && guest work verify")?;
    vm.assert_clean()
}

fn stopped(lab: &Lab) -> Result<()> {
    let mut vm = ready_as(aborts::watched(lab.small()))?;
    let before = header(&vm, 1)?;
    for phase in ["snapshot", "write"] {
        aborts::watch(&mut vm, phase, "abort")?;
        match vm.hibernate_by("echo disk > /sys/power/state")? {
            Hibernated::Returned(output) if output.text.contains("Operation canceled") => {}
            other => anyhow::bail!("phase {phase} ended in {other:?}"),
        }
        vm.run("guest work verify")?;
        expect_result(&mut vm, -125, &["stopped on request"])?;
        types(&vm, AWAKE)?;
        ensure!(header(&vm, 1)? == before, "phase {phase} left a mark");
    }
    vm.hibernate()?;
    types(&vm, WAITING)?;
    vm.set_append(FIRST_DISK);
    resume(&mut vm)?;
    types(&vm, AWAKE)?;
    vm.assert_clean()
}

fn offline(lab: &Lab) -> Result<()> {
    let mut vm = ready(lab)?;
    let before = header(&vm, 1)?;
    vm.hibernate()?;
    types(&vm, WAITING)?;
    // The modules refuse to do anything there.
    vm.set_append("resume=none nohibernate");
    boot_fresh(&mut vm)?;
    let said = vm.run("dormouse image info /dev/vda")?;
    ensure!(said.contains("/dev/vdb"), "not of the other area: {said}");
    vm.run("dormouse image erase /dev/vda --yes")?;
    types(&vm, AWAKE)?;
    ensure!(header(&vm, 1)? == before, "the header is another one");
    vm.run("swapon /dev/vda && swapon /dev/vdb")?;
    vm.assert_clean()
}

/// Makes the superblock on the first disk say `state`, with the area's own
/// signature beside it, as the last write before a power cut does.
fn rewind(vm: &Vm, state: State) -> Result<()> {
    let disk = vm.get_disk(0)?;
    let mut sb = image::superblock(disk)?.context("no superblock")?;
    sb.state = state;
    let mut bytes = [0; superblock::BYTES];
    sb.encode(&mut bytes)
        .map_err(|e| anyhow::anyhow!("{}", e.sentence()))?;
    disk.write(SUPERBLOCK_AT, &bytes)?;
    disk.write(BLOCK as u64 - 10, b"SWAPSPACE2")
}

fn cut(lab: &Lab) -> Result<()> {
    let mut vm = ready(lab)?;
    let before = header(&vm, 1)?;
    for (number, state) in [State::Writing, State::Consumed, State::Failed]
        .into_iter()
        .enumerate()
    {
        vm.hibernate()?;
        types(&vm, WAITING)?;
        rewind(&vm, state)?;
        types(&vm, ["swap", "swsuspend"])?;
        if number == 2 {
            // What tells of the area was put to use.
            let disk = vm.get_disk(0)?;
            let at = disk.find(b"DMHEADER", 0)?.context("no header")?;
            disk.write(at, &[0; 4096])?;
        }
        vm.set_append(FIRST_DISK);
        boot_fresh(&mut vm)?;
        if state == State::Writing {
            expect_result(&mut vm, -4, &["the last save did not finish"])?;
        }
        types(&vm, AWAKE)?;
        ensure!(header(&vm, 1)? == before, "the header is another one");
        if number != 2 {
            swap_out(&mut vm, "/dev/vdb")?;
            vm.run("swapon /dev/vda")?;
            set(&mut vm, "target", "/dev/vda")?;
        }
    }
    vm.assert_clean()
}

fn stalled(lab: &Lab) -> Result<()> {
    let mut vm = ready(lab)?;
    set(&mut vm, "io_timeout", &PATIENCE.to_string())?;
    let from = vm.log()?.len();
    let seq = vm.send("echo disk > /sys/power/state")?;
    let soon = Duration::from_secs(120);
    vm.log()?.wait_for("write: 10%", from, soon)?;
    // Nothing is asked of it before the image is complete.
    vm.qmp()?.stop_disk(1)?;
    let written = vm.log()?.wait_for("write: 100%", from, soon)?;
    let went_on = vm.log()?.wait_for("Restarting tasks", written, soon)?;
    // Tasks have pages there.
    vm.qmp()?.throttle(1, 0)?;
    match vm.wait(seq, soon, |_| {})? {
        Progress::Done(output) => ensure!(output.code != 0, "it went well: {output:?}"),
        other => anyhow::bail!("the save ended in {other:?}"),
    }
    let took = clock(&vm, went_on)?.saturating_sub(clock(&vm, written)?);
    let most = u64::try_from((Duration::from_secs(PATIENCE) + REST).as_millis())?;
    ensure!(took < most, "tasks stood still for {took} ms");
    expect_result(
        &mut vm,
        -110,
        &["vdb stands still", "within 4 s (io_timeout)"],
    )?;
    vm.run("guest work verify")?;
    vm.hibernate()?;
    types(&vm, WAITING)?;
    resume(&mut vm)?;
    types(&vm, AWAKE)?;
    vm.assert_clean()
}

fn beside_file(lab: &Lab) -> Result<()> {
    let vm = lab.vm().mem(SMALL_MIB).disk("640M")?.swap_disk("512M")?;
    let mut vm = files::boot_mounted(vm, "ext4", "rw")?;
    let before = header(&vm, 1)?;
    let locators = files::choose(&mut vm)?;
    swap_out(&mut vm, "/dev/vdb")?;
    let append = format!("dm.resume={}", locators[2]);
    vm.set_append(&append);
    vm.hibernate()?;
    expect_type(&vm, 1, "swsuspend")?;
    resume(&mut vm)?;
    ensure!(header(&vm, 1)? == before, "the header is another one");

    vm.hibernate()?;
    expect_type(&vm, 1, "swsuspend")?;
    another_system(&mut vm, "/dev/vdb")?;
    vm.set_append(&append);
    boot_fresh(&mut vm)?;
    given_up(&mut vm, "/dev/vdb")?;
    ensure!(header(&vm, 1)? == before, "the header is another one");
    files::sound(&mut vm, "ext4")
}

fn beside_netblock(lab: &Lab) -> Result<()> {
    let server = Server::qemu("1G", &[])?;
    let target = server.target();
    let append = format!("{} dm.resume={target}", netblock::STATIC);
    let vm = lab.vm().mem(SMALL_MIB).network().append(&append);
    let mut vm = vm.swap_disk("512M")?;
    let before = header(&vm, 0)?;
    vm.boot()?;
    swap_out(&mut vm, "/dev/vda")?;
    netblock::choose(&mut vm, &target)?;
    vm.hibernate()?;
    expect_type(&vm, 0, "swsuspend")?;
    resume(&mut vm)?;
    ensure!(header(&vm, 0)? == before, "the header is another one");

    vm.hibernate()?;
    vm.set_append(netblock::STATIC);
    boot_fresh(&mut vm)?;
    vm.run(&use_by_hand("/dev/vda"))?;
    let ask = format!("echo {target} > {FOLDER}/resume");
    refused(&mut vm, &ask, "Stale file handle")?;
    given_up(&mut vm, "/dev/vda")?;
    ensure!(header(&vm, 0)? == before, "the header is another one");
    ensure!(
        !get(&mut vm, "image")?.contains("state: committed"),
        "there still is an image"
    );
    vm.assert_clean()
}
