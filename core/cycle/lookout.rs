// SPDX-License-Identifier: GPL-2.0

//! Looks for tasks that do not freeze, and says what they wait for.
//!
//! The kernel's freezer says nothing but `EBUSY`, and thaws all tasks before it
//! does. So a kernel thread looks while they are being frozen, and remembers
//! what it has seen last.

#![forbid(unsafe_code)]

use crate::remote::{self, Remote};
use crate::report::SENTENCE;
use crate::sys::tasks::{self, Mount, Task};
use crate::sys::thread::{Gate, Thread};
use crate::text::Text;
use core::fmt::Write;
use core::sync::atomic::{AtomicBool, Ordering};
use kernel::prelude::*;
use kernel::sync::{new_mutex, Arc, Mutex};

/// How often it looks, in milliseconds. Most systems are frozen before the
/// first time.
const INTERVAL_MS: u32 = 250;
/// Tasks that are described.
const TASKS: usize = 3;
/// Mounted filesystems of one type that are looked at.
const MOUNTS: u32 = 64;

/// What the thread and the cycle share.
#[pin_data]
struct Shared {
    /// Open when there is nothing more to look for.
    over: Gate,
    /// Whether tasks of user space are frozen, and those of the kernel come next.
    kernel_threads: AtomicBool,
    /// What was seen last; empty for nothing.
    #[pin]
    seen: Mutex<Text<SENTENCE>>,
}

/// A lookout; dropping it ends it.
pub(super) struct Lookout {
    shared: Arc<Shared>,
    _thread: Thread,
}

impl Lookout {
    /// Begins to look. May sleep; nothing is frozen yet.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(super) fn begin() -> Result<Lookout> {
        let mut room = KVec::with_capacity(TASKS, GFP_KERNEL)?;
        for _ in 0..TASKS {
            room.push(Task::none(), GFP_KERNEL)?;
        }
        let over = Gate::new()?;
        let shared = Arc::pin_init(
            pin_init!(Shared {
                over,
                kernel_threads: AtomicBool::new(false),
                seen <- new_mutex!(Text::new(), "dormouse::lookout"),
            }),
            GFP_KERNEL,
        )?;
        let theirs = shared.clone();
        let work = move || {
            while !theirs.over.wait_within(INTERVAL_MS) {
                theirs.look(&mut room);
            }
        };
        Ok(Lookout {
            _thread: Thread::spawn(kernel::c_str!("dormouse-lookout"), work)?,
            shared,
        })
    }

    /// Looks for kernel threads from now on: tasks of user space are frozen.
    /// May sleep.
    pub(super) fn user_is_frozen(&self) {
        self.shared.kernel_threads.store(true, Ordering::Relaxed);
        self.shared.seen.lock().clear();
    }

    /// What was seen last before the freezer gave up; empty for nothing. May
    /// sleep.
    pub(super) fn seen(&self) -> Text<SENTENCE> {
        *self.shared.seen.lock()
    }
}

impl Drop for Lookout {
    fn drop(&mut self) {
        // The thread is waited for when its field is dropped.
        self.shared.over.open_all();
    }
}

impl Shared {
    /// Looks once.
    fn look(&self, room: &mut [Task]) {
        let kernel_threads = self.kernel_threads.load(Ordering::Relaxed);
        // Before they are frozen, and after they were thawed, there is nothing to see.
        let Ok(count) = tasks::unfrozen(kernel_threads, room) else {
            return;
        };
        let text = match count {
            0 => Text::new(),
            _ => sentence(count, room, &self.over),
        };
        let mut seen = self.seen.lock();
        // The cycle may have gone on meanwhile.
        if self.kernel_threads.load(Ordering::Relaxed) == kernel_threads {
            *seen = text;
        }
    }
}

/// A sentence about `count` tasks, of which `room` holds the first, in haste when
/// `over` is open. May sleep.
fn sentence(count: usize, room: &[Task], over: &Gate) -> Text<SENTENCE> {
    let what = if count == 1 { "task does" } else { "tasks do" };
    let mut text = Text::format(format_args!("{count} {what} not freeze"));
    let mut before = ": ";
    for task in room.iter().take(count) {
        // A text takes all, as far as there is room.
        let _ = text.write_str(before);
        let _ = describe(&mut text, task, over);
        before = "; ";
    }
    if count > room.len() {
        let _ = text.write_str("; and others");
    }
    text
}

fn describe(text: &mut Text<SENTENCE>, task: &Task, over: &Gate) -> core::fmt::Result {
    let kind = match task.is_kernel_thread() {
        true => "kernel thread ",
        false => "",
    };
    write!(text, "{kind}\"{}\" (pid {}) ", task.name(), task.pid())?;
    match (task.stack().next(), remote::awaited(task.stack())) {
        (None, _) => text.write_str("is at work"),
        (Some(inner), Some(remote)) => {
            write!(text, "waits in {inner} for ")?;
            describe_remote(text, remote, over)
        }
        (Some(inner), None) => {
            write!(text, "waits in {inner}")?;
            match task.stack().nth(1) {
                Some(outer) => write!(text, ", called by {outer}"),
                None => Ok(()),
            }
        }
    }
}

/// Mounted filesystems of this kind that a task may wait for: the first, and
/// how many others there are. Looks at no further one when `over` is open: who
/// ends the lookout waits for that.
fn candidates(remote: &Remote, over: &Gate) -> Option<(Mount, usize)> {
    let get = |name, number| match over.wait_within(0) {
        true => None,
        false => tasks::mount_of_type(name, number).ok(),
    };
    let all = || {
        let types = remote.types.iter();
        let types = types.filter_map(|name| CStr::from_bytes_with_nul(name).ok());
        types.flat_map(|name| (0..MOUNTS).map_while(move |number| get(name, number)))
    };
    // Where it is known which of them owe an answer, it is one of those.
    let owes = all().any(|mount| mount.waiting() > 0);
    let mut meant = all().filter(|mount| !owes || mount.waiting() > 0);
    let first = meant.next()?;
    Some((first, meant.count()))
}

fn describe_remote(text: &mut Text<SENTENCE>, remote: &Remote, over: &Gate) -> core::fmt::Result {
    let name = remote.name;
    let Some((mount, others)) = candidates(remote, over) else {
        return write!(text, "a filesystem of kind {name}");
    };
    let (path, source) = (mount.path(), mount.source());
    write!(text, "{name} filesystem {path} ")?;
    match mount.server() {
        Some((pid, server)) => write!(
            text,
            "(connection {}), which \"{server}\" (pid {pid}) serves",
            mount.connection()
        )?,
        None => write!(text, "({source})")?,
    }
    match others {
        0 => Ok(()),
        _ => write!(text, ", or one of {others} others of this kind"),
    }
}
