// SPDX-License-Identifier: GPL-2.0

//! Tasks that do not freeze, and the filesystems that they may wait for.
//!
//! C header: [`include/linux/freezer.h`](srctree/include/linux/freezer.h)

use super::ffi;
use kernel::error::to_result;
use kernel::prelude::*;

/// The text in a C string of fixed room; empty if that is no UTF-8.
fn text(bytes: &[u8]) -> &str {
    let len = bytes.iter().position(|&b| b == 0).unwrap_or(0);
    let text = bytes.get(..len).unwrap_or(&[]);
    core::str::from_utf8(text).unwrap_or("")
}

/// A task, as it was when it was looked at.
#[repr(transparent)]
pub struct Task(ffi::dormouse_task);

impl Task {
    /// Makes an empty one, as room for [`unfrozen`]. Any context.
    pub fn none() -> Self {
        Task(ffi::dormouse_task::default())
    }

    /// Its id.
    pub fn pid(&self) -> i32 {
        self.0.pid
    }

    /// Its name.
    pub fn name(&self) -> &str {
        text(&self.0.name)
    }

    /// Whether it is one of the kernel's.
    pub fn is_kernel_thread(&self) -> bool {
        self.0.is_kernel_thread
    }

    /// Lists the functions that it is in, without those of the scheduler, from the innermost out.
    /// Any context.
    pub fn stack(&self) -> impl Iterator<Item = &str> + Clone {
        let frames = usize::try_from(self.0.frames).unwrap_or(0);
        self.0.stack.iter().take(frames).map(|name| text(name))
    }
}

/// Puts tasks that were told to freeze and have not yet into `room`, and returns how many there
/// are, which may be more. `kernel_threads` says whether those are being frozen, or tasks of user
/// space. Process context.
///
/// # Errors
///
/// `EAGAIN` when no such freezing was under way all the time.
pub fn unfrozen(kernel_threads: bool, room: &mut [Task]) -> Result<usize> {
    let len = u32::try_from(room.len()).map_err(|_| EINVAL)?;
    // `Task` is transparent.
    let tasks = room.as_mut_ptr().cast::<ffi::dormouse_task>();
    // SAFETY: There is room for as many, and they are ours to write.
    let found = unsafe { ffi::dormouse_unfrozen_tasks(kernel_threads, tasks, len) };
    usize::try_from(found).map_err(|_| EAGAIN)
}

/// A filesystem that is mounted.
pub struct Mount(ffi::dormouse_mount);

impl Mount {
    /// Where it is mounted.
    pub fn path(&self) -> &str {
        text(&self.0.path)
    }

    /// What is mounted there.
    pub fn source(&self) -> &str {
        text(&self.0.source)
    }

    /// The number of the connection, for FUSE.
    pub fn connection(&self) -> u32 {
        self.0.minor
    }

    /// Requests that have not been answered, for FUSE.
    pub fn waiting(&self) -> u32 {
        self.0.waiting
    }

    /// Id and name of the process that answers them, where it is known.
    pub fn server(&self) -> Option<(i32, &str)> {
        (self.0.server != 0).then_some((self.0.server, text(&self.0.server_name)))
    }
}

/// Filesystem number `number` of those with this type, from 0 on, among all that the caller sees.
/// May sleep; waits for no server.
///
/// # Errors
///
/// `ENOENT` when there are not so many.
pub fn mount_of_type(fs_type: &CStr, number: u32) -> Result<Mount> {
    let mut mount = Mount(ffi::dormouse_mount::default());
    // SAFETY: The name is valid for the call, and the description is ours to write.
    to_result(unsafe { ffi::dormouse_mount_of_type(fs_type.as_char_ptr(), number, &mut mount.0) })?;
    Ok(mount)
}
