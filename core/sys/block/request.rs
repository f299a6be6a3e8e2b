// SPDX-License-Identifier: GPL-2.0

//! Requests to block devices that nobody waits for.

use super::super::ffi;
use super::super::ioq::IoBuf;
use super::{BlockDevice, Op};
use core::ptr::NonNull;
use kernel::error::to_result;
use kernel::ffi::c_int;
use kernel::prelude::*;

/// What a request says that was given up.
const CANCELED: c_int = -(kernel::bindings::ECANCELED as c_int);

/// A request that may consist of several pieces, on one device or on several. The buffer comes back
/// to its queue, completed, when all of them are over.
///
/// A request that is dropped instead of submitted completes with `ECANCELED`.
///
/// # Invariants
///
/// `buf` was given up by its [`IoBuf`], and a request to it has begun and not ended.
pub struct BlockRequest {
    buf: NonNull<ffi::dormouse_iobuf>,
    op: Op,
}

// SAFETY: A request has one owner, who may be any thread.
unsafe impl Send for BlockRequest {}

impl BlockRequest {
    /// Begins a request. Any context.
    pub fn begin(buf: IoBuf, op: Op) -> Self {
        let raw = buf.into_raw();
        // SAFETY: The buffer has been given up, so it is ours.
        unsafe { ffi::dormouse_request_begin(raw) };
        // INVARIANT: The request has just begun.
        BlockRequest {
            // SAFETY: The pointer of an `IoBuf` is not null.
            buf: unsafe { NonNull::new_unchecked(raw) },
            op,
        }
    }

    /// Starts a transfer between `dev` from `offset` on and the buffer from `from` on, of `len`
    /// bytes. Process context; may sleep, but does not depend on other I/O for memory.
    ///
    /// # Errors
    ///
    /// `EINVAL` when place or length are not multiples of the device's block or not inside of the
    /// buffer, `ENXIO` beyond the end of the device, `EROFS` when it cannot be written. The request
    /// can go on; its earlier pieces do in any case.
    pub fn piece(&mut self, dev: &BlockDevice, offset: u64, from: usize, len: usize) -> Result {
        // SAFETY: By the type invariants the buffer is in a request, and its memory belongs to that
        // until it has ended; the handle is valid, and may be closed while the piece is under way.
        to_result(unsafe {
            ffi::dormouse_request_piece(
                self.buf.as_ptr(),
                dev.raw(),
                offset,
                from,
                len,
                self.op == Op::Write,
            )
        })
    }

    /// Says that there are no further pieces. Any context but NMI.
    pub fn submit(self) {
        self.end(0);
    }

    /// Says that there are no further pieces and that the request has failed, whatever becomes of
    /// the earlier ones. Any context but NMI.
    pub fn fail(self, error: Error) {
        self.end(error.to_errno());
    }

    fn end(self, errno: c_int) {
        let buf = self.buf.as_ptr();
        core::mem::forget(self);
        // SAFETY: By the type invariants the request has not ended; with `self` forgotten, nobody
        // uses the buffer after this.
        unsafe { ffi::dormouse_request_end(buf, errno) };
    }
}

impl Drop for BlockRequest {
    fn drop(&mut self) {
        // SAFETY: By the type invariants the request has not ended; nobody uses it after this.
        unsafe { ffi::dormouse_request_end(self.buf.as_ptr(), CANCELED) };
    }
}
