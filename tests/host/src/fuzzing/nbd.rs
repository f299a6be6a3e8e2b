// SPDX-License-Identifier: GPL-2.0

//! What a server of network block devices says.

use crate::netblock::mark;
use crate::netblock::proto::negotiate::Negotiation;
use crate::netblock::proto::replies::{Event, Replies, Table, Want};
use crate::netblock::proto::wire::Command;

/// What a server sends: the first byte says how much of it comes at once and what was asked, the
/// rest is the negotiation and then replies. The first block of an export as well.
pub fn nbd(data: &[u8]) {
    if let mark::Found::Ours { .. } = mark::decode(data) {
        assert!(mark::superblock(data).is_some());
    }
    let Some((&mode, mut rest)) = data.split_first() else {
        return;
    };
    let mut negotiation = Negotiation::new("export");
    let terms = loop {
        assert!(negotiation.output().len() <= 300);
        let room = negotiation.room();
        assert!(!room.is_empty());
        let Some((here, behind)) = rest.split_at_checked(room.len()) else {
            return;
        };
        room.copy_from_slice(here);
        rest = behind;
        match negotiation.filled() {
            Ok(None) => {}
            Ok(Some(terms)) => break terms,
            Err(_) => {
                assert!(negotiation.text().is_ascii());
                return;
            }
        }
    };
    if let Ok(piece) = terms.piece() {
        assert!(piece % 4096 == 0 && piece >= 4096 && terms.min <= piece);
    }
    replies(terms.structured, mode, rest);
}

fn replies(structured: bool, mode: u8, mut rest: &[u8]) {
    let (mut table, mut replies) = (Table::new(0), Replies::new(structured));
    let mut lens = [0u32; 4];
    for (number, len) in lens.iter_mut().enumerate() {
        let command = match mode >> number & 1 {
            0 => Command::Read,
            _ => Command::Write,
        };
        *len = 16 << number;
        table.begin(command, 0, 4096, *len).expect("a slot");
    }
    let gulp = usize::from(mode >> 4) + 1;
    let mut under_way = lens.len();
    while !rest.is_empty() {
        let most = gulp.min(rest.len());
        let n = match replies.want() {
            Want::Head(room) => {
                let n = most.min(room.len());
                room[..n].copy_from_slice(&rest[..n]);
                n
            }
            Want::Data { slot, at, len } => {
                assert!(len > 0 && at + len <= lens[slot]);
                most.min(len as usize)
            }
            Want::Skip(len) => most.min(len as usize),
        };
        assert!(n > 0);
        rest = &rest[n..];
        match replies.took(n, &mut table) {
            Ok(Event::Nothing) => {}
            Ok(Event::Done { slot, .. }) => {
                assert!(slot < lens.len());
                under_way -= 1;
            }
            Ok(Event::Zeros {
                slot,
                at,
                len,
                done,
            }) => {
                assert!(at + len <= lens[slot]);
                under_way -= usize::from(done);
            }
            Err(_) => return,
        }
        assert_eq!(table.len(), under_way);
    }
}

/// What a server sends that does everything as it should, for [`nbd`].
pub(super) fn session(structured: bool) -> Vec<u8> {
    let hex = |text: &str| -> Vec<u8> {
        let digits: Vec<u8> = text.bytes().filter(|b| !b.is_ascii_whitespace()).collect();
        let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).expect("hex"), 16);
        digits
            .chunks(2)
            .map(|pair| byte(pair).expect("hex"))
            .collect()
    };
    let mut bytes = vec![0xfa];
    bytes.extend(b"NBDMAGICIHAVEOPT\0\x03");
    bytes.extend(hex("0003e889045565a9 00000008"));
    bytes.extend(hex(if structured { "00000001" } else { "80000001" }));
    bytes.extend(hex("00000000 0003e889045565a9 00000007 00000003 0000000c"));
    bytes.extend(hex(
        "0000 0000000040000000 010d 0003e889045565a9 00000007 00000003",
    ));
    bytes.extend(hex("0000000e 0003 00000200 00001000 02000000"));
    bytes.extend(hex("0003e889045565a9 00000007 00000001 00000000"));
    // Slots 0 and 2 are reads of 16 and 64 bytes, 1 and 3 writes.
    if structured {
        bytes.extend(hex("668e33ef 0000 0001 0000000000000100 00000010"));
        bytes.extend(hex("0000000000001000 1122334455667788"));
        bytes.extend(hex("668e33ef 0001 0002 0000000000000100 0000000c"));
        bytes.extend(hex("0000000000001008 00000008"));
        bytes.extend(hex("668e33ef 0001 8001 0000000000000302 0000000a"));
        bytes.extend(hex("00000005 0004 6f6f6f6f"));
    } else {
        bytes.extend(hex("67446698 00000000 0000000000000100"));
        bytes.extend([0x55; 16]);
        bytes.extend(hex("67446698 00000005 0000000000000302"));
    }
    bytes.extend(hex("67446698 00000000 0000000000000201"));
    bytes.extend(hex("67446698 0000001c 0000000000000403"));
    bytes
}
