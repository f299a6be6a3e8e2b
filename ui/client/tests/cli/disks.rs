// SPDX-License-Identifier: GPL-2.0

//! Devices with images on them, made of the samples that the format is tested with.

use std::fs;

use dormouse_host::blockmap::codec::{self, Device};
use dormouse_host::blockmap::{BlockMap, MapEntry};
use dormouse_host::encrypted::{self, Cipher};
use dormouse_host::image::header::{Bystander, Header};
use dormouse_host::image::superblock::{Superblock, BYTES};
use dormouse_host::image::{ImageId, BLOCK};
use dormouse_host::netblock::mark;
use dormouse_host::samples;

use crate::page::{self, Label, Seal};
use crate::sector::{self, Record, Role};

/// Identity of every block map here.
const MAP: ImageId = ImageId(*b"identity of map.");
const FILE: ImageId = ImageId(*b"identity of file");
const UUIDS: [[u8; 16]; 2] = [*b"first swap area.", *b"second swap area"];

/// Blocks of every device.
const BLOCKS: usize = 256;
/// Where the block map begins.
const CHAIN: u64 = 100;
/// Where the image begins on each device.
const AT: u64 = 110;

/// A file of the golden image.
fn golden(name: &str) -> Vec<u8> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/vectors/v1/");
    fs::read(format!("{folder}{name}")).unwrap()
}

fn superblock_of(bytes: &[u8]) -> Superblock {
    Superblock::decode(bytes).unwrap().unwrap()
}

/// The bytes of a superblock.
pub fn encoded(superblock: &Superblock) -> [u8; BYTES] {
    let mut bytes = [0; BYTES];
    superblock.encode(&mut bytes).unwrap();
    bytes
}

fn put(device: &mut [u8], block: u64, bytes: &[u8]) {
    let at = block as usize * BLOCK;
    device[at..at + bytes.len()].copy_from_slice(bytes);
}

/// An export with an image.
fn export(superblock: &[u8], blocks: &[u8]) -> Vec<u8> {
    let mut device = vec![0; BLOCKS * BLOCK];
    let sb = encoded(&superblock_of(superblock));
    let first = mark::encode(&sb, true, device.len() as u64).unwrap();
    put(&mut device, 0, &first);
    put(&mut device, mark::FIRST_BLOCK, blocks);
    device
}

/// An export with the golden image, whose transforms have no parameters.
pub fn golden_export() -> Vec<u8> {
    export(&golden("superblock.bin"), &golden("image.bin"))
}

/// An export with an encrypted image.
pub fn encrypted_export(cipher: Cipher) -> Vec<u8> {
    let (superblock, blocks) = encrypted::image(cipher);
    export(&superblock, &blocks)
}

/// The same, whose key is made as `hint` says.
pub fn hinted_export(hint: &str) -> Vec<u8> {
    let (superblock, blocks) = encrypted::image_with(Cipher::AesGcm, &[7; 32], hint);
    export(&superblock, &blocks)
}

/// Where in an export a frame has encrypted contents.
pub fn frame_at() -> usize {
    // Behind header and commit record.
    (mark::FIRST_BLOCK as usize + 17) * BLOCK + 200
}

/// The header page of a swap area, as `mkswap` makes it but for its padding.
fn header_page(number: usize) -> Vec<u8> {
    let mut page = vec![0; BLOCK];
    page[1024] = 1;
    page[1036..1052].copy_from_slice(&UUIDS[number]);
    page
}

/// What is in the last sector of a header while there is no image: something in its padding.
pub fn padded() -> sector::Sector {
    let mut sector = sector::plain();
    sector[10..14].copy_from_slice(b"kept");
    sector
}

fn chain(
    map: &BlockMap<Vec<MapEntry>>,
    device: &mut [u8],
    first: u64,
    header_at: u64,
    uuids: &[[u8; 16]],
) {
    let devices: Vec<Device<'_>> = uuids
        .iter()
        .zip(["/dev/first", "/dev/second"])
        .map(|(uuid, label)| Device {
            uuid: *uuid,
            blocks: BLOCKS as u64,
            major: 4000,
            minor: 77,
            signature_block: header_at,
            private: 0,
            label,
        })
        .collect();
    let mut block = [0; BLOCK];
    codec::encode_devices(&mut block, &MAP, &devices, first + 1, map.total()).unwrap();
    put(device, first, &block);
    codec::encode_entries(&mut block, &MAP, map, 1, 0).unwrap();
    put(device, first + 1, &block);
}

/// Two swap areas that share an encrypted image. The sector of the first one was not empty.
pub fn swap_areas() -> [Vec<u8>; 2] {
    let (superblock, blocks) = encrypted::image(Cipher::AesGcm);
    let mut areas = [vec![0; BLOCKS * BLOCK], vec![0; BLOCKS * BLOCK]];
    let mut map = BlockMap::new(vec![MapEntry::default(); blocks.len() / BLOCK]);
    for (number, block) in blocks.chunks(BLOCK).enumerate() {
        // Seven blocks here, seven there.
        let device = number / 7 % 2;
        let at = AT + (number / 14 * 7 + number % 7) as u64;
        map.append(device as u32, at, 1).unwrap();
        put(&mut areas[device], at, block);
    }
    chain(&map, &mut areas[0], CHAIN, 0, &UUIDS);
    let mut sb = superblock_of(&superblock);
    sb.storage_word0 = CHAIN;
    sb.storage_private[..16].copy_from_slice(&MAP.0);
    let keep = CHAIN + 3;
    let mut kept = [0; BLOCK];
    sector::encode_keep(&mut kept, &MAP, &padded()).unwrap();
    put(&mut areas[0], keep, &kept);
    for (number, (role, keep)) in [(Role::Primary, keep), (Role::Member, 0)]
        .into_iter()
        .enumerate()
    {
        let record = Record {
            role,
            map: MAP,
            keep,
            primary: (4000, 77),
        };
        let bytes = match role {
            Role::Primary => encoded(&sb),
            Role::Member | Role::Bystander => [0; BYTES],
        };
        let mut page = header_page(number);
        page[sector::SECTOR_AT..].copy_from_slice(&sector::encode(&bytes, &record, true).unwrap());
        put(&mut areas[number], 0, &page);
    }
    areas
}

/// An export with the golden image, which lists a bystander here, and that.
pub fn export_and_bystander() -> [Vec<u8>; 2] {
    let area = Bystander {
        uuid: UUIDS[1],
        block: 3,
        device: (4000, 77),
        ..samples::BYSTANDER
    };
    let transforms = &samples::TRANSFORMS;
    let header = samples::header_lists(&samples::FACTS, transforms, &[], &[area]).unwrap();
    let mut commit = samples::commit();
    commit.header_crc = Header::decode(&header).unwrap().crc;
    let mut record = [0; BLOCK];
    commit.encode(&mut record).unwrap();
    let mut blocks = samples::image_bytes();
    put(&mut blocks, samples::HEADER_BLOCK, &[0; BLOCK]);
    put(&mut blocks, samples::HEADER_BLOCK, &header);
    put(&mut blocks, samples::COMMIT_BLOCK, &record);

    let mut page = header_page(1);
    let mark = Record {
        role: Role::Bystander,
        map: samples::ID,
        keep: 0,
        primary: (0, 0),
    };
    page[sector::SECTOR_AT..].copy_from_slice(&sector::encode(&[0; BYTES], &mark, true).unwrap());
    let mut bystander = vec![0; 8 * BLOCK];
    put(&mut bystander, 3, &page);
    [export(&samples::superblock_bytes(), &blocks), bystander]
}

/// Block of the file on [`file_device`].
pub const FILE_BLOCK: u64 = 5;

/// A device whose filesystem has a file with an encrypted image.
pub fn file_device() -> Vec<u8> {
    let (superblock, blocks) = encrypted::image(Cipher::ChaCha20Poly1305);
    let mut device = vec![0; BLOCKS * BLOCK];
    let mut map = BlockMap::new(vec![MapEntry::default(); 4]);
    map.append(0, AT, (blocks.len() / BLOCK) as u32).unwrap();
    put(&mut device, AT, &blocks);
    chain(&map, &mut device, FILE_BLOCK + 1, FILE_BLOCK, &UUIDS[..1]);
    let mut sb = superblock_of(&superblock);
    sb.storage_word0 = FILE_BLOCK + 1;
    sb.storage_private[..16].copy_from_slice(&MAP.0);
    sb.storage_private[16..32].copy_from_slice(&FILE.0);
    let label = Label {
        file: FILE,
        uuid: UUIDS[0],
        block: FILE_BLOCK,
        blocks: 200,
    };
    let seal = Seal {
        file: FILE,
        fingerprint: 42,
    };
    let mut first = vec![0; BLOCK];
    first[..page::SECTOR].copy_from_slice(&page::encode_label(&label).unwrap());
    first[page::STATE_AT..].copy_from_slice(&page::encode_state(&encoded(&sb), &seal).unwrap());
    put(&mut device, FILE_BLOCK, &first);
    device
}
