// SPDX-License-Identifier: GPL-2.0

//! Suite `dormouse_file`: from the extents of a file to the block map of an image in it. The file
//! itself needs a kernel that can hibernate.

#![forbid(unsafe_code)]

use crate::check::{
    check_eq,
    suite,
    Verdict, //
};
use crate::plan;
use dormouse::blockmap::codec::blocks_for;
use dormouse::blockmap::BlockMap;
use dormouse::sys::table::Table;
use kernel::prelude::*;

suite! { "dormouse_file":
    an_image_takes_what_the_map_leaves,
    a_map_may_take_everything,
    a_hole_ends_the_file,
    a_full_table_is_an_error,
}

type Runs = KVVec<(u64, u32)>;

fn runs(extents: &[(u64, u64, u64)]) -> Result<(plan::Layout, Runs)> {
    let mut runs = KVVec::new();
    let layout = plan::runs(extents.iter().copied(), |at, count| {
        runs.push((at, count), GFP_KERNEL)
    })?;
    Ok((layout, runs))
}

/// The blocks of the map's chain, and the map of the rest, in a table of `room` entries.
fn split(
    runs: &Runs,
    count: usize,
    room: usize,
) -> Result<(KVVec<u64>, BlockMap<Table<dormouse::blockmap::MapEntry>>)> {
    let mut chain = KVVec::with_capacity(count, GFP_KERNEL)?;
    let mut map = BlockMap::new(Table::new(room)?);
    plan::split::<Error>(
        runs.iter().copied(),
        count,
        |block| Ok(chain.push(block, GFP_KERNEL)?),
        |block, blocks| Ok(map.append(0, block, blocks)?),
    )?;
    Ok((chain, map))
}

fn an_image_takes_what_the_map_leaves() -> Verdict {
    let (layout, runs) = runs(&[(0, 1000, 3), (3, 50, 10), (13, 4000, 100)])?;
    check_eq!((layout.first, layout.pages), (1000, 113));
    check_eq!(runs.len(), 3);
    let needed = blocks_for(runs.len().saturating_add(1));
    let (chain, map) = split(&runs, needed, runs.len())?;
    check_eq!(chain.len(), needed);
    check_eq!(chain.first(), Some(&1001));
    // The first page, the chain, and the image are the whole file.
    let others = 1u64.saturating_add(needed as u64);
    check_eq!(map.total(), layout.pages.saturating_sub(others));
    let mut next = map.total();
    for piece in map.lookup(0, map.total())? {
        next = next.saturating_sub(piece.count);
    }
    check_eq!(next, 0);
    Ok(())
}

fn a_map_may_take_everything() -> Verdict {
    let (_, runs) = runs(&[(0, 9, 4)])?;
    let (chain, map) = split(&runs, 10, 1)?;
    check_eq!(chain.as_slice(), [10, 11, 12]);
    check_eq!(map.total(), 0);
    Ok(())
}

fn a_hole_ends_the_file() -> Verdict {
    let (layout, runs) = runs(&[(0, 9, 4), (5, 100, 4)])?;
    check_eq!((layout.pages, runs.len()), (4, 1));
    Ok(())
}

fn a_full_table_is_an_error() -> Verdict {
    let (_, runs) = runs(&[(0, 9, 4), (4, 100, 4)])?;
    check_eq!(split(&runs, 0, 1).is_err(), true);
    Ok(())
}
