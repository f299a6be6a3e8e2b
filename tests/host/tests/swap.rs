// SPDX-License-Identifier: GPL-2.0

//! The pure parts of the swap module: the mark in a swap header, and the shares of the areas.

#![forbid(unsafe_code)]

use dormouse_host::{blockmap, image};

#[path = "../../../modules/swap/plan.rs"]
#[allow(dead_code)]
mod plan;
#[path = "../../../core/swapmark/sector.rs"]
#[allow(dead_code)]
mod sector;

use blockmap::codec::blocks_for;
use blockmap::{stripe, Area, BlockMap, MapEntry};
use image::superblock::{Superblock, BYTES};
use image::{ImageId, BLOCK};
use plan::{blocks, carve, divide, entries, Share};
use proptest::prelude::*;
use sector::{Found, Record, Refusal, Role, Sector};

const MAP: ImageId = ImageId(*b"0123456789abcdef");

fn record(role: Role, keep: u64) -> Record {
    Record {
        role,
        map: MAP,
        keep,
        primary: (254, 16),
    }
}

fn encoded_superblock() -> [u8; BYTES] {
    let mut bytes = [0; BYTES];
    Superblock::new().encode(&mut bytes).unwrap();
    bytes
}

fn sample(role: Role, image: bool) -> Sector {
    let superblock = match role {
        Role::Primary => encoded_superblock(),
        Role::Member | Role::Bystander => [0; BYTES],
    };
    sector::encode(&superblock, &record(role, 77), image).unwrap()
}

/// A header page as `mkswap` makes it.
fn page(bad_pages: u32) -> Vec<u8> {
    let mut page = vec![0; BLOCK];
    page[1024..1028].copy_from_slice(&1u32.to_le_bytes());
    page[1028..1032].copy_from_slice(&1000u32.to_le_bytes());
    page[1032..1036].copy_from_slice(&bad_pages.to_le_bytes());
    page[1036..1052].copy_from_slice(&[7; 16]);
    page[1052..1058].copy_from_slice(b"second");
    page[BLOCK - 10..].copy_from_slice(b"SWAPSPACE2");
    page
}

#[test]
fn layout() {
    let sector = sample(Role::Primary, true);
    assert_eq!(sector.len(), 512);
    assert_eq!(&sector[..8], b"DORMOUSE");
    assert_eq!(&sector[448..452], b"DMSW");
    assert_eq!(&sector[502..], b"LINHIB0001");
    assert_eq!(sector::superblock(&sector), Some(&encoded_superblock()));
    assert!(sample(Role::Primary, false).ends_with(b"SWAPSPACE2"));
    assert_eq!((sector::SECTOR_AT, sector::BAD_PAGES_MAX), (3584, 512));
}

// `Record in a swap header` of Documentation/image-format.rst.
#[test]
fn layout_of_a_record() {
    let at = Record {
        role: Role::Bystander,
        map: ImageId([0x11; 16]),
        keep: 0x2222_2222_2222_2222,
        primary: (0x3333_3333, 0x4444_4444),
    };
    let sector = sector::encode(&[0; BYTES], &at, true).unwrap();
    let record = &sector[448..502];
    assert_eq!(&record[..6], b"DMSW\x01\x03");
    assert_eq!(&record[6..16], b"SWAPSPACE2");
    assert_eq!(record[16..32], [0x11; 16]);
    assert_eq!(record[32..40], [0x22; 8]);
    assert_eq!(record[40..44], [0x33; 4]);
    assert_eq!(record[44..48], [0x44; 4]);
    assert_eq!(record[48..50], [0; 2]);
}

#[test]
fn round_trip() {
    for role in [Role::Primary, Role::Member, Role::Bystander] {
        for image in [false, true] {
            let found = sector::decode(&sample(role, image));
            let record = record(role, 77);
            assert_eq!(found, Found::Ours { record, image });
        }
    }
}

#[test]
fn what_is_left_of_a_mark_is_told_from_the_marks_of_others() {
    let whole = sample(Role::Primary, true);
    assert!(!sector::is_damaged(&whole));
    assert!(!sector::is_damaged(&sector::plain()));
    for bit in 448 * 8..512 * 8 {
        let mut bad = whole;
        bad[bit / 8] ^= 1 << (bit % 8);
        assert!(sector::is_damaged(&bad), "bit {bit}");
    }
    // swsusp begins to write here: its image, and both signatures.
    let mut swsusp = sample(Role::Primary, false);
    swsusp[472..492].fill(1);
    swsusp[492..502].copy_from_slice(b"SWAPSPACE2");
    swsusp[502..].copy_from_slice(b"S1SUSPEND\0");
    assert!(!sector::is_damaged(&swsusp));
}

#[test]
fn plain_is_swap() {
    assert_eq!(sector::decode(&sector::plain()), Found::Swap);
    let page = page(0);
    assert_eq!(sector::of_page(&page), Some(&sector::plain()));
    assert_eq!(sector::of_page(&page[..4000]), None);
}

#[test]
fn other_signatures_are_not_ours() {
    for signature in [*b"S1SUSPEND\0", *b"SWAP-SPACE", [0; 10]] {
        let mut sector = sample(Role::Primary, true);
        sector[502..].copy_from_slice(&signature);
        assert_eq!(sector::decode(&sector), Found::Other(signature));
    }
    // A foreign LINHIB image, without our record.
    let mut sector = sector::plain();
    sector[502..].copy_from_slice(&sector::IMAGE);
    assert_eq!(sector::decode(&sector), Found::Other(sector::IMAGE));
}

#[test]
fn every_flip_of_the_record_is_seen() {
    for role in [Role::Primary, Role::Member] {
        for image in [false, true] {
            let good = sample(role, image);
            for bit in 448 * 8..502 * 8 {
                let mut bad = good;
                bad[bit / 8] ^= 1 << (bit % 8);
                let expected = match image {
                    true => Found::Other(sector::IMAGE),
                    false => Found::Swap,
                };
                assert_eq!(sector::decode(&bad), expected, "bit {bit}");
            }
        }
    }
}

#[test]
fn sealed_nonsense_is_refused() {
    // Role, original signature, and the two zero bytes, each with a correct seal.
    for (at, value) in [(5, 0), (5, 4), (6, b'X'), (48, 1), (49, 1), (4, 2)] {
        let mut sector = sample(Role::Primary, true);
        sector[448 + at] = value;
        image::wire::seal(&mut sector[448..502], 50).unwrap();
        assert_eq!(sector::decode(&sector), Found::Other(sector::IMAGE), "{at}");
    }
}

#[test]
fn headers() {
    let found = sector::header(&page(0)).unwrap();
    assert_eq!(found.uuid, [7; 16]);
    assert_eq!(&found.label, b"second\0\0\0\0\0\0\0\0\0\0");
    assert!(sector::header(&page(512)).is_ok());
    assert_eq!(sector::header(&page(513)), Err(Refusal::BadPages));
    assert_eq!(sector::header(&page(u32::MAX)), Err(Refusal::BadPages));
    assert_eq!(sector::header(&page(0)[..4095]), Err(Refusal::Truncated));
    let mut other = page(0);
    other[1024] = 2;
    assert_eq!(sector::header(&other), Err(Refusal::Version));
    let mut foreign = page(0);
    foreign[1024..1028].copy_from_slice(&1u32.to_be_bytes());
    foreign[1032..1036].copy_from_slice(&512u32.to_be_bytes());
    assert!(sector::header(&foreign).is_ok());
    foreign[1032..1036].copy_from_slice(&513u32.to_be_bytes());
    assert_eq!(sector::header(&foreign), Err(Refusal::BadPages));
}

#[test]
fn keeps_the_original_sector() {
    let mut original = sector::plain();
    original[..502].fill(0xa5);
    let mut block = [0xff; BLOCK];
    sector::encode_keep(&mut block, &MAP, &original).unwrap();
    assert_eq!(sector::decode_keep(&block, &MAP), Ok(original));

    assert!(sector::decode_keep(&block, &ImageId([1; 16])).is_err());
    assert!(sector::decode_keep(&block[..4000], &MAP).is_err());
    for bit in 0..BLOCK * 8 {
        let mut bad = block;
        bad[bit / 8] ^= 1 << (bit % 8);
        assert!(sector::decode_keep(&bad, &MAP).is_err(), "bit {bit}");
    }
    // Nothing but a swap signature is ever put back.
    original[502..].copy_from_slice(&sector::IMAGE);
    sector::encode_keep(&mut block, &MAP, &original).unwrap();
    assert!(sector::decode_keep(&block, &MAP).is_err());
}

fn area(priority: i32, free: u64) -> Share {
    Share {
        priority,
        free,
        take: 0,
    }
}

fn takes(areas: &[Share]) -> Vec<u64> {
    areas.iter().map(|area| area.take).collect()
}

#[test]
fn divides_by_priority() {
    let mut areas = [area(-2, 5000), area(10, 1000), area(10, 3000)];
    assert_eq!(divide(&mut areas, 1000), 0);
    assert_eq!(takes(&areas), [0, 512, 488]);
    assert_eq!(divide(&mut areas, 3000), 0);
    assert_eq!(takes(&areas), [0, 1000, 2000]);
    assert_eq!(divide(&mut areas, 4100), 0);
    assert_eq!(takes(&areas), [100, 1000, 3000]);
    assert_eq!(divide(&mut areas, 10_000), 1000);
    assert_eq!(takes(&areas), [5000, 1000, 3000]);
    assert_eq!(divide(&mut [], 5), 5);
    assert_eq!(divide(&mut areas, 0), 0);
    assert_eq!(takes(&areas), [0, 0, 0]);
}

#[test]
fn carves_from_the_front() {
    let mut runs = [(5, 0), (10, 2), (20, 1)];
    assert_eq!(blocks(&runs), 3);
    let got: Vec<_> = std::iter::from_fn(|| carve(&mut runs)).collect();
    assert_eq!(got, [10, 11, 20]);
    assert_eq!(blocks(&runs), 0);
    assert_eq!(carve(&mut [(u64::MAX, 1)]), None);
}

#[test]
fn map_fits_what_room_sets_aside() {
    // Runs of one block are the worst case.
    assert_eq!(plan::map_blocks_most(252), 2);
    assert_eq!(plan::map_blocks_most(253), 3);
    assert_eq!(plan::map_blocks_most(0), 1);
}

prop_compose! {
    fn free_runs()(gaps in prop::collection::vec((1u64..300, 1u32..700), 0..12)) -> Vec<(u64, u32)> {
        let mut at = 1;
        gaps.into_iter().map(|(gap, count)| {
            let block = at + gap;
            at = block + u64::from(count);
            (block, count)
        }).collect()
    }
}

proptest! {
    #[test]
    fn divide_gives_all_there_is(
        list in prop::collection::vec((-3i32..3, 0u64..5000), 0..8),
        want in 0u64..20_000,
    ) {
        let mut areas: Vec<_> = list.iter().map(|&(p, f)| area(p, f)).collect();
        let left = divide(&mut areas, want);
        let free: u64 = areas.iter().map(|a| a.free).sum();
        let taken: u64 = areas.iter().map(|a| a.take).sum();
        prop_assert_eq!(taken + left, want);
        prop_assert_eq!(taken, want.min(free));
        for a in &areas {
            prop_assert!(a.take <= a.free);
            // Nobody gives while somebody of a higher priority has more.
            let higher = |b: &&Share| b.priority > a.priority && b.take < b.free;
            prop_assert!(a.take == 0 || areas.iter().find(higher).is_none());
        }
    }

    // What `entries` counts is what the map takes, after any carving.
    #[test]
    fn counts_the_entries_of_the_map(
        mut first in free_runs(),
        second in free_runs(),
        same in any::<bool>(),
        carved in 0usize..40,
        want in 0u64..9000,
    ) {
        for _ in 0..carved {
            carve(&mut first);
        }
        let areas = [
            Area { device: 0, priority: 1, free: &first },
            Area { device: 1, priority: if same { 1 } else { 0 }, free: &second },
        ];
        let counted = entries(&areas, want).unwrap();
        let mut map = BlockMap::new(vec![MapEntry::default(); counted]);
        let planned = stripe(&areas, want, |d, b, n| map.append(d, b, n)).unwrap();
        prop_assert_eq!(map.entries().len(), counted);
        prop_assert_eq!(planned, want.min(blocks(&first) + blocks(&second)));
        prop_assert!(blocks_for(counted) as u64 <= plan::map_blocks_most(planned));
    }
}
