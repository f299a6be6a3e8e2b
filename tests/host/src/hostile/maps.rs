// SPDX-License-Identifier: GPL-2.0

//! Swap areas whose block maps say too much.

use super::chunks::encoded;
use crate::blockmap::codec::{self, Device};
use crate::blockmap::{BlockMap, MapEntry};
use crate::image::{ImageId, BLOCK};
use crate::netblock::mark;
use crate::samples;
use crate::sector::{self, Record, Role};

const MAP: ImageId = ImageId(*b"identity of map.");
const UUID: [u8; 16] = *b"first swap area.";

/// The first block of the area, whose map begins in block `chain`.
fn header(chain: u64) -> Vec<u8> {
    let mut out = vec![0; BLOCK];
    out[1024] = 1;
    out[1036..1052].copy_from_slice(&UUID);
    let mut sb = samples::superblock();
    sb.storage_word0 = chain;
    sb.storage_private[..16].copy_from_slice(&MAP.0);
    let record = Record {
        role: Role::Primary,
        map: MAP,
        keep: 0,
        primary: (4000, 77),
    };
    let last = sector::encode(&encoded(&sb), &record, true).expect("possible");
    out[sector::SECTOR_AT..].copy_from_slice(&last);
    out
}

/// The blocks of `map` from block `chain` on, one behind the other. They say that the area is large.
fn blocks(map: &BlockMap<Vec<MapEntry>>, chain: u64) -> Vec<u8> {
    let device = Device {
        uuid: UUID,
        blocks: 1 << 40,
        major: 4000,
        minor: 77,
        signature_block: 0,
        private: 0,
        label: "/dev/first",
    };
    let mut block = [0; BLOCK];
    codec::encode_devices(&mut block, &MAP, &[device], chain + 1, map.total()).expect("possible");
    let mut out = block.to_vec();
    let count = map.entries().len().div_ceil(codec::ENTRIES_PER_BLOCK) as u32;
    for number in 1..=count {
        let next = if number == count {
            0
        } else {
            chain + u64::from(number) + 1
        };
        codec::encode_entries(&mut block, &MAP, map, number, next).expect("possible");
        out.extend(block);
    }
    out
}

/// An area full of map blocks.
pub(super) fn here_and_there(size: usize) -> Vec<u8> {
    let room = (size / BLOCK - 2) * codec::ENTRIES_PER_BLOCK;
    let mut map = BlockMap::new(vec![MapEntry::default(); room]);
    while map.append(0, 2 * map.total(), 1).is_ok() {}
    let mut out = header(1);
    out.extend(blocks(&map, 1));
    out
}

/// An area with the image of `export`. Its map has more blocks than those, which the area does not
/// have and nobody reads.
pub(super) fn beside_nothing(export: Vec<u8>) -> Vec<u8> {
    let image = (export.len() / BLOCK) as u64 - mark::FIRST_BLOCK;
    let mut map = BlockMap::new(vec![MapEntry::default(); 2]);
    map.append(0, mark::FIRST_BLOCK, image as u32)
        .expect("possible");
    map.append(0, 1 << 30, u32::MAX).expect("possible");
    // In front of the image there is room.
    let mut front = header(1);
    front.extend(blocks(&map, 1));
    let mut out = export;
    out[..front.len()].copy_from_slice(&front);
    out
}
