// SPDX-License-Identifier: GPL-2.0

//! From the places of a file's pages to those of an image, without touching
//! either.

#![forbid(unsafe_code)]

/// Where the pages of a file are, as far as they follow each other in it and
/// have a place on the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Layout {
    /// Block of the first page; 0 when it has none.
    pub(crate) first: u64,
    /// Pages that have a place, from the first one on.
    pub(crate) pages: u64,
}

/// Takes the extents of a file, each of them its first page, the block of that,
/// and the number of pages, and calls `run` for all pages behind the first one:
/// with the first block and the number of blocks. It stops at a page without a
/// place: block 0 is none.
///
/// # Errors
///
/// Those of `run`.
pub(crate) fn runs<E>(
    extents: impl Iterator<Item = (u64, u64, u64)>,
    mut run: impl FnMut(u64, u32) -> Result<(), E>,
) -> Result<Layout, E> {
    let mut layout = Layout { first: 0, pages: 0 };
    for (page, block, count) in extents {
        if page != layout.pages || block == 0 {
            break;
        }
        let (mut at, mut left) = (block, count);
        if page == 0 && count != 0 {
            layout.first = block;
            at = at.saturating_add(1);
            left = left.saturating_sub(1);
        }
        layout.pages = layout.pages.saturating_add(count);
        while left != 0 {
            let part = u32::try_from(left).unwrap_or(u32::MAX);
            run(at, part)?;
            at = at.saturating_add(u64::from(part));
            left = left.saturating_sub(u64::from(part));
        }
    }
    Ok(layout)
}

/// Gives the first `count` blocks of `runs` to `single`, one by one, and the
/// rest to `run`.
///
/// # Errors
///
/// Those of `single` and `run`.
pub(crate) fn split<E>(
    runs: impl Iterator<Item = (u64, u32)>,
    count: usize,
    mut single: impl FnMut(u64) -> Result<(), E>,
    mut run: impl FnMut(u64, u32) -> Result<(), E>,
) -> Result<(), E> {
    let mut wanted = count;
    for (block, blocks) in runs {
        let (mut at, mut left) = (block, blocks);
        while left != 0 && wanted != 0 {
            single(at)?;
            at = at.saturating_add(1);
            left = left.saturating_sub(1);
            wanted = wanted.saturating_sub(1);
        }
        if left != 0 {
            run(at, left)?;
        }
    }
    Ok(())
}
