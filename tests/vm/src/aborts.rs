// SPDX-License-Identifier: GPL-2.0

//! Cycles that somebody or something stops half-way.

use std::time::Duration;

use anyhow::{bail, ensure, Context, Result};
use dormouse_vm::{Arrival, Hibernated, Vm};

use crate::steps::{
    boot_fresh, expect_result, expect_type, get, prepare, refused, resume, set, there_and_back,
    FIRST_DISK, FOLDER,
};
use crate::{Lab, Scenario};

/// The scenarios of this file.
pub const SCENARIOS: &[Scenario] = &[
    Scenario::new(
        "abort-save",
        "a save is stopped in each of its phases, and the guest goes on; settings get EBUSY",
        abort_save,
    ),
    Scenario::new(
        "abort-load",
        "a load is stopped; the image stays and is resumed by the next boot",
        abort_load,
    ),
    Scenario::new(
        "abort-load-late",
        "a load is stopped while its last record is written: the image stays as well",
        abort_load_late,
    ),
    Scenario::new(
        "wakeup-events",
        "wakeup events before, while and after the image is written roll the save back",
        wakeup_events,
    ),
    Scenario::new(
        "test-run",
        "after a save that was refused, a run with pm_test says that it was a test",
        test_run,
    ),
    Scenario::long(
        "pm-test",
        "each level of pm_test leaves everything as it was",
        pm_test,
    ),
];

/// How long a slow load and a boot take at most.
const LONG: Duration = Duration::from_secs(300);

/// A program for a task that is kept running: waits for phase $1, tries to change every setting,
/// and does $2; or waits for the end of a load (`loaded`), and stops it.
const WATCH: &str = r#"#!/bin/sh
cd /sys/power/hibernate
until read -r now < state && [ "$now" = "${1%ed}" ]; do :; done
while [ "$1" = loaded ]; do
	read -r step done total rest < progress
	[ "$done" != "$total" ] || [ "$total" = 0 ] || break
done
[ "$1" != loaded ] || { echo 1 > abort; exit; }
: > /tmp/settings
for setting in enabled=1 compressor=none encryptor=none writer=swap freezer=pm \
	snapshot=atomic target=auto threads=0 image_size_limit=0 keep_running= \
	io_timeout=60 allow_abort=1 freeze_filesystems=1 start=1 resume=1; do
	# Without a pipe: a child would not be scheduled while one processor works.
	echo "${setting#*=}" 2>> /tmp/settings > "${setting%%=*}" && echo "took $setting" >> /tmp/settings
done
case $2 in
abort) echo 1 > abort ;;
wakeup) echo dormouse > /sys/power/wake_lock ;;
esac
read -r now < state
echo "$now" > /tmp/when
"#;

/// What the settings answer while a cycle runs.
const BUSY: &str = "Device or resource busy";

/// Adds [`WATCH`] to a machine, also for its next boot with `dm.watch=PHASE`.
pub fn watched(vm: Vm) -> Vm {
    let early = "#!/bin/sh\nphase=$(sed -n 's/.*dm.watch=\\([a-z-]*\\).*/\\1/p' /proc/cmdline)\n\
        [ -n \"$phase\" ] || exit 0\n/bin/watch-phase \"$phase\" abort &\n\
        echo $! > /sys/power/hibernate/keep_running\n";
    vm.file("/bin/watch-phase", 0o755, WATCH)
        .file("/etc/early", 0o755, early)
}

/// A machine as [`Lab::sleepy`], with [`WATCH`].
fn sleepy(lab: &Lab) -> Result<Vm> {
    let mut vm = watched(lab.small()).swap_disk("512M")?;
    vm.boot()?;
    vm.run("swapon /dev/vda")?;
    prepare(&mut vm)?;
    Ok(vm)
}

/// Lets [`WATCH`] wait for `phase`.
///
/// # Errors
///
/// When the guest refuses to keep it running.
pub fn watch(vm: &mut Vm, phase: &str, what: &str) -> Result<()> {
    vm.run(&format!(
        "rm -f /tmp/when; /bin/watch-phase {phase} {what} > /dev/null 2>&1 & \
         echo $! > {FOLDER}/keep_running"
    ))?;
    Ok(())
}

/// Hibernates, and checks that this fails with `message` and leaves
/// everything as it was.
fn rolled_back(vm: &mut Vm, message: &str) -> Result<()> {
    let swaps = vm.run("cat /proc/swaps")?;
    match vm.hibernate_by("echo disk > /sys/power/state")? {
        Hibernated::Returned(output) if output.code != 0 && output.text.contains(message) => {}
        other => bail!("'{message}' was expected, not {other:?}"),
    }
    vm.run("guest work verify")?;
    ensure!(get(vm, "state")? == "idle", "the cycle is not over");
    let now = vm.run("cat /proc/swaps")?;
    ensure!(now == swaps, "swap space was not given back:\n{swaps}{now}");
    expect_type(vm, 0, "swap")?;
    set(vm, "keep_running", "")
}

/// Checks that the settings refused every change while the cycle ran.
fn settings_were_busy(vm: &mut Vm) -> Result<()> {
    let text = vm.run("cat /tmp/settings")?;
    let busy = text.lines().filter(|line| line.contains(BUSY)).count();
    ensure!(
        busy == 15 && !text.contains("took"),
        "settings during the cycle:\n{text}"
    );
    ensure!(
        get(vm, "compressor")?.contains("[lz4]"),
        "the compressor was changed"
    );
    Ok(())
}

fn abort_save(lab: &Lab) -> Result<()> {
    let mut vm = sleepy(lab)?;
    for (phase, sentence) in [
        ("prepare", "stopped on request"),
        ("snapshot", "stopped on request"),
        ("write", "stopped on request while the image was written"),
    ] {
        watch(&mut vm, phase, "abort")?;
        rolled_back(&mut vm, "Operation canceled").with_context(|| format!("phase {phase}"))?;
        let result = expect_result(&mut vm, -125, &[sentence])?;
        ensure!(
            phase != "write" || result.contains(" write "),
            "it was stopped in another phase: {result}"
        );
        settings_were_busy(&mut vm)?;
    }
    there_and_back(&mut vm)?;
    vm.assert_clean()
}

fn abort_load(lab: &Lab) -> Result<()> {
    let mut vm = sleepy(lab)?;
    vm.hibernate()?;
    vm.set_append(&format!("{FIRST_DISK} dm.watch=load"));
    boot_fresh(&mut vm)?;
    settings_were_busy_in_new_system(&mut vm)?;
    kept_for_the_next(&mut vm)
}

fn abort_load_late(lab: &Lab) -> Result<()> {
    let mut vm = sleepy(lab)?;
    vm.hibernate()?;
    vm.set_append(&format!("{FIRST_DISK} dm.watch=loaded"));
    vm.start()?;
    // A write after a large read waits for a moment then, and here until it is to be stopped.
    vm.qmp()?.throttle(0, 2_000_000)?;
    vm.log()?.wait_for("load: 100%", 0, LONG)?;
    vm.qmp()?.stop_disk(0)?;
    vm.log()?.wait_for("load: asked to stop", 0, LONG)?;
    vm.qmp()?.throttle(0, 0)?;
    ensure!(
        vm.arrive(LONG)? == Arrival::Fresh,
        "it was resumed, though the load was stopped"
    );
    kept_for_the_next(&mut vm)
}

/// Checks that a load was stopped, and that the next boot resumes its image.
fn kept_for_the_next(vm: &mut Vm) -> Result<()> {
    expect_result(
        vm,
        -125,
        &["loading was stopped on request; the image is kept"],
    )?;
    let image = get(vm, "image")?;
    ensure!(
        image.contains("state: committed") && image.contains("attempts: 0"),
        "the image is {image}"
    );
    expect_type(vm, 0, "swsuspend")?;
    vm.power_off()?;
    vm.set_append(FIRST_DISK);
    resume(vm)?;
    expect_type(vm, 0, "swap")?;
    vm.assert_clean()
}

/// As [`settings_were_busy`], where no compressor was chosen.
fn settings_were_busy_in_new_system(vm: &mut Vm) -> Result<()> {
    let text = vm.run("cat /tmp/settings")?;
    ensure!(
        text.contains(BUSY) && !text.contains("took"),
        "settings during the load:\n{text}"
    );
    Ok(())
}

fn wakeup_events(lab: &Lab) -> Result<()> {
    let mut vm = sleepy(lab)?;
    // Events stop a transition only of those who have asked for it.
    let arm = "cat /sys/power/wakeup_count > /sys/power/wakeup_count";
    for phase in ["prepare", "snapshot", "write"] {
        watch(&mut vm, phase, "wakeup")?;
        vm.run(arm)?;
        rolled_back(&mut vm, "Device or resource busy")
            .with_context(|| format!("phase {phase}"))?;
        expect_result(&mut vm, -16, &["wakeup event"])?;
        vm.run("echo dormouse > /sys/power/wake_unlock")?;
    }
    there_and_back(&mut vm)?;
    vm.assert_clean()
}

fn test_run(lab: &Lab) -> Result<()> {
    let mut vm = lab.sleepy()?;
    vm.run("swapoff /dev/vda")?;
    refused(
        &mut vm,
        "echo disk > /sys/power/state",
        "No space left on device",
    )?;
    vm.run("swapon /dev/vda && echo freezer > /sys/power/pm_test")?;
    vm.run("echo disk > /sys/power/state")?;
    expect_result(
        &mut vm,
        0,
        &["a test run with pm_test at freezer: nothing was saved"],
    )?;
    vm.run("echo none > /sys/power/pm_test && guest work verify")?;
    vm.assert_clean()
}

fn pm_test(lab: &Lab) -> Result<()> {
    let mut vm = lab.small().swap_disk("512M")?;
    vm.boot()?;
    vm.run("swapon /dev/vda")?;
    prepare(&mut vm)?;
    let swaps = vm.run("cat /proc/swaps")?;
    for level in ["freezer", "devices", "platform", "processors", "core"] {
        vm.run(&format!("echo {level} > /sys/power/pm_test"))?;
        match vm.hibernate_by("echo disk > /sys/power/state")? {
            Hibernated::Returned(output) if output.code == 0 => {}
            other => bail!("level {level} ended in {other:?}"),
        }
        vm.run("guest work verify")?;
        ensure!(
            vm.run("cat /proc/swaps")? == swaps,
            "level {level} left swap space in use"
        );
        ensure!(
            get(&mut vm, "state")? == "idle",
            "the cycle of level {level} is not over"
        );
        expect_type(&vm, 0, "swap")?;
        let result = get(&mut vm, "last_result")?;
        ensure!(
            result.starts_with("0 ") && result.contains(&format!("with pm_test at {level}:")),
            "level {level}: {result}"
        );
    }
    vm.run("echo none > /sys/power/pm_test")?;
    there_and_back(&mut vm)?;
    vm.assert_clean()
}
