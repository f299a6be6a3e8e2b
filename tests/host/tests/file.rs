// SPDX-License-Identifier: GPL-2.0

//! The pure parts of the file module: the first page of a file, and what is told of a filesystem
//! that is not mounted.

#![forbid(unsafe_code)]

use dormouse_host::image;

#[path = "../../../modules/file/fs.rs"]
mod fs;
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

fn ext4() -> [u8; BLOCK] {
    let mut block = [0; BLOCK];
    block[1024 + 44..1024 + 48].copy_from_slice(&1_700_000_000u32.to_le_bytes());
    block[1024 + 52..1024 + 54].copy_from_slice(&3u16.to_le_bytes());
    block[1024 + 56..1024 + 58].copy_from_slice(&0xef53u16.to_le_bytes());
    block[1024 + 96..1024 + 100].copy_from_slice(&0x2c6u32.to_le_bytes());
    block[1024 + 104..1024 + 120].copy_from_slice(&[4; 16]);
    block
}

#[test]
fn a_mount_of_ext4_is_seen_and_nothing_else() {
    let zeros = [0; BLOCK];
    let before = fs::identify(&ext4(), &zeros).unwrap();
    assert_eq!((before.uuid, before.devices), ([4; 16], 1));
    // Time and number of mounts, and the journal that is empty again.
    for at in [44, 52, 96] {
        let mut after = ext4();
        after[1024 + at] ^= 4;
        let after = fs::identify(&after, &zeros).unwrap();
        assert_ne!(after.fingerprint, before.fingerprint, "byte {at}");
    }
    // Time of the last write, and free blocks, change while it is mounted.
    for at in [12, 48] {
        let mut same = ext4();
        same[1024 + at] ^= 4;
        assert_eq!(fs::identify(&same, &zeros), Some(before), "byte {at}");
    }
}

#[test]
fn xfs_and_btrfs_are_told_apart() {
    assert_eq!(fs::PLACES, [0, 65536 / BLOCK as u64]);
    let zeros = [0; BLOCK];
    let mut xfs = [0; BLOCK];
    xfs[..4].copy_from_slice(b"XFSB");
    xfs[32..48].copy_from_slice(&[5; 16]);
    let found = fs::identify(&xfs, &zeros).unwrap();
    assert_eq!((found.uuid, found.devices), ([5; 16], 1));
    xfs[1000] = 1;
    let later = fs::identify(&xfs, &zeros).unwrap();
    assert_ne!(later.fingerprint, found.fingerprint);

    let mut btrfs = [0; BLOCK];
    btrfs[64..72].copy_from_slice(b"_BHRfS_M");
    btrfs[32..48].copy_from_slice(&[6; 16]);
    btrfs[136] = 2;
    let found = fs::identify(&zeros, &btrfs).unwrap();
    assert_eq!((found.uuid, found.devices), ([6; 16], 2));
    btrfs[72] = 9;
    let later = fs::identify(&zeros, &btrfs).unwrap();
    assert_ne!(later.fingerprint, found.fingerprint);
    // What btrfs left behind counts for nothing on a newer ext4.
    assert_eq!(fs::identify(&ext4(), &btrfs).unwrap().uuid, [4; 16]);
    assert_eq!(fs::identify(&zeros, &zeros), None);
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
    fn any_bytes_are_read_without_a_panic(bytes: Vec<u8>, first: [u8; 32], at in 0..BLOCK - 32) {
        let _ = page::decode_label(&bytes);
        let mut block = ext4();
        block[at..at + 32].copy_from_slice(&first);
        let _ = fs::identify(&block, &block);
        let _ = page::decode_seal(block.first_chunk().unwrap());
    }
}
