// SPDX-License-Identifier: GPL-2.0

//! The pure parts of the file module: the first page of a file, and where its pages are.

#![forbid(unsafe_code)]

use dormouse_host::image;

#[path = "../../../modules/file/page.rs"]
mod page;
#[path = "../../../modules/file/plan.rs"]
mod plan;

use image::superblock::{State, Superblock, BYTES};
use image::{Error, ImageId, BLOCK};
use page::{Label, Seal, Sector, SECTOR, STATE_AT};
use proptest::prelude::*;

const FILE: ImageId = ImageId(*b"fedcba9876543210");

fn label() -> Label {
    Label {
        file: FILE,
        uuid: [7; 16],
        block: 34816,
        blocks: 65536,
    }
}

fn state() -> Sector {
    let mut sb = Superblock::new();
    sb.advance(State::Writing).unwrap();
    let mut bytes = [0; BYTES];
    sb.encode(&mut bytes).unwrap();
    let seal = Seal {
        file: FILE,
        fingerprint: 0x1234_5678,
    };
    page::encode_state(&bytes, &seal).unwrap()
}

#[test]
fn labels_come_back() {
    let sector = page::encode_label(&label()).unwrap();
    assert_eq!(page::decode_label(&sector), Ok(label()));
    assert!(sector.starts_with(b"DORMOUSE-FILE-1\n"));
    // As documented.
    assert_eq!(sector[16..20], 1u32.to_le_bytes());
    assert_eq!(sector[24..40], FILE.0);
    assert_eq!(sector[40..56], [7; 16]);
    assert_eq!(sector[56..64], 34816u64.to_le_bytes());
    assert_eq!(sector[64..72], 65536u64.to_le_bytes());
}

#[test]
fn states_come_back() {
    let sector = state();
    let sb = Superblock::decode(page::superblock(&sector).unwrap()).unwrap();
    assert_eq!(sb.unwrap().state, State::Writing);
    let seal = page::decode_seal(&sector).unwrap();
    assert_eq!((seal.file, seal.fingerprint), (FILE, 0x1234_5678));
    assert_eq!(sector[448..456], *b"DMFISEAL");
    assert_eq!(sector[464..480], FILE.0);
    assert_eq!(sector[480..484], 0x1234_5678u32.to_le_bytes());
}

#[test]
fn a_new_page_is_ours_and_empty() {
    let mut bytes = [0xff; BLOCK];
    page::new_page(&mut bytes, FILE, 99).unwrap();
    let found = page::decode_label(&bytes).unwrap();
    assert_eq!((found.file, found.blocks, found.block), (FILE, 99, 0));
    assert!(bytes[SECTOR..STATE_AT].iter().all(|&b| b == 0));
    let sector: &Sector = bytes[STATE_AT..].try_into().unwrap();
    assert_eq!(page::decode_seal(sector).unwrap().file, FILE);
    assert_eq!(
        Superblock::decode(page::superblock(sector).unwrap()),
        Ok(None)
    );
}

#[test]
fn every_flipped_bit_is_seen() {
    let (label, state) = (page::encode_label(&label()).unwrap(), state());
    for bit in 0..SECTOR * 8 {
        let mut changed = label;
        changed[bit / 8] ^= 1 << (bit % 8);
        assert!(page::decode_label(&changed).is_err(), "bit {bit}");
        let mut changed = state;
        changed[bit / 8] ^= 1 << (bit % 8);
        let sb = Superblock::decode(page::superblock(&changed).unwrap());
        let seen = page::decode_seal(&changed).is_err() || !matches!(sb, Ok(Some(_)));
        assert!(seen, "bit {bit} of the state");
    }
}

#[test]
fn other_pages_are_not_ours() {
    assert_eq!(page::decode_label(&[0; BLOCK]), Err(Error::BadMagic));
    assert_eq!(page::decode_label(&[0; 100]), Err(Error::Truncated));
    let mut newer = page::encode_label(&label()).unwrap();
    newer[16] = 2;
    assert_eq!(page::decode_label(&newer), Err(Error::UnknownVersion));
}

proptest! {
    #[test]
    fn labels_of_any_contents(
        file: [u8; 16], uuid: [u8; 16], block: u64, blocks: u64, rest: Vec<u8>,
    ) {
        let label = Label { file: ImageId(file), uuid, block, blocks };
        let mut bytes = page::encode_label(&label).unwrap().to_vec();
        bytes.extend(rest);
        prop_assert_eq!(page::decode_label(&bytes), Ok(label));
    }

    #[test]
    fn any_bytes_are_read_without_a_panic(bytes: Vec<u8>, first: [u8; 32], at in 0..SECTOR - 32) {
        let _ = page::decode_label(&bytes);
        let mut sector = state();
        sector[at..at + 32].copy_from_slice(&first);
        let _ = page::decode_seal(&sector);
    }
}

type Extents = Vec<(u64, u64, u64)>;

/// What [`plan::runs`] makes of a file, as single blocks.
fn blocks_of(extents: &[(u64, u64, u64)]) -> (plan::Layout, Vec<u64>) {
    let mut blocks = Vec::new();
    let layout = plan::runs(extents.iter().copied(), |at, count| {
        assert!(count > 0);
        blocks.extend(at..at + u64::from(count));
        Ok::<_, ()>(())
    });
    (layout.unwrap(), blocks)
}

#[test]
fn the_first_page_is_apart() {
    let (layout, blocks) = blocks_of(&[(0, 100, 3), (3, 50, 1)]);
    assert_eq!((layout.first, layout.pages), (100, 4));
    assert_eq!(blocks, [101, 102, 50]);
    let (layout, blocks) = blocks_of(&[(0, 7, 1)]);
    assert_eq!((layout.first, layout.pages, blocks.len()), (7, 1, 0));
    assert_eq!(blocks_of(&[]).0.pages, 0);
}

#[test]
fn what_has_no_place_ends_it() {
    // A hole, pages without a block, and a file that begins with a hole.
    assert_eq!(blocks_of(&[(0, 8, 2), (3, 20, 5)]).0.pages, 2);
    assert_eq!(blocks_of(&[(0, 8, 2), (2, 0, 5), (7, 30, 1)]).0.pages, 2);
    assert_eq!(blocks_of(&[(1, 8, 2)]).0.pages, 0);
    assert_eq!(
        blocks_of(&[(0, 0, 2)]).0,
        plan::Layout { first: 0, pages: 0 }
    );
}

#[test]
fn long_extents_are_cut() {
    let mut runs = Vec::new();
    let long = 3 * (1u64 << 32);
    let layout = plan::runs([(0, 1, long)].into_iter(), |at, count| {
        runs.push((at, count));
        Ok::<_, ()>(())
    });
    assert_eq!(layout.unwrap().pages, long);
    let sum: u64 = runs.iter().map(|&(_, count)| u64::from(count)).sum();
    assert_eq!(sum, long - 1);
    assert!(runs
        .windows(2)
        .all(|w| w[0].0 + u64::from(w[0].1) == w[1].0));
}

#[test]
fn errors_are_passed_on() {
    let extents = [(0, 8, 4), (4, 20, 1)];
    let mut calls = 0;
    let result = plan::runs(extents.into_iter(), |_, _| {
        calls += 1;
        Err("no room")
    });
    assert_eq!((result, calls), (Err("no room"), 1));
    let runs = [(8, 4)];
    let single = plan::split(runs.into_iter(), 2, |_| Err("no"), |_, _| Ok(()));
    let rest = plan::split(runs.into_iter(), 2, |_| Ok(()), |_, _| Err("no"));
    assert_eq!((single, rest), (Err("no"), Err("no")));
}

proptest! {
    /// Every page of a file is used once, in the order of the file: first page, map, image.
    #[test]
    fn every_page_has_its_use(
        lengths in prop::collection::vec((1..40u64, 1..1000u64), 1..30),
        count in 0..60usize,
    ) {
        let mut extents: Extents = Vec::new();
        let (mut page, mut block) = (0, 1);
        for (len, gap) in lengths {
            block += gap;
            extents.push((page, block, len));
            page += len;
            block += len;
        }
        let all: Vec<u64> = extents.iter().flat_map(|&(_, b, n)| b..b + n).collect();
        let mut runs = Vec::new();
        let layout = plan::runs(extents.into_iter(), |at, count| {
            runs.push((at, count));
            Ok::<_, ()>(())
        }).unwrap();
        prop_assert_eq!(layout.pages, page);

        let (mut chain, mut rest) = (Vec::new(), Vec::new());
        plan::split(
            runs.into_iter(),
            count,
            |block| { chain.push(block); Ok::<_, ()>(()) },
            |block, count| { rest.extend(block..block + u64::from(count)); Ok(()) },
        ).unwrap();
        prop_assert_eq!(chain.len() as u64, (count as u64).min(page - 1));
        prop_assert_eq!([vec![layout.first], chain, rest].concat(), all);
    }
}
