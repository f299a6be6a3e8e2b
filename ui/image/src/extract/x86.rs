// SPDX-License-Identifier: GPL-2.0

//! Virtual addresses of x86_64, from the page tables in the image.
//!
//! Everything that is read here may be anything: a number of tables is looked at, and no more.

#![forbid(unsafe_code)]

use super::info::Info;
use super::Memory;
use crate::image::PAGE;

/// Where the kernel itself is mapped, however it was moved (`__START_KERNEL_map`).
const KERNEL_MAP: u64 = 0xffff_ffff_8000_0000;
/// Most bytes of that: what is between it and the modules.
const KERNEL_MAP_BYTES: u64 = 1 << 30;
/// Where the map of all memory begins at the lowest, with page tables of four and five levels.
const DIRECT: [u64; 2] = [0xffff_8880_0000_0000, 0xff11_0000_0000_0000];
/// Most tables that are read.
const TABLES_MAX: u32 = 4096;
/// Most ranges of the kernel that are kept.
const RANGES_MAX: usize = 256;

const PRESENT: u64 = 1 << 0;
const LARGE: u64 = 1 << 7;
const FRAME: u64 = 0x000f_ffff_ffff_f000;

/// A range of virtual addresses that is one of physical addresses, too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Range {
    /// First virtual address.
    pub virt: u64,
    /// First physical address.
    pub phys: u64,
    /// How many bytes.
    pub len: u64,
}

/// Where the kernel sees its memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Map {
    /// Virtual address of physical address 0.
    pub direct: u64,
    /// The kernel itself.
    pub kernel: Vec<Range>,
}

struct Walk<'a> {
    memory: &'a Memory<'a>,
    /// Bits that say that memory is encrypted, and not where it is.
    sme_mask: u64,
    tables: u32,
}

impl Walk<'_> {
    /// Calls `found` with every mapped page, small or large, of the table at `table` that maps the
    /// addresses from `virt` on at `level`, within `from..to`, until it says that it is enough.
    fn run(
        &mut self,
        table: u64,
        level: u32,
        virt: u64,
        bounds: (u64, u64),
        found: &mut dyn FnMut(Range) -> bool,
    ) -> bool {
        self.tables += 1;
        if self.tables > TABLES_MAX {
            return false;
        }
        let Some(page) = self.memory.page(table / PAGE as u64) else {
            return true;
        };
        let len = 1 << (12 + 9 * level);
        for (number, entry) in (0u64..).zip(page.chunks_exact(8)) {
            let entry = u64::from_le_bytes(entry.try_into().unwrap_or_default());
            let virt = virt.wrapping_add(number * len);
            let is_out = virt
                .checked_add(len - 1)
                .is_some_and(|last| last < bounds.0)
                || virt > bounds.1;
            if entry & PRESENT == 0 || is_out {
                continue;
            }
            let phys = entry & FRAME & !self.sme_mask;
            let goes_on = match level {
                // No page is larger than 1 GiB.
                0 => found(Range { virt, phys, len }),
                1 | 2 if entry & LARGE != 0 => {
                    let phys = phys & !(len - 1);
                    found(Range { virt, phys, len })
                }
                _ => self.run(phys, level - 1, virt, bounds, found),
            };
            if !goes_on {
                return false;
            }
        }
        true
    }
}

/// Reads the page tables that `info` names.
pub(super) fn map(memory: &Memory<'_>, info: &Info) -> Option<Map> {
    let phys_base = info.number("phys_base")?;
    let phys = |virt: u64| virt.wrapping_sub(KERNEL_MAP).wrapping_add(phys_base);
    let root = info.symbol("init_top_pgt")?;
    let five = info.number("pgtable_l5_enabled") == Some(1);
    // The number of the level whose entries are in the root, and the first address of its upper
    // half, where the kernel is. The tables of a task have another lower half.
    let (level, low) = if five { (4, DIRECT[1]) } else { (3, DIRECT[0]) };
    let first = (u64::MAX) << (12 + 9 * (level + 1));
    let begin = |walk: &mut Walk<'_>, bounds, found: &mut dyn FnMut(Range) -> bool| {
        walk.run(phys(root) & FRAME, level, first, bounds, found);
    };
    let mut walk = Walk {
        memory,
        sme_mask: info.number("sme_mask").unwrap_or(0),
        tables: 0,
    };
    let mut kernel: Vec<Range> = Vec::new();
    let bounds = (KERNEL_MAP, KERNEL_MAP + (KERNEL_MAP_BYTES - 1));
    begin(&mut walk, bounds, &mut |range| {
        match kernel.last_mut() {
            Some(last)
                if last.virt.wrapping_add(last.len) == range.virt
                    && last.phys.wrapping_add(last.len) == range.phys =>
            {
                last.len += range.len;
            }
            _ => kernel.push(range),
        }
        kernel.len() < RANGES_MAX
    });
    // The kernel has to be where it says that it is: this may be the text of an earlier boot.
    let holds_root =
        |range: &&Range| (range.virt..range.virt.wrapping_add(range.len)).contains(&root);
    let own = kernel.iter().find(holds_root)?;
    if own.phys != phys(own.virt) {
        return None;
    }
    walk.tables = 0;
    let mut lowest = None;
    begin(&mut walk, (low, KERNEL_MAP - 1), &mut |range| {
        lowest = Some(range);
        false
    });
    let lowest = lowest?;
    let direct = lowest.virt.wrapping_sub(lowest.phys);
    // The kernel moves it in such steps.
    (direct % (1 << 30) == 0).then_some(Map { direct, kernel })
}
