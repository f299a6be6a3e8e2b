// SPDX-License-Identifier: GPL-2.0

//! Everything that a process needs is in memory before anything is frozen.
//!
//! Afterwards nothing may have to be read from a disk, which would stop the machine for good while
//! devices are suspended, and there may be no page to be had.

use std::fs;
use std::hint::black_box;

use anyhow::{Context, Result};
use nix::sys::mman::{mlockall, MlockAllFlags};

/// Heap that is had in advance: what the progress screen uses is a tenth of it.
const HEAP: usize = 2 << 20;
/// In pieces that the allocator takes from the heap, not as mappings of their own.
const PIECE: usize = 32 << 10;
/// Stack that is had in advance, of which the progress screen uses a tenth, too.
const STACK: usize = 256 << 10;

/// Gets the memory, and keeps all of the process in memory from now on.
///
/// # Errors
///
/// When the kernel allows less to be locked.
pub fn lock() -> Result<()> {
    let mut pieces = Vec::new();
    for _ in 0..HEAP / PIECE {
        pieces.push(black_box(vec![1u8; PIECE]));
    }
    // Whatever lies behind the pieces keeps them from going back to the kernel.
    std::mem::forget(black_box(vec![1u8; PIECE]));
    drop(pieces);
    deep();
    // Whoever saves memory ends something else.
    let _ = fs::write("/proc/self/oom_score_adj", "-1000");
    mlockall(MlockAllFlags::MCL_CURRENT | MlockAllFlags::MCL_FUTURE)
        .context("this process cannot be kept in memory")
}

/// Uses the stack once.
#[inline(never)]
fn deep() {
    black_box([1u8; STACK]);
}
