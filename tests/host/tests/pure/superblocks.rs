// SPDX-License-Identifier: GPL-2.0

//! Superblock: round trip, refusals, states.

use dormouse_host::image::superblock::{Figures, State, Superblock, BYTES, REASON_BYTES};
use dormouse_host::image::{wire, Error, ImageId};
use dormouse_host::samples;
use proptest::prelude::*;

fn any_superblock() -> impl Strategy<Value = Superblock> {
    let words = any::<([u64; 14], [u32; 3], i64, [u8; 16])>();
    let rest = (0usize..6, any::<String>(), any::<[[u8; 32]; 2]>());
    (words, rest).prop_map(|((wide, narrow, saved_at, id), (state, reason, private))| {
        let mut sb = Superblock::new();
        sb.state = State::ALL[state];
        sb.attempts = narrow[0];
        sb.image_id = ImageId(id);
        sb.header_block = wide[0];
        sb.commit_block = wide[1];
        sb.generation = wide[2];
        sb.saved_at = saved_at;
        sb.storage_word0 = wide[3];
        sb.storage_word1 = wide[4];
        sb.storage_private.copy_from_slice(&private.concat());
        sb.passed_by = wide[5];
        sb.figures = Figures {
            image_pages: wide[6],
            fill_pages: wide[7],
            frames: wide[8],
            stored_bytes: wide[9],
            atomic_ns: wide[10],
            write_ns: wide[11],
            load_ns: wide[12],
            in_place_pages: wide[13],
        };
        sb.set_failure(narrow[1], narrow[2], &reason);
        sb
    })
}

proptest! {
    #[test]
    fn round_trip(sb in any_superblock()) {
        let mut out = [0xee; BYTES];
        sb.encode(&mut out).unwrap();
        prop_assert_eq!(Superblock::decode(&out), Ok(Some(sb)));
    }

    #[test]
    fn hostile_input(bytes in proptest::collection::vec(any::<u8>(), 0..600), sealed: bool) {
        let mut bytes = bytes;
        if sealed && bytes.len() >= BYTES {
            bytes[..8].copy_from_slice(b"DORMOUSE");
            bytes[8..12].copy_from_slice(&1u32.to_le_bytes());
            wire::seal(&mut bytes[..BYTES], 12).unwrap();
            // 56 random bytes that must be zero.
            prop_assert!(Superblock::decode(&bytes).is_err());
        } else {
            dormouse_host::fuzzing::superblock(&bytes);
        }
    }

    #[test]
    fn any_reason_becomes_a_clean_one(reason: String) {
        let mut sb = Superblock::new();
        sb.set_reason(&reason);
        prop_assert!(sb.reason().len() <= REASON_BYTES);
        prop_assert!(!sb.reason().chars().any(char::is_control));
        let clean: String = reason.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        prop_assert!(clean.starts_with(sb.reason()));
        prop_assert!(sb.reason() == clean || sb.reason().len() + 4 > REASON_BYTES);
    }
}

fn sealed(change: impl Fn(&mut [u8])) -> Result<Option<Superblock>, Error> {
    let mut bytes = samples::superblock_bytes();
    change(&mut bytes);
    wire::seal(&mut bytes, 12).unwrap();
    Superblock::decode(&bytes)
}

#[test]
fn refusals() {
    let bytes = samples::superblock_bytes();
    assert_eq!(
        Superblock::decode(&bytes[..BYTES - 1]),
        Err(Error::Truncated)
    );
    assert_eq!(Superblock::decode(&[0; BYTES]), Ok(None));
    assert_eq!(sealed(|b| b[0] = b'd'), Ok(None));
    assert_eq!(sealed(|b| b[8] = 2), Err(Error::UnknownVersion));
    assert_eq!(sealed(|b| b[16] = 6), Err(Error::BadState));
    assert_eq!(sealed(|b| b[17] = 1), Err(Error::BadState));
    assert_eq!(sealed(|b| b[96] = b'\n'), Err(Error::BadText));
    assert_eq!(sealed(|b| b[96] = 0xff), Err(Error::BadText));
    assert_eq!(sealed(|b| b[255] = b'x'), Err(Error::BadText));
    assert_eq!(sealed(|b| b[392] = 1), Err(Error::NotZero));
    assert_eq!(sealed(|b| b[447] = 1), Err(Error::NotZero));
    assert_eq!(sealed(|_| ()), Ok(Some(samples::superblock())));
}

#[test]
fn advance_counts_and_refuses() {
    let mut sb = Superblock::new();
    for next in [
        State::Writing,
        State::Committed,
        State::Resuming,
        State::Consumed,
    ] {
        sb.advance(next).unwrap();
    }
    assert_eq!((sb.state, sb.generation), (State::Consumed, 4));
    let before = sb.clone();
    assert_eq!(sb.advance(State::Committed), Err(Error::BadTransition));
    assert_eq!(sb, before);
}

#[test]
fn an_image_is_never_overwritten_or_revived() {
    for state in [State::Committed, State::Resuming] {
        assert!(!state.may_become(State::Writing));
    }
    for state in [State::Empty, State::Writing, State::Consumed, State::Failed] {
        assert!(!state.may_become(State::Resuming), "{state:?}");
    }
    for state in [
        State::Empty,
        State::Resuming,
        State::Consumed,
        State::Failed,
    ] {
        assert!(!state.may_become(State::Committed), "{state:?}");
    }
}

#[test]
fn the_sum_of_payloads_is_xxh64() {
    assert_eq!(wire::payload_sum(b"123456789"), 0x8cb8_41db_40e6_ae83);
    assert_eq!(wire::payload_sum(b""), 0xef46_db37_51d8_e999);
}

#[test]
fn the_checksum_is_crc32c() {
    // The check value of CRC-32C.
    assert_eq!(wire::crc(b"123456789"), 0xe306_9283);
}
