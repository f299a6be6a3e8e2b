// SPDX-License-Identifier: GPL-2.0

//! The command `dormouse` in a real guest.

use anyhow::{bail, ensure, Result};
use dormouse_vm::{Hibernated, Vm};

use crate::steps::{expect_result, get, resume};
use crate::{Lab, Scenario};

/// The scenarios of this file.
pub const SCENARIOS: &[Scenario] = &[Scenario::new(
    "command",
    "status, config, hibernate, watch and abort of the command do what they say",
    command,
)];

/// Runs `dormouse ARGS`, which has to end with `code` and say `part`.
fn fails(vm: &mut Vm, args: &str, code: i32, part: &str) -> Result<()> {
    let output = vm.try_run(&format!("dormouse {args}"))?;
    ensure!(
        output.code == code && output.text.contains(part) && output.text.lines().count() == 1,
        "'dormouse {args}' gave {} '{}' instead of {code} and '{part}'",
        output.code,
        output.text.trim()
    );
    Ok(())
}

/// Runs `dormouse ARGS`, which has to say all of `parts`.
fn says(vm: &mut Vm, args: &str, parts: &[&str]) -> Result<String> {
    let text = vm.run(&format!("dormouse {args}"))?;
    for part in parts {
        ensure!(
            text.contains(part),
            "'dormouse {args}' does not say '{part}': {text}"
        );
    }
    Ok(text)
}

fn settings(vm: &mut Vm) -> Result<()> {
    says(vm, "config set compressor=lzo threads=2", &["done"])?;
    fails(
        vm,
        "config set writer=tape compressor=lz4",
        1,
        "nothing was changed",
    )?;
    fails(
        vm,
        "config set compressor=lz4 threads=65",
        1,
        "nothing was changed",
    )?;
    fails(vm, "config set threads=two", 2, "unsigned number")?;
    says(vm, "config get compressor", &["lzo\n"])?;
    vm.run("mkdir -p /etc")?;
    says(vm, "config save", &["/etc/dormouse.toml"])?;
    says(
        vm,
        "config set compressor=none threads=0 image_size_limit=1G",
        &["done"],
    )?;
    says(vm, "config apply", &["done"])?;
    says(
        vm,
        "config get",
        &["compressor=lzo\n", "threads=2\n", "image_size_limit=0\n"],
    )?;
    Ok(())
}

/// Saves and restores in the same boot, seen by `watch`.
fn in_place(vm: &mut Vm) -> Result<()> {
    // Not into a file in memory: that is as it was at the snapshot afterwards.
    vm.run("dormouse watch --stay-awake > /dev/kmsg 2>&1 & sleep 1")?;
    says(
        vm,
        "hibernate --mode test_resume --compressor zstd",
        &["resumed: saved", "loaded in"],
    )?;
    vm.run("guest work verify")?;
    says(vm, "config get compressor", &["lzo\n"])?;
    let modes = vm.run("cat /sys/power/disk")?;
    ensure!(
        modes.contains("[platform]"),
        "the mode was not put back: {modes}"
    );
    vm.run("until [ -z \"$(cat /sys/power/hibernate/keep_running)\" ]; do sleep 1; done")?;
    let log = vm.log()?;
    for part in ["writing: ", " MB/s", "tidying up"] {
        ensure!(log.contains(part), "watch did not show '{part}'");
    }
    Ok(())
}

fn refused(vm: &mut Vm) -> Result<()> {
    fails(vm, "abort", 3, "no hibernation or resume is under way")?;
    fails(vm, "resume /dev/vda", 3, "there is no image")?;
    fails(vm, "watch --now", 3, "no cycle is under way")?;
    vm.run("swapoff /dev/vda")?;
    fails(vm, "hibernate --mode test_resume", 1, "not hibernated: ")?;
    vm.run("swapon /dev/vda")?;
    // Nobody but root.
    vm.run(
        "mkdir -p /etc; echo root:x:0:0::/:/bin/sh > /etc/passwd; echo dora:x:1000:1000::/:/bin/sh >> /etc/passwd",
    )?;
    let output = vm.try_run("su -s /bin/sh -c '/bin/dormouse status' dora")?;
    ensure!(
        output.code == 6 && output.text.contains("only root"),
        "as a user: {} {}",
        output.code,
        output.text
    );
    Ok(())
}

fn command(lab: &Lab) -> Result<()> {
    let mut vm = lab.sleepy()?;
    says(
        &mut vm,
        "status",
        &[
            "enabled           yes",
            "lz4 (of none",
            "swap space on /dev/vda holds",
        ],
    )?;
    settings(&mut vm)?;
    in_place(&mut vm)?;
    refused(&mut vm)?;

    let save = "dormouse hibernate > /tmp/came-back 2>&1";
    match vm.hibernate_by(save)? {
        Hibernated::PoweredOff => {}
        _ => bail!("it came back: {}", vm.run("cat /tmp/came-back")?),
    }
    resume(&mut vm)?;
    let said = vm.run("until [ -s /tmp/came-back ]; do sleep 1; done; cat /tmp/came-back")?;
    let result = expect_result(&mut vm, 0, &["resumed: saved"])?;
    ensure!(result.ends_with(said.trim_end()), "{said} is not {result}");
    ensure!(
        !get(&mut vm, "image")?.contains("state: committed"),
        "there still is an image"
    );
    vm.assert_clean()
}
