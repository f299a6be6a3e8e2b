// SPDX-License-Identifier: GPL-2.0

//! Index entries, and words that fill pages.

use std::collections::BTreeMap;

use dormouse_host::fill::{fill, filled_with};
use dormouse_host::image::index::{entries, Entry, IndexWriter, Source, ENTRIES_MAX, ENTRY_BYTES};
use dormouse_host::image::{Error, FRAME_RAW_MAX, PAGE, PFN_LIMIT};
use proptest::collection::vec;
use proptest::prelude::*;

fn any_source() -> impl Strategy<Value = Source> {
    prop_oneof![
        (0u64..3).prop_map(Source::Frame),
        (0u64..2).prop_map(Source::Fill)
    ]
}

fn pages(all: &[Entry]) -> BTreeMap<u64, Source> {
    let each = |e: &Entry| {
        (e.pfn..e.pfn + u64::from(e.count))
            .map(|pfn| (pfn, e.source))
            .collect()
    };
    all.iter().flat_map(|e| -> Vec<_> { each(e) }).collect()
}

proptest! {
    #[test]
    fn round_trip(steps in vec((0u64..2, 1u32..20, any_source()), 0..200), base in 0..PFN_LIMIT / 2) {
        let mut written = Vec::new();
        let mut pfn = base;
        let mut index = IndexWriter::new(vec![0xee; FRAME_RAW_MAX]);
        for (gap, count, source) in steps {
            let entry = Entry { pfn: pfn + gap, count, source };
            index.push(entry).unwrap();
            written.push(entry);
            pfn = entry.pfn + u64::from(count);
        }
        let read: Vec<Entry> = entries(index.payload(), 3).collect::<Result<_, _>>().unwrap();
        prop_assert_eq!(pages(&read), pages(&written));
        for pair in read.windows(2) {
            let adjacent = pair[0].pfn + u64::from(pair[0].count) == pair[1].pfn;
            let joinable = adjacent && pair[0].source == pair[1].source;
            let too_long = pair[0].count + pair[1].count > 32
                && matches!(pair[0].source, Source::Frame(_));
            prop_assert!(!joinable || too_long);
        }
    }

    #[test]
    fn hostile_input(bytes in vec(any::<u8>(), 0..200)) {
        dormouse_host::fuzzing::index(&bytes);
    }

    #[test]
    fn fill_is_found(word: u64, words in 1usize..600, at: usize, bit in 0u8..8) {
        let mut bytes = vec![0; words * 8];
        fill(&mut bytes, word);
        prop_assert!(bytes.chunks(8).all(|part| part == word.to_le_bytes()));
        prop_assert_eq!(filled_with(&bytes), Some(word));
        if words > 1 {
            let at = at % bytes.len();
            bytes[at] ^= 1 << bit;
            prop_assert_eq!(filled_with(&bytes), None);
        }
    }
}

#[test]
fn odd_bytes_are_filled_by_nothing() {
    assert_eq!(filled_with(&[]), None);
    assert_eq!(filled_with(&[0; 7]), None);
    assert_eq!(filled_with(&[0; 12]), None);
    assert_eq!(filled_with(&[0; PAGE]), Some(0));
}

#[test]
fn refusals() {
    let mut index = IndexWriter::new(vec![0; 48]);
    let entry = |pfn, count, source| Entry { pfn, count, source };
    assert_eq!(
        index.push(entry(0, 0, Source::Fill(0))),
        Err(Error::PageRange)
    );
    assert_eq!(
        index.push(entry(PFN_LIMIT, 1, Source::Fill(0))),
        Err(Error::PageRange)
    );
    assert_eq!(
        index.push(entry(0, 33, Source::Frame(0))),
        Err(Error::PageRange)
    );
    index.push(entry(0, u32::MAX, Source::Fill(0))).unwrap();
    // Too long to join, so the second entry; then the buffer is full.
    index
        .push(entry(u64::from(u32::MAX), 1, Source::Fill(0)))
        .unwrap();
    assert_eq!(index.payload().len(), 48);
    assert_eq!(index.push(entry(0, 1, Source::Fill(1))), Err(Error::NoRoom));
    // Joining needs no room.
    index
        .push(entry(u64::from(u32::MAX) + 1, 1, Source::Fill(0)))
        .unwrap();
    index.clear();
    assert!(index.payload().is_empty());
    index
        .push(entry(u64::from(u32::MAX) + 2, 1, Source::Fill(0)))
        .unwrap();
    assert_eq!(index.payload().len(), ENTRY_BYTES);
}

#[test]
fn bad_entries_end_the_walk() {
    let raw = |pfn: u64, count: u32, kind: u32, value: u64| {
        let mut bytes = pfn.to_le_bytes().to_vec();
        bytes.extend(count.to_le_bytes());
        bytes.extend(kind.to_le_bytes());
        bytes.extend(value.to_le_bytes());
        bytes
    };
    let check =
        |bytes: &[u8]| -> Vec<Option<Error>> { entries(bytes, 5).map(|e| e.err()).collect() };
    assert_eq!(check(&raw(1, 1, 0, 4)), [None]);
    assert_eq!(check(&raw(1, 1, 0, 5)), [Some(Error::BadFrameNo)]);
    assert_eq!(check(&raw(1, 1, 1, 5)), [None]);
    assert_eq!(check(&raw(1, 1, 2, 0)), [Some(Error::UnknownFeature)]);
    assert_eq!(check(&raw(1, 0, 1, 0)), [Some(Error::PageRange)]);
    assert_eq!(check(&raw(1, 33, 0, 0)), [Some(Error::PageRange)]);
    assert_eq!(check(&raw(u64::MAX, 2, 1, 0)), [Some(Error::PageRange)]);
    let mut two = raw(1, 0, 1, 0);
    two.extend(raw(1, 1, 1, 0));
    assert_eq!(check(&two), [Some(Error::PageRange)]);
    two.truncate(30);
    two[8] = 1;
    assert_eq!(check(&two), [None, Some(Error::Truncated)]);
}

#[test]
fn a_full_frame_is_within_its_limit() {
    let mut index = IndexWriter::new(vec![0; FRAME_RAW_MAX + 1000]);
    let mut count = 0;
    while index
        .push(Entry {
            pfn: count * 2,
            count: 1,
            source: Source::Fill(count),
        })
        .is_ok()
    {
        count += 1;
    }
    assert_eq!(count as usize, ENTRIES_MAX);
    assert!(index.payload().len() <= FRAME_RAW_MAX);
}
