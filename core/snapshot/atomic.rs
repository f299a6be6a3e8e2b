// SPDX-License-Identifier: GPL-2.0

//! Snapshot method `atomic`: copy every saveable page in one go.
//!
//! All copies are made with one CPU and interrupts off, so that they belong to
//! one instant. A page that one word fills needs no copy. The price is that
//! the copies have to fit into free memory.

#![forbid(unsafe_code)]

use super::{Content, Counts, Pages, Record, Snapshot};
use crate::image::PAGE;
use crate::sys::pages::{CopyPages, PageContent, SnapshotTable, Use};
use kernel::prelude::*;
use kernel::sync::Arc;

/// The method.
pub struct Atomic;

impl Snapshot for Atomic {
    fn name(&self) -> &'static CStr {
        kernel::c_str!("atomic")
    }

    fn frames_needed(&self, pages: usize) -> usize {
        pages
    }

    fn memory(&self, pages: usize) -> usize {
        pages.saturating_mul(SnapshotTable::ENTRY_BYTES.saturating_add(CopyPages::ENTRY_BYTES))
    }

    fn prepare(&self, pages: usize) -> Result<Arc<dyn Pages>> {
        let held: Arc<dyn Pages> = Arc::new(
            Copies {
                table: SnapshotTable::new(pages)?,
                copies: CopyPages::new(pages, Use::Copies)?,
            },
            GFP_KERNEL,
        )?;
        Ok(held)
    }
}

struct Copies {
    table: SnapshotTable,
    copies: CopyPages,
}

impl Pages for Copies {
    fn reserve(&self, pages: usize) -> Result {
        self.copies.reserve(pages)
    }

    fn take(&self) -> Result<Counts> {
        let counts = self.table.take(&self.copies)?;
        Ok(Counts {
            pages: counts.image_pages as u64,
            fill: counts.fill_pages as u64,
        })
    }

    fn records(&self, first: usize, out: &mut [Record]) -> usize {
        let mut n = 0usize;
        for slot in out.iter_mut() {
            let Some(entry) = self.table.entry(first.saturating_add(n)) else {
                break;
            };
            *slot = Record {
                pfn: entry.pfn,
                content: match entry.content {
                    PageContent::Data(copy) => Content::Held(copy),
                    PageContent::Fill(word) => Content::Fill(word),
                },
            };
            n = n.saturating_add(1);
        }
        n
    }

    fn page(&self, place: usize) -> Option<&[u8; PAGE]> {
        self.copies.page(place)
    }

    fn contiguous(&self, place: usize, count: usize) -> Option<&[u8]> {
        self.copies.contiguous(place, count)
    }

    fn release(&self) {
        self.copies.forget();
    }
}

/// The method as an object to register. May sleep.
///
/// # Errors
///
/// `ENOMEM`.
pub fn method() -> Result<Arc<dyn Snapshot>> {
    let method: Arc<dyn Snapshot> = Arc::new(Atomic, GFP_KERNEL)?;
    Ok(method)
}
