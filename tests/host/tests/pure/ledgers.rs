// SPDX-License-Identifier: GPL-2.0

//! The accounts of an image against the plainest ones there can be: both say the same of images
//! that are whole and of such with something wrong.

use std::collections::{BTreeMap, BTreeSet};

use dormouse_host::image::commit::Commit;
use dormouse_host::image::frame::{self, Frame, FrameWriter, Kind};
use dormouse_host::image::index::{Entry, Source};
use dormouse_host::image::root::{self, Chunk};
use dormouse_host::image::{Result, PAGE};
use dormouse_host::samples::ID;
use dormouse_image::ledger::Ledger;
use proptest::prelude::*;
use proptest::sample::Index;

/// An image, as far as its accounts go.
#[derive(Clone, Debug)]
struct Image {
    /// Numbers and pages of data frames.
    frames: Vec<(u64, Vec<u64>)>,
    /// Numbers and entries of index frames.
    index: Vec<(u64, Vec<Entry>)>,
    commit: Commit,
}

/// Entries of an index frame; few, so that there are several frames.
const ENTRIES: usize = 5;

/// Makes an image of these pages: those with a word are filled, the others are in frames of up to
/// `per_frame`, in this order.
fn image(pages: &[(u64, Option<u64>)], per_frame: usize, joins: bool) -> Image {
    let data: Vec<u64> = pages
        .iter()
        .filter(|p| p.1.is_none())
        .map(|p| p.0)
        .collect();
    let frames: Vec<_> = data.chunks(per_frame).map(<[u64]>::to_vec).collect();
    let frames: Vec<_> = (0..).zip(frames).collect();
    let mut entries: Vec<Entry> = Vec::new();
    let all = pages
        .iter()
        .filter_map(|&(pfn, word)| Some((pfn, Source::Fill(word?))));
    let stored = frames
        .iter()
        .flat_map(|(number, pfns)| pfns.iter().map(|&pfn| (pfn, Source::Frame(*number))));
    for (pfn, source) in all.chain(stored) {
        match entries.last_mut() {
            Some(last)
                if joins && last.source == source && last.pfn + u64::from(last.count) == pfn =>
            {
                last.count += 1;
            }
            _ => entries.push(Entry {
                pfn,
                count: 1,
                source,
            }),
        }
    }
    let index: Vec<_> = (frames.len() as u64..)
        .zip(entries.chunks(ENTRIES).map(<[Entry]>::to_vec))
        .collect();
    let mut image = Image {
        frames,
        index,
        commit: Commit::default(),
    };
    image.commit = Commit {
        image_pages: pages.len() as u64,
        data_pages: data.len() as u64,
        fill_pages: (pages.len() - data.len()) as u64,
        frames: (image.frames.len() + image.index.len()) as u64,
        index_frames: image.index.len() as u64,
        stored_bytes: image.packed().iter().map(|frame| frame.len() as u64).sum(),
        ..Commit::default()
    };
    image
}

fn packed(kind: Kind, number: u64, pfns: &[u64], raw: &[u8]) -> Vec<u8> {
    let mut out = vec![0; frame::worst_case(raw.len())];
    let mut writer = FrameWriter::begin(&mut out, kind, number, &ID).unwrap();
    pfns.iter()
        .for_each(|&pfn| writer.add_extent(pfn, 1).unwrap());
    let raw_len = match kind {
        Kind::Data => pfns.len() * PAGE,
        Kind::Index => raw.len(),
    };
    writer.payload_mut()[..raw.len()].copy_from_slice(raw);
    let applied = u8::from(raw_len != raw.len());
    let len = writer.finish(applied, raw_len as u32, raw.len() as u32);
    out.truncate(len.unwrap());
    out
}

fn payload(entries: &[Entry]) -> Vec<u8> {
    // Not joined again.
    let bytes = entries.iter().flat_map(|entry| {
        let (kind, value) = match entry.source {
            Source::Frame(number) => (0u32, number),
            Source::Fill(word) => (1, word),
        };
        let mut bytes = entry.pfn.to_le_bytes().to_vec();
        bytes.extend(entry.count.to_le_bytes());
        bytes.extend(kind.to_le_bytes());
        bytes.extend(value.to_le_bytes());
        bytes
    });
    bytes.collect()
}

impl Image {
    fn packed(&self) -> Vec<Vec<u8>> {
        let data = self.frames.iter();
        let data = data.map(|(number, pfns)| packed(Kind::Data, *number, pfns, b"shrunk"));
        let index = self.index.iter();
        let index = index.map(|(number, all)| packed(Kind::Index, *number, &[], &payload(all)));
        data.chain(index).collect()
    }

    /// What the accounts say.
    fn judged(&self) -> Result {
        let commit = &self.commit;
        let mut ledger = Ledger::new(commit);
        for bytes in self.packed() {
            let (frame, len) = Frame::decode(&bytes, &ID, 1).unwrap();
            let chunk = Chunk {
                block: 0,
                used: len as u32,
                flags: match frame.kind {
                    Kind::Index => root::FLAG_INDEX,
                    Kind::Data => 0,
                },
            };
            ledger.chunk(&chunk, commit)?;
            ledger.frame(&chunk, &frame, commit)?;
            if frame.kind == Kind::Index {
                ledger.index(frame.payload, commit)?;
            }
        }
        ledger.check_frames(commit)?;
        ledger.check_pages(commit)
    }

    /// What there is to say, with nothing that saves memory: every frame number once, every page
    /// once in the index, and all pages that it names in frames are there and no others.
    fn is_whole(&self) -> bool {
        let commit = &self.commit;
        let data = self.frames.iter().map(|frame| frame.0);
        let mut numbers: Vec<u64> = data.chain(self.index.iter().map(|frame| frame.0)).collect();
        numbers.sort_unstable();
        let mut named = BTreeMap::new();
        let mut is_once = true;
        for entry in self.index.iter().flat_map(|frame| &frame.1) {
            let exists = match entry.source {
                Source::Frame(number) => number < commit.frames,
                Source::Fill(_) => true,
            };
            for pfn in entry.pfn..entry.pfn + u64::from(entry.count) {
                is_once &= exists && named.insert(pfn, entry.source).is_none();
            }
        }
        let stored: Vec<(u64, u64)> = self
            .frames
            .iter()
            .flat_map(|(number, pfns)| pfns.iter().map(|pfn| (*pfn, *number)))
            .collect();
        let filled = |source: &&Source| matches!(source, Source::Fill(_));
        let fill_pages = named.values().filter(filled).count();
        let named_in_frames: BTreeSet<(u64, u64)> = named
            .iter()
            .filter_map(|(pfn, source)| match source {
                Source::Frame(number) => Some((*pfn, *number)),
                Source::Fill(_) => None,
            })
            .collect();
        let counts = [
            named.len() as u64,
            stored.len() as u64,
            fill_pages as u64,
            numbers.len() as u64,
            self.index.len() as u64,
            self.packed().iter().map(|frame| frame.len() as u64).sum(),
        ];
        let claimed = [
            commit.image_pages,
            commit.data_pages,
            commit.fill_pages,
            commit.frames,
            commit.index_frames,
            commit.stored_bytes,
        ];
        is_once
            && counts == claimed
            && numbers.into_iter().eq(0..commit.frames)
            && named_in_frames.len() == stored.len()
            && stored.iter().all(|place| named_in_frames.contains(place))
    }
}

/// Something that may be wrong.
#[derive(Clone, Debug)]
enum Damage {
    /// A frame is there twice, under this number.
    FrameAgain(Index, u64),
    FrameGone(Index),
    /// A page in a frame is another one.
    OtherPage(Index, u64),
    EntryAgain(Index),
    EntryGone(Index),
    EntryMoved(Index, u64),
    OtherFrame(Index, u64),
    Filled(Index),
    /// Two frames have each other's pages.
    Swapped(Index, Index),
    /// A count of the commit record is another one.
    Count(usize, bool),
}

fn damage() -> impl Strategy<Value = Damage> {
    let at = any::<Index>;
    prop_oneof![
        (at(), 0u64..4).prop_map(|(at, number)| Damage::FrameAgain(at, number)),
        at().prop_map(Damage::FrameGone),
        (at(), 0u64..70).prop_map(|(at, pfn)| Damage::OtherPage(at, pfn)),
        at().prop_map(Damage::EntryAgain),
        at().prop_map(Damage::EntryGone),
        (at(), 0u64..70).prop_map(|(at, pfn)| Damage::EntryMoved(at, pfn)),
        (at(), 0u64..12).prop_map(|(at, number)| Damage::OtherFrame(at, number)),
        at().prop_map(Damage::Filled),
        (at(), at()).prop_map(|(a, b)| Damage::Swapped(a, b)),
        (0usize..6, any::<bool>()).prop_map(|(which, up)| Damage::Count(which, up)),
    ]
}

impl Image {
    fn entry(&mut self, at: &Index) -> Option<(&mut Vec<Entry>, usize)> {
        let (frame, entry): (Vec<usize>, Vec<usize>) = self
            .index
            .iter()
            .enumerate()
            .flat_map(|(frame, all)| (0..all.1.len()).map(move |entry| (frame, entry)))
            .unzip();
        let at = (!frame.is_empty()).then(|| at.index(frame.len()))?;
        Some((&mut self.index[frame[at]].1, entry[at]))
    }

    fn damage(&mut self, damage: &Damage) {
        let count = self.frames.len();
        match damage {
            Damage::Count(which, up) => {
                let commit = &mut self.commit;
                let count = [
                    &mut commit.image_pages,
                    &mut commit.data_pages,
                    &mut commit.fill_pages,
                    &mut commit.frames,
                    &mut commit.index_frames,
                    &mut commit.stored_bytes,
                ];
                let count = count.into_iter().nth(*which).unwrap();
                *count = if *up {
                    *count + 1
                } else {
                    count.saturating_sub(1)
                };
            }
            Damage::FrameAgain(at, number) if count != 0 => {
                let pfns = self.frames[at.index(count)].1.clone();
                self.frames.push((*number, pfns));
            }
            Damage::FrameGone(at) if count != 0 => {
                self.frames.remove(at.index(count));
            }
            Damage::OtherPage(at, pfn) if count != 0 => {
                let pfns = &mut self.frames[at.index(count)].1;
                if !pfns.contains(pfn) {
                    pfns[0] = *pfn;
                }
            }
            Damage::Swapped(a, b) if count != 0 => {
                let (a, b) = (a.index(count), b.index(count));
                let pfns = self.frames[a].1.clone();
                self.frames[a].1 = std::mem::replace(&mut self.frames[b].1, pfns);
            }
            Damage::EntryAgain(at) => {
                if let Some((all, at)) = self.entry(at) {
                    let entry = all[at];
                    all.push(entry);
                }
            }
            Damage::EntryGone(at) => {
                if let Some((all, at)) = self.entry(at).filter(|(all, _)| all.len() > 1) {
                    all.remove(at);
                }
            }
            Damage::EntryMoved(at, pfn) => {
                if let Some((all, at)) = self.entry(at) {
                    all[at].pfn = *pfn;
                }
            }
            Damage::OtherFrame(at, number) => {
                if let Some((all, at)) = self.entry(at) {
                    all[at].source = Source::Frame(*number);
                }
            }
            Damage::Filled(at) => {
                if let Some((all, at)) = self.entry(at) {
                    all[at].source = Source::Fill(9);
                }
            }
            _ => {}
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn say_what_plain_accounts_say(
        pages in prop::collection::btree_map(0u64..64, prop::option::of(0u64..2), 1..40),
        turns in 0usize..40,
        per_frame in 1usize..9,
        joins in any::<bool>(),
        all_damage in prop::collection::vec(damage(), 0..3),
    ) {
        let mut pages: Vec<_> = pages.into_iter().collect();
        let turns = turns % pages.len();
        pages.rotate_left(turns);
        let mut image = image(&pages, per_frame, joins);
        prop_assert!(image.is_whole());
        prop_assert_eq!(image.judged(), Ok(()));
        all_damage.iter().for_each(|damage| image.damage(damage));
        prop_assert_eq!(image.judged().is_ok(), image.is_whole(), "{:?}", image);
    }
}
