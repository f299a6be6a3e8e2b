// SPDX-License-Identifier: GPL-2.0

//! Many long saves of a guest whose filesystems are written to.

use std::time::Duration;

use anyhow::{Context, Result};

use super::Counts;
use crate::held;
use crate::steps::resume;
use crate::Lab;

/// How long each save lasts at least: longer than any filesystem waits until it
/// commits what it has.
const LEAST: Duration = Duration::from_secs(31);

/// Goes through `count` saves, and compares the disks at the snapshot and at
/// power-off each time.
///
/// # Errors
///
/// The first after which a disk had changed, or that fails.
pub fn run(lab: &Lab, count: u64, counts: &Counts) -> Result<()> {
    let mut vm = held::busy(lab)?;
    held::write_to_all(&mut vm)?;
    for number in 1..=count {
        held::compared(&mut vm, LEAST).with_context(|| format!("save {number}"))?;
        counts
            .kept(resume(&mut vm))
            .with_context(|| format!("resume {number}"))?;
        counts.held.good();
    }
    held::finish(&mut vm)
}
