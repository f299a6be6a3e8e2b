// SPDX-License-Identifier: GPL-2.0

//! Block map against a flat table, its chain of map blocks, and the stripe planner.

use std::collections::{BTreeMap, BTreeSet};

use dormouse_host::blockmap::codec::{
    self, blocks_for, ChainReader, Device, ENTRIES_PER_BLOCK, ENTRY_BYTES, HEADER_BYTES,
};
use dormouse_host::blockmap::{stripe, Area, BlockMap, MapEntry, DEVICES_MAX, STRIPE_BLOCKS};
use dormouse_host::image::{wire, Error, ImageId, Result, BLOCK};
use dormouse_host::samples::{self, block_map, map_blocks, DEVICES, ID};
use proptest::collection::vec;
use proptest::prelude::*;

proptest! {
    #[test]
    fn like_a_table(runs in vec((0u32..3, 0u64..40, 1u32..9), 1..40), from: u64, len: u64) {
        let mut map = BlockMap::new(vec![MapEntry::default(); runs.len()]);
        let mut model = BTreeMap::new();
        let mut places = BTreeSet::new();
        let mut disjoint = true;
        for &(device, block, count) in &runs {
            map.append(device, block, count).unwrap();
            for block in block..block + u64::from(count) {
                model.insert(model.len() as u64, (device, block));
                disjoint &= places.insert((device, block));
            }
        }
        prop_assert_eq!(map.total(), model.len() as u64);
        let from = from % map.total();
        let len = 1 + len % (map.total() - from);
        let mut linear = from;
        for piece in map.lookup(from, len).unwrap() {
            prop_assert_eq!(piece.linear, linear);
            prop_assert!(piece.count != 0);
            for offset in 0..piece.count {
                let place = (piece.device, piece.block + offset);
                prop_assert_eq!(model[&(linear + offset)], place);
            }
            linear += piece.count;
        }
        prop_assert_eq!(linear, from + len);
        for device in 0..3 {
            for block in 0..50 {
                prop_assert_eq!(map.holds(device, block), places.contains(&(device, block)));
            }
        }
        let mut scratch = vec![MapEntry::default(); map.entries().len()];
        prop_assert_eq!(map.check_disjoint(&mut scratch).is_ok(), disjoint);
    }

    #[test]
    fn chain_round_trip(entries in 0u32..600) {
        let map = block_map(entries);
        let read = read_chain(&map_blocks(&map)).unwrap();
        prop_assert_eq!(read.entries(), map.entries());
    }

    #[test]
    fn any_runs_come_back(runs in vec((0u32..2, 0u64..40, 1u32..9), 1..900)) {
        let mut map = BlockMap::new(vec![MapEntry::default(); runs.len()]);
        for &(device, block, count) in &runs {
            map.append(device, block, count).unwrap();
        }
        let read = read_chain(&map_blocks(&map)).unwrap();
        prop_assert_eq!(read.entries(), map.entries());
    }

    #[test]
    fn hostile_chain(at: usize, value: u8, entries in 1u32..300) {
        let mut bytes = map_blocks(&block_map(entries)).concat();
        let at = at % bytes.len();
        bytes[at] = value;
        dormouse_host::fuzzing::blockmap(&bytes);
    }

    #[test]
    fn stripes(
        areas in vec((0i32..3, vec((0u64..8, 1u32..700), 0..6)), 0..6), wanted in 0u64..4000,
    ) {
        // Free runs of one device do not overlap: lay them out one after the other.
        let areas: Vec<(i32, Vec<(u64, u32)>)> = areas.into_iter().map(|(priority, runs)| {
            let mut block = 0;
            let runs = runs.into_iter().map(|(gap, count)| {
                let start = block + gap;
                block = start + u64::from(count);
                (start, count)
            });
            (priority, runs.collect())
        }).collect();
        check_stripes(&areas, wanted)?;
    }
}

fn check_stripes(
    areas: &[(i32, Vec<(u64, u32)>)],
    wanted: u64,
) -> std::result::Result<(), TestCaseError> {
    let view: Vec<Area<'_>> = areas
        .iter()
        .zip(0..)
        .map(|((priority, free), device)| Area {
            device,
            priority: *priority,
            free,
        })
        .collect();
    let mut given: Vec<(u32, u64)> = Vec::new();
    let planned = stripe(&view, wanted, |device, block, count| {
        given.extend((0..u64::from(count)).map(|offset| (device, block + offset)));
        Ok(())
    });
    let free: u64 = areas
        .iter()
        .flat_map(|a| &a.1)
        .map(|r| u64::from(r.1))
        .sum();
    prop_assert_eq!(planned, Ok(wanted.min(free)));
    prop_assert_eq!(given.len() as u64, wanted.min(free));
    prop_assert_eq!(given.iter().collect::<BTreeSet<_>>().len(), given.len());

    // The model: take turns of a stripe within a priority, from the highest down.
    let mut queues: Vec<Vec<u64>> = areas
        .iter()
        .map(|a| a.1.iter().flat_map(|r| r.0..r.0 + u64::from(r.1)).collect())
        .collect();
    let mut model = Vec::new();
    for priority in (0..3).rev() {
        loop {
            let before = model.len();
            for (device, queue) in queues.iter_mut().enumerate() {
                if areas[device].0 == priority {
                    let turn = queue.len().min(STRIPE_BLOCKS as usize);
                    model.extend(queue.drain(..turn).map(|block| (device as u32, block)));
                }
            }
            if model.len() == before {
                break;
            }
        }
    }
    model.truncate(given.len());
    prop_assert_eq!(given, model);
    Ok(())
}

fn read_chain(chain: &[[u8; BLOCK]]) -> Result<BlockMap<Vec<MapEntry>>> {
    let (mut reader, devices) = ChainReader::begin(&chain[0], &ID)?;
    assert_eq!(devices.collect::<Vec<_>>(), DEVICES);
    let mut map = BlockMap::new(vec![MapEntry::default(); 1000]);
    while let Some(next) = reader.next() {
        let block = chain.get(next as usize - 2).ok_or(Error::Truncated)?;
        reader.block(block, &mut map)?;
    }
    reader.finish(&map)?;
    Ok(map)
}

fn broken(entries: u32, change: impl Fn(&mut Vec<[u8; BLOCK]>)) -> Option<Error> {
    let mut chain = map_blocks(&block_map(entries));
    change(&mut chain);
    for block in &mut chain {
        wire::seal(block, 12).unwrap();
    }
    read_chain(&chain).err()
}

#[test]
fn chain_refusals() {
    assert_eq!(broken(300, |_| ()), None);
    assert_eq!(broken(300, |c| c[0][0] = 0), Some(Error::BadMagic));
    assert_eq!(broken(300, |c| c[1][8] = 9), Some(Error::UnknownVersion));
    assert_eq!(broken(300, |c| c[1][16] = 0), Some(Error::OtherImage));
    assert_eq!(broken(300, |c| c.swap(1, 2)), Some(Error::BadOrder));
    // A chain that leads back to itself.
    assert_eq!(broken(504, |c| c[2][32] = 3), Some(Error::BadOrder));
    // A block that is not full in front of others, also of none.
    assert_eq!(broken(300, |c| c[1][44] = 251), Some(Error::BadCount));
    assert_eq!(broken(300, |c| c[2][32] = 3), Some(Error::BadCount));
    // The chain ends too early.
    assert_eq!(broken(300, |c| c[1][32] = 0), Some(Error::BadCount));
    assert_eq!(broken(300, |c| c[0][32] = 0), Some(Error::BadCount));
    assert_eq!(broken(300, |c| c[1][39] = 1), Some(Error::BlockRange));
    assert_eq!(broken(300, |c| c[0][40] = 1), Some(Error::BadOrder));
    assert_eq!(broken(300, |c| c[0][44] = 0), Some(Error::BadCount));
    assert_eq!(broken(300, |c| c[0][44] = 33), Some(Error::BadCount));
    assert_eq!(broken(300, |c| c[1][44] = 253), Some(Error::BadCount));
    assert_eq!(broken(300, |c| c[1][48] ^= 1), Some(Error::BadOrder));
    assert_eq!(broken(300, |c| c[2][56] ^= 1), Some(Error::BadOrder));
    // An entry: its device, its length, its end.
    assert_eq!(broken(3, |c| c[1][76] = 2), Some(Error::BadDevice));
    assert_eq!(broken(3, |c| c[1][72] = 0), Some(Error::BlockRange));
    assert_eq!(broken(3, |c| c[1][66] = 2), Some(Error::BlockRange));
    assert_eq!(
        broken(3, |c| c[1][64..72].fill(0xff)),
        Some(Error::BlockRange)
    );
    assert_eq!(broken(3, |c| c[1][64 + 3 * 16] = 1), Some(Error::NotZero));
    // A device: no blocks, a signature beyond them, a label, what is behind it.
    assert_eq!(broken(3, |c| c[0][80..88].fill(0)), Some(Error::BlockRange));
    assert_eq!(broken(3, |c| c[0][103] = 1), Some(Error::BlockRange));
    assert_eq!(broken(3, |c| c[0][112] = 0), Some(Error::BadText));
    assert_eq!(broken(3, |c| c[0][183] = 1), Some(Error::NotZero));
    assert_eq!(broken(3, |c| c[0][4095] = 1), Some(Error::NotZero));
}

/// A chain of one run of 504 blocks, written as entries of one block each.
#[test]
fn entries_that_can_be_joined_are_refused() {
    let entries = 2 * ENTRIES_PER_BLOCK as u32;
    let apart = |number: u32| 1000 + 2 * u64::from(number);
    let joined = |number: u32| 1000 + u64::from(number);
    let chain = |place: &dyn Fn(u32) -> u64| {
        let mut map = BlockMap::new(vec![MapEntry::default(); entries as usize]);
        (0..entries).for_each(|number| map.append(0, apart(number), 1).unwrap());
        let mut chain = map_blocks(&map);
        for number in 0..entries {
            let (block, entry) = (
                number as usize / ENTRIES_PER_BLOCK,
                number as usize % ENTRIES_PER_BLOCK,
            );
            let at = HEADER_BYTES + entry * ENTRY_BYTES;
            chain[1 + block][at..at + 8].copy_from_slice(&place(number).to_le_bytes());
            wire::seal(&mut chain[1 + block], 12).unwrap();
        }
        read_chain(&chain).err()
    };
    assert_eq!(chain(&apart), None);
    assert_eq!(chain(&joined), Some(Error::BadCount));
    // Two of them, at the end of a block and at the beginning of the next one.
    for pair in [250, 251] {
        let place = |number| apart(number) - u64::from(number > pair);
        assert_eq!(chain(&place), Some(Error::BadCount), "{pair}");
    }
}

/// What a writer joins, a reader does not find to be joined: also where one entry is as long as it
/// can be.
#[test]
fn long_runs_come_back() {
    let device = Device {
        blocks: u64::MAX,
        ..DEVICES[0]
    };
    let mut map = BlockMap::new(vec![MapEntry::default(); 1000]);
    let mut block = 0;
    for number in 0..900u32 {
        let count = [u32::MAX - 5, 3, 10, 1, u32::MAX][number as usize % 5];
        block += u64::from(number % 7 == 0);
        map.append(0, block, count).unwrap();
        block += u64::from(count);
    }
    assert!(map.entries().len() > ENTRIES_PER_BLOCK);
    let mut out = [0; BLOCK];
    codec::encode_devices(&mut out, &ID, &[device], 1, map.total()).unwrap();
    let (mut reader, _) = ChainReader::begin(&out, &ID).unwrap();
    let mut read = BlockMap::new(vec![MapEntry::default(); 1000]);
    let last = blocks_for(map.entries().len()) as u32 - 1;
    for sequence in 1..=last {
        let next = if sequence == last {
            0
        } else {
            u64::from(sequence) + 1
        };
        codec::encode_entries(&mut out, &ID, &map, sequence, next).unwrap();
        reader.block(&out, &mut read).unwrap();
    }
    reader.finish(&read).unwrap();
    assert_eq!(read.entries(), map.entries());
}

#[test]
fn every_bit_of_a_map_block_counts() {
    let chain = map_blocks(&block_map(3));
    let good = block_map(3);
    for number in 0..chain.len() {
        for at in 0..BLOCK {
            for bit in 0..8 {
                let mut chain = chain.clone();
                chain[number][at] ^= 1 << bit;
                assert!(
                    read_chain(&chain).is_err(),
                    "block {number} byte {at} bit {bit}"
                );
            }
        }
    }
    assert_eq!(read_chain(&chain).unwrap().entries(), good.entries());
    let other = ChainReader::begin(&chain[0], &ImageId([0; 16]));
    assert_eq!(other.err(), Some(Error::OtherImage));
}

#[test]
fn append_joins_and_refuses() {
    let mut map = BlockMap::new(vec![MapEntry::default(); 2]);
    assert_eq!(map.append(DEVICES_MAX as u32, 0, 1), Err(Error::BadDevice));
    assert_eq!(map.append(0, 0, 0), Err(Error::BlockRange));
    assert_eq!(map.append(0, u64::MAX, 2), Err(Error::BlockRange));
    map.append(0, 10, 5).unwrap();
    map.append(0, 15, 5).unwrap();
    assert_eq!(map.entries().len(), 1);
    map.append(1, 20, 5).unwrap();
    assert_eq!(map.append(0, 20, 5), Err(Error::NoRoom));
    assert_eq!(map.total(), 15);
    assert_eq!(map.lookup(0, 0).err(), Some(Error::BlockRange));
    assert_eq!(map.lookup(14, 2).err(), Some(Error::BlockRange));
    assert_eq!(map.lookup(u64::MAX, 2).err(), Some(Error::BlockRange));
    // A run that is too long for one entry takes two.
    let mut map = BlockMap::new(vec![MapEntry::default(); 2]);
    map.append(0, 0, u32::MAX).unwrap();
    map.append(0, u64::from(u32::MAX), 7).unwrap();
    assert_eq!(map.entries().len(), 2);
    assert_eq!(map.lookup(0, map.total()).unwrap().count(), 2);
    assert_eq!(map.check_disjoint(&mut []), Err(Error::NoRoom));
}

#[test]
fn map_blocks_are_counted() {
    assert_eq!(blocks_for(0), 1);
    assert_eq!(blocks_for(ENTRIES_PER_BLOCK), 2);
    assert_eq!(blocks_for(ENTRIES_PER_BLOCK + 1), 3);
    let mut out = [0; BLOCK];
    let map = block_map(3);
    let late = codec::encode_entries(&mut out, &ID, &map, 2, 0);
    assert_eq!(late, Err(Error::BadOrder));
    let early = codec::encode_entries(&mut out, &ID, &map, 0, 0);
    assert_eq!(early, Err(Error::BadOrder));
    let devices = [samples::DEVICES[0]; DEVICES_MAX + 1];
    for devices in [&devices[..], &[]] {
        let made = codec::encode_devices(&mut out, &ID, devices, 0, 0);
        assert_eq!(made, Err(Error::BadCount));
    }
    let full = codec::encode_devices(&mut out, &ID, &devices[1..], 0, 0);
    assert_eq!(full, Ok(()));
}

#[test]
fn stripe_refuses_too_many_areas_and_passes_errors_on() {
    let area = Area {
        device: 0,
        priority: 0,
        free: &[(0, 10)],
    };
    let many = [area; DEVICES_MAX + 1];
    assert_eq!(stripe(&many, 1, |_, _, _| Ok(())), Err(Error::BadDevice));
    assert_eq!(
        stripe(&[area], 1, |_, _, _| Err(Error::NoRoom)),
        Err(Error::NoRoom)
    );
}
