// SPDX-License-Identifier: GPL-2.0

//! What describes an image, read in the order of trust of the kernel.

#![forbid(unsafe_code)]

use crate::checksum::crc32c;
use crate::fault::{At, Fault, Part, Reason};
use crate::image::commit::{self, Commit};
use crate::image::header::{self, Header, TransformKind};
use crate::image::root::{self, Chunk};
use crate::image::superblock::Superblock;
use crate::image::{cipher, Error, BLOCK};
use crate::keys::Keys;
use crate::runs::Runs;

/// Bytes of the root that are read at once: whole blocks, and whole entries.
const ROOT_PART: usize = 64 * 1024;

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

/// An image whose header and commit record are whole and belong together.
pub struct Opened<'s> {
    space: &'s dyn Space,
    /// Its superblock.
    pub superblock: Superblock,
    area: Vec<u8>,
    /// Its commit record.
    pub commit: Commit,
    rooms: root::Space,
}

fn read(space: &dyn Space, part: Part, block: u64, len: usize) -> Result<Vec<u8>, Fault> {
    let mut bytes = Vec::new();
    read_to(space, part, block, len, &mut bytes)?;
    Ok(bytes)
}

/// Reads `len` bytes into `bytes`, in place of what is there.
fn read_to(
    space: &dyn Space,
    part: Part,
    block: u64,
    len: usize,
    bytes: &mut Vec<u8>,
) -> Result<(), Fault> {
    // A length comes from the image: it has to fit before there is room for it.
    let fits = block.checked_add(len.div_ceil(BLOCK) as u64);
    if fits.is_none_or(|end| end > space.blocks()) {
        return Err(Fault::image(part, Error::BlockRange));
    }
    bytes.clear();
    bytes.resize(len, 0);
    let result = space.read(block, bytes);
    result.map_err(|reason| Fault { part, reason })
}

impl<'s> Opened<'s> {
    /// Reads what describes the image of `superblock` in `space`: all but the root.
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
        let total = space.blocks();
        let rooms = root::Space::of(total, sb.header_block, sb.commit_block, &commit);
        let rooms = rooms.at(Part::Root)?;
        let claims = commit.check_claims(&header.facts, total);
        claims.at(Part::Commit)?;
        Ok(Opened {
            space,
            rooms,
            area,
            commit,
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

    /// Calls `each` with the bytes of the root, part after part, and compares its checksum in the
    /// end.
    fn root(&self, mut each: impl FnMut(&[u8])) -> Result<(), Fault> {
        let mut sum = !0;
        let mut parts = Parts::of(self)?;
        while parts.read(self)? {
            sum = crc32c(sum, &parts.bytes);
            each(&parts.bytes);
        }
        if !sum != self.commit.root_crc {
            return Err(Fault::image(Part::Root, Error::BadCrc));
        }
        Ok(())
    }

    /// Checks the tag over all that describes the image, or that there is none in clear.
    ///
    /// # Errors
    ///
    /// [`Error::BadTag`] when something was altered, [`Error::BadCrc`] for the root.
    pub fn check_tag(&self, keys: Option<&Keys>) -> Result<(), Fault> {
        let expected = match keys {
            None => [0; commit::TAG_BYTES],
            Some(keys) => {
                let mut tag = keys.begin_tag().at(Part::Commit)?;
                tag.update(&self.area);
                self.root(|part| tag.update(part))?;
                let mut block = [0; BLOCK];
                self.commit.encode_untagged(&mut block).at(Part::Commit)?;
                tag.update(&block);
                tag.finish()
            }
        };
        if !cipher::same(&expected, &self.commit.tag) {
            return Err(Fault::image(Part::Commit, Error::BadTag));
        }
        Ok(())
    }

    /// Its chunks, which are read part after part: not even their number has to fit into memory.
    /// Nothing of them is to be believed before the tag was checked.
    ///
    /// # Errors
    ///
    /// When the root is damaged, a chunk is not possible, or two share a block;
    /// [`Error::BadCount`] when all together have not the bytes that the commit record says, which
    /// room is made for.
    pub fn chunks(&self) -> Result<Chunks<'_>, Fault> {
        let mut blocks = Runs::new(usize::MAX);
        let mut impossible = Ok(());
        let mut stored: u64 = 0;
        self.root(|part| {
            if impossible.is_ok() {
                impossible = root::chunks(part, &self.rooms).try_for_each(|chunk| {
                    let chunk = chunk?;
                    stored = stored.saturating_add(chunk.used.into());
                    let end = chunk.block.saturating_add(chunk.blocks());
                    blocks.add(chunk.block, end).map_err(|_| Error::NoRoom)
                });
            }
        })?;
        impossible.at(Part::Root)?;
        blocks
            .all()
            .ok_or(Fault::image(Part::Root, Error::Overlap))?;
        if stored != self.commit.stored_bytes {
            return Err(Fault::image(Part::Root, Error::BadCount));
        }
        Ok(Chunks {
            opened: self,
            parts: Parts::of(self)?,
            here: Vec::new().into_iter(),
        })
    }

    /// Reads the frames of a chunk into `bytes`, in place of what is there.
    ///
    /// # Errors
    ///
    /// When they cannot be read.
    pub fn chunk_bytes(&self, chunk: &Chunk, bytes: &mut Vec<u8>) -> Result<(), Fault> {
        let part = Part::Chunk(chunk.block);
        let len = chunk.used as usize;
        read_to(self.space, part, chunk.block, len, bytes)
    }
}

/// The bytes of a root, a part at a time.
#[derive(Clone)]
struct Parts {
    /// Where the next part begins.
    block: u64,
    /// How many bytes are still to come.
    left: u64,
    bytes: Vec<u8>,
}

impl Parts {
    fn of(opened: &Opened<'_>) -> Result<Self, Fault> {
        Ok(Parts {
            block: opened.commit.root_block,
            left: opened.commit.root_len().at(Part::Root)?,
            bytes: Vec::new(),
        })
    }

    /// Reads the next part; false if there is none.
    fn read(&mut self, opened: &Opened<'_>) -> Result<bool, Fault> {
        if self.left == 0 {
            return Ok(false);
        }
        let len = usize::try_from(self.left).map_or(ROOT_PART, |left| left.min(ROOT_PART));
        read_to(opened.space, Part::Root, self.block, len, &mut self.bytes)?;
        self.block = self.block.saturating_add((ROOT_PART / BLOCK) as u64);
        self.left -= len as u64;
        Ok(true)
    }
}

/// Iterator of [`Opened::chunks`].
///
/// A root that another machine gives may be another one when it is read again. What is in the
/// chunks says itself where it belongs, so that does not matter.
#[derive(Clone)]
pub struct Chunks<'o> {
    opened: &'o Opened<'o>,
    parts: Parts,
    here: std::vec::IntoIter<Chunk>,
}

impl Chunks<'_> {
    fn more(&mut self) -> Result<(), Fault> {
        if self.parts.read(self.opened)? {
            let chunks = root::chunks(&self.parts.bytes, &self.opened.rooms);
            let all: Result<Vec<Chunk>, Error> = chunks.collect();
            self.here = all.at(Part::Root)?.into_iter();
        }
        Ok(())
    }
}

impl Iterator for Chunks<'_> {
    type Item = Result<Chunk, Fault>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.here.len() == 0 {
            if let Err(fault) = self.more() {
                self.parts.left = 0;
                return Some(Err(fault));
            }
        }
        self.here.next().map(Ok)
    }
}
