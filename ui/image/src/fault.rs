// SPDX-License-Identifier: GPL-2.0

//! What can go wrong with an image that is read outside of the kernel.

#![forbid(unsafe_code)]

use std::fmt;
use std::io;

use crate::image::Error;

/// A part of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// What says that there is an image.
    Superblock,
    /// What says where its blocks are.
    Map,
    /// What says of which system it is.
    Header,
    /// What says that it is complete.
    Commit,
    /// The table of chunks.
    Root,
    /// The frames in the chunk that begins at this block.
    Chunk(u64),
    /// What says which frame has which page.
    Index,
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Part::Superblock => f.write_str("superblock"),
            Part::Map => f.write_str("block map"),
            Part::Header => f.write_str("header"),
            Part::Commit => f.write_str("commit record"),
            Part::Root => f.write_str("root"),
            Part::Chunk(block) => write!(f, "chunk at block {block}"),
            Part::Index => f.write_str("index"),
        }
    }
}

/// Why it is not as it should be.
#[derive(Debug)]
pub enum Reason {
    /// It cannot be read.
    Io(io::Error),
    /// It is not what was written.
    Image(Error),
    /// The frame with this number has a good checksum, and its contents make no sense.
    Unpack(u64),
    /// Something is missing to read it: the sentence says what.
    Missing(String),
}

impl From<io::Error> for Reason {
    fn from(error: io::Error) -> Self {
        Reason::Io(error)
    }
}

impl From<Error> for Reason {
    fn from(error: Error) -> Self {
        Reason::Image(error)
    }
}

/// What is wrong, and where.
#[derive(Debug)]
pub struct Fault {
    /// Where.
    pub part: Part,
    /// What.
    pub reason: Reason,
}

impl Fault {
    /// A part that is not what was written.
    pub const fn image(part: Part, error: Error) -> Fault {
        Fault {
            part,
            reason: Reason::Image(error),
        }
    }

    /// A part that cannot be read.
    pub const fn io(part: Part, error: io::Error) -> Fault {
        Fault {
            part,
            reason: Reason::Io(error),
        }
    }

    /// Something that is needed for a part.
    pub fn missing(part: Part, sentence: impl Into<String>) -> Fault {
        Fault {
            part,
            reason: Reason::Missing(sentence.into()),
        }
    }

    /// Whether the image itself is at fault, and not what is needed to read it.
    pub const fn is_damage(&self) -> bool {
        matches!(self.reason, Reason::Image(_) | Reason::Unpack(_))
    }

    /// What is wrong with the bytes, if that is it.
    pub const fn error(&self) -> Option<Error> {
        match self.reason {
            Reason::Image(error) => Some(error),
            _ => None,
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.reason {
            Reason::Io(error) => write!(f, "{}: cannot be read: {error}", self.part),
            Reason::Image(error) => write!(f, "{}: {error}", self.part),
            Reason::Unpack(number) => {
                let part = self.part;
                write!(
                    f,
                    "{part}: frame {number} has a good checksum and cannot be unpacked"
                )
            }
            Reason::Missing(sentence) => f.write_str(sentence),
        }
    }
}

impl std::error::Error for Fault {}

/// Says where an [`Error`] of the format is.
pub trait At<T> {
    /// Makes it one of `part`.
    ///
    /// # Errors
    ///
    /// The same one.
    fn at(self, part: Part) -> Result<T, Fault>;
}

impl<T> At<T> for Result<T, Error> {
    fn at(self, part: Part) -> Result<T, Fault> {
        self.map_err(|error| Fault::image(part, error))
    }
}
