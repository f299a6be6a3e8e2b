// SPDX-License-Identifier: GPL-2.0

//! Requests under way, and the replies to them.
//!
//! Whoever has the connection asks [`Replies::want`] where the next bytes
//! belong, receives as many of them as there are, and tells
//! [`Replies::took`].

#![forbid(unsafe_code)]

use super::cover::Cover;
use super::wire::{self, u16_at, u32_at, u64_at, Command, Request};
use core::fmt;

/// Requests that can be under way on one connection.
pub const SLOTS: usize = 16;

const SIMPLE_BYTES: usize = 16;
const CHUNK_BYTES: usize = 20;
/// What the contents of a chunk begin with. Data: their offset.
const DATA_HEAD: u32 = 8;
/// A hole, which is nothing else: its offset and its length.
const HOLE_HEAD: u32 = 12;
/// An error: its number and the length of its text.
const ERROR_HEAD: u32 = 6;
/// Most bytes of an error, which has a text of at most 4096.
const ERROR_MAX: u32 = 8192;

/// What a server did that the protocol does not allow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Violation {
    /// Neither a simple reply nor a chunk.
    Magic,
    /// A reply to something that was not asked.
    Cookie,
    /// A kind of reply that was not agreed on.
    Kind,
    /// A length that does not fit.
    Length,
    /// Data outside of what was asked for, or twice.
    Place,
    /// The end of a reply with data missing.
    Missing,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Violation::Magic => "what it sent is no reply",
            Violation::Cookie => "it replied to something that was not asked",
            Violation::Kind => "it sent a kind of reply that was not agreed on",
            Violation::Length => "a reply has a length that does not fit",
            Violation::Place => "it sent data that were not asked for, or twice",
            Violation::Missing => "a reply ended before all data were there",
        })
    }
}

/// A request under way.
#[derive(Clone, Copy, Debug)]
struct Pending {
    cookie: u64,
    command: Command,
    offset: u64,
    len: u32,
    cover: Cover,
    error: u32,
}

/// The requests under way on one connection.
pub struct Table {
    slots: [Option<Pending>; SLOTS],
    /// Makes every cookie another one.
    serial: u64,
    used: usize,
}

impl Table {
    /// None. Cookies are counted from `seed` on.
    pub const fn new(seed: u64) -> Self {
        Table {
            slots: [None; SLOTS],
            serial: seed,
            used: 0,
        }
    }

    /// How many requests are under way.
    pub fn len(&self) -> usize {
        self.used
    }

    /// Whether none is under way.
    pub fn is_empty(&self) -> bool {
        self.used == 0
    }

    /// Adds a request; returns its slot and what is to be sent. `None` when all
    /// slots are taken.
    pub fn begin(
        &mut self,
        command: Command,
        flags: u16,
        offset: u64,
        len: u32,
    ) -> Option<(usize, Request)> {
        let slot = self.slots.iter().position(Option::is_none)?;
        self.serial = self.serial.wrapping_add(1);
        let cookie = (self.serial << 8) | slot as u64;
        *self.slots.get_mut(slot)? = Some(Pending {
            cookie,
            command,
            offset,
            len,
            cover: Cover::new(),
            error: 0,
        });
        self.used = self.used.saturating_add(1);
        let request = Request {
            command,
            flags,
            cookie,
            offset,
            len,
        };
        Some((slot, request))
    }

    fn find(&mut self, cookie: u64) -> Result<(usize, &mut Pending), Violation> {
        let slot = (cookie & 0xff) as usize;
        match self.slots.get_mut(slot) {
            Some(Some(pending)) if pending.cookie == cookie => Ok((slot, pending)),
            _ => Err(Violation::Cookie),
        }
    }

    fn at(&mut self, slot: usize) -> Result<&mut Pending, Violation> {
        let pending = self.slots.get_mut(slot).and_then(Option::as_mut);
        pending.ok_or(Violation::Cookie)
    }

    /// Ends a request whose reply is complete.
    fn end(&mut self, slot: usize, structured: bool) -> Result<Event, Violation> {
        let pending = *self.at(slot)?;
        let whole = pending.cover.is_whole(pending.len);
        if structured && pending.command == Command::Read && pending.error == 0 && !whole {
            return Err(Violation::Missing);
        }
        if let Some(place) = self.slots.get_mut(slot) {
            *place = None;
        }
        self.used = self.used.saturating_sub(1);
        Ok(Event::Done {
            slot,
            error: pending.error,
        })
    }
}

/// Where the next bytes belong.
#[derive(Debug, PartialEq, Eq)]
pub enum Want<'a> {
    /// Here.
    Head(&'a mut [u8]),
    /// Into the data of the request in `slot`, `len` bytes from `at` on.
    Data {
        /// The request.
        slot: usize,
        /// First byte, counted from the beginning of the request.
        at: u32,
        /// How many.
        len: u32,
    },
    /// Nowhere: so many bytes are of no interest.
    Skip(u32),
}

/// What the bytes that came mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// Nothing yet.
    Nothing,
    /// A part of the data is zeros.
    Zeros {
        /// The request.
        slot: usize,
        /// First byte, counted from the beginning of the request.
        at: u32,
        /// How many.
        len: u32,
        /// The request is over with this.
        done: bool,
    },
    /// A request is over.
    Done {
        /// The request.
        slot: usize,
        /// Zero, or the error that the server gave, as the protocol counts.
        error: u32,
    },
}

#[derive(Clone, Copy, Debug)]
struct Chunk {
    slot: usize,
    kind: u16,
    done: bool,
    /// Bytes of contents that have not been received.
    left: u32,
}

#[derive(Clone, Copy, Debug)]
enum State {
    Head,
    Inner(Chunk),
    Data { chunk: Chunk, at: u32 },
    Skip(Chunk),
}

/// Reads replies.
pub struct Replies {
    structured: bool,
    state: State,
    bytes: [u8; CHUNK_BYTES],
    have: usize,
    want: usize,
}

impl Replies {
    /// Replies of a connection, with or without structure.
    pub const fn new(structured: bool) -> Self {
        Replies {
            structured,
            state: State::Head,
            bytes: [0; CHUNK_BYTES],
            have: 0,
            want: SIMPLE_BYTES,
        }
    }

    /// Whether a reply has begun to arrive.
    pub fn is_inside(&self) -> bool {
        self.have != 0 || !matches!(self.state, State::Head)
    }

    /// Where the next bytes belong; never none.
    pub fn want(&mut self) -> Want<'_> {
        match self.state {
            State::Head | State::Inner(_) => {
                Want::Head(self.bytes.get_mut(self.have..self.want).unwrap_or(&mut []))
            }
            State::Data { chunk, at } => Want::Data {
                slot: chunk.slot,
                at,
                len: chunk.left,
            },
            State::Skip(chunk) => Want::Skip(chunk.left),
        }
    }

    fn expect(&mut self, state: State, want: usize) {
        self.state = state;
        self.have = 0;
        self.want = want;
    }

    /// Takes `n` bytes, no more than were wanted, for requests of `table`.
    ///
    /// # Errors
    ///
    /// What the server did wrong; the connection is of no more use.
    pub fn took(&mut self, n: usize, table: &mut Table) -> Result<Event, Violation> {
        match self.state {
            State::Head => {
                self.have = self.have.saturating_add(n);
                if self.have < self.want {
                    return Ok(Event::Nothing);
                }
                self.head(table)
            }
            State::Inner(chunk) => {
                self.have = self.have.saturating_add(n);
                if self.have < self.want {
                    return Ok(Event::Nothing);
                }
                self.inner(chunk, table)
            }
            State::Data { mut chunk, at } => {
                let n = u32::try_from(n).map_err(|_| Violation::Length)?;
                chunk.left = chunk.left.checked_sub(n).ok_or(Violation::Length)?;
                if chunk.left == 0 {
                    return self.over(chunk, table);
                }
                let at = at.checked_add(n).ok_or(Violation::Length)?;
                self.state = State::Data { chunk, at };
                Ok(Event::Nothing)
            }
            State::Skip(mut chunk) => {
                let n = u32::try_from(n).map_err(|_| Violation::Length)?;
                chunk.left = chunk.left.checked_sub(n).ok_or(Violation::Length)?;
                if chunk.left == 0 {
                    return self.over(chunk, table);
                }
                self.state = State::Skip(chunk);
                Ok(Event::Nothing)
            }
        }
    }

    /// A chunk, or a simple reply, is complete.
    fn over(&mut self, chunk: Chunk, table: &mut Table) -> Result<Event, Violation> {
        self.expect(State::Head, SIMPLE_BYTES);
        if !chunk.done {
            return Ok(Event::Nothing);
        }
        table.end(chunk.slot, self.structured)
    }

    fn head(&mut self, table: &mut Table) -> Result<Event, Violation> {
        match (u32_at(&self.bytes, 0), self.want) {
            (wire::SIMPLE_REPLY, SIMPLE_BYTES) => self.simple(table),
            (wire::CHUNK, SIMPLE_BYTES) if self.structured => {
                self.want = CHUNK_BYTES;
                Ok(Event::Nothing)
            }
            (wire::CHUNK, CHUNK_BYTES) => self.chunk(table),
            (wire::CHUNK, _) => Err(Violation::Kind),
            _ => Err(Violation::Magic),
        }
    }

    fn simple(&mut self, table: &mut Table) -> Result<Event, Violation> {
        let error = u32_at(&self.bytes, 4);
        let structured = self.structured;
        let (slot, pending) = table.find(u64_at(&self.bytes, 8))?;
        let chunk = Chunk {
            slot,
            kind: wire::CHUNK_NONE,
            done: true,
            left: pending.len,
        };
        if pending.command == Command::Read {
            if structured {
                return Err(Violation::Kind);
            }
            if error == 0 && pending.len != 0 {
                self.expect(State::Data { chunk, at: 0 }, 0);
                return Ok(Event::Nothing);
            }
        }
        pending.error = error;
        self.over(chunk, table)
    }

    fn chunk(&mut self, table: &mut Table) -> Result<Event, Violation> {
        let kind = u16_at(&self.bytes, 6);
        let (slot, pending) = table.find(u64_at(&self.bytes, 8))?;
        let chunk = Chunk {
            slot,
            kind,
            done: u16_at(&self.bytes, 4) & wire::CHUNK_DONE != 0,
            left: u32_at(&self.bytes, 16),
        };
        let read = pending.command == Command::Read;
        let inner = match kind {
            wire::CHUNK_NONE if chunk.left != 0 => return Err(Violation::Length),
            wire::CHUNK_NONE if !chunk.done => return Err(Violation::Kind),
            wire::CHUNK_NONE => return self.over(chunk, table),
            wire::CHUNK_DATA if read => {
                let most = pending.len.saturating_add(DATA_HEAD);
                if chunk.left <= DATA_HEAD || chunk.left > most {
                    return Err(Violation::Length);
                }
                DATA_HEAD
            }
            wire::CHUNK_HOLE if read => {
                if chunk.left != HOLE_HEAD {
                    return Err(Violation::Length);
                }
                HOLE_HEAD
            }
            _ if kind & wire::CHUNK_ERROR != 0 => {
                if !(ERROR_HEAD..=ERROR_MAX).contains(&chunk.left) {
                    return Err(Violation::Length);
                }
                ERROR_HEAD
            }
            _ => return Err(Violation::Kind),
        };
        self.expect(State::Inner(chunk), inner as usize);
        Ok(Event::Nothing)
    }

    fn inner(&mut self, mut chunk: Chunk, table: &mut Table) -> Result<Event, Violation> {
        let taken = u32::try_from(self.want).map_err(|_| Violation::Length)?;
        chunk.left = chunk.left.checked_sub(taken).ok_or(Violation::Length)?;
        if chunk.kind & wire::CHUNK_ERROR != 0 {
            return self.error(chunk, table);
        }
        let pending = table.at(chunk.slot)?;
        let len = match chunk.kind {
            wire::CHUNK_HOLE => u32_at(&self.bytes, 8),
            _ => chunk.left,
        };
        let at = u64_at(&self.bytes, 0).checked_sub(pending.offset);
        let at = at.and_then(|at| u32::try_from(at).ok());
        let at = at.ok_or(Violation::Place)?;
        let end = at.checked_add(len).ok_or(Violation::Place)?;
        if end > pending.len || !pending.cover.add(at, len) {
            return Err(Violation::Place);
        }
        if chunk.kind == wire::CHUNK_HOLE {
            let done = matches!(self.over(chunk, table)?, Event::Done { .. });
            let slot = chunk.slot;
            return Ok(Event::Zeros {
                slot,
                at,
                len,
                done,
            });
        }
        self.expect(State::Data { chunk, at }, 0);
        Ok(Event::Nothing)
    }

    fn error(&mut self, chunk: Chunk, table: &mut Table) -> Result<Event, Violation> {
        let error = u32_at(&self.bytes, 0);
        let text = u32::from(u16_at(&self.bytes, 4));
        if error == 0 || text > chunk.left {
            return Err(Violation::Length);
        }
        let pending = table.at(chunk.slot)?;
        if pending.error == 0 {
            pending.error = error;
        }
        if chunk.left == 0 {
            return self.over(chunk, table);
        }
        self.expect(State::Skip(chunk), 0);
        Ok(Event::Nothing)
    }
}

const _: () = assert!(HOLE_HEAD as usize <= CHUNK_BYTES && SLOTS <= 256);
