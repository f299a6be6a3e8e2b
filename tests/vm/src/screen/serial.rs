// SPDX-License-Identifier: GPL-2.0

//! The screen on a serial line, between the messages of the kernel.

use anyhow::Result;

use super::{begin, is_given_back, reach, restored, shown, stopped, ESC};
use crate::steps::expect_result;
use crate::Lab;

/// Esc while saving; then R, and the load after the reboot, on the line as well.
pub fn serial(lab: &Lab) -> Result<()> {
    let mut vm = super::machine(lab, None)?;
    let seq = begin(&mut vm)?;
    reach(&vm, "write: 50%", 0)?;
    // Only what has changed is drawn: words of a sentence may come apart.
    let parts = ["Writing the image", "MB/s", "to swap space"];
    shown(&vm, "", &parts, 0)?;
    vm.type_in(b"\x1b")?;
    stopped(&mut vm, seq)?;
    expect_result(&mut vm, -125, &[ESC])?;

    let from = vm.log()?.len();
    let seq = begin(&mut vm)?;
    // A key before the screen is there would be lost.
    reach(&vm, "Writing the image", from)?;
    vm.type_in(b"r")?;
    reach(&vm, "Loading the image", from)?;
    shown(&vm, "", &["then reboot"], from)?;
    restored(&mut vm, seq)?;
    vm.run("guest work verify")?;
    is_given_back(&mut vm)?;
    vm.assert_clean()
}
