// SPDX-License-Identifier: GPL-2.0

//! Block devices, and requests to them.
//!
//! C header: [`include/linux/blkdev.h`](srctree/include/linux/blkdev.h)

use super::ffi;
use super::stack::Stack;
use crate::errno;
use crate::patience::{self, Patience, TICK_MS};
use crate::silent::Silent;
use crate::text::Text;
use core::fmt;
use core::ptr::{self, NonNull};
use kernel::error::{from_err_ptr, to_result};
use kernel::ffi::c_int;
use kernel::prelude::*;
use kernel::str::CStr;

mod request;

pub use self::request::BlockRequest;

/// Number of a device, as the kernel keeps it.
#[repr(transparent)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DevT(pub u32);

impl DevT {
    const MINOR_BITS: u32 = 20;

    /// The device with these numbers, when they are in the kernel's range.
    pub const fn new(major: u32, minor: u32) -> Option<Self> {
        if major >> (u32::BITS - Self::MINOR_BITS) != 0 || minor >> Self::MINOR_BITS != 0 {
            return None;
        }
        Some(DevT((major << Self::MINOR_BITS) | minor))
    }

    /// The major number.
    pub const fn major(self) -> u32 {
        self.0 >> Self::MINOR_BITS
    }

    /// The minor number.
    pub const fn minor(self) -> u32 {
        self.0 & ((1 << Self::MINOR_BITS) - 1)
    }
}

impl fmt::Display for DevT {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.major(), self.minor())
    }
}

/// Most block devices that [`devices`] can list.
pub const DEVICES_MAX: usize = 4096;

/// Devices that did not answer when somebody looked for something on them.
static SILENT: Silent = Silent::new();

/// How long such a device is waited for the next time.
const AGAIN_MS: u32 = 1000;

/// What a transfer says that is not over.
const IN_PROGRESS: c_int = -(kernel::bindings::EINPROGRESS as c_int);

/// Direction of a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Op {
    /// From the device to memory.
    Read,
    /// From memory to the device.
    Write,
}

/// A block device in use; dropping it closes it.
///
/// # Invariants
///
/// `dev` comes from `dormouse_bdev_open()`, `dormouse_swap_bdev()` or `dormouse_file_bdev()` and is closed by nobody else.
pub struct BlockDevice {
    dev: NonNull<ffi::dormouse_bdev>,
}

// SAFETY: The block layer does its own locking, and the handle itself never changes.
unsafe impl Send for BlockDevice {}

// SAFETY: As above.
unsafe impl Sync for BlockDevice {}

impl BlockDevice {
    /// Takes over a handle, or the error in its place.
    ///
    /// # Safety
    ///
    /// `dev` is the return value of `dormouse_bdev_open()`, `dormouse_swap_bdev()` or
    /// `dormouse_file_bdev()`.
    pub(super) unsafe fn from_raw(dev: *mut ffi::dormouse_bdev) -> Result<Self> {
        // INVARIANT: By the safety requirement.
        Ok(BlockDevice {
            dev: NonNull::new(from_err_ptr(dev)?).ok_or(ENODEV)?,
        })
    }

    /// Opens `dev`, to write it too when `writable`, and so that nobody else can have it exclusively
    /// (mounted, swapped to) when `exclusive`. May sleep.
    ///
    /// # Errors
    ///
    /// `ENXIO` or `ENODEV` when there is no such device, `EBUSY` when somebody else has it
    /// exclusively, `EACCES` or `EROFS` when it cannot be written, `ENOMEM`.
    pub fn open(dev: DevT, writable: bool, exclusive: bool) -> Result<Self> {
        // SAFETY: Any number is allowed; the return value is handed on as it is.
        unsafe { Self::from_raw(ffi::dormouse_bdev_open(dev.0, writable, exclusive)) }
    }

    /// Opens the device whose node is at `path`, as [`BlockDevice::open`]. May sleep.
    ///
    /// # Errors
    ///
    /// `ENOENT` and the like when there is no such file, `ENOTBLK` when it is not a block device,
    /// otherwise as [`BlockDevice::open`].
    pub fn open_path(path: &CStr, writable: bool, exclusive: bool) -> Result<Self> {
        Self::open(lookup(path)?, writable, exclusive)
    }

    fn raw(&self) -> *mut ffi::dormouse_bdev {
        self.dev.as_ptr()
    }

    /// Requests of this handle that are not over. Any context.
    pub fn pending(&self) -> usize {
        // SAFETY: By the type invariants the handle is valid.
        unsafe { ffi::dormouse_bdev_pending(self.raw()) as usize }
    }

    /// Number of the device. Any context.
    pub fn dev(&self) -> DevT {
        // SAFETY: By the type invariants the handle is valid.
        DevT(unsafe { ffi::dormouse_bdev_dev(self.raw()) })
    }

    /// Size in bytes. Any context.
    pub fn size_bytes(&self) -> u64 {
        // SAFETY: By the type invariants the handle is valid.
        unsafe { ffi::dormouse_bdev_bytes(self.raw()) }
    }

    /// Smallest unit that the device can address, in bytes. Any context.
    pub fn logical_block_size(&self) -> usize {
        // SAFETY: By the type invariants the handle is valid.
        unsafe { ffi::dormouse_bdev_block_bytes(self.raw()) as usize }
    }

    /// True when the device cannot be written. Any context.
    pub fn is_read_only(&self) -> bool {
        // SAFETY: By the type invariants the handle is valid.
        unsafe { ffi::dormouse_bdev_read_only(self.raw()) }
    }

    /// True when the device was removed: nothing reaches it any more, even if the disk comes back.
    /// Any context.
    pub fn is_gone(&self) -> bool {
        // SAFETY: By the type invariants the handle is valid.
        unsafe { ffi::dormouse_bdev_gone(self.raw()) }
    }

    /// The kernel's name of the device, such as `vda2`. Any context.
    pub fn name(&self) -> Text<32> {
        let mut room = [0u8; 32];
        // SAFETY: By the type invariants the handle is valid; the name fits into the room.
        unsafe { ffi::dormouse_bdev_name(self.raw(), room.as_mut_ptr().cast(), room.len()) };
        Text::until_nul(&room)
    }

    /// Reads `dst.len()` bytes from `offset` on and waits for them. May sleep.
    ///
    /// # Errors
    ///
    /// `EINVAL` when place or length are not multiples of the device's block, `ENXIO` beyond the
    /// end of the device, or the error of the device, in general `EIO`. `ETIMEDOUT` or `ECANCELED`,
    /// with the reason recorded, when the device [stands still](crate::patience).
    pub fn read(&self, offset: u64, dst: &mut [u8]) -> Result {
        let mut patience = Patience::new();
        self.read_patiently(offset, dst, &mut patience)
            .map_err(|e| self.blame(e, &patience))
    }

    /// As [`BlockDevice::read`], but waits no longer than `timeout_ms`, of which a save takes [what it
    /// may](crate::patience::at_most_ms), and records no reason. For devices of others: while tasks
    /// are frozen one may stand still, because what serves it is frozen as well. May sleep.
    ///
    /// # Errors
    ///
    /// As [`BlockDevice::read`].
    pub fn read_within(&self, offset: u64, dst: &mut [u8], timeout_ms: u32) -> Result {
        self.of_others(timeout_ms, |patience| {
            self.read_patiently(offset, dst, patience)
        })
    }

    /// Asks a device of others for something, and waits as [`BlockDevice::read_within`] does; only
    /// for a moment if the device did not answer the last time.
    fn of_others(&self, timeout_ms: u32, ask: impl FnOnce(&mut Patience) -> Result) -> Result {
        let dev = self.dev().0;
        let second = || (super::time::monotonic_ns() / 1_000_000_000) as u32;
        let most_ms = match SILENT.is_known(dev, second()) {
            true => timeout_ms.min(AGAIN_MS),
            false => timeout_ms,
        };
        let result = ask(&mut Patience::of_ms(crate::patience::at_most_ms(most_ms)));
        match result {
            Err(e) if e == errno::error(errno::ETIMEDOUT) => SILENT.note(dev, second()),
            Err(_) => {}
            Ok(()) => SILENT.forget(dev),
        }
        result
    }

    fn read_patiently(&self, offset: u64, dst: &mut [u8], patience: &mut Patience) -> Result {
        for_pages(offset, dst.len(), |at, from, len| {
            let to = dst.get_mut(from..from.saturating_add(len)).ok_or(EINVAL)?;
            let op = ffi::dormouse_transfer_op_DORMOUSE_READ;
            // SAFETY: Nothing is written, and there is room for what is read.
            unsafe { self.transfer(op, at, ptr::null(), to.as_mut_ptr(), len, patience) }
        })
    }

    /// Writes `src` from `offset` on and waits for it. When `durable`, all writes that were
    /// complete before and this one are on the medium after it. May sleep.
    ///
    /// A write that was not waited for to its end may still be done; no other one of this handle
    /// overtakes it.
    ///
    /// # Errors
    ///
    /// As [`BlockDevice::read`]; `EROFS` when the device cannot be written or was not opened for
    /// that.
    pub fn write(&self, offset: u64, src: &[u8], durable: bool) -> Result {
        let op = match durable {
            true => ffi::dormouse_transfer_op_DORMOUSE_WRITE_DURABLY,
            false => ffi::dormouse_transfer_op_DORMOUSE_WRITE,
        };
        let mut patience = Patience::new();
        let result = for_pages(offset, src.len(), |at, from, len| {
            let bytes = src.get(from..from.saturating_add(len)).ok_or(EINVAL)?;
            // SAFETY: There are as many bytes to write, and nothing is read.
            unsafe { self.transfer(op, at, bytes.as_ptr(), ptr::null_mut(), len, &mut patience) }
        });
        if !src.is_empty() {
            // SAFETY: By the type invariants the handle is valid.
            unsafe { ffi::dormouse_bdev_forget(self.raw(), offset, src.len()) };
        }
        result.map_err(|e| self.blame(e, &patience))
    }

    /// Sectors written and discarded since boot, by everybody, as far as the device counts them.
    /// Any context.
    #[cfg(CONFIG_DORMOUSE_HIBERNATE)]
    pub fn written(&self) -> u64 {
        // SAFETY: By the type invariants the handle is valid.
        unsafe { ffi::dormouse_bdev_written(self.raw()) }
    }

    /// Of these, the sectors that were written through this module since [`count_own`]. Any
    /// context.
    pub fn own_written(&self) -> u64 {
        // SAFETY: No requirements.
        unsafe { ffi::dormouse_own_written(self.dev().0) }
    }

    /// False when the device was told not to count what is written to it. Any context.
    #[cfg(CONFIG_DORMOUSE_HIBERNATE)]
    pub fn counts(&self) -> bool {
        // SAFETY: By the type invariants the handle is valid.
        unsafe { ffi::dormouse_bdev_counts(self.raw()) }
    }

    /// Returns when all completed writes are on the medium. May sleep.
    ///
    /// # Errors
    ///
    /// The error of the device, in general `EIO`; `ETIMEDOUT` and `ECANCELED` as
    /// [`BlockDevice::read`].
    pub fn flush(&self) -> Result {
        let mut patience = Patience::new();
        self.flush_patiently(&mut patience)
            .map_err(|e| self.blame(e, &patience))
    }

    /// As [`BlockDevice::flush`], but waits no longer than `timeout_ms`, of which a save takes [what it
    /// may](crate::patience::at_most_ms), and records no reason. May sleep.
    ///
    /// # Errors
    ///
    /// As [`BlockDevice::flush`].
    pub fn flush_within(&self, timeout_ms: u32) -> Result {
        self.of_others(timeout_ms, |patience| self.flush_patiently(patience))
    }

    fn flush_patiently(&self, patience: &mut Patience) -> Result {
        let op = ffi::dormouse_transfer_op_DORMOUSE_FLUSH;
        // SAFETY: A flush has no data.
        unsafe { self.transfer(op, 0, ptr::null(), ptr::null_mut(), 0, patience) }
    }

    /// Finds out whether the device answers within `timeout_ms`: reads what is at `offset` and lets
    /// it write what it has. May sleep.
    ///
    /// # Errors
    ///
    /// `ETIMEDOUT`, `ECANCELED` when the cycle was asked to stop meanwhile, the error of the device.
    pub fn probe(&self, offset: u64, dst: &mut [u8], timeout_ms: u32) -> Result {
        let mut patience = Patience::of_ms(timeout_ms);
        self.read_patiently(offset, dst, &mut patience)
            .and_then(|()| self.flush_patiently(&mut patience))
    }

    /// Does one transfer of at most a page, and waits for it.
    ///
    /// # Safety
    ///
    /// For a write there are `len` bytes at `src`, for a read there is room for as many at `dst`.
    unsafe fn transfer(
        &self,
        op: ffi::dormouse_transfer_op,
        offset: u64,
        src: *const u8,
        dst: *mut u8,
        len: usize,
        patience: &mut Patience,
    ) -> Result {
        // The one before is under way, and was given up.
        while let Err(e) = {
            // SAFETY: By the type invariants the handle is valid; the rest is the safety
            // requirement.
            to_result(unsafe {
                ffi::dormouse_transfer_start(self.raw(), op, offset, src.cast(), len)
            })
        } {
            if e != EBUSY {
                return Err(e);
            }
            patience.check()?;
            super::time::sleep_ms(TICK_MS);
        }
        loop {
            // SAFETY: By the type invariants the handle is valid, and the transfer was started here;
            // the rest is the safety requirement.
            let result =
                unsafe { ffi::dormouse_transfer_wait(self.raw(), dst.cast(), len, TICK_MS) };
            if result != IN_PROGRESS {
                return to_result(result);
            }
            let Err(e) = patience.check() else {
                continue;
            };
            // SAFETY: As above.
            if unsafe { ffi::dormouse_transfer_leave(self.raw()) } {
                return Err(e);
            }
        }
    }

    /// Records why a transfer was given up; other errors are the caller's. Nothing
    /// else that the cycle asks of a device is waited for as long then.
    fn blame(&self, error: Error, patience: &Patience) -> Error {
        let error = patience.blame(error, format_args!("{}", self.name()));
        if error == errno::error(errno::ETIMEDOUT) {
            patience::stalled();
        }
        error
    }
}

/// Calls `f` with each part of a transfer that a page has room for: where it is on the device, where
/// in the memory, and how long it is.
fn for_pages(offset: u64, len: usize, mut f: impl FnMut(u64, usize, usize) -> Result) -> Result {
    if len == 0 {
        return Err(EINVAL);
    }
    let mut from = 0usize;
    while from < len {
        let part = len.saturating_sub(from).min(kernel::page::PAGE_SIZE);
        f(offset.checked_add(from as u64).ok_or(ENXIO)?, from, part)?;
        from = from.saturating_add(part);
    }
    Ok(())
}

impl Drop for BlockDevice {
    fn drop(&mut self) {
        // SAFETY: By the type invariants this closes the handle once, after its last use.
        unsafe { ffi::dormouse_bdev_close(self.dev.as_ptr()) };
    }
}

/// Number of the device whose node is at `path`. May sleep.
///
/// # Errors
///
/// `ENOENT` and the like when there is no such file, `ENOTBLK` when it is not a block device.
pub fn lookup(path: &CStr) -> Result<DevT> {
    let mut dev = 0;
    // SAFETY: Both pointers are valid for the call.
    to_result(unsafe { ffi::dormouse_bdev_lookup(path.as_char_ptr(), &mut dev) })?;
    Ok(DevT(dev))
}

/// The devices that `list` writes to the memory it is given, as many as there is room for; it returns
/// how many there are. May sleep.
///
/// # Errors
///
/// `E2BIG` for more than [`DEVICES_MAX`], `ENOMEM`.
pub(super) fn listed(list: impl FnOnce(*mut u32, u32) -> u32) -> Result<KVec<DevT>> {
    let mut numbers = KVec::with_capacity(DEVICES_MAX, GFP_KERNEL)?;
    for _ in 0..DEVICES_MAX {
        numbers.push(0u32, GFP_KERNEL)?;
    }
    let there = list(numbers.as_mut_ptr(), numbers.len() as u32) as usize;
    let found = numbers.get(..there).ok_or(E2BIG)?;
    let mut devices = KVec::with_capacity(there, GFP_KERNEL)?;
    for &number in found {
        devices.push(DevT(number), GFP_KERNEL)?;
    }
    Ok(devices)
}

/// Numbers of all block devices that have something in them, partitions too, but not of those that
/// stand still while tasks are frozen. May sleep.
///
/// # Errors
///
/// `E2BIG` for more than [`DEVICES_MAX`], `ENOMEM`.
pub fn devices() -> Result<KVec<DevT>> {
    let all = listed(|devs, count| {
        // SAFETY: There is room for as many numbers.
        unsafe { ffi::dormouse_bdev_list(devs, count) }
    })?;
    let mut devices = KVec::with_capacity(all.len(), GFP_KERNEL)?;
    for &dev in all.iter() {
        if Stack::answering(dev)?.is_some() {
            devices.push(dev, GFP_KERNEL)?;
        }
    }
    Ok(devices)
}

/// Most devices that [`count_own`] can count.
pub const COUNTED_MAX: usize = ffi::DORMOUSE_COUNTED_MAX as usize;

/// Counts from now on what is written through this module to the devices `devs`, at most
/// [`COUNTED_MAX`] of them, in place of those before. Process context; no write may be under way.
pub fn count_own(devs: &[DevT]) {
    let count = devs.len().min(COUNTED_MAX);
    // SAFETY: As many numbers can be read: `DevT` is one.
    unsafe { ffi::dormouse_count_own(devs.as_ptr().cast(), count as u32) };
}
