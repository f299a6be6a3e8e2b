// SPDX-License-Identifier: GPL-2.0

//! Encrypted images: what is altered is refused, whoever made the checksums right.

use std::collections::HashSet;

use dormouse_host::encrypted::{self, Cipher, Keys, USER_KEY};
use dormouse_host::fuzzing::seal_frame;
use dormouse_host::image::cipher::params::{is_hint, parse_key, KeyType, Params, HINT_MAX};
use dormouse_host::image::cipher::{self, Place, FRAME_BOUND_MAX};
use dormouse_host::image::commit::{self, Commit};
use dormouse_host::image::frame::{Frame, Kind};
use dormouse_host::image::header::{self, Header};
use dormouse_host::image::root::{chunks, Chunk, Space};
use dormouse_host::image::superblock::Superblock;
use dormouse_host::image::{wire, Error, BLOCK};
use dormouse_host::samples::{self, COMMIT_BLOCK, HEADER_BLOCK, ID};
use proptest::prelude::*;

use crate::random::Random;

const FLIPS: usize = 10_000;

const HEADER_AT: usize = HEADER_BLOCK as usize * BLOCK;
const COMMIT_AT: usize = COMMIT_BLOCK as usize * BLOCK;

struct Map {
    commit: Commit,
    chunks: Vec<Chunk>,
}

fn map(superblock: &[u8], blocks: &[u8]) -> Map {
    let sb = Superblock::decode(superblock).unwrap().unwrap();
    let commit = Commit::decode(&blocks[COMMIT_AT..]).unwrap();
    let total = (blocks.len() / BLOCK) as u64;
    let space = Space::of(total, sb.header_block, sb.commit_block, &commit).unwrap();
    let at = commit.root_block as usize * BLOCK;
    let table = &blocks[at..at + commit.root_len().unwrap() as usize];
    let chunks = chunks(table, &space).collect::<Result<_, _>>().unwrap();
    Map { commit, chunks }
}

// Every range of bytes that some part of the image takes.
fn covered(map: &Map) -> Vec<std::ops::Range<usize>> {
    let root = map.commit.root_block as usize * BLOCK;
    let mut parts = vec![
        HEADER_AT..HEADER_AT + header::AREA_BYTES,
        COMMIT_AT..COMMIT_AT + BLOCK,
        root..root + map.commit.root_len().unwrap() as usize,
    ];
    for chunk in &map.chunks {
        let at = chunk.block as usize * BLOCK;
        parts.push(at..at + chunk.used as usize);
    }
    parts
}

// Makes all checksums right again, as an attacker would.
fn reseal(blocks: &mut [u8], map: &Map) {
    for chunk in &map.chunks {
        let at = chunk.block as usize * BLOCK;
        let mut bytes = &mut blocks[at..at + chunk.used as usize];
        // A length that makes no sense is one that no checksum helps.
        while let Ok(len) = seal_frame(bytes) {
            let next = len.min(bytes.len());
            bytes = &mut bytes[next..];
        }
    }
    let area = &mut blocks[HEADER_AT..HEADER_AT + header::AREA_BYTES];
    let total = u32::from_le_bytes([area[16], area[17], area[18], area[19]]) as usize;
    if let Some(sealed) = area.get_mut(..total) {
        // One that is too short has no seal to make right.
        let _ = wire::seal(sealed, header::CRC_AT);
    }
    let header_crc = area[12..16].to_vec();
    let root = map.commit.root_block as usize * BLOCK;
    let root_crc = wire::crc(&blocks[root..root + map.commit.root_len().unwrap() as usize]);
    let commit = &mut blocks[COMMIT_AT..COMMIT_AT + BLOCK];
    commit[96..100].copy_from_slice(&root_crc.to_le_bytes());
    commit[100..104].copy_from_slice(&header_crc);
    wire::seal(commit, commit::CRC_AT).unwrap();
}

#[test]
fn reads_what_it_wrote() {
    for cipher in Cipher::ALL {
        let (superblock, blocks) = encrypted::image(cipher);
        let pages = encrypted::read(&superblock, &blocks, &USER_KEY);
        assert_eq!(pages, Ok(encrypted::pages()), "{cipher:?}");
        // Nothing of it is there in clear.
        for page in encrypted::pages().values() {
            assert!(!blocks.windows(16).any(|bytes| bytes == &page[64..80]));
        }
    }
}

#[test]
fn refuses_ten_thousand_flips() {
    for cipher in Cipher::ALL {
        let (superblock, blocks) = encrypted::image(cipher);
        let map = map(&superblock, &blocks);
        let parts = covered(&map);
        let total: usize = parts.iter().map(|part| part.len()).sum();
        let mut random = Random::new(0x0d0e_0f10_1112_1314);
        let mut resealed = 0;
        let mut hit = [0; 6];
        for _ in 0..FLIPS {
            // Each part as often as another, and each byte of a part.
            let number = random.below(parts.len());
            let part = &parts[number];
            let at = part.start + random.below(part.len());
            let bit = 1 << random.below(8);
            hit[number] += 1;
            let mut bad = blocks.clone();
            bad[at] ^= bit;
            let read = encrypted::read(&superblock, &bad, &USER_KEY);
            assert!(read.is_err(), "{cipher:?}: bit {bit} of byte {at}");
            reseal(&mut bad, &map);
            if bad != blocks {
                resealed += 1;
                let read = encrypted::read(&superblock, &bad, &USER_KEY);
                assert!(
                    read.is_err(),
                    "{cipher:?}: bit {bit} of byte {at}, resealed"
                );
            }
        }
        assert!(hit.iter().all(|&n| n > FLIPS / 10), "{hit:?} of {total}");
        assert!(resealed > FLIPS * 9 / 10, "{resealed}");
    }
}

#[test]
fn refuses_flips_of_the_superblock() {
    let (superblock, blocks) = encrypted::image(Cipher::AesGcm);
    for at in 0..superblock.len() {
        for bit in 0..8 {
            let mut bad = superblock.clone();
            bad[at] ^= 1 << bit;
            assert!(encrypted::read(&bad, &blocks, &USER_KEY).is_err());
        }
    }
}

#[test]
fn refuses_every_wrong_key() {
    let (superblock, blocks) = encrypted::image(Cipher::AesGcm);
    let refused = |key: &[u8]| {
        let read = encrypted::read(&superblock, &blocks, key);
        assert_eq!(read, Err(Error::BadTag), "{key:?}");
    };
    for at in 0..USER_KEY.len() {
        let mut key = USER_KEY;
        key[at] ^= 1;
        refused(&key);
    }
    refused(&[]);
    refused(&USER_KEY[1..]);
    refused(&[&USER_KEY[..], b"\0x"].concat());
}

// Frames that are good, elsewhere: swapped, moved to another number, of another image, left out.
#[test]
fn refuses_frames_out_of_place() {
    let (superblock, blocks) = encrypted::image(Cipher::AesGcm);
    let map = map(&superblock, &blocks);
    let at = map.chunks[0].block as usize * BLOCK;
    let used = map.chunks[0].used as usize;
    let (_, first) = Frame::decode(&blocks[at..at + used], &ID, 1).unwrap();
    let chunk = blocks[at..at + used].to_vec();
    let with = |chunk: &[u8]| {
        let mut bad = blocks.clone();
        bad[at..at + used].copy_from_slice(chunk);
        reseal(&mut bad, &map);
        encrypted::read(&superblock, &bad, &USER_KEY)
    };
    assert!(with(&chunk).is_ok());
    // The order in a chunk is free.
    let (a, b) = chunk.split_at(first);
    assert!(with(&[b, a].concat()).is_ok());
    // Two frames of the same length change their numbers, or their pages.
    for range in [24..32, 64..80] {
        let mut bad = chunk.clone();
        for i in range {
            bad.swap(i, first + i);
        }
        assert!(with(&bad).is_err());
    }
    // `applied` says that there was nothing to undo.
    let mut bad = chunk.clone();
    bad[9] = 0;
    assert!(with(&bad).is_err());
    // A chunk less, with a root that says so.
    let mut bad = blocks.clone();
    let mut commit = map.commit.clone();
    commit.chunks -= 1;
    let mut block = [0; BLOCK];
    commit.encode(&mut block).unwrap();
    bad[COMMIT_AT..COMMIT_AT + BLOCK].copy_from_slice(&block);
    reseal(&mut bad, &map);
    assert!(encrypted::read(&superblock, &bad, &USER_KEY).is_err());
    // Without a tag.
    let mut commit = map.commit.clone();
    commit.tag = [0; 64];
    commit.encode(&mut block).unwrap();
    bad.clone_from(&blocks);
    bad[COMMIT_AT..COMMIT_AT + BLOCK].copy_from_slice(&block);
    let read = encrypted::read(&superblock, &bad, &USER_KEY);
    assert_eq!(read, Err(Error::BadTag));
}

#[test]
fn header_without_its_encryptor() {
    let (superblock, mut blocks) = encrypted::image(Cipher::AesGcm);
    let plain = samples::header_with(&samples::FACTS, &[]).unwrap();
    blocks[HEADER_AT..HEADER_AT + plain.len()].copy_from_slice(&plain);
    blocks[HEADER_AT + plain.len()..HEADER_AT + header::AREA_BYTES].fill(0);
    assert!(Header::decode(&blocks[HEADER_AT..]).is_ok());
    assert!(encrypted::read(&superblock, &blocks, &USER_KEY).is_err());
}

// The published vectors of HKDF that have one block: RFC 5869, test case 1, first 32 bytes. The
// labels are ours, so only the first half can be compared.
#[test]
fn extracts_as_the_rfc_does() {
    let mut salt = [0; 32];
    salt[..13].copy_from_slice(&[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]);
    let mut out = [0; 32];
    // HMAC pads a short key with zeros, so a padded salt is the same salt.
    cipher::extract(&mut encrypted::RustHmac, &salt, &[0x0b; 22], &mut out).unwrap();
    let expected = [
        0x07, 0x77, 0x09, 0x36, 0x2c, 0x2e, 0x32, 0xdf, 0x0d, 0xdc, 0x3f, 0x0d, 0xc4, 0x7b, 0xba,
        0x63, 0x90, 0xb6, 0xc7, 0x3b, 0xb5, 0x0f, 0x9c, 0x31, 0x22, 0xec, 0x84, 0x4a, 0xd7, 0xc2,
        0xb3, 0xe5,
    ];
    assert_eq!(out, expected);
}

fn place(frame_no: u64) -> Place<'static> {
    Place {
        image_id: ID,
        frame_no,
        kind: Kind::Data,
        applied: 3,
        raw_len: 4096,
        extents: &[],
    }
}

#[test]
fn nonces_differ() {
    let mut seen = HashSet::from([cipher::wrap_nonce()]);
    let numbers = (0..4096).chain((0..64).map(|bit| 1 << bit));
    for number in numbers.collect::<HashSet<u64>>() {
        assert!(seen.insert(place(number).nonce()), "{number}");
    }
}

// What is bound to a frame is its header as it is stored, but for two fields.
#[test]
fn binds_the_header() {
    let mut bytes = samples::frame_with(5, &[(0x1000, 3), (0x2000, 1)], 1, b"anything at all");
    let (frame, _) = Frame::decode(&bytes, &ID, 2).unwrap();
    let mut bound = [0xee; FRAME_BOUND_MAX];
    let len = Place::of(ID, &frame).bound(&mut bound).unwrap();
    assert_eq!(len, 64 + 2 * 16);
    bytes[4..8].fill(0);
    bytes[16..20].fill(0);
    bytes[48..56].fill(0);
    assert_eq!(bound[..len], bytes[..len]);
    // Not even one byte less will do.
    assert!(place(0).bound(&mut [0; 63]).is_err());
}

#[test]
fn keys_have_a_type_and_a_name() {
    assert_eq!(
        parse_key("logon:dormouse:passphrase"),
        Ok((KeyType::Logon, "dormouse:passphrase"))
    );
    for t in KeyType::ALL {
        assert_eq!(parse_key(&format!("{}:x", t.name())), Ok((t, "x")));
    }
    for bad in [
        "",
        "logon",
        "logon:",
        "user:a\nb",
        "big_key:x",
        ":x",
        "LOGON:x",
    ] {
        assert_eq!(parse_key(bad), Err(Error::BadText), "{bad:?}");
    }
    assert!(parse_key(&format!("user:{}", "x".repeat(256))).is_err());
    assert!(is_hint("") && is_hint(&"h".repeat(HINT_MAX)));
    assert!(!is_hint("a\tb") && !is_hint(&"h".repeat(HINT_MAX + 1)));
}

#[test]
fn parameters_say_which_key() {
    let (bytes, _) = encrypted::parameters(&USER_KEY, Cipher::AesGcm);
    let p = Params::decode(&bytes).unwrap();
    assert_eq!(
        (p.key_type, p.description),
        (KeyType::Logon, "dormouse:passphrase")
    );
    assert!(Keys::open(&USER_KEY, "aes-gcm", &bytes).is_ok());
    // The other cipher has another key from them.
    assert!(Keys::open(&USER_KEY, "chacha20-poly1305", &bytes).is_err());
    for at in 0..bytes.len() {
        let mut bad = bytes.clone();
        bad[at] ^= 4;
        assert!(Keys::open(&USER_KEY, "aes-gcm", &bad).is_err(), "byte {at}");
        assert!(Params::decode(&bytes[..at]).is_err());
    }
    assert!(Params::decode(&[&bytes[..], b"x"].concat()).is_err());
}

proptest! {
    #[test]
    fn parameters_come_back(
        which in 0usize..4,
        description in "[ -~]{1,255}",
        hint in "[ -~]{0,256}",
        salt: [u8; 32],
        seed: u8,
    ) {
        let p = Params {
            key_type: KeyType::ALL[which],
            description: &description,
            hint: &hint,
            salt,
            wrapped: [seed; 48],
        };
        let mut out = [0; 1024];
        let len = p.encode(&mut out).unwrap();
        prop_assert_eq!(Params::decode(&out[..len]), Ok(p));
    }
}
