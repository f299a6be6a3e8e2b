// SPDX-License-Identifier: GPL-2.0

//! Where in a core which pages are.

#![forbid(unsafe_code)]

use crate::image::PAGE;
use crate::runs::Run;

use super::elf;

/// Pages that follow each other in physical memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Segment {
    /// The first one.
    pub pfn: u64,
    /// How many.
    pub pages: u64,
    /// Byte of the core where they begin.
    pub at: u64,
}

/// All of them, in order.
#[derive(Debug)]
pub(super) struct Layout {
    segments: Vec<Segment>,
    end: u64,
}

impl Layout {
    /// Of runs of pages that are in order and do not touch each other. Nothing if no file is that
    /// long.
    pub(super) fn new(runs: Vec<Run>) -> Option<Layout> {
        let mut end = elf::room(runs.len() as u64);
        let mut segments = Vec::with_capacity(runs.len());
        for (pfn, behind) in runs {
            let pages = behind.saturating_sub(pfn);
            segments.push(Segment {
                pfn,
                pages,
                at: end,
            });
            end = end.checked_add(pages.checked_mul(PAGE as u64)?)?;
        }
        (end <= i64::MAX as u64).then_some(Layout { segments, end })
    }

    /// Bytes that the core takes when `pages` of its pages are no holes.
    pub(super) fn needed(&self, pages: u64) -> u64 {
        let head = elf::room(self.segments.len() as u64);
        head.saturating_add(pages.saturating_mul(PAGE as u64))
    }

    /// Those with a page of `from..to`, in pages.
    pub(super) fn within(&self, from: u64, to: u64) -> &[Segment] {
        let first = self.segments.partition_point(|s| s.pfn + s.pages <= from);
        let behind = self.segments.partition_point(|s| s.pfn < to);
        self.segments.get(first..behind).unwrap_or(&[])
    }

    pub(super) fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// Bytes of the core.
    pub(super) const fn end(&self) -> u64 {
        self.end
    }

    /// Where `count` pages from `pfn` on are, if they are all there.
    pub(super) fn find(&self, pfn: u64, count: u64) -> Option<u64> {
        let behind = self.segments.partition_point(|s| s.pfn <= pfn);
        let segment = self.segments.get(behind.checked_sub(1)?)?;
        let inside = pfn.checked_sub(segment.pfn)?;
        let is_there = inside.checked_add(count)? <= segment.pages;
        is_there.then(|| segment.at + inside * PAGE as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_what_is_there() {
        let layout = Layout::new(vec![(1, 4), (7, 8), (100, 150)]).unwrap();
        let first = layout.segments()[0].at;
        assert_eq!(first % PAGE as u64, 0);
        assert_eq!(layout.end(), first + 54 * 4096);
        assert_eq!(layout.find(1, 3), Some(first));
        assert_eq!(layout.find(3, 1), Some(first + 2 * 4096));
        assert_eq!(layout.find(149, 1), Some(first + 53 * 4096));
        for (pfn, count) in [
            (0, 1),
            (1, 4),
            (4, 1),
            (6, 2),
            (8, 1),
            (150, 1),
            (u64::MAX, 1),
        ] {
            assert_eq!(layout.find(pfn, count), None, "{pfn} {count}");
        }
        assert_eq!(Layout::new(vec![]).unwrap().find(0, 1), None);
        assert!(Layout::new(vec![(0, 1 << 51)]).is_none());
        assert!(Layout::new(vec![(0, 1 << 50), (1 << 51, 1 << 52)]).is_none());
        let within = |from, to| {
            layout
                .within(from, to)
                .iter()
                .map(|s| s.pfn)
                .collect::<Vec<_>>()
        };
        assert_eq!(within(0, 1), []);
        assert_eq!(within(3, 8), [1, 7]);
        assert_eq!(within(8, 100), []);
        assert_eq!(within(120, 121), [100]);
    }
}
