// SPDX-License-Identifier: GPL-2.0

//! What each corpus begins with.

use super::nbd;
use crate::image::frame::{Frame, Kind};
use crate::image::{superblock, BLOCK};
use crate::netblock::mark;
use crate::{encrypted, hostile, samples};

/// The sample image as an export.
fn export() -> Vec<u8> {
    let first = mark::FIRST_BLOCK as usize * BLOCK;
    let blocks = samples::image_bytes();
    let mut device = vec![0; first];
    let sb = samples::superblock_bytes();
    let sb = sb.first_chunk().expect("a superblock");
    let sector = mark::encode(sb, true, (first + blocks.len()) as u64);
    let sector = sector.expect("a sample");
    device[..sector.len()].copy_from_slice(&sector);
    device.extend(blocks);
    device
}

/// Returns a valid input of each target, which its corpus begins with.
pub fn seeds() -> Vec<(&'static str, &'static str, Vec<u8>)> {
    let mut commit_root = samples::commit_bytes();
    commit_root.extend(samples::root_bytes());
    let mut image = samples::superblock_bytes();
    image.extend(samples::image_bytes());
    let index = samples::index_frame_bytes();
    let (index_frame, _) = Frame::decode(&index, &samples::ID, 0).expect("a sample");
    assert_eq!(index_frame.kind, Kind::Index);
    let two = [samples::MOUNTED; 2];
    let mounted = samples::header_mounted(&samples::FACTS, &samples::TRANSFORMS, &two);
    let mounted = mounted.expect("a sample");
    let mut seeds = vec![
        ("superblock", "committed", samples::superblock_bytes()),
        ("superblock", "foreign", vec![0; superblock::BYTES]),
        ("header", "two-transforms", samples::header_bytes()),
        ("header", "two-filesystems", mounted),
        ("header", "two-lists", samples::header_lists_bytes()),
        ("frame", "data", samples::data_frame_bytes()),
        ("frame", "index", index.clone()),
        ("frame", "chunk", samples::data_chunk_bytes()),
        ("index", "mixed", index_frame.payload.to_vec()),
        ("commit_root", "two-chunks", commit_root),
        (
            "blockmap",
            "short",
            samples::map_blocks(&samples::block_map(3)).concat(),
        ),
        (
            "blockmap",
            "long",
            samples::map_blocks(&samples::block_map(300)).concat(),
        ),
        ("image", "small", image),
        ("verify", "export", export()),
        ("nbd", "structured", nbd::session(true)),
        ("nbd", "simple", nbd::session(false)),
        (
            "params",
            "logon",
            encrypted::parameters(&encrypted::USER_KEY, encrypted::Cipher::AesGcm).0,
        ),
    ];
    let texts = [
        ("auto", "auto\n"),
        ("device", "/dev/vda2"),
        ("number", "254:2:34816"),
        ("uuid", "UUID=0a1b2c3d-0001-0002-0003-0123456789ab"),
        ("file", "file:/var/lib/dormouse.img"),
        ("nbd", "nbd://192.0.2.1:10809/export"),
        ("nbd6", "nbd://[2001:db8::1]/swap"),
        ("size", "512M"),
    ];
    let hostile = hostile::ALL
        .iter()
        .filter_map(|sort| Some((sort.seed?, sort.make)));
    seeds.extend(hostile.map(|(name, make)| ("verify", name, make(hostile::SEED_BYTES))));
    seeds.extend(texts.map(|(name, text)| ("target", name, text.into())));
    seeds
}
