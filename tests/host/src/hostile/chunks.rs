// SPDX-License-Identifier: GPL-2.0

//! Chunks of frames, and the export that they make.

use crate::image::commit::Commit;
use crate::image::frame::{self, FrameWriter, Kind};
use crate::image::header::{self, Facts, Header, Transform, TransformKind};
use crate::image::root::{self, Chunk};
use crate::image::superblock::{self, Superblock};
use crate::image::{wire, BLOCK, CHUNK_BYTES};
use crate::netblock::mark;
use crate::samples::{self, COMMIT_BLOCK, FACTS, HEADER_BLOCK, ID};

/// Memory of the machine, as its header says.
pub(super) const RAM_PAGES: u64 = 1 << 52;
/// Bytes that are kept for what is no chunk.
pub(super) const AROUND: usize = 40 * BLOCK;
/// Frames in chunks.
#[derive(Default)]
pub(super) struct Chunks {
    pub(super) all: Vec<(Vec<u8>, u32)>,
    pub(super) bytes: usize,
    pub(super) frames: u64,
    pub(super) index_frames: u64,
}

impl Chunks {
    /// Adds a frame of these stored bytes, with the next number.
    pub(super) fn push(
        &mut self,
        kind: Kind,
        extents: &[(u64, u32)],
        raw_len: usize,
        stored: &[u8],
    ) {
        let number = self.frames;
        self.push_as(number, kind, extents, raw_len, stored);
    }

    pub(super) fn push_as(
        &mut self,
        number: u64,
        kind: Kind,
        extents: &[(u64, u32)],
        raw_len: usize,
        stored: &[u8],
    ) {
        let mut out = vec![0; frame::size(extents.len(), stored.len())];
        let mut writer = FrameWriter::begin(&mut out, kind, number, &ID).expect("room");
        for &(pfn, count) in extents {
            writer.add_extent(pfn, count).expect("possible");
        }
        writer.payload_mut()[..stored.len()].copy_from_slice(stored);
        let applied = u8::from(raw_len != stored.len());
        let len = writer.finish(applied, raw_len as u32, stored.len() as u32);
        out.truncate(len.expect("possible"));
        let flags = match kind {
            Kind::Index => root::FLAG_INDEX,
            Kind::Data => 0,
        };
        match self.all.last_mut() {
            Some(last) if last.1 == flags && last.0.len() + out.len() <= CHUNK_BYTES => {
                last.0.extend(&out);
            }
            _ => self.all.push((out.clone(), flags)),
        }
        self.bytes += out.len();
        self.frames += 1;
        self.index_frames += u64::from(kind == Kind::Index);
    }

    /// Whether `more` bytes fit into an export of `size` bytes.
    pub(super) fn fits(&self, size: usize, more: usize) -> bool {
        let padding = (self.all.len() + 1) * (BLOCK + root::ENTRY_BYTES);
        self.bytes + more + padding + AROUND <= size
    }

    /// What the commit record says of them.
    pub(super) fn commit(&self) -> Commit {
        Commit {
            frames: self.frames,
            index_frames: self.index_frames,
            chunks: self.all.len() as u64,
            stored_bytes: self.all.iter().map(|chunk| chunk.0.len() as u64).sum(),
            ..Commit::default()
        }
    }

    /// The export.
    pub(super) fn export(self, transforms: &[&str], commit: Commit) -> Vec<u8> {
        let mut blocks = vec![0; (COMMIT_BLOCK as usize + 1) * BLOCK];
        let mut table = vec![0; self.all.len() * root::ENTRY_BYTES];
        for (number, (bytes, flags)) in self.all.iter().enumerate() {
            let chunk = Chunk {
                block: (blocks.len() / BLOCK) as u64,
                used: bytes.len() as u32,
                flags: *flags,
            };
            root::put(&mut table, number, &chunk).expect("possible");
            blocks.extend(bytes);
            blocks.resize(blocks.len().next_multiple_of(BLOCK), 0);
        }
        export(transforms, blocks, &table, commit)
    }
}

/// An export of `blocks`, in which there is room for header and commit record, and behind them the
/// root `table`.
pub(super) fn export(
    transforms: &[&str],
    mut blocks: Vec<u8>,
    table: &[u8],
    mut commit: Commit,
) -> Vec<u8> {
    let facts = Facts {
        ram_pages: RAM_PAGES,
        ..FACTS
    };
    let transforms: Vec<Transform<'_>> = transforms
        .iter()
        .map(|name| Transform {
            kind: TransformKind::Compress,
            name,
            params: b"",
        })
        .collect();
    let mut area = samples::header_with(&facts, &transforms).expect("possible");
    area.resize(header::AREA_BYTES, 0);
    commit.image_id = ID;
    commit.root_block = (blocks.len() / BLOCK) as u64;
    commit.root_crc = wire::crc(table);
    commit.header_crc = Header::decode(&area).expect("possible").crc;
    blocks.extend(table);
    blocks.resize(blocks.len().next_multiple_of(BLOCK), 0);
    let mut block = [0; BLOCK];
    commit.encode(&mut block).expect("possible");
    for (at, part) in [(HEADER_BLOCK, &area[..]), (COMMIT_BLOCK, &block[..])] {
        let at = at as usize * BLOCK;
        blocks[at..at + part.len()].copy_from_slice(part);
    }
    device(&samples::superblock(), &blocks)
}

/// An export of `blocks`, with this superblock.
pub(super) fn device(superblock: &Superblock, blocks: &[u8]) -> Vec<u8> {
    let first = mark::FIRST_BLOCK as usize * BLOCK;
    let size = first + blocks.len();
    let mut device = vec![0; first];
    let sector = mark::encode(&encoded(superblock), true, size as u64);
    let sector = sector.expect("possible");
    device[..sector.len()].copy_from_slice(&sector);
    device.extend(blocks);
    device
}

pub(super) fn encoded(superblock: &Superblock) -> [u8; superblock::BYTES] {
    let mut bytes = [0; superblock::BYTES];
    superblock.encode(&mut bytes).expect("possible");
    bytes
}
