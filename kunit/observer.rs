// SPDX-License-Identifier: GPL-2.0

//! Suite `dormouse_observer`: who is told what, how often, and until when.

#![forbid(unsafe_code)]

use crate::check::{
    check,
    check_eq,
    suite,
    Verdict, //
};
use core::fmt::Write;
use core::sync::atomic::{
    AtomicBool,
    AtomicU32,
    Ordering, //
};
use dormouse::observer::{
    Event,
    Observation,
    Observer, //
};
use dormouse::progress::{
    Progress,
    Step, //
};
use dormouse::report::Report;
use dormouse::sys::thread::Thread;
use dormouse::sys::time;
use dormouse::text::Text;
use kernel::c_str;
use kernel::new_mutex;
use kernel::prelude::*;
use kernel::sync::{
    Arc,
    Mutex, //
};

suite! { "dormouse_observer":
    every_step_is_told,
    beginning_and_end_are_told,
    progress_is_told_now_and_then,
    results_and_warnings_are_told_once,
    there_is_one_observer,
    nobody_is_told_after_the_end,
    leaving_waits_for_those_inside,
}

/// One for each case: suites run one after the other, but an observer is for one of them.
static PROGRESS: Progress = Progress::new();

/// Writes down what it is told.
#[pin_data]
struct Notes {
    #[pin]
    told: Mutex<Text<400>>,
    progress: AtomicU32,
}

impl Notes {
    fn new() -> Result<Arc<Self>> {
        Arc::pin_init(
            pin_init!(Self {
                told <- new_mutex!(Text::new()),
                progress: AtomicU32::new(0),
            }),
            GFP_KERNEL,
        )
    }

    fn told(&self) -> Text<400> {
        *self.told.lock()
    }

    fn progress(&self) -> u32 {
        self.progress.load(Ordering::Relaxed)
    }
}

impl Observer for Notes {
    fn notice(&self, event: Event<'_>) {
        let mut told = self.told.lock();
        // `Text` never fails.
        let _ = match event {
            Event::Step(step) => write!(told, "{step}."),
            Event::Result(outcome) => write!(told, "{outcome}."),
            Event::Warning(step, sentence) => write!(told, "{step}! {sentence}."),
            Event::Progress => {
                self.progress.fetch_add(1, Ordering::Relaxed);
                Ok(())
            }
        };
    }
}

fn watch(notes: &Arc<Notes>) -> Result<Observation> {
    PROGRESS.observe(notes.clone())
}

fn every_step_is_told() -> Verdict {
    let notes = Notes::new()?;
    let _observation = watch(&notes)?;
    PROGRESS.enter(Step::Write);
    PROGRESS.enter(Step::Idle);
    check_eq!(notes.told().as_str(), "write.idle.");
    check_eq!(notes.progress(), 0);
    Ok(())
}

fn beginning_and_end_are_told() -> Verdict {
    let notes = Notes::new()?;
    let _observation = watch(&notes)?;
    PROGRESS.start(10);
    check_eq!(notes.progress(), 1);
    PROGRESS.stop();
    check_eq!(notes.progress(), 2);
    Ok(())
}

fn progress_is_told_now_and_then() -> Verdict {
    let notes = Notes::new()?;
    let _observation = watch(&notes)?;
    let before = time::monotonic_ns();
    PROGRESS.start(1_000_000);
    for _ in 0..1000 {
        PROGRESS.advance(1);
        if time::monotonic_ns() - before > 450_000_000 {
            break;
        }
        time::sleep_ms(1);
    }
    let told = u64::from(notes.progress());
    let most = (time::monotonic_ns() - before) / 200_000_000 + 1;
    check!(told >= 2, "it was told {told} times");
    check!(told <= most, "it was told {told} times instead of {most}");
    Ok(())
}

fn results_and_warnings_are_told_once() -> Verdict {
    let notes = Notes::new()?;
    let _observation = watch(&notes)?;
    let report = Report::alone(&PROGRESS)?;
    report.warn(format_args!("beware\u{1b}[2J"));
    check_eq!(report.fail(EIO, format_args!("first\n0 write")), EIO);
    check_eq!(report.last().sentence.as_str(), "first?0 write");
    check_eq!(report.fail(ENOMEM, format_args!("second")), ENOMEM);
    report.succeed(Step::Write, format_args!("well\r"));
    check_eq!(
        notes.told().as_str(),
        "idle! beware?[2J.-5 idle first?0 write.0 write well?."
    );
    Ok(())
}

fn there_is_one_observer() -> Verdict {
    let notes = Notes::new()?;
    let observation = watch(&notes)?;
    check_eq!(watch(&Notes::new()?).err(), Some(EBUSY));
    PROGRESS.enter(Step::Idle);
    check_eq!(notes.told().as_str(), "idle.");
    drop(observation);
    drop(watch(&notes)?);
    Ok(())
}

fn nobody_is_told_after_the_end() -> Verdict {
    let notes = Notes::new()?;
    drop(watch(&notes)?);
    PROGRESS.enter(Step::Idle);
    PROGRESS.start(1);
    check!(notes.told().is_empty());
    check_eq!(notes.progress(), 0);
    // Nobody else has it any more.
    check!(Arc::into_unique_or_drop(notes).is_some());
    Ok(())
}

/// Takes its time when it is told something.
struct Slow {
    inside: AtomicBool,
    done: AtomicBool,
}

impl Observer for Slow {
    fn notice(&self, _event: Event<'_>) {
        self.inside.store(true, Ordering::Release);
        time::sleep_ms(100);
        self.done.store(true, Ordering::Release);
    }
}

fn leaving_waits_for_those_inside() -> Verdict {
    let slow = Arc::new(
        Slow {
            inside: AtomicBool::new(false),
            done: AtomicBool::new(false),
        },
        GFP_KERNEL,
    )?;
    let observation = PROGRESS.observe(slow.clone())?;
    let thread = Thread::spawn(c_str!("kunit-teller"), || PROGRESS.enter(Step::Idle))?;
    while !slow.inside.load(Ordering::Acquire) {
        time::sleep_ms(1);
    }
    drop(observation);
    check!(slow.done.load(Ordering::Acquire));
    thread.join();
    Ok(())
}
