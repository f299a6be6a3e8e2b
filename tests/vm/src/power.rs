// SPDX-License-Identifier: GPL-2.0

//! Power cuts.

use std::time::Duration;

use anyhow::{ensure, Context, Result};
use dormouse_vm::{Arrival, Vm};

use crate::image;
use crate::steps::{
    boot_fresh, expect_result, expect_type, get, prepare, refused, resume, there_and_back, went_on,
    FOLDER, SMALL_MIB,
};
use crate::{Lab, Scenario};

/// The scenarios of this file.
pub const SCENARIOS: &[Scenario] = &[
    Scenario::new(
        "power-cut-in-save",
        "after a power cut early, in the middle and late in a save, a new system comes up and says why",
        cut_in_save,
    ),
    Scenario::new(
        "power-cut-after-commit",
        "after a power cut between the end of a save and power-off, the image is resumed",
        cut_after_commit,
    ),
    Scenario::new(
        "power-cut-in-load",
        "after a power cut in a load the image is resumed, after one in a restore only on request",
        cut_in_load,
    ),
    Scenario::new(
        "retry-cut-off",
        "an image whose restore was begun needs a retry by hand, also after one that ended early",
        retry_cut_off,
    ),
    Scenario::new(
        "less-memory",
        "an image is kept by a machine with less memory, and resumed when that is back",
        less_memory,
    ),
];

const SAVE: &str = "echo disk > /sys/power/state";

/// Beginning of the sentence about an image whose restore was begun.
pub const BEGUN: &str = "a restore of this image was begun before";

fn cut_in_save(lab: &Lab) -> Result<()> {
    let mut vm = lab.sleepy()?;
    for (number, point) in ["snapshot: copying pages", "write: 50%", "write: 100%"]
        .into_iter()
        .enumerate()
    {
        if number != 0 {
            vm.run("swapon /dev/vda")?;
            prepare(&mut vm)?;
        }
        vm.cut_at(SAVE, point, Duration::ZERO)?;
        // Only the last point is so near the end that the image may be complete.
        if number == 2 && image::is_complete(vm.get_disk(0)?)? {
            resume(&mut vm)?;
            continue;
        }
        expect_type(&vm, 0, "swap").with_context(|| format!("at '{point}'"))?;
        boot_fresh(&mut vm).with_context(|| format!("at '{point}'"))?;
        expect_result(
            &mut vm,
            -4,
            &["the last save did not finish: the machine stopped before the image was complete"],
        )?;
    }
    vm.kill();
    // Said only once.
    boot_fresh(&mut vm)?;
    let result = get(&mut vm, "last_result")?;
    ensure!(
        !result.contains("the last save did not finish"),
        "it is said again: {result}"
    );
    vm.run("swapon /dev/vda")?;
    prepare(&mut vm)?;
    there_and_back(&mut vm)?;
    vm.assert_clean()
}

fn cut_after_commit(lab: &Lab) -> Result<()> {
    let mut vm = lab.sleepy()?;
    vm.cut_at(SAVE, " kB stored", Duration::ZERO)?;
    expect_type(&vm, 0, "swsuspend")?;
    resume(&mut vm)?;
    expect_type(&vm, 0, "swap")?;
    vm.assert_clean()
}

/// Boots and cuts the power when the kernel log shows `text`.
fn cut_boot_at(vm: &mut Vm, text: &str) -> Result<()> {
    vm.start()?;
    vm.log()?.wait_for(text, 0, Duration::from_secs(120))?;
    vm.kill();
    Ok(())
}

/// Asks a new system, which has refused an image that was tried before, to
/// try it again, and checks that the one which hibernated goes on.
///
/// # Errors
///
/// When it does not.
pub fn retry(vm: &mut Vm) -> Result<()> {
    resume_by(vm, "retry")
}

/// Writes `value` to `resume` in a new system, and checks that the one which
/// hibernated goes on.
///
/// # Errors
///
/// When it does not.
pub fn resume_by(vm: &mut Vm, value: &str) -> Result<()> {
    let from = vm.log()?.len();
    vm.send(&format!("echo {value} > {FOLDER}/resume"))?;
    // Then the agent of the new system is gone.
    let timeout = Duration::from_secs(120);
    vm.log()?.wait_for("kB of memory in", from, timeout)?;
    let arrival = vm.arrive(timeout)?;
    went_on(vm, arrival)
}

fn cut_in_load(lab: &Lab) -> Result<()> {
    let mut vm = lab.sleepy()?;
    vm.hibernate()?;
    // A load changes nothing: the next boot does it again by itself.
    cut_boot_at(&mut vm, "Run /init")?;
    cut_boot_at(&mut vm, "load: 30%")?;
    resume(&mut vm)?;
    // Once the restore has begun, it does not.
    vm.hibernate()?;
    cut_boot_at(&mut vm, "dormouse: loaded ")?;
    boot_fresh(&mut vm)?;
    expect_result(&mut vm, -114, &[BEGUN, "it is kept"])?;
    let image = get(&mut vm, "image")?;
    ensure!(image.contains("state: resuming"), "the image is {image}");
    expect_type(&vm, 0, "swsuspend")?;
    retry(&mut vm)?;
    expect_type(&vm, 0, "swap")?;
    there_and_back(&mut vm)?;
    vm.assert_clean()
}

/// Boots, and checks that an image whose restore was begun is not taken.
fn not_by_itself(vm: &mut Vm) -> Result<()> {
    boot_fresh(vm)?;
    expect_result(vm, -114, &[BEGUN, "it is kept"])?;
    let image = get(vm, "image")?;
    ensure!(image.contains("state: resuming"), "the image is {image}");
    expect_type(vm, 0, "swsuspend")
}

fn retry_cut_off(lab: &Lab) -> Result<()> {
    let mut vm = lab.sleepy()?;
    vm.hibernate()?;
    cut_boot_at(&mut vm, "dormouse: loaded ")?;
    not_by_itself(&mut vm)?;
    // One retry is cut off in the middle of the load.
    let from = vm.log()?.len();
    vm.send(&format!("echo retry > {FOLDER}/resume"))?;
    vm.log()?
        .wait_for("load: 30%", from, Duration::from_secs(120))?;
    vm.kill();
    not_by_itself(&mut vm)?;
    // One is stopped.
    vm.run(&format!(
        "cd {FOLDER}; (until read -r now < state && [ \"$now\" = load ]; do :; done; \
         echo 1 > abort) > /dev/null 2>&1 & echo $! > {FOLDER}/keep_running"
    ))?;
    refused(
        &mut vm,
        &format!("echo retry > {FOLDER}/resume"),
        "Operation canceled",
    )?;
    expect_result(&mut vm, -125, &["the image is kept"])?;
    vm.power_off()?;
    not_by_itself(&mut vm)?;
    retry(&mut vm)?;
    expect_type(&vm, 0, "swap")?;
    vm.assert_clean()
}

fn less_memory(lab: &Lab) -> Result<()> {
    let mut vm = lab.sleepy()?;
    vm.hibernate()?;
    let mut vm = vm.mem(SMALL_MIB - 32);
    ensure!(vm.boot()? == Arrival::Fresh, "it resumed with less memory");
    expect_result(
        &mut vm,
        -116,
        &[
            "the image was made with ",
            "and now there are ",
            "it is kept",
        ],
    )?;
    expect_type(&vm, 0, "swsuspend")?;
    vm.power_off()?;
    let mut vm = vm.mem(SMALL_MIB);
    resume(&mut vm)?;
    vm.assert_clean()
}
