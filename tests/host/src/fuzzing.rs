// SPDX-License-Identifier: GPL-2.0

//! What fuzz targets do with their input. None of these may panic, whatever the input is.
//!
//! Inputs are used twice: as they are, and with their seals made right, since no fuzzer finds a
//! checksum by chance and everything behind it would stay unseen.

use std::collections::BTreeSet;
use std::io::{Seek, Write};

use dormouse_image::check::check;
use dormouse_image::open::Opened;
use dormouse_image::place::{Found, Place};

use crate::blockmap::codec::{self, ChainReader};
use crate::blockmap::{BlockMap, MapEntry};
use crate::image::cipher::params::{Params, BOUND_MAX};
use crate::image::commit::{self, Commit};
use crate::image::frame::{self, Frame, FrameWriter};
use crate::image::header::{self, Header};
use crate::image::index::{entries, Entry, IndexWriter, Source};
use crate::image::root::{check_disjoint, chunks, put, Chunk, Space};
use crate::image::superblock::{self, Superblock};
use crate::image::{self, wire, Error, BLOCK, FRAME_RAW_MAX, PAGES_PER_FRAME};
use crate::netblock::mark;
use crate::target::{self, Target};
use crate::{reader, samples};

mod nbd;
mod seeds;

pub use nbd::nbd;
pub use seeds::seeds;

/// A fuzz target: its name, which is also that of its corpus, and its body.
pub type FuzzTarget = (&'static str, fn(&[u8]));

/// Every fuzz target.
pub const TARGETS: [FuzzTarget; 11] = [
    ("superblock", superblock),
    ("header", header),
    ("frame", frame),
    ("index", index),
    ("commit_root", commit_root),
    ("blockmap", blockmap),
    ("target", target_string),
    ("image", image),
    ("verify", verify),
    ("nbd", nbd),
    ("params", params),
];

// Calls `check` with `data`, and with `data` sealed over its first `len` bytes.
fn with_seal(data: &[u8], len: usize, crc_at: usize, check: impl Fn(&[u8])) {
    check(data);
    let mut sealed = data.to_vec();
    let len = len.min(sealed.len());
    if wire::seal(&mut sealed[..len], crc_at).is_ok() {
        check(&sealed);
    }
}

fn le32(data: &[u8], at: usize) -> usize {
    let field = wire::Reader::at(data, at).and_then(|mut r| r.u32());
    field.unwrap_or(0) as usize
}

/// A superblock. One that is accepted is written back to the same bytes.
pub fn superblock(data: &[u8]) {
    with_seal(data, superblock::BYTES, superblock::CRC_AT, |data| {
        if let Ok(Some(sb)) = Superblock::decode(data) {
            let mut again = [0; superblock::BYTES];
            sb.encode(&mut again).expect("it was read");
            assert_eq!(again, data[..superblock::BYTES]);
            assert!(sb.reason().len() <= superblock::REASON_BYTES);
        }
    });
}

/// A header. One that is accepted is written back to the same bytes.
pub fn header(data: &[u8]) {
    let total_len = le32(data, 16);
    with_seal(data, total_len, header::CRC_AT, |data| {
        if let Ok(header) = Header::decode(data) {
            let transforms: Vec<_> = header.transforms().collect();
            assert_eq!(transforms.len(), header.transform_count());
            let mounted: Vec<_> = header.mounted().collect();
            let bystanders: Vec<_> = header.bystanders().collect();
            let again = samples::header_lists(&header.facts, &transforms, &mounted, &bystanders);
            assert_eq!(again.expect("it was read"), data[..header.total_len]);
            let mut unkeyed = data.to_vec();
            let changed = header::unkey(&mut unkeyed).expect("it was read");
            assert_eq!(unkeyed[changed..], data[changed..]);
            let unkeyed = Header::decode(&unkeyed).expect("it was written");
            assert!(unkeyed.bystanders().eq(header.bystanders()));
        }
    });
}

/// The parameters of an encryptor. What is accepted is written back to the same bytes.
pub fn params(data: &[u8]) {
    if let Ok(p) = Params::decode(data) {
        let mut again = [0; header::PARAMS_MAX];
        let len = p.encode(&mut again).expect("it was read");
        assert_eq!(again[..len], *data);
        assert!(p.bound("aes-gcm", &mut [0; BOUND_MAX]).is_ok());
    }
}

/// The frames of a chunk. One that is accepted is written back to the same bytes, unless its
/// extents could have been fewer.
pub fn frame(data: &[u8]) {
    let check = |data: &[u8]| {
        let mut rest = data;
        for found in frame::frames(data, &samples::ID, 2) {
            let Ok(found) = found else { break };
            let (_, len) = Frame::decode(rest, &samples::ID, 2).expect("it was read");
            check_frame(&found, &rest[..len]);
            rest = &rest[len..];
        }
    };
    check(data);
    let mut sealed = data.to_vec();
    if seal_frame(&mut sealed).is_ok() {
        check(&sealed);
    }
}

/// Makes sum and seal of the frame at the start of `bytes` right, and returns its length.
///
/// # Errors
///
/// [`Error::Truncated`] or [`Error::NoRoom`] when it does not fit.
pub fn seal_frame(bytes: &mut [u8]) -> image::Result<usize> {
    let payload_at = frame::size(le32(bytes, 10) & 0xffff, 0);
    let end = payload_at.saturating_add(le32(bytes, 16));
    let sum = wire::payload_sum(bytes.get(payload_at..end).ok_or(Error::Truncated)?);
    wire::Writer::at(bytes, frame::SUM_AT)?.u64(sum)?;
    wire::seal(&mut bytes[..payload_at], frame::CRC_AT)?;
    Ok(wire::align8(end))
}

fn check_frame(found: &Frame<'_>, bytes: &[u8]) {
    let extents: Vec<_> = found.extents().collect();
    let pages: u32 = extents.iter().map(|e| e.count).sum();
    assert_eq!(pages, found.pages);
    assert!(pages as usize <= PAGES_PER_FRAME && found.raw_len as usize <= FRAME_RAW_MAX);
    let mut again = vec![0; frame::worst_case(found.payload.len())];
    let writer = FrameWriter::begin(&mut again, found.kind, found.frame_no, &samples::ID);
    let mut writer = writer.expect("room");
    for extent in &extents {
        writer
            .add_extent(extent.pfn, extent.count)
            .expect("it was read");
    }
    writer.payload_mut()[..found.payload.len()].copy_from_slice(found.payload);
    let stored_len = found.payload.len() as u32;
    let len = writer
        .finish(found.applied, found.raw_len, stored_len)
        .expect("it was read");
    let mergeable = extents
        .windows(2)
        .any(|e| e[0].pfn + u64::from(e[0].count) == e[1].pfn);
    assert_eq!(again[..len] == *bytes, !mergeable);
}

/// The payload of an index frame. Pushing what was read says the same again.
pub fn index(data: &[u8]) {
    let pages = |entry: &Entry| {
        assert!(entry.count != 0);
        (entry.pfn, entry.count, entry.source)
    };
    let read: Vec<Entry> = entries(data, 1 << 40).map_while(Result::ok).collect();
    let mut writer = IndexWriter::new(vec![0; FRAME_RAW_MAX]);
    for entry in &read {
        if writer.push(*entry).is_err() {
            return;
        }
        pages(entry);
    }
    let again: Vec<Entry> = entries(writer.payload(), 1 << 40)
        .map(|e| e.expect("valid"))
        .collect();
    assert!(again.len() <= read.len());
    let total = |all: &[Entry]| all.iter().map(|e| u64::from(e.count)).sum::<u64>();
    assert_eq!(total(&again), total(&read));
    for entry in &again {
        if let Source::Frame(number) = entry.source {
            assert!(number < 1 << 40 && entry.count as usize <= PAGES_PER_FRAME);
        }
    }
}

/// A commit record, and behind it a root.
pub fn commit_root(data: &[u8]) {
    with_seal(data, BLOCK, commit::CRC_AT, |data| {
        if let Ok(commit) = Commit::decode(data) {
            let mut again = [0; BLOCK];
            commit.encode(&mut again).expect("it was read");
            assert_eq!(again, data[..BLOCK]);
        }
    });
    let root = data.get(BLOCK..).unwrap_or(data);
    let Ok(space) = Space::new(1 << 20, 0, 16, 17, root.len() as u64) else {
        return;
    };
    let read: Vec<Chunk> = chunks(root, &space).map_while(Result::ok).collect();
    let mut again = vec![0; root.len()];
    for (number, chunk) in read.iter().enumerate() {
        put(&mut again, number, chunk).expect("it was read");
    }
    let len = read.len() * 16;
    assert_eq!(again[..len], root[..len]);
    let disjoint = check_disjoint(&root[..len], &space, &mut vec![Default::default(); len]);
    let mut blocks = BTreeSet::new();
    let model = read
        .iter()
        .flat_map(|c| c.block..c.block + c.blocks())
        .all(|b| blocks.insert(b));
    assert_eq!(disjoint.is_ok(), model);
}

/// A chain of map blocks.
pub fn blockmap(data: &[u8]) {
    let mut sealed = data.to_vec();
    for block in sealed.chunks_mut(BLOCK) {
        // Too short a last block is tried as it is.
        let _ = wire::seal(block, codec::CRC_AT);
    }
    for data in [data, &sealed] {
        let mut blocks = data.chunks(BLOCK);
        let Some(first) = blocks.next() else { continue };
        let Ok((mut chain, devices)) = ChainReader::begin(first, &samples::ID) else {
            continue;
        };
        let device_blocks: Vec<u64> = devices.map(|device| device.blocks).collect();
        let mut map = BlockMap::new(vec![MapEntry::default(); 4 * codec::ENTRIES_PER_BLOCK]);
        for (number, block) in (1..).zip(blocks) {
            if chain.next().is_none() || chain.block(block, &mut map).is_err() {
                break;
            }
            let full = map.entries().len() == number * codec::ENTRIES_PER_BLOCK;
            assert!(full || chain.next().is_none());
        }
        let mut linear = 0;
        for entry in map.entries() {
            assert_eq!(entry.linear, linear);
            linear += u64::from(entry.count);
            let end = entry.block + u64::from(entry.count);
            assert!(end <= device_blocks[entry.device as usize]);
        }
        assert_eq!(map.total(), linear);
        if linear != 0 {
            let pieces: u64 = map.lookup(0, linear).expect("all").map(|p| p.count).sum();
            assert_eq!(pieces, linear);
        }
    }
}

/// What a user may write to sysfs or the command line.
pub fn target_string(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    match Target::parse(text) {
        Ok(Target::Device(path) | Target::File(path)) => {
            assert!(path.starts_with('/') && !path.contains("/../"));
        }
        Ok(Target::Nbd(nbd)) => assert!(nbd.port != 0 && !nbd.host.is_empty()),
        Ok(Target::Auto | Target::Number { .. }) => (),
        Ok(Target::Uuid(_) | Target::UuidOffset { .. }) => (),
        Err(invalid) => assert!(!invalid.sentence().is_empty()),
    }
    if let Ok(on) = target::parse_bool(text) {
        assert_eq!(target::value(text), if on { "1" } else { "0" });
    }
    if let Ok(number) = target::parse_unsigned(text) {
        assert_eq!(target::parse_unsigned(&number.to_string()), Ok(number));
    }
    let _ = target::parse_name(text);
}

/// A whole image behind its superblock. One that is accepted holds the pages its commit record
/// counts.
pub fn image(data: &[u8]) {
    let (superblock, blocks) = data.split_at(data.len().min(superblock::BYTES));
    let mut sealed_superblock = superblock.to_vec();
    let mut sealed = blocks.to_vec();
    // Whatever is too short for its seal is tried as it is.
    let _ = wire::seal(&mut sealed_superblock, superblock::CRC_AT);
    let _ = seal_image(&mut sealed);
    for (superblock, blocks) in [(superblock, blocks), (&sealed_superblock, &sealed)] {
        if let Ok(Some(image)) = reader::read(superblock, blocks) {
            assert_eq!(image.page_count(), image.commit.image_pages);
            assert!(image.commit.index_frames <= image.commit.frames);
        }
    }
}

/// A file with an image, as `dormouse image verify` reads it: mark, map, all that describes it,
/// every frame. Memory is within what a file of that size may take; who runs this measures it.
pub fn verify(data: &[u8]) {
    let mut sealed = data.to_vec();
    // Whatever is too short for its seal is tried as it is.
    if let Some(blocks) = sealed.get_mut(mark::FIRST_BLOCK as usize * BLOCK..) {
        let _ = seal_image(blocks);
    }
    let mut file = tempfile::NamedTempFile::new().expect("a folder for files");
    for data in [data, &sealed] {
        file.as_file().set_len(0).expect("a file");
        file.rewind().expect("a file");
        file.write_all(data).expect("room");
        let Ok(Found::Place(place)) = Place::find(&file.path().into(), 0) else {
            continue;
        };
        let (Ok(superblock), Ok(disks)) = (place.superblock(), place.disks(&[])) else {
            continue;
        };
        let Ok(opened) = Opened::open(&disks, superblock.clone()) else {
            continue;
        };
        if let Ok(report) = check(&opened, None, |_| ()) {
            assert_eq!(report.is_good(), report.faults.is_empty());
            assert!(!report.is_good() || report.frames == opened.commit.frames);
        }
    }
}

// Makes the seals of all parts right, wherever the commit record and the root say they are.
fn seal_image(blocks: &mut [u8]) -> image::Result {
    fn part(blocks: &mut [u8], block: u64) -> image::Result<&mut [u8]> {
        let at = usize::try_from(block)
            .ok()
            .and_then(|b| b.checked_mul(BLOCK));
        at.and_then(|at| blocks.get_mut(at..))
            .ok_or(Error::Truncated)
    }
    fn seal_len(part: &mut [u8], len: usize, crc_at: usize) -> image::Result<u32> {
        wire::seal(part.get_mut(..len).ok_or(Error::Truncated)?, crc_at)
    }

    let commit = part(blocks, samples::COMMIT_BLOCK)?;
    let mut r = wire::Reader::at(commit, 80)?;
    let (root_block, root_len) = (r.u64()?, r.u64()?);
    let root = part(blocks, root_block)?;
    let root = root
        .get(..root_len as usize)
        .ok_or(Error::Truncated)?
        .to_vec();
    for entry in root.chunks(16) {
        let Ok(chunk) = wire::Reader::new(entry).u64() else {
            break;
        };
        let Ok(mut rest) = part(blocks, chunk) else {
            continue;
        };
        let mut left = le32(entry, 8);
        while left != 0 && rest.starts_with(&frame::MAGIC) {
            let Ok(len) = seal_frame(rest) else { break };
            rest = rest.get_mut(len..).unwrap_or_default();
            left = left.saturating_sub(len);
        }
    }
    let header = part(blocks, samples::HEADER_BLOCK)?;
    let header_crc = seal_len(header, le32(header, 16), header::CRC_AT)?;
    let commit = part(blocks, samples::COMMIT_BLOCK)?;
    let mut w = wire::Writer::at(commit, 96)?;
    w.u32(wire::crc(&root))?;
    w.u32(header_crc)?;
    seal_len(commit, BLOCK, commit::CRC_AT)?;
    Ok(())
}
