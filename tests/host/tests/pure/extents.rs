// SPDX-License-Identifier: GPL-2.0

//! Page extents against a set of pages.

use std::collections::BTreeSet;

use dormouse_host::extent::{Extent, ExtentList, Overlaps};
use dormouse_host::image::{Error, PFN_LIMIT};
use proptest::collection::vec;
use proptest::prelude::*;

fn any_runs() -> impl Strategy<Value = Vec<(u64, u64)>> {
    vec((0u64..300, 1u64..12), 0..30)
}

proptest! {
    #[test]
    fn like_a_set(runs in any_runs(), merge: bool) {
        let mut list = ExtentList::new(vec![Extent::default(); runs.len()]);
        let mut model = BTreeSet::new();
        let mut disjoint = true;
        for &(pfn, count) in &runs {
            list.push(pfn, count).unwrap();
            for page in pfn..pfn + count {
                disjoint &= model.insert(page);
            }
        }
        let overlaps = if merge { Overlaps::Merge } else { Overlaps::Refuse };
        let sealed = list.seal(overlaps);
        if !merge && !disjoint {
            prop_assert_eq!(sealed.err(), Some(Error::Overlap));
            return Ok(());
        }
        let table = sealed.unwrap();
        prop_assert_eq!(table.total(), model.len() as u64);
        for pair in table.extents().windows(2) {
            prop_assert!(pair[0].pfn + pair[0].count < pair[1].pfn);
        }
        let sorted: Vec<u64> = model.iter().copied().collect();
        for pfn in 0..320 {
            let slot = sorted.binary_search(&pfn).ok().map(|slot| slot as u64);
            prop_assert_eq!(table.slot(pfn), slot);
            if let Some((slot, left)) = table.find(pfn) {
                prop_assert_eq!(table.pfn(slot), Some(pfn));
                prop_assert!(left > 0);
                let last = pfn + left - 1;
                prop_assert_eq!(table.slot(last), Some(slot + left - 1));
                prop_assert!(!model.contains(&(last + 1)));
            }
        }
        prop_assert_eq!(table.pfn(table.total()), None);
    }
}

#[test]
fn refusals() {
    let mut list = ExtentList::new([Extent::default(); 1].to_vec());
    assert_eq!(list.push(0, 0), Err(Error::PageRange));
    assert_eq!(list.push(u64::MAX, 2), Err(Error::PageRange));
    assert_eq!(list.push(PFN_LIMIT, 1), Err(Error::PageRange));
    list.push(PFN_LIMIT - 2, 1).unwrap();
    list.push(PFN_LIMIT - 1, 1).unwrap();
    assert_eq!(list.push(5, 1), Err(Error::NoRoom));
    let table = list.seal(Overlaps::Refuse).unwrap();
    assert_eq!(table.find(PFN_LIMIT - 2), Some((0, 2)));
    assert_eq!(table.slot(PFN_LIMIT), None);
    assert_eq!(table.slot(u64::MAX), None);
}

#[test]
fn an_empty_table_answers() {
    let table = ExtentList::new(Vec::new()).seal(Overlaps::Refuse).unwrap();
    assert_eq!(
        (table.total(), table.slot(0), table.pfn(0)),
        (0, None, None)
    );
}
