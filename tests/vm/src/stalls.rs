// SPDX-License-Identifier: GPL-2.0

//! Storage that stands still: a disk that takes what it is asked and never answers.

use std::time::{Duration, Instant};

use anyhow::{bail, ensure, Context, Result};
use dormouse_vm::agent::Progress;
use dormouse_vm::{Arrival, Vm};

use crate::netblock::servers::Server;
use crate::steps::{
    boot_fresh, expect_result, expect_type, get, prepare, refused, resume, set, there_and_back,
    FOLDER,
};
use crate::{Lab, Scenario};

mod brake;
mod places;

pub use brake::Brake;

/// The scenarios of this file.
pub const SCENARIOS: &[Scenario] = &[
    Scenario::new(
        "stalled-save",
        "the disk stops while the image is written: the machine goes on, and the disk later",
        stalled_save,
    ),
    Scenario::new(
        "stalled-prepare",
        "the disk stops before the snapshot: that is found out, and nothing is saved",
        stalled_prepare,
    ),
    Scenario::new(
        "stalled-abort",
        "a save to a disk that stands still is stopped: it does not wait for the disk",
        stalled_abort,
    ),
    Scenario::new(
        "stalled-load",
        "the disk stops while the image is loaded: the boot goes on, and the image is kept",
        stalled_load,
    ),
    Scenario::long(
        "stalled-server",
        "a server stops while an image is written, and while it is loaded: it is named",
        places::server,
    ),
    Scenario::long(
        "slow-server",
        "a server with a delay for each write is waited for, but not for too long",
        places::delays,
    ),
    Scenario::long(
        "stalled-file",
        "the disk of the file of the image stops: the machine goes on, and other disks with it",
        places::file,
    ),
    Scenario::new(
        "io-timeout",
        "the setting io_timeout takes a number of seconds",
        io_timeout,
    ),
];

/// The setting `io_timeout`, in seconds.
pub const PATIENCE: u64 = 4;
/// How long a machine may take to go on after that.
pub const REST: Duration = Duration::from_secs(5);
/// Bytes in a second of a disk that is slow enough to be stopped at some point.
const SLOW: u64 = 4 << 20;
/// Stops the first disk.
const DISK: Brake = Brake::Disk(0);
/// How long a step of a scenario may take.
const LONG: Duration = Duration::from_secs(120);
/// A machine as [`Lab::sleepy`] that waits [`PATIENCE`] for its disk.
///
/// # Errors
///
/// When something of that fails.
pub fn sleepy(lab: &Lab) -> Result<Vm> {
    let mut vm = lab.sleepy()?;
    set(&mut vm, "io_timeout", &PATIENCE.to_string())?;
    Ok(vm)
}

/// The same with a disk that is on a server, which stops it.
///
/// # Errors
///
/// When something of that fails.
pub fn served(lab: &Lab) -> Result<(Vm, Brake)> {
    let server = Server::qemu("512M", &["--shared=2"])?;
    server.as_disk().mkswap()?;
    let mut vm = lab.small().other_disk(server.as_disk());
    vm.boot()?;
    vm.run("swapon /dev/vda")?;
    prepare(&mut vm)?;
    set(&mut vm, "io_timeout", &PATIENCE.to_string())?;
    Ok((vm, Brake::Server(server)))
}

/// Waits until the log says `text` after line `from`.
fn reach(vm: &Vm, text: &str, from: usize) -> Result<()> {
    vm.log()?.wait_for(text, from, LONG).map(drop)
}

/// Waits for the end of command `seq`, which fails, `most` after `since`.
fn back(vm: &mut Vm, seq: u64, since: Instant, most: Duration) -> Result<()> {
    let output = match vm.wait(seq, LONG, |_| {})? {
        Progress::Done(output) => output,
        other => bail!("the command did not come back: {other:?}"),
    };
    let took = since.elapsed();
    ensure!(output.code != 0, "it went well: {output:?}");
    ensure!(
        took < most,
        "the machine went on after {} ms",
        took.as_millis()
    );
    Ok(())
}

/// Begins a save, stops its storage when the log says `text`, and waits until the
/// machine goes on.
fn stop_at(vm: &mut Vm, brake: &Brake, text: &str) -> Result<()> {
    let from = vm.log()?.len();
    let seq = vm.send("echo disk > /sys/power/state")?;
    reach(vm, text, from)?;
    brake.stop(vm)?;
    let most = Duration::from_secs(PATIENCE) + REST;
    back(vm, seq, Instant::now(), most).with_context(|| text.to_string())
}

/// Checks that nothing is lost: the workload, and the swap area, whose slots come
/// back when the disk is done with them.
///
/// # Errors
///
/// When something is.
pub fn is_whole(vm: &mut Vm, swaps: &str) -> Result<()> {
    vm.run("guest work verify")?;
    ensure!(get(vm, "state")? == "idle", "the cycle is not over");
    let begin = Instant::now();
    loop {
        let now = vm.run("cat /proc/swaps")?;
        if now == swaps {
            break;
        }
        ensure!(
            begin.elapsed() < Duration::from_secs(20),
            "swap space was not given back:\n{swaps}{now}"
        );
        std::thread::sleep(Duration::from_millis(200));
    }
    while expect_type(vm, 0, "swap").is_err() && begin.elapsed() < Duration::from_secs(20) {
        std::thread::sleep(Duration::from_millis(200));
    }
    expect_type(vm, 0, "swap")
}

fn stalled_save(lab: &Lab) -> Result<()> {
    let mut vm = sleepy(lab)?;
    let swaps = vm.run("cat /proc/swaps")?;
    for text in ["write: 10%", "write: 60%"] {
        vm.qmp()?.throttle(0, SLOW)?;
        stop_at(&mut vm, &DISK, text)?;
        expect_result(
            &mut vm,
            -110,
            &[" write ", "vda stands still", "within 4 s"],
        )?;
        // What was under way comes back now.
        DISK.go_on(&mut vm)?;
        is_whole(&mut vm, &swaps)?;
    }
    vm.run("swapoff /dev/vda && swapon /dev/vda")?;
    there_and_back(&mut vm)?;
    vm.assert_clean()
}

fn stalled_prepare(lab: &Lab) -> Result<()> {
    // QEMU's limits alone would let the next request through when they change.
    let (mut vm, server) = served(lab)?;
    let swaps = vm.run("cat /proc/swaps")?;
    for (text, step, sentence) in [
        // The superblock is written after that.
        ("swap area /dev/vda: ", " prepare ", "vda stands still"),
        (
            "Freezing remaining freezable tasks",
            " snapshot ",
            "vda does not answer now that all is frozen",
        ),
    ] {
        // Two seconds for a block, so that it can be stopped before the next one.
        vm.qmp()?.throttle(0, 2048)?;
        stop_at(&mut vm, &server, text)?;
        expect_result(&mut vm, -110, &[step, sentence])?;
        server.go_on(&mut vm)?;
        vm.qmp()?.throttle(0, 0)?;
        is_whole(&mut vm, &swaps)?;
    }
    there_and_back(&mut vm)?;
    vm.assert_clean()
}

/// A program for a task that is kept running: stops the cycle that is in step
/// `write`, some seconds later.
const STOPPER: &str = r#"#!/bin/sh
cd /sys/power/hibernate
until read -r now < state && [ "$now" = write ]; do :; done
read -r up idle < /proc/uptime
end=$((${up%.*} + 3))
until read -r up idle < /proc/uptime && [ "${up%.*}" -ge "$end" ]; do :; done
echo 1 > abort
"#;

fn stalled_abort(lab: &Lab) -> Result<()> {
    let mut vm = lab
        .small()
        .file("/bin/stopper", 0o755, STOPPER)
        .swap_disk("512M")?;
    vm.boot()?;
    vm.run("swapon /dev/vda")?;
    prepare(&mut vm)?;
    let swaps = vm.run("cat /proc/swaps")?;
    vm.qmp()?.throttle(0, SLOW)?;
    vm.run(&format!(
        "/bin/stopper > /dev/null 2>&1 & echo $! > {FOLDER}/keep_running"
    ))?;
    let from = vm.log()?.len();
    let seq = vm.send("echo disk > /sys/power/state")?;
    reach(&vm, "write: 10%", from)?;
    DISK.stop(&mut vm)?;
    reach(&vm, "write: asked to stop", from)?;
    let since = Instant::now();
    // Not the minute that a disk may take otherwise.
    back(&mut vm, seq, since, Duration::from_secs(2) + REST)?;
    expect_result(
        &mut vm,
        -125,
        &["stopped on request", "vda, which stands still"],
    )?;
    set(&mut vm, "keep_running", "")?;
    DISK.go_on(&mut vm)?;
    is_whole(&mut vm, &swaps)?;
    there_and_back(&mut vm)?;
    vm.assert_clean()
}

fn stalled_load(lab: &Lab) -> Result<()> {
    let mut vm = lab
        .small()
        .append(&format!("dormouse.io_timeout={PATIENCE}"))
        .swap_disk("512M")?;
    vm.boot()?;
    vm.run("swapon /dev/vda")?;
    prepare(&mut vm)?;
    ensure!(get(&mut vm, "io_timeout")? == PATIENCE.to_string());
    vm.hibernate()?;
    vm.start()?;
    // Not before there is something to stop.
    reach(&vm, "Run /init", 0)?;
    vm.qmp()?.throttle(0, SLOW)?;
    reach(&vm, "load: 20%", 0)?;
    DISK.stop(&mut vm)?;
    let since = Instant::now();
    let arrival = vm.arrive(LONG)?;
    let took = since.elapsed();
    ensure!(arrival == Arrival::Fresh, "it resumed from a disk at rest");
    ensure!(
        took < Duration::from_secs(PATIENCE) + REST + Duration::from_secs(5),
        "the boot went on after {} ms",
        took.as_millis()
    );
    expect_result(&mut vm, -110, &["vda stands still", "the image is kept"])?;
    DISK.go_on(&mut vm)?;
    // What the disk still had to read is read now; nothing uses it.
    std::thread::sleep(Duration::from_secs(1));
    vm.assert_clean()?;
    vm.kill();
    resume(&mut vm)?;
    expect_type(&vm, 0, "swap")?;
    vm.assert_clean()
}

fn io_timeout(lab: &Lab) -> Result<()> {
    let mut vm = lab.vm().append("dormouse.io_timeout=4000");
    boot_fresh(&mut vm)?;
    ensure!(
        vm.log()?.contains("io_timeout=4000: 1 to 3600 seconds"),
        "the command line took a value that is no good"
    );
    ensure!(get(&mut vm, "io_timeout")? == "60", "it is not a minute");
    for value in ["0", "3601", "-1", "1m0", "", "4294967297"] {
        refused(
            &mut vm,
            &format!("echo '{value}' > {FOLDER}/io_timeout"),
            "Invalid argument",
        )?;
    }
    ensure!(get(&mut vm, "io_timeout")? == "60", "it has changed");
    for value in ["1", "3600"] {
        set(&mut vm, "io_timeout", value)?;
        ensure!(get(&mut vm, "io_timeout")? == value);
    }
    vm.assert_clean()
}
