// SPDX-License-Identifier: GPL-2.0

//! The screen on a serial line, between the messages of the kernel.

use anyhow::{ensure, Result};
use dormouse_vm::Vm;

use super::{back, begin, is_given_back, reach, ESC};
use crate::steps::expect_result;
use crate::Lab;

/// Checks that the line, where only what has changed is drawn, has shown each of `parts` after line `from` of the log.
fn shown(vm: &Vm, parts: &[&str], from: usize) -> Result<()> {
    let lines = vm.log()?.lines();
    let lines = lines.get(from..).unwrap_or_default();
    for part in parts {
        ensure!(
            lines.iter().any(|line| line.contains(part)),
            "the line did not show '{part}'"
        );
    }
    Ok(())
}

/// Esc while saving; then R, and the load after the reboot, on the line as well.
pub fn serial(lab: &Lab) -> Result<()> {
    let mut vm = super::machine(lab, None)?;
    let seq = begin(&mut vm)?;
    reach(&vm, "write: 50%", 0)?;
    shown(&vm, &["Writing the image", "MB/s", "to swap space"], 0)?;
    vm.type_in(b"\x1b")?;
    let output = back(&mut vm, seq)?;
    ensure!(
        output.code == 1 && output.text.contains("stopped on request"),
        "Esc gave {output:?}"
    );
    expect_result(&mut vm, -125, &[ESC])?;
    is_given_back(&mut vm)?;
    vm.run("guest work verify")?;

    let from = vm.log()?.len();
    let seq = begin(&mut vm)?;
    reach(&vm, "write: 10%", from)?;
    vm.type_in(b"r")?;
    reach(&vm, "load: 20%", from)?;
    shown(&vm, &["then reboot", "Loading the image"], from)?;
    vm.qmp()?.throttle(0, 0)?;
    let output = back(&mut vm, seq)?;
    ensure!(
        output.code == 0 && output.text.contains("resumed: saved"),
        "it came back with {output:?}"
    );
    vm.run("guest work verify")?;
    is_given_back(&mut vm)?;
    vm.assert_clean()
}
