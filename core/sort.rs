// SPDX-License-Identifier: GPL-2.0

//! Sorting on a kernel stack.
//!
//! The sorts of the core library recurse with more than a kilobyte of stack
//! for every level, and a kernel stack has sixteen. This one needs a few
//! words, whatever the length, and its worst case is its usual case.

#![forbid(unsafe_code)]

/// Sorts `items` in place by what `key` returns; equal keys end up in any
/// order. Any context; takes no memory.
///
/// Heapsort (Williams, 1964; with Floyd's construction of the heap).
pub fn by_key<T, K: Ord>(items: &mut [T], key: impl Fn(&T) -> K) {
    let len = items.len();
    for root in (0..len / 2).rev() {
        sift(items, root, &key);
    }
    for end in (1..len).rev() {
        items.swap(0, end);
        if let Some(heap) = items.get_mut(..end) {
            sift(heap, 0, &key);
        }
    }
}

/// Moves the item at `root` down to where the heap below it is one again.
fn sift<T, K: Ord>(heap: &mut [T], mut root: usize, key: &impl Fn(&T) -> K) {
    loop {
        let left = root.saturating_mul(2).saturating_add(1);
        let right = left.saturating_add(1);
        let (Some(parent), Some(first)) = (heap.get(root), heap.get(left)) else {
            return;
        };
        let (child, greatest) = match heap.get(right) {
            Some(second) if key(second) > key(first) => (right, second),
            _ => (left, first),
        };
        if key(parent) >= key(greatest) {
            return;
        }
        heap.swap(root, child);
        root = child;
    }
}

#[cfg(test)]
mod tests {
    use super::by_key;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn sorts_like_the_standard_library(mut items: Vec<(u16, u8)>) {
            let mut expected: Vec<_> = items.iter().map(|i| i.0).collect();
            expected.sort_unstable();
            let mut all = items.clone();
            by_key(&mut items, |i| i.0);
            let keys: Vec<_> = items.iter().map(|i| i.0).collect();
            prop_assert_eq!(keys, expected);
            all.sort_unstable();
            items.sort_unstable();
            prop_assert_eq!(items, all);
        }
    }

    #[test]
    fn sorts_a_million_that_are_nearly_sorted() {
        let mut items: Vec<u32> = (0..1_000_000).collect();
        for i in (0..1_000_000).step_by(97) {
            items.swap(i, 999_999 - i);
        }
        by_key(&mut items, |&i| i);
        assert!(items.windows(2).all(|w| w[0] <= w[1]));
    }
}
