// SPDX-License-Identifier: GPL-2.0

//! What is to be done over the connections to one export.
//!
//! Large transfers wait in a queue, from which one thread per connection (a
//! [lane](crate::lane)) takes them. What was not replied to goes back to the
//! queue when a connection is lost, and out again over another one. Everything
//! else, the superblock in particular, goes over a connection of its own, in
//! the thread that asks, while no lane is connected: many servers admit one
//! client at a time.
//!
//! # What a flush vouches for
//!
//! A flush covers the writes that were replied to before it, by the same
//! server. When a connection is lost between a reply and the flush, that server
//! may have been restarted and have lost what it only held in memory, and
//! nothing in the protocol tells. So the place, length and checksum of every
//! write are kept until a flush. If that flush succeeds and no connection was
//! lost since the first of these writes, they are on the medium. Otherwise all
//! of them are read back over a new connection and compared, and this
//! connection is flushed: the server that answers has them, and has made
//! durable what it has. One that has lost something is found out, and the save
//! fails.

#![forbid(unsafe_code)]

use crate::attempt;
use crate::link::{Deadline, Failure, Link, Server};
use crate::order::{Job, Order, Standing};
use crate::ring::Ring;
use dormouse::engine;
use dormouse::storage::Op;
use dormouse::sys::checksum::xxh64;
use dormouse::sys::table::Table;
use dormouse::sys::time;
use kernel::prelude::*;
use kernel::sync::{new_condvar, new_mutex, CondVar, Mutex};

/// Transfers that can wait or be under way; more than any job of the engine
/// has buffers.
const JOBS: usize = 192;

/// A write that was replied to and that no flush has covered.
#[derive(Clone, Copy, Default)]
struct Written {
    offset: u64,
    len: u32,
    sum: u64,
}

#[derive(Clone, Copy, PartialEq)]
enum Flush {
    None,
    Asked,
    Good,
    Lost,
    Bad(u32),
}

struct State {
    queue: Ring<Job>,
    /// Transfers that wait or are under way.
    outstanding: usize,
    /// Lanes may be connected.
    open: bool,
    stop: bool,
    /// Lanes that are connected.
    connected: usize,
    /// Lanes that are about to be.
    connecting: usize,
    /// The server lets several of them see the same.
    multi: bool,
    failed: Option<Error>,
    /// When something came of what was asked, for the last time.
    moved_at: u64,
    flush: Flush,
    written: Table<Written>,
    written_len: usize,
    /// More was written than could be noted.
    overflow: bool,
    /// A connection was lost since the first of `written`.
    doubtful: bool,
    /// A connection was lost with writes on it that were not replied to.
    unanswered: bool,
}

/// The connections to one export.
#[pin_data]
pub(crate) struct Session {
    pub(crate) server: Server,
    lanes: usize,
    #[pin]
    state: Mutex<State>,
    /// Wakes lanes.
    #[pin]
    work: CondVar,
    /// Wakes those who wait for lanes.
    #[pin]
    over: CondVar,
}

impl Session {
    /// A session of up to `lanes` lanes, with room to note `writes` writes.
    /// May sleep.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(crate) fn new(
        server: Server,
        lanes: usize,
        multi: bool,
        writes: usize,
    ) -> Result<impl PinInit<Self>> {
        let state = State {
            queue: Ring::new(JOBS)?,
            outstanding: 0,
            open: false,
            stop: false,
            connected: 0,
            connecting: 0,
            multi,
            failed: None,
            moved_at: 0,
            flush: Flush::None,
            written: Table::new(writes)?,
            written_len: 0,
            overflow: false,
            doubtful: false,
            unanswered: false,
        };
        Ok(pin_init!(Session {
            server,
            lanes,
            state <- new_mutex!(state, "dormouse_netblock::state"),
            work <- new_condvar!("dormouse_netblock::work"),
            over <- new_condvar!("dormouse_netblock::over"),
        }))
    }

    /// Hands a transfer to the lanes. Process context.
    pub(crate) fn submit(&self, job: Job) {
        let mut state = self.state.lock();
        if let Some(e) = state.failed {
            drop(state);
            return job.finish(Err(e));
        }
        if state.outstanding >= JOBS {
            if job.buf.is_none() {
                state.flush = Flush::Lost;
            }
            drop(state);
            return job.finish(Err(EBUSY));
        }
        if state.outstanding == 0 {
            state.moved_at = time::monotonic_ns();
        }
        state.open = true;
        // There is room: more than this never wait.
        if state.queue.push(job).is_ok() {
            state.outstanding = state.outstanding.saturating_add(1);
        }
        self.work.notify_all();
    }

    /// Waits until there is something to do for a lane. May sleep.
    pub(crate) fn next(&self, lane: Standing) -> Order {
        let mut state = self.state.lock();
        loop {
            // Few for each where there are several, so that all have some.
            let most = match state.connected {
                0 | 1 => crate::proto::replies::SLOTS,
                _ => 3,
            };
            let waiting = !state.queue.is_empty();
            let serves = lane.number == 0 || (state.multi && state.connected > 0);
            if let Some(e) = state.failed {
                if lane.in_flight > 0 || (waiting && lane.number == 0) {
                    return Order::Fail(e);
                }
            } else if lane.linked && waiting && lane.in_flight < most {
                if let Some(job) = state.queue.pop() {
                    return Order::Begin(job);
                }
            } else if lane.in_flight > 0 {
                return Order::Receive;
            } else if !lane.linked && waiting && state.open && serves && !lane.given_up {
                state.connecting = state.connecting.saturating_add(1);
                return Order::Connect;
            }
            if lane.linked && (!state.open || state.failed.is_some()) {
                return Order::Close;
            }
            if state.stop && !lane.linked {
                return Order::Stop;
            }
            // Kernel threads get no signals.
            let _ = self.work.wait_interruptible(&mut state);
        }
    }

    /// A lane has tried to connect. When it is connected, `multi` says whether
    /// others may be, too.
    pub(crate) fn tried(&self, multi: Option<bool>) {
        let mut state = self.state.lock();
        state.connecting = state.connecting.saturating_sub(1);
        self.over.notify_all();
        let Some(multi) = multi else {
            return;
        };
        state.connected = state.connected.saturating_add(1);
        state.multi = multi && self.lanes > 1;
        self.work.notify_all();
    }

    /// A lane is not connected any more, as it was told to.
    pub(crate) fn unlinked(&self) {
        let mut state = self.state.lock();
        state.connected = state.connected.saturating_sub(1);
        self.over.notify_all();
    }

    /// A lane has lost its connection. Nothing may be believed of what was
    /// written and not flushed. `writes` says whether there were any on it that
    /// were not replied to.
    pub(crate) fn lost(&self, writes: bool) {
        let mut state = self.state.lock();
        state.unanswered |= writes;
        state.connected = state.connected.saturating_sub(1);
        state.doubtful |= state.written_len > 0 || state.overflow;
        self.over.notify_all();
    }

    /// Whether the server may still carry out writes of this session, at any
    /// time. Any context that may sleep.
    pub(crate) fn has_unanswered(&self) -> bool {
        self.state.lock().unanswered
    }

    /// Nothing may be believed of what is written next: an earlier request may
    /// still be on its way.
    pub(crate) fn doubt(&self) {
        self.state.lock().doubtful = true;
    }

    /// Takes back what was under way on a connection that is lost.
    pub(crate) fn again(&self, job: Job) {
        let mut state = self.state.lock();
        // Its first pieces were written, and are not noted before its last.
        state.doubtful |= job.op == Op::Write && job.done > 0;
        if job.buf.is_none() {
            state.outstanding = state.outstanding.saturating_sub(1);
            state.flush = Flush::Lost;
            self.over.notify_all();
        } else if state.queue.push(job).is_err() {
            // It came from there, so there is room.
            state.outstanding = state.outstanding.saturating_sub(1);
        }
        self.work.notify_all();
    }

    /// Gives up what waits.
    pub(crate) fn fail_waiting(&self, error: Error) {
        loop {
            let mut state = self.state.lock();
            let Some(job) = state.queue.pop() else {
                return;
            };
            drop(state);
            self.failed(job, error);
        }
    }

    /// A transfer is given up.
    pub(crate) fn failed(&self, job: Job, error: Error) {
        let flush = job.buf.is_none();
        job.finish(Err(error));
        let mut state = self.state.lock();
        state.outstanding = state.outstanding.saturating_sub(1);
        if flush {
            state.flush = Flush::Lost;
        }
        self.over.notify_all();
    }

    /// A transfer is over as far as the server is concerned.
    pub(crate) fn finished(&self, job: Job, sum: Option<u64>, error: u32) {
        let result = match error {
            0 => Ok(()),
            _ => Err(attempt::server_error(
                &self.server,
                error,
                job.op,
                job.buf.is_none(),
            )),
        };
        {
            let mut state = self.state.lock();
            state.moved_at = time::monotonic_ns();
            state.outstanding = state.outstanding.saturating_sub(1);
            match &job.buf {
                None => {
                    state.flush = match error {
                        0 => Flush::Good,
                        error => Flush::Bad(error),
                    }
                }
                Some(buf) => {
                    if let (Some(sum), Ok(())) = (sum, result) {
                        state.note(job.offset, buf.len(), sum);
                    }
                }
            }
            self.over.notify_all();
        }
        job.finish(result);
    }

    /// Something came of what was asked.
    pub(crate) fn moved(&self) {
        self.state.lock().moved_at = time::monotonic_ns();
    }

    /// Whether to go on waiting for what was asked. May sleep.
    ///
    /// # Errors
    ///
    /// [`Failure::Lost`] when nothing has come of it for too long,
    /// [`Failure::Here`] when nothing comes and the cycle is to stop.
    pub(crate) fn check(&self) -> Result<(), Failure> {
        let moved_at = {
            let state = self.state.lock();
            // Nobody who waits for us is to be taken for dead.
            self.over.notify_all();
            if state.outstanding == 0 {
                return Ok(());
            }
            state.moved_at
        };
        self.server.deadline_since(moved_at).check()
    }

    /// Gives the session up. The first reason counts.
    pub(crate) fn give_up(&self, failure: Failure) {
        let error = attempt::explain(&self.server, failure);
        let mut state = self.state.lock();
        state.failed.get_or_insert(error);
        self.work.notify_all();
    }

    /// Lets all lanes close their connections, after what they have to do, and
    /// returns when they have. A session that failed can be used again then.
    /// May sleep.
    pub(crate) fn rest(&self) {
        let mut state = self.state.lock();
        while state.outstanding > 0 {
            self.over.wait(&mut state);
        }
        state.open = false;
        self.work.notify_all();
        while state.connected > 0 || state.connecting > 0 {
            self.over.wait(&mut state);
        }
        state.failed = None;
    }

    /// Ends the lanes.
    pub(crate) fn stop(&self) {
        let mut state = self.state.lock();
        state.stop = true;
        state.open = false;
        self.work.notify_all();
    }

    /// Runs `f` with a connection of its own while no lane has one; again, with
    /// another one, when that is lost. May sleep, until nothing has worked
    /// before `deadline`.
    ///
    /// # Errors
    ///
    /// What the server or `f` says, recorded.
    pub(crate) fn alone<R>(
        &self,
        deadline: Deadline,
        f: impl FnMut(&mut Link, Deadline) -> Result<R, Failure>,
    ) -> Result<R> {
        self.rest();
        attempt::alone(&self.server, true, deadline, f)
    }

    /// Returns when all that was written is on the medium. May sleep.
    ///
    /// # Errors
    ///
    /// `EIO` when the server has lost something or cannot flush; `ETIMEDOUT`;
    /// the reason is recorded.
    pub(crate) fn flush(&self, scratch: &mut [u8]) -> Result {
        {
            let mut state = self.state.lock();
            if state.written_len == 0 && !state.overflow {
                return Ok(());
            }
            state.flush = Flush::Asked;
        }
        self.submit(Job {
            op: Op::Write,
            offset: 0,
            done: 0,
            buf: None,
        });
        let outcome = {
            let mut state = self.state.lock();
            if let Some(e) = state.failed {
                return Err(e);
            }
            while state.flush == Flush::Asked {
                self.over.wait(&mut state);
            }
            if let Some(e) = state.failed {
                return Err(e);
            }
            if state.flush == Flush::Good && !state.doubtful {
                state.forget();
                return Ok(());
            }
            core::mem::replace(&mut state.flush, Flush::None)
        };
        match outcome {
            Flush::Bad(_) => Err(EIO),
            _ => self.verify(scratch),
        }
    }

    /// Reads back what was written, and flushes.
    fn verify(&self, scratch: &mut [u8]) -> Result {
        self.rest();
        let (count, overflow) = {
            let state = self.state.lock();
            (state.written_len, state.overflow)
        };
        if overflow {
            return Err(engine::fail(
                EIO,
                format_args!("{}: the connection was lost, and too much was written since the last flush to look whether it is all there", self.server),
            ));
        }
        pr_notice!("{}: the connection was lost; looking whether all {} writes since the last flush are there\n", self.server, count);
        let mut next = 0usize;
        let whole = self.server.deadline();
        attempt::alone(&self.server, true, whole, |link, _| {
            // Over another connection: all of it once more.
            next = 0;
            while let Some(written) = self.noted(next, count) {
                let deadline = self.server.deadline();
                let room = scratch.get_mut(..written.len as usize);
                let room = room.ok_or(Failure::Here(EINVAL))?;
                link.read(written.offset, room, deadline)?;
                if xxh64(room) != written.sum {
                    return Err(Failure::Here(engine::fail(
                        EIO,
                        format_args!("{}: the server has lost what it had taken: it was restarted, and its medium did not have everything", self.server),
                    )));
                }
                next = next.saturating_add(1);
            }
            link.flush(self.server.deadline())
        })?;
        self.state.lock().forget();
        Ok(())
    }

    fn noted(&self, number: usize, count: usize) -> Option<Written> {
        let state = self.state.lock();
        state.written.get(..count)?.get(number).copied()
    }
}

impl State {
    fn note(&mut self, offset: u64, len: usize, sum: u64) {
        let (Some(slot), Ok(len)) = (self.written.get_mut(self.written_len), u32::try_from(len))
        else {
            self.overflow = true;
            return;
        };
        *slot = Written { offset, len, sum };
        self.written_len = self.written_len.saturating_add(1);
    }

    fn forget(&mut self) {
        self.written_len = 0;
        self.overflow = false;
        self.doubtful = false;
        self.flush = Flush::None;
    }
}
