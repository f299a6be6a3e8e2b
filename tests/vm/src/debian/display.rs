// SPDX-License-Identifier: GPL-2.0

//! What somebody sees who sits before the machine.

use anyhow::{ensure, Result};
use dormouse_vm::{Arrival, Display, Vm};

use super::encrypted::{resume_asked, SET_KEY};
use super::{boot_fresh, journal, machine, sleep, Boot, BOOT, RUN};
use crate::screen::{is_drawn, SLOW};
use crate::Lab;

/// The units have ended, and put everything back.
fn is_put_back(vm: &mut Vm) -> Result<()> {
    let kept = vm.run("cat /sys/power/hibernate/keep_running")?;
    ensure!(kept.trim().is_empty(), "{kept} is still kept running");
    let active = vm.run("cat /sys/class/tty/tty0/active")?;
    ensure!(active.trim() == "tty1", "{active} is to be seen");
    let failed = vm.run("systemctl --failed --no-legend --no-pager")?;
    ensure!(failed.trim().is_empty(), "units failed: {failed}");
    Ok(())
}

/// What the screen has said in the end, as the journal has it.
fn has_said(vm: &mut Vm, sentence: &str) -> Result<()> {
    let said = vm.run("journalctl -b -u dormouse-screen --no-pager -o cat")?;
    ensure!(said.contains(sentence), "the screen said '{said}'");
    Ok(())
}

/// `systemctl hibernate` with the units of the package, before a display.
///
/// # Errors
///
/// What is not to be seen.
pub fn screen(lab: &Lab) -> Result<()> {
    let mut vm = machine(lab, Boot::InitramfsTools)?.display(Display::Graphics);
    boot_fresh(&mut vm)?;

    vm.qmp()?.throttle(0, SLOW)?;
    let from = vm.log()?.len();
    let seq = vm.send("systemctl hibernate")?;
    vm.log()?.wait_for("write: 10%", from, RUN)?;
    is_drawn(&mut vm)?;
    vm.qmp()?.press("esc")?;
    vm.log()?.wait_for("hibernation exit", from, RUN)?;
    vm.qmp()?.throttle(0, 0)?;
    vm.wait(seq, RUN, |_| {})?.done("systemctl hibernate")?;
    // It is the one that says so.
    vm.run("until systemctl is-failed systemd-hibernate; do sleep 1; done")?;
    vm.run("systemctl reset-failed")?;
    has_said(&mut vm, "stopped on request")?;
    is_put_back(&mut vm)?;

    vm.qmp()?.throttle(0, SLOW)?;
    let from = vm.log()?.len();
    vm.send("systemctl hibernate")?;
    vm.log()?.wait_for("write: 10%", from, RUN)?;
    is_drawn(&mut vm)?;
    vm.qmp()?.throttle(0, 0)?;
    vm.finish(RUN)?;
    vm.start()?;
    vm.qmp()?.throttle(0, SLOW)?;
    vm.log()?.wait_for("load: 10%", 0, BOOT)?;
    is_drawn(&mut vm)?;
    vm.qmp()?.throttle(0, 0)?;
    ensure!(vm.arrive(BOOT)? == Arrival::Resumed, "not resumed");
    journal(&mut vm, 1)?;
    vm.run("while systemctl is-active dormouse-screen; do sleep 1; done")?;
    has_said(&mut vm, "the system is back: saved")?;
    is_put_back(&mut vm)?;
    vm.assert_clean()
}

/// The passphrase, where Plymouth has the display.
///
/// # Errors
///
/// What is not as it should be.
pub fn plymouth(lab: &Lab) -> Result<()> {
    let mut vm = machine(lab, Boot::InitramfsTools)?
        .append("console=tty0 splash plymouth.debug=stream:/dev/ttyS0")
        .display(Display::Graphics);
    boot_fresh(&mut vm)?;
    vm.run(SET_KEY)?;
    sleep(&mut vm, "hibernate")?;
    resume_asked(&mut vm)?;
    // It drew with everything frozen but itself and our command.
    for said in [
        "got password answer",
        "displaying message Loading the image: ",
    ] {
        ensure!(vm.log()?.contains(said), "Plymouth has no '{said}'");
    }
    vm.assert_clean()
}
