// SPDX-License-Identifier: GPL-2.0

//! Writes to the disk of a filesystem behind the image, past the filesystem.

use anyhow::{bail, ensure, Result};
use dormouse_vm::{Hibernated, Vm};

use super::{busy, until};
use crate::steps::{expect_result, expect_type, there_and_back, FOLDER};
use crate::Lab;

/// Hibernates while a process that is kept running writes byte `at` of the disk with the ext4 over
/// and over: the image is given up for the reason `what`, and the process named.
fn given_up_for(vm: &mut Vm, at: u32, what: &str) -> Result<()> {
    // Not before devices work again: the kernel cannot take a processor down with a request
    // waiting there.
    vm.run(&format!(
        "sh -c 'while :; do grep -q write {FOLDER}/state && \
         printf x | dd of=/dev/vdb bs=1 seek={at} conv=notrunc,fsync 2> /dev/null; \
         usleep 50000; done' > /dev/null 2>&1 & echo $! > /writer.pid"
    ))?;
    vm.run(&format!("cat /writer.pid > {FOLDER}/keep_running"))?;
    match vm.hibernate_by("echo disk > /sys/power/state")? {
        Hibernated::Returned(output) => ensure!(output.code != 0, "it came back without an error"),
        other => bail!("the image was not given up: {other:?}"),
    }
    let pid = vm.run("cat /writer.pid")?;
    let name = format!("kept running were {} (", pid.trim());
    expect_result(vm, -116, &[what, &name])?;
    expect_type(vm, 0, "swap")?;
    vm.run("guest work verify && kill $(cat /writer.pid)")?;
    vm.run(&format!("echo > {FOLDER}/keep_running"))?;
    Ok(())
}

pub fn behind(lab: &Lab) -> Result<()> {
    let mut vm = busy(lab)?;
    // The boot block, which the filesystem leaves alone.
    given_up_for(&mut vm, 0, "bytes were written to vdb")?;
    // Where nobody counts, it is seen from the superblock: how often that was mounted.
    vm.run("echo 0 > /sys/block/vdb/queue/iostats")?;
    let what = "the filesystem on vdb is not as it was at the snapshot";
    given_up_for(&mut vm, 1024 + 52, what)?;
    ensure!(
        vm.log()?.contains("what is written to vdb is not counted"),
        "nothing is said of iostats"
    );
    vm.run("echo 1 > /sys/block/vdb/queue/iostats")?;
    // One that only wants to is held.
    vm.run("sh -c 'while :; do echo x >> /ext4/log; usleep 10000; done' & echo $! > /writer.pid")?;
    vm.run(&format!("cat /writer.pid > {FOLDER}/keep_running"))?;
    there_and_back(&mut vm)?;
    let before = vm.run("wc -l < /ext4/log")?;
    until(
        &mut vm,
        &format!("test $(wc -l < /ext4/log) -gt {}", before.trim()),
    )?;
    vm.assert_clean()
}
