// SPDX-License-Identifier: GPL-2.0

//! Sets of numbers, kept as runs.
//!
//! Memory grows with the gaps between the runs and not with how many there were, in which order
//! they came, or how long they are; and it has a limit.

#![forbid(unsafe_code)]

/// Runs that are collected at least before they are put in order.
const BATCH: usize = 1 << 15;

/// A run: its first number, and the one behind its last.
pub type Run = (u64, u64);

/// The limit is reached: there are too many gaps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

/// A set of numbers that notices when one of them is added twice.
///
/// # Invariants
///
/// The first `ordered` runs are in order, and none of them touches another.
#[derive(Clone, Debug)]
pub struct Runs {
    runs: Vec<Run>,
    ordered: usize,
    limit: usize,
    twice: bool,
}

impl Runs {
    /// Makes an empty set that keeps at most about `limit` runs.
    pub const fn new(limit: usize) -> Self {
        Runs {
            runs: Vec::new(),
            ordered: 0,
            limit,
            twice: false,
        }
    }

    /// Adds the numbers from `start` up to `end`, which is not one of them.
    ///
    /// # Errors
    ///
    /// [`Full`] when more runs are left than the limit, however they are put together.
    pub fn add(&mut self, start: u64, end: u64) -> Result<(), Full> {
        if self.ordered > self.limit {
            return Err(Full);
        }
        if start >= end {
            return Ok(());
        }
        let is_free = self.runs.len() > self.ordered;
        match self.runs.last_mut() {
            Some(last) if last.1 == start => {
                last.1 = end;
                return Ok(());
            }
            // A run that is in order already could run into the one in front of it.
            Some(last) if last.0 == end && is_free => {
                last.0 = start;
                return Ok(());
            }
            _ => {}
        }
        let batch = BATCH.max(self.ordered / 2);
        if self.runs.len() - self.ordered >= batch {
            self.order();
            if self.ordered > self.limit {
                return Err(Full);
            }
            // No more than is needed, as it may be much.
            self.runs.reserve_exact(BATCH.max(self.ordered / 2));
        }
        self.runs.push((start, end));
        Ok(())
    }

    /// Puts the runs in order, and together those that touch.
    fn order(&mut self) {
        let (front, back) = self.runs.split_at_mut(self.ordered);
        if back.is_empty() {
            return;
        }
        back.sort_unstable();
        if front.last() > back.first() {
            self.runs.sort_unstable();
        }
        let twice = &mut self.twice;
        self.runs.dedup_by(|next, kept| {
            *twice |= next.0 < kept.1;
            let touches = next.0 <= kept.1;
            if touches {
                kept.1 = kept.1.max(next.1);
            }
            touches
        });
        self.ordered = self.runs.len();
    }

    /// Returns all runs in order, of which no two touch; nothing if a number was added twice.
    pub fn all(&mut self) -> Option<&[Run]> {
        self.order();
        (!self.twice).then_some(&self.runs)
    }

    /// As [`Runs::all`], with the memory of the set.
    pub fn into_all(mut self) -> Option<Vec<Run>> {
        self.order();
        (!self.twice).then_some(self.runs)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn model(all: &[(u64, u64)]) -> (BTreeSet<u64>, bool) {
        let mut numbers = BTreeSet::new();
        let mut twice = false;
        for &(start, len) in all {
            (start..start + len).for_each(|n| twice |= !numbers.insert(n));
        }
        (numbers, twice)
    }

    proptest! {
        #[test]
        fn is_a_set(all in prop::collection::vec((0u64..300, 0u64..6), 0..60), often in any::<bool>()) {
            let mut runs = Runs::new(usize::MAX);
            for &(start, len) in &all {
                runs.add(start, start + len).unwrap();
                if often {
                    runs.order();
                }
            }
            let (numbers, twice) = model(&all);
            match runs.all() {
                None => prop_assert!(twice),
                Some(found) => {
                    prop_assert!(!twice);
                    let same = found.iter().flat_map(|run| run.0..run.1).eq(numbers);
                    prop_assert!(same);
                    prop_assert!(found.windows(2).all(|w| w[0].1 < w[1].0));
                }
            }
        }
    }

    #[test]
    fn forgets_what_touches() {
        // In an order in which nothing touches for long.
        let mut runs = Runs::new(4 * BATCH);
        for step in 0..8 {
            for n in (0..1 << 20).step_by(8) {
                assert!(runs.add(n + step, n + step + 1).is_ok());
            }
        }
        assert_eq!(runs.all(), Some(&[(0, 1 << 20)][..]));
        let mut down = Runs::new(0);
        assert!((0..1 << 20).rev().all(|n| down.add(n, n + 1).is_ok()));
        assert!(down.runs.capacity() < 10);
        assert_eq!(down.into_all(), Some(vec![(0, 1 << 20)]));
    }

    #[test]
    fn has_a_limit() {
        let mut runs = Runs::new(100_000);
        let added = (0..).find(|n| runs.add(2 * n, 2 * n + 1).is_err()).unwrap();
        assert!((100_000..200_000).contains(&added), "{added}");
        assert!((0..1_000_000).all(|n| runs.add(2 * n, 2 * n + 1).is_err()));
        assert!(runs.runs.capacity() < 200_000);
    }

    #[test]
    fn notices_what_is_there_twice() {
        for (first, second) in [((5, 9), (8, 12)), ((5, 9), (0, 6)), ((5, 9), (6, 7))] {
            let mut runs = Runs::new(10);
            runs.add(first.0, first.1).unwrap();
            runs.all();
            runs.add(second.0, second.1).unwrap();
            assert_eq!(runs.all(), None);
        }
        let mut ends = Runs::new(10);
        ends.add(u64::MAX - 1, u64::MAX).unwrap();
        ends.add(0, u64::MAX - 1).unwrap();
        assert_eq!(ends.all(), Some(&[(0, u64::MAX)][..]));
    }
}
