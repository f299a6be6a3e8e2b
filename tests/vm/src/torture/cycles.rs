// SPDX-License-Identifier: GPL-2.0

//! Many cycles of one guest, each through a power-off.

use anyhow::{ensure, Context, Result};

use super::Counts;
use crate::cycles::memory_used;
use crate::steps::there_and_back;
use crate::Lab;

/// How much more memory may be in use in the end than after the first cycle, in kB.
const GROWTH: i64 = 2048;

/// Goes through `count` cycles.
///
/// # Errors
///
/// The first that fails, or memory that is used up.
pub fn run(lab: &Lab, count: u64, counts: &Counts) -> Result<()> {
    let mut vm = lab.sleepy()?;
    let mut first = None;
    for number in 1..=count {
        counts
            .kept(there_and_back(&mut vm))
            .and_then(|()| vm.assert_clean())
            .with_context(|| format!("cycle {number}"))?;
        counts.cycles.good();
        if first.is_none() {
            first = Some(memory_used(&mut vm)?);
        }
    }
    let last = memory_used(&mut vm)?;
    let first = first.unwrap_or(last);
    ensure!(
        last - first < GROWTH,
        "{last} kB of memory in use, {first} kB after the first cycle"
    );
    Ok(())
}
