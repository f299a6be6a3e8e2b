// SPDX-License-Identifier: GPL-2.0

//! One connection to an export.

#![forbid(unsafe_code)]

use crate::proto::negotiate::{Negotiation, Refusal, EXPORT_MAX};
use crate::proto::pieces::Pieces;
use crate::proto::replies::{Event, Replies, Table, Violation, Want};
use crate::proto::terms::Terms;
use crate::proto::wire::{self, Command};
use core::net::SocketAddr;
use dormouse::engine;
use dormouse::errno;
use dormouse::sys::buf::Buf;
use dormouse::sys::net::Socket;
use dormouse::sys::{random, time};
use dormouse::text::Text;
use kernel::prelude::*;

/// How long one attempt to connect may take.
const CONNECT_MS: u32 = 5000;
/// How long a server may still take to answer when the cycle is to stop.
const HASTE_MS: u32 = 500;
/// Zeros that are sent at once to a server that makes none by itself.
const ZEROS_MAX: u32 = 64 << 10;

/// Which export of which server.
#[derive(Clone)]
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) export: Text<EXPORT_MAX>,
    /// How long nothing may come of what was asked.
    pub(crate) timeout_ms: u32,
}

impl Server {
    /// How long to wait for it from now on, for the cycle.
    pub(crate) fn deadline(&self) -> Deadline {
        self.deadline_since(time::monotonic_ns())
    }

    /// The same, counted from `ns` of the monotonic clock.
    pub(crate) fn deadline_since(&self, ns: u64) -> Deadline {
        Deadline::of_cycle(ns, self.timeout_ms)
    }
}

impl core::fmt::Display for Server {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "nbd://{}/{}", self.address, self.export)
    }
}

/// Why something over a connection did not work.
#[derive(Clone, Copy)]
pub(crate) enum Failure {
    /// There is no connection (any more), and there may be one later.
    Lost(Error),
    /// The server does not give us what we need.
    Refused(Refusal, Text<64>),
    /// The server does not keep to the protocol.
    Broken(Violation),
    /// The server says that it could not do what was asked.
    Server(u32),
    /// Something that was decided here; the reason is recorded.
    Here(Error),
}

impl Failure {
    /// Whether the same may work over another connection.
    pub(crate) fn may_pass(&self) -> bool {
        matches!(
            self,
            Failure::Lost(_) | Failure::Refused(Refusal::Shutdown, _)
        )
    }
}

/// When waiting ends.
#[derive(Clone, Copy)]
pub(crate) struct Deadline {
    at: u64,
    /// When it ends for a cycle that is to stop.
    in_haste: Option<u64>,
}

fn later(ns: u64, ms: u32) -> u64 {
    ns.saturating_add(u64::from(ms).saturating_mul(1_000_000))
}

fn from_now(ms: u32) -> u64 {
    later(time::monotonic_ns(), ms)
}

impl Deadline {
    /// After so many milliseconds, whatever happens meanwhile.
    pub(crate) fn in_ms(ms: u32) -> Self {
        Deadline {
            at: from_now(ms),
            in_haste: None,
        }
    }

    /// So many milliseconds after `ns` of the monotonic clock, or soon after it
    /// when somebody asks the cycle to stop.
    pub(crate) fn of_cycle(ns: u64, ms: u32) -> Self {
        Deadline {
            at: later(ns, ms),
            in_haste: Some(later(ns, HASTE_MS)),
        }
    }

    /// This one, but at most so many milliseconds from now.
    pub(crate) fn within_ms(self, ms: u32) -> Self {
        Deadline {
            at: self.at.min(from_now(ms)),
            ..self
        }
    }

    /// Whether to go on waiting. May sleep.
    ///
    /// # Errors
    ///
    /// [`Failure::Lost`] when the time is over, [`Failure::Here`] when the cycle
    /// is to stop.
    pub(crate) fn check(self) -> Result<(), Failure> {
        let now = time::monotonic_ns();
        if self.in_haste.is_some_and(|haste| now > haste) {
            engine::go_on().map_err(Failure::Here)?;
        }
        match now > self.at {
            false => Ok(()),
            true => Err(Failure::Lost(errno::error(errno::ETIMEDOUT))),
        }
    }
}

/// A request that is over: its slot, and what came of it.
pub(crate) type Over = (usize, Result<(), Failure>);

/// Where data that are read go to.
pub(crate) trait Rooms {
    /// The bytes of the request in `slot`.
    fn room(&mut self, slot: usize) -> Option<&mut [u8]>;
}

/// A connection on which requests can be sent.
pub(crate) struct Link {
    socket: Socket,
    pub(crate) terms: Terms,
    // Large, and kernel stacks are small.
    talk: KBox<Talk>,
}

struct Talk {
    replies: Replies,
    table: Table,
}

fn gone() -> Failure {
    Failure::Lost(EPIPE)
}

fn connect(server: &Server, deadline: Deadline) -> Result<Socket, Failure> {
    let most = CONNECT_MS.min(server.timeout_ms);
    let deadline = deadline.within_ms(most);
    let socket = Socket::new(&server.address, most).map_err(Failure::Lost)?;
    loop {
        match socket.connect(&server.address) {
            Ok(()) => return Ok(socket),
            Err(e) if e == EAGAIN => deadline.check()?,
            Err(e) => return Err(Failure::Lost(e)),
        }
    }
}

fn fill(socket: &Socket, mut to: &mut [u8], deadline: Deadline) -> Result<(), Failure> {
    while !to.is_empty() {
        match socket.receive(to) {
            Ok(0) => return Err(gone()),
            Ok(n) => to = to.get_mut(n..).unwrap_or(&mut []),
            Err(e) if e == EAGAIN => {}
            Err(e) => return Err(Failure::Lost(e)),
        }
        // Bytes that come one by one are no reason to wait longer.
        if !to.is_empty() {
            deadline.check()?;
        }
    }
    Ok(())
}

fn send(socket: &Socket, mut bytes: &[u8], more: bool, deadline: Deadline) -> Result<(), Failure> {
    while !bytes.is_empty() {
        match socket.send(bytes, more) {
            Ok(n) => bytes = bytes.get(n..).unwrap_or(&[]),
            Err(e) if e == EAGAIN => {}
            Err(e) => return Err(Failure::Lost(e)),
        }
        if !bytes.is_empty() {
            deadline.check()?;
        }
    }
    Ok(())
}

impl Link {
    /// Connects and negotiates, once. May sleep until `deadline`.
    ///
    /// # Errors
    ///
    /// [`Failure::Lost`], [`Failure::Refused`] or [`Failure::Here`].
    pub(crate) fn open(server: &Server, deadline: Deadline) -> Result<Link, Failure> {
        let socket = connect(server, deadline)?;
        let mut negotiation = Negotiation::new(server.export.as_str());
        let terms = loop {
            send(&socket, negotiation.output(), false, deadline)?;
            fill(&socket, negotiation.room(), deadline)?;
            match negotiation.filled() {
                Ok(Some(terms)) => break terms,
                Ok(None) => {}
                Err(refusal) => {
                    let text = Text::format(format_args!("{}", negotiation.text()));
                    return Err(Failure::Refused(refusal, text));
                }
            }
        };
        let mut seed = [0; 8];
        random::fill_random(&mut seed);
        let talk = Talk {
            replies: Replies::new(terms.structured),
            // Replies of another connection are never taken for this one's.
            table: Table::new(u64::from_ne_bytes(seed)),
        };
        Ok(Link {
            socket,
            terms,
            talk: KBox::new(talk, GFP_KERNEL).map_err(|_| Failure::Here(ENOMEM))?,
        })
    }

    /// Requests under way.
    pub(crate) fn in_flight(&self) -> usize {
        self.talk.table.len()
    }

    /// Sends a request and its data; returns its slot. May sleep until
    /// `deadline`.
    ///
    /// # Errors
    ///
    /// [`Failure::Lost`] or [`Failure::Here`]; the connection is of no use then.
    pub(crate) fn send(
        &mut self,
        command: Command,
        flags: u16,
        offset: u64,
        len: usize,
        data: &[u8],
        deadline: Deadline,
    ) -> Result<usize, Failure> {
        let len = u32::try_from(len).map_err(|_| Failure::Here(EINVAL))?;
        let begun = self.talk.table.begin(command, flags, offset, len);
        let (slot, request) = begun.ok_or(Failure::Here(EBUSY))?;
        let more = !data.is_empty();
        send(&self.socket, &request.encode(), more, deadline)?;
        send(&self.socket, data, false, deadline)?;
        Ok(slot)
    }

    /// Receives what there is; returns the slot of a request that is over and
    /// its result. May sleep for a quarter of a second.
    ///
    /// # Errors
    ///
    /// [`Failure::Lost`] or [`Failure::Broken`]; the connection is of no use
    /// then.
    pub(crate) fn step(&mut self, rooms: &mut dyn Rooms) -> Result<Option<Over>, Failure> {
        let mut scratch = [0; 64];
        let room = match self.talk.replies.want() {
            Want::Head(room) => room,
            Want::Skip(n) => {
                let n = (n as usize).min(scratch.len());
                scratch.get_mut(..n).unwrap_or(&mut [])
            }
            Want::Data { slot, at, len } => {
                let (at, len) = (at as usize, len as usize);
                let end = at.saturating_add(len);
                let room = rooms.room(slot).and_then(|room| room.get_mut(at..end));
                room.ok_or(Failure::Broken(Violation::Place))?
            }
        };
        let n = match self.socket.receive(room) {
            Ok(0) => return Err(gone()),
            Ok(n) => n,
            Err(e) if e == EAGAIN => return Ok(None),
            Err(e) => return Err(Failure::Lost(e)),
        };
        let Talk { replies, table } = &mut *self.talk;
        let event = replies.took(n, table);
        match event.map_err(Failure::Broken)? {
            Event::Nothing => Ok(None),
            Event::Done { slot, error: 0 } => Ok(Some((slot, Ok(())))),
            Event::Done {
                error: wire::ESHUTDOWN,
                ..
            } => Err(Failure::Lost(EPIPE)),
            Event::Done { slot, error } => Ok(Some((slot, Err(Failure::Server(error))))),
            Event::Zeros {
                slot,
                at,
                len,
                done,
            } => {
                let (at, len) = (at as usize, len as usize);
                let room = rooms.room(slot);
                let room = room.and_then(|room| room.get_mut(at..at.saturating_add(len)));
                room.ok_or(Failure::Broken(Violation::Place))?.fill(0);
                Ok(done.then_some((slot, Ok(()))))
            }
        }
    }

    fn wait(&mut self, rooms: &mut dyn Rooms, deadline: Deadline) -> Result<(), Failure> {
        loop {
            if let Some((_, result)) = self.step(rooms)? {
                return result;
            }
            deadline.check()?;
        }
    }

    /// Reads and waits for it. Nothing else may be under way. May sleep until
    /// `deadline`.
    ///
    /// # Errors
    ///
    /// Any [`Failure`].
    pub(crate) fn read(
        &mut self,
        offset: u64,
        to: &mut [u8],
        deadline: Deadline,
    ) -> Result<(), Failure> {
        let piece = self.terms.piece().unwrap_or(4096) as usize;
        let mut at = offset;
        for part in to.chunks_mut(piece) {
            let len = part.len();
            self.send(Command::Read, 0, at, len, &[], deadline)?;
            self.wait(&mut Only(part), deadline)?;
            at = at.saturating_add(len as u64);
        }
        Ok(())
    }

    /// Writes `bytes`, no more than a request may have, and returns when they
    /// and all that was written before on this connection are durable. As
    /// [`Link::read`].
    pub(crate) fn write_durably(
        &mut self,
        offset: u64,
        bytes: &[u8],
        deadline: Deadline,
    ) -> Result<(), Failure> {
        self.write(offset, bytes, deadline)?;
        self.flush(deadline)
    }

    fn write(&mut self, offset: u64, bytes: &[u8], deadline: Deadline) -> Result<(), Failure> {
        let flags = self.fua();
        self.send(Command::Write, flags, offset, bytes.len(), bytes, deadline)?;
        self.wait(&mut Nowhere, deadline)
    }

    /// Flushes, if the server knows that. As [`Link::read`].
    pub(crate) fn flush(&mut self, deadline: Deadline) -> Result<(), Failure> {
        if !self.terms.flush() {
            return Ok(());
        }
        self.send(Command::Flush, 0, 0, 0, &[], deadline)?;
        self.wait(&mut Nowhere, deadline)
    }

    /// Overwrites `len` bytes with zeros, so that nothing is left of what was
    /// there, and returns when that is durable. As [`Link::read`].
    pub(crate) fn wipe(
        &mut self,
        offset: u64,
        len: u64,
        deadline: Deadline,
    ) -> Result<(), Failure> {
        let most = self.terms.piece().unwrap_or(4096);
        let done = match self.terms.write_zeroes() {
            true => self.write_zeroes(Pieces::new(offset, len, most), deadline),
            false => Err(Failure::Server(0)),
        };
        match done {
            // Not offered, or offered by a server that cannot do it here.
            Err(Failure::Server(_)) => {
                let most = most.min(ZEROS_MAX);
                self.send_zeros(Pieces::new(offset, len, most), most, deadline)?;
            }
            done => done?,
        }
        self.flush(deadline)
    }

    /// The flag that makes a write durable, where the server knows it.
    fn fua(&self) -> u16 {
        match self.terms.fua() {
            true => wire::FLAG_FUA,
            false => 0,
        }
    }

    fn write_zeroes(&mut self, pieces: Pieces, deadline: Deadline) -> Result<(), Failure> {
        // A hole may be the old contents with nobody to point at them.
        let flags = wire::FLAG_NO_HOLE | self.fua();
        for (at, len) in pieces {
            self.send(Command::WriteZeroes, flags, at, len as usize, &[], deadline)?;
            self.wait(&mut Nowhere, deadline)?;
        }
        Ok(())
    }

    fn send_zeros(&mut self, pieces: Pieces, most: u32, deadline: Deadline) -> Result<(), Failure> {
        let zeros = Buf::new(most as usize).map_err(Failure::Here)?;
        for (at, len) in pieces {
            self.write(at, zeros.get(..len as usize).unwrap_or(&[]), deadline)?;
        }
        Ok(())
    }

    /// Says good-bye, without waiting for an answer.
    pub(crate) fn close(mut self) {
        let now = Deadline::in_ms(0);
        // A server that is not told sees the end of the connection.
        let _ = self.send(Command::Disconnect, 0, 0, 0, &[], now);
        self.socket.finish();
    }
}

struct Only<'a>(&'a mut [u8]);

impl Rooms for Only<'_> {
    fn room(&mut self, _slot: usize) -> Option<&mut [u8]> {
        Some(self.0)
    }
}

/// For requests that no data come back for.
pub(crate) struct Nowhere;

impl Rooms for Nowhere {
    fn room(&mut self, _slot: usize) -> Option<&mut [u8]> {
        None
    }
}
