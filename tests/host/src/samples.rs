// SPDX-License-Identifier: GPL-2.0

//! Valid parts of images, the same ones in every run: what tests damage, what the golden files
//! hold, and what fuzzing starts from.

use crate::blockmap::codec::{self, Device};
use crate::blockmap::{BlockMap, MapEntry};
use crate::image::commit::Commit;
use crate::image::frame::{self, FrameWriter, Kind};
use crate::image::header::{
    self, Bystander, Facts, HeaderBuilder, Mounted, Transform, TransformKind,
};
use crate::image::index::{Entry, IndexWriter, Source};
use crate::image::root::{self, Chunk};
use crate::image::superblock::{self, Figures, State, Superblock};
use crate::image::{wire, Error, ImageId, BLOCK, PAGE};

/// Identity of every sample.
pub const ID: ImageId = ImageId(*b"sample identity!");

/// Transforms that the sample header names.
pub const TRANSFORMS: [Transform<'static>; 2] = [
    Transform {
        kind: TransformKind::Compress,
        name: "lz4",
        params: b"level=1",
    },
    Transform {
        kind: TransformKind::Encrypt,
        name: "aes-gcm",
        params: b"",
    },
];

/// What the sample header states.
pub const FACTS: Facts<'static> = Facts {
    image_id: ID,
    flags: header::FLAG_PLATFORM,
    arch: b"architecture",
    release: "6.12.117",
    kversion: "#1 SMP PREEMPT_DYNAMIC",
    machine: "x86_64",
    build_id: b"twenty bytes of hash",
    snapshot: "atomic",
    writer: "swap",
    ram_pages: 262_144,
};

/// A filesystem that was mounted.
pub const MOUNTED: Mounted<'static> = Mounted {
    uuid: *b"a filesystem's I",
    device: (254, 17),
    fingerprint: 0x1234_5678,
    name: "vdb1",
};

/// A swap area that holds no part of the image.
pub const BYSTANDER: Bystander<'static> = Bystander {
    uuid: *b"a swap area's ID",
    block: 34_816,
    device: (254, 18),
    is_virtual: false,
    label: "second",
    path: "/var/swapfile",
};

/// Returns page `pfn` of the sample: no two are the same, and none is of one word.
pub fn page(pfn: u64) -> [u8; PAGE] {
    let mut page = [0; PAGE];
    let mut word = pfn.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    for part in page.chunks_mut(8) {
        word ^= word << 13;
        word ^= word >> 7;
        word ^= word << 17;
        part.copy_from_slice(&word.to_le_bytes());
    }
    page
}

/// What the save and the load of the sample took.
const FIGURES: Figures = Figures {
    image_pages: 11,
    fill_pages: 7,
    frames: 3,
    stored_bytes: 12_595,
    atomic_ns: 2_000_001,
    write_ns: 1_333_000_002,
    load_ns: 567_000_003,
    in_place_pages: 5,
};

/// Returns the contents of the sample superblock.
pub fn superblock() -> Superblock {
    let mut sb = Superblock::new();
    sb.state = State::Committed;
    sb.attempts = 1;
    sb.image_id = ID;
    sb.header_block = HEADER_BLOCK;
    sb.commit_block = COMMIT_BLOCK;
    sb.generation = 7;
    sb.saved_at = 1_800_000_000;
    sb.storage_word0 = 0x1122_3344_5566_7788;
    sb.storage_word1 = 0x99aa_bbcc_ddee_ff00;
    sb.storage_private = [0x5a; superblock::PRIVATE_BYTES];
    sb.passed_by = 0x0123_4567_89ab_cdef;
    sb.figures = FIGURES;
    sb.set_failure(95, 3, "the image was made by another kernel, 6.12.116");
    sb
}

/// Returns the sample superblock.
pub fn superblock_bytes() -> Vec<u8> {
    let mut out = [0; superblock::BYTES];
    superblock().encode(&mut out).expect("a sample");
    out.to_vec()
}

/// Returns a header with `facts` and `transforms`, as long as it is.
///
/// # Errors
///
/// As the builder.
pub fn header_with(facts: &Facts<'_>, transforms: &[Transform<'_>]) -> Result<Vec<u8>, Error> {
    header_mounted(facts, transforms, &[])
}

/// The same with a list of filesystems.
///
/// # Errors
///
/// As the builder.
pub fn header_mounted(
    facts: &Facts<'_>,
    transforms: &[Transform<'_>],
    mounted: &[Mounted<'_>],
) -> Result<Vec<u8>, Error> {
    header_lists(facts, transforms, mounted, &[])
}

/// The same with a list of bystanders, too.
///
/// # Errors
///
/// As the builder.
pub fn header_lists(
    facts: &Facts<'_>,
    transforms: &[Transform<'_>],
    mounted: &[Mounted<'_>],
    bystanders: &[Bystander<'_>],
) -> Result<Vec<u8>, Error> {
    let mut out = vec![0xee; header::AREA_BYTES];
    let mut builder = HeaderBuilder::new(&mut out, facts)?;
    for transform in transforms {
        builder.transform(transform)?;
    }
    for filesystem in mounted {
        builder.mounted(filesystem)?;
    }
    for area in bystanders {
        builder.bystander(area)?;
    }
    builder.finish()?;
    let total_len = header::Header::decode(&out)?.total_len;
    assert!(out[total_len..].iter().all(|&b| b == 0));
    out.truncate(total_len);
    Ok(out)
}

/// Returns the sample header.
pub fn header_bytes() -> Vec<u8> {
    header_with(&FACTS, &TRANSFORMS).expect("a sample")
}

/// Returns the sample header with both of its lists.
pub fn header_lists_bytes() -> Vec<u8> {
    let other = Bystander {
        is_virtual: true,
        label: "",
        ..BYSTANDER
    };
    let lists = header_lists(&FACTS, &TRANSFORMS, &[MOUNTED], &[BYSTANDER, other]);
    lists.expect("a sample")
}

/// Returns a frame with the pages `extents`, which one of two transforms shrank to `stored`.
pub fn frame_with(frame_no: u64, extents: &[(u64, u32)], applied: u8, stored: &[u8]) -> Vec<u8> {
    let mut out = vec![0xee; frame::worst_case(stored.len())];
    let mut writer = FrameWriter::begin(&mut out, Kind::Data, frame_no, &ID).expect("room");
    for &(pfn, count) in extents {
        writer.add_extent(pfn, count).expect("a sample");
    }
    let raw_len = writer.pages() * PAGE as u32;
    writer.payload_mut()[..stored.len()].copy_from_slice(stored);
    let len = writer.finish(applied, raw_len, stored.len() as u32);
    out.truncate(len.expect("a sample"));
    out
}

/// Returns a frame whose payload the first transform shrank to a few bytes.
pub fn data_frame_bytes() -> Vec<u8> {
    frame_with(
        5,
        &[(0x1000, 3), (0x2000, 1)],
        1,
        b"shrunk payload, 27 bytes...",
    )
}

/// Returns the index frame of the sample image.
pub fn index_frame_bytes() -> Vec<u8> {
    let mut payload = [0; 4096];
    let mut index = IndexWriter::new(&mut payload[..]);
    let entries = [
        (0x1000, 2, Source::Frame(0)),
        (0x1002, 6, Source::Fill(0)),
        (0x1010, 1, Source::Frame(0)),
        (0x1011, 1, Source::Fill(0x0102_0304_0506_0708)),
        (0x2000, 1, Source::Frame(1)),
    ];
    for (pfn, count, source) in entries {
        index.push(Entry { pfn, count, source }).expect("a sample");
    }
    let raw = index.payload();
    let mut out = vec![0xee; frame::worst_case(raw.len())];
    let mut writer = FrameWriter::begin(&mut out, Kind::Index, 2, &ID).expect("room");
    writer.payload_mut()[..raw.len()].copy_from_slice(raw);
    let len = writer.finish(0, raw.len() as u32, raw.len() as u32);
    out.truncate(len.expect("a sample"));
    out
}

/// Block of the header in the sample image.
pub const HEADER_BLOCK: u64 = 0;

/// Block of the commit record in the sample image.
pub const COMMIT_BLOCK: u64 = 16;

/// Block of the data chunk in the sample image.
pub const DATA_BLOCK: u64 = 17;
/// Block of the index chunk in the sample image.
pub const INDEX_BLOCK: u64 = 21;
/// Block of the root in the sample image.
pub const ROOT_BLOCK: u64 = 22;

/// Blocks of the sample image.
pub const IMAGE_BLOCKS: usize = 23;

/// Returns the data chunk of the sample image: two frames, four pages.
pub fn data_chunk_bytes() -> Vec<u8> {
    let mut payload = Vec::new();
    for pfn in [0x1000, 0x1001, 0x1010] {
        payload.extend_from_slice(&page(pfn));
    }
    let mut chunk = frame_with(0, &[(0x1000, 2), (0x1010, 1)], 0, &payload);
    chunk.extend(frame_with(1, &[(0x2000, 1)], 1, b"stands for page 0x2000"));
    chunk
}

/// Returns the root of the sample image.
pub fn root_bytes() -> Vec<u8> {
    let chunks = [
        Chunk {
            block: DATA_BLOCK,
            used: data_chunk_bytes().len() as u32,
            flags: 0,
        },
        Chunk {
            block: INDEX_BLOCK,
            used: index_frame_bytes().len() as u32,
            flags: root::FLAG_INDEX,
        },
    ];
    let mut out = vec![0; chunks.len() * root::ENTRY_BYTES];
    for (number, chunk) in chunks.iter().enumerate() {
        root::put(&mut out, number, chunk).expect("a sample");
    }
    out
}

/// Returns the contents of the sample commit record.
pub fn commit() -> Commit {
    let header = header_bytes();
    Commit {
        image_id: ID,
        image_pages: 11,
        data_pages: 4,
        fill_pages: 7,
        frames: 3,
        index_frames: 1,
        chunks: 2,
        root_block: ROOT_BLOCK,
        root_crc: wire::crc(&root_bytes()),
        header_crc: header::Header::decode(&header).expect("a sample").crc,
        stored_bytes: (data_chunk_bytes().len() + index_frame_bytes().len()) as u64,
        tag: [0; 64],
    }
}

/// Returns the sample commit record.
pub fn commit_bytes() -> Vec<u8> {
    let mut out = [0; BLOCK];
    commit().encode(&mut out).expect("a sample");
    out.to_vec()
}

/// Returns the blocks of the sample image, which [`superblock_bytes`] belongs to.
pub fn image_bytes() -> Vec<u8> {
    let mut out = vec![0; IMAGE_BLOCKS * BLOCK];
    let parts = [
        (HEADER_BLOCK, header_bytes()),
        (COMMIT_BLOCK, commit_bytes()),
        (DATA_BLOCK, data_chunk_bytes()),
        (INDEX_BLOCK, index_frame_bytes()),
        (ROOT_BLOCK, root_bytes()),
    ];
    for (block, part) in parts {
        let at = block as usize * BLOCK;
        out[at..at + part.len()].copy_from_slice(&part);
    }
    out
}

/// Devices of the sample block map.
pub const DEVICES: [Device<'static>; 2] = [
    Device {
        uuid: *b"first swap area.",
        blocks: 100_000,
        major: 254,
        minor: 2,
        signature_block: 0,
        private: 1,
        label: "/dev/vda2",
    },
    Device {
        uuid: *b"second swap area",
        blocks: 50_000,
        major: 254,
        minor: 17,
        signature_block: 8,
        private: 2,
        label: "/var/swapfile",
    },
];

/// Returns the sample block map: two devices, `entries` runs.
pub fn block_map(entries: u32) -> BlockMap<Vec<MapEntry>> {
    let mut map = BlockMap::new(vec![MapEntry::default(); entries as usize]);
    for number in 0..entries {
        let block = 100 + u64::from(number / 2) * 100;
        map.append(number % 2, block, 10 + number % 7)
            .expect("a sample");
    }
    map
}

/// Returns the chain of map blocks of `map`; map block `i` of the chain lies in block `2 + i` of
/// the first device.
pub fn map_blocks(map: &BlockMap<Vec<MapEntry>>) -> Vec<[u8; BLOCK]> {
    let blocks = codec::blocks_for(map.entries().len());
    let next = |number: usize| {
        if number + 1 < blocks {
            3 + number as u64
        } else {
            0
        }
    };
    let mut chain = vec![[0; BLOCK]; blocks];
    codec::encode_devices(&mut chain[0], &ID, &DEVICES, next(0), map.total()).expect("a sample");
    for (number, block) in chain.iter_mut().enumerate().skip(1) {
        let sequence = number as u32;
        codec::encode_entries(block, &ID, map, sequence, next(number)).expect("a sample");
    }
    chain
}
