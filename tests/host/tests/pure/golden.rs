// SPDX-License-Identifier: GPL-2.0

//! Images of every version of the format, written once and never again.
//!
//! `tests/vectors/v1/` was written by `write_vectors`. When the format changes, the version
//! number does too, and the old files stay.

use std::fs;
use std::path::PathBuf;

use dormouse_host::blockmap::codec::ChainReader;
use dormouse_host::blockmap::{BlockMap, MapEntry};
use dormouse_host::image::index::{entries, Source};
use dormouse_host::image::{frame, header, superblock, BLOCK};
use dormouse_host::reader::{self, Contents};
use dormouse_host::samples::{self, ID};

fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../vectors/v1")
        .join(name)
}

fn vector(name: &str) -> Vec<u8> {
    fs::read(path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn all() -> [(&'static str, Vec<u8>); 7] {
    [
        ("superblock.bin", samples::superblock_bytes()),
        ("header.bin", samples::header_bytes()),
        ("header-lists.bin", samples::header_lists_bytes()),
        ("frame-data.bin", samples::data_frame_bytes()),
        ("frame-index.bin", samples::index_frame_bytes()),
        ("image.bin", samples::image_bytes()),
        (
            "blockmap.bin",
            samples::map_blocks(&samples::block_map(3)).concat(),
        ),
    ]
}

#[test]
#[ignore = "writes the files that the other tests read; only for a new version or part"]
fn write_vectors() {
    fs::create_dir_all(path("")).unwrap();
    for (name, bytes) in all() {
        // What is there is never rewritten.
        if !path(name).exists() {
            fs::write(path(name), bytes).unwrap();
        }
    }
}

#[test]
fn todays_code_writes_the_same_bytes() {
    for (name, bytes) in all() {
        assert!(vector(name) == bytes, "{name}");
    }
}

// Values are spelled out here, so that a change of the samples is seen too.
#[test]
fn superblock_and_header() {
    let bytes = vector("superblock.bin");
    let sb = superblock::Superblock::decode(&bytes).unwrap().unwrap();
    assert_eq!(sb.state, superblock::State::Committed);
    assert_eq!(
        (sb.attempts, sb.generation, sb.saved_at),
        (1, 7, 1_800_000_000)
    );
    assert_eq!((sb.header_block, sb.commit_block), (0, 16));
    assert_eq!(sb.storage_word0, 0x1122_3344_5566_7788);
    assert_eq!((sb.last_errno, sb.last_step), (95, 3));
    assert_eq!(
        sb.reason(),
        "the image was made by another kernel, 6.12.116"
    );
    assert_eq!(sb.storage_private, [0x5a; 64]);
    assert_eq!(sb.passed_by, 0x0123_4567_89ab_cdef);
    let f = &sb.figures;
    assert_eq!(
        (f.image_pages, f.fill_pages, f.frames, f.stored_bytes),
        (11, 7, 3, 12_595)
    );
    assert_eq!(
        (f.atomic_ns, f.write_ns, f.load_ns, f.in_place_pages),
        (2_000_001, 1_333_000_002, 567_000_003, 5)
    );

    let bytes = vector("header.bin");
    let header = header::Header::decode(&bytes).unwrap();
    assert_eq!(header.facts.image_id.0, *b"sample identity!");
    assert_eq!(header.facts.release, "6.12.117");
    assert_eq!(header.facts.machine, "x86_64");
    assert_eq!(header.facts.build_id, b"twenty bytes of hash");
    assert_eq!(
        (header.facts.snapshot, header.facts.writer),
        ("atomic", "swap")
    );
    assert_eq!(
        (header.facts.arch, header.facts.ram_pages),
        (&b"architecture"[..], 262_144)
    );
    assert!(header.platform_mode() && !header.may_override());
    let names: Vec<&str> = header.transforms().map(|t| t.name).collect();
    assert_eq!(names, ["lz4", "aes-gcm"]);
    assert_eq!(header.transforms().next().unwrap().params, b"level=1");
}

#[test]
fn lists_of_a_header() {
    let bytes = vector("header-lists.bin");
    let header = header::Header::decode(&bytes).unwrap();
    let mounted: Vec<_> = header.mounted().map(|m| (m.uuid, m.name)).collect();
    assert_eq!(mounted, [(*b"a filesystem's I", "vdb1")]);
    let bystanders: Vec<_> = header.bystanders().collect();
    assert_eq!(bystanders.len(), 2);
    let first = &bystanders[0];
    assert_eq!((first.block, first.device), (34_816, (254, 18)));
    assert_eq!((first.label, first.path), ("second", "/var/swapfile"));
    assert!(!first.is_virtual && bystanders[1].is_virtual);
    assert!(bystanders.iter().all(|b| b.uuid == *b"a swap area's ID"));
}

#[test]
fn frames() {
    let bytes = vector("frame-data.bin");
    let (data, len) = frame::Frame::decode(&bytes, &ID, 2).unwrap();
    assert_eq!(len, bytes.len());
    assert_eq!(
        (data.applied, data.frame_no, data.raw_len, data.pages),
        (1, 5, 16384, 4)
    );
    let extents: Vec<_> = data.extents().map(|e| (e.pfn, e.count)).collect();
    assert_eq!(extents, [(0x1000, 3), (0x2000, 1)]);
    assert_eq!(data.payload, b"shrunk payload, 27 bytes...");

    let bytes = vector("frame-index.bin");
    let (index, _) = frame::Frame::decode(&bytes, &ID, 2).unwrap();
    let entries: Vec<_> = entries(index.payload, 3).map(|e| e.unwrap()).collect();
    let found: Vec<_> = entries.iter().map(|e| (e.pfn, e.count, e.source)).collect();
    let expected = [
        (0x1000, 2, Source::Frame(0)),
        (0x1002, 6, Source::Fill(0)),
        (0x1010, 1, Source::Frame(0)),
        (0x1011, 1, Source::Fill(0x0102_0304_0506_0708)),
        (0x2000, 1, Source::Frame(1)),
    ];
    assert_eq!(found, expected);
}

#[test]
fn image() {
    let image = reader::read(&vector("superblock.bin"), &vector("image.bin"));
    let image = image.unwrap().unwrap();
    assert_eq!((image.pages.len(), image.page_count()), (4, 11));
    for pfn in [0x1000, 0x1001, 0x1010] {
        assert_eq!(
            image.pages[&pfn],
            Contents::Plain(samples::page(pfn).to_vec())
        );
    }
    let fills = [(0x1002, 6, 0), (0x1011, 1, 0x0102_0304_0506_0708)];
    assert_eq!(image.fills, fills);
    let stored = b"stands for page 0x2000".to_vec();
    assert_eq!(image.pages[&0x2000], Contents::Transformed(stored, 0));
}

#[test]
fn block_map() {
    let bytes = vector("blockmap.bin");
    let mut blocks = bytes.chunks(BLOCK);
    let (mut chain, devices) = ChainReader::begin(blocks.next().unwrap(), &ID).unwrap();
    let labels: Vec<&str> = devices.map(|device| device.label).collect();
    assert_eq!(labels, ["/dev/vda2", "/var/swapfile"]);
    assert_eq!(chain.next(), Some(3));
    let mut map = BlockMap::new(vec![MapEntry::default(); 3]);
    chain.block(blocks.next().unwrap(), &mut map).unwrap();
    chain.finish(&map).unwrap();
    let found: Vec<_> = map
        .entries()
        .iter()
        .map(|e| (e.device, e.block, e.count))
        .collect();
    assert_eq!(found, [(0, 100, 10), (1, 100, 11), (0, 200, 12)]);
    assert_eq!(map.total(), 33);
}
