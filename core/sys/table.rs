// SPDX-License-Identifier: GPL-2.0

//! Tables of plain values.

use super::buf::Buf;
use core::marker::PhantomData;
use core::mem;
use core::ops::{Deref, DerefMut};
use core::slice;
use kernel::prelude::*;

/// A table of a fixed number of plain values, each `T::default()` at first.
///
/// # Invariants
///
/// `bytes` is aligned for `T` and begins with `len` initialised values of it.
pub struct Table<T: Copy + Default> {
    bytes: Buf,
    len: usize,
    _values: PhantomData<T>,
}

// SAFETY: A table owns its values.
unsafe impl<T: Copy + Default + Send> Send for Table<T> {}

// SAFETY: A shared table only gives shared values.
unsafe impl<T: Copy + Default + Sync> Sync for Table<T> {}

impl<T: Copy + Default> Table<T> {
    /// Makes a table of `len` values. May sleep.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub fn new(len: usize) -> Result<Self> {
        let size = len.checked_mul(mem::size_of::<T>()).ok_or(ENOMEM)?;
        let bytes = Buf::new(size)?;
        let values = bytes.as_raw().cast::<T>();
        if values as usize % mem::align_of::<T>() != 0 {
            return Err(EINVAL);
        }
        for i in 0..len {
            // SAFETY: The buffer is aligned, and large enough for `len` values.
            unsafe { values.add(i).write(T::default()) };
        }
        // INVARIANT: All values have just been written.
        Ok(Table {
            bytes,
            len,
            _values: PhantomData,
        })
    }

    /// Where the values are. Unlike a slice it does not claim that nobody else writes them.
    pub(super) fn as_raw(&self) -> *mut T {
        self.bytes.as_raw().cast()
    }
}

impl<T: Copy + Default> Deref for Table<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        // SAFETY: By the type invariants.
        unsafe { slice::from_raw_parts(self.as_raw(), self.len) }
    }
}

impl<T: Copy + Default> DerefMut for Table<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: By the type invariants.
        unsafe { slice::from_raw_parts_mut(self.as_raw(), self.len) }
    }
}

impl<T: Copy + Default> AsRef<[T]> for Table<T> {
    fn as_ref(&self) -> &[T] {
        self
    }
}

impl<T: Copy + Default> AsMut<[T]> for Table<T> {
    fn as_mut(&mut self) -> &mut [T] {
        self
    }
}
