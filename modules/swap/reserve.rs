// SPDX-License-Identifier: GPL-2.0

//! Taking slots of swap areas for an image.

#![forbid(unsafe_code)]

use crate::areas::{path, Candidate};
use crate::blockmap::codec::{blocks_for, Device};
use crate::blockmap::{stripe, Area, BlockMap, MapEntry, DEVICES_MAX};
use crate::image::{self, ImageId, BLOCK};
use crate::mark::Part;
use crate::plan::{self, blocks, carve, divide, Run, Share};
use crate::space::{Reserved, SwapSpace};
use core::mem::size_of;
use dormouse::blockspace::{self, BlockSpace, Map};
use dormouse::engine;
use dormouse::storage::Room;
use dormouse::swapmark::sector::{self, Record, Role};
use dormouse::swapmark::Header;
use dormouse::sys::block::BlockDevice;
use dormouse::sys::random;
use dormouse::sys::swap::{self, SwapArea, SwapSlots};
use dormouse::sys::table::Table;
use dormouse::text::Text;
use kernel::prelude::*;
use kernel::sync::Arc;

/// How often slots are asked for when areas give fewer than they seemed to
/// have: others may take some at the same time.
const ROUNDS: usize = 3;

/// What the areas could give now, less what their marks and the block map may
/// take of it.
pub(crate) fn room(chosen: &[Candidate]) -> Room {
    let total = chosen
        .iter()
        .fold(0u64, |sum, c| sum.saturating_add(c.area.free_pages()));
    let mut map = plan::map_blocks_most(total);
    let mut room = Room::new();
    for c in chosen {
        let free = c.area.free_pages().saturating_sub(1);
        room.add(path(&c.area), free.saturating_sub(map));
        // Only the first area holds the map.
        map = 0;
    }
    room
}

/// Bytes of memory for each run of blocks: one in [`SwapSlots`] and one in
/// [`Taken`], both of which are lists that double when they are full, and one in
/// the map.
const RUN_BYTES: usize = size_of::<MapEntry>()
    .saturating_add(SwapSlots::EXTENT_BYTES.saturating_mul(2))
    .saturating_add(size_of::<Run>().saturating_mul(2));

/// About how many bytes of memory a space of `blocks` blocks takes: no more runs
/// are taken than there are in all the areas, or than blocks. May sleep.
pub(crate) fn memory(blocks: u64) -> usize {
    let mut runs = 0u64;
    swap::areas(&mut |area| runs = runs.saturating_add(area.free_runs()));
    let runs = usize::try_from(runs.min(blocks)).unwrap_or(usize::MAX);
    runs.saturating_mul(RUN_BYTES)
}

/// An area with the slots that were taken of it.
struct Taken<'a> {
    candidate: &'a Candidate,
    runs: KVVec<Run>,
    /// Block that keeps the original sector, or 0.
    keep: u64,
}

impl Taken<'_> {
    fn add(&mut self, slots: &SwapSlots) -> Result {
        for (block, count) in slots.extents() {
            let mut at = block;
            let mut left = count;
            while left != 0 {
                let part = u32::try_from(left).unwrap_or(u32::MAX);
                self.runs.push((at, part), GFP_KERNEL)?;
                at = at.saturating_add(u64::from(part));
                left = left.saturating_sub(u64::from(part));
            }
        }
        Ok(())
    }
}

/// Takes `need` slots of the areas, or as many as there are; of the first at
/// least `first`.
fn take_slots(
    taken: &mut [Taken<'_>],
    slots: &mut KVec<SwapSlots>,
    need: u64,
    first: u64,
) -> Result {
    let mut lacking = need;
    for round in 0..ROUNDS {
        let mut shares = [Share::default(); DEVICES_MAX];
        let shares = shares.get_mut(..taken.len()).ok_or(E2BIG)?;
        for (share, t) in shares.iter_mut().zip(taken.iter()) {
            let area = SwapArea::get(t.candidate.area.type_no)?;
            share.priority = area.priority();
            share.free = area.free_pages();
        }
        divide(shares, lacking);
        if let (0, Some(share)) = (round, shares.first_mut()) {
            share.take = share.take.max(first.min(share.free));
        }
        let mut got = 0u64;
        for (share, t) in shares.iter().zip(taken.iter_mut()) {
            if share.take == 0 {
                continue;
            }
            let device = t.candidate.header.device.clone();
            let type_no = t.candidate.area.type_no;
            let new = SwapSlots::reserve(type_no, device, share.take, engine::go_on)?;
            t.add(&new)?;
            got = got.saturating_add(new.len());
            slots.push(new, GFP_KERNEL)?;
        }
        lacking = lacking.saturating_sub(got);
        if lacking == 0 || got == 0 {
            break;
        }
    }
    Ok(())
}

fn areas_of<'a>(taken: &'a [Taken<'_>]) -> Result<KVec<Area<'a>>> {
    let mut list = KVec::with_capacity(taken.len(), GFP_KERNEL)?;
    for (device, t) in (0u32..).zip(taken) {
        let area = Area {
            device,
            priority: t.candidate.area.priority(),
            free: &t.runs,
        };
        list.push(area, GFP_KERNEL)?;
    }
    Ok(list)
}

fn left(taken: &[Taken<'_>]) -> u64 {
    taken
        .iter()
        .fold(0, |sum, t| sum.saturating_add(blocks(&t.runs)))
}

/// Sets blocks of the primary aside for the block map, and returns them with
/// the blocks that the space will have.
fn set_map_aside(taken: &mut [Taken<'_>], want: u64) -> Result<(KVVec<u64>, u64)> {
    let mut chain = KVVec::new();
    loop {
        let data = want.min(left(taken));
        let needed = blocks_for(plan::entries(&areas_of(taken)?, data)?);
        if needed <= chain.len() {
            return Ok((chain, data));
        }
        let primary = taken.first_mut().ok_or(ENOSPC)?;
        while chain.len() < needed {
            let block = carve(&mut primary.runs).ok_or_else(|| {
                let name = path(&primary.candidate.area);
                engine::fail(
                    ENOSPC,
                    format_args!("swap area {name} has no room for the block map"),
                )
            })?;
            chain.push(block, GFP_KERNEL)?;
        }
    }
}

/// Sets a block aside in each area whose header has something in the place of
/// the mark.
fn set_keeps_aside(taken: &mut [Taken<'_>]) -> Result {
    for t in taken.iter_mut() {
        if t.candidate.original != sector::plain() && !t.runs.is_empty() {
            t.keep = carve(&mut t.runs).ok_or(ENOSPC)?;
        }
    }
    Ok(())
}

/// Makes the map of `data` blocks, and returns it with the areas that it uses,
/// in the order of its device numbers. The primary is always the first.
fn make_map<'a, 'b>(taken: &'a [Taken<'b>], data: u64) -> Result<(Map, KVec<&'a Taken<'b>>)> {
    let areas = areas_of(taken)?;
    let mut map = BlockMap::new(Table::new(plan::entries(&areas, data)?)?);
    let mut numbers: [Option<u32>; DEVICES_MAX] = [None; DEVICES_MAX];
    let mut used = KVec::with_capacity(taken.len(), GFP_KERNEL)?;
    if let (Some(number), Some(primary)) = (numbers.first_mut(), taken.first()) {
        *number = Some(0);
        used.push(primary, GFP_KERNEL)?;
    }
    let planned = stripe(&areas, data, |device, block, count| {
        let i = device as usize;
        let number = numbers.get_mut(i).ok_or(image::Error::BadDevice)?;
        if number.is_none() {
            *number = Some(used.len() as u32);
            let t = taken.get(i).ok_or(image::Error::BadDevice)?;
            used.push(t, GFP_KERNEL).map_err(|_| image::Error::NoRoom)?;
        }
        map.append(number.unwrap_or(0), block, count)
    })?;
    if planned != data {
        return Err(ENOSPC);
    }
    Ok((map, used))
}

/// Takes off marks of images that were given up but not erased; an area that
/// is in use cannot have a living one.
fn take_old_marks_off(chosen: &[Candidate]) -> Result {
    for c in chosen.iter().filter(|c| c.marked) {
        pr_notice!(
            "swap area {}: the mark of a dead image is taken off\n",
            path(&c.area)
        );
        c.header.put(&c.original)?;
    }
    Ok(())
}

/// Takes `want` blocks of the chosen areas, or as many as there are but no
/// fewer than `at_least`, and writes the block map to the first. May sleep and
/// allocate.
///
/// # Errors
///
/// `ENOSPC` with the reason, `ENOMEM`, I/O errors.
pub(crate) fn reserve(chosen: &[Candidate], want: u64, at_least: u64) -> Result<SwapSpace> {
    if chosen.is_empty() {
        return Err(engine::fail(ENOSPC, format_args!("no swap area is active")));
    }
    let most = chosen.get(..chosen.len().min(DEVICES_MAX)).unwrap_or(&[]);
    let mut taken = KVec::with_capacity(most.len(), GFP_KERNEL)?;
    for candidate in most {
        let t = Taken {
            candidate,
            runs: KVVec::new(),
            keep: 0,
        };
        taken.push(t, GFP_KERNEL)?;
    }
    take_old_marks_off(most)?;
    let mut slots = KVec::new();
    let map_blocks = plan::map_blocks_most(want).saturating_add(1);
    let keeps = most.len() as u64;
    let need = want.saturating_add(map_blocks).saturating_add(keeps);
    take_slots(&mut taken, &mut slots, need, map_blocks.saturating_add(1))?;
    set_keeps_aside(&mut taken)?;
    let (chain, data) = set_map_aside(&mut taken, want)?;
    if data < at_least || data == 0 {
        return Err(engine::fail(
            ENOSPC,
            format_args!(
                "the swap areas only gave {} kB of the {} kB that the image may need",
                data.saturating_mul(4),
                at_least.saturating_mul(4)
            ),
        ));
    }
    let (map, used) = make_map(&taken, data)?;
    finish(&used, map, &chain, slots)
}

/// Writes what the next boot needs to find the blocks, and makes the space.
fn finish(
    used: &[&Taken<'_>],
    map: Map,
    chain: &[u64],
    slots: KVec<SwapSlots>,
) -> Result<SwapSpace> {
    let mut id = ImageId([0; 16]);
    random::fill_random(&mut id.0);
    let mut devices = KVec::new();
    let mut parts = KVec::new();
    let mut role = Role::Primary;
    let dev = used.first().ok_or(EINVAL)?.candidate.header.device.dev();
    for t in used {
        let header = &t.candidate.header;
        if t.keep != 0 {
            header.write_keep(t.keep, &id, &t.candidate.original)?;
        }
        devices.push(header.device.clone(), GFP_KERNEL)?;
        let part = Part {
            header: header.clone(),
            record: Record {
                role,
                map: id,
                keep: t.keep,
                primary: (dev.major(), dev.minor()),
            },
        };
        parts.push(part, GFP_KERNEL)?;
        role = Role::Member;
    }
    store_map(used, &devices, chain, &id, &map)?;
    for t in used {
        let kb = blocks(&t.runs).saturating_mul(4);
        pr_info!(
            "swap area {}: {} kB reserved\n",
            path(&t.candidate.area),
            kb
        );
    }
    Ok(SwapSpace {
        space: BlockSpace::new(devices, map),
        parts,
        map: id,
        chain: chain.first().copied().ok_or(EINVAL)?,
        dead: false,
        missing: false,
        _reserved: Some(Reserved::new(slots)),
    })
}

fn blocks_of(device: &BlockDevice) -> u64 {
    device.size_bytes() / BLOCK as u64
}

/// The path of an area as a label, which must not have control characters.
fn label(area: &SwapArea) -> Text<64> {
    let text = path(area);
    if text.chars().any(char::is_control) {
        return Text::new();
    }
    Text::format(format_args!("{text}"))
}

fn store_map(
    used: &[&Taken<'_>],
    devices: &[Arc<BlockDevice>],
    chain: &[u64],
    id: &ImageId,
    map: &Map,
) -> Result {
    let mut labels = KVec::with_capacity(used.len(), GFP_KERNEL)?;
    for t in used {
        labels.push(label(&t.candidate.area), GFP_KERNEL)?;
    }
    let mut table = KVec::with_capacity(used.len(), GFP_KERNEL)?;
    for (t, label) in used.iter().zip(labels.iter()) {
        let Header { device, .. } = &t.candidate.header;
        let entry = Device {
            uuid: t.candidate.header.uuid,
            blocks: blocks_of(device),
            major: device.dev().major(),
            minor: device.dev().minor(),
            signature_block: t.candidate.header.block,
            private: 0,
            label: label.as_str(),
        };
        table.push(entry, GFP_KERNEL)?;
    }
    let first = devices.first().ok_or(EINVAL)?;
    blockspace::store(first, chain, id, &table, map)
}
