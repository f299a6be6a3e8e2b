// SPDX-License-Identifier: GPL-2.0

//! Stopping a save that waits for a server or a network.

use std::time::Duration;

use anyhow::{ensure, Result};

use super::liar::{Fault, Liar};
use super::{choose, fails, machine, STATIC};
use crate::steps::{clock, expect_result, prepare, set, FOLDER};
use crate::Lab;

/// Stops the cycle when it is in step $1 and gets nowhere.
const STALL: &str = r#"#!/bin/sh
cd /sys/power/hibernate
until read -r step rest < progress && [ "$step" = "$1" ]; do sleep 0.1; done
last=
while read -r step done rest < progress && [ "$done" != "$last" ]; do
	last=$done
	sleep 2
done
echo 1 > abort
"#;

/// Milliseconds of the guest from a request to stop to the system that goes on. Without it the
/// server would be given 60 seconds.
const STOP: u64 = 10_000;

/// Saves that wait are stopped on request.
pub fn stopped(lab: &Lab) -> Result<()> {
    let mut vm = machine(lab, "nbd://10.0.2.2:1/nothing", STATIC).file("/bin/stall", 0o755, STALL);
    vm.boot()?;
    prepare(&mut vm)?;
    let silent = Liar::new(512 << 20, Fault::Silence, 12)?;
    let mute = Liar::new(512 << 20, Fault::Mute, 0)?;
    let nobody = "nbd://10.0.2.99/nobody".to_string();
    for (target, step) in [
        (silent.target(), "write"),
        (mute.target(), "begin"),
        (nobody, "begin"),
    ] {
        choose(&mut vm, &target)?;
        vm.run(&format!(
            "/bin/stall {step} > /dev/null 2>&1 & echo $! > {FOLDER}/keep_running"
        ))?;
        let from = vm.log()?.len();
        fails(&mut vm, "Operation canceled")?;
        expect_result(&mut vm, -125, &["stopped on request"])?;
        let asked = vm.log()?.wait_for("asked to stop", from, Duration::ZERO)?;
        let exit = vm
            .log()?
            .wait_for("hibernation exit", asked, Duration::ZERO)?;
        let took = clock(&vm, exit)?.saturating_sub(clock(&vm, asked)?);
        println!("stop of a save to {target}: {took} ms");
        ensure!(took < STOP, "to stop a save to {target} took {took} ms");
        set(&mut vm, "keep_running", "")?;
    }
    vm.assert_clean()
}
