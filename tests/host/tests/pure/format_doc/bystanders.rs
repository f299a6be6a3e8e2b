// SPDX-License-Identifier: GPL-2.0

//! The list of bystanders behind a header.

use dormouse_host::image::header::{self, Bystander};
use dormouse_host::samples::{self, FACTS, MOUNTED};

use super::{compare, Fixed, Part, Whole};

const NONE: Bystander<'static> = Bystander {
    uuid: [0; 16],
    block: 0,
    device: (0, 0),
    is_virtual: false,
    label: "",
    path: "",
};

/// The last bystander of a header.
fn bytes(bystander: Bystander<'_>) -> Vec<u8> {
    let all = samples::header_lists(&FACTS, &[], &[MOUNTED], &[NONE, bystander]).unwrap();
    let list = all.len() - 2 * header::BYSTANDER_BYTES - header::BYSTANDERS_HEAD_BYTES;
    assert_eq!(all[list..][..8], [2, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(all[20] & 12, 12);
    all[all.len() - header::BYSTANDER_BYTES..].to_vec()
}

#[test]
fn bystander_table() {
    let uuid = [0xff; 16];
    let device = |device| bytes(Bystander { device, ..NONE });
    let block = bytes(Bystander {
        block: u64::MAX,
        ..NONE
    });
    let flags = bytes(Bystander {
        is_virtual: true,
        ..NONE
    });
    let label = bytes(Bystander {
        label: &"b".repeat(16),
        ..NONE
    });
    let path = bytes(Bystander {
        path: &"b".repeat(64),
        ..NONE
    });
    let changes = vec![
        ("uuid", Whole(bytes(Bystander { uuid, ..NONE }))),
        ("block", Whole(block)),
        ("major", Whole(device((u32::MAX, 0)))),
        ("minor", Whole(device((0, u32::MAX)))),
        ("flags", Part(flags, &[])),
        ("reserved", Fixed(vec![0; 4])),
        ("label", Whole(label)),
        ("path", Whole(path)),
    ];
    compare("Header bystander", &bytes(NONE), changes);
}
