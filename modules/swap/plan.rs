// SPDX-License-Identifier: GPL-2.0

//! How much of an image each swap area takes.

#![forbid(unsafe_code)]

use crate::blockmap::codec::blocks_for;
use crate::blockmap::{stripe, Area, STRIPE_BLOCKS};
use crate::image::{Error, Result};

/// Free runs of an area: first block and number of blocks. Runs that are used
/// up have no blocks.
pub(crate) type Run = (u64, u32);

/// An area that could take a share.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Share {
    /// Areas of a higher priority are used up first.
    pub(crate) priority: i32,
    /// Free blocks.
    pub(crate) free: u64,
    /// Blocks that it is to give; set by [`divide`].
    pub(crate) take: u64,
}

/// Divides `want` blocks among `areas`, and returns how many of them found no
/// room. Areas of equal priority give equal parts as far as they can.
pub(crate) fn divide(areas: &mut [Share], want: u64) -> u64 {
    let mut left = want;
    for area in areas.iter_mut() {
        area.take = 0;
    }
    let mut level = areas.iter().map(|area| area.priority).max();
    while let Some(priority) = level {
        while left != 0 {
            let open = |area: &&mut Share| area.priority == priority && area.take < area.free;
            let count = areas.iter_mut().filter(open).count() as u64;
            if count == 0 {
                break;
            }
            // Whole stripes, so that the last turn is not cut into pieces.
            let part = left.div_ceil(count);
            let part = part
                .checked_next_multiple_of(u64::from(STRIPE_BLOCKS))
                .unwrap_or(part);
            for area in areas.iter_mut().filter(open) {
                let room = area.free.saturating_sub(area.take);
                let given = part.min(room).min(left);
                area.take = area.take.saturating_add(given);
                left = left.saturating_sub(given);
            }
        }
        let lower = areas.iter().map(|area| area.priority);
        level = lower.filter(|&p| p < priority).max();
    }
    left
}

/// Takes one block off the first run that has one.
pub(crate) fn carve(runs: &mut [Run]) -> Option<u64> {
    let run = runs.iter_mut().find(|run| run.1 != 0)?;
    let block = run.0;
    run.0 = block.checked_add(1)?;
    run.1 = run.1.checked_sub(1)?;
    Some(block)
}

/// Counts the blocks of `runs`.
pub(crate) fn blocks(runs: &[Run]) -> u64 {
    runs.iter()
        .fold(0, |sum: u64, run| sum.saturating_add(u64::from(run.1)))
}

/// Counts the entries of the block map that [`stripe()`] makes of `areas`.
///
/// # Errors
///
/// [`Error::BadDevice`] for too many areas, [`Error::BadCount`] when the
/// entries cannot be counted.
pub(crate) fn entries(areas: &[Area<'_>], want: u64) -> Result<usize> {
    let mut count = 0usize;
    // Device, end and length of the entry that may still grow, which is what
    // `BlockMap::append` lets grow.
    let mut last: Option<(u32, u64, u32)> = None;
    stripe(areas, want, |device, block, blocks| {
        let end = block.checked_add(u64::from(blocks));
        let end = end.ok_or(Error::BlockRange)?;
        last = match last {
            Some((d, e, n)) if d == device && e == block && n.checked_add(blocks).is_some() => {
                Some((device, end, n.saturating_add(blocks)))
            }
            _ => {
                count = count.checked_add(1).ok_or(Error::BadCount)?;
                Some((device, end, blocks))
            }
        };
        Ok(())
    })?;
    Ok(count)
}

/// Most blocks that the map of `total` blocks in runs of any length takes.
pub(crate) fn map_blocks_most(total: u64) -> u64 {
    let entries = usize::try_from(total).unwrap_or(usize::MAX);
    blocks_for(entries) as u64
}
