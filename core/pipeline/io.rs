// SPDX-License-Identifier: GPL-2.0

//! Whole parts of an image to and from storage, through the buffers of a job.

#![forbid(unsafe_code)]

use crate::image::BLOCK;
use crate::storage::{Op, Space};
use crate::sys::ioq::IoQueue;
use kernel::prelude::*;

/// Blocks that `bytes` take.
pub fn blocks_of(bytes: usize) -> u64 {
    bytes.div_ceil(BLOCK) as u64
}

/// Waits until all transfers are over and returns the first failure. No
/// worker may be using the queue. May sleep; allocates nothing.
///
/// # Errors
///
/// That of the transfer.
pub fn drain(queue: &IoQueue) -> Result {
    queue.wait_all_idle();
    let mut result = Ok(());
    // Each goes behind all the others again, so every one of them comes.
    for _ in 0..queue.buffers() {
        result = result.and(queue.get().result());
    }
    result
}

/// Writes `bytes` from `block` on, the last block filled up with zeros, and
/// returns when the storage has taken all of it. May sleep; allocates nothing.
///
/// # Errors
///
/// `ENOSPC` when the space ends before the bytes; I/O errors.
pub fn write_all(space: &dyn Space, queue: &IoQueue, block: u64, bytes: &[u8]) -> Result {
    let end = block.checked_add(blocks_of(bytes.len())).ok_or(ENOSPC)?;
    if end > space.blocks() {
        return Err(ENOSPC);
    }
    let mut at = block;
    for part in bytes.chunks(queue.buffer_bytes()) {
        let mut buf = queue.get();
        buf.result()?;
        let len = part.len().next_multiple_of(BLOCK);
        let to = buf.bytes_mut().get_mut(..len).ok_or(EINVAL)?;
        to.get_mut(..part.len())
            .ok_or(EINVAL)?
            .copy_from_slice(part);
        to.get_mut(part.len()..).ok_or(EINVAL)?.fill(0);
        buf.set_len(len);
        space.submit(Op::Write, at, buf);
        at = at.saturating_add(blocks_of(part.len()));
    }
    drain(queue)
}

/// Reads into `bytes` from `block` on. May sleep.
///
/// # Errors
///
/// `ENXIO` when the space ends before the bytes; I/O errors.
pub fn read_all(space: &dyn Space, queue: &IoQueue, block: u64, bytes: &mut [u8]) -> Result {
    let end = block.checked_add(blocks_of(bytes.len())).ok_or(ENXIO)?;
    if end > space.blocks() {
        return Err(ENXIO);
    }
    let mut at = block;
    let mut held = KVec::with_capacity(queue.buffers(), GFP_KERNEL)?;
    for part in bytes.chunks_mut(queue.buffer_bytes()) {
        let mut buf = queue.get();
        buf.set_len(part.len().next_multiple_of(BLOCK));
        buf.set_tag(at);
        space.submit(Op::Read, at, buf);
        // Nothing else is under way: the buffers that come first are idle
        // ones, and with all of them held the next one is the one sent.
        let mut buf = queue.get();
        while !(buf.had_request() && buf.tag() == at) {
            held.push(buf, GFP_KERNEL)?;
            buf = queue.get();
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
