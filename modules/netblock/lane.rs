// SPDX-License-Identifier: GPL-2.0

//! One connection for large transfers, and its thread.

#![forbid(unsafe_code)]

use crate::link::{Failure, Link, Rooms};
use crate::order::{Job, Order, Standing};
use crate::proto::replies::SLOTS;
use crate::proto::wire::{self, Command};
use crate::session::Session;
use dormouse::storage::Op;
use dormouse::sys::checksum::xxh64;
use dormouse::sys::time;
use kernel::prelude::*;

/// How long one attempt to connect and negotiate may take.
const TRY_MS: u32 = 5000;
/// Pause between two attempts to connect.
const PAUSE_MS: u32 = 250;
/// Attempts of a lane that others can do without.
const TRIES: usize = 3;

/// A transfer under way, in the slot of its request.
struct Active {
    job: Job,
    /// Bytes of the piece under way.
    piece: usize,
    sum: Option<u64>,
}

struct Actives([Option<Active>; SLOTS]);

impl Actives {
    fn take(&mut self, slot: usize) -> Option<Active> {
        self.0.get_mut(slot).and_then(Option::take)
    }
}

impl Rooms for Actives {
    fn room(&mut self, slot: usize) -> Option<&mut [u8]> {
        let active = self.0.get_mut(slot)?.as_mut()?;
        let end = active.job.done.checked_add(active.piece)?;
        match active.job.op {
            Op::Read => active
                .job
                .buf
                .as_mut()?
                .bytes_mut()
                .get_mut(active.job.done..end),
            Op::Write => None,
        }
    }
}

/// A lane.
pub(crate) struct Lane<'a> {
    session: &'a Session,
    number: usize,
    link: Option<Link>,
    actives: Actives,
    tries: usize,
}

impl<'a> Lane<'a> {
    /// Lane number `number` of `session`, not connected.
    pub(crate) fn new(session: &'a Session, number: usize) -> Self {
        Lane {
            session,
            number,
            link: None,
            actives: Actives([const { None }; SLOTS]),
            tries: 0,
        }
    }

    /// Does what there is to do until the session ends. May sleep.
    pub(crate) fn run(mut self) {
        loop {
            let standing = Standing {
                number: self.number,
                linked: self.link.is_some(),
                in_flight: self.link.as_ref().map_or(0, Link::in_flight),
                given_up: self.number != 0 && self.tries >= TRIES,
            };
            let result = match self.session.next(standing) {
                Order::Begin(job) => self.begin(job),
                Order::Receive => self.receive(),
                Order::Connect => {
                    self.connect();
                    Ok(())
                }
                Order::Close => {
                    self.close();
                    Ok(())
                }
                Order::Fail(error) => {
                    self.fail(error);
                    Ok(())
                }
                Order::Stop => return,
            };
            if let Err(failure) = result {
                self.lose(failure);
            }
        }
    }

    fn connect(&mut self) {
        let server = &self.session.server;
        let result = Link::open(server, server.deadline().within_ms(TRY_MS));
        let multi = result.as_ref().ok().map(|link| link.terms.multi());
        self.session.tried(multi);
        match result {
            Ok(link) => {
                self.link = Some(link);
                self.tries = 0;
            }
            // Others do without this one.
            Err(_) if self.number != 0 => {
                self.tries = self.tries.saturating_add(1);
                time::sleep_ms(PAUSE_MS);
            }
            Err(failure) if !failure.may_pass() => self.session.give_up(failure),
            Err(failure) => match self.session.check() {
                Ok(()) => time::sleep_ms(PAUSE_MS),
                Err(stop @ Failure::Here(_)) => self.session.give_up(stop),
                Err(_) => self.session.give_up(failure),
            },
        }
    }

    fn close(&mut self) {
        self.tries = 0;
        if let Some(link) = self.link.take() {
            link.close();
            self.session.unlinked();
        }
    }

    /// The connection is of no more use.
    fn lose(&mut self, failure: Failure) {
        pr_notice!("{}: the connection is lost\n", self.session.server);
        self.unlink();
        let passes = failure.may_pass();
        if !passes {
            self.session.give_up(failure);
        }
        for active in self.actives.0.iter_mut().filter_map(Option::take) {
            self.session.again(active.job);
        }
        // A server can take each connection and lose it again.
        match self.session.check() {
            Ok(()) if passes => time::sleep_ms(PAUSE_MS),
            Err(failure) if passes => self.session.give_up(failure),
            _ => {}
        }
    }

    /// Drops the connection, without a word.
    fn unlink(&mut self) {
        if self.link.take().is_some() {
            let mut actives = self.actives.0.iter().flatten();
            let writes = actives.any(|a| a.job.op == Op::Write && a.job.buf.is_some());
            self.session.lost(writes);
        }
    }

    fn fail(&mut self, error: Error) {
        // Replies may still be on their way, into buffers that are somebody
        // else's soon.
        self.unlink();
        for active in self.actives.0.iter_mut().filter_map(Option::take) {
            self.session.failed(active.job, error);
        }
        self.session.fail_waiting(error);
    }

    fn begin(&mut self, job: Job) -> Result<(), Failure> {
        let Some(link) = self.link.as_mut() else {
            self.session.again(job);
            return Ok(());
        };
        let most = link.terms.piece().map_err(|_| Failure::Here(EINVAL));
        let flags = match job.op {
            Op::Write if !link.terms.flush() => wire::FLAG_FUA,
            _ => 0,
        };
        let deadline = self.session.server.deadline();
        let offset = job.offset.saturating_add(job.done as u64);
        let (sent, piece, sum) = match (&job.buf, most) {
            (_, Err(failure)) => (Err(failure), 0, None),
            (None, _) => (link.send(Command::Flush, 0, 0, 0, &[], deadline), 0, None),
            (Some(buf), Ok(most)) => {
                let bytes = buf.bytes().get(..buf.len()).unwrap_or(&[]);
                let rest = bytes.get(job.done..).unwrap_or(&[]);
                let piece = rest.len().min(most as usize);
                let data = rest.get(..piece).unwrap_or(&[]);
                match job.op {
                    Op::Read => (
                        link.send(Command::Read, 0, offset, piece, &[], deadline),
                        piece,
                        None,
                    ),
                    Op::Write => {
                        let sent = link.send(Command::Write, flags, offset, piece, data, deadline);
                        // Of use to nobody before the last piece.
                        let last = piece == rest.len() && flags == 0;
                        (sent, piece, last.then(|| xxh64(bytes)))
                    }
                }
            }
        };
        match sent {
            Ok(slot) => {
                if let Some(place) = self.actives.0.get_mut(slot) {
                    *place = Some(Active { job, piece, sum });
                }
                Ok(())
            }
            Err(failure) => {
                self.session.again(job);
                Err(failure)
            }
        }
    }

    fn receive(&mut self) -> Result<(), Failure> {
        let Some(link) = self.link.as_mut() else {
            return Ok(());
        };
        let Some((slot, result)) = link.step(&mut self.actives)? else {
            if let Err(failure) = self.session.check() {
                self.session.give_up(failure);
            }
            return Ok(());
        };
        let Some(mut active) = self.actives.take(slot) else {
            return Ok(());
        };
        let error = match result {
            Ok(()) => 0,
            Err(Failure::Server(error)) => error,
            Err(failure) => return Err(failure),
        };
        let job = &mut active.job;
        job.done = job.done.saturating_add(active.piece);
        let len = job.buf.as_ref().map_or(0, |buf| buf.len());
        if error == 0 && job.done < len {
            self.session.moved();
            return self.begin(active.job);
        }
        self.session.finished(active.job, active.sum, error);
        Ok(())
    }
}
