// SPDX-License-Identifier: GPL-2.0

//! Random flips in images, each in a real boot.

use anyhow::{Context, Result};

use super::{Counts, Random};
use crate::damage::Asleep;
use crate::encryption;
use crate::image::{Part, Run};
use crate::steps::resume;
use crate::Lab;

/// Boots `count` damaged images that `encryptor` (or `none`) made, and in the
/// end the one that is whole.
///
/// # Errors
///
/// When there is no image, or the whole one is not resumed.
pub fn run(
    lab: &Lab,
    encryptor: &str,
    random: &mut Random,
    count: u64,
    counts: &Counts,
) -> Result<()> {
    let (mut asleep, counted) = match encryptor {
        "none" => (Asleep::new(lab)?, &counts.flips),
        _ => {
            let vm = encryption::sleepy(lab, encryptor)?;
            (Asleep::of(vm)?, &counts.encrypted)
        }
    };
    for number in 1..=count {
        // Otherwise nearly all of them would be in pages.
        let part = Part::ALL[random.below(Part::ALL.len() as u64) as usize];
        let runs: Vec<Run> = asleep
            .runs
            .iter()
            .filter(|run| run.part == part)
            .copied()
            .collect();
        let run = runs[random.below(runs.len() as u64) as usize];
        let (at, bit) = (run.at + random.below(run.len), random.below(8) as u32);
        let result = asleep
            .refuses(part, at, bit)
            .and_then(|()| asleep.vm.assert_clean());
        match result {
            Ok(()) => counted.good(),
            Err(error) => {
                println!("flip {number}: {error:#}");
                asleep.vm.kill();
            }
        }
    }
    let whole = asleep.restore().and_then(|()| resume(&mut asleep.vm));
    counts.kept(whole.context("the image without any flip"))
}
