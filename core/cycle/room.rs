// SPDX-License-Identifier: GPL-2.0

//! Room for an image before there is one: memory for the snapshot, and blocks
//! on the storage.

#![forbid(unsafe_code)]

use super::plan::Plan;
use crate::engine::Engine;
use crate::image::PAGE;
use crate::pipeline::save::SaveJob;
use crate::plan::{MemoryNeeds, StorageNeeds};
use crate::storage::Space;
use crate::sys::{pages, time};
use kernel::prelude::*;
use kernel::sync::Arc;

/// Free pages that the kernel keeps for itself while devices are suspended
/// and the image is written, as swsusp does (`PAGES_FOR_IO`).
const RESERVE_PAGES: usize = 1024;
/// Pages that may come into use between planning and the snapshot: a fixed
/// part and one page in this many.
const GROWTH_PAGES: usize = 1024;
const GROWTH_PART: usize = 64;
/// How often freeing memory may be of no use before it is called impossible,
/// and how long it waits after each of these.
const MOST_IDLE_SHRINKS: usize = 10;
const SHRINK_PAUSE_MS: u32 = 50;

/// Freeing memory, as far as it got.
struct Shrinking {
    /// Most pages of the image that are wished for; zero for no limit.
    limit: usize,
    /// Least that was still to be freed in any round.
    least: usize,
    /// Rounds since then.
    idle: usize,
    freed: usize,
}

impl Shrinking {
    /// Frees about `pages`, and returns whether it is of use to go on.
    fn round(&mut self, pages: usize) -> bool {
        if pages < self.least {
            self.least = pages;
            self.idle = 0;
        } else {
            self.idle = self.idle.saturating_add(1);
            // What is on its way to swap is free when it has arrived there.
            time::sleep_ms(SHRINK_PAUSE_MS);
        }
        if self.idle > MOST_IDLE_SHRINKS {
            return false;
        }
        // A little more, so that the next look need not free again.
        let got = pages::shrink(pages.saturating_add(pages / 8));
        self.freed = self.freed.saturating_add(got);
        true
    }

    /// Goes on without the limit; false when there is none any more.
    fn drop_limit(&mut self) -> bool {
        let had = self.limit != 0;
        self.limit = 0;
        self.least = usize::MAX;
        self.idle = 0;
        had
    }
}

/// Frees memory until a snapshot fits, and returns the most pages that it may
/// have then. User tasks are frozen, kernel threads run; may sleep.
///
/// # Errors
///
/// `ENOMEM` with an itemised reason, `ECANCELED`, or that of counting.
pub(super) fn make(engine: &Engine, plan: &Plan) -> Result<usize> {
    let mut shrinking = Shrinking {
        limit: plan.limit,
        least: usize::MAX,
        idle: 0,
        freed: 0,
    };
    loop {
        engine.go_on()?;
        let saveable = pages::count_saveable()?;
        let own = own_pages(plan, saveable);
        let most = most_pages(saveable, own);
        let needs = MemoryNeeds {
            // What is allocated after this count is in the image too.
            saveable: most as u64,
            copies: plan.snapshot.frames_needed(most) as u64,
            free: pages::free_pages() as u64,
            reserve: RESERVE_PAGES as u64,
            slack: 0,
            modules: own as u64,
            reclaimable: saveable as u64,
            limit: shrinking.limit as u64,
        };
        let to_free = needs
            .pages_to_free()
            .map_err(|shortage| engine.fail(ENOMEM, format_args!("{shortage}")))?;
        if to_free == 0 {
            engine.stats.saveable_pages.set(saveable as u64);
            engine.stats.freed_pages.set(shrinking.freed as u64);
            return Ok(most);
        }
        let to_free = usize::try_from(to_free).unwrap_or(usize::MAX);
        // The limit is a wish, and room for the copies is not.
        if !shrinking.round(to_free) && !shrinking.drop_limit() {
            let nothing_more = MemoryNeeds {
                reclaimable: 0,
                ..needs
            };
            nothing_more
                .pages_to_free()
                .map_err(|shortage| engine.fail(ENOMEM, format_args!("{shortage}")))?;
            return Err(ENOMEM);
        }
    }
}

/// Pages that the save itself takes when `saveable` are saved: buffers, and
/// what the storage needs.
fn own_pages(plan: &Plan, saveable: usize) -> usize {
    SaveJob::memory(&plan.recipe, saveable, plan.workers)
        .saturating_add(plan.writer.memory())
        .div_ceil(PAGE)
}

/// Pages to prepare the snapshot for when `saveable` are counted now and
/// `own` more will be taken by the save itself.
fn most_pages(saveable: usize, own: usize) -> usize {
    saveable
        .saturating_add(own)
        .saturating_add(GROWTH_PAGES)
        .saturating_add(saveable / GROWTH_PART)
}

/// Reserves storage for an image of up to `most` pages. May sleep.
///
/// # Errors
///
/// `ENOSPC` with an itemised reason, or that of the writer.
pub(super) fn reserve_storage(engine: &Engine, plan: &Plan, most: usize) -> Result<Arc<dyn Space>> {
    let place = plan.place();
    let room = plan.writer.room(place)?;
    let needs = StorageNeeds {
        pages: most as u64,
        overhead_blocks: SaveJob::overhead_blocks(&plan.recipe, most, plan.workers),
        available_blocks: room.blocks(),
        expected_percent: plan.recipe.expected_percent(),
    };
    if let Err(shortage) = needs.fit() {
        return Err(engine.fail(ENOSPC, format_args!("{}", shortage.describe(&room))));
    }
    plan.writer
        .reserve(place, needs.worst_blocks(), needs.expected_blocks())
        .map_err(|e| engine.fail(e, format_args!("the storage could not be reserved: {room}")))
}
