// SPDX-License-Identifier: GPL-2.0

//! Suite `dormouse_format`: the image format with what only the kernel has: its checksum, its
//! names, its memory.
//!
//! `tests/host` looks at the same code more closely; here it runs as it was built for the kernel.

#![forbid(unsafe_code)]

use crate::check::{
    check,
    check_eq,
    suite,
    Verdict, //
};
use crate::fixture::Random;
use dormouse::image::commit::{
    self,
    Commit, //
};
use dormouse::image::frame::{
    self,
    Frame,
    FrameWriter, //
};
use dormouse::image::header::{
    self,
    Facts,
    Header,
    HeaderBuilder,
    Transform,
    TransformKind, //
};
use dormouse::image::index::{
    self,
    Entry,
    IndexWriter,
    Source, //
};
use dormouse::image::root::{
    self,
    Chunk, //
};
use dormouse::image::superblock::{
    self,
    State,
    Superblock, //
};
use dormouse::image::{
    wire,
    Error,
    ImageId,
    BLOCK,
    FRAME_RAW_MAX, //
};
use dormouse::sys::buf::Buf;
use dormouse::sys::checksum::crc32c;
use dormouse::sys::random::fill_random;
use dormouse::sys::table::Table;
use dormouse::sys::uts;
use kernel::prelude::*;

suite! { "dormouse_format":
    checksum_is_crc32c,
    sum_of_payloads_is_xxh64,
    checksum_of_parts_is_that_of_the_whole,
    checksum_equals_its_definition,
    superblock_comes_back,
    superblock_notices_every_flip,
    header_names_this_kernel,
    header_notices_flips,
    commit_comes_back,
    root_comes_back,
    index_comes_back,
    frame_comes_back,
    identities_differ,
}

const ID: ImageId = ImageId([0xd0; 16]);

fn sum_of_payloads_is_xxh64() -> Verdict {
    check_eq!(wire::payload_sum(b"123456789"), 0x8cb8_41db_40e6_ae83);
    check_eq!(wire::payload_sum(b""), 0xef46_db37_51d8_e999);
    Ok(())
}

fn checksum_is_crc32c() -> Verdict {
    check_eq!(wire::crc(b"123456789"), 0xe306_9283);
    // RFC 3720, B.4.
    check_eq!(wire::crc(&[0; 32]), 0x8a91_36aa);
    check_eq!(wire::crc(&[0xff; 32]), 0x62a8_ab43);
    let mut counting = [0; 32];
    for (byte, number) in counting.iter_mut().zip(0..) {
        *byte = number;
    }
    check_eq!(wire::crc(&counting), 0x46dd_794e);
    counting.reverse();
    check_eq!(wire::crc(&counting), 0x113f_db5c);
    check_eq!(wire::crc(&[]), 0);
    Ok(())
}

fn checksum_of_parts_is_that_of_the_whole() -> Verdict {
    let mut bytes = Buf::new(5000)?;
    Random::new(1).fill(&mut bytes);
    let whole = crc32c(!0, &bytes);
    for at in [0, 1, 7, 64, 4093, 5000] {
        let (a, b) = bytes.split_at(at);
        check_eq!(crc32c(crc32c(!0, a), b), whole, "cut at {at}");
    }
    Ok(())
}

/// CRC-32C by its definition: a division, bit by bit.
fn division(bytes: &[u8]) -> u32 {
    let mut crc = !0u32;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = (crc >> 1) ^ if crc & 1 == 1 { 0x82f6_3b78 } else { 0 };
        }
    }
    !crc
}

fn checksum_equals_its_definition() -> Verdict {
    let mut bytes = Buf::new(FRAME_RAW_MAX + 8)?;
    Random::new(2).fill(&mut bytes);
    // All alignments, and lengths around those where faster code begins.
    for from in 0..8 {
        for len in [1, 3, 8, 15, 63, 64, 65, 191, 255, 1023, 1024, 1025, 3072] {
            let part = &bytes[from..from + len];
            check_eq!(wire::crc(part), division(part), "{len} bytes from {from}");
        }
    }
    check_eq!(wire::crc(&bytes), division(&bytes));
    Ok(())
}

fn superblock() -> Superblock {
    let mut sb = Superblock::new();
    sb.state = State::Resuming;
    sb.attempts = 2;
    sb.image_id = ID;
    sb.header_block = 0;
    sb.commit_block = 16;
    sb.generation = 9;
    sb.saved_at = -5;
    sb.storage_word0 = u64::MAX;
    sb.storage_word1 = 1;
    sb.storage_private = [0xa5; superblock::PRIVATE_BYTES];
    sb.passed_by = 0x1234;
    sb.figures.write_ns = 0x5678;
    sb.figures.in_place_pages = 0x9abc;
    sb.set_failure(28, 4, "the storage was full");
    sb
}

fn superblock_comes_back() -> Verdict {
    let mut bytes = [0xee; superblock::BYTES];
    superblock().encode(&mut bytes)?;
    let back = Superblock::decode(&bytes)?;
    check_eq!(back, Some(superblock()));
    check_eq!(back.map(|sb| sb.last_errno), Some(28));
    // What was never ours is no error.
    check_eq!(Superblock::decode(&[0; superblock::BYTES])?, None);
    check_eq!(Superblock::decode(&bytes[1..]), Err(Error::Truncated));
    Ok(())
}

fn superblock_notices_every_flip() -> Verdict {
    let mut bytes = [0; superblock::BYTES];
    superblock().encode(&mut bytes)?;
    for at in 0..bytes.len() {
        bytes[at] ^= 0x10;
        match Superblock::decode(&bytes) {
            Ok(None) => check!(at < 8, "byte {at}"),
            Ok(Some(_)) => check!(false, "byte {at} was believed"),
            Err(_) => check!(at >= 8, "byte {at}"),
        }
        bytes[at] ^= 0x10;
    }
    Ok(())
}

/// Builds a header that names this kernel, in `out`, and returns its seal.
fn build_header(out: &mut [u8], build_id: &[u8]) -> Verdict<u32> {
    let facts = Facts {
        image_id: ID,
        flags: header::FLAG_PLATFORM,
        arch: &[1, 2, 3, 4, 5],
        release: uts::release().to_str().map_err(|_| EINVAL)?,
        kversion: uts::version().to_str().map_err(|_| EINVAL)?,
        machine: uts::machine().to_str().map_err(|_| EINVAL)?,
        build_id,
        snapshot: "atomic",
        writer: "swap",
        ram_pages: uts::ram_pages(),
    };
    let mut builder = HeaderBuilder::new(out, &facts)?;
    for (kind, name, params) in [
        (TransformKind::Compress, "lz4", &b""[..]),
        (TransformKind::Encrypt, "kunit", &b"nonce"[..]),
    ] {
        builder.transform(&Transform { kind, name, params })?;
    }
    Ok(builder.finish()?)
}

fn header_names_this_kernel() -> Verdict {
    check!(!uts::release().as_bytes().is_empty());
    check!(!uts::version().as_bytes().is_empty());
    check!(uts::ram_pages() > 1000);
    let build_id = uts::build_id();
    let build_id = build_id.as_ref().map_or(&[][..], |id| &id[..]);
    let mut bytes = Buf::new(header::AREA_BYTES)?;
    let crc = build_header(&mut bytes, build_id)?;
    let back = Header::decode(&bytes)?;
    check_eq!(back.crc, crc);
    check!(back.platform_mode() && !back.may_override());
    check_eq!(back.facts.image_id, ID);
    check_eq!(back.facts.release.as_bytes(), uts::release().as_bytes());
    check_eq!(back.facts.kversion.as_bytes(), uts::version().as_bytes());
    check_eq!(back.facts.machine.as_bytes(), uts::machine().as_bytes());
    check_eq!(back.facts.build_id, build_id);
    check_eq!(back.facts.arch, [1, 2, 3, 4, 5]);
    check_eq!(back.facts.ram_pages, uts::ram_pages());
    check_eq!(back.facts.snapshot, "atomic");
    check_eq!(back.facts.writer, "swap");
    let mut transforms = back.transforms();
    let first = transforms.next();
    check_eq!(first.map(|t| (t.name, t.params)), Some(("lz4", &b""[..])));
    let second = transforms.next();
    check_eq!(
        second.map(|t| (t.name, t.params)),
        Some(("kunit", &b"nonce"[..]))
    );
    check!(transforms.next().is_none());
    Ok(())
}

fn header_notices_flips() -> Verdict {
    let mut bytes = Buf::new(header::AREA_BYTES)?;
    build_header(&mut bytes, &[])?;
    let len = Header::decode(&bytes)?.total_len;
    for at in 0..len {
        bytes[at] ^= 0x04;
        check!(Header::decode(&bytes).is_err(), "byte {at} was believed");
        bytes[at] ^= 0x04;
    }
    Ok(())
}

fn sample_commit() -> Commit {
    Commit {
        image_id: ID,
        image_pages: 1000,
        data_pages: 700,
        fill_pages: 300,
        frames: 40,
        index_frames: 3,
        chunks: 17,
        root_block: 12345,
        root_crc: 0x1234_5678,
        header_crc: 0x9abc_def0,
        stored_bytes: 1 << 40,
        tag: [7; commit::TAG_BYTES],
    }
}

fn commit_comes_back() -> Verdict {
    let mut block = [0xee; BLOCK];
    sample_commit().encode(&mut block)?;
    let back = Commit::decode(&block)?;
    let mut again = [0; BLOCK];
    back.encode(&mut again)?;
    check!(block == again);
    check_eq!(back.image_id, ID);
    check_eq!((back.image_pages, back.chunks), (1000, 17));
    check_eq!((back.root_crc, back.header_crc), (0x1234_5678, 0x9abc_def0));
    for at in 0..BLOCK {
        block[at] ^= 0x80;
        check!(Commit::decode(&block).is_err(), "byte {at} was believed");
        block[at] ^= 0x80;
    }
    Ok(())
}

fn root_comes_back() -> Verdict {
    const CHUNKS: u64 = 200;
    let mut table = Buf::new(CHUNKS as usize * root::ENTRY_BYTES)?;
    let chunk = |i: u64| Chunk {
        block: 17 + (CHUNKS - 1 - i) * 128,
        used: 64 * 1024 + 8 * i as u32,
        flags: (i % 2) as u32 * root::FLAG_INDEX,
    };
    for i in 0..CHUNKS {
        root::put(&mut table, i as usize, &chunk(i))?;
    }
    let end = 17 + CHUNKS * 128;
    let space = root::Space::new(end + 1, 0, 16, end, table.len() as u64)?;
    for (i, found) in (0..).zip(root::chunks(&table, &space)) {
        let (found, put) = (found?, chunk(i));
        check_eq!(
            (found.block, found.used, found.flags),
            (put.block, put.used, put.flags)
        );
    }
    let mut scratch = Table::<root::Range>::new(CHUNKS as usize)?;
    root::check_disjoint(&table, &space, &mut scratch)?;
    // Two chunks in one place.
    root::put(&mut table, 5, &chunk(6))?;
    let twice = root::check_disjoint(&table, &space, &mut scratch);
    check_eq!(twice, Err(Error::Overlap));
    Ok(())
}

fn index_comes_back() -> Verdict {
    let mut writer = IndexWriter::new(Buf::new(FRAME_RAW_MAX)?);
    let entry = |i: u64| Entry {
        pfn: i * 3,
        count: 1 + (i % 2) as u32,
        source: if i % 5 == 0 {
            Source::Fill(i)
        } else {
            Source::Frame(i)
        },
    };
    let mut pushed = 0;
    while writer.push(entry(pushed)).is_ok() {
        pushed += 1;
    }
    check_eq!(pushed as usize, index::ENTRIES_MAX);
    let mut seen = 0;
    for (i, found) in (0..).zip(index::entries(writer.payload(), pushed)) {
        check_eq!(found?, entry(i));
        seen += 1;
    }
    check_eq!(seen, pushed);
    Ok(())
}

fn frame_comes_back() -> Verdict {
    let mut payload = Buf::new(3000)?;
    Random::new(3).fill(&mut payload);
    let mut bytes = Buf::new(frame::worst_case(payload.len()))?;
    let mut writer = FrameWriter::begin(&mut bytes, frame::Kind::Data, 77, &ID)?;
    for pfn in [5, 6, 7, 1 << 40, 9] {
        writer.add_page(pfn)?;
    }
    writer.payload_mut()[..3000].copy_from_slice(&payload);
    let len = writer.finish(0b10, 5 * 4096, 3000)?;
    let mut found = frame::frames(&bytes[..len], &ID, 2);
    let back: Frame<'_> = found.next().ok_or(ENOENT)??;
    check_eq!((back.frame_no, back.pages, back.applied), (77, 5, 0b10));
    check!(back.payload == &payload[..]);
    let mut extents = back.extents();
    check_eq!(extents.next().map(|e| (e.pfn, e.count)), Some((5, 3)));
    check_eq!(extents.next().map(|e| (e.pfn, e.count)), Some((1 << 40, 1)));
    check_eq!(extents.next().map(|e| (e.pfn, e.count)), Some((9, 1)));
    check!(extents.next().is_none() && found.next().is_none());
    // Of another image, or with transforms that the header does not name.
    let other = frame::frames(&bytes[..len], &ImageId([1; 16]), 2).next();
    check!(matches!(other, Some(Err(_))));
    let fewer = frame::frames(&bytes[..len], &ID, 1).next();
    check!(matches!(fewer, Some(Err(_))));
    Ok(())
}

fn identities_differ() -> Verdict {
    let mut ids = [[0; 16]; 8];
    for id in &mut ids {
        fill_random(id);
    }
    for (i, id) in ids.iter().enumerate() {
        check!(!ids[..i].contains(id));
        check!(*id != [0; 16]);
    }
    Ok(())
}
