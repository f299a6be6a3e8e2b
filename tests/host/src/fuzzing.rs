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
use crate::image::frame::{self, Frame, FrameWriter, Kind};
use crate::image::header::{self, Header};
use crate::image::index::{entries, Entry, IndexWriter, Source};
use crate::image::root::{check_disjoint, chunks, put, Chunk, Space};
use crate::image::superblock::{self, Superblock};
use crate::image::{self, wire, Error, BLOCK, FRAME_RAW_MAX, PAGES_PER_FRAME};
use crate::netblock::mark;
use crate::netblock::proto::negotiate::Negotiation;
use crate::netblock::proto::replies::{Event, Replies, Table, Want};
use crate::netblock::proto::wire::Command;
use crate::target::{self, Target};
use crate::{encrypted, hostile, reader, samples};

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
        for block in blocks {
            if chain.next().is_none() || chain.block(block, &mut map).is_err() {
                break;
            }
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

/// What a server sends: the first byte says how much of it comes at once and what was asked, the
/// rest is the negotiation and then replies. The first block of an export as well.
pub fn nbd(data: &[u8]) {
    if let mark::Found::Ours { .. } = mark::decode(data) {
        assert!(mark::superblock(data).is_some());
    }
    let Some((&mode, mut rest)) = data.split_first() else {
        return;
    };
    let mut negotiation = Negotiation::new("export");
    let terms = loop {
        assert!(negotiation.output().len() <= 300);
        let room = negotiation.room();
        assert!(!room.is_empty());
        let Some((here, behind)) = rest.split_at_checked(room.len()) else {
            return;
        };
        room.copy_from_slice(here);
        rest = behind;
        match negotiation.filled() {
            Ok(None) => {}
            Ok(Some(terms)) => break terms,
            Err(_) => {
                assert!(negotiation.text().is_ascii());
                return;
            }
        }
    };
    if let Ok(piece) = terms.piece() {
        assert!(piece % 4096 == 0 && piece >= 4096 && terms.min <= piece);
    }
    nbd_replies(terms.structured, mode, rest);
}

fn nbd_replies(structured: bool, mode: u8, mut rest: &[u8]) {
    let (mut table, mut replies) = (Table::new(0), Replies::new(structured));
    let mut lens = [0u32; 4];
    for (number, len) in lens.iter_mut().enumerate() {
        let command = match mode >> number & 1 {
            0 => Command::Read,
            _ => Command::Write,
        };
        *len = 16 << number;
        table.begin(command, 0, 4096, *len).expect("a slot");
    }
    let gulp = usize::from(mode >> 4) + 1;
    let mut under_way = lens.len();
    while !rest.is_empty() {
        let most = gulp.min(rest.len());
        let n = match replies.want() {
            Want::Head(room) => {
                let n = most.min(room.len());
                room[..n].copy_from_slice(&rest[..n]);
                n
            }
            Want::Data { slot, at, len } => {
                assert!(len > 0 && at + len <= lens[slot]);
                most.min(len as usize)
            }
            Want::Skip(len) => most.min(len as usize),
        };
        assert!(n > 0);
        rest = &rest[n..];
        match replies.took(n, &mut table) {
            Ok(Event::Nothing) => {}
            Ok(Event::Done { slot, .. }) => {
                assert!(slot < lens.len());
                under_way -= 1;
            }
            Ok(Event::Zeros {
                slot,
                at,
                len,
                done,
            }) => {
                assert!(at + len <= lens[slot]);
                under_way -= usize::from(done);
            }
            Err(_) => return,
        }
        assert_eq!(table.len(), under_way);
    }
}

/// What a server sends that does everything as it should, for [`nbd`].
fn nbd_session(structured: bool) -> Vec<u8> {
    let hex = |text: &str| -> Vec<u8> {
        let digits: Vec<u8> = text.bytes().filter(|b| !b.is_ascii_whitespace()).collect();
        let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).expect("hex"), 16);
        digits
            .chunks(2)
            .map(|pair| byte(pair).expect("hex"))
            .collect()
    };
    let mut bytes = vec![0xfa];
    bytes.extend(b"NBDMAGICIHAVEOPT\0\x03");
    bytes.extend(hex("0003e889045565a9 00000008"));
    bytes.extend(hex(if structured { "00000001" } else { "80000001" }));
    bytes.extend(hex("00000000 0003e889045565a9 00000007 00000003 0000000c"));
    bytes.extend(hex(
        "0000 0000000040000000 010d 0003e889045565a9 00000007 00000003",
    ));
    bytes.extend(hex("0000000e 0003 00000200 00001000 02000000"));
    bytes.extend(hex("0003e889045565a9 00000007 00000001 00000000"));
    // Slots 0 and 2 are reads of 16 and 64 bytes, 1 and 3 writes.
    if structured {
        bytes.extend(hex("668e33ef 0000 0001 0000000000000100 00000010"));
        bytes.extend(hex("0000000000001000 1122334455667788"));
        bytes.extend(hex("668e33ef 0001 0002 0000000000000100 0000000c"));
        bytes.extend(hex("0000000000001008 00000008"));
        bytes.extend(hex("668e33ef 0001 8001 0000000000000302 0000000a"));
        bytes.extend(hex("00000005 0004 6f6f6f6f"));
    } else {
        bytes.extend(hex("67446698 00000000 0000000000000100"));
        bytes.extend([0x55; 16]);
        bytes.extend(hex("67446698 00000005 0000000000000302"));
    }
    bytes.extend(hex("67446698 00000000 0000000000000201"));
    bytes.extend(hex("67446698 0000001c 0000000000000403"));
    bytes
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
        ("nbd", "structured", nbd_session(true)),
        ("nbd", "simple", nbd_session(false)),
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
