// SPDX-License-Identifier: GPL-2.0

//! Tables of frames and of the index.

use dormouse_host::image::frame::{self, FrameWriter, Kind};
use dormouse_host::image::index::{Entry, IndexWriter, Source};
use dormouse_host::image::{self, ImageId, PAGE};

use super::Change::{Fixed, Part, Whole};
use super::{compare, ONES, OTHER};

// A frame of the pages `extents`, the seal left out.
fn frame_bytes(
    id: ImageId,
    no: u64,
    extents: &[(u64, u32)],
    applied: u8,
    stored: usize,
) -> Vec<u8> {
    let mut out = vec![0; frame::worst_case(stored)];
    let mut writer = FrameWriter::begin(&mut out, Kind::Data, no, &id).unwrap();
    for &(pfn, count) in extents {
        writer.add_extent(pfn, count).unwrap();
    }
    let raw_len = writer.pages() * PAGE as u32;
    writer.finish(applied, raw_len, stored as u32).unwrap();
    out
}

// A frame like that of the table, with ones as payload.
fn other_payload() -> Vec<u8> {
    let mut out = vec![0; frame::worst_case(8)];
    let mut writer = FrameWriter::begin(&mut out, Kind::Data, 0, &ImageId([0; 16])).unwrap();
    writer.add_extent(0, 2).unwrap();
    writer.payload_mut()[..8].fill(0xff);
    writer.finish(1, 2 * PAGE as u32, 8).unwrap();
    out.truncate(frame::HEADER_BYTES);
    out
}

#[test]
fn frame_tables() {
    let zero = ImageId([0; 16]);
    let cut = |mut bytes: Vec<u8>| {
        bytes.truncate(frame::HEADER_BYTES);
        bytes
    };
    let make = |no, extents: &[(u64, u32)], applied, stored| {
        cut(frame_bytes(zero, no, extents, applied, stored))
    };
    let base = make(0, &[(0, 2)], 1, 8);
    let index_kind = {
        let mut out = [0; 128];
        let writer = FrameWriter::begin(&mut out, Kind::Index, 0, &zero).unwrap();
        writer.finish(1, 24, 8).unwrap();
        cut(out.to_vec())
    };
    let changes = vec![
        ("magic", Fixed(frame::MAGIC.to_vec())),
        ("kind", Part(index_kind, &["extent_count", "raw_len"])),
        ("applied", Whole(make(0, &[(0, 2)], 0xfe, 8))),
        ("extent_count", Part(make(0, &[(0, 1), (9, 1)], 1, 8), &[])),
        ("raw_len", Part(make(0, &[(0, 32)], 1, 8), &[])),
        (
            "stored_len",
            Part(make(0, &[(0, 2)], 1, 0x7_0000), &["payload_sum"]),
        ),
        ("reserved0", Fixed(vec![0; 4])),
        ("frame_no", Whole(make(ONES, &[(0, 2)], 1, 8))),
        (
            "image_id",
            Whole(cut(frame_bytes(OTHER, 0, &[(0, 2)], 1, 8))),
        ),
        ("payload_sum", Whole(other_payload())),
        ("reserved1", Fixed(vec![0; 8])),
    ];
    compare("Frame", &base, changes);

    let extent = |pfn, count| {
        let all = frame_bytes(zero, 0, &[(pfn, count)], 1, 8);
        all[frame::HEADER_BYTES..][..frame::EXTENT_BYTES].to_vec()
    };
    let changes = vec![
        ("pfn", Part(extent(image::PFN_LIMIT - 1, 1), &[])),
        ("count", Part(extent(0, 32), &[])),
        ("reserved", Fixed(vec![0; 4])),
    ];
    compare("Frame extent", &extent(0, 1), changes);
}

#[test]
fn index_table() {
    let bytes = |pfn, count, source| {
        let mut index = IndexWriter::new(vec![0; 24]);
        index.push(Entry { pfn, count, source }).unwrap();
        index.payload().to_vec()
    };
    let base = bytes(0, 1, Source::Fill(0));
    let changes = vec![
        (
            "pfn",
            Part(bytes(image::PFN_LIMIT - 1, 1, Source::Fill(0)), &[]),
        ),
        ("count", Whole(bytes(0, 0xffff_fffe, Source::Fill(0)))),
        ("kind", Part(bytes(0, 1, Source::Frame(0)), &[])),
        ("value", Whole(bytes(0, 1, Source::Fill(ONES)))),
    ];
    compare("Index entry", &base, changes);
    assert_eq!(base[12..16], [1, 0, 0, 0]);
}
