// SPDX-License-Identifier: GPL-2.0

//! Buffers that travel between workers and a storage.
//!
//! An [`IoQueue`] has a fixed number of buffers, so it also bounds how many requests are under way:
//! who finds no buffer waits until the storage has returned one. An [`IoBuf`] cannot get lost: it
//! goes back to its queue by [`IoBuf::complete`] or by being dropped.
//!
//! A storage can stop without a word. Then [`IoQueue::give_up`] sends home whoever waits, and the
//! queue can be dropped: its memory stays until the last buffer is back, if that ever happens.

use super::ffi;
use core::mem;
use core::ptr::NonNull;
use core::slice;
use kernel::error::{from_err_ptr, to_result};
use kernel::prelude::*;
use kernel::sync::Arc;

/// A queue of buffers.
///
/// # Invariants
///
/// `queue` comes from `dormouse_ioq_new()` and is freed by nobody else.
pub struct IoQueue {
    queue: NonNull<ffi::dormouse_ioq>,
    buffers: usize,
    bytes: usize,
}

// SAFETY: The queue has its own lock.
unsafe impl Send for IoQueue {}

// SAFETY: As above.
unsafe impl Sync for IoQueue {}

impl IoQueue {
    /// Makes a queue of `buffers` buffers of `bytes` bytes each, zeroed at first. May sleep.
    ///
    /// # Errors
    ///
    /// `EINVAL` for no buffers, or when `bytes` is not a multiple of the page size; `ENOMEM`.
    pub fn new(buffers: usize, bytes: usize) -> Result<Arc<IoQueue>> {
        // SAFETY: Any numbers are allowed, and this is process context.
        let queue = from_err_ptr(unsafe { ffi::dormouse_ioq_new(buffers, bytes) })?;
        // INVARIANT: The queue has just been made.
        let queue = IoQueue {
            queue: NonNull::new(queue).ok_or(ENOMEM)?,
            buffers,
            bytes,
        };
        Ok(Arc::new(queue, GFP_KERNEL)?)
    }

    /// Number of buffers. Any context.
    pub fn buffers(&self) -> usize {
        self.buffers
    }

    /// Bytes of each buffer. Any context.
    pub fn buffer_bytes(&self) -> usize {
        self.bytes
    }

    /// Takes the buffer that came back first; waits until there is one, or until the queue is
    /// given up: then there is none. May sleep.
    pub fn get(&self) -> Option<IoBuf> {
        // SAFETY: By the type invariants the queue is valid.
        let buf = unsafe { ffi::dormouse_ioq_get(self.queue.as_ptr()) };
        // INVARIANT: The queue hands each buffer to one holder at a time.
        Some(IoBuf {
            buf: NonNull::new(buf)?,
        })
    }

    /// Takes the buffer that came back first, if there is one within `ms` milliseconds. May sleep.
    pub fn get_within(&self, ms: u32) -> Option<IoBuf> {
        // SAFETY: By the type invariants the queue is valid.
        let buf = unsafe { ffi::dormouse_ioq_get_within(self.queue.as_ptr(), ms) };
        // INVARIANT: The queue hands each buffer to one holder at a time.
        Some(IoBuf {
            buf: NonNull::new(buf)?,
        })
    }

    /// Takes the buffer that came back first, if there is one. Any context but NMI.
    pub fn try_get(&self) -> Option<IoBuf> {
        // SAFETY: By the type invariants the queue is valid.
        let buf = unsafe { ffi::dormouse_ioq_try_get(self.queue.as_ptr()) };
        // INVARIANT: The queue hands each buffer to one holder at a time.
        Some(IoBuf {
            buf: NonNull::new(buf)?,
        })
    }

    /// Waits at most `ms` milliseconds until nobody holds a buffer, and says whether that is so.
    /// May sleep. The caller must hold none.
    pub fn wait_all_idle(&self, ms: u32) -> bool {
        // SAFETY: By the type invariants the queue is valid.
        unsafe { ffi::dormouse_ioq_wait_all_idle(self.queue.as_ptr(), ms) }
    }

    /// Ends all waiting in [`IoQueue::get`], now and from now on. Any context but NMI.
    pub fn give_up(&self) {
        // SAFETY: By the type invariants the queue is valid.
        unsafe { ffi::dormouse_ioq_give_up(self.queue.as_ptr()) };
    }

    /// How many requests are under way, and how many are over. Any context but NMI.
    pub fn counts(&self) -> (u64, u64) {
        let (mut under_way, mut over) = (0, 0);
        // SAFETY: By the type invariants the queue is valid; the numbers are ours to write.
        unsafe { ffi::dormouse_ioq_counts(self.queue.as_ptr(), &mut under_way, &mut over) };
        (under_way, over)
    }
}

impl Drop for IoQueue {
    /// Leaves the queue to the last buffer that comes back.
    fn drop(&mut self) {
        // SAFETY: By the type invariants the queue is valid, and nobody uses it after this. Its
        // memory stays until all buffers are back, so that none of them is used any more either.
        unsafe { ffi::dormouse_ioq_free(self.queue.as_ptr()) };
    }
}

/// A buffer of an [`IoQueue`], held by nobody else.
///
/// # Invariants
///
/// `buf` was handed out by its queue to this holder only, and the queue exists until it is back.
pub struct IoBuf {
    buf: NonNull<ffi::dormouse_iobuf>,
}

// SAFETY: A buffer has one holder, who may be any thread.
unsafe impl Send for IoBuf {}

// SAFETY: A shared buffer can only be read.
unsafe impl Sync for IoBuf {}

impl IoBuf {
    fn get(&self) -> &ffi::dormouse_iobuf {
        // SAFETY: By the type invariants the buffer exists, and only its holder changes it.
        unsafe { self.buf.as_ref() }
    }

    fn get_mut(&mut self) -> &mut ffi::dormouse_iobuf {
        // SAFETY: By the type invariants the buffer exists, and nobody else uses it.
        unsafe { self.buf.as_mut() }
    }

    /// All bytes of the buffer. Any context.
    pub fn bytes(&self) -> &[u8] {
        let buf = self.get();
        // SAFETY: `data` points to `capacity` bytes, initialised when the queue was made, that
        // belong to the holder of the buffer.
        unsafe { slice::from_raw_parts(buf.data.cast(), buf.capacity) }
    }

    /// All bytes of the buffer. Any context.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        let buf = self.get_mut();
        // SAFETY: As in `bytes`.
        unsafe { slice::from_raw_parts_mut(buf.data.cast(), buf.capacity) }
    }

    /// Number of bytes of the buffer. Any context.
    pub fn capacity(&self) -> usize {
        self.get().capacity
    }

    /// Bytes of the request, as set by [`IoBuf::set_len`]; it is for the storage to check it. Any
    /// context.
    #[allow(clippy::len_without_is_empty)]
    pub fn len(&self) -> usize {
        self.get().len
    }

    /// Says how many bytes the request is about. Any context.
    pub fn set_len(&mut self, len: usize) {
        self.get_mut().len = len;
    }

    /// What was set by [`IoBuf::set_tag`]. Any context.
    pub fn tag(&self) -> u64 {
        self.get().tag
    }

    /// Marks the buffer, so that who takes it from the queue knows what it holds. Any context.
    pub fn set_tag(&mut self, tag: u64) {
        self.get_mut().tag = tag;
    }

    /// True when the buffer came back from a request, false when it was merely idle. Any context.
    pub fn had_request(&self) -> bool {
        self.get().requested
    }

    /// Outcome of the request that the buffer came back from. Any context.
    ///
    /// # Errors
    ///
    /// The error that [`IoBuf::complete`] was given.
    pub fn result(&self) -> Result {
        to_result(self.get().result)
    }

    /// Notes that a request begins, which ends when the buffer goes back. Any context but NMI.
    pub fn start(&mut self) {
        // SAFETY: By the type invariants the buffer is ours.
        unsafe { ffi::dormouse_iobuf_start(self.buf.as_ptr()) };
    }

    /// Ends a request: the buffer goes back to its queue, which wakes one who waits for it. Any
    /// context but NMI.
    pub fn complete(self, result: Result) {
        let errno = result.err().map_or(0, Error::to_errno);
        // SAFETY: By the type invariants the buffer is out, and `into_raw` keeps it from being
        // returned twice.
        unsafe { ffi::dormouse_iobuf_return(self.into_raw(), true, errno) };
    }

    /// Gives up the buffer without returning it. Whoever gets it has to.
    pub(super) fn into_raw(self) -> *mut ffi::dormouse_iobuf {
        let buf = self.buf.as_ptr();
        mem::forget(self);
        buf
    }
}

impl Drop for IoBuf {
    /// Returns the buffer to its queue as idle.
    fn drop(&mut self) {
        // SAFETY: By the type invariants the buffer is out, and nobody uses it after this.
        unsafe { ffi::dormouse_iobuf_return(self.buf.as_ptr(), false, 0) };
    }
}
