// SPDX-License-Identifier: GPL-2.0

//! Accounts of the pages of an image: every frame once, every page once, and all as the commit
//! record counts them.

#![forbid(unsafe_code)]

use crate::image::commit::Commit;
use crate::image::frame::{Frame, Kind};
use crate::image::index::{entries, Source};
use crate::image::root::Chunk;
use crate::image::{Error, Result};

/// A run of pages and the number of the frame that has them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Run {
    pfn: u64,
    count: u64,
    frame: Option<u64>,
}

/// Pages that one word fills: the first one, how many, and the word.
pub type Fill = (u64, u32, u64);

/// The accounts, kept while frames are read in any order.
#[derive(Default)]
pub struct Ledger {
    frames: Vec<u64>,
    index_frames: u64,
    stored_bytes: u64,
    stored: Vec<Run>,
    index: Vec<Run>,
    fills: Vec<Fill>,
}

impl Ledger {
    /// No frames yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Counts a chunk.
    pub fn chunk(&mut self, chunk: &Chunk) {
        self.stored_bytes = self.stored_bytes.saturating_add(u64::from(chunk.used));
    }

    /// Counts a frame of `chunk`.
    ///
    /// # Errors
    ///
    /// [`Error::BadFrameNo`] for a number that is too high, [`Error::BadOrder`] for a frame in a
    /// chunk of the other kind.
    pub fn frame(&mut self, chunk: &Chunk, frame: &Frame<'_>, commit: &Commit) -> Result {
        if frame.frame_no >= commit.frames {
            return Err(Error::BadFrameNo);
        }
        if (frame.kind == Kind::Index) != chunk.holds_index() {
            return Err(Error::BadOrder);
        }
        self.frames.push(frame.frame_no);
        self.index_frames += u64::from(frame.kind == Kind::Index);
        let runs = frame.extents().map(|extent| Run {
            pfn: extent.pfn,
            count: u64::from(extent.count),
            frame: Some(frame.frame_no),
        });
        self.stored.extend(runs);
        Ok(())
    }

    /// Enters the payload of an index frame, with all transforms undone.
    ///
    /// # Errors
    ///
    /// When an entry is not possible.
    pub fn index(&mut self, payload: &[u8], commit: &Commit) -> Result {
        for entry in entries(payload, commit.frames) {
            let entry = entry?;
            let frame = match entry.source {
                Source::Frame(number) => Some(number),
                Source::Fill(word) => {
                    self.fills.push((entry.pfn, entry.count, word));
                    None
                }
            };
            let count = u64::from(entry.count);
            self.index.push(Run {
                pfn: entry.pfn,
                count,
                frame,
            });
        }
        Ok(())
    }

    /// Pages that are described by one word.
    pub fn fills(&self) -> &[Fill] {
        &self.fills
    }

    /// Checks that every number of a frame is there once, and what the commit record counts of
    /// frames; that needs no index.
    ///
    /// # Errors
    ///
    /// [`Error::BadCount`].
    pub fn check_frames(&mut self, commit: &Commit) -> Result {
        self.frames.sort_unstable();
        let numbers = (0..commit.frames).eq(self.frames.iter().copied());
        let data: u64 = self.stored.iter().map(|run| run.count).sum();
        let counts = [self.index_frames, self.stored_bytes, data];
        if !numbers || counts != [commit.index_frames, commit.stored_bytes, commit.data_pages] {
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
        self.index.sort_unstable();
        let mut end = 0;
        for run in &self.index {
            if run.pfn < end {
                return Err(Error::Overlap);
            }
            end = run.pfn.saturating_add(run.count);
        }
        let all: u64 = self.index.iter().map(|run| run.count).sum();
        let filled: u64 = self.fills.iter().map(|fill| u64::from(fill.1)).sum();
        if all != commit.image_pages || filled != commit.fill_pages {
            return Err(Error::BadCount);
        }
        Ok(())
    }

    /// The pages of the index, once that was checked: the first page of each run, and how many
    /// there are. No two runs touch.
    pub fn present(&self) -> impl Iterator<Item = (u64, u64)> + use<> {
        let alike = self.index.iter().map(|run| Run {
            frame: None,
            ..*run
        });
        joined(alike).into_iter().map(|run| (run.pfn, run.count))
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
    pub fn check_places(&mut self) -> Result {
        let named = joined(self.index.iter().filter(|run| run.frame.is_some()).copied());
        self.stored.sort_unstable();
        if joined(self.stored.iter().copied()) != named {
            return Err(Error::BadFrameNo);
        }
        Ok(())
    }
}

/// Runs in order, those that touch in the same frame as one.
fn joined(runs: impl Iterator<Item = Run>) -> Vec<Run> {
    let mut all: Vec<Run> = Vec::new();
    for run in runs {
        match all.last_mut() {
            Some(last)
                if last.frame == run.frame && last.pfn.checked_add(last.count) == Some(run.pfn) =>
            {
                last.count = last.count.saturating_add(run.count);
            }
            _ => all.push(run),
        }
    }
    all
}
