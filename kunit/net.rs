// SPDX-License-Identifier: GPL-2.0

//! Suite `dormouse_net`: TCP connections, over the loopback.

#![forbid(unsafe_code)]

use crate::check::{
    check,
    check_eq,
    fail,
    suite,
    Verdict, //
};
use crate::fixture::Live;
use core::net::{
    IpAddr,
    Ipv4Addr,
    SocketAddr, //
};
use core::sync::atomic::{
    AtomicBool,
    Ordering, //
};
use dormouse::errno;
use dormouse::sys::buf::Buf;
use dormouse::sys::net::{
    Listener,
    Socket, //
};
use dormouse::sys::thread::Thread;
use dormouse::sys::time;
use kernel::c_str;
use kernel::prelude::*;
use kernel::sync::Arc;

suite! { "dormouse_net":
    bytes_arrive_as_they_were_sent,
    both_ways_at_once,
    nobody_listens,
    there_is_no_way,
    nothing_comes,
    nobody_reads,
    an_orderly_end_comes_after_all_bytes,
    what_is_dropped_is_gone,
    a_connection_that_is_gone_takes_nothing,
}

/// More than the buffers of both sides take.
const MANY: usize = 5 << 20;

fn at(ip: Ipv4Addr, port: u16) -> SocketAddr {
    SocketAddr::new(IpAddr::V4(ip), port)
}

/// After so many milliseconds a peer that takes nothing counts as dead: longer than any test waits.
const PATIENCE_MS: u32 = 60_000;

/// Two ends of a connection.
fn pair() -> Result<(Socket, Socket)> {
    let listener = Listener::new()?;
    let one = connect(&at(Ipv4Addr::LOCALHOST, listener.port()))?;
    Ok((one, listener.accept()?))
}

fn connect(to: &SocketAddr) -> Result<Socket> {
    let socket = Socket::new(to, PATIENCE_MS)?;
    loop {
        match socket.connect(to) {
            Err(e) if e == EAGAIN => {}
            result => return result.map(|()| socket),
        }
    }
}

fn milliseconds<R>(f: impl FnOnce() -> R) -> (R, u64) {
    let before = time::monotonic_ns();
    let value = f();
    (
        value,
        time::monotonic_ns().saturating_sub(before) / 1_000_000,
    )
}

/// A byte of a pattern that does not repeat where buffers do.
fn byte(i: usize) -> u8 {
    (i.wrapping_mul(31) ^ (i >> 13)) as u8
}

fn pattern(bytes: usize) -> Result<Buf> {
    let mut buf = Buf::new(bytes)?;
    for (i, to) in buf.iter_mut().enumerate() {
        *to = byte(i);
    }
    Ok(buf)
}

/// Sends all of `bytes`, in parts of different lengths.
fn send_all(socket: &Socket, bytes: &[u8]) -> Result {
    for (i, part) in bytes.chunks(70_001).enumerate() {
        let mut rest = part;
        while !rest.is_empty() {
            match socket.send(rest, i % 3 == 0) {
                Ok(n) => rest = rest.get(n..).unwrap_or(&[]),
                Err(e) if e == EAGAIN => {}
                Err(e) => return Err(e),
            }
        }
    }
    Ok(())
}

/// Receives `len` bytes, and returns the place of the first that is not of the pattern.
fn receive_all(socket: &Socket, len: usize) -> Result<Option<usize>> {
    let mut room = Buf::new(123_457)?;
    let mut at = 0usize;
    let mut wrong = None;
    while at < len {
        let most = room.len().min(len.saturating_sub(at));
        let n = match socket.receive(room.get_mut(..most).unwrap_or(&mut [])) {
            Ok(0) => return Err(EPIPE),
            Ok(n) => n,
            Err(e) if e == EAGAIN => continue,
            Err(e) => return Err(e),
        };
        for &got in room.iter().take(n) {
            if got != byte(at) {
                wrong.get_or_insert(at);
            }
            at = at.saturating_add(1);
        }
    }
    Ok(wrong)
}

/// Sends the pattern from a thread.
fn sender(socket: Arc<Socket>) -> Result<Thread> {
    let bytes = pattern(MANY)?;
    let live = Live::new();
    Thread::spawn(c_str!("kunit_net"), move || {
        let _live = live;
        // Whoever receives sees what is missing.
        let _ = send_all(&socket, &bytes);
    })
}

fn bytes_arrive_as_they_were_sent() -> Verdict {
    let (one, other) = pair()?;
    let thread = sender(Arc::new(one, GFP_KERNEL)?)?;
    let wrong = receive_all(&other, MANY)?;
    thread.join();
    check_eq!(wrong, None);
    Ok(())
}

fn both_ways_at_once() -> Verdict {
    let (one, other) = pair()?;
    let (one, other) = (Arc::new(one, GFP_KERNEL)?, Arc::new(other, GFP_KERNEL)?);
    let threads = [sender(one.clone())?, sender(other.clone())?];
    let good = Arc::new(AtomicBool::new(false), GFP_KERNEL)?;
    let (reader, told) = (one.clone(), good.clone());
    let back = Thread::spawn(c_str!("kunit_net"), move || {
        let whole = matches!(receive_all(&reader, MANY), Ok(None));
        told.store(whole, Ordering::Relaxed);
    })?;
    let wrong = receive_all(&other, MANY)?;
    back.join();
    for thread in threads {
        thread.join();
    }
    check_eq!(wrong, None);
    check!(good.load(Ordering::Relaxed), "not everything came back");
    Ok(())
}

fn nobody_listens() -> Verdict {
    // A port that was somebody's a moment ago.
    let port = Listener::new()?.port();
    let (result, ms) = milliseconds(|| connect(&at(Ipv4Addr::LOCALHOST, port)).err());
    check_eq!(result, Some(errno::error(errno::ECONNREFUSED)));
    check!(ms < 1000, "{ms} ms");
    Ok(())
}

fn there_is_no_way() -> Verdict {
    // Of documentation; there is no device but the loopback.
    let to = at(Ipv4Addr::new(192, 0, 2, 1), 10809);
    let (result, ms) = milliseconds(|| connect(&to).err());
    check_eq!(result, Some(errno::error(errno::ENETUNREACH)));
    check!(ms < 1000, "{ms} ms");
    Ok(())
}

fn nothing_comes() -> Verdict {
    let (one, _other) = pair()?;
    let mut room = [0; 16];
    let (result, ms) = milliseconds(|| one.receive(&mut room));
    check_eq!(result.err(), Some(EAGAIN));
    check!((200..4000).contains(&ms), "{ms} ms");
    Ok(())
}

fn nobody_reads() -> Verdict {
    let (one, other) = pair()?;
    let bytes = pattern(MANY)?;
    let mut sent = 0usize;
    let full = loop {
        match one.send(bytes.get(sent..).unwrap_or(&[]), false) {
            Ok(n) if sent < MANY => sent = sent.saturating_add(n),
            Ok(_) => fail!("all of it was taken, though nobody reads"),
            Err(e) => break e,
        }
    };
    check_eq!(full, EAGAIN);
    check!(sent > 0 && sent < MANY, "{sent} bytes");
    // And it goes on from there.
    check_eq!(receive_all(&other, sent)?, None);
    let rest = bytes.get(sent..).unwrap_or(&[]);
    let n = one.send(rest.get(..100).unwrap_or(rest), false)?;
    check!(n > 0);
    Ok(())
}

fn an_orderly_end_comes_after_all_bytes() -> Verdict {
    let (one, other) = pair()?;
    let bytes = pattern(100_000)?;
    send_all(&one, &bytes)?;
    one.finish();
    check_eq!(receive_all(&other, bytes.len())?, None);
    check_eq!(other.receive(&mut [0; 16])?, 0);
    Ok(())
}

fn what_is_dropped_is_gone() -> Verdict {
    let (one, other) = pair()?;
    drop(one);
    let error = other.receive(&mut [0; 16]).err();
    check_eq!(error, Some(errno::error(errno::ECONNRESET)));
    Ok(())
}

fn a_connection_that_is_gone_takes_nothing() -> Verdict {
    let (one, other) = pair()?;
    drop(one);
    let gone = [EPIPE, errno::error(errno::ECONNRESET)];
    for _ in 0..3 {
        match other.send(b"is somebody there?", false) {
            Ok(_) => time::sleep_ms(50),
            Err(e) if gone.contains(&e) => return Ok(()),
            Err(e) => fail!("unexpected error {e:?}"),
        }
    }
    fail!("it took everything")
}
