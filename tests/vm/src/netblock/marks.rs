// SPDX-License-Identifier: GPL-2.0

//! Marks of images that cannot be taken off while tasks are frozen, since the server is away.

use std::time::Duration;

use anyhow::{bail, ensure, Context, Result};
use dormouse_vm::{Arrival, Vm};

use super::servers::Server;
use super::{machine, make_ready, ready, STATE, STATIC};
use crate::power::BEGUN;
use crate::steps::{boot_fresh, clock, expect_result, get, refused, set, went_on, FOLDER};
use crate::Lab;

const SOON: Duration = Duration::from_secs(120);
const AGAIN: &str = "that is tried again when all is thawed";
const DONE: &str = "the mark of the image was taken off the storage after all";
const UNDONE: &str = "the save was undone, but the mark";
const ERASE: &str = "no save begins before it has worked. Or write \"erase\" to";

/// A machine that gives its server five seconds, with a server.
fn impatient(lab: &Lab) -> Result<(Vm, Server)> {
    let server = Server::qemu("1G", &["--shared=8"])?;
    let mut vm = ready(lab, &server.target())?;
    be_impatient(&mut vm)?;
    Ok((vm, server))
}

fn be_impatient(vm: &mut Vm) -> Result<()> {
    vm.run(&format!("echo 5 > {FOLDER}/modules/netblock/timeout"))?;
    Ok(())
}

fn expect_state(vm: &mut Vm, state: &str) -> Result<()> {
    let image = get(vm, "image")?;
    ensure!(
        image.starts_with(&format!("state: {state}")),
        "image: {image}"
    );
    Ok(())
}

/// Boots and stops the server when the image is loaded, so that the restored system does not
/// find it.
fn restore_without(vm: &mut Vm, server: &mut Server) -> Result<()> {
    vm.start()?;
    vm.log()?.wait_for("dormouse: loaded ", 0, SOON)?;
    server.stop();
    vm.log()?.wait_for(AGAIN, 0, SOON)?;
    Ok(())
}

/// The restored system takes the mark off when its server is back, and says so when it is not.
///
/// # Errors
///
/// When it does not.
pub fn restored(lab: &Lab) -> Result<()> {
    let (mut vm, mut server) = impatient(lab)?;
    vm.hibernate()?;
    restore_without(&mut vm, &mut server)?;
    server.start()?;
    let arrival = vm.arrive(SOON)?;
    // Tasks run while that is tried.
    vm.log()?.wait_for(DONE, 0, SOON)?;
    went_on(&mut vm, arrival)?;
    expect_state(&mut vm, "consumed")?;

    vm.hibernate()?;
    restore_without(&mut vm, &mut server)?;
    ensure!(vm.arrive(SOON)? == Arrival::Resumed, "it did not resume");
    vm.log()?
        .wait_for("the system is back, but the mark of the image", 0, SOON)?;
    vm.run("guest work verify")?;
    let result = get(&mut vm, "last_result")?;
    ensure!(
        result.contains("the system is back, but the mark of the image") && result.contains(ERASE),
        "last_result is {result}"
    );
    // A boot that does not know that the system went on takes no risk.
    vm.power_off()?;
    server.start()?;
    boot_fresh(&mut vm)?;
    let parts = [BEGUN, "write \"erase\" to", "only then write \"retry\""];
    expect_result(&mut vm, -114, &parts)?;
    set(&mut vm, "target", &server.target())?;
    set(&mut vm, "image", "erase")?;
    vm.assert_clean()
}

/// Begins to hibernate; a wakeup event is there when the image is complete, and the server is not.
fn woken_without(vm: &mut Vm, server: &mut Server, hibernate: &str) -> Result<u64> {
    // Events stop a transition only of those who have asked for it.
    vm.run("cat /sys/power/wakeup_count > /sys/power/wakeup_count")?;
    vm.run(&format!(
        "cd {FOLDER}; (until read -r now < state && [ \"$now\" = write ]; do :; done; \
         echo dormouse > /sys/power/wake_lock) > /dev/null 2>&1 & echo $! > keep_running"
    ))?;
    let from = vm.log()?.len();
    let seq = vm.send(hibernate)?;
    vm.log()?.wait_for(" kB stored", from, SOON)?;
    server.stop();
    vm.log()?.wait_for(AGAIN, from, SOON)?;
    Ok(seq)
}

fn went_on_awake(vm: &mut Vm, seq: u64) -> Result<()> {
    let output = vm.wait(seq, SOON, |_| {})?.done(STATE)?;
    if output.code == 0 {
        bail!("it hibernated: {output:?}");
    }
    set(vm, "keep_running", "")?;
    vm.run("echo dormouse > /sys/power/wake_unlock")?;
    vm.run("guest work verify")?;
    Ok(())
}

/// Notes, on no disk, from when to when a filesystem has taken something. The freezer may come in
/// between.
const NOTER: &str = r#"#!/bin/sh
read -r begin idle < /proc/uptime
while echo x >> /held/x; do
	read -r end idle < /proc/uptime
	echo "$begin $end" >> /noted
	usleep 50000
	read -r begin idle < /proc/uptime
done
"#;

/// Checks that nothing was written to the filesystem from line `from` of the log to the one that
/// says that the mark is off, though the tasks ran.
fn held_until_done(vm: &mut Vm, from: usize) -> Result<()> {
    let again = vm.log()?.wait_for(AGAIN, from, SOON)?;
    let done = vm.log()?.wait_for(DONE, from, SOON)?;
    let (again, done) = (clock(vm, again)?, clock(vm, done)?);
    ensure!(done > again + 1000, "it was taken off at once");
    let mut later = 0;
    for line in vm.run("sleep 1; cat /noted")?.lines() {
        let (begin, end) = line.split_once(' ').context("no two times")?;
        let ms = |text: &str| anyhow::Ok((text.parse::<f64>()? * 1000.0) as u64);
        let (begin, end) = (ms(begin)?, ms(end)?);
        ensure!(
            begin < again || end + 100 > done,
            "something was written {} ms before the mark was taken off",
            done.saturating_sub(end)
        );
        later += usize::from(begin > done);
    }
    ensure!(later > 0, "nothing was written after that");
    Ok(())
}

/// A save that is rolled back when its image is complete: the same, and filesystems hold still for
/// it.
///
/// # Errors
///
/// When it does not.
pub fn undone(lab: &Lab) -> Result<()> {
    let mut server = Server::qemu("1G", &["--shared=8"])?;
    let vm = machine(lab, &server.target(), STATIC).disk("64M")?;
    let mut vm = vm.file("/bin/noter", 0o755, NOTER);
    vm.get_disk(0)?.mkfs()?;
    make_ready(&mut vm, &server.target())?;
    be_impatient(&mut vm)?;
    vm.run("mkdir /held && mount -t ext4 /dev/vda /held && (noter > /dev/null 2>&1 &)")?;
    let from = vm.log()?.len();
    let seq = woken_without(&mut vm, &mut server, STATE)?;
    let thawed = "Restarting tasks ... done";
    vm.log()?.wait_for(thawed, from, SOON)?;
    std::thread::sleep(Duration::from_secs(1));
    server.start()?;
    went_on_awake(&mut vm, seq)?;
    held_until_done(&mut vm, from)?;
    expect_result(&mut vm, -16, &["wakeup event"])?;
    let image = get(&mut vm, "image")?;
    ensure!(!image.contains("committed"), "image: {image}");

    // Whoever hibernates is killed meanwhile, and ends when all this is over.
    let from = vm.log()?.len();
    let seq = woken_without(&mut vm, &mut server, "guest hibernate killed=14")?;
    went_on_awake(&mut vm, seq)?;
    let again = vm.log()?.wait_for(AGAIN, from, SOON)?;
    let given_up = vm.log()?.wait_for(UNDONE, from, SOON)?;
    let tried = clock(&vm, given_up)?.saturating_sub(clock(&vm, again)?);
    ensure!(tried > 14_000, "the server was waited for {tried} ms");
    let result = get(&mut vm, "last_result")?;
    ensure!(
        result.contains(UNDONE) && result.contains(ERASE),
        "last_result is {result}"
    );
    // It is taken off as soon as the server is there again.
    let from = vm.log()?.len();
    server.start()?;
    vm.log()?.wait_for(DONE, from, SOON)?;
    let image = get(&mut vm, "image")?;
    ensure!(!image.contains("committed"), "image: {image}");

    // Or when it was erased on another way, as this one leads nowhere any more.
    let seq = woken_without(&mut vm, &mut server, STATE)?;
    went_on_awake(&mut vm, seq)?;
    let background = "in the background: nbd://";
    vm.log()?.wait_for(background, from, SOON)?;
    refused(&mut vm, STATE, "Device or resource busy")?;
    expect_result(&mut vm, -16, &["the mark of the last image is still on"])?;
    server.move_away()?;
    set(&mut vm, "target", &server.target())?;
    expect_state(&mut vm, "committed")?;
    set(&mut vm, "image", "erase")?;
    // The attempt that is under way ends first.
    std::thread::sleep(Duration::from_secs(6));
    vm.run("echo test_resume > /sys/power/disk && echo disk > /sys/power/state")?;
    vm.run("guest work verify")?;
    vm.assert_clean()
}
