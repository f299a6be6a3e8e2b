// SPDX-License-Identifier: GPL-2.0

//! Exports of NBD servers, over one connection that blocks.
//!
//! What is said is decided by the same pure code as in the kernel's module; here are only the
//! socket and the waiting.

#![forbid(unsafe_code)]

use std::fmt;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv6Addr, SocketAddr, TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};

use crate::image::{BLOCK, CHUNK_BYTES};
use crate::netblock::proto::negotiate::{Negotiation, Refusal};
use crate::netblock::proto::replies::{Event, Replies, Table, Violation, Want};
use crate::netblock::proto::terms::Terms;
use crate::netblock::proto::wire::{Command, FLAG_FUA};
use crate::target::Nbd;

/// How long one attempt to connect may take at most.
const CONNECT: Duration = Duration::from_secs(5);

/// Addresses of a name that are tried.
const ADDRESSES_MAX: usize = 4;

/// Which export of which server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Export {
    /// Host name or address; an IPv6 address without its brackets.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// Name of the export; empty for the server's default.
    pub name: String,
    /// How long an answer may take.
    pub timeout: Duration,
}

impl Export {
    /// The one that `nbd` names, whose answers may take `timeout`.
    pub fn new(nbd: &Nbd<'_>, timeout: Duration) -> Export {
        Export {
            host: nbd.host.to_string(),
            port: nbd.port,
            name: nbd.export.to_string(),
            timeout,
        }
    }
}

impl fmt::Display for Export {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Export {
            host, port, name, ..
        } = self;
        match host.parse::<Ipv6Addr>() {
            Ok(_) => write!(f, "nbd://[{host}]:{port}/{name}"),
            Err(_) => write!(f, "nbd://{host}:{port}/{name}"),
        }
    }
}

/// A connection to an export.
pub struct Link {
    stream: TcpStream,
    timeout: Duration,
    /// What was agreed on.
    pub terms: Terms,
    replies: Replies,
    table: Table,
    /// Why nothing can be asked over it any more.
    lost: Option<String>,
}

fn other(sentence: impl fmt::Display) -> io::Error {
    io::Error::other(sentence.to_string())
}

fn broken(violation: Violation) -> io::Error {
    other(format_args!(
        "the server does not keep to the protocol: {violation}"
    ))
}

fn refused(refusal: Refusal, text: &str) -> io::Error {
    match text {
        "" => other(refusal),
        text => other(format_args!("{refusal}; it says: {text}")),
    }
}

/// When waiting ends.
#[derive(Clone, Copy)]
struct Deadline {
    end: Instant,
    /// What was waited in all, for the sentence.
    of: Duration,
}

impl Deadline {
    fn after(of: Duration) -> Deadline {
        Deadline {
            end: Instant::now() + of,
            of,
        }
    }

    fn missed(self) -> io::Error {
        let seconds = self.of.as_secs_f32();
        io::Error::new(ErrorKind::TimedOut, format!("no answer within {seconds} s"))
    }

    /// What is left, never nothing.
    fn left(self) -> io::Result<Duration> {
        let left = self.end.saturating_duration_since(Instant::now());
        match left.is_zero() {
            true => Err(self.missed()),
            false => Ok(left),
        }
    }

    fn judge<T>(self, result: io::Result<T>) -> io::Result<T> {
        result.map_err(|error| match error.kind() {
            ErrorKind::WouldBlock | ErrorKind::TimedOut => self.missed(),
            ErrorKind::UnexpectedEof
            | ErrorKind::BrokenPipe
            | ErrorKind::ConnectionReset
            | ErrorKind::ConnectionAborted => other("the server closes the connection"),
            ErrorKind::ConnectionRefused => {
                io::Error::new(ErrorKind::ConnectionRefused, "nobody listens there")
            }
            _ => error,
        })
    }
}

/// Receives what there is, at least one byte.
fn receive(mut stream: &TcpStream, to: &mut [u8], deadline: Deadline) -> io::Result<usize> {
    loop {
        stream.set_read_timeout(Some(deadline.left()?))?;
        match stream.read(to) {
            Ok(0) if !to.is_empty() => return deadline.judge(Err(ErrorKind::UnexpectedEof.into())),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            result => return deadline.judge(result),
        }
    }
}

fn fill(stream: &TcpStream, mut to: &mut [u8], deadline: Deadline) -> io::Result<()> {
    while !to.is_empty() {
        let n = receive(stream, to, deadline)?;
        to = to.get_mut(n..).unwrap_or(&mut []);
    }
    Ok(())
}

fn send(mut stream: &TcpStream, mut bytes: &[u8], deadline: Deadline) -> io::Result<()> {
    while !bytes.is_empty() {
        stream.set_write_timeout(Some(deadline.left()?))?;
        match stream.write(bytes) {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            result => {
                let n = deadline.judge(result)?;
                bytes = bytes.get(n..).unwrap_or(&[]);
            }
        }
    }
    Ok(())
}

fn connect(export: &Export, deadline: Deadline) -> io::Result<TcpStream> {
    let place = (export.host.as_str(), export.port);
    let addresses: Vec<SocketAddr> = match place.to_socket_addrs() {
        Ok(found) => found.take(ADDRESSES_MAX).collect(),
        Err(error) => return Err(other(format_args!("{}: {error}", export.host))),
    };
    let mut result = Err(other(format_args!("{} has no address", export.host)));
    for address in addresses {
        let wait = CONNECT.min(deadline.left()?);
        result = deadline.judge(TcpStream::connect_timeout(&address, wait));
        if result.is_ok() {
            break;
        }
    }
    result
}

impl Link {
    /// Connects to `export` and negotiates.
    ///
    /// # Errors
    ///
    /// Why that is not possible, in a sentence.
    pub fn open(export: &Export) -> io::Result<Link> {
        let deadline = Deadline::after(export.timeout);
        let stream = connect(export, deadline)?;
        // Requests are small and waited for.
        stream.set_nodelay(true)?;
        let mut negotiation = Negotiation::new(&export.name);
        let terms = loop {
            send(&stream, negotiation.output(), deadline)?;
            fill(&stream, negotiation.room(), deadline)?;
            match negotiation.filled() {
                Ok(Some(terms)) => break terms,
                Ok(None) => {}
                Err(refusal) => return Err(refused(refusal, negotiation.text())),
            }
        };
        Ok(Link {
            stream,
            timeout: export.timeout,
            replies: Replies::new(terms.structured),
            // One connection, and replies of no other one can come over it.
            table: Table::new(0),
            lost: None,
            terms,
        })
    }

    fn begin(
        &mut self,
        command: Command,
        flags: u16,
        offset: u64,
        len: usize,
        data: &[u8],
        deadline: Deadline,
    ) -> io::Result<()> {
        let len = u32::try_from(len).map_err(|_| io::Error::from(ErrorKind::InvalidInput))?;
        let begun = self.table.begin(command, flags, offset, len);
        let (_, request) = begun.ok_or_else(|| broken(Violation::Missing))?;
        send(&self.stream, &request.encode(), deadline)?;
        send(&self.stream, data, deadline)
    }

    /// Waits for the one request that is under way; what it reads goes into `room`.
    fn wait(&mut self, room: &mut [u8], deadline: Deadline) -> io::Result<()> {
        let mut scratch = [0; 512];
        loop {
            let to = match self.replies.want() {
                Want::Head(head) => head,
                Want::Skip(n) => {
                    let n = scratch.len().min(n as usize);
                    scratch.get_mut(..n).unwrap_or(&mut [])
                }
                Want::Data { at, len, .. } => {
                    let (at, len) = (at as usize, len as usize);
                    let to = room.get_mut(at..at.saturating_add(len));
                    to.ok_or_else(|| broken(Violation::Place))?
                }
            };
            let n = receive(&self.stream, to, deadline)?;
            match self.replies.took(n, &mut self.table).map_err(broken)? {
                Event::Nothing => {}
                Event::Done { error: 0, .. } => return Ok(()),
                Event::Done { error, .. } => {
                    return Err(other(format_args!(
                        "the server answered with error {error}"
                    )));
                }
                Event::Zeros { at, len, done, .. } => {
                    let (at, len) = (at as usize, len as usize);
                    let hole = room.get_mut(at..at.saturating_add(len));
                    hole.ok_or_else(|| broken(Violation::Place))?.fill(0);
                    if done {
                        return Ok(());
                    }
                }
            }
        }
    }

    /// Asks and waits for the answer.
    fn ask(
        &mut self,
        command: Command,
        flags: u16,
        offset: u64,
        data: &[u8],
        room: &mut [u8],
    ) -> io::Result<()> {
        if let Some(why) = &self.lost {
            return Err(other(why));
        }
        let deadline = Deadline::after(self.timeout);
        let len = data.len().max(room.len());
        let begun = self.begin(command, flags, offset, len, data, deadline);
        let result = begun.and_then(|()| self.wait(room, deadline));
        // What is still under way would be taken for the answer to something else.
        if let (Err(error), false) = (&result, self.table.is_empty()) {
            self.lost = Some(error.to_string());
        }
        result
    }

    /// Fills `out` from byte `offset` on.
    ///
    /// # Errors
    ///
    /// I/O errors, also beyond the end.
    pub fn read(&mut self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let unit = u64::from(self.terms.min);
        let len = (out.len() as u64).checked_next_multiple_of(unit);
        let end = len.and_then(|len| offset.checked_add(len));
        if end.is_none_or(|end| end > self.terms.size) {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        let piece = self.terms.piece().map_err(other)? as usize;
        let unit = self.terms.min as usize;
        let mut at = offset;
        for part in out.chunks_mut(piece.min(CHUNK_BYTES)) {
            let len = part.len();
            if len % unit == 0 {
                self.ask(Command::Read, 0, at, &[], part)?;
            } else {
                // The end of what is wanted, and the rest of what has to be asked for.
                let mut whole = vec![0; len.next_multiple_of(unit)];
                self.ask(Command::Read, 0, at, &[], &mut whole)?;
                part.copy_from_slice(whole.get(..len).unwrap_or(&[]));
            }
            at = at.saturating_add(len as u64);
        }
        Ok(())
    }

    /// Writes `bytes`, which lie within a block, from byte `offset` on, and waits until they are on
    /// the medium.
    ///
    /// # Errors
    ///
    /// I/O errors, and when the server cannot promise that.
    pub fn write(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        if self.terms.read_only() {
            return Err(other("the export is read-only"));
        }
        self.terms.check().map_err(other)?;
        let unit = u64::from(self.terms.min);
        if offset % unit != 0 || bytes.len() as u64 % unit != 0 {
            let inside = (offset % BLOCK as u64) as usize;
            let begin = offset - inside as u64;
            let mut block = [0; BLOCK];
            self.read(begin, &mut block)?;
            let place = block.get_mut(inside..inside.saturating_add(bytes.len()));
            let place = place.ok_or_else(|| io::Error::from(ErrorKind::InvalidInput))?;
            place.copy_from_slice(bytes);
            return self.write_durably(begin, &block);
        }
        self.write_durably(offset, bytes)
    }

    fn write_durably(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let flags = if self.terms.fua() { FLAG_FUA } else { 0 };
        self.ask(Command::Write, flags, offset, bytes, &mut [])?;
        match self.terms.flush() {
            true => self.ask(Command::Flush, 0, 0, &[], &mut []),
            false => Ok(()),
        }
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        if self.lost.is_none() {
            // A server that is not told sees the end of the connection.
            let now = Deadline::after(Duration::from_millis(100));
            let _ = self.begin(Command::Disconnect, 0, 0, 0, &[], now);
        }
    }
}
