// SPDX-License-Identifier: GPL-2.0

//! Exports and swap areas with images that somebody made to exhaust whoever reads them: all seals are right, and
//! a few bytes stand for much memory, time or disk.

use crate::encrypted::{self, Cipher};
use crate::image::commit::Commit;
use crate::image::frame::{self, Kind};
use crate::image::index::{ENTRIES_MAX, KIND_DATA, KIND_FILL};
use crate::image::root::{self, Chunk};
use crate::image::superblock::Superblock;
use crate::image::{BLOCK, FRAME_RAW_MAX, PAGES_PER_FRAME};
use crate::samples::COMMIT_BLOCK;

mod chunks;
mod maps;

use chunks::{device, export, Chunks, AROUND, RAM_PAGES};

/// A kind of hostile image.
pub struct Sort {
    /// What it is.
    pub name: &'static str,
    /// Makes one that takes about so many bytes, and no more than that.
    pub make: fn(usize) -> Vec<u8>,
    /// Whether nothing is wrong with it, but for what it claims.
    pub is_good: bool,
    /// Whether a core of it takes much disk.
    pub has_pages: bool,
    /// Name of its sample in the corpus of the fuzz target `verify`, if it has one.
    pub seed: Option<&'static str>,
}

/// Bytes of such a sample.
pub const SEED_BYTES: usize = 62 * BLOCK;

const fn kind(name: &'static str, make: fn(usize) -> Vec<u8>) -> Sort {
    Sort {
        name,
        make,
        is_good: false,
        has_pages: false,
        seed: None,
    }
}

const fn good(name: &'static str, make: fn(usize) -> Vec<u8>) -> Sort {
    Sort {
        is_good: true,
        ..kind(name, make)
    }
}

impl Sort {
    const fn with_seed(self, name: &'static str) -> Sort {
        Sort {
            seed: Some(name),
            ..self
        }
    }
}

const fn full(name: &'static str, make: fn(usize) -> Vec<u8>) -> Sort {
    Sort {
        has_pages: true,
        ..good(name, make)
    }
}

/// All kinds.
pub const ALL: &[Sort] = &[
    kind("index of one entry, zstd", |size| one_entry("zstd", size)),
    kind("index of one entry, lz4", |size| one_entry("lz4", size)),
    kind("index of one entry, lzo", |size| one_entry("lzo", size)),
    kind("index of one entry in few frames", one_entry_believed).with_seed("one-entry"),
    kind("index of pages here and there", here_and_there).with_seed("here-and-there"),
    good("index of as many runs as there may be", many_runs),
    full("index in a bad order", in_a_bad_order),
    good("index of all pages there can be", all_pages),
    kind("index of few pages in many entries", overlapping),
    full("frames of zstd", |size| frames_of("zstd", size)).with_seed("frames"),
    full("frames of lz4", |size| frames_of("lz4", size)),
    full("frames of lzo", |size| frames_of("lzo", size)),
    kind("frames that zstd never ends to unpack", sequences).with_seed("sequences"),
    kind("frames with a window of gigabytes", window),
    good("frames of two compressors", two_compressors),
    kind("one frame again and again", again),
    kind("frames of one page, none in the index", no_index),
    kind("chunks of nothing", chunks_of_nothing),
    kind("a root of one chunk", |size| {
        one_chunk(size, size / root::ENTRY_BYTES)
    }),
    kind("a root of as many chunks as blocks", |size| {
        one_chunk(size, size / BLOCK / 2)
    }),
    kind("a commit record that says too much", says_too_much),
    kind("a commit record that says too little", says_too_little),
    kind("a hint that costs gigabytes", |_| {
        hinted("argon2id:v=19,m=1572864,t=1,p=1")
    }),
    kind("a hint that costs minutes", |_| {
        hinted("argon2id:v=19,m=49152,t=64,p=1")
    }),
    kind(
        "a block map of one block here and there",
        maps::here_and_there,
    )
    .with_seed("block-map"),
    kind(
        "index of one entry, beside blocks that nobody has",
        one_entry_far,
    ),
    kind(
        "index of pages here and there, beside blocks that nobody has",
        here_and_there_far,
    ),
];

/// A byte that pages are full of.
const BYTE: u8 = 0x55;

fn packed(transform: &str, raw: &[u8]) -> Vec<u8> {
    match transform {
        "lz4" => lz4_flex::block::compress(raw),
        "lzo" => lzo1x::compress(raw, lzo1x::CompressLevel::default()),
        _ => {
            let mut out = Vec::with_capacity(zstd_safe::compress_bound(raw.len()));
            zstd_safe::compress(&mut out, raw, 3).expect("room");
            out
        }
    }
}

/// An entry: first page, how many, kind, frame or word.
type Entry = (u64, u32, u32, u64);

fn payload(entries: impl Iterator<Item = Entry>) -> Vec<u8> {
    let mut raw = Vec::with_capacity(FRAME_RAW_MAX);
    for (pfn, count, kind, value) in entries {
        raw.extend(pfn.to_le_bytes());
        raw.extend(count.to_le_bytes());
        raw.extend(kind.to_le_bytes());
        raw.extend(value.to_le_bytes());
    }
    raw
}

fn one_entry_in(transform: &str, size: usize) -> Chunks {
    let raw = payload((0..ENTRIES_MAX).map(|_| (1, 1, KIND_FILL, 7)));
    let stored = packed(transform, &raw);
    let mut chunks = Chunks::default();
    while chunks.fits(size, stored.len() + 64) {
        chunks.push(Kind::Index, &[], raw.len(), &stored);
    }
    chunks
}

fn one_entry(transform: &str, size: usize) -> Vec<u8> {
    let chunks = one_entry_in(transform, size);
    let mut commit = chunks.commit();
    commit.image_pages = 1;
    commit.fill_pages = 1;
    chunks.export(&[transform], commit)
}

/// The commit record counts what the index says, as if each page were another one.
fn one_entry_believed(size: usize) -> Vec<u8> {
    let chunks = one_entry_in("zstd", size);
    let mut commit = chunks.commit();
    commit.image_pages = commit.index_frames * ENTRIES_MAX as u64;
    commit.fill_pages = commit.image_pages;
    chunks.export(&["zstd"], commit)
}

/// The same pages again and again. The commit record counts as many data frames as there would be
/// for that if each page were another one, and so many bytes for them.
fn one_entry_far(size: usize) -> Vec<u8> {
    let raw = payload((0..ENTRIES_MAX).map(|_| (0, PAGES_PER_FRAME as u32, KIND_DATA, 0)));
    let stored = packed("zstd", &raw);
    let mut chunks = Chunks::default();
    while chunks.fits(size, stored.len() + 64) {
        chunks.push(Kind::Index, &[], raw.len(), &stored);
    }
    let mut commit = chunks.commit();
    let data_frames = commit.index_frames * ENTRIES_MAX as u64;
    commit.frames += data_frames;
    commit.data_pages = data_frames * PAGES_PER_FRAME as u64;
    commit.image_pages = commit.data_pages;
    commit.stored_bytes += data_frames * frame::HEADER_BYTES as u64;
    maps::beside_nothing(chunks.export(&["zstd"], commit))
}

/// Index frames of fill entries; `entries` makes those of a frame from its number.
fn filled<E: Iterator<Item = Entry>>(size: usize, entries: impl Fn(u64) -> E) -> Vec<u8> {
    let (chunks, commit) = filled_with(size, entries);
    chunks.export(&["zstd"], commit)
}

fn filled_with<E: Iterator<Item = Entry>>(
    size: usize,
    entries: impl Fn(u64) -> E,
) -> (Chunks, Commit) {
    let mut chunks = Chunks::default();
    let mut pages = 0;
    loop {
        let all: Vec<Entry> = entries(chunks.frames).collect();
        let raw = payload(all.iter().copied());
        let stored = packed("zstd", &raw);
        if all.is_empty() || !chunks.fits(size, stored.len() + 64) {
            break;
        }
        pages += all.iter().map(|entry| u64::from(entry.1)).sum::<u64>();
        chunks.push(Kind::Index, &[], raw.len(), &stored);
    }
    let mut commit = chunks.commit();
    commit.image_pages = pages;
    commit.fill_pages = pages;
    (chunks, commit)
}

/// Every second page.
fn second_pages(frame: u64) -> impl Iterator<Item = Entry> {
    let first = frame * ENTRIES_MAX as u64;
    (first..first + ENTRIES_MAX as u64).map(|n| (2 * n, 1, KIND_FILL, 7))
}

/// Nothing is wrong with that but that there are so many.
fn here_and_there(size: usize) -> Vec<u8> {
    filled(size, second_pages)
}

/// The commit record counts as many bytes as would be enough for them.
fn here_and_there_far(size: usize) -> Vec<u8> {
    let (chunks, mut commit) = filled_with(size, second_pages);
    commit.stored_bytes = 1 << 43;
    maps::beside_nothing(chunks.export(&["zstd"], commit))
}

/// Runs of zeros, which take no disk in a core; nothing is wrong with them.
fn many_runs(size: usize) -> Vec<u8> {
    const RUNS: u64 = 1 << 20;
    filled(size, |frame| {
        let first = frame * ENTRIES_MAX as u64;
        let all = first..RUNS.min(first + ENTRIES_MAX as u64);
        all.map(|n| (2 * n, 1, KIND_FILL, 0))
    })
}

/// No page follows another one in its frame, and in the end there is none missing.
fn in_a_bad_order(size: usize) -> Vec<u8> {
    // As many frames as there are pages between two of a frame.
    let frames = (size / 10_000) as u64;
    filled(size, |frame| {
        let count = if frame < frames {
            ENTRIES_MAX as u64
        } else {
            0
        };
        (0..count).map(move |n| (n * frames + frame, 1, KIND_FILL, 7))
    })
}

/// As many pages as there can be.
fn all_pages(size: usize) -> Vec<u8> {
    filled(size, |frame| {
        let most = u64::from(u32::MAX);
        let first = frame * ENTRIES_MAX as u64;
        (first..first + ENTRIES_MAX as u64)
            .take_while(move |n| (n + 1) * most < RAM_PAGES)
            .map(move |n| (n * most, u32::MAX, KIND_FILL, n))
    })
}

/// Runs that overlap, which nobody sees before they are in order.
fn overlapping(size: usize) -> Vec<u8> {
    filled(size, |frame| {
        (0..ENTRIES_MAX as u64).map(move |n| (n * 1000 + frame % 7, 990, KIND_FILL, 7))
    })
}

/// Most pages in a frame: what `stored` becomes, again and again. Its index is right.
fn frames_with(transform: &str, size: usize, stored: &[u8]) -> (Chunks, Commit) {
    let mut chunks = Chunks::default();
    let pages = PAGES_PER_FRAME as u64;
    let entries = |from: u64, to: u64| {
        let all = (from..to).map(|n| (n * pages, pages as u32, KIND_DATA, n));
        payload(all)
    };
    let mut entries_of = 0;
    while chunks.fits(size, stored.len() + 80 + entries_of) {
        let extent = (chunks.frames * pages, pages as u32);
        chunks.push(Kind::Data, &[extent], FRAME_RAW_MAX, stored);
        entries_of += 24;
    }
    let frames = chunks.frames;
    for from in (0..frames).step_by(ENTRIES_MAX) {
        let raw = entries(from, frames.min(from + ENTRIES_MAX as u64));
        let stored = packed(transform, &raw);
        chunks.push(Kind::Index, &[], raw.len(), &stored);
    }
    let mut commit = chunks.commit();
    commit.data_pages = frames * pages;
    commit.image_pages = commit.data_pages;
    (chunks, commit)
}

fn frames_of(transform: &str, size: usize) -> Vec<u8> {
    let stored = match transform {
        "zstd" => {
            // A frame of so many bytes, of one block, of one byte.
            let mut stored = b"\x28\xb5\x2f\xfd\xa0\x00\x00\x02\x00".to_vec();
            stored.extend(&((FRAME_RAW_MAX as u32) << 3 | 1 << 1 | 1).to_le_bytes()[..3]);
            stored.push(BYTE);
            stored
        }
        transform => packed(transform, &[BYTE; FRAME_RAW_MAX]),
    };
    let (chunks, commit) = frames_with(transform, size, &stored);
    chunks.export(&[transform], commit)
}

/// A frame of zstd with a block of sequences, each of which is 64 KiB.
fn zstd_of_sequences() -> Vec<u8> {
    const SEQUENCES: u16 = 40_000;
    // No content size, a window of 1 KiB; a block of 8 bytes as they are.
    let mut out = b"\x28\xb5\x2f\xfd\x00\x00".to_vec();
    out.extend(&(8u32 << 3).to_le_bytes()[..3]);
    out.extend([BYTE; 8]);
    // No literals; the number of sequences; codes that never change: no literals, an offset that
    // was used before, the longest match, whose last 16 bits follow.
    let mut block = vec![0, 255];
    block.extend((SEQUENCES - 0x7f00).to_le_bytes());
    block.extend([0b0101_0100, 0, 0, 52]);
    block.extend(vec![0; usize::from(SEQUENCES) * 2]);
    block.push(1);
    out.extend(&((block.len() as u32) << 3 | 2 << 1 | 1).to_le_bytes()[..3]);
    out.extend(block);
    out
}

fn sequences(size: usize) -> Vec<u8> {
    let (chunks, commit) = frames_with("zstd", size, &zstd_of_sequences());
    chunks.export(&["zstd"], commit)
}

fn window(size: usize) -> Vec<u8> {
    // A window of 2 TiB or nearly 100 MiB, and of what a block of 128 KiB is one byte.
    let stored = |window: u8| {
        let mut stored = vec![0x28, 0xb5, 0x2f, 0xfd, 0, window];
        for last in [0, 0, 0, 0, 0, 0, 0, 1] {
            stored.extend(&((FRAME_RAW_MAX as u32) << 3 | 1 << 1 | last).to_le_bytes()[..3]);
            stored.push(BYTE);
        }
        stored
    };
    let mut chunks = Chunks::default();
    while chunks.fits(size, 300) {
        for window in [0x84, 0xff] {
            let extent = (chunks.frames * 32, 32);
            chunks.push(Kind::Data, &[extent], FRAME_RAW_MAX, &stored(window));
        }
    }
    let mut commit = chunks.commit();
    commit.data_pages = chunks.frames * 32;
    commit.image_pages = commit.data_pages;
    chunks.export(&["zstd"], commit)
}

/// What one compressor unpacks is work for the next one.
fn two_compressors(size: usize) -> Vec<u8> {
    // Empty blocks of zstd, and one of all bytes; packed by zstd.
    let mut inner = b"\x28\xb5\x2f\xfd\x00\x58".to_vec();
    inner.resize(6 + 3 * 40_000, 0);
    inner.extend(&((FRAME_RAW_MAX as u32) << 3 | 1 << 1 | 1).to_le_bytes()[..3]);
    inner.push(BYTE);
    let (mut chunks, commit) = frames_with("zstd", size, &packed("zstd", &inner));
    // Both were applied.
    for (bytes, flags) in &mut chunks.all {
        let mut rest = &mut bytes[..];
        while *flags == 0 && !rest.is_empty() {
            rest[9] = 3;
            let len = crate::fuzzing::seal_frame(rest).expect("whole");
            rest = &mut rest[len..];
        }
    }
    chunks.export(&["zstd", "zstd"], commit)
}

/// The same frame, number and all.
fn again(size: usize) -> Vec<u8> {
    let stored = packed("lz4", &[BYTE; FRAME_RAW_MAX]);
    let mut chunks = Chunks::default();
    while chunks.fits(size, stored.len() + 80) {
        chunks.push_as(0, Kind::Data, &[(0, 32)], FRAME_RAW_MAX, &stored);
    }
    let mut commit = chunks.commit();
    commit.data_pages = chunks.frames * 32;
    commit.image_pages = commit.data_pages;
    chunks.export(&["lz4"], commit)
}

/// As many runs of pages as frames can have, and no index.
fn no_index(size: usize) -> Vec<u8> {
    let stored = packed("lz4", &[BYTE; FRAME_RAW_MAX]);
    let mut chunks = Chunks::default();
    while chunks.fits(size, stored.len() + 64 + 32 * 16) {
        let first = chunks.frames * 64;
        let extents: Vec<(u64, u32)> = (0..32).map(|n| (first + 2 * n, 1)).collect();
        chunks.push(Kind::Data, &extents, FRAME_RAW_MAX, &stored);
    }
    let mut commit = chunks.commit();
    commit.data_pages = chunks.frames * 32;
    commit.image_pages = commit.data_pages;
    chunks.export(&["lz4"], commit)
}

/// As many chunks as there can be, each with something wrong.
fn chunks_of_nothing(size: usize) -> Vec<u8> {
    let count = (size - AROUND) / (BLOCK + root::ENTRY_BYTES);
    let chunks = Chunks {
        all: vec![(vec![BYTE; 72], 0); count],
        ..Chunks::default()
    };
    let mut commit = chunks.commit();
    commit.frames = count as u64;
    commit.data_pages = count as u64;
    commit.image_pages = count as u64;
    chunks.export(&["lz4"], commit)
}

/// A root in which all chunks are the same one.
fn one_chunk(size: usize, count: usize) -> Vec<u8> {
    let mut blocks = vec![0; (COMMIT_BLOCK as usize + 1) * BLOCK];
    let chunk = Chunk {
        block: (blocks.len() / BLOCK) as u64,
        used: 72,
        flags: 0,
    };
    blocks.resize(blocks.len() + BLOCK, BYTE);
    let count = count.min((size - AROUND) / root::ENTRY_BYTES);
    let mut table = vec![0; count * root::ENTRY_BYTES];
    (0..count).for_each(|number| root::put(&mut table, number, &chunk).expect("possible"));
    let commit = Commit {
        image_pages: count as u64,
        data_pages: count as u64,
        frames: count as u64,
        chunks: count as u64,
        stored_bytes: 72 * count as u64,
        ..Commit::default()
    };
    export(&["lz4"], blocks, &table, commit)
}

/// An encrypted image, with a hint how its key is made.
fn hinted(costs: &str) -> Vec<u8> {
    let hint = format!("{costs},salt=30313233343536373839616263646566");
    let (superblock, blocks) = encrypted::image_with(Cipher::AesGcm, &[7; 32], &hint);
    let superblock = Superblock::decode(&superblock).expect("a sample");
    device(&superblock.expect("not empty"), &blocks)
}

fn says_too_much(size: usize) -> Vec<u8> {
    let (chunks, mut commit) = frames_with("lz4", size, &packed("lz4", &[BYTE; FRAME_RAW_MAX]));
    commit.image_pages = RAM_PAGES;
    commit.data_pages = RAM_PAGES;
    commit.frames = RAM_PAGES;
    commit.index_frames = RAM_PAGES / 2;
    commit.stored_bytes = u64::MAX;
    chunks.export(&["lz4"], commit)
}

fn says_too_little(size: usize) -> Vec<u8> {
    let (chunks, mut commit) = frames_with("lz4", size, &packed("lz4", &[BYTE; FRAME_RAW_MAX]));
    commit.image_pages = 32;
    commit.data_pages = 32;
    commit.frames = commit.chunks;
    commit.index_frames = 1;
    commit.stored_bytes = commit.chunks * 600;
    chunks.export(&["lz4"], commit)
}
