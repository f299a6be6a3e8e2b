// SPDX-License-Identifier: GPL-2.0

//! Power cuts at random points of saves and loads.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use dormouse_host::image::superblock::State;
use dormouse_vm::Vm;

use super::{Counts, Random};
use crate::image;
use crate::power::retry;
use crate::steps::{boot_fresh, expect_result, expect_type, prepare, resume};
use crate::Lab;

/// A machine that is up and at work, and how long it takes when nothing happens.
struct Victim {
    vm: Vm,
    save: Duration,
    boot: Duration,
}

impl Victim {
    /// A machine that has been through an undisturbed cycle.
    fn new(lab: &Lab) -> Result<Self> {
        let mut vm = lab.sleepy()?;
        let start = Instant::now();
        vm.hibernate()?;
        let save = start.elapsed();
        let start = Instant::now();
        resume(&mut vm)?;
        let boot = start.elapsed();
        Ok(Victim { vm, save, boot })
    }

    /// Cuts the power at a random point of a save, sometimes a little later.
    fn cut_save(&mut self, random: &mut Random, counts: &Counts) -> Result<String> {
        let delay = part_of(self.save, random);
        self.vm.send("echo disk > /sys/power/state")?;
        self.vm.cut_after(delay)?;
        let point = format!("{} ms into a save", delay.as_millis());
        self.come_back(counts).with_context(|| point.clone())?;
        Ok(point)
    }

    /// Saves, and cuts the power at a random point of the next boot.
    fn cut_load(&mut self, random: &mut Random, counts: &Counts) -> Result<String> {
        self.vm.hibernate()?;
        let delay = part_of(self.boot, random);
        self.vm.start()?;
        self.vm.cut_after(delay)?;
        let point = format!("{} ms into a resuming boot", delay.as_millis());
        self.come_back(counts).with_context(|| point.clone())?;
        Ok(point)
    }

    /// Boots, and checks that the system which comes up is the one that the
    /// disk promises, with a workload that is whole.
    fn come_back(&mut self, counts: &Counts) -> Result<()> {
        let vm = &mut self.vm;
        let superblock = image::superblock(vm.get_disk(0)?)?;
        let taken_over = superblock
            .as_ref()
            .is_some_and(|found| found.state == State::Resuming || found.attempts >= 3);
        if !image::is_complete(vm.get_disk(0)?)? {
            expect_type(vm, 0, "swap")?;
            boot_fresh(vm)?;
            if superblock.is_some_and(|found| found.state == State::Writing) {
                expect_result(vm, -4, &["the last save did not finish"])?;
            }
            vm.run("swapon /dev/vda")?;
            return prepare(vm);
        }
        expect_type(vm, 0, "swsuspend")?;
        counts.kept(if taken_over {
            boot_fresh(vm)
                .and_then(|()| expect_result(vm, -114, &["it is kept"]))
                .and_then(|_| retry(vm))
        } else {
            resume(vm)
        })?;
        expect_type(vm, 0, "swap")
    }
}

/// A random time up to a tenth more than `whole`.
fn part_of(whole: Duration, random: &mut Random) -> Duration {
    let ms = u64::try_from(whole.as_millis()).unwrap_or(u64::MAX / 2);
    Duration::from_millis(random.below(ms + ms / 10 + 1))
}

/// Cuts the power `count` times, two thirds of them in saves.
///
/// # Errors
///
/// When not even an undisturbed cycle works.
pub fn run(lab: &Lab, random: &mut Random, count: u64, counts: &Counts) -> Result<()> {
    let mut victim = Victim::new(lab)?;
    for number in 1..=count {
        let result = match random.below(3) {
            0 => victim.cut_load(random, counts),
            _ => victim.cut_save(random, counts),
        };
        let result = result.and_then(|point| victim.vm.assert_clean().context(point));
        match result {
            Ok(()) => counts.cuts.good(),
            Err(error) => {
                println!("power cut {number}: {error:#}");
                victim = Victim::new(lab)?;
            }
        }
    }
    Ok(())
}
