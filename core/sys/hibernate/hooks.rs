// SPDX-License-Identifier: GPL-2.0

//! Replacing the image of hibernation: `struct hibernation_image_ops` as a trait.

use super::ResumeDevice;
use crate::sys::block::DevT;
use crate::sys::buf::Buf;
use crate::sys::ffi;
use crate::sys::gfp::Scope;
use crate::sys::trycell::Restored;
use core::ptr::NonNull;
use kernel::alloc::KBox;
use kernel::error::{from_result, to_result};
use kernel::ffi::{c_char, c_int, c_void};
use kernel::prelude::*;
use kernel::str::CStr;

/// What the kernel's hibernation code calls, in this order: to save, `begin`, `prepare`, `frozen`,
/// `snapshot`, `write`, `discard`, `end`; to resume, `check`, `read`, and `close` if the image has
/// not been restored.
///
/// `system_transition_mutex` is held in all of them, so they never run at the same time. All are in
/// process context and may sleep, except [`Hooks::snapshot`]. The full contract is that of
/// [`struct hibernation_image_ops`](srctree/include/linux/suspend.h).
pub trait Hooks: Sync {
    /// Gets ready; nothing is frozen.
    ///
    /// # Errors
    ///
    /// `ENODEV` leaves this transition to swsusp; any other error makes it fail.
    fn begin(&self) -> Result;

    /// Reserves memory and storage. User tasks are frozen, kernel threads run. The functions of
    /// [`pages`](crate::sys::pages) work from here on.
    ///
    /// # Errors
    ///
    /// Any; the hook has released everything, as there is no `discard`.
    fn prepare(&self) -> Result;

    /// Kernel threads are frozen as well, devices are live.
    ///
    /// # Errors
    ///
    /// Any makes the transition fail.
    fn frozen(&self) -> Result {
        Ok(())
    }

    /// Creates the image in memory. One CPU, interrupts off: neither sleeps, nor allocates, nor
    /// takes a lock. In the restored kernel it never returns; that goes on with `discard`.
    ///
    /// # Errors
    ///
    /// Any makes the transition fail.
    fn snapshot(&self) -> Result;

    /// Writes the image and makes it valid. Devices are live, tasks are frozen. `platform_mode` is
    /// to be given back by `read`.
    ///
    /// # Errors
    ///
    /// Any; then there must not be a valid image.
    fn write(&self, platform_mode: bool) -> Result;

    /// The image is dead, or has just been restored: then there is a proof of that. Called exactly
    /// once after `prepare`, unless the machine goes down. The kernel has freed all
    /// [`CopyPages`](crate::sys::pages::CopyPages) already.
    fn discard(&self, restored: Option<&Restored>);

    /// The transition is over with `error` (0 also when restored); nothing is frozen any more.
    /// Called exactly once after `begin`, unless the machine goes down.
    fn end(&self, error: i32);

    /// Looks for an image; `resume_file` is the value of `resume=`. When `reset`, this is an
    /// attempt to resume, which is to be recorded; otherwise a test in which tasks are frozen.
    ///
    /// # Errors
    ///
    /// `ENODEV` when there is no image of ours; any other error is final.
    fn check(&self, resume_file: &CStr, reset: bool) -> Result;

    /// Loads the image and arms its [`Destinations`](crate::sys::restore::Destinations). Returns
    /// the platform mode that `write` was called with.
    ///
    /// # Errors
    ///
    /// Any makes the resume fail.
    fn read(&self) -> Result<bool>;

    /// The resume has failed with `error`. Called exactly once after `check`, unless the image is
    /// restored.
    fn close(&self, error: i32);

    /// An image is about to be saved, or loaded when `restore`: by these hooks, after `begin` or
    /// `check`, or by whoever does without them, such as a process with the snapshot device.
    /// Nothing is frozen.
    ///
    /// # Errors
    ///
    /// Any makes it fail.
    fn announced(&self, restore: bool) -> Result;
}

type Target = &'static dyn Hooks;

/// # Safety
///
/// `ctx` is the context of a [`Registration`].
unsafe fn target(ctx: *mut c_void) -> Target {
    // SAFETY: By the safety requirement; the registration keeps it until no hook is called any more.
    unsafe { *ctx.cast::<Target>() }
}

// SAFETY of the functions below: the kernel calls them with the context of the registration.

/// # Safety
///
/// As [`target`].
unsafe extern "C" fn begin(ctx: *mut c_void) -> c_int {
    // SAFETY: By the safety requirement.
    from_result(|| unsafe { target(ctx) }.begin().map(|()| 0))
}

/// # Safety
///
/// As [`target`].
unsafe extern "C" fn prepare(ctx: *mut c_void) -> c_int {
    // SAFETY: By the safety requirement.
    from_result(|| unsafe { target(ctx) }.prepare().map(|()| 0))
}

/// # Safety
///
/// As [`target`].
unsafe extern "C" fn frozen(ctx: *mut c_void) -> c_int {
    let _scope = Scope::no_io();
    // SAFETY: By the safety requirement.
    from_result(|| unsafe { target(ctx) }.frozen().map(|()| 0))
}

/// # Safety
///
/// As [`target`].
unsafe extern "C" fn snapshot(ctx: *mut c_void) -> c_int {
    // SAFETY: By the safety requirement.
    from_result(|| unsafe { target(ctx) }.snapshot().map(|()| 0))
}

/// # Safety
///
/// As [`target`].
unsafe extern "C" fn write(ctx: *mut c_void, platform_mode: bool) -> c_int {
    // SAFETY: By the safety requirement.
    from_result(|| unsafe { target(ctx) }.write(platform_mode).map(|()| 0))
}

/// # Safety
///
/// As [`target`].
unsafe extern "C" fn discard(ctx: *mut c_void, restored: bool) {
    // SAFETY: This is the discard callback, and the proof lives as long as the call.
    let proof = restored.then(|| unsafe { Restored::new() });
    // SAFETY: By the safety requirement.
    unsafe { target(ctx) }.discard(proof.as_ref());
}

/// # Safety
///
/// As [`target`].
unsafe extern "C" fn end(ctx: *mut c_void, error: c_int) {
    // SAFETY: By the safety requirement.
    unsafe { target(ctx) }.end(error);
}

/// # Safety
///
/// As [`target`]; `resume_file` is NUL-terminated and valid for the call.
unsafe extern "C" fn check(ctx: *mut c_void, resume_file: *const c_char, reset: bool) -> c_int {
    // SAFETY: By the safety requirement.
    let file = unsafe { CStr::from_char_ptr(resume_file) };
    // SAFETY: By the safety requirement.
    from_result(|| unsafe { target(ctx) }.check(file, reset).map(|()| 0))
}

/// # Safety
///
/// As [`target`]; `platform_mode` is valid for writes.
unsafe extern "C" fn read(ctx: *mut c_void, platform_mode: *mut bool) -> c_int {
    let _scope = Scope::no_io();
    from_result(|| {
        // SAFETY: By the safety requirement.
        let mode = unsafe { target(ctx) }.read()?;
        // SAFETY: By the safety requirement.
        unsafe { platform_mode.write(mode) };
        Ok(0)
    })
}

/// # Safety
///
/// As [`target`].
unsafe extern "C" fn close(ctx: *mut c_void, error: c_int) {
    // SAFETY: By the safety requirement.
    unsafe { target(ctx) }.close(error);
}

/// # Safety
///
/// As [`target`].
unsafe extern "C" fn announced(ctx: *mut c_void, restore: bool) -> c_int {
    // SAFETY: By the safety requirement.
    from_result(|| unsafe { target(ctx) }.announced(restore).map(|()| 0))
}

static HOOKS: ffi::dormouse_hooks = ffi::dormouse_hooks {
    begin: Some(begin),
    prepare: Some(prepare),
    frozen: Some(frozen),
    snapshot: Some(snapshot),
    write: Some(write),
    discard: Some(discard),
    end: Some(end),
    check: Some(check),
    read: Some(read),
    close: Some(close),
    announced: Some(announced),
};

/// Keeps [`Hooks`] registered; dropping it leaves images to swsusp again.
///
/// # Invariants
///
/// `ctx` is a boxed [`Target`], and is what the registered hooks are called with.
pub struct Registration {
    ctx: NonNull<Target>,
}

// SAFETY: The kernel's functions may be called by any thread.
unsafe impl Send for Registration {}

// SAFETY: A shared registration offers nothing.
unsafe impl Sync for Registration {}

/// Registers `hooks`. May sleep; waits for a transition in progress, so it must not be called from
/// one.
///
/// # Errors
///
/// `EBUSY` when hooks are registered already, `ENOMEM`.
pub fn register(hooks: &'static dyn Hooks) -> Result<Registration> {
    let ctx = KBox::into_raw(KBox::new(hooks, GFP_KERNEL)?);
    // SAFETY: The table is static, and the context is kept until it has been unregistered.
    let result = to_result(unsafe { ffi::dormouse_hooks_register(&HOOKS, ctx.cast()) });
    if let Err(e) = result {
        // SAFETY: It has not been registered, so the box is still ours.
        drop(unsafe { KBox::from_raw(ctx) });
        return Err(e);
    }
    // INVARIANT: The hooks are registered.
    Ok(Registration {
        // SAFETY: The pointer of a box is not null.
        ctx: unsafe { NonNull::new_unchecked(ctx) },
    })
}

impl Drop for Registration {
    fn drop(&mut self) {
        // SAFETY: By the type invariants they are registered, and by us.
        unsafe { ffi::dormouse_hooks_unregister() };
        // SAFETY: By the type invariants it is a box, which no hook uses any more.
        drop(unsafe { KBox::from_raw(self.ctx.as_ptr()) });
    }
}

/// Puts what the architecture needs for a restore into `out` and returns its length in bytes. After
/// the snapshot.
///
/// # Errors
///
/// `EOVERFLOW` when `out` has not enough room (512 bytes are enough), or what the architecture
/// says.
pub fn arch_header_save(out: &mut [u8]) -> Result<usize> {
    // The architecture writes words, so they need a place that is aligned.
    let mut room = Buf::new(out.len())?;
    // SAFETY: The bytes are ours to write.
    let len = unsafe { ffi::dormouse_arch_header_save(room.as_mut_ptr().cast(), room.len()) };
    let Ok(len) = usize::try_from(len) else {
        return Err(Error::from_errno(c_int::try_from(len).unwrap_or(0)));
    };
    let header = room.get(..len).ok_or(EINVAL)?;
    out.get_mut(..len).ok_or(EINVAL)?.copy_from_slice(header);
    Ok(len)
}

/// Gives that back to the architecture, before the restore. May sleep.
///
/// # Errors
///
/// `EINVAL` or another error of the architecture when the image is not of this kind of machine or
/// memory has changed.
pub fn arch_header_restore(header: &[u8]) -> Result {
    // SAFETY: The bytes are valid for the call, which takes them for hostile.
    to_result(unsafe { ffi::dormouse_arch_header_restore(header.as_ptr().cast(), header.len()) })
}

/// What was named to resume from, and whether that is more than an offset.
fn named() -> (bool, ResumeDevice) {
    let (mut dev, mut block) = (0, 0);
    // SAFETY: Both are ours to write.
    let named = unsafe { ffi::dormouse_resume_device(&mut dev, &mut block) };
    let dev = DevT(dev);
    (named, ResumeDevice { dev, block })
}

/// The place to resume from, if one was named. Any context.
pub fn resume_device() -> Option<ResumeDevice> {
    let (named, place) = named();
    named.then_some(place)
}

/// What `resume_offset=` or `/sys/power/resume_offset` says, in pages; 0 without. Any context.
pub fn resume_offset() -> u64 {
    named().1.block
}

/// Names the place to resume from. From the [`Hooks`].
pub fn set_resume_device(place: ResumeDevice) {
    // SAFETY: Plain values.
    unsafe { ffi::dormouse_set_resume_device(place.dev.0, place.block) };
}

/// The level of `/sys/power/pm_test`, at which a transition stops and goes back; `None` when there
/// is none. Any context, but it may change outside of the [`Hooks`].
pub fn pm_test() -> Option<&'static CStr> {
    // SAFETY: No requirements.
    let level = unsafe { ffi::dormouse_pm_test() };
    // SAFETY: It is null or a string literal.
    (!level.is_null()).then(|| unsafe { CStr::from_char_ptr(level) })
}
