// SPDX-License-Identifier: GPL-2.0

//! What is told of a filesystem that is not mounted.

use dormouse_host::image::filesystem::{self as fs, Uuid};
use dormouse_host::image::BLOCK;
use proptest::prelude::*;

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

#[test]
fn a_uuid_is_shown_as_others_show_it() {
    let bytes: Vec<u8> = (0..16).map(|i| i * 17).collect();
    assert_eq!(
        Uuid(bytes.try_into().unwrap()).to_string(),
        "00112233-4455-6677-8899-aabbccddeeff"
    );
}

proptest! {
    #[test]
    fn any_bytes_are_read_without_a_panic(part: [u8; 32], at in 0..BLOCK - 32) {
        let mut block = ext4();
        block[at..at + 32].copy_from_slice(&part);
        let _ = fs::identify(&block, &block);
    }
}
