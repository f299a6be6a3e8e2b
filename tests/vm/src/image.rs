// SPDX-License-Identifier: GPL-2.0

//! Where the parts of an image lie on a disk that is one swap area.

use anyhow::{bail, ensure, Context, Result};
use dormouse_host::blockmap::codec::{self, ChainReader};
use dormouse_host::blockmap::{BlockMap, MapEntry};
use dormouse_host::image::commit::Commit;
use dormouse_host::image::frame;
use dormouse_host::image::root::{self, Chunk};
use dormouse_host::image::superblock::{self, State, Superblock};
use dormouse_host::image::{header, wire, Error, BLOCK};
use dormouse_vm::Disk;

/// Byte of the disk where the superblock is.
pub const SUPERBLOCK_AT: u64 = BLOCK as u64 - 512;

/// Reads the superblock; `None` when there is none.
///
/// # Errors
///
/// When the disk cannot be read or the superblock is damaged.
pub fn superblock(disk: &Disk) -> Result<Option<Superblock>> {
    let bytes = disk.read(SUPERBLOCK_AT, superblock::BYTES)?;
    Superblock::decode(&bytes).map_err(describe)
}

/// Whether there is an image that a boot would resume or refuse.
///
/// # Errors
///
/// As [`superblock`].
pub fn is_complete(disk: &Disk) -> Result<bool> {
    let signature = disk.read(BLOCK as u64 - 10, 10)?;
    let state = superblock(disk)?.map(|found| found.state);
    Ok(signature == b"LINHIB0001" && state.is_some_and(State::is_image))
}

/// A part of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// What says that there is an image.
    Superblock,
    /// What the swap area says of itself while it carries an image.
    Mark,
    /// A block of the block map.
    Map,
    /// What says of which system it is.
    Header,
    /// What says that it is complete.
    Commit,
    /// The table of chunks.
    Root,
    /// A frame of the index.
    Index,
    /// A frame of pages.
    Data,
}

impl Part {
    /// All of them.
    pub const ALL: [Part; 8] = [
        Part::Superblock,
        Part::Mark,
        Part::Map,
        Part::Header,
        Part::Commit,
        Part::Root,
        Part::Index,
        Part::Data,
    ];
}

/// A run of bytes of the disk that belong to one part.
#[derive(Clone, Copy, Debug)]
pub struct Run {
    /// Which part.
    pub part: Part,
    /// First byte.
    pub at: u64,
    /// Number of bytes, each of which is checked by some seal.
    pub len: u64,
}

fn describe(error: Error) -> anyhow::Error {
    anyhow::anyhow!("{}", error.sentence())
}

/// Finds all parts of the complete image on `disk`.
///
/// # Errors
///
/// When there is none, or it is not as it should be.
pub fn runs(disk: &Disk) -> Result<Vec<Run>> {
    let sb = superblock(disk)?.context("no superblock on the disk")?;
    ensure!(sb.state.is_image(), "no image: {}", sb.state.name());
    let len = superblock::BYTES as u64;
    let mut runs = vec![
        Run {
            part: Part::Superblock,
            at: SUPERBLOCK_AT,
            len,
        },
        Run {
            part: Part::Mark,
            at: SUPERBLOCK_AT + len,
            len: 512 - len,
        },
    ];
    let map = read_map(disk, &sb, &mut runs)?;
    let mut found = Finder { disk, map, runs };
    found.read(&sb)?;
    Ok(found.runs)
}

type Map = BlockMap<Vec<MapEntry>>;

/// Reads the block map and adds its blocks to `runs`.
fn read_map(disk: &Disk, sb: &Superblock, runs: &mut Vec<Run>) -> Result<Map> {
    let mut block_at = |block: u64| {
        let at = block * BLOCK as u64;
        runs.push(Run {
            part: Part::Map,
            at,
            len: BLOCK as u64,
        });
        disk.read(at, BLOCK)
    };
    let first = block_at(sb.storage_word0)?;
    // The storage has an identity of its own, which it keeps in its part of
    // the superblock.
    let id = sb.storage_private.first_chunk().context("no identity")?;
    let id = dormouse_host::image::ImageId(*id);
    let (mut chain, devices) = ChainReader::begin(&first, &id).map_err(describe)?;
    ensure!(devices.count() == 1, "the image is on several disks");
    let blocks = (disk.size()? / BLOCK as u64) as usize;
    let room = blocks.next_multiple_of(codec::ENTRIES_PER_BLOCK);
    let mut map = BlockMap::new(vec![MapEntry::default(); room]);
    while let Some(next) = chain.next() {
        let block = block_at(next)?;
        chain.block(&block, &mut map).map_err(describe)?;
    }
    chain.finish(&map).map_err(describe)?;
    Ok(map)
}

/// Reads the superblock of the image on `disk` and all of its linear space.
///
/// # Errors
///
/// As [`runs`].
pub fn linear(disk: &Disk) -> Result<(Vec<u8>, Vec<u8>)> {
    let sb = superblock(disk)?.context("no superblock on the disk")?;
    let map = read_map(disk, &sb, &mut Vec::new())?;
    let blocks = map.total();
    let found = Finder {
        disk,
        map,
        runs: Vec::new(),
    };
    let bytes = disk.read(SUPERBLOCK_AT, superblock::BYTES)?;
    Ok((bytes, found.bytes(0, blocks * BLOCK as u64)?))
}

struct Finder<'a> {
    disk: &'a Disk,
    map: Map,
    runs: Vec<Run>,
}

impl Finder<'_> {
    /// Bytes of the disk that hold `len` bytes from linear block `block` on.
    fn pieces(&self, block: u64, len: u64) -> Result<Vec<(u64, u64)>> {
        let mut left = len;
        let mut pieces = Vec::new();
        let blocks = len.div_ceil(BLOCK as u64);
        for piece in self.map.lookup(block, blocks).map_err(describe)? {
            let bytes = left.min(piece.count * BLOCK as u64);
            pieces.push((piece.block * BLOCK as u64, bytes));
            left -= bytes;
        }
        Ok(pieces)
    }

    fn bytes(&self, block: u64, len: u64) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        for (at, len) in self.pieces(block, len)? {
            bytes.extend(self.disk.read(at, len as usize)?);
        }
        Ok(bytes)
    }

    fn add(&mut self, part: Part, block: u64, len: u64) -> Result<()> {
        for (at, len) in self.pieces(block, len)? {
            self.runs.push(Run { part, at, len });
        }
        Ok(())
    }

    fn read(&mut self, sb: &Superblock) -> Result<()> {
        let area = self.bytes(sb.header_block, header::AREA_BYTES as u64)?;
        let header = header::Header::decode(&area).map_err(describe)?;
        // Only so many bytes of the area are sealed, and read.
        let mut reader = wire::Reader::at(&area, 16).map_err(describe)?;
        let sealed = reader.u32().map_err(describe)?;
        self.add(Part::Header, sb.header_block, u64::from(sealed))?;
        let commit = Commit::decode(&self.bytes(sb.commit_block, BLOCK as u64)?);
        let commit = commit.map_err(describe)?;
        self.add(Part::Commit, sb.commit_block, BLOCK as u64)?;
        let root_len = commit.root_len().map_err(describe)?;
        self.add(Part::Root, commit.root_block, root_len)?;
        let root = self.bytes(commit.root_block, root_len)?;
        let total = self.map.total();
        let space = root::Space::of(total, sb.header_block, sb.commit_block, &commit);
        for chunk in root::chunks(&root, &space.map_err(describe)?) {
            let chunk = chunk.map_err(describe)?;
            self.check(&chunk, &commit, header.transform_count())?;
            let part = match chunk.holds_index() {
                true => Part::Index,
                false => Part::Data,
            };
            self.add(part, chunk.block, u64::from(chunk.used))?;
        }
        Ok(())
    }

    /// Checks that all frames of a chunk are whole.
    fn check(&self, chunk: &Chunk, commit: &Commit, transforms: usize) -> Result<()> {
        let bytes = self.bytes(chunk.block, u64::from(chunk.used))?;
        for one in frame::frames(&bytes, &commit.image_id, transforms) {
            if let Err(error) = one {
                bail!("chunk at block {}: {}", chunk.block, error.sentence());
            }
        }
        Ok(())
    }
}
