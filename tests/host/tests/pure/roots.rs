// SPDX-License-Identifier: GPL-2.0

//! Commit record and root.

use dormouse_host::hostile;
use dormouse_host::image::commit::Commit;
use dormouse_host::image::header::Facts;
use dormouse_host::image::root::{check_disjoint, chunks, put, Chunk, Range, Space, CHUNKS_MAX};
use dormouse_host::image::{wire, Error, ImageId, BLOCK, CHUNK_BYTES};
use dormouse_host::{reader, samples};
use dormouse_image::open::Opened;
use proptest::collection::vec;
use proptest::prelude::*;

const BLOCKS: u64 = 1 << 20;

fn space() -> Space {
    Space::new(BLOCKS, 0, 16, 17, 4096).unwrap()
}

fn table(all: &[Chunk]) -> Vec<u8> {
    let mut root = vec![0; all.len() * 16];
    for (number, chunk) in all.iter().enumerate() {
        put(&mut root, number, chunk).unwrap();
    }
    root
}

fn any_chunk() -> impl Strategy<Value = Chunk> {
    (18u64..4000, 8u32..=65536, 0u32..2).prop_map(|(block, words, flags)| Chunk {
        block,
        used: words * 8,
        flags,
    })
}

proptest! {
    #[test]
    fn root_round_trip(all in vec(any_chunk(), 0..50)) {
        let root = table(&all);
        let read: Vec<Chunk> = chunks(&root, &space()).collect::<Result<_, _>>().unwrap();
        prop_assert_eq!(&read, &all);
        dormouse_host::fuzzing::commit_root(&root);
    }

    #[test]
    fn hostile_root(bytes in vec(any::<u8>(), 0..100), small: bool) {
        let mut bytes = bytes;
        if small {
            // Plausible chunks: most bits zero.
            for entry in bytes.chunks_mut(16) {
                for at in [2, 3, 4, 5, 6, 7, 11, 12, 13, 14, 15] {
                    entry.get_mut(at).into_iter().for_each(|byte| *byte = 0);
                }
            }
        }
        dormouse_host::fuzzing::commit_root(&bytes);
    }

    #[test]
    fn commit_round_trip(
        id: [u8; 16], image in any::<u32>(), fill in any::<u32>(), frames in 1u64..1 << 28,
        blocks: [u64; 2], crcs: [u32; 2], tag: [[u8; 32]; 2], less: [u16; 2],
    ) {
        let commit = Commit {
            image_id: ImageId(id),
            image_pages: u64::from(image),
            data_pages: u64::from(image),
            fill_pages: u64::from(fill),
            frames,
            index_frames: frames.saturating_sub(u64::from(less[0])),
            chunks: frames.saturating_sub(u64::from(less[1])).max(1),
            root_block: blocks[0],
            root_crc: crcs[0],
            header_crc: crcs[1],
            stored_bytes: blocks[1],
            tag: tag.concat().try_into().unwrap(),
        };
        let mut out = [0xee; BLOCK];
        commit.encode(&mut out).unwrap();
        prop_assert_eq!(Commit::decode(&out), Ok(commit));
    }
}

#[test]
fn commit_refusals() {
    let sealed = |at: usize, value: u8| {
        let mut bytes = samples::commit_bytes();
        bytes[at] = value;
        wire::seal(&mut bytes, 12).unwrap();
        Commit::decode(&bytes).err()
    };
    let good = samples::commit_bytes();
    assert_eq!(Commit::decode(&good[..BLOCK - 1]), Err(Error::Truncated));
    assert_eq!(sealed(0, b'd'), Some(Error::BadMagic));
    assert_eq!(sealed(8, 2), Some(Error::UnknownVersion));
    assert_eq!(sealed(32, 12), Some(Error::BadCount));
    assert_eq!(sealed(64, 4), Some(Error::BadCount));
    assert_eq!(sealed(72, 1), Some(Error::BadLength));
    assert_eq!(sealed(72, 0), Some(Error::BadCount));
    assert_eq!(sealed(72, 4), Some(Error::BadCount));
    assert_eq!(sealed(88, 31), Some(Error::BadLength));
    assert_eq!(sealed(4095, 1), Some(Error::NotZero));
    assert_eq!(sealed(184, 1), Some(Error::NotZero));

    let huge = Commit {
        frames: u64::MAX,
        chunks: CHUNKS_MAX + 1,
        ..samples::commit()
    };
    assert_eq!(huge.encode(&mut [0; BLOCK]), Err(Error::BadCount));
    let sum = Commit {
        data_pages: u64::MAX,
        ..samples::commit()
    };
    assert_eq!(sum.encode(&mut [0; BLOCK]), Err(Error::BadCount));
}

/// All that is read before the tag is checked is in proportion to what there is.
#[test]
fn claims_are_held_to_what_there_is() {
    let facts = samples::FACTS;
    let check = |commit: &Commit| commit.check_claims(&facts, samples::IMAGE_BLOCKS as u64);
    assert_eq!(check(&samples::commit()), Ok(()));

    let sort = hostile::ALL
        .iter()
        .find(|sort| sort.name.ends_with("says too much"));
    let bytes = (sort.unwrap().make)(hostile::SEED_BYTES);
    let mut commits = bytes
        .chunks_exact(BLOCK)
        .filter_map(|block| Commit::decode(block).ok());
    let says_too_much = commits.next().unwrap();
    let memory = Facts {
        ram_pages: u64::MAX,
        ..facts
    };
    let blocks = (bytes.len() / BLOCK) as u64;
    assert_eq!(
        says_too_much.check_claims(&memory, blocks),
        Err(Error::BadCount)
    );
    let believed = Commit {
        stored_bytes: bytes.len() as u64,
        ..says_too_much
    };
    assert_eq!(
        believed.check_claims(&memory, u64::MAX),
        Err(Error::BadCount)
    );

    let sample = samples::commit;
    for wrong in [
        Commit {
            image_pages: facts.ram_pages + 1,
            ..sample()
        },
        Commit {
            data_pages: facts.ram_pages + 1,
            ..sample()
        },
        Commit {
            data_pages: 65,
            ..sample()
        },
        Commit {
            data_pages: 1,
            ..sample()
        },
        Commit {
            image_pages: 0,
            ..sample()
        },
        Commit {
            stored_bytes: 3 * 64 - 1,
            ..sample()
        },
        Commit {
            stored_bytes: samples::IMAGE_BLOCKS as u64 * BLOCK as u64 + 1,
            ..sample()
        },
    ] {
        assert_eq!(check(&wrong), Err(Error::BadCount), "{wrong:?}");
    }

    // 512 MiB of memory, and a disk of 1 TiB: a root of 4 GiB is out of the question.
    let small = Facts {
        ram_pages: 1 << 17,
        ..facts
    };
    let most = Commit {
        image_pages: 1 << 17,
        data_pages: 1 << 17,
        fill_pages: 0,
        frames: 1 << 18,
        index_frames: 1 << 17,
        chunks: 1 << 18,
        stored_bytes: 1 << 39,
        ..sample()
    };
    assert_eq!(most.check_claims(&small, 1 << 28), Ok(()));
    assert_eq!(most.root_len(), Ok(4 << 20));
    let more = |data, index| Commit {
        data_pages: data,
        frames: CHUNKS_MAX,
        index_frames: index,
        chunks: CHUNKS_MAX,
        ..most.clone()
    };
    for (data, index) in [(1 << 17, CHUNKS_MAX), (CHUNKS_MAX, 0), (1 << 17, 1 << 17)] {
        let claims = more(data, index).check_claims(&small, 1 << 28);
        assert_eq!(claims, Err(Error::BadCount), "{data} {index}");
    }
}

#[test]
fn space_refusals() {
    let make = |header, commit, root, len| Space::new(100, header, commit, root, len).err();
    assert_eq!(make(0, 16, 17, 4096 * 83), None);
    assert_eq!(make(0, 16, 17, 4096 * 83 + 1), Some(Error::BlockRange));
    assert_eq!(make(85, 1, 2, 1), Some(Error::BlockRange));
    assert_eq!(make(0, 100, 17, 1), Some(Error::BlockRange));
    assert_eq!(make(0, 15, 17, 1), Some(Error::Overlap));
    assert_eq!(make(0, 17, 15, 1), Some(Error::Overlap));
    assert_eq!(make(0, 17, 16, 4097), Some(Error::Overlap));
    assert_eq!(make(u64::MAX, 17, 16, 1), Some(Error::BlockRange));
}

#[test]
fn chunk_refusals() {
    let raw = |block: u64, used: u32, flags: u32| {
        let mut bytes = block.to_le_bytes().to_vec();
        bytes.extend(used.to_le_bytes());
        bytes.extend(flags.to_le_bytes());
        let read: Vec<_> = chunks(&bytes, &space()).map(|c| c.err()).collect();
        read[0]
    };
    assert_eq!(raw(18, 64, 0), None);
    assert_eq!(raw(18, CHUNK_BYTES as u32, 1), None);
    assert_eq!(raw(18, CHUNK_BYTES as u32 + 8, 0), Some(Error::BadLength));
    assert_eq!(raw(18, 56, 0), Some(Error::BadLength));
    assert_eq!(raw(18, 68, 0), Some(Error::BadLength));
    assert_eq!(raw(18, 64, 2), Some(Error::UnknownFeature));
    assert_eq!(raw(u64::MAX, 64, 0), Some(Error::BlockRange));
    assert_eq!(raw(BLOCKS - 1, 4096, 0), None);
    assert_eq!(raw(BLOCKS - 1, 4104, 0), Some(Error::BlockRange));
    for taken in [0, 15, 16, 17] {
        assert_eq!(raw(taken, 64, 0), Some(Error::Overlap), "{taken}");
    }
    let chunk = Chunk {
        block: 18,
        used: 64,
        flags: 0,
    };
    assert_eq!(put(&mut [0; 31], 1, &chunk), Err(Error::NoRoom));
    assert_eq!(put(&mut [0; 31], usize::MAX, &chunk), Err(Error::NoRoom));
    assert_eq!(
        put(&mut [0; 32], 0, &Chunk::default()),
        Err(Error::BadLength)
    );
}

#[test]
fn disjoint_needs_scratch_only_out_of_order() {
    let chunk = |block| Chunk {
        block,
        used: 8192,
        flags: 0,
    };
    let check = |blocks: [u64; 3], scratch: usize| {
        let root = table(&blocks.map(chunk));
        check_disjoint(&root, &space(), &mut vec![Range::default(); scratch])
    };
    assert_eq!(check([18, 20, 22], 0), Ok(()));
    assert_eq!(check([22, 18, 20], 0), Err(Error::NoRoom));
    assert_eq!(check([22, 18, 20], 3), Ok(()));
    assert_eq!(check([22, 18, 21], 3), Err(Error::Overlap));
    assert_eq!(check([18, 19, 30], 3), Err(Error::Overlap));
}

/// Readers make room for what the commit record counts, so there are chunks for all of it.
#[test]
fn stored_bytes_are_those_of_the_chunks() {
    let superblock = samples::superblock();
    let right = samples::commit().stored_bytes;
    for (stored_bytes, expected) in [
        (right, Ok(())),
        (right - 8, Err(Error::BadCount)),
        (right + 8, Err(Error::BadCount)),
    ] {
        let commit = Commit {
            stored_bytes,
            ..samples::commit()
        };
        let mut record = [0; BLOCK];
        commit.encode(&mut record).unwrap();
        let mut blocks = samples::image_bytes();
        let at = samples::COMMIT_BLOCK as usize * BLOCK;
        blocks[at..at + BLOCK].copy_from_slice(&record);
        let blocks = &blocks[..];
        let opened = Opened::open(&blocks, superblock.clone()).unwrap();
        let chunks = opened.chunks().map(drop).map_err(reader::error_of);
        assert_eq!(chunks, expected, "{stored_bytes}");
    }
}
