// SPDX-License-Identifier: GPL-2.0

//! Every bit of every part, flipped: an error or none of ours, never another valid value.

use dormouse_host::image::commit::Commit;
use dormouse_host::image::frame::{frames, Frame};
use dormouse_host::image::header::Header;
use dormouse_host::image::superblock::{Superblock, MAGIC};
use dormouse_host::image::{wire, BLOCK};
use dormouse_host::reader;
use dormouse_host::samples::{self, ID};

// Calls `check` with every flip of `bytes`, and where it is.
fn flip_each(bytes: &[u8], mut check: impl FnMut(&[u8], usize)) {
    let mut flipped = bytes.to_vec();
    for at in 0..bytes.len() {
        for bit in 0..8 {
            flipped[at] ^= 1 << bit;
            check(&flipped, at);
            flipped[at] ^= 1 << bit;
        }
    }
}

#[test]
fn superblock() {
    let bytes = samples::superblock_bytes();
    assert!(Superblock::decode(&bytes).unwrap().is_some());
    flip_each(&bytes, |flipped, at| match Superblock::decode(flipped) {
        Ok(None) => assert!(at < MAGIC.len(), "byte {at} is not of the magic number"),
        Ok(Some(_)) => panic!("byte {at} does not count"),
        Err(_) => assert!(at >= MAGIC.len()),
    });
}

#[test]
fn header() {
    let bytes = samples::header_bytes();
    assert!(Header::decode(&bytes).is_ok());
    flip_each(&bytes, |flipped, at| {
        assert!(Header::decode(flipped).is_err(), "byte {at}");
    });
}

#[test]
fn index_frame() {
    let bytes = samples::index_frame_bytes();
    assert!(Frame::decode(&bytes, &ID, 2).is_ok());
    flip_each(&bytes, |flipped, at| {
        assert!(Frame::decode(flipped, &ID, 2).is_err(), "byte {at}");
    });
}

#[test]
fn data_frame() {
    // With a tail of padding.
    let bytes = samples::data_frame_bytes();
    assert!(Frame::decode(&bytes, &ID, 2).is_ok());
    flip_each(&bytes, |flipped, at| {
        assert!(Frame::decode(flipped, &ID, 2).is_err(), "byte {at}");
    });
    // A whole page, stored as it is, and a frame behind it.
    let mut chunk = samples::frame_with(0, &[(7, 1)], 0, &samples::page(7));
    chunk.extend(&bytes);
    let good = |chunk: &[u8]| frames(chunk, &ID, 2).all(|frame| frame.is_ok());
    assert!(good(&chunk));
    flip_each(&chunk, |flipped, at| assert!(!good(flipped), "byte {at}"));
}

#[test]
fn commit_and_root() {
    let bytes = samples::commit_bytes();
    assert!(Commit::decode(&bytes).is_ok());
    flip_each(&bytes, |flipped, at| {
        assert!(Commit::decode(flipped).is_err(), "byte {at}");
    });
    let root = samples::root_bytes();
    let commit = Commit::decode(&bytes).unwrap();
    assert_eq!(wire::crc(&root), commit.root_crc);
    flip_each(&root, |flipped, at| {
        assert_ne!(wire::crc(flipped), commit.root_crc, "byte {at}");
    });
}

// One flip at a time, in every byte of a whole image; what no part covers may be flipped.
#[test]
fn whole_image() {
    let superblock = samples::superblock_bytes();
    let mut blocks = samples::image_bytes();
    let good = reader::read(&superblock, &blocks).unwrap().unwrap();
    assert_eq!(good.page_count(), good.commit.image_pages);

    let used = |block: u64, part: Vec<u8>| {
        let start = block as usize * BLOCK;
        start..start + part.len()
    };
    let root = samples::commit().root_block;
    let covered = [
        used(samples::HEADER_BLOCK, samples::header_bytes()),
        used(samples::COMMIT_BLOCK, samples::commit_bytes()),
        used(samples::DATA_BLOCK, samples::data_chunk_bytes()),
        used(samples::INDEX_BLOCK, samples::index_frame_bytes()),
        used(root, samples::root_bytes()),
    ];
    for at in 0..blocks.len() {
        let bit = at % 8;
        blocks[at] ^= 1 << bit;
        let read = reader::read(&superblock, &blocks);
        if covered.iter().any(|part| part.contains(&at)) {
            assert!(read.is_err(), "byte {at}");
        } else {
            assert_eq!(read, Ok(Some(good.clone())), "byte {at}");
        }
        blocks[at] ^= 1 << bit;
    }
}

// An image that was cut short, as by a power failure.
#[test]
fn truncated_image() {
    let superblock = samples::superblock_bytes();
    let blocks = samples::image_bytes();
    for len in (0..samples::IMAGE_BLOCKS).map(|b| b * BLOCK) {
        assert!(reader::read(&superblock, &blocks[..len]).is_err(), "{len}");
        // The rest reads as zeros, or as what was there before.
        for rest in [0, 0xa5] {
            let mut torn = blocks.clone();
            torn[len..].fill(rest);
            assert!(reader::read(&superblock, &torn).is_err(), "{len}");
        }
    }
}
