// SPDX-License-Identifier: GPL-2.0

//! What the layers of block devices mean for images on them.

use dormouse_host::stack::{Fact, Layer, Unfit};
use proptest::prelude::*;

fn disk(disk: &str, major: u32) -> Layer<'_> {
    let frees_slots = false;
    let fact = Fact::Driver { major, frees_slots };
    Layer { disk, fact }
}

fn target<'a>(name: &'a str, variant: &'a str) -> Layer<'a> {
    let fact = Fact::Target { name, variant };
    Layer { disk: "dm-3", fact }
}

fn array(level: i32, external: bool) -> Layer<'static> {
    let reshapes = false;
    let fact = Fact::Array {
        level,
        external,
        reshapes,
    };
    Layer { disk: "md0", fact }
}

fn reshaped(level: i32, external: bool) -> Layer<'static> {
    let reshapes = true;
    let fact = Fact::Array {
        level,
        external,
        reshapes,
    };
    Layer { disk: "md0", fact }
}

fn said(layer: Layer<'_>) -> String {
    layer
        .unfit()
        .map(|unfit| unfit.to_string())
        .unwrap_or_default()
}

#[test]
fn disks_of_drivers() {
    for (name, major) in [
        ("sda", 8),
        ("vda", 254),
        ("nvme0n1", 259),
        ("mmcblk0", 179),
        ("nbd0", 43),
        ("dm-0", 253),
        ("md127", 9),
        ("pmem0", 259),
        ("pmem0.1", 259),
        // No disk of these drivers has such a name.
        ("bcache", 254),
        ("zdx0", 254),
        ("azram1", 254),
        ("", 254),
    ] {
        assert_eq!(disk(name, major).unfit(), None, "{name}");
    }
    for (name, major) in [("ram0", 1), ("zram0", 253), ("nullb1", 252)] {
        assert_eq!(disk(name, major).unfit(), Some(Unfit::Lost(name)), "{name}");
    }
    let zram = Layer {
        disk: "compressed",
        fact: Fact::Driver {
            major: 253,
            frees_slots: true,
        },
    };
    assert_eq!(zram.unfit(), Some(Unfit::Lost("compressed")));
    for (name, major) in [
        ("loop0", 7),
        ("ublkb3", 259),
        ("pktcdvd0", 252),
        ("zloop1", 259),
    ] {
        assert!(disk(name, major).unfit().unwrap().is_still(), "{name}");
    }
    for (name, major, what) in [
        ("bcache0", 252, "bcache"),
        ("zd16", 230, "a ZFS volume"),
        ("drbd1", 147, "DRBD"),
        ("nftla", 93, "a flash translation layer"),
        ("smblk0", 252, "a flash translation layer"),
        ("pmem0s", 259, "persistent memory in sectors (BTT)"),
        ("pmem0.1s", 259, "persistent memory in sectors (BTT)"),
    ] {
        let why = format!("is on {what} ({name}), which may keep more than the data");
        assert!(said(disk(name, major)).starts_with(&why), "{name}");
        assert!(!disk(name, major).unfit().unwrap().is_still(), "{name}");
    }
}

#[test]
fn targets() {
    for name in [
        "linear",
        "striped",
        "unstriped",
        "crypt",
        "zero",
        "error",
        "multipath",
        "switch",
        "verity",
        "delay",
        "flakey",
        "dust",
    ] {
        assert_eq!(target(name, "").unfit(), None, "{name}");
    }
    for variant in ["raid0", "raid0_meta", "raid1", "raid10", "raid10_near"] {
        assert_eq!(target("raid", variant).unfit(), None, "{variant}");
    }
    for variant in ["core", "disk"] {
        assert_eq!(target("mirror", variant).unfit(), None, "{variant}");
    }
    for (name, variant) in [
        ("thin", ""),
        ("thin-pool", ""),
        ("snapshot", ""),
        ("snapshot-origin", ""),
        ("snapshot-merge", ""),
        ("clone", ""),
        ("cache", ""),
        ("writecache", ""),
        ("era", ""),
        ("integrity", ""),
        ("ebs", ""),
        ("log-writes", ""),
        ("zoned", ""),
        ("vdo", ""),
        ("raid", ""),
        ("raid", "raid4"),
        ("raid", "raid5_ls"),
        ("raid", "raid6_zr"),
        ("mirror", "userspace"),
        ("mirror", ""),
        ("linearly", ""),
        ("", ""),
    ] {
        let found = target(name, variant);
        assert!(
            matches!(found.unfit(), Some(Unfit::Notes { .. })),
            "{name} {variant}"
        );
    }
    assert_eq!(
        said(target("raid", "raid6_zr")),
        "is on device-mapper target raid (raid6_zr) (dm-3), which may keep more than the data \
         that is written: the resumed system would go on with what it remembers of that, and \
         damage it"
    );
}

#[test]
fn arrays() {
    for level in [-1, 0, 1, 10] {
        assert_eq!(array(level, false).unfit(), None, "{level}");
        assert_eq!(array(level, true).unfit(), Some(Unfit::Managed("md0")));
    }
    for level in [4, 5, 6, -1_000_000] {
        let why = format!("is on an array of level {level} (md0), which may keep");
        assert!(said(array(level, false)).starts_with(&why), "{level}");
    }
}

#[test]
fn arrays_that_are_reshaped() {
    for level in [-1, 0, 1, 4, 5, 6, 10] {
        let layer = reshaped(level, false);
        assert_eq!(layer.unfit(), Some(Unfit::Reshaped("md0")), "{level}");
        assert!(!layer.unfit().unwrap().is_still());
        assert!(layer.reshapes() && reshaped(level, true).reshapes());
        assert!(!array(level, false).reshapes() && !array(level, true).reshapes());
    }
    assert_eq!(reshaped(5, true).unfit(), Some(Unfit::Managed("md0")));
    assert_eq!(
        said(reshaped(5, false)),
        "is on an array (md0) that is being reshaped, which goes on while the image is written: \
         wait until that is over (cat /proc/mdstat)"
    );
    for layer in [disk("md0", 9), target("raid", "raid5_ls")] {
        assert!(!layer.reshapes(), "{layer:?}");
    }
}

proptest! {
    /// A type that is not known is refused, and every reason has room in a sentence.
    #[test]
    fn names_of_others(name in "[a-z-]{1,16}", variant in "[a-z0-9_]{0,31}", disk in "\\PC{0,10}") {
        let layer = Layer { disk: &disk, fact: Fact::Target { name: &name, variant: &variant } };
        let reason = layer.unfit().map(|unfit| unfit.to_string()).unwrap_or_default();
        prop_assert!(reason.len() <= 256, "{}", reason);
        let unknown = format!("x{name}");
        let layer = Layer { disk: "dm-0", fact: Fact::Target { name: &unknown, variant: &variant } };
        prop_assert!(layer.unfit().is_some());
    }
}

#[test]
fn caches_move_by_themselves() {
    for layer in [
        disk("bcache0", 252),
        target("cache", ""),
        target("clone", ""),
        target("writecache", ""),
    ] {
        assert!(layer.moves(), "{layer:?}");
    }
    for layer in [
        disk("sda", 8),
        disk("bcachefs", 8),
        target("linear", ""),
        target("thin", ""),
        array(5, false),
    ] {
        assert!(!layer.moves(), "{layer:?}");
    }
}
