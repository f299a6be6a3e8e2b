// SPDX-License-Identifier: GPL-2.0

//! Images in clear, of any memory.

use std::collections::BTreeMap;

use dormouse_host::image::commit::Commit;
use dormouse_host::image::frame::{self, FrameWriter, Kind};
use dormouse_host::image::header::{self, Facts, Header};
use dormouse_host::image::index::{Entry, IndexWriter, Source};
use dormouse_host::image::root::{self, Chunk};
use dormouse_host::image::{wire, BLOCK, PAGE};
use dormouse_host::netblock::mark;
use dormouse_host::samples::{self, COMMIT_BLOCK, HEADER_BLOCK, ID};

use crate::disks;

/// Pages by their number.
pub type Pages = BTreeMap<u64, Vec<u8>>;

/// Pages that one word fills: the first one, how many, and the word.
pub type Fill = (u64, u32, u64);

/// Entries of an index frame.
const ENTRIES: usize = 5000;

fn index_frame(frame_no: u64, entries: &[Entry]) -> Vec<u8> {
    let mut payload = vec![0; 32 * PAGE];
    let mut index = IndexWriter::new(&mut payload[..]);
    entries.iter().for_each(|entry| index.push(*entry).unwrap());
    let raw = index.payload();
    let mut out = vec![0; frame::worst_case(raw.len())];
    let mut writer = FrameWriter::begin(&mut out, Kind::Index, frame_no, &ID).unwrap();
    writer.payload_mut()[..raw.len()].copy_from_slice(raw);
    let len = writer
        .finish(0, raw.len() as u32, raw.len() as u32)
        .unwrap();
    out.truncate(len);
    out
}

/// An export with an image of these pages, in the order of their numbers turned round.
pub fn export(facts: &Facts<'_>, pages: &Pages, fills: &[Fill]) -> Vec<u8> {
    let mut entries: Vec<Entry> = fills
        .iter()
        .map(|&(pfn, count, word)| Entry {
            pfn,
            count,
            source: Source::Fill(word),
        })
        .collect();
    let mut data = Vec::new();
    for (number, (pfn, bytes)) in (0..).zip(pages.iter().rev()) {
        data.extend(samples::frame_with(number, &[(*pfn, 1)], 0, bytes));
        entries.push(Entry {
            pfn: *pfn,
            count: 1,
            source: Source::Frame(number),
        });
    }
    entries.sort_by_key(|entry| entry.pfn);
    let mut parts = vec![(data, 0)];
    for (number, entries) in (pages.len() as u64..).zip(entries.chunks(ENTRIES)) {
        parts.push((index_frame(number, entries), root::FLAG_INDEX));
    }
    let mut blocks = vec![0; (COMMIT_BLOCK as usize + 1) * BLOCK];
    let mut table = vec![0; parts.len() * root::ENTRY_BYTES];
    for (number, (part, flags)) in parts.iter().enumerate() {
        let chunk = Chunk {
            block: (blocks.len() / BLOCK) as u64,
            used: part.len() as u32,
            flags: *flags,
        };
        root::put(&mut table, number, &chunk).unwrap();
        blocks.extend(part);
        blocks.resize(blocks.len().next_multiple_of(BLOCK), 0);
    }
    let root_block = (blocks.len() / BLOCK) as u64;
    blocks.extend(&table);
    blocks.resize(blocks.len().next_multiple_of(BLOCK), 0);
    let mut area = samples::header_with(facts, &samples::TRANSFORMS[..1]).unwrap();
    area.resize(header::AREA_BYTES, 0);
    let fill_pages = fills.iter().map(|fill| u64::from(fill.1)).sum();
    let commit = Commit {
        image_id: ID,
        image_pages: pages.len() as u64 + fill_pages,
        data_pages: pages.len() as u64,
        fill_pages,
        frames: (pages.len() + parts.len() - 1) as u64,
        index_frames: (parts.len() - 1) as u64,
        chunks: parts.len() as u64,
        root_block,
        root_crc: wire::crc(&table),
        header_crc: Header::decode(&area).unwrap().crc,
        stored_bytes: parts.iter().map(|part| part.0.len() as u64).sum(),
        tag: [0; 64],
    };
    let mut block = [0; BLOCK];
    commit.encode(&mut block).unwrap();
    for (at, part) in [(HEADER_BLOCK, &area[..]), (COMMIT_BLOCK, &block[..])] {
        let at = at as usize * BLOCK;
        blocks[at..at + part.len()].copy_from_slice(part);
    }
    let size = (mark::FIRST_BLOCK as usize) * BLOCK + blocks.len();
    let mut device = vec![0; size];
    let sector = mark::encode(&disks::encoded(&samples::superblock()), true, size as u64).unwrap();
    device[..sector.len()].copy_from_slice(&sector);
    device[mark::FIRST_BLOCK as usize * BLOCK..].copy_from_slice(&blocks);
    device
}
