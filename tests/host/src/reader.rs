// SPDX-License-Identifier: GPL-2.0

//! A complete reader of images in memory: the shortest program that trusts nothing.

use std::collections::BTreeMap;

use dormouse_image::fault::Fault;
use dormouse_image::ledger::Ledger;
use dormouse_image::open::Opened;

use crate::image::commit::Commit;
use crate::image::frame::{frames, Frame, Kind};
use crate::image::index::{entries, Source};
use crate::image::superblock::{State, Superblock};
use crate::image::{Error, Result, PAGE};

/// Contents of a page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Contents {
    /// Stored as it is.
    Plain(Vec<u8>),
    /// One of the pages of a frame that was transformed: its payload, and the number of the page.
    Transformed(Vec<u8>, u32),
}

/// Everything an image says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// The superblock.
    pub superblock: Superblock,
    /// The commit record.
    pub commit: Commit,
    /// The header, in text.
    pub header: String,
    /// The pages that frames hold.
    pub pages: BTreeMap<u64, Contents>,
    /// Runs of pages that one word fills: first page, number of pages, word. Never expanded,
    /// since a few bytes of a hostile index can claim billions of pages.
    pub fills: Vec<(u64, u32, u64)>,
}

impl Image {
    /// Returns the number of pages of both sorts.
    pub fn page_count(&self) -> u64 {
        let filled = self.fills.iter().map(|run| u64::from(run.1));
        self.pages.len() as u64 + filled.sum::<u64>()
    }
}

/// Reads an image whose linear space is `blocks`; `None` when there is none to resume.
///
/// # Errors
///
/// What is wrong with it.
pub fn read(superblock: &[u8], blocks: &[u8]) -> Result<Option<Image>> {
    let Some(superblock) = Superblock::decode(superblock)? else {
        return Ok(None);
    };
    if superblock.state != State::Committed {
        return Ok(None);
    }
    let opened = Opened::open(&blocks, superblock).map_err(error_of)?;
    let header = opened.header().map_err(error_of)?;
    let mut pages = BTreeMap::new();
    let mut fills = Vec::new();
    each_frame(&opened, |ledger, frame| {
        if frame.kind == Kind::Index {
            // The sample stores its index as it is.
            ledger.index(frame.payload, &opened.commit)?;
            for entry in entries(frame.payload, opened.commit.frames) {
                let entry = entry?;
                if let Source::Fill(word) = entry.source {
                    fills.push((entry.pfn, entry.count, word));
                }
            }
            return Ok(());
        }
        let pfns = frame
            .extents()
            .flat_map(|e| e.pfn..e.pfn + u64::from(e.count));
        for (number, pfn) in pfns.enumerate() {
            let contents = if frame.applied == 0 {
                let page = &frame.payload[number * PAGE..(number + 1) * PAGE];
                Contents::Plain(page.to_vec())
            } else {
                Contents::Transformed(frame.payload.to_vec(), number as u32)
            };
            pages.insert(pfn, contents);
        }
        Ok(())
    })?;
    Ok(Some(Image {
        header: format!("{:?} {:?}", header.facts, header.transforms()),
        fills,
        superblock: opened.superblock.clone(),
        commit: opened.commit.clone(),
        pages,
    }))
}

/// What is wrong with the bytes of an image in memory.
pub fn error_of(fault: Fault) -> Error {
    fault.error().unwrap_or(Error::BadLength)
}

/// Calls `each` with every frame of `opened`, which enters those of the index into the accounts;
/// then checks these.
///
/// # Errors
///
/// The first thing that is wrong.
pub fn each_frame(
    opened: &Opened<'_>,
    mut each: impl FnMut(&mut Ledger, &Frame<'_>) -> Result,
) -> Result<Ledger> {
    let count = opened.header().map_err(error_of)?.transform_count();
    let commit = &opened.commit;
    let mut ledger = Ledger::new(commit);
    let mut bytes = Vec::new();
    for chunk in opened.chunks().map_err(error_of)? {
        let chunk = chunk.map_err(error_of)?;
        ledger.chunk(&chunk, commit)?;
        opened.chunk_bytes(&chunk, &mut bytes).map_err(error_of)?;
        for frame in frames(&bytes, &commit.image_id, count) {
            let frame = frame?;
            ledger.frame(&chunk, &frame, commit)?;
            each(&mut ledger, &frame)?;
        }
    }
    ledger.check_frames(commit)?;
    ledger.check_pages(commit)?;
    Ok(ledger)
}
