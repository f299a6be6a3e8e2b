// SPDX-License-Identifier: GPL-2.0

//! What describes an image, read in the order of trust of the kernel.

#![forbid(unsafe_code)]

use crate::fault::{At, Fault, Part, Reason};
use crate::image::commit::{self, Commit};
use crate::image::header::{self, Header, TransformKind};
use crate::image::root::{self, check_disjoint, Chunk};
use crate::image::superblock::Superblock;
use crate::image::{cipher, wire, Error, BLOCK};
use crate::keys::Keys;

/// A linear space of blocks.
pub trait Space {
    /// How many it has.
    fn blocks(&self) -> u64;

    /// Fills `out` from block `block` on.
    ///
    /// # Errors
    ///
    /// When the blocks are not there or cannot be read.
    fn read(&self, block: u64, out: &mut [u8]) -> Result<(), Reason>;
}

impl Space for &[u8] {
    fn blocks(&self) -> u64 {
        (self.len() / BLOCK) as u64
    }

    fn read(&self, block: u64, out: &mut [u8]) -> Result<(), Reason> {
        let at = usize::try_from(block)
            .ok()
            .and_then(|b| b.checked_mul(BLOCK));
        let bytes = at.and_then(|at| self.get(at..at.checked_add(out.len())?));
        out.copy_from_slice(bytes.ok_or(Reason::Image(Error::Truncated))?);
        Ok(())
    }
}

/// An image whose header, commit record and root are whole and belong together.
pub struct Opened<'s> {
    space: &'s dyn Space,
    /// Its superblock.
    pub superblock: Superblock,
    area: Vec<u8>,
    /// Its commit record.
    pub commit: Commit,
    root: Vec<u8>,
    rooms: root::Space,
}

fn read(space: &dyn Space, part: Part, block: u64, len: usize) -> Result<Vec<u8>, Fault> {
    // A length comes from the image: it has to fit before there is room for it.
    let fits = block.checked_add(len.div_ceil(BLOCK) as u64);
    if fits.is_none_or(|end| end > space.blocks()) {
        return Err(Fault::image(part, Error::BlockRange));
    }
    let mut bytes = vec![0; len];
    let result = space.read(block, &mut bytes);
    result.map_err(|reason| Fault { part, reason })?;
    Ok(bytes)
}

impl<'s> Opened<'s> {
    /// Reads what describes the image of `superblock` in `space`.
    ///
    /// # Errors
    ///
    /// What is wrong with it, and where.
    pub fn open(space: &'s dyn Space, superblock: Superblock) -> Result<Self, Fault> {
        let sb = &superblock;
        if !sb.state.is_image() {
            return Err(Fault::image(Part::Superblock, Error::BadState));
        }
        let area = read(space, Part::Header, sb.header_block, header::AREA_BYTES)?;
        let header = Header::decode(&area).at(Part::Header)?;
        if header.facts.image_id != sb.image_id {
            return Err(Fault::image(Part::Header, Error::OtherImage));
        }
        let block = read(space, Part::Commit, sb.commit_block, BLOCK)?;
        let commit = Commit::decode(&block).at(Part::Commit)?;
        if commit.image_id != sb.image_id || commit.header_crc != header.crc {
            return Err(Fault::image(Part::Commit, Error::OtherImage));
        }
        // As the kernel counts: an index could otherwise tell of any number of pages.
        let frames_most = commit.data_pages.saturating_add(commit.index_frames);
        if commit.image_pages > header.facts.ram_pages || commit.frames > frames_most {
            return Err(Fault::image(Part::Commit, Error::BadCount));
        }
        let total = space.blocks();
        let rooms = root::Space::of(total, sb.header_block, sb.commit_block, &commit);
        let rooms = rooms.at(Part::Root)?;
        let len = commit.root_len().at(Part::Root)?;
        let len = usize::try_from(len).map_err(|_| Fault::image(Part::Root, Error::BadLength))?;
        let root = read(space, Part::Root, commit.root_block, len)?;
        if wire::crc(&root) != commit.root_crc {
            return Err(Fault::image(Part::Root, Error::BadCrc));
        }
        Ok(Opened {
            space,
            rooms,
            area,
            commit,
            root,
            superblock,
        })
    }

    /// Its header.
    ///
    /// # Errors
    ///
    /// None in practice: it was read before.
    pub fn header(&self) -> Result<Header<'_>, Fault> {
        Header::decode(&self.area).at(Part::Header)
    }

    /// Name and parameters of the encryptor, if there is one.
    ///
    /// # Errors
    ///
    /// When a transform follows it.
    pub fn encryptor(&self) -> Result<Option<(&str, &[u8])>, Fault> {
        let transforms: Vec<_> = self.header()?.transforms().collect();
        let at = transforms
            .iter()
            .position(|t| t.kind == TransformKind::Encrypt);
        match at {
            Some(at) if at + 1 != transforms.len() => {
                Err(Fault::image(Part::Header, Error::BadTransform))
            }
            Some(at) => Ok(transforms.get(at).map(|t| (t.name, t.params))),
            None => Ok(None),
        }
    }

    /// Checks the tag over all that describes the image, or that there is none in clear.
    ///
    /// # Errors
    ///
    /// [`Error::BadTag`] when something was altered.
    pub fn check_tag(&self, keys: Option<&Keys>) -> Result<(), Fault> {
        let expected = match keys {
            None => [0; commit::TAG_BYTES],
            Some(keys) => {
                let mut block = [0; BLOCK];
                self.commit.encode_untagged(&mut block).at(Part::Commit)?;
                let parts: [&[u8]; 3] = [&self.area, &self.root, &block];
                keys.tag(&parts).at(Part::Commit)?
            }
        };
        if !cipher::same(&expected, &self.commit.tag) {
            return Err(Fault::image(Part::Commit, Error::BadTag));
        }
        Ok(())
    }

    /// Its chunks. Nothing of them is to be believed before the tag was checked.
    ///
    /// # Errors
    ///
    /// When one is not possible, or two share a block.
    pub fn chunks(&self) -> Result<Vec<Chunk>, Fault> {
        let mut scratch = vec![Default::default(); self.root.len() / root::ENTRY_BYTES];
        check_disjoint(&self.root, &self.rooms, &mut scratch).at(Part::Root)?;
        let chunks = root::chunks(&self.root, &self.rooms).collect::<Result<_, _>>();
        chunks.at(Part::Root)
    }

    /// Reads the frames of a chunk.
    ///
    /// # Errors
    ///
    /// When they cannot be read.
    pub fn chunk_bytes(&self, chunk: &Chunk) -> Result<Vec<u8>, Fault> {
        let part = Part::Chunk(chunk.block);
        read(self.space, part, chunk.block, chunk.used as usize)
    }
}
