// SPDX-License-Identifier: GPL-2.0

//! The pure parts of the file module: the first page of a file.

#![forbid(unsafe_code)]

use dormouse_host::image;

#[path = "../../../modules/file/page.rs"]
mod page;

use image::superblock::{State, Superblock, BYTES};
use image::{Error, ImageId, BLOCK};
use page::{Label, Seal, Sector, SECTOR, STATE_AT};
use proptest::prelude::*;

const FILE: ImageId = ImageId(*b"fedcba9876543210");

fn label() -> Label {
    Label {
        file: FILE,
        uuid: [7; 16],
        block: 34816,
        blocks: 65536,
    }
}

fn state() -> Sector {
    let mut sb = Superblock::new();
    sb.advance(State::Writing).unwrap();
    let mut bytes = [0; BYTES];
    sb.encode(&mut bytes).unwrap();
    let seal = Seal {
        file: FILE,
        fingerprint: 0x1234_5678,
    };
    page::encode_state(&bytes, &seal).unwrap()
}

#[test]
fn labels_come_back() {
    let sector = page::encode_label(&label()).unwrap();
    assert_eq!(page::decode_label(&sector), Ok(label()));
    assert!(sector.starts_with(b"DORMOUSE-FILE-1\n"));
    // As documented.
    assert_eq!(sector[16..20], 1u32.to_le_bytes());
    assert_eq!(sector[24..40], FILE.0);
    assert_eq!(sector[40..56], [7; 16]);
    assert_eq!(sector[56..64], 34816u64.to_le_bytes());
    assert_eq!(sector[64..72], 65536u64.to_le_bytes());
}

#[test]
fn states_come_back() {
    let sector = state();
    let sb = Superblock::decode(page::superblock(&sector).unwrap()).unwrap();
    assert_eq!(sb.unwrap().state, State::Writing);
    let seal = page::decode_seal(&sector).unwrap();
    assert_eq!((seal.file, seal.fingerprint), (FILE, 0x1234_5678));
    assert_eq!(sector[448..456], *b"DMFISEAL");
    assert_eq!(sector[464..480], FILE.0);
    assert_eq!(sector[480..484], 0x1234_5678u32.to_le_bytes());
}

#[test]
fn a_new_page_is_ours_and_empty() {
    let mut bytes = [0xff; BLOCK];
    page::new_page(&mut bytes, FILE, 99).unwrap();
    let found = page::decode_label(&bytes).unwrap();
    assert_eq!((found.file, found.blocks, found.block), (FILE, 99, 0));
    assert!(bytes[SECTOR..STATE_AT].iter().all(|&b| b == 0));
    let sector: &Sector = bytes[STATE_AT..].try_into().unwrap();
    assert_eq!(page::decode_seal(sector).unwrap().file, FILE);
    assert_eq!(
        Superblock::decode(page::superblock(sector).unwrap()),
        Ok(None)
    );
}

#[test]
fn every_flipped_bit_is_seen() {
    let (label, state) = (page::encode_label(&label()).unwrap(), state());
    for bit in 0..SECTOR * 8 {
        let mut changed = label;
        changed[bit / 8] ^= 1 << (bit % 8);
        assert!(page::decode_label(&changed).is_err(), "bit {bit}");
        let mut changed = state;
        changed[bit / 8] ^= 1 << (bit % 8);
        let sb = Superblock::decode(page::superblock(&changed).unwrap());
        let seen = page::decode_seal(&changed).is_err() || !matches!(sb, Ok(Some(_)));
        assert!(seen, "bit {bit} of the state");
    }
}

#[test]
fn other_pages_are_not_ours() {
    assert_eq!(page::decode_label(&[0; BLOCK]), Err(Error::BadMagic));
    assert_eq!(page::decode_label(&[0; 100]), Err(Error::Truncated));
    let mut newer = page::encode_label(&label()).unwrap();
    newer[16] = 2;
    assert_eq!(page::decode_label(&newer), Err(Error::UnknownVersion));
}

proptest! {
    #[test]
    fn labels_of_any_contents(
        file: [u8; 16], uuid: [u8; 16], block: u64, blocks: u64, rest: Vec<u8>,
    ) {
        let label = Label { file: ImageId(file), uuid, block, blocks };
        let mut bytes = page::encode_label(&label).unwrap().to_vec();
        bytes.extend(rest);
        prop_assert_eq!(page::decode_label(&bytes), Ok(label));
    }

    #[test]
    fn any_bytes_are_read_without_a_panic(bytes: Vec<u8>, first: [u8; 32], at in 0..SECTOR - 32) {
        let _ = page::decode_label(&bytes);
        let mut sector = state();
        sector[at..at + 32].copy_from_slice(&first);
        let _ = page::decode_seal(&sector);
    }
}
