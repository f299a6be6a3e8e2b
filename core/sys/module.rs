// SPDX-License-Identifier: GPL-2.0

//! Modules: keeping them loaded, and asking for them.
//!
//! C header: [`include/linux/module.h`](srctree/include/linux/module.h)

use super::ffi;
use core::fmt;
use kernel::error::to_result;
use kernel::ffi::c_void;
use kernel::prelude::*;
use kernel::str::CString;

/// The module that something belongs to. What is built into the kernel belongs to none.
///
/// An owner must not be kept beyond the end of its module: a module that registers something takes
/// it back before it goes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Owner(*mut c_void);

// SAFETY: The kernel's functions for modules may be called by any thread.
unsafe impl Send for Owner {}

// SAFETY: As above.
unsafe impl Sync for Owner {}

impl Owner {
    /// The kernel itself.
    pub const BUILTIN: Owner = Owner(core::ptr::null_mut());

    /// The owner of what `module` registers.
    pub fn of(module: &'static ThisModule) -> Self {
        Owner(module.as_ptr().cast())
    }

    /// Keeps the module from being unloaded; `None` when that is under way already. Any context.
    pub fn try_get(self) -> Option<ModuleRef> {
        // SAFETY: The module exists as long as the owner is kept.
        let got = unsafe { ffi::dormouse_module_get(self.0) };
        // INVARIANT: There is a reference now.
        got.then_some(ModuleRef(self))
    }
}

/// Keeps a module from being unloaded until it is dropped.
///
/// # Invariants
///
/// It holds a reference to the module.
pub struct ModuleRef(Owner);

impl ModuleRef {
    /// Keeps the module from being unloaded for ever. Any context.
    pub fn stay_loaded(&self) {
        // There is a reference already, so there is no end under way.
        core::mem::forget(self.0.try_get());
    }
}

impl Drop for ModuleRef {
    fn drop(&mut self) {
        // SAFETY: By the type invariants there is a reference to give up.
        unsafe { ffi::dormouse_module_put(self.0 .0) };
    }
}

/// Asks user space to load the module of this name or alias. That it was asked need not mean that
/// there is such a module. May sleep.
///
/// # Errors
///
/// `ENOENT` when there is no such module, `EBUSY` while tasks are frozen, `ENOSYS` in a kernel
/// without modules, `ENOMEM`.
pub fn request(name: fmt::Arguments<'_>) -> Result {
    let name = CString::try_from_fmt(name)?;
    // SAFETY: The name is valid for the call.
    to_result(unsafe { ffi::dormouse_module_request(name.as_char_ptr()) })
}
