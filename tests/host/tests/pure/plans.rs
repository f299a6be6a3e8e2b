// SPDX-License-Identifier: GPL-2.0

//! Sizing.

use dormouse_host::plan::{Fit, MemoryNeeds, MemoryShortage, StorageNeeds, StorageShortage};
use proptest::prelude::*;

const MEMORY: MemoryNeeds = MemoryNeeds {
    saveable: 1000,
    copies: 1000,
    free: 1500,
    movable: 0,
    reserve: 100,
    slack: 200,
    modules: 50,
    reclaimable: 700,
    limit: 0,
};

#[test]
fn memory_that_fits_is_left_alone() {
    assert_eq!(MEMORY.available(), 1150);
    assert_eq!(MEMORY.pages_to_free(), Ok(0));
    let exact = MemoryNeeds {
        free: 1350,
        ..MEMORY
    };
    assert_eq!(exact.pages_to_free(), Ok(0));
}

#[test]
fn each_freed_page_counts_twice() {
    let short = |free| MemoryNeeds { free, ..MEMORY }.pages_to_free();
    assert_eq!(short(1349), Ok(1));
    assert_eq!(short(1348), Ok(1));
    assert_eq!(short(1347), Ok(2));
    // Even the reserves do not fit.
    assert_eq!(short(0), Ok(675));
}

#[test]
fn what_is_no_copy_has_no_room_where_only_copies_may_be() {
    // 350 for reserves and modules, of 1500 free pages.
    let free_for_all = |free_for_all| MemoryNeeds {
        movable: MEMORY.free - free_for_all,
        ..MEMORY
    };
    assert_eq!(free_for_all(350).pages_to_free(), Ok(0));
    // It counts once.
    assert_eq!(free_for_all(349).pages_to_free(), Ok(1));
    assert_eq!(free_for_all(50).pages_to_free(), Ok(300));
    let short = MemoryNeeds {
        reclaimable: 10,
        ..free_for_all(50)
    };
    let text = short.pages_to_free().unwrap_err().to_string();
    assert_eq!(
        text,
        "not enough memory for the snapshot: needed 4000 kB, available 4600 kB (free 6000 kB, \
         5800 kB of it for copies only, less 400 kB reserve, 800 kB for drivers, 200 kB for \
         modules), 1200 kB must be freed but only 40 kB can be"
    );
}

#[test]
fn a_limit_frees_what_it_can() {
    let limit = |limit| MemoryNeeds { limit, ..MEMORY }.pages_to_free();
    assert_eq!(limit(1000), Ok(0));
    assert_eq!(limit(900), Ok(100));
    assert_eq!(limit(1), Ok(700));
}

#[test]
fn a_shortage_of_memory_is_itemised() {
    let short = MemoryNeeds {
        free: 400,
        reclaimable: 10,
        ..MEMORY
    };
    let text = short.pages_to_free().unwrap_err().to_string();
    assert_eq!(
        text,
        "not enough memory for the snapshot: needed 4000 kB, available 200 kB (free 1600 kB, \
         less 400 kB reserve, 800 kB for drivers, 200 kB for modules), 1900 kB must be freed \
         but only 40 kB can be"
    );
    assert_eq!(MemoryShortage::ERRNO, 12);
}

#[test]
fn storage_fits_surely_maybe_or_not() {
    let needs = |available_blocks| StorageNeeds {
        pages: 1000,
        overhead_blocks: 30,
        available_blocks,
        expected_percent: 40,
    };
    assert_eq!(needs(1030).fit(), Ok(Fit::Surely));
    assert_eq!(needs(1029).fit(), Ok(Fit::MayRunOut));
    assert_eq!(needs(430).fit(), Ok(Fit::MayRunOut));
    let short = needs(429).fit().unwrap_err();
    assert_eq!(
        short.describe(&"vda2 1716 kB").to_string(),
        "not enough space for the image: needed 1720 kB (1600 kB for 4000 kB of pages at 40 %, \
         120 kB for the rest), available 1716 kB (vda2 1716 kB)"
    );
    assert_eq!(StorageShortage::ERRNO, 28);
}

proptest! {
    #[test]
    fn freeing_what_the_plan_says_is_enough_and_no_more(
        copies in 0u64..10_000, free in 0u64..10_000, reserve in 0u64..1000, slack in 0u64..1000,
        modules in 0u64..1000, movable in 0u64..10_000,
    ) {
        let movable = movable.min(free);
        let needs = MemoryNeeds {
            saveable: copies, copies, free, movable, reserve, slack, modules,
            reclaimable: u64::MAX, limit: 0,
        };
        let freed = needs.pages_to_free().unwrap();
        let fixed = reserve + slack + modules;
        // What is freed is where anything can be.
        let holds = |freed: u64| {
            copies.saturating_sub(freed) + fixed <= free + freed
                && fixed <= free - movable + freed
        };
        prop_assume!(freed <= copies);
        prop_assert!(holds(freed));
        prop_assert!(freed == 0 || !holds(freed - 1));
    }

    #[test]
    fn no_numbers_overflow(words: [u64; 7], percent: u32) {
        let memory = MemoryNeeds {
            saveable: words[0], copies: words[1], free: words[2], movable: words[6] / 5,
            reserve: words[3],
            slack: words[4], modules: words[5], reclaimable: words[6] / 2, limit: words[0] / 3,
        };
        if let Err(short) = memory.pages_to_free() {
            prop_assert!(!short.to_string().is_empty());
        }
        let storage = StorageNeeds {
            pages: words[0], overhead_blocks: words[1], available_blocks: words[2],
            expected_percent: percent,
        };
        prop_assert!(storage.expected_blocks() <= storage.worst_blocks());
        if let Err(short) = storage.fit() {
            prop_assert!(!short.describe(&"").to_string().is_empty());
        }
    }
}
