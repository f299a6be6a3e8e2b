// SPDX-License-Identifier: GPL-2.0

//! Whole parts of an image to and from storage, through the buffers of a job.

#![forbid(unsafe_code)]

use super::watch::Watch;
use crate::image::BLOCK;
use crate::patience::TICK_MS;
use crate::storage::{Op, Space};
use crate::sys::ioq::{IoBuf, IoQueue};
use crate::sys::work;
use kernel::prelude::*;
use kernel::sync::Arc;

/// Blocks that `bytes` take.
pub fn blocks_of(bytes: usize) -> u64 {
    bytes.div_ceil(BLOCK) as u64
}

/// Starts a transfer, which is counted from now on as under way. A storage that
/// takes nothing more may keep the caller for ever: for workers only.
pub fn submit(space: &dyn Space, op: Op, block: u64, mut buf: IoBuf) {
    buf.start();
    space.submit(op, block, buf);
}

/// Starts a transfer from a thread that has to go on, whatever the storage does.
fn start(
    space: &Arc<dyn Space>,
    op: Op,
    block: u64,
    mut buf: IoBuf,
    watch: &mut Watch<'_>,
) -> Result {
    buf.start();
    let space = space.clone();
    work::run(move || space.submit(op, block, buf), || watch.check())
}

/// Takes the buffer that comes back first.
fn next(queue: &IoQueue, watch: &mut Watch<'_>) -> Result<IoBuf> {
    loop {
        if let Some(buf) = queue.get_within(TICK_MS) {
            return Ok(buf);
        }
        watch.check()?;
    }
}

/// Waits until all transfers are over and returns the first failure. No
/// worker may be using the queue. May sleep; allocates nothing.
///
/// # Errors
///
/// That of the transfer; those of [`Watch::check`].
pub fn drain(queue: &IoQueue, watch: &mut Watch<'_>) -> Result {
    while !queue.wait_all_idle(TICK_MS) {
        watch.check()?;
    }
    let mut result = Ok(());
    // Each goes behind all the others again, so every one of them comes.
    for _ in 0..queue.buffers() {
        result = result.and(next(queue, watch)?.result());
    }
    result
}

/// Writes `bytes` from `block` on, the last block filled up with zeros, and
/// returns when the storage has taken all of it. May sleep; allocates nothing.
///
/// # Errors
///
/// `ENOSPC` when the space ends before the bytes; I/O errors; those of
/// [`Watch::check`].
pub fn write_all(space: &Arc<dyn Space>, queue: &IoQueue, block: u64, bytes: &[u8]) -> Result {
    let end = block.checked_add(blocks_of(bytes.len())).ok_or(ENOSPC)?;
    if end > space.blocks() {
        return Err(ENOSPC);
    }
    let mut watch = Watch::new(&**space, queue);
    let mut at = block;
    for part in bytes.chunks(queue.buffer_bytes()) {
        let mut buf = next(queue, &mut watch)?;
        buf.result()?;
        let len = part.len().next_multiple_of(BLOCK);
        let to = buf.bytes_mut().get_mut(..len).ok_or(EINVAL)?;
        to.get_mut(..part.len())
            .ok_or(EINVAL)?
            .copy_from_slice(part);
        to.get_mut(part.len()..).ok_or(EINVAL)?.fill(0);
        buf.set_len(len);
        start(space, Op::Write, at, buf, &mut watch)?;
        at = at.saturating_add(blocks_of(part.len()));
    }
    drain(queue, &mut watch)
}

/// Reads into `bytes` from `block` on. May sleep.
///
/// # Errors
///
/// `ENXIO` when the space ends before the bytes; I/O errors; those of
/// [`Watch::check`].
pub fn read_all(space: &Arc<dyn Space>, queue: &IoQueue, block: u64, bytes: &mut [u8]) -> Result {
    let end = block.checked_add(blocks_of(bytes.len())).ok_or(ENXIO)?;
    if end > space.blocks() {
        return Err(ENXIO);
    }
    let mut watch = Watch::new(&**space, queue);
    let mut at = block;
    let mut held = KVec::with_capacity(queue.buffers(), GFP_KERNEL)?;
    for part in bytes.chunks_mut(queue.buffer_bytes()) {
        let mut buf = next(queue, &mut watch)?;
        buf.set_len(part.len().next_multiple_of(BLOCK));
        buf.set_tag(at);
        start(space, Op::Read, at, buf, &mut watch)?;
        // Nothing else is under way: the buffers that come first are idle
        // ones, and with all of them held the next one is the one sent.
        let mut buf = next(queue, &mut watch)?;
        while !(buf.had_request() && buf.tag() == at) {
            held.push(buf, GFP_KERNEL)?;
            buf = next(queue, &mut watch)?;
        }
        buf.result()?;
        part.copy_from_slice(buf.bytes().get(..part.len()).ok_or(EINVAL)?);
        at = at.saturating_add(blocks_of(part.len()));
        drop(core::mem::replace(
            &mut held,
            KVec::with_capacity(queue.buffers(), GFP_KERNEL)?,
        ));
    }
    Ok(())
}
