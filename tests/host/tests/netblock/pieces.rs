// SPDX-License-Identifier: GPL-2.0

//! Requests that carry no data: their bytes, when they may be sent, and how long runs are cut.

use dormouse_host::netblock::proto::pieces::Pieces;
use dormouse_host::netblock::proto::replies::{Event, Replies, Table, Violation, Want, SLOTS};
use dormouse_host::netblock::proto::terms::Terms;
use dormouse_host::netblock::proto::wire::*;
use proptest::prelude::*;

fn request(command: Command, flags: u16, offset: u64, len: u32) -> Vec<u8> {
    let request = Request {
        command,
        flags,
        cookie: 0x0102_0304_0506_0708,
        offset,
        len,
    };
    request.encode().to_vec()
}

#[test]
fn requests_as_the_protocol_numbers_them() {
    let cookie = [1, 2, 3, 4, 5, 6, 7, 8];
    let head = [0x25, 0x60, 0x95, 0x13];
    let trim = request(Command::Trim, 0, 1 << 32, 0x0200_0000);
    let place = [0, 0, 0, 1, 0, 0, 0, 0, 2, 0, 0, 0];
    assert_eq!(trim, [&head[..], &[0, 0, 0, 4], &cookie, &place].concat());
    let flags = FLAG_FUA | FLAG_NO_HOLE;
    let zeroes = request(Command::WriteZeroes, flags, 65536, 69632);
    let place = [0, 0, 0, 0, 0, 1, 0, 0, 0, 1, 0x10, 0];
    assert_eq!(zeroes, [&head[..], &[0, 3, 0, 6], &cookie, &place].concat());
}

#[test]
fn only_what_is_offered() {
    let offered = |flags: u16| {
        let mut terms = Terms::new();
        terms.flags = flags;
        (terms.trim(), terms.write_zeroes())
    };
    assert_eq!(offered(HAS_FLAGS), (false, false));
    assert_eq!(offered(HAS_FLAGS | 1 << 5), (true, false));
    assert_eq!(offered(HAS_FLAGS | 1 << 6), (false, true));
    // Flags that mean nothing.
    assert_eq!(offered(1 << 5 | 1 << 6), (false, false));
}

/// What a client makes of `reply` to one request of `command`.
fn hears(structured: bool, command: Command, reply: &[u8]) -> Result<Vec<Event>, Violation> {
    let mut table = Table::new(0);
    let mut replies = Replies::new(structured);
    let (_, asked) = table.begin(command, 0, 0, 1 << 20).unwrap();
    let mut bytes = reply.to_vec();
    // A reply names the request by its cookie, which is at byte 8 of each kind.
    bytes[8..16].copy_from_slice(&asked.cookie.to_be_bytes());
    let mut events = Vec::new();
    let mut rest = &bytes[..];
    while !rest.is_empty() {
        let n = match replies.want() {
            Want::Head(room) => {
                let n = room.len().min(rest.len());
                room[..n].copy_from_slice(&rest[..n]);
                n
            }
            Want::Skip(n) => rest.len().min(n as usize),
            Want::Data { .. } => panic!("data for a request without"),
        };
        rest = &rest[n..];
        events.push(replies.took(n, &mut table)?);
    }
    events.retain(|event| *event != Event::Nothing);
    Ok(events)
}

#[test]
fn replies_carry_no_data() {
    for command in [Command::Trim, Command::WriteZeroes] {
        for structured in [false, true] {
            let mut simple = SIMPLE_REPLY.to_be_bytes().to_vec();
            simple.extend(22u32.to_be_bytes());
            simple.extend([0; 8]);
            let done = |error| Ok(vec![Event::Done { slot: 0, error }]);
            assert_eq!(hears(structured, command, &simple), done(22));
            simple[4..8].fill(0);
            assert_eq!(hears(structured, command, &simple), done(0));
        }
        let mut chunk = CHUNK.to_be_bytes().to_vec();
        chunk.extend(CHUNK_DONE.to_be_bytes());
        chunk.extend(CHUNK_NONE.to_be_bytes());
        chunk.extend([0; 12]);
        let done = Ok(vec![Event::Done { slot: 0, error: 0 }]);
        assert_eq!(hears(true, command, &chunk), done);
        // A server that answers with the contents of the hole.
        chunk[6..8].copy_from_slice(&CHUNK_HOLE.to_be_bytes());
        chunk[16..20].copy_from_slice(&12u32.to_be_bytes());
        chunk.extend([0; 12]);
        assert_eq!(hears(true, command, &chunk), Err(Violation::Kind));
    }
}

#[test]
fn pieces_of_nothing() {
    assert_eq!(Pieces::new(4096, 0, 4096).next(), None);
    assert_eq!(Pieces::new(4096, 4096, 0).next(), None);
    assert_eq!(Pieces::new(u64::MAX, 2, 4096).next(), None);
    // The slots of a connection are enough for what is under way of them.
    assert!(SLOTS >= 4);
}

proptest! {
    #[test]
    fn pieces_are_the_run(
        blocks in 0..1u64 << 40,
        count in 0..5000u64,
        most in 1..300u32,
    ) {
        let (offset, len, most) = (blocks * 4096, count * 4096, most * 4096);
        let mut at = offset;
        let pieces: Vec<_> = Pieces::new(offset, len, most).collect();
        for (i, &(from, len)) in pieces.iter().enumerate() {
            prop_assert_eq!(from, at);
            prop_assert!(len > 0 && len <= most && len % 4096 == 0);
            // Only the first and the last are not whole units of the server.
            let whole = from % u64::from(most) == 0 && len == most;
            prop_assert!(whole || i == 0 || i + 1 == pieces.len());
            at += u64::from(len);
        }
        prop_assert_eq!(at, offset + len);
    }

    #[test]
    fn pieces_end(offset: u64, len in 0..1u64 << 36, most in (1u32 << 24)..) {
        let total: u64 = Pieces::new(offset, len, most).map(|(_, len)| u64::from(len)).sum();
        let fits = offset.checked_add(len).is_some();
        prop_assert_eq!(total, if fits { len } else { 0 });
    }
}
