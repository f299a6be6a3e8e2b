// SPDX-License-Identifier: GPL-2.0

//! Where in a core which pages are.

#![forbid(unsafe_code)]

use crate::image::PAGE;

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
pub(super) struct Layout {
    segments: Vec<Segment>,
    end: u64,
}

impl Layout {
    /// Of runs of pages that are in order and do not touch each other.
    pub(super) fn new(runs: impl Iterator<Item = (u64, u64)>) -> Layout {
        let mut segments: Vec<Segment> = runs
            .map(|(pfn, pages)| Segment { pfn, pages, at: 0 })
            .collect();
        let mut end = elf::room(segments.len() as u64);
        for segment in &mut segments {
            segment.at = end;
            end = end.saturating_add(segment.pages.saturating_mul(PAGE as u64));
        }
        Layout { segments, end }
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
        let layout = Layout::new([(1, 3), (7, 1), (100, 50)].into_iter());
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
        assert_eq!(Layout::new([].into_iter()).find(0, 1), None);
    }
}
