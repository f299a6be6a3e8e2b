// SPDX-License-Identifier: GPL-2.0

//! Accounts of the pages of an image: every frame once, every page once, and all as the commit
//! record counts them.
//!
//! An image may be hostile, and a few of its bytes can claim any number of pages. So every count
//! is compared with the commit record as soon as it exceeds it, pages are kept as runs that have a
//! limit, and which frame has which page is kept as a sum.

#![forbid(unsafe_code)]

use std::hash::{BuildHasher, RandomState};

use crate::image::commit::Commit;
use crate::image::frame::{Frame, Kind};
use crate::image::index::{entries, Source};
use crate::image::root::Chunk;
use crate::image::{Error, Result};
use crate::runs::{Full, Run, Runs};

/// Runs of pages that every image may have. With those that an image may have more for its size,
/// no memory has as many: each is followed by a page that was not saved.
const RUNS: u64 = 1 << 20;
/// Bytes of frames for which an image may have one more run.
const BYTES_PER_RUN: u64 = 32;
/// Entries of the index that every image may have, and one more for each byte of frames: what
/// unpacks to more says nothing that fewer entries could not say.
const ENTRIES: u64 = 32 << 20;

/// The accounts, kept while frames are read in any order.
pub struct Ledger {
    /// Numbers of frames.
    frames: Runs,
    frame_count: u64,
    index_frames: u64,
    stored_bytes: u64,
    /// Pages in data frames.
    data_pages: u64,
    /// Pages that the index names.
    index: Runs,
    entries: u64,
    entries_most: u64,
    index_pages: u64,
    fill_pages: u64,
    zero_pages: u64,
    /// Of each page in a data frame and of each page that the index names in one, a number that
    /// the image cannot know, made of page and frame; added up. Sums of different pages are the
    /// same by chance only, once in 2^64.
    secret: RandomState,
    stored: u64,
    named: u64,
}

impl Ledger {
    /// Begins the accounts of the image that `commit` closes, which is known to fit into its
    /// space.
    pub fn new(commit: &Commit) -> Self {
        let runs = RUNS.saturating_add(commit.stored_bytes / BYTES_PER_RUN);
        Ledger {
            frames: Runs::new(usize::MAX),
            frame_count: 0,
            index_frames: 0,
            stored_bytes: 0,
            data_pages: 0,
            index: Runs::new(usize::try_from(runs).unwrap_or(usize::MAX)),
            entries: 0,
            entries_most: ENTRIES.saturating_add(commit.stored_bytes),
            index_pages: 0,
            fill_pages: 0,
            zero_pages: 0,
            secret: RandomState::new(),
            stored: 0,
            named: 0,
        }
    }

    fn pages(&self, pfn: u64, count: u32, frame: u64) -> u64 {
        let all = pfn..pfn.saturating_add(u64::from(count));
        all.fold(0, |sum: u64, pfn| {
            sum.wrapping_add(self.secret.hash_one((pfn, frame)))
        })
    }

    /// Counts a chunk.
    ///
    /// # Errors
    ///
    /// [`Error::BadCount`] when there is more in chunks than the commit record says.
    pub fn chunk(&mut self, chunk: &Chunk, commit: &Commit) -> Result {
        self.stored_bytes = self.stored_bytes.saturating_add(u64::from(chunk.used));
        within(self.stored_bytes, commit.stored_bytes)
    }

    /// Counts a frame of `chunk`.
    ///
    /// # Errors
    ///
    /// [`Error::BadFrameNo`] for a number that is too high, [`Error::BadOrder`] for a frame in a
    /// chunk of the other kind, [`Error::BadCount`] for more than the commit record says.
    pub fn frame(&mut self, chunk: &Chunk, frame: &Frame<'_>, commit: &Commit) -> Result {
        let number = frame.frame_no;
        if number >= commit.frames {
            return Err(Error::BadFrameNo);
        }
        if (frame.kind == Kind::Index) != chunk.holds_index() {
            return Err(Error::BadOrder);
        }
        self.frame_count += 1;
        within(self.frame_count, commit.frames)?;
        let behind = number.saturating_add(1);
        self.frames.add(number, behind).map_err(full)?;
        if frame.kind == Kind::Index {
            self.index_frames += 1;
            return within(self.index_frames, commit.index_frames);
        }
        self.data_pages = self.data_pages.saturating_add(u64::from(frame.pages));
        within(self.data_pages, commit.data_pages)?;
        for extent in frame.extents() {
            let pages = self.pages(extent.pfn, extent.count, number);
            self.stored = self.stored.wrapping_add(pages);
        }
        Ok(())
    }

    /// Enters the payload of an index frame, with all transforms undone.
    ///
    /// # Errors
    ///
    /// When an entry is not possible, or there are more pages than the commit record says;
    /// [`Error::NoRoom`] for more runs or entries than there is room for.
    pub fn index(&mut self, payload: &[u8], commit: &Commit) -> Result {
        let data_most = commit.image_pages.saturating_sub(commit.fill_pages);
        for entry in entries(payload, commit.frames) {
            let entry = entry?;
            self.entries += 1;
            if self.entries > self.entries_most {
                return Err(Error::NoRoom);
            }
            let count = u64::from(entry.count);
            self.index_pages = self.index_pages.saturating_add(count);
            match entry.source {
                Source::Frame(number) => {
                    // More than data frames have are not looked at one by one.
                    within(self.index_pages.saturating_sub(self.fill_pages), data_most)?;
                    let pages = self.pages(entry.pfn, entry.count, number);
                    self.named = self.named.wrapping_add(pages);
                }
                Source::Fill(word) => {
                    self.fill_pages = self.fill_pages.saturating_add(count);
                    within(self.fill_pages, commit.fill_pages)?;
                    if word == 0 {
                        self.zero_pages = self.zero_pages.saturating_add(count);
                    }
                }
            }
            let behind = entry.pfn.saturating_add(count);
            self.index.add(entry.pfn, behind).map_err(full)?;
        }
        Ok(())
    }

    /// Returns the pages that the index describes by the word 0.
    pub const fn zero_pages(&self) -> u64 {
        self.zero_pages
    }

    /// Checks that every number of a frame is there once, and what the commit record counts of
    /// frames; that needs no index.
    ///
    /// # Errors
    ///
    /// [`Error::BadCount`].
    pub fn check_frames(&mut self, commit: &Commit) -> Result {
        let numbers: &[Run] = match commit.frames {
            0 => &[],
            frames => &[(0, frames)],
        };
        let counts = [
            self.frame_count,
            self.index_frames,
            self.stored_bytes,
            self.data_pages,
        ];
        let expected = [
            commit.frames,
            commit.index_frames,
            commit.stored_bytes,
            commit.data_pages,
        ];
        if self.frames.all() != Some(numbers) || counts != expected {
            return Err(Error::BadCount);
        }
        Ok(())
    }

    /// Checks that the index names every page once, and as many as the commit record counts.
    ///
    /// # Errors
    ///
    /// [`Error::Overlap`] for a page that is there twice, [`Error::BadCount`].
    pub fn check_index(&mut self, commit: &Commit) -> Result {
        if self.index.all().is_none() {
            return Err(Error::Overlap);
        }
        if [self.index_pages, self.fill_pages] != [commit.image_pages, commit.fill_pages] {
            return Err(Error::BadCount);
        }
        Ok(())
    }

    /// Returns the runs of pages of the index, in order; no two touch. They are not kept here any
    /// more.
    ///
    /// # Errors
    ///
    /// As [`Ledger::check_index`].
    pub fn take_index(&mut self, commit: &Commit) -> Result<Vec<Run>> {
        self.check_index(commit)?;
        let index = std::mem::replace(&mut self.index, Runs::new(0));
        index.into_all().ok_or(Error::Overlap)
    }

    /// Checks that the index names every page once, and each in the frame that has it.
    ///
    /// # Errors
    ///
    /// As [`Ledger::check_index`] and [`Ledger::check_places`].
    pub fn check_pages(&mut self, commit: &Commit) -> Result {
        self.check_index(commit)?;
        self.check_places()
    }

    /// Checks that every page is in the frame that the index names for it, once the index itself
    /// was checked.
    ///
    /// # Errors
    ///
    /// [`Error::BadFrameNo`] for a page that is not where the index says.
    pub fn check_places(&self) -> Result {
        let named_pages = self.index_pages.saturating_sub(self.fill_pages);
        if (self.data_pages, self.stored) != (named_pages, self.named) {
            return Err(Error::BadFrameNo);
        }
        Ok(())
    }
}

fn within(count: u64, most: u64) -> Result {
    if count > most {
        return Err(Error::BadCount);
    }
    Ok(())
}

fn full(_: Full) -> Error {
    Error::NoRoom
}
