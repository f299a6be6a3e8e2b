// SPDX-License-Identifier: GPL-2.0

//! Images with flipped bits: never restored, always explained.

use anyhow::{ensure, Context, Result};
use dormouse_vm::{Disk, Vm};

use crate::image::{self, Part, Run};
use crate::steps::{boot_fresh, expect_result, expect_type, get, resume};
use crate::{Lab, Scenario};

/// The scenarios of this file.
pub const SCENARIOS: &[Scenario] = &[
    Scenario::new(
        "damaged-mark",
        "a flipped bit in superblock, mark or block map: not resumed, with a sentence",
        |lab| damaged(lab, &[Part::Superblock, Part::Mark, Part::Map]),
    ),
    Scenario::new(
        "damaged-description",
        "a flipped bit in header, commit record or root: not resumed, with a sentence",
        |lab| damaged(lab, &[Part::Header, Part::Commit, Part::Root]),
    ),
    Scenario::new(
        "damaged-contents",
        "a flipped bit in a frame of the index or of pages: not resumed, with a sentence",
        |lab| damaged(lab, &[Part::Index, Part::Data]),
    ),
];

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
        self.restore()?;
        self.vm.get_disk(0)?.flip_bit(at, bit)?;
        self.refused(part)
            .with_context(|| format!("bit {bit} of byte {at}, in {part:?}"))
    }

    /// Flips one bit in each of `parts`, boot by boot, as [`Asleep::refuses`] does; then resumes the
    /// image without damage: it was the damage.
    ///
    /// # Errors
    ///
    /// When a damaged image is not refused, or the whole one does not resume.
    pub fn refuses_each(mut self, parts: &[Part]) -> Result<()> {
        for &part in parts {
            let run = self.runs.iter().rfind(|run| run.part == part);
            let run = *run.context("no such part")?;
            self.refuses(part, run.at + run.len / 2, 3)?;
        }
        self.restore()?;
        resume(&mut self.vm)?;
        self.vm.assert_clean()
    }

    /// Boots, and checks that a new system comes up that calls the image damaged with all `parts`
    /// of a sentence. Leaves the machine off.
    ///
    /// # Errors
    ///
    /// When something of that is not so; above all when it resumes.
    pub fn refused_with(&mut self, parts: &[&str]) -> Result<()> {
        boot_fresh(&mut self.vm)?;
        expect_result(&mut self.vm, -74, &["the image is damaged: "])?;
        expect_result(&mut self.vm, -74, parts)?;
        self.vm.power_off()
    }

    fn refused(&mut self, part: Part) -> Result<()> {
        let vm = &mut self.vm;
        boot_fresh(vm)?;
        let result = get(vm, "last_result")?;
        if part != Part::Superblock && result.starts_with("-95 ") {
            // The number of the format's version: it may be a later one.
            ensure!(result.contains("it is kept"), "last_result is {result}");
            expect_type(vm, 0, "swsuspend")?;
            return vm.power_off();
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
        expect_type(vm, 0, "swap")?;
        vm.power_off()
    }
}

fn damaged(lab: &Lab, parts: &[Part]) -> Result<()> {
    Asleep::new(lab)?.refuses_each(parts)
}
