// SPDX-License-Identifier: GPL-2.0

//! The kernel's own hibernation beside Dormouse.

use anyhow::{ensure, Result};
use dormouse_vm::Arrival;

use crate::{Lab, Scenario};

/// The scenarios of this file.
pub const SCENARIOS: &[Scenario] = &[
    Scenario::new(
        "swsusp-unaffected",
        "with Dormouse loaded but not enabled, swsusp saves and resumes as ever",
        unaffected,
    ),
    Scenario::new(
        "swsusp-image-beside-dormouse",
        "Dormouse leaves a swsusp image alone, and swsusp still resumes it",
        image_beside_dormouse,
    ),
];

fn unaffected(lab: &Lab) -> Result<()> {
    let mut vm = lab.vm().append("resume=/dev/vda").swap_disk("1G")?;
    vm.boot()?;
    vm.run("swapon /dev/vda")?;
    vm.run("guest work start mib=100 file_mib=16")?;
    let enabled = vm.run("cat /sys/power/hibernate/enabled")?;
    ensure!(
        enabled.trim() == "0",
        "Dormouse is enabled from the start: {enabled}"
    );
    vm.hibernate()?;
    ensure!(
        vm.get_disk(0)?.read(4086, 10)? == b"S1SUSPEND\0",
        "not swsusp's image"
    );
    ensure!(vm.boot()? == Arrival::Resumed, "swsusp did not resume");
    vm.run("guest work verify")?;
    ensure!(
        vm.get_disk(0)?.read(4086, 10)? == b"SWAPSPACE2",
        "the swap area was not put back"
    );
    vm.assert_clean()
}

fn image_beside_dormouse(lab: &Lab) -> Result<()> {
    let mut vm = lab.vm().swap_disk("1G")?;
    vm.boot()?;
    vm.run("swapon /dev/vda")?;
    vm.run("guest work start mib=64")?;
    vm.hibernate()?;
    // /init asks Dormouse first, and then the kernel.
    vm.set_append("dm.resume=/dev/vda dm.kernel_resume=/dev/vda");
    ensure!(vm.boot()? == Arrival::Resumed, "swsusp did not resume");
    ensure!(
        vm.log()?.contains("guest: no resume from /dev/vda"),
        "Dormouse was not asked"
    );
    vm.run("guest work verify")?;
    vm.assert_clean()
}
