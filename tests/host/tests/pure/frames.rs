// SPDX-License-Identifier: GPL-2.0

//! Frames: round trip, refusals, walking over a chunk.

use dormouse_host::image::frame::{
    frames, size, worst_case, Extent, Frame, FrameWriter, Kind, EXTENTS_MAX, STORED_MAX,
};
use dormouse_host::image::{
    wire, Error, ImageId, CHUNK_BYTES, FRAME_RAW_MAX, PAGE, PAGES_PER_FRAME, PFN_LIMIT,
};
use dormouse_host::samples::{self, data_frame_bytes, frame_with, index_frame_bytes, ID};
use proptest::collection::vec;
use proptest::prelude::*;

// Runs of pages as a worker meets them, ascending, with gaps (or none, then they merge).
fn any_extents() -> impl Strategy<Value = Vec<(u64, u32)>> {
    (0u64..PFN_LIMIT / 2, vec((0u64..3, 1u32..=4), 1..=8)).prop_map(|(base, steps)| {
        let mut pfn = base;
        let mut extents = Vec::new();
        for (gap, count) in steps {
            pfn += gap;
            extents.push((pfn, count));
            pfn += u64::from(count);
        }
        extents
    })
}

proptest! {
    #[test]
    fn round_trip(
        all in vec((any_extents(), vec(any::<u8>(), 1..9000), 1u8..4, any::<u64>()), 1..4)
    ) {
        let mut chunk = Vec::new();
        for (extents, stored, applied, frame_no) in &all {
            let bytes = frame_with(*frame_no, extents, *applied, stored);
            prop_assert_eq!(bytes.len() % 8, 0);
            chunk.extend(bytes);
        }
        let read: Vec<_> = frames(&chunk, &ID, 2).collect::<Result<_, _>>().unwrap();
        prop_assert_eq!(read.len(), all.len());
        for (frame, (extents, stored, applied, frame_no)) in read.iter().zip(&all) {
            prop_assert_eq!(frame.kind, Kind::Data);
            prop_assert_eq!(frame.applied, *applied);
            prop_assert_eq!(frame.frame_no, *frame_no);
            prop_assert_eq!(frame.payload, stored.as_slice());
            let pages = |(pfn, count): (u64, u32)| pfn..pfn + u64::from(count);
            let written: Vec<u64> = extents.iter().copied().flat_map(pages).collect();
            let found: Vec<Extent> = frame.extents().collect();
            let found_pages: Vec<u64> =
                found.iter().flat_map(|e| pages((e.pfn, e.count))).collect();
            prop_assert_eq!(found_pages, written);
            // What touches is one extent.
            prop_assert!(found.windows(2).all(|e| e[0].pfn + u64::from(e[0].count) != e[1].pfn));
            prop_assert_eq!(frame.raw_len as usize, frame.pages as usize * PAGE);
        }
    }

    #[test]
    fn hostile_fields(at in 0usize..200, value: u8, index: bool) {
        let mut bytes = if index { index_frame_bytes() } else { data_frame_bytes() };
        let at = at % bytes.len();
        bytes[at] = value;
        dormouse_host::fuzzing::frame(&bytes);
    }
}

// Seals the header and the extents of the first frame of `bytes` after a change.
fn sealed(mut bytes: Vec<u8>, extents: usize, change: impl Fn(&mut [u8])) -> Option<Error> {
    change(&mut bytes);
    wire::seal(&mut bytes[..size(extents, 0)], 4).unwrap();
    Frame::decode(&bytes, &ID, 2).err()
}

#[test]
fn refusals() {
    let data = |change: fn(&mut [u8])| sealed(data_frame_bytes(), 2, change);
    assert_eq!(data(|_| ()), None);
    assert_eq!(data(|b| b[0] = b'd'), Some(Error::BadMagic));
    assert_eq!(data(|b| b[8] = 2), Some(Error::UnknownFeature));
    assert_eq!(data(|b| b[9] = 4), Some(Error::BadTransform));
    assert_eq!(data(|b| b[9] = 0), Some(Error::BadLength));
    assert_eq!(data(|b| b[12] = 1), Some(Error::BadLength));
    assert_eq!(data(|b| b[15] = 0xff), Some(Error::BadLength));
    assert_eq!(data(|b| b[19] = 0xff), Some(Error::Truncated));
    assert_eq!(data(|b| b[20] = 1), Some(Error::NotZero));
    assert_eq!(data(|b| b[32] = 0), Some(Error::OtherImage));
    assert_eq!(data(|b| b[48] ^= 1), Some(Error::BadCrc));
    assert_eq!(data(|b| b[55] ^= 1), Some(Error::BadCrc));
    assert_eq!(data(|b| b[63] = 1), Some(Error::NotZero));
    assert_eq!(data(|b| b[size(2, 0)] ^= 1), Some(Error::BadCrc));
    assert_eq!(data(|b| b[size(2, 0) + 26] ^= 1), Some(Error::BadCrc));
    assert_eq!(data(|b| b[70] = 0xff), Some(Error::PageRange));
    assert_eq!(data(|b| b[72] = 0), Some(Error::PageRange));
    assert_eq!(data(|b| b[76] = 1), Some(Error::NotZero));
    // The second extent begins within the first, with it, and before it.
    let second = |pfn: [u8; 2], count: u8| {
        sealed(data_frame_bytes(), 2, |b| {
            b[80..82].copy_from_slice(&pfn);
            b[88] = count;
        })
    };
    assert_eq!(second([2, 0x10], 1), Some(Error::Overlap));
    assert_eq!(second([0, 0x10], 1), Some(Error::Overlap));
    assert_eq!(second([0xff, 0x0f], 2), Some(Error::Overlap));
    assert_eq!(second([0xff, 0x0f], 1), None);
    assert_eq!(second([3, 0x10], 1), None);
    assert_eq!(data(|b| b[88] = 2), Some(Error::BadLength));
    assert_eq!(data(|b| b[88] = 30), Some(Error::BadCount));
    // Padding is not sealed, but must be zero.
    assert_eq!(data(|b| b[b.len() - 1] = 1), Some(Error::NotZero));

    let index = index_frame_bytes();
    let index = |change: fn(&mut [u8])| sealed(index.clone(), 0, change);
    assert_eq!(index(|_| ()), None);
    assert_eq!(index(|b| b[8] = 0), Some(Error::BadCount));
    assert_eq!(index(|b| b[12] = 1), Some(Error::BadLength));
}

#[test]
fn the_identity_and_the_transforms_come_from_the_header() {
    let bytes = data_frame_bytes();
    let other = Frame::decode(&bytes, &ImageId([0; 16]), 2);
    assert_eq!(other.err(), Some(Error::OtherImage));
    assert_eq!(
        Frame::decode(&bytes, &ID, 0).err(),
        Some(Error::BadTransform)
    );
    assert!(Frame::decode(&bytes, &ID, 1).is_ok());
    let eighth = frame_with(0, &[(1, 1)], 0x80, b"x");
    assert_eq!(
        Frame::decode(&eighth, &ID, 7).err(),
        Some(Error::BadTransform)
    );
    assert!(Frame::decode(&eighth, &ID, 8).is_ok());
}

#[test]
fn nothing_follows_a_broken_frame() {
    let mut chunk = samples::data_chunk_bytes();
    assert_eq!(frames(&chunk, &ID, 2).count(), 2);
    chunk[100] ^= 1;
    let found: Vec<_> = frames(&chunk, &ID, 2).map(|f| f.err()).collect();
    assert_eq!(found, [Some(Error::BadCrc)]);
    // A tail that is not a frame, even of zeros, is an error too.
    let mut chunk = samples::data_chunk_bytes();
    chunk.extend([0; 8]);
    let last = frames(&chunk, &ID, 2).last().unwrap();
    assert_eq!(last.err(), Some(Error::BadMagic));
}

#[test]
fn a_frame_that_could_not_be_read_is_not_written() {
    let mut buf = vec![0; worst_case(FRAME_RAW_MAX)];
    let full = PAGES_PER_FRAME as u32;

    let mut writer = FrameWriter::begin(&mut buf, Kind::Data, 0, &ID).unwrap();
    assert_eq!(writer.add_extent(5, 0), Err(Error::PageRange));
    assert_eq!(writer.add_extent(PFN_LIMIT, 1), Err(Error::PageRange));
    assert_eq!(writer.add_extent(u64::MAX, 2), Err(Error::PageRange));
    assert_eq!(writer.add_extent(5, full + 1), Err(Error::BadCount));
    writer.add_extent(5, full).unwrap();
    assert_eq!(writer.add_page(5 + u64::from(full)), Err(Error::BadCount));
    assert_eq!(
        writer.finish(0, FRAME_RAW_MAX as u32, 1),
        Err(Error::BadLength)
    );

    let mut writer = FrameWriter::begin(&mut buf, Kind::Data, 0, &ID).unwrap();
    writer.add_page(1).unwrap();
    writer.payload_mut();
    assert_eq!(writer.add_page(2), Err(Error::BadCount));
    assert_eq!(writer.finish(1, 2 * PAGE as u32, 1), Err(Error::BadLength));

    let mut writer = FrameWriter::begin(&mut buf, Kind::Index, 0, &ID).unwrap();
    assert_eq!(writer.add_page(1), Err(Error::BadCount));
    assert_eq!(writer.finish(0, 23, 23), Err(Error::BadLength));
    let writer = FrameWriter::begin(&mut buf, Kind::Data, 0, &ID).unwrap();
    assert_eq!(writer.finish(0, 0, 0), Err(Error::BadLength));
    let writer = FrameWriter::begin(&mut buf, Kind::Data, 0, &ID).unwrap();
    assert_eq!(writer.finish(1, PAGE as u32, 1), Err(Error::BadCount));
}

#[test]
fn a_frame_fits_its_worst_case_and_no_less() {
    let pfns = (0..EXTENTS_MAX as u64).map(|n| n * 2);
    let fill = |buf: &mut [u8]| {
        let mut writer = FrameWriter::begin(buf, Kind::Data, 0, &ID)?;
        pfns.clone().try_for_each(|pfn| writer.add_page(pfn))?;
        writer.payload_mut();
        writer.finish(0, FRAME_RAW_MAX as u32, FRAME_RAW_MAX as u32)
    };
    let mut buf = vec![0; worst_case(FRAME_RAW_MAX)];
    assert_eq!(fill(&mut buf), Ok(buf.len()));
    assert!(Frame::decode(&buf, &ID, 0).is_ok());
    for len in [0, 63, 64, 80, 600, buf.len() - 1] {
        assert_eq!(fill(&mut buf[..len]), Err(Error::NoRoom), "{len}");
    }
    assert!(worst_case(STORED_MAX) <= CHUNK_BYTES);
}
