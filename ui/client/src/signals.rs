// SPDX-License-Identifier: GPL-2.0

//! Signals that would end the command at a moment when it has something to put back.

use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use anyhow::{Context, Result};
use nix::poll::{poll, PollFd, PollFlags, PollTimeout};
use nix::sys::signal::{SigSet, SigmaskHow, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

const ENDING: [Signal; 4] = [
    Signal::SIGINT,
    Signal::SIGTERM,
    Signal::SIGHUP,
    Signal::SIGQUIT,
];

/// Signals are held while this lives, and delivered after it.
pub struct Held {
    before: SigSet,
    set: SigSet,
}

/// Holds all signals that would end the command.
///
/// # Errors
///
/// When the kernel refuses.
pub fn hold() -> Result<Held> {
    let set: SigSet = ENDING.into_iter().collect();
    let before = set
        .thread_swap_mask(SigmaskHow::SIG_BLOCK)
        .context("cannot hold signals")?;
    Ok(Held { before, set })
}

impl Held {
    /// Something to sleep on that such a signal ends.
    ///
    /// # Errors
    ///
    /// When the kernel refuses.
    pub fn alarm(&self) -> Result<Alarm> {
        let fd = SignalFd::with_flags(&self.set, SfdFlags::SFD_CLOEXEC);
        Ok(Alarm(fd.context("cannot wait for signals")?))
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        // It was possible before, with the same call.
        let _ = self.before.thread_set_mask();
    }
}

/// See [`Held::alarm`].
pub struct Alarm(SignalFd);

impl Alarm {
    /// Sleeps; returns whether the command should end. The signal stays pending.
    pub fn sleep(&self, time: Duration) -> bool {
        sleep(time, &[self.0.as_fd()])
    }

    /// Takes back what is pending: nothing is delivered then.
    pub fn forget(&self) {
        while self.is_due() && matches!(self.0.read_signal(), Ok(Some(_))) {}
    }

    /// Whether the command should end.
    pub fn is_due(&self) -> bool {
        self.sleep(Duration::ZERO)
    }
}

impl AsFd for Alarm {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Sleeps until there is something to read from one of `from`; true if there is.
pub fn sleep(time: Duration, from: &[BorrowedFd<'_>]) -> bool {
    let fds = from.iter().map(|fd| PollFd::new(*fd, PollFlags::POLLIN));
    let mut fds: Vec<PollFd<'_>> = fds.collect();
    let millis = u16::try_from(time.as_millis()).unwrap_or(u16::MAX);
    matches!(poll(&mut fds, PollTimeout::from(millis)), Ok(1..))
}
