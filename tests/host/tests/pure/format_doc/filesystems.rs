// SPDX-License-Identifier: GPL-2.0

//! The list of filesystems behind a header.

use dormouse_host::image::header::{self, Mounted};
use dormouse_host::samples::{self, FACTS};

use super::{compare, Fixed, Part, Whole};

const NONE: Mounted<'static> = Mounted {
    uuid: [0; 16],
    device: (0, 0),
    fingerprint: 0,
    name: "",
};

/// The last filesystem of a header.
fn bytes(mounted: Mounted<'_>) -> Vec<u8> {
    let all = samples::header_mounted(&FACTS, &[], &[NONE, mounted]).unwrap();
    let list = all.len() - 2 * header::MOUNTED_BYTES - header::MOUNTED_HEAD_BYTES;
    assert_eq!(all[list..][..8], [2, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(all[20] & 4, 4);
    all[all.len() - header::MOUNTED_BYTES..].to_vec()
}

#[test]
fn filesystem_table() {
    let uuid = [0xff; 16];
    let name = "b".repeat(32);
    let device = |device| bytes(Mounted { device, ..NONE });
    let changes = vec![
        ("uuid", Whole(bytes(Mounted { uuid, ..NONE }))),
        ("major", Whole(device((u32::MAX, 0)))),
        ("minor", Whole(device((0, u32::MAX)))),
        (
            "fingerprint",
            Whole(bytes(Mounted {
                fingerprint: u32::MAX,
                ..NONE
            })),
        ),
        ("reserved", Fixed(vec![0; 4])),
        (
            "name",
            Part(
                bytes(Mounted {
                    name: &name,
                    ..NONE
                }),
                &[],
            ),
        ),
    ];
    compare("Header filesystem", &bytes(NONE), changes);
}
