// SPDX-License-Identifier: GPL-2.0

//! The superblock: whether there is an image, and what became of it.
//!
//! It is as long as fits into one 512-byte sector beside a swap signature, so that every change
//! of state is a single sector write and nothing between two states is ever seen.

#![forbid(unsafe_code)]

use super::wire::{
    check_seal,
    seal,
    Reader,
    Writer, //
};
use super::{
    Error,
    ImageId,
    Result,
    VERSION, //
};

/// Bytes of an encoded superblock.
pub const BYTES: usize = 448;

/// First bytes of every superblock.
pub const MAGIC: [u8; 8] = *b"DORMOUSE";

/// Offset of the seal.
pub const CRC_AT: usize = 12;

/// Width of the field for the reason of a failure.
pub const REASON_BYTES: usize = 160;

/// Width of the field that belongs to the storage.
pub const PRIVATE_BYTES: usize = 64;

/// Where an image is in its life.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u32)]
pub enum State {
    /// There is no image; the space is free.
    #[default]
    Empty = 0,
    /// A save has begun. Found after a boot: it never ended, and nothing was lost.
    Writing = 1,
    /// The image is complete and waits to be resumed.
    Committed = 2,
    /// A resume of the image has begun. Found after a boot: how it ended is not known.
    Resuming = 3,
    /// The machine runs on from this image, which must not be resumed again.
    Consumed = 4,
    /// The image is proven bad, or its save failed; the reason says why.
    Failed = 5,
}

impl State {
    /// Every state, in the order of their numbers.
    pub const ALL: [State; 6] = [
        State::Empty,
        State::Writing,
        State::Committed,
        State::Resuming,
        State::Consumed,
        State::Failed,
    ];

    /// Returns the name of the state, as sysfs shows it.
    pub const fn name(self) -> &'static str {
        match self {
            State::Empty => "empty",
            State::Writing => "writing",
            State::Committed => "committed",
            State::Resuming => "resuming",
            State::Consumed => "consumed",
            State::Failed => "failed",
        }
    }

    /// Returns whether there is an image that could be resumed.
    pub const fn is_image(self) -> bool {
        matches!(self, State::Committed | State::Resuming)
    }

    /// Returns whether `next` may be written over this state.
    ///
    /// Writing the same state again is allowed: that records a reason or a further attempt. A
    /// new save never begins over an image that could still be resumed; it must be erased first.
    /// An image whose restore was begun is never one again that a boot takes by itself.
    pub const fn may_become(self, next: State) -> bool {
        use State::*;
        matches!(
            (self, next),
            (_, Empty)
                | (Empty, Writing)
                | (Writing, Writing | Committed | Failed)
                | (Committed, Committed | Resuming | Failed)
                | (Resuming, Resuming | Consumed | Failed)
                | (Consumed, Consumed | Writing)
                | (Failed, Failed | Writing)
        )
    }

    fn from_number(number: u32) -> Result<State> {
        let mut states = State::ALL.into_iter();
        states.find(|&s| s as u32 == number).ok_or(Error::BadState)
    }
}

/// What a save and a load took, for the restored kernel: it is as old as the snapshot and knows
/// neither.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Pages of the image.
    pub image_pages: u64,
    /// Pages of it that one word fills.
    pub fill_pages: u64,
    /// Its frames.
    pub frames: u64,
    /// Bytes of its frames.
    pub stored_bytes: u64,
    /// Nanoseconds of the copy with interrupts off.
    pub atomic_ns: u64,
    /// Nanoseconds of writing it, up to the commit record.
    pub write_ns: u64,
    /// Nanoseconds of loading it.
    pub load_ns: u64,
    /// Pages that were loaded straight to where they belong.
    pub in_place_pages: u64,
}

impl Figures {
    fn encode(&self, w: &mut Writer<'_>) -> Result {
        w.u64(self.image_pages)?;
        w.u64(self.fill_pages)?;
        w.u64(self.frames)?;
        w.u64(self.stored_bytes)?;
        w.u64(self.atomic_ns)?;
        w.u64(self.write_ns)?;
        w.u64(self.load_ns)?;
        w.u64(self.in_place_pages)
    }

    fn decode(r: &mut Reader<'_>) -> Result<Self> {
        Ok(Figures {
            image_pages: r.u64()?,
            fill_pages: r.u64()?,
            frames: r.u64()?,
            stored_bytes: r.u64()?,
            atomic_ns: r.u64()?,
            write_ns: r.u64()?,
            load_ns: r.u64()?,
            in_place_pages: r.u64()?,
        })
    }
}

/// The contents of a superblock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Superblock {
    /// Where the image is in its life. Change it with [`Superblock::advance`].
    pub state: State,
    /// How many times a resume of this image was begun.
    pub attempts: u32,
    /// Identity of the image.
    pub image_id: ImageId,
    /// First block of the header, in the linear space.
    pub header_block: u64,
    /// Block of the commit record, in the linear space.
    pub commit_block: u64,
    /// Counts the writes of this superblock.
    pub generation: u64,
    /// When the save began, in seconds since 1970, or 0.
    pub saved_at: i64,
    /// For the storage; the block map's first block on the first device.
    pub storage_word0: u64,
    /// For the storage.
    pub storage_word1: u64,
    /// Positive errno of the last failure, or 0.
    pub last_errno: u32,
    /// Number of the step that failed, as the core counts them, or 0.
    pub last_step: u32,
    /// For the storage, opaque.
    pub storage_private: [u8; PRIVATE_BYTES],
    /// Number of the first boot that looked at the image and went on without it, or 0. Each boot
    /// makes its own, at random.
    pub passed_by: u64,
    /// What the save took, and the last load. Nothing depends on them.
    pub figures: Figures,
    // Invariant: clean UTF-8 without control characters, padded with NULs.
    reason: [u8; REASON_BYTES],
}

impl Superblock {
    /// Returns the superblock of an empty storage.
    pub const fn new() -> Self {
        Self {
            state: State::Empty,
            attempts: 0,
            image_id: ImageId([0; 16]),
            header_block: 0,
            commit_block: 0,
            generation: 0,
            saved_at: 0,
            storage_word0: 0,
            storage_word1: 0,
            last_errno: 0,
            last_step: 0,
            storage_private: [0; PRIVATE_BYTES],
            passed_by: 0,
            figures: Figures {
                image_pages: 0,
                fill_pages: 0,
                frames: 0,
                stored_bytes: 0,
                atomic_ns: 0,
                write_ns: 0,
                load_ns: 0,
                in_place_pages: 0,
            },
            reason: [0; REASON_BYTES],
        }
    }

    /// Moves to `next` and counts the write that is to follow.
    ///
    /// # Errors
    ///
    /// [`Error::BadTransition`] when the present state forbids it; nothing changes then.
    pub fn advance(&mut self, next: State) -> Result {
        if !self.state.may_become(next) {
            return Err(Error::BadTransition);
        }
        self.state = next;
        self.generation = self.generation.wrapping_add(1);
        Ok(())
    }

    /// Records why something failed; `errno` is positive.
    pub fn set_failure(&mut self, errno: u32, step: u32, reason: &str) {
        self.last_errno = errno;
        self.last_step = step;
        self.set_reason(reason);
    }

    /// Stores `reason`, cut at a character if it is too long, control characters as spaces.
    pub fn set_reason(&mut self, reason: &str) {
        let mut field = [0; REASON_BYTES];
        let mut at = 0usize;
        for c in reason.chars() {
            let clean = if c.is_control() { ' ' } else { c };
            let end = at.saturating_add(clean.len_utf8());
            let Some(place) = field.get_mut(at..end) else {
                break;
            };
            clean.encode_utf8(place);
            at = end;
        }
        self.reason = field;
    }

    /// Returns the recorded reason; empty when there is none.
    pub fn reason(&self) -> &str {
        Reader::new(&self.reason).text(REASON_BYTES).unwrap_or("")
    }

    /// Writes the superblock into its 448 bytes.
    ///
    /// # Errors
    ///
    /// None in practice: every field has a fixed width.
    pub fn encode(&self, out: &mut [u8; BYTES]) -> Result {
        let mut w = Writer::new(out);
        w.bytes(&MAGIC)?;
        w.u32(VERSION)?;
        w.u32(0)?;
        w.u32(self.state as u32)?;
        w.u32(self.attempts)?;
        w.id(&self.image_id)?;
        w.u64(self.header_block)?;
        w.u64(self.commit_block)?;
        w.u64(self.generation)?;
        w.i64(self.saved_at)?;
        w.u64(self.storage_word0)?;
        w.u64(self.storage_word1)?;
        w.u32(self.last_errno)?;
        w.u32(self.last_step)?;
        w.bytes(&self.reason)?;
        w.bytes(&self.storage_private)?;
        w.u64(self.passed_by)?;
        self.figures.encode(&mut w)?;
        w.zeros_to(BYTES)?;
        seal(out, CRC_AT)?;
        Ok(())
    }

    /// Reads a superblock from the first 448 of `bytes`.
    ///
    /// Returns `None` when the magic number is not there, which means: no image of ours.
    ///
    /// # Errors
    ///
    /// [`Error::Truncated`], [`Error::UnknownVersion`], [`Error::BadCrc`], [`Error::BadState`],
    /// [`Error::BadText`] or [`Error::NotZero`]: a superblock of ours that cannot be believed.
    /// The version is looked at before the seal, since another version may seal differently.
    pub fn decode(bytes: &[u8]) -> Result<Option<Superblock>> {
        let bytes = bytes.get(..BYTES).ok_or(Error::Truncated)?;
        let mut r = Reader::new(bytes);
        if r.array()? != MAGIC {
            return Ok(None);
        }
        if r.u32()? != VERSION {
            return Err(Error::UnknownVersion);
        }
        check_seal(bytes, CRC_AT)?;
        r.u32()?;
        let found = Superblock {
            state: State::from_number(r.u32()?)?,
            attempts: r.u32()?,
            image_id: r.id()?,
            header_block: r.u64()?,
            commit_block: r.u64()?,
            generation: r.u64()?,
            saved_at: r.i64()?,
            storage_word0: r.u64()?,
            storage_word1: r.u64()?,
            last_errno: r.u32()?,
            last_step: r.u32()?,
            reason: r.array()?,
            storage_private: r.array()?,
            passed_by: r.u64()?,
            figures: Figures::decode(&mut r)?,
        };
        r.zeros(r.rest().len())?;
        Reader::new(&found.reason).text(REASON_BYTES)?;
        Ok(Some(found))
    }
}

impl Default for Superblock {
    fn default() -> Self {
        Self::new()
    }
}
