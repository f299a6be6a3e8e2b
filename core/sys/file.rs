// SPDX-License-Identifier: GPL-2.0

//! Files on mounted filesystems, and keeping their blocks where they are.
//!
//! C header: [`include/linux/fs.h`](srctree/include/linux/fs.h)

use super::block::{BlockDevice, DevT};
use super::ffi;
use super::work;
use core::mem::ManuallyDrop;
use core::ptr::NonNull;
use kernel::alloc::KVVec;
use kernel::error::{from_err_ptr, to_result};
use kernel::prelude::*;
use kernel::str::CStr;
use kernel::sync::Arc;

/// What a file is opened for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Access {
    /// To read it.
    Read,
    /// To write it, too.
    Write,
    /// To write it; it must not be there yet, and becomes root's alone.
    Create,
}

/// What a file is.
pub struct Info {
    raw: ffi::dormouse_file_info,
}

macro_rules! flags {
    ($($(#[$doc:meta])* $name:ident: $flag:ident;)*) => {
        impl Info {
            $($(#[$doc])*
            pub fn $name(&self) -> bool {
                self.raw.flags & ffi::$flag != 0
            })*
        }
    };
}

flags! {
    /// On ext4, xfs or btrfs.
    is_on_known_fs: DORMOUSE_FILE_KNOWN_FS;
    /// The file, its filesystem or its device cannot be written.
    is_read_only: DORMOUSE_FILE_READ_ONLY;
    /// The filesystem encrypts its contents.
    is_encrypted: DORMOUSE_FILE_ENCRYPTED;
    /// The filesystem compresses its contents.
    is_compressed: DORMOUSE_FILE_COMPRESSED;
    /// What is written goes through the filesystem's journal.
    is_journaled: DORMOUSE_FILE_JOURNALED;
    /// What is written goes where the old data is, on a filesystem that copies on write.
    is_nocow: DORMOUSE_FILE_NOCOW;
    /// The contents are kept in the inode.
    is_inline: DORMOUSE_FILE_INLINE;
    /// Programs write the medium without the kernel.
    is_dax: DORMOUSE_FILE_DAX;
    /// It is swap space, or pinned.
    is_in_use: DORMOUSE_FILE_IN_USE;
    /// It has no name any more.
    is_unlinked: DORMOUSE_FILE_UNLINKED;
}

impl Info {
    /// Its size in bytes.
    pub fn bytes(&self) -> u64 {
        self.raw.bytes
    }

    /// Size of the filesystem's blocks in bytes.
    pub fn block_bytes(&self) -> usize {
        self.raw.block_bytes as usize
    }

    /// Name of the filesystem's type.
    pub fn fs(&self) -> &str {
        let len = self.raw.fs.iter().position(|&b| b == 0).unwrap_or(0);
        let name = self.raw.fs.get(..len).unwrap_or(&[]);
        core::str::from_utf8(name).unwrap_or("?")
    }
}

/// A file in use. Dropping it closes it.
///
/// # Invariants
///
/// `file` comes from `dormouse_file_open()` and is closed by nobody else.
pub struct File {
    file: NonNull<ffi::dormouse_file>,
}

// SAFETY: Files may be used by any thread.
unsafe impl Send for File {}

// SAFETY: The functions that take a shared reference do not change the handle, and filesystems do
// their own locking.
unsafe impl Sync for File {}

impl File {
    /// Opens the file at `path`, as the calling task sees it; a symbolic link at the end is not
    /// followed. May sleep.
    ///
    /// # Errors
    ///
    /// `ENOENT`, `EEXIST` (with [`Access::Create`]), `ELOOP` for a symbolic link, `EINVAL` for what
    /// else is not an ordinary file, `EROFS`, `ETXTBSY`, and what else the filesystem says.
    pub fn open(path: &CStr, access: Access) -> Result<Self> {
        let how = match access {
            Access::Read => ffi::dormouse_file_how_DORMOUSE_FILE_READ,
            Access::Write => ffi::dormouse_file_how_DORMOUSE_FILE_WRITE,
            Access::Create => ffi::dormouse_file_how_DORMOUSE_FILE_CREATE,
        };
        // SAFETY: The path is valid for the call.
        let file = from_err_ptr(unsafe { ffi::dormouse_file_open(path.as_char_ptr(), how) })?;
        // INVARIANT: It was just opened.
        Ok(File {
            file: NonNull::new(file).ok_or(ENOENT)?,
        })
    }

    fn raw(&self) -> *mut ffi::dormouse_file {
        self.file.as_ptr()
    }

    /// What it is. May sleep.
    pub fn info(&self) -> Info {
        let mut raw = ffi::dormouse_file_info::default();
        // SAFETY: By the type invariants the handle is valid; the description is ours to write.
        unsafe { ffi::dormouse_file_describe(self.raw(), &mut raw) };
        Info { raw }
    }

    /// The block device it is on; one of them when there are several, none when that cannot be told.
    /// May sleep.
    pub fn dev(&self) -> Option<DevT> {
        // SAFETY: By the type invariants the handle is valid.
        let dev = unsafe { ffi::dormouse_file_dev(self.raw()) };
        (dev != 0).then_some(DevT(dev))
    }

    /// True when somebody else has it open to write it. It has to be open for that itself. Any
    /// context.
    pub fn is_open_for_write(&self) -> bool {
        // SAFETY: By the type invariants the handle is valid.
        unsafe { ffi::dormouse_file_is_open_for_write(self.raw()) }
    }

    /// Reads what is at byte `at`, and returns how many bytes there were. May sleep.
    ///
    /// # Errors
    ///
    /// `EINTR` when the task is to be killed, or what the filesystem says.
    pub fn read(&self, at: u64, into: &mut [u8]) -> Result<usize> {
        // SAFETY: By the type invariants the handle is valid; the bytes are ours to write.
        let got = unsafe {
            ffi::dormouse_file_read(self.raw(), at, into.as_mut_ptr().cast(), into.len())
        };
        if got < 0 {
            return Err(Error::from_errno(got as i32));
        }
        Ok(got as usize)
    }

    /// Writes `data` at byte `at`. May sleep.
    ///
    /// # Errors
    ///
    /// `EINTR` when the task is to be killed, `ENOSPC`, or what the filesystem says.
    pub fn write(&self, at: u64, data: &[u8]) -> Result {
        // SAFETY: By the type invariants the handle is valid; the call only reads the bytes.
        to_result(unsafe {
            ffi::dormouse_file_write(self.raw(), at, data.as_ptr().cast(), data.len())
        })
    }

    /// Finds room for `bytes` in a new file, in as few pieces as there are; on btrfs, makes it one
    /// whose data is not copied on write. It still has to be written. May sleep.
    ///
    /// # Errors
    ///
    /// `ENOSPC`, or what the filesystem says.
    pub fn allocate(&self, bytes: u64) -> Result {
        // SAFETY: By the type invariants the handle is valid.
        to_result(unsafe { ffi::dormouse_file_allocate(self.raw(), bytes) })
    }

    /// Returns when everything is on the medium. May sleep.
    ///
    /// # Errors
    ///
    /// What the filesystem says.
    pub fn sync(&self) -> Result {
        // SAFETY: By the type invariants the handle is valid.
        to_result(unsafe { ffi::dormouse_file_sync(self.raw()) })
    }

    /// Removes its name, as long as that is still the one that it was opened by. May sleep.
    ///
    /// # Errors
    ///
    /// What the filesystem says.
    pub fn remove(&self) -> Result {
        // SAFETY: By the type invariants the handle is valid.
        to_result(unsafe { ffi::dormouse_file_remove(self.raw()) })
    }

    /// Keeps the blocks where they are, in the way of `swapon`: nobody can write, cut, move or
    /// remove the file, and the filesystem moves none of its blocks. May sleep.
    ///
    /// # Errors
    ///
    /// `ETXTBSY` when somebody has it open to write it, `ENODATA` when parts were never written,
    /// `EBUSY` when it is pinned or swap space, `EOPNOTSUPP` when the filesystem knows no such
    /// promise, and what it says when it cannot give it for this file, in general `EINVAL`.
    pub fn pin(self) -> Result<PinnedFile> {
        // SAFETY: By the type invariants the handle is valid, and nobody else uses it now.
        to_result(unsafe { ffi::dormouse_file_pin(self.raw()) })?;
        // INVARIANT: It is pinned.
        Ok(PinnedFile {
            file: ManuallyDrop::new(self),
            device: None,
        })
    }
}

impl Drop for File {
    fn drop(&mut self) {
        // SAFETY: By the type invariants this closes the handle once, after its last use.
        unsafe { ffi::dormouse_file_close(self.raw()) };
    }
}

/// A file whose blocks stay where they are. Dropping it ends that, as soon as no request of its
/// [device](PinnedFile::device) is under way.
///
/// # Invariants
///
/// The file is pinned. `file` is only taken out when this is dropped.
pub struct PinnedFile {
    file: ManuallyDrop<File>,
    device: Option<Arc<BlockDevice>>,
}

type Extent = ffi::dormouse_file_extent;

impl PinnedFile {
    /// The file.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Where the blocks are: first page in the file, first block of the device in pages, and
    /// number of pages, in the order of the file. May sleep.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub fn extents(&self) -> Result<KVVec<(u64, u64, u64)>> {
        // SAFETY: By the type invariants the handle is valid; there is room for no extents.
        let count =
            unsafe { ffi::dormouse_file_extents(self.file.raw(), core::ptr::null_mut(), 0) };
        let count = usize::try_from(count)?;
        let mut raw = KVVec::with_capacity(count, GFP_KERNEL)?;
        for _ in 0..count {
            raw.push(Extent::default(), GFP_KERNEL)?;
        }
        // SAFETY: By the type invariants the handle is valid; there is room for that many.
        unsafe { ffi::dormouse_file_extents(self.file.raw(), raw.as_mut_ptr(), count as u64) };
        let mut list = KVVec::with_capacity(count, GFP_KERNEL)?;
        for e in raw.iter() {
            list.push((e.page, e.block, e.count), GFP_KERNEL)?;
        }
        Ok(list)
    }

    /// Checks that the blocks are where they were, as far as the filesystem answers. Its blocks
    /// must not be smaller than a page. May sleep.
    ///
    /// # Errors
    ///
    /// `ESTALE` when they are not, or what the filesystem says.
    pub fn verify(&self) -> Result {
        // SAFETY: By the type invariants the handle is valid.
        to_result(unsafe { ffi::dormouse_file_verify(self.file.raw()) })
    }

    /// Drops what is in memory of its contents, which are about to be written, or were written, on
    /// the device. May sleep.
    ///
    /// # Errors
    ///
    /// `EBUSY` when somebody is using a part of it.
    pub fn forget(&self) -> Result {
        // SAFETY: By the type invariants the handle is valid.
        to_result(unsafe { ffi::dormouse_file_forget(self.file.raw()) })
    }
}

impl PinnedFile {
    /// The device that the file is on, without opening it: it is the filesystem's as well. It stays,
    /// and the file stays open, but not pinned, until it is dropped. May sleep.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub fn device(&mut self) -> Result<Arc<BlockDevice>> {
        if let Some(device) = &self.device {
            return Ok(device.clone());
        }
        // SAFETY: By the type invariants the handle is valid; the return value is handed on as it
        // is.
        let device = unsafe { BlockDevice::from_raw(ffi::dormouse_file_bdev(self.file.raw())) }?;
        let device = Arc::new(device, GFP_KERNEL)?;
        self.device = Some(device.clone());
        Ok(device)
    }
}

impl Drop for PinnedFile {
    fn drop(&mut self) {
        // SAFETY: By the type invariants it is there, and nobody uses it after this.
        let file = unsafe { ManuallyDrop::take(&mut self.file) };
        let Some(device) = self.device.take().filter(|d| d.pending() != 0) else {
            return;
        };
        // A write that is under way would destroy what the filesystem keeps there by then.
        work::drop_when((file, device), |(_, device)| device.pending() == 0);
    }
}
