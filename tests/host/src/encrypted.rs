// SPDX-License-Identifier: GPL-2.0

//! Encrypted images, written and read with the pure code of the kernel and with the ciphers of
//! RustCrypto: an implementation that has nothing in common with the kernel's.

use std::collections::BTreeMap;

use aes_gcm::aead::{Aead, KeyInit, Payload};
use aes_gcm::Aes256Gcm;
use chacha20poly1305::ChaCha20Poly1305;
use hmac::Mac;
use sha2::Sha256;

use crate::image::cipher::params::{KeyType, Params, SALT_BYTES, WRAPPED_BYTES};
use crate::image::cipher::{
    self, Hmac, Place, Purpose, FRAME_BOUND_MAX, KEY_BYTES, NONCE_BYTES, TAG_BYTES,
};
use crate::image::commit::{self, Commit};
use crate::image::frame::{self, frames, Frame, FrameWriter, Kind};
use crate::image::header::{self, Header, HeaderBuilder, Transform, TransformKind};
use crate::image::index::{entries, Entry, IndexWriter, Source};
use crate::image::root::{self, check_disjoint, chunks, Chunk, Space};
use crate::image::superblock::Superblock;
use crate::image::{wire, Error, ImageId, Result, BLOCK, PAGE};
use crate::samples::{self, page, COMMIT_BLOCK, FACTS, HEADER_BLOCK, ID};

/// HMAC-SHA256 of RustCrypto.
pub struct RustHmac;

impl Hmac for RustHmac {
    type Error = Error;

    fn hmac(&mut self, key: &[u8], parts: &[&[u8]], out: &mut [u8; KEY_BYTES]) -> Result {
        let mut mac =
            <::hmac::Hmac<Sha256> as Mac>::new_from_slice(key).map_err(|_| Error::BadLength)?;
        for part in parts {
            mac.update(part);
        }
        out.copy_from_slice(&mac.finalize().into_bytes());
        Ok(())
    }
}

/// The encryptors of the kernel, by the names of their modules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cipher {
    /// `aes-gcm`.
    AesGcm,
    /// `chacha20-poly1305`.
    ChaCha20Poly1305,
}

impl Cipher {
    /// Both.
    pub const ALL: [Cipher; 2] = [Cipher::AesGcm, Cipher::ChaCha20Poly1305];

    /// Name of the module.
    pub const fn name(self) -> &'static str {
        match self {
            Cipher::AesGcm => "aes-gcm",
            Cipher::ChaCha20Poly1305 => "chacha20-poly1305",
        }
    }

    fn of(name: &str) -> Result<Cipher> {
        let mut all = Cipher::ALL.into_iter();
        all.find(|c| c.name() == name).ok_or(Error::UnknownFeature)
    }

    fn encrypt(
        self,
        key: &[u8; KEY_BYTES],
        nonce: &[u8; NONCE_BYTES],
        aad: &[u8],
        msg: &[u8],
    ) -> Vec<u8> {
        let payload = Payload { msg, aad };
        match self {
            Cipher::AesGcm => Aes256Gcm::new(key.into()).encrypt(nonce.into(), payload),
            Cipher::ChaCha20Poly1305 => {
                ChaCha20Poly1305::new(key.into()).encrypt(nonce.into(), payload)
            }
        }
        .expect("short enough")
    }

    fn decrypt(
        self,
        key: &[u8; KEY_BYTES],
        nonce: &[u8; NONCE_BYTES],
        aad: &[u8],
        msg: &[u8],
    ) -> Result<Vec<u8>> {
        let payload = Payload { msg, aad };
        match self {
            Cipher::AesGcm => Aes256Gcm::new(key.into()).decrypt(nonce.into(), payload),
            Cipher::ChaCha20Poly1305 => {
                ChaCha20Poly1305::new(key.into()).decrypt(nonce.into(), payload)
            }
        }
        .map_err(|_| Error::BadTag)
    }
}

fn derive(key: &[u8; KEY_BYTES], purpose: Purpose, cipher: Cipher) -> Result<[u8; KEY_BYTES]> {
    let mut out = [0; KEY_BYTES];
    cipher::expand(&mut RustHmac, key, purpose, cipher.name(), &mut out)?;
    Ok(out)
}

fn wrapping_key(
    user_key: &[u8],
    salt: &[u8; SALT_BYTES],
    cipher: Cipher,
) -> Result<[u8; KEY_BYTES]> {
    let mut extracted = [0; KEY_BYTES];
    cipher::extract(&mut RustHmac, salt, user_key, &mut extracted)?;
    derive(&extracted, Purpose::Wrap, cipher)
}

/// The keys of an image that was opened.
pub struct Keys {
    cipher: Cipher,
    frames: [u8; KEY_BYTES],
    seal: [u8; KEY_BYTES],
}

impl Keys {
    fn of(data_key: &[u8; KEY_BYTES], cipher: Cipher) -> Result<Keys> {
        Ok(Keys {
            cipher,
            frames: derive(data_key, Purpose::Frames, cipher)?,
            seal: derive(data_key, Purpose::Seal, cipher)?,
        })
    }

    /// Opens the parameters of the encryptor `name`.
    ///
    /// # Errors
    ///
    /// What is wrong with them; [`Error::BadTag`] also for a wrong key.
    pub fn open(user_key: &[u8], name: &str, parameters: &[u8]) -> Result<Keys> {
        let cipher = Cipher::of(name)?;
        let p = Params::decode(parameters)?;
        let mut bound = [0; cipher::params::BOUND_MAX];
        let len = p.bound(name, &mut bound)?;
        let key = wrapping_key(user_key, &p.salt, cipher)?;
        let nonce = cipher::wrap_nonce();
        let data_key = cipher.decrypt(&key, &nonce, &bound[..len], &p.wrapped)?;
        let data_key = data_key.try_into().map_err(|_| Error::BadLength)?;
        Keys::of(&data_key, cipher)
    }

    fn tag(&self, parts: &[&[u8]]) -> Result<[u8; commit::TAG_BYTES]> {
        let mut sum = [0; KEY_BYTES];
        RustHmac.hmac(&self.seal, parts, &mut sum)?;
        let mut tag = [0; commit::TAG_BYTES];
        tag[..KEY_BYTES].copy_from_slice(&sum);
        Ok(tag)
    }

    fn undo(&self, id: ImageId, frame: &Frame<'_>, bit: u8) -> Result<Vec<u8>> {
        if frame.applied != bit {
            return Err(Error::BadTransform);
        }
        let place = Place::of(id, frame);
        let mut bound = [0; FRAME_BOUND_MAX];
        let len = place.bound(&mut bound)?;
        let nonce = place.nonce();
        let plain = self
            .cipher
            .decrypt(&self.frames, &nonce, &bound[..len], frame.payload)?;
        if plain.len() != frame.raw_len as usize {
            return Err(Error::BadLength);
        }
        Ok(plain)
    }

    fn frame(&self, frame_no: u64, kind: Kind, pages: &[(u64, u32)], plain: &[u8]) -> Vec<u8> {
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
        let mut bound = [0; FRAME_BOUND_MAX];
        let len = place.bound(&mut bound).expect("a sample");
        let stored = self
            .cipher
            .encrypt(&self.frames, &place.nonce(), &bound[..len], plain);
        payload[..stored.len()].copy_from_slice(&stored);
        let len = writer.finish(1, plain.len() as u32, stored.len() as u32);
        out.truncate(len.expect("a sample"));
        out
    }
}

/// Key of the user that the sample is made with.
pub const USER_KEY: [u8; 32] = *b"a key that user space has made..";

/// Makes the parameters of the sample, and the keys that are in them.
pub fn parameters(user_key: &[u8], cipher: Cipher) -> (Vec<u8>, Keys) {
    // Made of nothing random, so that the sample is the same everywhere.
    let (salt, data_key) = ([0x5a; SALT_BYTES], [0xa5; KEY_BYTES]);
    let mut p = Params {
        key_type: KeyType::Logon,
        description: "dormouse:passphrase",
        hint: "$argon2id$v=19$m=65536,t=3,p=1$c29tZXNhbHQ",
        salt,
        wrapped: [0; WRAPPED_BYTES],
    };
    let mut bound = [0; cipher::params::BOUND_MAX];
    let len = p.bound(cipher.name(), &mut bound).expect("a sample");
    let key = wrapping_key(user_key, &salt, cipher).expect("any key will do");
    let wrapped = cipher.encrypt(&key, &cipher::wrap_nonce(), &bound[..len], &data_key);
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
    keys.frame(RUNS.len() as u64, Kind::Index, &[], &raw)
}

/// Returns a whole encrypted image: superblock, and blocks.
pub fn image(cipher: Cipher) -> (Vec<u8>, Vec<u8>) {
    let (params, keys) = parameters(&USER_KEY, cipher);
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
        let frame = keys.frame(frame_no as u64, Kind::Data, &[run], &plain);
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

fn part(blocks: &[u8], block: u64, len: usize) -> Result<&[u8]> {
    let at = usize::try_from(block)
        .ok()
        .and_then(|b| b.checked_mul(BLOCK));
    let part = at.and_then(|at| blocks.get(at..at.checked_add(len)?));
    part.ok_or(Error::Truncated)
}

/// Reads an encrypted image whose linear space is `blocks`, in the order of trust of the kernel,
/// and returns the pages of its frames. Nothing but an encryptor was applied to them.
///
/// # Errors
///
/// What is wrong with it.
pub fn read(superblock: &[u8], blocks: &[u8], user_key: &[u8]) -> Result<BTreeMap<u64, Vec<u8>>> {
    let sb = Superblock::decode(superblock)?.ok_or(Error::BadMagic)?;
    if !sb.state.is_image() {
        return Err(Error::BadState);
    }
    let area = part(blocks, sb.header_block, header::AREA_BYTES)?;
    let header = Header::decode(area)?;
    if header.facts.image_id != sb.image_id {
        return Err(Error::OtherImage);
    }
    let last = header.transforms().last().ok_or(Error::BadTag)?;
    if last.kind != TransformKind::Encrypt {
        return Err(Error::BadTag);
    }
    let keys = Keys::open(user_key, last.name, last.params)?;
    let commit = Commit::decode(part(blocks, sb.commit_block, BLOCK)?)?;
    if commit.image_id != sb.image_id || commit.header_crc != header.crc {
        return Err(Error::OtherImage);
    }
    let total = (blocks.len() / BLOCK) as u64;
    let space = Space::of(total, sb.header_block, sb.commit_block, &commit)?;
    let table = part(blocks, commit.root_block, commit.root_len()? as usize)?;
    if wire::crc(table) != commit.root_crc {
        return Err(Error::BadCrc);
    }
    let mut block = [0; BLOCK];
    commit.encode_untagged(&mut block)?;
    if !cipher::same(&keys.tag(&[area, table, &block])?, &commit.tag) {
        return Err(Error::BadTag);
    }
    check_disjoint(table, &space, &mut vec![Default::default(); table.len()])?;
    let bit = 1u8 << (header.transform_count() - 1);
    read_frames(blocks, table, &space, &commit, |frame| {
        keys.undo(sb.image_id, frame, bit)
    })
}

fn read_frames(
    blocks: &[u8],
    table: &[u8],
    space: &Space,
    commit: &Commit,
    undo: impl Fn(&Frame<'_>) -> Result<Vec<u8>>,
) -> Result<BTreeMap<u64, Vec<u8>>> {
    let mut stored = BTreeMap::new();
    let mut index = Vec::new();
    for chunk in chunks(table, space) {
        let chunk = chunk?;
        let bytes = part(blocks, chunk.block, chunk.used as usize)?;
        for frame in frames(bytes, &commit.image_id, 1) {
            let frame = frame?;
            if (frame.kind == Kind::Index) != chunk.holds_index() {
                return Err(Error::BadOrder);
            }
            let plain = undo(&frame)?;
            if frame.kind == Kind::Index {
                index.extend(entries(&plain, commit.frames).collect::<Result<Vec<_>>>()?);
                continue;
            }
            let pfns = frame
                .extents()
                .flat_map(|e| e.pfn..e.pfn + u64::from(e.count));
            for (pfn, bytes) in pfns.zip(plain.chunks(PAGE)) {
                let before = stored.insert(pfn, (frame.frame_no, bytes.to_vec()));
                if before.is_some() {
                    return Err(Error::Overlap);
                }
            }
        }
    }
    let mut pages = BTreeMap::new();
    let mut fills = 0;
    for entry in index {
        let Source::Frame(number) = entry.source else {
            fills += u64::from(entry.count);
            continue;
        };
        for pfn in entry.pfn..entry.pfn + u64::from(entry.count) {
            let (frame_no, bytes) = stored.remove(&pfn).ok_or(Error::BadFrameNo)?;
            if frame_no != number {
                return Err(Error::BadFrameNo);
            }
            pages.insert(pfn, bytes);
        }
    }
    if pages.len() as u64 + fills != commit.image_pages || !stored.is_empty() {
        return Err(Error::BadCount);
    }
    Ok(pages)
}
