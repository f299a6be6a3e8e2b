// SPDX-License-Identifier: GPL-2.0

//! Hibernation of systemd that begins or ends with a suspend to memory.

use anyhow::{ensure, Result};
use dormouse_vm::{Arrival, Display, Vm};
use serde_json::json;

use super::{
    all_green, boot_fresh, cycle, journal, machine, resume, wait_for_state, Boot, Load, BOOT,
};
use crate::Lab;

/// Sleeps by hybrid-sleep; the image is complete and the machine suspended then.
fn hybrid(vm: &mut Vm) -> Result<()> {
    vm.send("systemctl hybrid-sleep")?;
    wait_for_state(vm, "suspended")
}

/// Goes through all of them.
///
/// # Errors
///
/// What is not as it should be.
pub fn run(lab: &Lab) -> Result<()> {
    // The screen is shown as well.
    let mut vm = machine(lab, Boot::InitramfsTools)?.display(Display::Graphics);
    boot_fresh(&mut vm)?;
    let mut load = Load::start(&mut vm)?;

    // Woken by a key: the image is of no use any more, and gone.
    hybrid(&mut vm)?;
    vm.qmp()?.command("system_wakeup", json!({}))?;
    wait_for_state(&mut vm, "running")?;
    // Its serial port hears nothing for a while.
    ensure!(
        vm.arrive(BOOT)? == Arrival::Resumed,
        "another system answers"
    );
    load.goes_on(&mut vm)?;
    let image = vm.run("cat /sys/power/hibernate/image")?;
    ensure!(
        !image.contains("committed"),
        "the image is still there: {image}"
    );
    all_green(&mut vm, &["key", "mode"])?;

    // The battery runs empty: the image is resumed.
    hybrid(&mut vm)?;
    vm.kill();
    resume(&mut vm)?;
    load.goes_on(&mut vm)?;
    journal(&mut vm, 1)?;

    // Woken by the clock, and then hibernated.
    vm.run(
        "mkdir -p /etc/systemd/sleep.conf.d && \
         printf '[Sleep]\\nHibernateDelaySec=15s\\n' > /etc/systemd/sleep.conf.d/delay.conf",
    )?;
    cycle(&mut vm, &mut load, "suspend-then-hibernate", 2)?;
    load.end(&mut vm)?;
    vm.assert_clean()
}
