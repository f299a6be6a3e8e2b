// SPDX-License-Identifier: GPL-2.0

//! What an export looks like.

use dormouse_host::image::superblock::{Superblock, BYTES};
use dormouse_host::image::BLOCK;
use dormouse_host::netblock::mark::{blocks, decode, encode, superblock, Found, SECTOR};

const SIZE: u64 = 1 << 30;

fn block(image: bool) -> Vec<u8> {
    let mut bytes = [0; BYTES];
    Superblock::new().encode(&mut bytes).unwrap();
    let mut block = vec![0; BLOCK];
    block[..SECTOR].copy_from_slice(&encode(&bytes, image, SIZE).unwrap());
    block
}

#[test]
fn layout() {
    let block = block(true);
    assert_eq!(&block[..8], b"DORMOUSE");
    assert_eq!(&block[448..460], b"DMNB\x01\0\0\0\x01\0\0\0");
    assert_eq!(block[464..472], SIZE.to_le_bytes());
    assert!(block[472..508].iter().all(|&b| b == 0));
    assert_eq!(superblock(&block).unwrap()[..], block[..BYTES]);
    assert_eq!(superblock(&block[..100]), None);
}

#[test]
fn round_trip() {
    for image in [false, true] {
        assert_eq!(decode(&block(image)), Found::Ours { image, size: SIZE });
    }
}

#[test]
fn every_flip_of_the_record_is_seen() {
    for bit in BYTES * 8..SECTOR * 8 {
        let mut bad = block(true);
        bad[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(decode(&bad), Found::Foreign, "bit {bit}");
    }
}

#[test]
fn sealed_nonsense_is_foreign() {
    for (at, value) in [(0, b'X'), (4, 2), (8, 2), (12, 1), (24, 1), (59, 1)] {
        let mut bad = block(true);
        bad[BYTES + at] = value;
        dormouse_host::image::wire::seal(&mut bad[BYTES..SECTOR], 60).unwrap();
        assert_eq!(decode(&bad), Found::Foreign, "{at}");
    }
}

#[test]
fn others_are_foreign() {
    assert_eq!(decode(&vec![0; BLOCK]), Found::Blank);
    // The last byte of a block counts, too.
    let mut boot = vec![0; BLOCK];
    boot[BLOCK - 1] = 1;
    assert_eq!(decode(&boot), Found::Foreign);
    // Cut off before the end of the record.
    assert_eq!(decode(&block(true)[..SECTOR - 1]), Found::Foreign);
}

#[test]
fn room() {
    assert_eq!(blocks(0), 0);
    assert_eq!(blocks(65536), 0);
    assert_eq!(blocks(65536 + 4096), 1);
    assert_eq!(blocks(65536 + 3 * 4096 - 1), 2);
    assert_eq!(blocks(u64::MAX), (1 << 52) - 17);
}
