// SPDX-License-Identifier: GPL-2.0

//! A complete reader of images in memory: the shortest program that trusts nothing.

use std::collections::BTreeMap;

use crate::extent::{Extent, ExtentList, Overlaps};
use crate::image::commit::Commit;
use crate::image::frame::{frames, Kind};
use crate::image::header::Header;
use crate::image::index::{entries, Source};
use crate::image::root::{check_disjoint, chunks, Space};
use crate::image::superblock::{State, Superblock};
use crate::image::{wire, Error, Result, BLOCK, PAGE};

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

fn blocks_at(blocks: &[u8], block: u64) -> Result<&[u8]> {
    let at = usize::try_from(block)
        .ok()
        .and_then(|b| b.checked_mul(BLOCK));
    at.and_then(|at| blocks.get(at..)).ok_or(Error::Truncated)
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
    let header = Header::decode(blocks_at(blocks, superblock.header_block)?)?;
    let commit = Commit::decode(blocks_at(blocks, superblock.commit_block)?)?;
    if header.facts.image_id != superblock.image_id || commit.image_id != superblock.image_id {
        return Err(Error::OtherImage);
    }
    if commit.header_crc != header.crc {
        return Err(Error::BadCrc);
    }
    let total = (blocks.len() / BLOCK) as u64;
    let sb = &superblock;
    let space = Space::of(total, sb.header_block, sb.commit_block, &commit)?;
    let root_len = commit.root_len()? as usize;
    let root = blocks_at(blocks, commit.root_block)?;
    let root = root.get(..root_len).ok_or(Error::Truncated)?;
    if wire::crc(root) != commit.root_crc {
        return Err(Error::BadCrc);
    }
    check_disjoint(root, &space, &mut vec![Default::default(); root.len()])?;
    let (pages, fills) = read_pages(blocks, root, &space, &header, &commit)?;
    Ok(Some(Image {
        header: format!("{:?} {:?}", header.facts, header.transforms()),
        superblock,
        commit,
        pages,
        fills,
    }))
}

type Pages = (BTreeMap<u64, Contents>, Vec<(u64, u32, u64)>);

fn read_pages(
    blocks: &[u8],
    root: &[u8],
    space: &Space,
    header: &Header<'_>,
    commit: &Commit,
) -> Result<Pages> {
    let mut stored = BTreeMap::new();
    let mut index = Vec::new();
    let mut frames_seen = 0;
    for chunk in chunks(root, space) {
        let chunk = chunk?;
        let bytes = blocks_at(blocks, chunk.block)?;
        let bytes = bytes.get(..chunk.used as usize).ok_or(Error::Truncated)?;
        let (id, transforms) = (&commit.image_id, header.transform_count());
        for frame in frames(bytes, id, transforms) {
            let frame = frame?;
            frames_seen += 1;
            if frame.frame_no >= commit.frames {
                return Err(Error::BadFrameNo);
            }
            if (frame.kind == Kind::Index) != chunk.holds_index() {
                return Err(Error::BadOrder);
            }
            if frame.kind == Kind::Index {
                // The sample stores its index as it is.
                index.extend(entries(frame.payload, commit.frames));
                continue;
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
                stored.insert((frame.frame_no, pfn), contents);
            }
        }
    }
    if frames_seen != commit.frames {
        return Err(Error::BadCount);
    }

    let mut table = ExtentList::new(vec![Extent::default(); index.len()]);
    let mut pages = BTreeMap::new();
    let mut fills = Vec::new();
    for entry in index {
        let entry = entry?;
        table.push(entry.pfn, u64::from(entry.count))?;
        match entry.source {
            Source::Fill(word) => fills.push((entry.pfn, entry.count, word)),
            Source::Frame(frame_no) => {
                for pfn in entry.pfn..entry.pfn + u64::from(entry.count) {
                    let contents = stored.remove(&(frame_no, pfn));
                    pages.insert(pfn, contents.ok_or(Error::BadFrameNo)?);
                }
            }
        }
    }
    let table = table.seal(Overlaps::Refuse)?;
    if table.total() != commit.image_pages || !stored.is_empty() {
        return Err(Error::BadCount);
    }
    Ok((pages, fills))
}
