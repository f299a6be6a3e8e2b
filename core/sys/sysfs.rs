// SPDX-License-Identifier: GPL-2.0

//! Directories and attributes in sysfs.
//!
//! C header: [`include/linux/sysfs.h`](srctree/include/linux/sysfs.h)

use super::ffi;
use core::fmt;
use core::ptr::NonNull;
use core::slice;
use kernel::alloc::KBox;
use kernel::error::{from_err_ptr, from_result, to_result};
use kernel::ffi::{c_char, c_int, c_void};
use kernel::prelude::*;
use kernel::str::CStr;
use kernel::sync::Arc;

/// A file in a [`Directory`].
///
/// Both functions are called in process context, may sleep, and may be called by several threads at
/// the same time.
pub trait Attribute: Sync {
    /// Name of the file.
    fn name(&self) -> &'static CStr;

    /// Permissions, such as `0o644`. Only root may ever write.
    fn mode(&self) -> u16;

    /// Writes the contents to `out`.
    ///
    /// # Errors
    ///
    /// Any is given to the reader; `EINVAL` when there is more than a page.
    fn show(&self, out: &mut ShowBuf<'_>) -> Result;

    /// Takes a new value, which comes without the newline at its end.
    ///
    /// # Errors
    ///
    /// Any is given to the writer; then the value has not changed.
    fn store(&self, value: &[u8]) -> Result;
}

/// The page that an attribute is written to.
pub struct ShowBuf<'a> {
    page: &'a mut [u8],
    len: usize,
}

impl ShowBuf<'_> {
    /// Number of bytes that have been written. Any context.
    pub fn len(&self) -> usize {
        self.len
    }

    /// True when nothing has been written. Any context.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}

impl fmt::Write for ShowBuf<'_> {
    /// Appends `s`, or nothing and an error when there is no room for all of it.
    fn write_str(&mut self, s: &str) -> fmt::Result {
        let end = self.len.checked_add(s.len()).ok_or(fmt::Error)?;
        self.page
            .get_mut(self.len..end)
            .ok_or(fmt::Error)?
            .copy_from_slice(s.as_bytes());
        self.len = end;
        Ok(())
    }
}

type Target = Arc<dyn Attribute + Send>;

/// An attribute that lives as long as the kernel or its module.
struct Static(&'static dyn Attribute);

impl Attribute for Static {
    fn name(&self) -> &'static CStr {
        self.0.name()
    }

    fn mode(&self) -> u16 {
        self.0.mode()
    }

    fn show(&self, out: &mut ShowBuf<'_>) -> Result {
        self.0.show(out)
    }

    fn store(&self, value: &[u8]) -> Result {
        self.0.store(value)
    }
}

/// # Safety
///
/// `ctx` is a boxed [`Target`]; `page` is valid for writes of `size` bytes.
unsafe extern "C" fn show(ctx: *mut c_void, page: *mut c_char, size: usize) -> isize {
    // SAFETY: By the safety requirement.
    let attribute = unsafe { &*ctx.cast::<Target>() };
    // SAFETY: By the safety requirement, and sysfs zeroes the page.
    let page = unsafe { slice::from_raw_parts_mut(page.cast::<u8>(), size) };
    let mut out = ShowBuf { page, len: 0 };
    match attribute.show(&mut out) {
        Ok(()) => out.len as isize,
        Err(e) => e.to_errno() as isize,
    }
}

/// # Safety
///
/// `ctx` is a boxed [`Target`]; `value` is valid for reads of `len` bytes.
unsafe extern "C" fn store(ctx: *mut c_void, value: *const c_char, len: usize) -> c_int {
    // SAFETY: By the safety requirement.
    let attribute = unsafe { &*ctx.cast::<Target>() };
    // SAFETY: By the safety requirement.
    let value = unsafe { slice::from_raw_parts(value.cast::<u8>(), len) };
    from_result(|| attribute.store(value).map(|()| 0))
}

/// # Safety
///
/// `ctx` is a boxed [`Target`] that belongs to the callee.
unsafe extern "C" fn release(ctx: *mut c_void) {
    // SAFETY: By the safety requirement.
    drop(unsafe { KBox::from_raw(ctx.cast::<Target>()) });
}

static OPS: ffi::dormouse_attr_ops = ffi::dormouse_attr_ops {
    show: Some(show),
    store: Some(store),
    release: Some(release),
};

/// A directory; dropping it removes it with everything in it.
///
/// That waits for calls to its attributes that are under way, so it must not happen in one of them.
/// Once it is removed they are not called any more, also by those who still have a file open: a
/// module that drops its directories before it goes is safe.
///
/// # Invariants
///
/// `dir` comes from `dormouse_dir_new()` and is removed by nobody else.
pub struct Directory {
    dir: NonNull<ffi::dormouse_dir>,
}

// SAFETY: The directory has its own locks.
unsafe impl Send for Directory {}

// SAFETY: As above.
unsafe impl Sync for Directory {}

impl Directory {
    fn new(parent: *mut ffi::dormouse_dir, name: &CStr) -> Result<Self> {
        // SAFETY: The name is valid for the call, and the parent is null or borrowed.
        let dir = from_err_ptr(unsafe { ffi::dormouse_dir_new(parent, name.as_char_ptr()) })?;
        // INVARIANT: The directory has just been made.
        Ok(Directory {
            dir: NonNull::new(dir).ok_or(ENOMEM)?,
        })
    }

    /// Makes the directory `/sys/power/<name>`, or `/sys/kernel/<name>` in a kernel without power
    /// management. May sleep.
    ///
    /// # Errors
    ///
    /// `EEXIST` when there is one of this name, `ENOMEM`.
    pub fn under_power(name: &CStr) -> Result<Self> {
        Self::new(core::ptr::null_mut(), name)
    }

    /// Makes a directory in this one. May sleep.
    ///
    /// # Errors
    ///
    /// As [`Directory::under_power`].
    pub fn child(&self, name: &CStr) -> Result<Self> {
        Self::new(self.dir.as_ptr(), name)
    }

    /// Adds a file. May sleep.
    ///
    /// # Errors
    ///
    /// `EEXIST` when there is one of this name, `EINVAL` for permissions that let anybody but root
    /// write, `ENOMEM`.
    pub fn add(&self, attribute: &'static dyn Attribute) -> Result {
        self.add_shared(Arc::new(Static(attribute), GFP_KERNEL)?)
    }

    /// Adds a file that the directory keeps. May sleep.
    ///
    /// # Errors
    ///
    /// As [`Directory::add`].
    pub fn add_shared(&self, attribute: Arc<dyn Attribute + Send>) -> Result {
        let (name, mode) = (attribute.name(), attribute.mode());
        let ctx = KBox::into_raw(KBox::new(attribute, GFP_KERNEL)?);
        // SAFETY: By the type invariants the directory is valid; the name stays as long as the
        // attribute, and the table is static.
        let result = to_result(unsafe {
            ffi::dormouse_dir_add(
                self.dir.as_ptr(),
                name.as_char_ptr(),
                mode,
                &OPS,
                ctx.cast(),
            )
        });
        if result.is_err() {
            // SAFETY: It has not been added, so the box is still ours.
            drop(unsafe { KBox::from_raw(ctx) });
        }
        result
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        // SAFETY: By the type invariants this removes the directory once.
        unsafe { ffi::dormouse_dir_remove(self.dir.as_ptr()) };
    }
}
