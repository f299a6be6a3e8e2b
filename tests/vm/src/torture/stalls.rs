// SPDX-License-Identifier: GPL-2.0

//! Disks that stand still from a random moment of a save on.

use std::time::{Duration, Instant};

use anyhow::{bail, ensure, Context, Result};
use dormouse_vm::agent::Progress;
use dormouse_vm::Vm;

use super::{Counts, Random};
use crate::stalls::{self, PATIENCE, REST};
use crate::steps::{get, resume, there_and_back};
use crate::Lab;

/// How long a save may take that is not disturbed.
const LONG: Duration = Duration::from_secs(180);

/// A machine that is up and at work, and how long a save takes.
struct Victim {
    vm: Vm,
    save: Duration,
    swaps: String,
}

impl Victim {
    /// A machine that has been through an undisturbed cycle.
    fn new(lab: &Lab) -> Result<Self> {
        let mut vm = stalls::sleepy(lab)?;
        let start = Instant::now();
        vm.hibernate()?;
        let save = start.elapsed();
        resume(&mut vm)?;
        let swaps = vm.run("cat /proc/swaps")?;
        Ok(Victim { vm, save, swaps })
    }

    /// Stops the disk at a random point of a save, and lets it go on when the
    /// machine has. Returns what happened.
    fn stall(&mut self, random: &mut Random, counts: &Counts) -> Result<String> {
        let ms = u64::try_from(self.save.as_millis()).unwrap_or(1);
        let delay = Duration::from_millis(random.below(ms.max(1)));
        let point = format!("{} ms into a save", delay.as_millis());
        let vm = &mut self.vm;
        let seq = vm.send("echo disk > /sys/power/state")?;
        std::thread::sleep(delay);
        if stalls::stop(vm, 0).is_err() {
            // It was off before.
            vm.finish(LONG)?;
            counts.kept(resume(vm))?;
            return Ok(format!("{point}, which was over"));
        }
        let since = Instant::now();
        match vm.wait(seq, LONG, |_| {})? {
            Progress::Done(output) => {
                let took = since.elapsed();
                let most = Duration::from_secs(PATIENCE) + REST;
                stalls::go_on(vm, 0)?;
                ensure!(output.code != 0, "{point}: it went well: {output:?}");
                ensure!(
                    took < most,
                    "{point}: the machine went on after {} ms",
                    took.as_millis()
                );
                let result = get(vm, "last_result")?;
                ensure!(result.starts_with("-110 "), "{point}: {result}");
                stalls::is_whole(vm, &self.swaps).context(point.clone())?;
                let sentence = result.splitn(3, ' ').nth(2).unwrap_or_default();
                Ok(format!("{point}: {} ms, {sentence}", took.as_millis()))
            }
            Progress::Gone => {
                counts.kept(resume(vm))?;
                Ok(format!("{point}, which came to its end"))
            }
            other => bail!("{point}: {other:?}"),
        }
    }
}

/// Stops the disk in `count` saves.
///
/// # Errors
///
/// When not even an undisturbed cycle works.
pub fn run(lab: &Lab, random: &mut Random, count: u64, counts: &Counts) -> Result<()> {
    let mut victim = Victim::new(lab)?;
    for number in 1..=count {
        let result = victim.stall(random, counts);
        let result = result.and_then(|point| victim.vm.assert_clean().map(|()| point));
        match result {
            Ok(point) => {
                println!("stall {number}: {point}");
                counts.stalls.good();
            }
            Err(error) => {
                println!("stall {number} FAILED: {error:#}");
                victim = Victim::new(lab)?;
            }
        }
    }
    // What so many stopped saves have left does not harm a whole one.
    counts.kept(there_and_back(&mut victim.vm))
}
