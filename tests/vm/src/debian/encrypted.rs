// SPDX-License-Identifier: GPL-2.0

//! The passphrase of an image, typed on the keyboard of a machine that boots.

use std::time::Duration;

use anyhow::{ensure, Result};
use dormouse_vm::{Arrival, Display, Vm};

use super::{all_green, boot_fresh, journal, machine, sleep, Boot, BOOT};
use crate::Lab;

/// What the initramfs writes to the kernel log before it asks.
const ASKS: &str = "dormouse: asking for the passphrase";

/// Encrypts images from now on.
pub(super) const SET_KEY: &str =
    "echo teapot | dormouse key set --stdin --memory-mib 16 --passes 1 --lanes 1";

/// Types small letters, and newline.
fn enter(vm: &mut Vm, text: &str) -> Result<()> {
    for letter in text.chars() {
        match letter {
            '\n' => vm.qmp()?.press("ret")?,
            other => vm.qmp()?.press(&other.to_string())?,
        }
        std::thread::sleep(Duration::from_millis(300));
    }
    Ok(())
}

/// Waits for the question number `count` of this boot and answers it.
fn answer(vm: &mut Vm, from: usize, text: &str) -> Result<usize> {
    let at = vm.log()?.wait_for(ASKS, from, BOOT)?;
    // The command needs a moment until it reads.
    std::thread::sleep(Duration::from_secs(5));
    enter(vm, text)?;
    enter(vm, "\n")?;
    Ok(at + 1)
}

/// Boots, types a wrong passphrase, then the right one, and the saved system is back.
pub(super) fn resume_asked(vm: &mut Vm) -> Result<()> {
    vm.start()?;
    let next = answer(vm, 0, "kettle")?;
    answer(vm, next, "teapot")?;
    ensure!(vm.arrive(BOOT)? == Arrival::Resumed, "not resumed");
    journal(vm, 1)
}

/// Types a wrong passphrase, then the right one.
///
/// # Errors
///
/// What is not as it should be.
pub fn run(lab: &Lab) -> Result<()> {
    // The last console is the one that asks.
    let mut vm = machine(lab, Boot::InitramfsTools)?
        .append("console=tty0")
        .display(Display::Graphics);
    boot_fresh(&mut vm)?;
    vm.run(SET_KEY)?;
    all_green(&mut vm, &[])?;
    sleep(&mut vm, "hibernate")?;
    resume_asked(&mut vm)?;
    all_green(&mut vm, &[])?;
    vm.assert_clean()
}
