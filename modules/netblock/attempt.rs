// SPDX-License-Identifier: GPL-2.0

//! Trying something over a connection of its own, and saying why it did not
//! work.

#![forbid(unsafe_code)]

use crate::link::{Deadline, Failure, Link, Server};
use crate::proto::negotiate::Refusal;
use core::fmt;
use dormouse::engine;
use dormouse::errno;
use dormouse::report::SENTENCE;
use dormouse::storage::Op;
use dormouse::sys::time;
use dormouse::text::Text;
use kernel::prelude::*;

/// Pause between two attempts to connect.
const PAUSE_MS: u32 = 250;

/// Says that the server could not do what a transfer asked for; returns the
/// error for it.
pub(crate) fn server_error(server: &Server, error: u32, op: Op, flush: bool) -> Error {
    let what = match (op, flush) {
        (_, true) => "flush",
        (Op::Read, _) => "read",
        (Op::Write, _) => "write",
    };
    let e = match error {
        1 => EPERM,
        28 => ENOSPC,
        _ => EIO,
    };
    engine::fail(
        e,
        format_args!("{server}: the server answered a {what} with error {error}"),
    )
}

/// Says why something did not work, once.
pub(crate) fn explain(server: &Server, failure: Failure) -> Error {
    let (e, why) = reason(server, failure);
    match why {
        Some(why) => engine::fail(e, format_args!("{why}")),
        None => e,
    }
}

/// The error for a failure, and a sentence unless the reason was recorded
/// where that was decided.
pub(crate) fn reason(server: &Server, failure: Failure) -> (Error, Option<Text<SENTENCE>>) {
    let say = |why: fmt::Arguments<'_>| Some(Text::format(format_args!("{server}: {why}")));
    match failure {
        Failure::Here(e) => (e, None),
        Failure::Lost(e) if e == errno::error(errno::ECONNREFUSED) => {
            (e, say(format_args!("nobody listens there")))
        }
        Failure::Lost(e) if e == EPIPE || e == errno::error(errno::ECONNRESET) => {
            (e, say(format_args!("the server closes the connection")))
        }
        Failure::Lost(e) if no_memory(e) => {
            let number = e.to_errno();
            let why = say(format_args!("there was no memory to talk to it ({number})"));
            (ENOMEM, why)
        }
        Failure::Lost(e) if !no_network(e) && !is_silence(e) => {
            let number = e.to_errno();
            (e, say(format_args!("the connection failed ({number})")))
        }
        Failure::Lost(e) => {
            let seconds = server.timeout_ms / 1000;
            let number = e.to_errno();
            let why = say(format_args!("no answer within {seconds} s ({number})"));
            (errno::error(errno::ETIMEDOUT), why)
        }
        Failure::Refused(why, text) => {
            let e = match why {
                Refusal::Unknown => ENOENT,
                _ => errno::error(errno::EPROTO),
            };
            let why = match text.is_empty() {
                true => say(format_args!("{why}")),
                false => say(format_args!("{why}; it says: {text}")),
            };
            (e, why)
        }
        Failure::Broken(why) => (
            errno::error(errno::EPROTO),
            say(format_args!(
                "the server does not keep to the protocol: {why}"
            )),
        ),
        Failure::Server(error) => (
            EIO,
            say(format_args!("the server answered with error {error}")),
        ),
    }
}

/// Whether this machine lacks memory for a connection; a socket without it says that
/// there are too many files.
fn no_memory(e: Error) -> bool {
    e == ENOMEM || e == ENFILE || e == errno::error(errno::ENOBUFS)
}

/// Whether nothing came in time.
fn is_silence(e: Error) -> bool {
    e == EAGAIN || e == errno::error(errno::ETIMEDOUT)
}

/// Whether waiting for the network to come up is all that can be done: there
/// is no route, address or carrier yet.
fn no_network(e: Error) -> bool {
    matches!(
        e.to_errno().wrapping_neg(),
        errno::ENETDOWN | errno::ENETUNREACH | errno::EHOSTUNREACH | errno::EADDRNOTAVAIL
    )
}

/// Runs `f` with a connection; again, with another one, when that is lost, until
/// `deadline`. `known`: the server has answered before, so that one that does
/// not may be on its way back.
pub(crate) fn alone<R>(
    server: &Server,
    known: bool,
    deadline: Deadline,
    mut f: impl FnMut(&mut Link, Deadline) -> Result<R, Failure>,
) -> Result<R> {
    loop {
        let result = Link::open(server, deadline).and_then(|mut link| {
            let result = f(&mut link, deadline);
            if !matches!(result, Err(Failure::Lost(_) | Failure::Broken(_))) {
                link.close();
            }
            result
        });
        let failure = match result {
            Ok(value) => return Ok(value),
            Err(failure) => failure,
        };
        let wait = match failure {
            Failure::Lost(e) if e == errno::error(errno::ECONNREFUSED) => known,
            Failure::Lost(e) => known || no_network(e) || e == errno::error(errno::ETIMEDOUT),
            _ => failure.may_pass(),
        };
        match deadline.check() {
            Ok(()) if wait => time::sleep_ms(PAUSE_MS),
            Err(Failure::Here(stop)) if wait => return Err(stop),
            _ => return Err(explain(server, failure)),
        }
    }
}
