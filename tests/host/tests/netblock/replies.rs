// SPDX-License-Identifier: GPL-2.0

//! Requests, and the replies of servers that are written down here.

use dormouse_host::netblock::proto::cover::Cover;
use dormouse_host::netblock::proto::replies::{Event, Replies, Table, Violation, Want, SLOTS};
use dormouse_host::netblock::proto::wire::*;
use proptest::prelude::*;

/// A client whose reads go to memory.
struct Client {
    table: Table,
    replies: Replies,
    rooms: Vec<Vec<u8>>,
    events: Vec<(usize, u32)>,
    /// Most bytes that arrive at once.
    gulp: usize,
}

impl Client {
    fn new(structured: bool) -> Self {
        Client {
            table: Table::new(7),
            replies: Replies::new(structured),
            rooms: vec![Vec::new(); SLOTS],
            events: Vec::new(),
            gulp: usize::MAX,
        }
    }

    fn ask(&mut self, command: Command, offset: u64, len: u32) -> Request {
        let (slot, request) = self.table.begin(command, 0, offset, len).unwrap();
        self.rooms[slot] = vec![0xee; len as usize];
        request
    }

    fn hears(&mut self, mut bytes: &[u8]) -> Result<(), Violation> {
        while !bytes.is_empty() {
            let most = self.gulp.min(bytes.len());
            let n = match self.replies.want() {
                Want::Head(room) => {
                    let n = room.len().min(most);
                    room[..n].copy_from_slice(&bytes[..n]);
                    n
                }
                Want::Data { slot, at, len } => {
                    let n = most.min(len as usize);
                    self.rooms[slot][at as usize..][..n].copy_from_slice(&bytes[..n]);
                    n
                }
                Want::Skip(len) => most.min(len as usize),
            };
            assert!(n > 0);
            bytes = &bytes[n..];
            match self.replies.took(n, &mut self.table)? {
                Event::Nothing => {}
                Event::Zeros {
                    slot,
                    at,
                    len,
                    done,
                } => {
                    self.rooms[slot][at as usize..][..len as usize].fill(0);
                    if done {
                        self.events.push((slot, 0));
                    }
                }
                Event::Done { slot, error } => self.events.push((slot, error)),
            }
        }
        Ok(())
    }
}

fn simple(cookie: u64, error: u32, data: &[u8]) -> Vec<u8> {
    let head = [SIMPLE_REPLY.to_be_bytes(), error.to_be_bytes()].concat();
    [head, cookie.to_be_bytes().to_vec(), data.to_vec()].concat()
}

fn chunk(cookie: u64, done: bool, kind: u16, contents: &[u8]) -> Vec<u8> {
    let mut bytes = CHUNK.to_be_bytes().to_vec();
    bytes.extend(u16::from(done).to_be_bytes());
    bytes.extend(kind.to_be_bytes());
    bytes.extend(cookie.to_be_bytes());
    bytes.extend((contents.len() as u32).to_be_bytes());
    bytes.extend(contents);
    bytes
}

fn data(cookie: u64, done: bool, offset: u64, bytes: &[u8]) -> Vec<u8> {
    let contents = [&offset.to_be_bytes(), bytes].concat();
    chunk(cookie, done, CHUNK_DATA, &contents)
}

fn hole(cookie: u64, done: bool, offset: u64, len: u32) -> Vec<u8> {
    let contents = [&offset.to_be_bytes()[..], &len.to_be_bytes()].concat();
    chunk(cookie, done, CHUNK_HOLE, &contents)
}

fn error(cookie: u64, done: bool, error: u32, text: &[u8]) -> Vec<u8> {
    let len = text.len() as u16;
    let contents = [&error.to_be_bytes()[..], &len.to_be_bytes(), text].concat();
    chunk(cookie, done, CHUNK_ERROR | 1, &contents)
}

#[test]
fn request_bytes() {
    let request = Request {
        command: Command::Write,
        flags: FLAG_FUA,
        cookie: 0x0102_0304_0506_0708,
        offset: 4096,
        len: 512,
    };
    let wanted = [
        0x25, 0x60, 0x95, 0x13, 0, 1, 0, 1, 1, 2, 3, 4, 5, 6, 7, 8, 0, 0, 0, 0, 0, 0, 16, 0, 0, 0,
        2, 0,
    ];
    assert_eq!(request.encode(), wanted);
}

#[test]
fn simple_replies_in_any_order() {
    let mut c = Client::new(false);
    let read = c.ask(Command::Read, 0, 8);
    let write = c.ask(Command::Write, 8, 8);
    let flush = c.ask(Command::Flush, 0, 0);
    c.hears(&simple(write.cookie, 0, b"")).unwrap();
    c.hears(&simple(flush.cookie, 5, b"")).unwrap();
    c.hears(&simple(read.cookie, 0, b"contents")).unwrap();
    assert_eq!(c.events, [(1, 0), (2, 5), (0, 0)]);
    assert_eq!(c.rooms[0], b"contents");
    assert!(c.table.is_empty() && !c.replies.is_inside());
    // An error has no data behind it.
    let read = c.ask(Command::Read, 0, 8);
    c.hears(&simple(read.cookie, 28, b"")).unwrap();
    assert_eq!(c.events.last(), Some(&(0, 28)));
}

#[test]
fn structured_reads() {
    let mut c = Client::new(true);
    let read = c.ask(Command::Read, 4096, 16);
    let id = read.cookie;
    c.hears(&data(id, false, 4104, b"behind..")).unwrap();
    c.hears(&hole(id, false, 4096, 4)).unwrap();
    c.hears(&data(id, false, 4100, b"some")).unwrap();
    assert!(c.events.is_empty());
    c.hears(&chunk(id, true, CHUNK_NONE, b"")).unwrap();
    assert_eq!(c.events, [(0, 0)]);
    assert_eq!(c.rooms[0], b"\0\0\0\0somebehind..");
    // The last chunk of data may also be the end, and so may a hole.
    let read = c.ask(Command::Read, 0, 4);
    c.hears(&data(read.cookie, true, 0, b"four")).unwrap();
    let read = c.ask(Command::Read, 0, 4);
    c.hears(&hole(read.cookie, true, 0, 4)).unwrap();
    assert_eq!((c.events.len(), &c.rooms[0][..]), (3, &[0; 4][..]));
    // Other commands may have simple replies all the same.
    let write = c.ask(Command::Write, 0, 4);
    c.hears(&simple(write.cookie, 0, b"")).unwrap();
    let write = c.ask(Command::Write, 0, 4);
    c.hears(&chunk(write.cookie, true, CHUNK_NONE, b""))
        .unwrap();
    assert_eq!(c.events.len(), 5);
}

#[test]
fn structured_errors() {
    let mut c = Client::new(true);
    let read = c.ask(Command::Read, 0, 8);
    c.hears(&data(read.cookie, false, 0, b"half")).unwrap();
    c.hears(&error(read.cookie, false, 5, &[b'x'; 4000]))
        .unwrap();
    c.hears(&error(read.cookie, true, 22, b"")).unwrap();
    assert_eq!(c.events, [(0, 5)], "the first error counts");
}

#[test]
fn violations() {
    use Violation::*;
    type Case = (bool, Command, fn(u64) -> Vec<u8>, Violation);
    const CASES: &[Case] = &[
        (false, Command::Read, |_| vec![0; 16], Magic),
        (false, Command::Read, |id| simple(id ^ 1, 0, b""), Cookie),
        (
            false,
            Command::Read,
            |id| simple(id ^ 0x100, 0, b""),
            Cookie,
        ),
        (false, Command::Read, |id| simple(id | 0xff, 0, b""), Cookie),
        (false, Command::Read, |id| data(id, true, 0, b"x"), Kind),
        (true, Command::Read, |id| simple(id, 0, b""), Kind),
        (true, Command::Read, |id| chunk(id, true, 5, b""), Kind),
        (true, Command::Read, |id| chunk(id, false, 0, b""), Kind),
        (true, Command::Read, |id| chunk(id, true, 0, b"x"), Length),
        (true, Command::Write, |id| data(id, true, 4096, b"x"), Kind),
        (true, Command::Write, |id| hole(id, true, 4096, 1), Kind),
        (true, Command::Read, |id| data(id, true, 4095, b"x"), Place),
        (true, Command::Read, |id| data(id, true, 4104, b"x"), Place),
        (
            true,
            Command::Read,
            |id| data(id, true, 4100, b"abcde"),
            Place,
        ),
        (
            true,
            Command::Read,
            |id| data(id, true, u64::MAX, b"x"),
            Place,
        ),
        (
            true,
            Command::Read,
            |id| data(id, true, 4096, &[0; 9]),
            Length,
        ),
        (
            true,
            Command::Read,
            |id| chunk(id, true, 1, &[0; 8]),
            Length,
        ),
        (true, Command::Read, |id| hole(id, true, 4096, 0), Place),
        (
            true,
            Command::Read,
            |id| hole(id, true, 4096, u32::MAX),
            Place,
        ),
        (
            true,
            Command::Read,
            |id| chunk(id, true, 2, &[0; 11]),
            Length,
        ),
        (true, Command::Read, |id| error(id, true, 0, b"no"), Length),
        (
            true,
            Command::Read,
            |id| chunk(id, true, 1 << 15, &[0; 5]),
            Length,
        ),
        (
            true,
            Command::Read,
            |id| chunk(id, true, 1 << 15, &[1; 8]),
            Length,
        ),
        (
            true,
            Command::Read,
            |id| data(id, true, 4096, b"short"),
            Missing,
        ),
        (true, Command::Read, |id| chunk(id, true, 0, b""), Missing),
    ];
    for (number, (structured, command, says, wanted)) in CASES.iter().enumerate() {
        let mut c = Client::new(*structured);
        let request = c.ask(*command, 4096, 8);
        let result = c.hears(&says(request.cookie));
        assert_eq!(result, Err(*wanted), "case {number}");
        assert!(c.events.is_empty());
    }
    // The same data twice.
    let mut c = Client::new(true);
    let id = c.ask(Command::Read, 0, 8).cookie;
    c.hears(&data(id, false, 0, b"1234")).unwrap();
    assert_eq!(c.hears(&data(id, false, 3, b"4")), Err(Place));
    // A reply that was given already.
    let mut c = Client::new(false);
    let id = c.ask(Command::Flush, 0, 0).cookie;
    c.hears(&simple(id, 0, b"")).unwrap();
    assert_eq!(c.hears(&simple(id, 0, b"")), Err(Cookie));
}

#[test]
fn slots_run_out_and_come_back() {
    let mut table = Table::new(u64::MAX - 3);
    let mut cookies = Vec::new();
    for _ in 0..SLOTS {
        let (_, request) = table.begin(Command::Write, 0, 0, 1).unwrap();
        assert!(!cookies.contains(&request.cookie));
        cookies.push(request.cookie);
    }
    assert!(table.begin(Command::Write, 0, 0, 1).is_none());
    assert_eq!(table.len(), SLOTS);
}

/// Cuts of 0..len in which pieces a read may be replied.
fn pieces(len: u32) -> impl Strategy<Value = Vec<(u32, u32)>> {
    prop::collection::btree_set(1..len, 0..4).prop_map(move |cuts| {
        let ends = cuts.iter().copied().chain([len]);
        let begins = [0].into_iter().chain(cuts.iter().copied());
        begins.zip(ends).collect()
    })
}

proptest! {
    // Whatever the pieces, their order and the size of what arrives at once.
    #[test]
    fn reads_arrive_whole(
        pieces in pieces(64).prop_shuffle(),
        gulp in 1usize..40,
        offset in 0u64..u64::MAX - 64,
    ) {
        let mut c = Client::new(true);
        c.gulp = gulp;
        let id = c.ask(Command::Read, offset, 64).cookie;
        for (i, &(from, to)) in pieces.iter().enumerate() {
            let bytes: Vec<u8> = (from..to).map(|b| b as u8).collect();
            let done = i + 1 == pieces.len();
            c.hears(&data(id, done, offset + u64::from(from), &bytes)).unwrap();
        }
        prop_assert_eq!(&c.events, &[(0, 0)]);
        prop_assert_eq!(&c.rooms[0], &(0..64).collect::<Vec<u8>>());
    }

    #[test]
    fn cover_is_a_set(adds in prop::collection::vec((0u32..40, 0u32..12), 0..30)) {
        let mut cover = Cover::new();
        let mut model = [false; 64];
        for (at, len) in adds {
            let range = at as usize..(at + len) as usize;
            let free = len != 0 && model[range.clone()].iter().all(|b| !b);
            if cover.add(at, len) {
                prop_assert!(free);
                model[range].fill(true);
            } else if free {
                // Only too many pieces may keep it from being added.
                let before = model;
                model[range].fill(true);
                let runs = |m: &[bool]| m.windows(2).filter(|w| !w[0] && w[1]).count() + usize::from(m[0]);
                prop_assert!(runs(&model) > 4, "{:?}", before);
                model = before;
            }
            let whole = (0..64).find(|&n| cover.is_whole(n));
            let run = model.iter().take_while(|b| **b).count();
            let only = model.iter().filter(|b| **b).count() == run && run > 0;
            prop_assert_eq!(whole, only.then_some(run as u32));
        }
    }
}
