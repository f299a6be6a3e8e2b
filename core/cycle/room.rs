// SPDX-License-Identifier: GPL-2.0

//! Room for an image before there is one: memory for the snapshot, and blocks
//! on the storage.

#![forbid(unsafe_code)]

use super::plan::Plan;
use super::save::{FIXED_BYTES, WRITE_PAGES};
use crate::engine::Engine;
use crate::extent::Extent;
use crate::image::{CHUNK_BYTES, PAGE};
use crate::pipeline::load::FillRun;
use crate::pipeline::read;
use crate::pipeline::save::SaveJob;
use crate::plan::{MemoryNeeds, StorageNeeds};
use crate::storage::Space;
use crate::sys::pages::{self, FreePages};
use crate::sys::time;
use core::mem::size_of;
use kernel::prelude::*;
use kernel::sync::Arc;

/// Pages that stay free for devices while they are suspended, beside those that
/// the allocator keeps back, as swsusp does (`PAGES_FOR_IO`).
const RESERVE_PAGES: usize = 1024;
/// Pages that may come into use between planning and the snapshot: a fixed
/// part and one page in this many.
const GROWTH_PAGES: usize = 1024;
const GROWTH_PART: usize = 64;
/// Bytes that a load takes for each page of the image besides: its extent, its
/// address, and the word that fills it.
const LOAD_BYTES: usize = size_of::<Extent>()
    .saturating_add(size_of::<usize>())
    .saturating_add(size_of::<FillRun>());
/// How often freeing memory may be of no use before it is called impossible,
/// and how long it waits after each of these.
const MOST_IDLE_SHRINKS: usize = 10;
const SHRINK_PAUSE_MS: u32 = 50;

/// Freeing memory, as far as it got.
#[derive(Clone, Copy)]
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

/// What was planned before anything was allocated.
pub(super) struct Planned {
    /// Most pages that the snapshot may have.
    pub(super) most: usize,
    /// Pages that the save itself takes, and those that were free then.
    own: usize,
    free: usize,
    shrinking: Shrinking,
}

/// Frees memory until the snapshot and the save itself fit, as far as that is
/// known before anything is allocated. User tasks are frozen, kernel threads
/// run; may sleep.
///
/// # Errors
///
/// `ENOMEM` with an itemised reason, `ECANCELED`, or that of counting.
pub(super) fn make(engine: &Engine, plan: &Plan) -> Result<Planned> {
    let counted = pages::count_saveable()?;
    let with_free = counted.saturating_add(pages::free_pages().all);
    let storage = plan.writer.memory(plan.place(), counted as u64);
    let mut planned = Planned {
        most: 0,
        own: 0,
        free: 0,
        shrinking: Shrinking {
            limit: plan.limit,
            least: usize::MAX,
            idle: 0,
            freed: 0,
        },
    };
    let mut shrinking = planned.shrinking;
    fit(engine, &mut shrinking, || {
        let free = pages::free_pages();
        // Counting takes long: what is free now and was not then is not saved.
        let saveable = with_free.saturating_sub(free.all);
        let guess = own_pages(plan, saveable, storage);
        let own = own_pages(plan, with_growth(saveable.saturating_add(guess)), storage);
        let most = with_growth(saveable.saturating_add(own));
        (planned.most, planned.own, planned.free) = (most, own, free.all);
        Ok(needs(plan, saveable, most, own, free))
    })?;
    planned.shrinking = shrinking;
    Ok(planned)
}

/// Frees what is missing for the snapshot, now that all else is allocated that
/// the save needs, and returns how many pages to reserve for it. User tasks are
/// frozen, kernel threads run; may sleep.
///
/// # Errors
///
/// As [`make`].
pub(super) fn settle(engine: &Engine, plan: &Plan, planned: Planned) -> Result<usize> {
    let mut shrinking = planned.shrinking;
    let mut first = true;
    let mut most = 0;
    fit(engine, &mut shrinking, || {
        let saveable = pages::count_saveable()?;
        let free = pages::free_pages();
        if core::mem::take(&mut first) {
            let taken = planned.free.saturating_sub(free.all);
            engine.stats.planned_pages.set(planned.own as u64);
            engine.stats.taken_pages.set(taken as u64);
        }
        engine.stats.saveable_pages.set(saveable as u64);
        most = with_growth(saveable).min(planned.most);
        Ok(needs(plan, saveable, most, 0, free))
    })?;
    engine.stats.freed_pages.set(shrinking.freed as u64);
    Ok(most)
}

/// Frees memory until there is room for what `look` finds to be needed.
fn fit(
    engine: &Engine,
    shrinking: &mut Shrinking,
    mut look: impl FnMut() -> Result<MemoryNeeds>,
) -> Result {
    loop {
        engine.go_on()?;
        let needs = MemoryNeeds {
            limit: shrinking.limit as u64,
            ..look()?
        };
        let to_free = needs
            .pages_to_free()
            .map_err(|shortage| engine.fail(ENOMEM, format_args!("{shortage}")))?;
        if to_free == 0 {
            return Ok(());
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

/// Frees memory to load an image of `image_pages` pages, as far as that goes: as
/// long as nothing is frozen, it can also be written to where it belongs. What is
/// missing then, the load takes from the page cache, or fails. May sleep.
pub(super) fn make_for_load(image_pages: u64, workers: usize) {
    let image = usize::try_from(image_pages).unwrap_or(usize::MAX);
    let buffers = read::buffers(workers).saturating_mul(CHUNK_BYTES);
    let tables = image.saturating_mul(LOAD_BYTES);
    let needed = image
        .saturating_add(tables.saturating_add(buffers).div_ceil(PAGE))
        .saturating_add(RESERVE_PAGES);
    let mut before = 0;
    loop {
        let free = pages::free_pages();
        let usable = free.all.saturating_sub(free.kept_back);
        let missing = needed.saturating_sub(usable);
        if missing == 0 || usable <= before {
            return;
        }
        before = usable;
        pages::shrink(missing.saturating_add(missing / 8));
    }
}

/// What is needed for up to `most` pages, when `saveable` are in use, and `own`
/// are still to be allocated besides.
fn needs(plan: &Plan, saveable: usize, most: usize, own: usize, free: FreePages) -> MemoryNeeds {
    MemoryNeeds {
        // What is allocated after this count is in the image too.
        saveable: most as u64,
        copies: plan.snapshot.frames_needed(most) as u64,
        free: free.all as u64,
        movable: free.movable as u64,
        reserve: RESERVE_PAGES.saturating_add(free.kept_back) as u64,
        slack: 0,
        modules: own as u64,
        reclaimable: saveable as u64,
        limit: 0,
    }
}

/// Pages that the save itself takes for a snapshot of up to `most` pages:
/// tables, buffers, threads, and `storage` bytes for its space.
fn own_pages(plan: &Plan, most: usize, storage: usize) -> usize {
    SaveJob::memory(&plan.recipe, most, plan.workers)
        .saturating_add(plan.snapshot.memory(most))
        .saturating_add(storage)
        .saturating_add(FIXED_BYTES)
        .div_ceil(PAGE)
        .saturating_add(WRITE_PAGES)
}

/// Pages to prepare the snapshot for when `pages` are in use now.
fn with_growth(pages: usize) -> usize {
    pages
        .saturating_add(GROWTH_PAGES)
        .saturating_add(pages / GROWTH_PART)
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
