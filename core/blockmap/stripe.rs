// SPDX-License-Identifier: GPL-2.0

//! Spreading a linear space over devices by priority.

#![forbid(unsafe_code)]

use super::DEVICES_MAX;
use crate::image::{
    Error,
    Result, //
};

/// Blocks that one device gives before the next of the same priority has its turn: 1 MiB.
pub const STRIPE_BLOCKS: u32 = 256;

/// What a device has to give.
#[derive(Clone, Copy, Debug)]
pub struct Area<'a> {
    /// Number of the device in the map's device table.
    pub device: u32,
    /// Devices with a higher priority are used up before those with a lower one.
    pub priority: i32,
    /// Free runs, as first block and number of blocks, in the order in which to use them.
    pub free: &'a [(u64, u32)],
}

/// How far an area is used up.
#[derive(Clone, Copy, Debug, Default)]
struct Cursor {
    run: usize,
    used: u32,
}

impl Cursor {
    // Returns the next run of at most `most` blocks, and takes it.
    fn take(&mut self, area: &Area<'_>, most: u32) -> Option<(u64, u32)> {
        loop {
            let &(block, count) = area.free.get(self.run)?;
            let left = count.saturating_sub(self.used);
            if left == 0 {
                self.run = self.run.saturating_add(1);
                self.used = 0;
                continue;
            }
            let taken = left.min(most);
            let start = block.checked_add(u64::from(self.used))?;
            self.used = self.used.saturating_add(taken);
            return Some((start, taken));
        }
    }
}

/// Plans a linear space of `wanted` blocks over `areas`, and returns the blocks it could plan,
/// which are fewer when the areas have no more.
///
/// Calls `emit` with device, first block and number of blocks of each run, in the order of the
/// space; normally [`BlockMap::append`](super::BlockMap::append), or a counter when the size of
/// the map is not known yet. Areas of equal priority take turns of [`STRIPE_BLOCKS`].
///
/// # Errors
///
/// [`Error::BadDevice`] for more than [`DEVICES_MAX`] areas, and whatever `emit` returns.
pub fn stripe(
    areas: &[Area<'_>],
    wanted: u64,
    mut emit: impl FnMut(u32, u64, u32) -> Result,
) -> Result<u64> {
    if areas.len() > DEVICES_MAX {
        return Err(Error::BadDevice);
    }
    let mut cursors = [Cursor::default(); DEVICES_MAX];
    let mut left = wanted;
    let mut level = areas.iter().map(|area| area.priority).max();
    while let Some(priority) = level {
        let mut progress = true;
        while progress && left != 0 {
            progress = false;
            for (area, cursor) in areas.iter().zip(cursors.iter_mut()) {
                if area.priority != priority {
                    continue;
                }
                let given = turn(area, cursor, left, &mut emit)?;
                left = left.saturating_sub(u64::from(given));
                progress |= given != 0;
            }
        }
        let priorities = areas.iter().map(|area| area.priority);
        level = priorities.filter(|&p| p < priority).max();
    }
    Ok(wanted.saturating_sub(left))
}

// Lets `area` give up to a stripe, and returns what it gave.
fn turn(
    area: &Area<'_>,
    cursor: &mut Cursor,
    left: u64,
    emit: &mut impl FnMut(u32, u64, u32) -> Result,
) -> Result<u32> {
    let share = u32::try_from(left).unwrap_or(u32::MAX).min(STRIPE_BLOCKS);
    let mut given = 0u32;
    while given < share {
        let Some((block, count)) = cursor.take(area, share.saturating_sub(given)) else {
            break;
        };
        emit(area.device, block, count)?;
        given = given.saturating_add(count);
    }
    Ok(given)
}
