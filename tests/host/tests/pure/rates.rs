// SPDX-License-Identifier: GPL-2.0

//! Rates, the remaining time, and how often both are told.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use dormouse_host::pace::Pace;
use dormouse_host::ui::rates::{average, remaining_ms, Recent, Sample};
use proptest::prelude::*;

const INTERVAL: u64 = 200;

fn sample(ms: u64, pages: u64) -> Sample {
    Sample { ms, pages }
}

/// Samples of something that does `per_ms` pages in every millisecond.
fn steady(recent: &Recent, per_ms: u64, until_ms: u64) {
    for ms in (0..=until_ms).step_by(INTERVAL as usize) {
        recent.add(sample(ms, ms * per_ms));
    }
}

#[test]
fn the_first_time_is_free() {
    let pace = Pace::every(INTERVAL);
    assert!(pace.is_due(0));
    assert!(!pace.is_due(INTERVAL - 1));
    assert!(pace.is_due(INTERVAL));
}

#[test]
fn a_restart_counts_as_once() {
    let pace = Pace::every(INTERVAL);
    pace.restart(1000);
    assert!(!pace.is_due(1000 + INTERVAL - 1));
    assert!(pace.is_due(1000 + INTERVAL));
}

#[test]
fn one_of_many_threads_is_let_through() {
    let pace = Pace::every(INTERVAL);
    let clock = AtomicU64::new(0);
    let through = AtomicU32::new(0);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..50_000 {
                    let now = clock.fetch_add(1, Ordering::Relaxed);
                    if pace.is_due(now) {
                        through.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    // Of 200000 ticks one in 200; a thread that is late with an old time is
    // refused, or takes the turn of that time.
    let through = through.load(Ordering::Relaxed);
    assert!((900..=1001).contains(&through), "{through}");
}

#[test]
fn a_steady_rate_is_found() {
    let recent = Recent::new();
    steady(&recent, 7, 4000);
    assert_eq!(recent.rate(sample(4000, 28_000)), Some(7000));
    assert_eq!(average(sample(4000, 28_000)), Some(7000));
    let left = remaining_ms(sample(4000, 28_000), 35_000, Some(7000));
    assert_eq!(left, Some(1000));
}

#[test]
fn the_rate_of_late_forgets_what_was_before() {
    let recent = Recent::new();
    steady(&recent, 10, 4000);
    for ms in (4200..8000).step_by(INTERVAL as usize) {
        recent.add(sample(ms, 40_000 + (ms - 4000)));
    }
    assert_eq!(recent.rate(sample(8000, 44_000)), Some(1000));
    assert_eq!(average(sample(8000, 44_000)), Some(5500));
}

#[test]
fn another_cycle_begins_anew() {
    let recent = Recent::new();
    steady(&recent, 10, 4000);
    recent.add(sample(0, 0));
    assert_eq!(recent.rate(sample(500, 50)), Some(100));
    recent.add(sample(500, 50));
    recent.add(sample(700, 20));
    assert_eq!(recent.rate(sample(1000, 50)), Some(100));
}

#[test]
fn what_is_too_short_tells_nothing() {
    let recent = Recent::new();
    assert_eq!(recent.rate(sample(1000, 10)), None);
    recent.add(sample(0, 0));
    assert_eq!(recent.rate(sample(100, 10)), None);
    assert_eq!(average(sample(100, 10)), None);
    assert_eq!(remaining_ms(sample(100, 10), 1000, None), None);
}

#[test]
fn the_remaining_time_at_the_edges() {
    assert_eq!(remaining_ms(sample(0, 0), 0, None), None);
    assert_eq!(remaining_ms(sample(5000, 0), 10, Some(0)), None);
    assert_eq!(remaining_ms(sample(5000, 10), 10, None), Some(0));
    assert_eq!(remaining_ms(sample(5000, 11), 10, None), Some(0));
}

proptest! {
    /// However the clock runs, no interval lets more than one through.
    #[test]
    fn never_more_than_one_in_an_interval(
        steps in prop::collection::vec(0u64..300, 1..200),
        interval in 1u64..400,
    ) {
        let pace = Pace::every(interval);
        let mut now = 0u64;
        let mut last = None;
        for step in steps {
            now += step;
            if pace.is_due(now) {
                prop_assert!(last.is_none_or(|last| now - last >= interval));
                last = Some(now);
            } else {
                prop_assert!(last.is_some_and(|last| now - last < interval));
            }
        }
    }

    /// No numbers, however wild, make anything overflow.
    #[test]
    fn wild_numbers_are_survived(
        numbers in prop::collection::vec((any::<u64>(), any::<u64>()), 1..20),
        now in (any::<u64>(), any::<u64>()),
        total in any::<u64>(),
    ) {
        let recent = Recent::new();
        for (ms, pages) in numbers {
            recent.add(sample(ms, pages));
        }
        let now = sample(now.0, now.1);
        let _ = remaining_ms(now, total, recent.rate(now));
        let _ = remaining_ms(now, total, Some(u64::MAX));
    }

    /// The rate of late lies between the slowest and the fastest stretch.
    #[test]
    fn the_rate_is_one_of_those_there_were(
        stretches in prop::collection::vec(1u64..100_000, 2..40),
    ) {
        let recent = Recent::new();
        let mut pages = 0;
        recent.add(sample(0, 0));
        for (number, stretch) in (1u64..).zip(&stretches) {
            pages += stretch;
            recent.add(sample(number * 1000, pages));
        }
        let now = sample(stretches.len() as u64 * 1000, pages);
        let rate = recent.rate(now).unwrap();
        let slowest = *stretches.iter().min().unwrap();
        let fastest = *stretches.iter().max().unwrap();
        prop_assert!((slowest..=fastest).contains(&rate));
    }

    /// The more is left, the longer it takes; nothing left takes no time.
    #[test]
    fn more_takes_longer(
        ms in 250u64..1_000_000,
        done in 1u64..1_000_000,
        left in 0u64..1_000_000,
        more in 0u64..1_000_000,
        recent in prop::option::of(1u64..1_000_000),
    ) {
        let now = sample(ms, done);
        let short = remaining_ms(now, done + left, recent);
        let long = remaining_ms(now, done + left + more, recent);
        prop_assert_eq!(short == Some(0) || left > 0, true);
        if let (Some(short), Some(long)) = (short, long) {
            prop_assert!(short <= long);
        }
    }
}
