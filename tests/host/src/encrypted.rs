// SPDX-License-Identifier: GPL-2.0

//! Encrypted images, written and read with the pure code of the kernel and with ciphers that have
//! nothing in common with the kernel's.

use std::collections::BTreeMap;

use dormouse_image::keys::wrapping_key;
pub use dormouse_image::keys::{Cipher, Keys, RustHmac};
use dormouse_image::open::Opened;
use dormouse_image::undo::Undo;

use crate::image::cipher::params::{KeyType, Params, SALT_BYTES, WRAPPED_BYTES};
use crate::image::cipher::{self, Place, KEY_BYTES, TAG_BYTES};
use crate::image::commit::{self, Commit};
use crate::image::frame::{self, FrameWriter, Kind};
use crate::image::header::{self, HeaderBuilder, Transform, TransformKind};
use crate::image::index::{Entry, IndexWriter, Source};
use crate::image::root::{self, Chunk};
use crate::image::superblock::Superblock;
use crate::image::{wire, Error, Result, BLOCK, PAGE};
use crate::reader::{each_frame, error_of};
use crate::samples::{self, page, COMMIT_BLOCK, FACTS, HEADER_BLOCK, ID};

/// Makes a frame of the sample.
fn frame(keys: &Keys, frame_no: u64, kind: Kind, pages: &[(u64, u32)], plain: &[u8]) -> Vec<u8> {
    let mut out = vec![0xee; frame::worst_case(plain.len() + TAG_BYTES)];
    let mut writer = FrameWriter::begin(&mut out, kind, frame_no, &ID).expect("room");
    for &(pfn, count) in pages {
        writer.add_extent(pfn, count).expect("a sample");
    }
    let (extents, payload) = writer.split();
    let place = Place {
        image_id: ID,
        frame_no,
        kind,
        applied: 1,
        raw_len: plain.len() as u32,
        extents,
    };
    let stored = keys.encrypt(&place, plain).expect("a sample");
    payload[..stored.len()].copy_from_slice(&stored);
    let len = writer.finish(1, plain.len() as u32, stored.len() as u32);
    out.truncate(len.expect("a sample"));
    out
}

/// Key of the user that the sample is made with.
pub const USER_KEY: [u8; 32] = *b"a key that user space has made..";

/// Hint of the sample, which says nothing to anybody.
const HINT: &str = "$argon2id$v=19$m=65536,t=3,p=1$c29tZXNhbHQ";

/// Makes the parameters of the sample, and the keys that are in them.
pub fn parameters(user_key: &[u8], cipher: Cipher) -> (Vec<u8>, Keys) {
    parameters_with(user_key, cipher, HINT)
}

fn parameters_with(user_key: &[u8], cipher: Cipher, hint: &str) -> (Vec<u8>, Keys) {
    // Made of nothing random, so that the sample is the same everywhere.
    let (salt, data_key) = ([0x5a; SALT_BYTES], [0xa5; KEY_BYTES]);
    let mut p = Params {
        key_type: KeyType::Logon,
        description: "dormouse:passphrase",
        hint,
        salt,
        wrapped: [0; WRAPPED_BYTES],
    };
    let mut bound = [0; cipher::params::BOUND_MAX];
    let len = p.bound(cipher.name(), &mut bound).expect("a sample");
    let key = wrapping_key(user_key, &salt, cipher).expect("any key will do");
    let wrapped = cipher.encrypt(&key, &cipher::wrap_nonce(), &bound[..len], &data_key);
    let wrapped = wrapped.expect("short enough");
    p.wrapped.copy_from_slice(&wrapped);
    let mut out = vec![0; header::PARAMS_MAX];
    let len = p.encode(&mut out).expect("a sample");
    out.truncate(len);
    (out, Keys::of(&data_key, cipher).expect("any key will do"))
}

/// Frames of the sample: the first page of each, and how many.
const RUNS: [(u64, u32); 5] = [(0x100, 3), (0x200, 1), (0x300, 8), (0x400, 2), (0x500, 4)];

/// Returns the pages of the sample.
pub fn pages() -> BTreeMap<u64, Vec<u8>> {
    let pfns = RUNS
        .into_iter()
        .flat_map(|(pfn, n)| pfn..pfn + u64::from(n));
    pfns.map(|pfn| (pfn, page(pfn).to_vec())).collect()
}

fn index(keys: &Keys) -> Vec<u8> {
    let mut payload = vec![0; PAGE];
    let mut index = IndexWriter::new(&mut payload[..]);
    for ((pfn, count), frame_no) in RUNS.into_iter().zip(0..) {
        let source = Source::Frame(frame_no);
        index.push(Entry { pfn, count, source }).expect("a sample");
    }
    let raw = index.payload().to_vec();
    frame(keys, RUNS.len() as u64, Kind::Index, &[], &raw)
}

/// Returns a whole encrypted image: superblock, and blocks.
pub fn image(cipher: Cipher) -> (Vec<u8>, Vec<u8>) {
    image_with(cipher, &USER_KEY, HINT)
}

/// The same with another key, and a hint how it is made.
pub fn image_with(cipher: Cipher, user_key: &[u8], hint: &str) -> (Vec<u8>, Vec<u8>) {
    let (params, keys) = parameters_with(user_key, cipher, hint);
    let mut area = vec![0; header::AREA_BYTES];
    let mut builder = HeaderBuilder::new(&mut area, &FACTS).expect("room");
    let transform = Transform {
        kind: TransformKind::Encrypt,
        name: cipher.name(),
        params: &params,
    };
    builder.transform(&transform).expect("a sample");
    let header_crc = builder.finish().expect("a sample");

    // Two chunks of data and one of the index, from the first free block on.
    let mut parts = [(vec![], 0), (vec![], 0), (index(&keys), root::FLAG_INDEX)];
    for (frame_no, run) in RUNS.into_iter().enumerate() {
        let plain: Vec<u8> = (run.0..run.0 + u64::from(run.1)).flat_map(page).collect();
        let frame = frame(&keys, frame_no as u64, Kind::Data, &[run], &plain);
        parts[frame_no % 2].0.extend(frame);
    }
    let mut blocks = vec![0; (COMMIT_BLOCK as usize + 1) * BLOCK];
    let mut table = vec![0; parts.len() * root::ENTRY_BYTES];
    let mut stored_bytes = 0;
    for (number, (part, flags)) in parts.iter().enumerate() {
        let chunk = Chunk {
            block: (blocks.len() / BLOCK) as u64,
            used: part.len() as u32,
            flags: *flags,
        };
        root::put(&mut table, number, &chunk).expect("a sample");
        stored_bytes += part.len() as u64;
        blocks.extend(part);
        blocks.resize(blocks.len().next_multiple_of(BLOCK), 0);
    }
    let pages = pages().len() as u64;
    let mut commit = Commit {
        image_id: ID,
        image_pages: pages,
        data_pages: pages,
        fill_pages: 0,
        frames: RUNS.len() as u64 + 1,
        index_frames: 1,
        chunks: parts.len() as u64,
        root_block: (blocks.len() / BLOCK) as u64,
        root_crc: wire::crc(&table),
        header_crc,
        stored_bytes,
        tag: [0; commit::TAG_BYTES],
    };
    let mut block = [0; BLOCK];
    commit.encode_untagged(&mut block).expect("a sample");
    commit.tag = keys.tag(&[&area, &table, &block]).expect("any key");
    commit.encode(&mut block).expect("a sample");
    let put = |blocks: &mut Vec<u8>, at: u64, part: &[u8]| {
        let at = at as usize * BLOCK;
        blocks.resize(blocks.len().max(at + part.len().next_multiple_of(BLOCK)), 0);
        blocks[at..at + part.len()].copy_from_slice(part);
    };
    put(&mut blocks, HEADER_BLOCK, &area);
    put(&mut blocks, COMMIT_BLOCK, &block);
    put(&mut blocks, commit.root_block, &table);
    (samples::superblock_bytes(), blocks)
}

/// Reads an encrypted image whose linear space is `blocks`, in the order of trust of the kernel,
/// and returns the pages of its frames.
///
/// # Errors
///
/// What is wrong with it; [`Error::BadTag`] if it is not encrypted.
pub fn read(superblock: &[u8], blocks: &[u8], user_key: &[u8]) -> Result<BTreeMap<u64, Vec<u8>>> {
    let superblock = Superblock::decode(superblock)?.ok_or(Error::BadMagic)?;
    let opened = Opened::open(&blocks, superblock).map_err(error_of)?;
    let encryptor = opened.encryptor().map_err(error_of)?;
    let (name, parameters) = encryptor.ok_or(Error::BadTag)?;
    let keys = Keys::open(user_key, name, parameters)?;
    opened.check_tag(Some(&keys)).map_err(error_of)?;
    let header = opened.header().map_err(error_of)?;
    let mut undo = Undo::new(&header, Some(&keys)).map_err(|_| Error::UnknownFeature)?;
    let mut pages = BTreeMap::new();
    each_frame(&opened, |ledger, frame| {
        let plain = undo.frame(frame)?;
        if frame.kind == Kind::Index {
            return ledger.index(plain, &opened.commit);
        }
        let pfns = frame
            .extents()
            .flat_map(|e| e.pfn..e.pfn + u64::from(e.count));
        pages.extend(pfns.zip(plain.chunks(PAGE).map(<[u8]>::to_vec)));
        Ok(())
    })?;
    Ok(pages)
}
