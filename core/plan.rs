// SPDX-License-Identifier: GPL-2.0

//! Whether a save can succeed, before anything is frozen for it.
//!
//! Two questions, in this order: how many pages must be freed so that the snapshot has room in
//! memory, and whether the storage has room for what is left. Each refusal lists what was
//! needed, what is available, and from what.

#![forbid(unsafe_code)]

use core::fmt;

use crate::image::PAGE;

const PAGE_KB: u64 = (PAGE / 1024) as u64;

/// Formats a number of pages, or of blocks, which are as large.
struct Kb(u64);

impl fmt::Display for Kb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} kB", self.0.saturating_mul(PAGE_KB))
    }
}

/// What a snapshot asks of memory. All numbers are pages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemoryNeeds {
    /// Pages that the image may have if it is taken now.
    pub saveable: u64,
    /// Pages that the snapshot needs to hold those still: as many for a full copy.
    pub copies: u64,
    /// Free pages.
    pub free: u64,
    /// Of these the ones that only copies can take.
    pub movable: u64,
    /// Free pages that the kernel keeps for itself.
    pub reserve: u64,
    /// Free pages that drivers may take while devices are suspended.
    pub slack: u64,
    /// Pages that the engine and the chosen modules need.
    pub modules: u64,
    /// Pages in use that could be freed.
    pub reclaimable: u64,
    /// Most pages the image may have; 0 for no limit.
    pub limit: u64,
}

impl MemoryNeeds {
    /// Returns the free pages that copies may take.
    pub const fn available(&self) -> u64 {
        self.free
            .saturating_sub(self.reserve)
            .saturating_sub(self.slack)
            .saturating_sub(self.modules)
    }

    /// Returns how many pages must be freed first.
    ///
    /// A page that is freed counts twice: it needs no copy, and has room for one. For what is not
    /// a copy it counts once.
    ///
    /// # Errors
    ///
    /// The shortage when that is more than could be freed (`ENOMEM`).
    pub fn pages_to_free(&self) -> Result<u64, MemoryShortage> {
        // Summed up, since reserves may well exceed what is free now.
        let fixed = self
            .reserve
            .saturating_add(self.slack)
            .saturating_add(self.modules);
        let for_fixed = fixed.saturating_sub(self.free.saturating_sub(self.movable));
        let taken = self.copies.saturating_add(fixed);
        let for_copies = taken.saturating_sub(self.free).div_ceil(2);
        let for_limit = match self.limit {
            0 => 0,
            limit => self.saveable.saturating_sub(limit),
        };
        // The limit is a wish, and freeing what there is comes close to it.
        let for_room = for_copies.max(for_fixed);
        let wanted = for_room.max(for_limit.min(self.reclaimable));
        if wanted > self.reclaimable {
            return Err(MemoryShortage {
                needs: *self,
                to_free: wanted,
            });
        }
        Ok(wanted)
    }
}

/// Why a snapshot has no room in memory; its text is one itemised sentence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryShortage {
    needs: MemoryNeeds,
    to_free: u64,
}

impl MemoryShortage {
    /// The positive errno of this refusal, `ENOMEM`.
    pub const ERRNO: i32 = 12;
}

impl fmt::Display for MemoryShortage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let needs = &self.needs;
        write!(
            f,
            "not enough memory for the snapshot: needed {}, available {} (free {}",
            Kb(needs.copies),
            Kb(needs.available()),
            Kb(needs.free),
        )?;
        if needs.movable != 0 {
            write!(f, ", {} of it for copies only", Kb(needs.movable))?;
        }
        write!(
            f,
            ", less {} reserve, {} for drivers, {} for modules), \
             {} must be freed but only {} can be",
            Kb(needs.reserve),
            Kb(needs.slack),
            Kb(needs.modules),
            Kb(self.to_free),
            Kb(needs.reclaimable),
        )
    }
}

/// What an image asks of its storage.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StorageNeeds {
    /// Pages in the image.
    pub pages: u64,
    /// Blocks of everything but the contents of pages, at worst.
    pub overhead_blocks: u64,
    /// Blocks that the storage can hold.
    pub available_blocks: u64,
    /// What is expected to be left of 100 bytes of pages; above 100 counts as 100.
    pub expected_percent: u32,
}

/// How an image fits its storage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fit {
    /// Whatever the pages contain.
    Surely,
    /// When the pages shrink as expected; the save may run out of space.
    MayRunOut,
}

impl StorageNeeds {
    /// Returns the blocks that suffice whatever the pages contain.
    pub const fn worst_blocks(&self) -> u64 {
        self.pages.saturating_add(self.overhead_blocks)
    }

    /// Returns the blocks that suffice when the pages shrink as expected.
    pub const fn expected_blocks(&self) -> u64 {
        let percent = if self.expected_percent > 100 {
            100
        } else {
            self.expected_percent as u64
        };
        // By hundreds and rest, since the product of the whole might not fit.
        let hundreds = (self.pages / 100).saturating_mul(percent);
        let rest = (self.pages % 100).saturating_mul(percent).div_ceil(100);
        hundreds
            .saturating_add(rest)
            .saturating_add(self.overhead_blocks)
    }

    /// Returns how the image fits.
    ///
    /// # Errors
    ///
    /// The shortage when not even the expected size fits (`ENOSPC`).
    pub const fn fit(&self) -> Result<Fit, StorageShortage> {
        if self.available_blocks >= self.worst_blocks() {
            Ok(Fit::Surely)
        } else if self.available_blocks >= self.expected_blocks() {
            Ok(Fit::MayRunOut)
        } else {
            Err(StorageShortage { needs: *self })
        }
    }
}

/// Why an image has no room in its storage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StorageShortage {
    needs: StorageNeeds,
}

impl StorageShortage {
    /// The positive errno of this refusal, `ENOSPC`.
    pub const ERRNO: i32 = 28;

    /// Returns one itemised sentence; `sources` lists where the available space comes from.
    pub const fn describe<'a>(&self, sources: &'a dyn fmt::Display) -> StorageSentence<'a> {
        StorageSentence {
            needs: self.needs,
            sources,
        }
    }
}

/// The sentence of [`StorageShortage::describe`].
#[derive(Clone, Copy)]
pub struct StorageSentence<'a> {
    needs: StorageNeeds,
    sources: &'a dyn fmt::Display,
}

impl fmt::Display for StorageSentence<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let needs = &self.needs;
        let contents = needs
            .expected_blocks()
            .saturating_sub(needs.overhead_blocks);
        write!(
            f,
            "not enough space for the image: needed {} ({} for {} of pages at {} %, {} for the \
             rest), available {} ({})",
            Kb(needs.expected_blocks()),
            Kb(contents),
            Kb(needs.pages),
            needs.expected_percent.min(100),
            Kb(needs.overhead_blocks),
            Kb(needs.available_blocks),
            self.sources,
        )
    }
}
