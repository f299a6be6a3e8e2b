// SPDX-License-Identifier: GPL-2.0

//! The result of the last cycle: an errno, the step, and one sentence.
//!
//! Whatever refuses or fails says why exactly once, where it decides, with
//! [`Report::fail`]; the first sentence of a cycle is the one that is kept.
//!
//! Sentences quote what users of the machine have chosen: names of tasks, paths.
//! Each is made one line of plain characters here, before it goes anywhere.

#![forbid(unsafe_code)]

use crate::observer::Event;
use crate::pace::Pace;
use crate::progress::{Progress, Step};
use crate::sys::{thread, time};
use crate::text::Text;
use core::fmt;
use core::sync::atomic::{AtomicU32, Ordering};
use kernel::prelude::*;
#[cfg(CONFIG_DORMOUSE_KUNIT_TEST)]
use kernel::sync::Arc;
use kernel::sync::{new_mutex, Mutex};

/// Longest sentence, in bytes.
pub const SENTENCE: usize = 400;

/// One result.
#[derive(Clone, Copy)]
pub struct Outcome {
    /// Zero, or a negative error number.
    pub errno: i32,
    /// Where it happened.
    pub step: Step,
    /// Why.
    pub sentence: Text<SENTENCE>,
}

impl Outcome {
    const fn new() -> Self {
        Outcome {
            errno: 0,
            step: Step::Idle,
            sentence: Text::new(),
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sentence = if self.sentence.is_empty() {
            "nothing has happened yet"
        } else {
            self.sentence.as_str()
        };
        write!(f, "{} {} {}", self.errno, self.step, sentence)
    }
}

/// Keeps the last outcome.
#[pin_data]
pub struct Report {
    #[pin]
    last: Mutex<Outcome>,
    progress: &'static Progress,
    /// The thread in the background, 0 for none.
    background: AtomicU32,
    /// How often something is said of it.
    pace: Pace,
}

/// How often something may be said of what goes on in the background.
const MURMUR_NS: u64 = 60_000_000_000;

impl Report {
    /// No outcome yet; steps are taken from `progress`.
    pub(crate) fn new(progress: &'static Progress) -> impl PinInit<Self> {
        pin_init!(Self {
            last <- new_mutex!(Outcome::new(), "dormouse::report"),
            progress,
            background: AtomicU32::new(0),
            pace: Pace::every(MURMUR_NS),
        })
    }

    /// One that belongs to no engine, for KUnit. It is made in this crate because
    /// lockdep wants one name for a class, and each crate that initialises the
    /// lock has a copy of the name. May sleep.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    #[cfg(CONFIG_DORMOUSE_KUNIT_TEST)]
    #[inline(never)]
    pub fn alone(progress: &'static Progress) -> Result<Arc<Self>> {
        Arc::pin_init(Self::new(progress), GFP_KERNEL)
    }

    /// Forgets the last outcome: a new cycle begins. May sleep.
    pub fn clear(&self) {
        *self.last.lock() = Outcome::new();
    }

    /// Records why the cycle fails, unless a reason is there already, and
    /// returns `error`. May sleep.
    pub fn fail(&self, error: Error, why: fmt::Arguments<'_>) -> Error {
        if self.is_background() {
            self.murmur(why);
            return error;
        }
        let outcome = Outcome {
            errno: error.to_errno(),
            step: self.progress.step(),
            sentence: Text::format_plain(why),
        };
        {
            let mut last = self.last.lock();
            if last.errno != 0 {
                return error;
            }
            *last = outcome;
        }
        pr_err!(
            "{}: {} ({})\n",
            outcome.step,
            outcome.sentence,
            outcome.errno
        );
        self.progress.tell(Event::Result(&outcome));
        error
    }

    /// Adds to the reason, if there is one and it does not say so, that an image
    /// which may be there is kept: whoever reads it looks for this word. May sleep.
    pub fn say_kept(&self) {
        // A text has room for that, and what it holds is plain.
        const ROOM: usize = SENTENCE - 40;
        let mut last = self.last.lock();
        let sentence = last.sentence;
        let said = sentence.as_str();
        if last.errno != 0 && !said.contains("kept") {
            last.sentence = Text::format(format_args!("{said:.ROOM$}; an image there is kept"));
        }
    }

    /// Says that something is not as it should be, and does not stop the
    /// cycle. May sleep.
    pub fn warn(&self, what: fmt::Arguments<'_>) {
        if self.is_background() {
            return self.murmur(what);
        }
        let sentence = Text::<SENTENCE>::format_plain(what);
        pr_warn!("{}\n", sentence);
        let step = self.progress.step();
        self.progress.tell(Event::Warning(step, sentence.as_str()));
    }

    /// Runs `f`, which is no cycle, but whose failure is to be seen as one is;
    /// when it succeeds, the outcome before it stays. May sleep.
    ///
    /// # Errors
    ///
    /// That of `f`.
    pub fn beside<R>(&self, f: impl FnOnce() -> Result<R>) -> Result<R> {
        let before = core::mem::replace(&mut *self.last.lock(), Outcome::new());
        let result = f();
        if result.is_ok() {
            *self.last.lock() = before;
        }
        result
    }

    /// Runs `f`, of whose failure the caller speaks: what is said meanwhile is in
    /// the log alone, and the outcome stays. May sleep.
    ///
    /// # Errors
    ///
    /// That of `f`.
    pub fn aside<R>(&self, f: impl FnOnce() -> Result<R>) -> Result<R> {
        let before = core::mem::replace(&mut *self.last.lock(), Outcome::new());
        let result = f();
        *self.last.lock() = before;
        result
    }

    /// Runs `f` in a thread that works beside cycles and whatever else leaves an
    /// outcome: what it says meanwhile is in the log alone, and once in a minute,
    /// since it tries again and again. One thread at a time. May sleep.
    pub fn in_background<R>(&self, f: impl FnOnce() -> R) -> R {
        self.background.store(thread::id(), Ordering::Relaxed);
        let result = f();
        self.background.store(0, Ordering::Relaxed);
        result
    }

    fn is_background(&self) -> bool {
        self.background.load(Ordering::Relaxed) == thread::id()
    }

    fn murmur(&self, what: fmt::Arguments<'_>) {
        if self.pace.is_due(time::monotonic_ns()) {
            pr_notice!(
                "in the background: {}\n",
                Text::<SENTENCE>::format_plain(what)
            );
        }
    }

    /// Records why the cycle fails, also where a reason is there already: what
    /// has to be done about this one is more urgent. Returns `error`. May sleep.
    pub fn fail_above_all(&self, error: Error, why: fmt::Arguments<'_>) -> Error {
        self.clear();
        self.fail(error, why)
    }

    /// Records a success. May sleep.
    pub fn succeed(&self, step: Step, what: fmt::Arguments<'_>) {
        let outcome = Outcome {
            errno: 0,
            step,
            sentence: Text::format_plain(what),
        };
        *self.last.lock() = outcome;
        pr_info!("{}\n", outcome.sentence);
        self.progress.tell(Event::Result(&outcome));
    }

    /// The last outcome. May sleep.
    pub fn last(&self) -> Outcome {
        *self.last.lock()
    }
}
