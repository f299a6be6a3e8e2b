// SPDX-License-Identifier: GPL-2.0

//! What passes between the session and its lanes.

#![forbid(unsafe_code)]

use dormouse::storage::Op;
use dormouse::sys::ioq::IoBuf;
use kernel::prelude::*;

/// A transfer, or a flush when it has no buffer.
pub(crate) struct Job {
    pub(crate) op: Op,
    /// First byte on the export.
    pub(crate) offset: u64,
    /// Bytes that are done.
    pub(crate) done: usize,
    pub(crate) buf: Option<IoBuf>,
}

impl Job {
    /// Hands the buffer back.
    pub(crate) fn finish(self, result: Result) {
        if let Some(buf) = self.buf {
            buf.complete(result);
        }
    }
}

/// What a lane is to do.
pub(crate) enum Order {
    /// This transfer.
    Begin(Job),
    /// Receive what comes.
    Receive,
    /// Connect.
    Connect,
    /// Close the connection.
    Close,
    /// Give everything up with this error.
    Fail(Error),
    /// End.
    Stop,
}

/// How a lane stands.
#[derive(Clone, Copy)]
pub(crate) struct Standing {
    pub(crate) number: usize,
    pub(crate) linked: bool,
    pub(crate) in_flight: usize,
    /// This lane does not try to connect any more.
    pub(crate) given_up: bool,
}
