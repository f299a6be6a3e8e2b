// SPDX-License-Identifier: GPL-2.0

//! Images with flipped bits: never restored, always explained.

use anyhow::{ensure, Context, Result};
use dormouse_vm::{Disk, Vm};

use crate::image::{self, Part, Run};
use crate::steps::{boot_fresh, expect_result, expect_type, get, resume, FOLDER};
use crate::{Lab, Scenario};

/// The scenarios of this file.
pub const SCENARIOS: &[Scenario] = &[Scenario::new(
    "damaged",
    "a flipped bit in any part of an image: not resumed, with a sentence",
    |lab| Asleep::new(lab)?.refuses_each(&Part::ALL),
)];

/// A machine whose first disk holds an image.
pub struct Asleep {
    /// The machine, off.
    pub vm: Vm,
    /// Where the parts of the image lie.
    pub runs: Vec<Run>,
    whole: Disk,
    // The copy of the disk lives in it.
    _folder: tempfile::TempDir,
}

impl Asleep {
    /// Hibernates a machine with a workload.
    ///
    /// # Errors
    ///
    /// When that fails.
    pub fn new(lab: &Lab) -> Result<Self> {
        Self::of(lab.sleepy()?)
    }

    /// Hibernates `vm`, which is up.
    ///
    /// # Errors
    ///
    /// When that fails.
    pub fn of(mut vm: Vm) -> Result<Self> {
        vm.hibernate()?;
        let folder = tempfile::Builder::new()
            .prefix("dormouse-copy-")
            .tempdir()?;
        let disk = vm.get_disk(0)?;
        let whole = disk.copy_to(&folder.path().join("whole"))?;
        let runs = image::runs(disk)?;
        for part in Part::ALL {
            ensure!(
                runs.iter().any(|run| run.part == part),
                "the image has no {part:?}"
            );
        }
        Ok(Asleep {
            vm,
            runs,
            whole,
            _folder: folder,
        })
    }

    /// Puts the disk back to what it was before anything was damaged.
    ///
    /// # Errors
    ///
    /// When it cannot be written.
    pub fn restore(&self) -> Result<()> {
        self.whole.copy_to(self.vm.get_disk(0)?.path())?;
        Ok(())
    }

    /// Flips one bit, boots, and checks that a new system comes up that says
    /// why, with swap space that works. Leaves the machine off.
    ///
    /// # Errors
    ///
    /// When something of that is not so; above all when it resumes.
    pub fn refuses(&mut self, part: Part, at: u64, bit: u32) -> Result<()> {
        self.flip(at, bit)?;
        self.look()
            .and_then(|_| self.refused(part))
            .with_context(|| format!("bit {bit} of byte {at}, in {part:?}"))?;
        self.vm.power_off()
    }

    fn flip(&self, at: u64, bit: u32) -> Result<()> {
        self.restore()?;
        self.vm.get_disk(0)?.flip_bit(at, bit)
    }

    /// Flips one bit in each of `parts`, and checks each time what [`Asleep::refuses`] does: the
    /// first at boot, the others when the new system is asked to resume again. Then resumes the
    /// image without damage: it was the damage.
    ///
    /// # Errors
    ///
    /// When a damaged image is not refused, or the whole one does not resume.
    pub fn refuses_each(mut self, parts: &[Part]) -> Result<()> {
        for &part in parts {
            let run = self.runs.iter().rfind(|run| run.part == part);
            let run = *run.context("no such part")?;
            self.flip(run.at + run.len / 2, 3)?;
            let result = self.look().and_then(|from| {
                self.refused(part)?;
                self.says(from)
            });
            result.with_context(|| format!("a flipped bit in {part:?}"))?;
            self.vm
                .run("if grep -q vda /proc/swaps; then swapoff /dev/vda; fi")?;
        }
        self.vm.power_off()?;
        self.restore()?;
        resume(&mut self.vm)?;
        self.vm.assert_clean()
    }

    /// Checks that the image is called damaged with all `parts` of a sentence: at boot when the
    /// machine is off, otherwise when the system that is up is asked to resume. Leaves it up.
    ///
    /// # Errors
    ///
    /// When something of that is not so; above all when it resumes.
    pub fn refused_with(&mut self, parts: &[&str]) -> Result<()> {
        let from = self.look()?;
        expect_result(&mut self.vm, -74, &["the image is damaged: "])?;
        expect_result(&mut self.vm, -74, parts)?;
        self.says(from)
    }

    /// Has the kernel look for the image, and not resume it. Returns how many lines the log had.
    fn look(&mut self) -> Result<usize> {
        if !self.vm.is_running() {
            boot_fresh(&mut self.vm)?;
            return Ok(0);
        }
        // At boot there may have been no header to see the need of a key in.
        self.vm
            .run("[ ! -e /etc/passphrase ] || dormouse key unlock --stdin < /etc/passphrase")?;
        let from = self.vm.log()?.len();
        self.vm.run(&format!("! echo 1 > {FOLDER}/resume"))?;
        Ok(from)
    }

    /// Checks that the sentence of `last_result` is in the kernel log after line `from`.
    fn says(&mut self, from: usize) -> Result<()> {
        let result = get(&mut self.vm, "last_result")?;
        let sentence = result.splitn(3, ' ').nth(2).context("no sentence")?;
        let lines = self.vm.log()?.lines();
        ensure!(
            lines.iter().skip(from).any(|line| line.contains(sentence)),
            "the kernel log does not say '{sentence}' again"
        );
        Ok(())
    }

    /// Checks what a new system says of the damage, and that the area serves as swap space.
    fn refused(&mut self, part: Part) -> Result<()> {
        let vm = &mut self.vm;
        let result = get(vm, "last_result")?;
        if part != Part::Superblock && result.starts_with("-95 ") {
            // The number of the format's version: it may be a later one.
            ensure!(result.contains("it is kept"), "last_result is {result}");
            return expect_type(vm, 0, "swsuspend");
        }
        match part {
            // Its errno depends on which field looks wrong first.
            Part::Superblock => {
                ensure!(
                    result.contains("the superblock of the image is damaged"),
                    "last_result is {result}"
                );
                // What the area is nobody knows, so it stays as it is.
                expect_type(vm, 0, "swsuspend")?;
                vm.run("mkswap /dev/vda")?;
            }
            Part::Mark => {
                expect_result(vm, -74, &["the mark of the image on vda is damaged"])?;
                vm.run("mkswap /dev/vda")?;
            }
            Part::Map => {
                expect_result(vm, -74, &["the block map of the image on vda is damaged"])?;
            }
            _ => {
                expect_result(vm, -74, &["the image is damaged: ", "it is not restored"])?;
            }
        }
        vm.run("swapon /dev/vda")?;
        expect_type(vm, 0, "swap")
    }
}
