// SPDX-License-Identifier: GPL-2.0

//! Tables of the block map.

use dormouse_host::blockmap::codec::{self, Device};
use dormouse_host::blockmap::{BlockMap, MapEntry, DEVICES_MAX};
use dormouse_host::image::{ImageId, BLOCK};

use super::Change::{Fixed, Part, Whole};
use super::{compare, version, ONES, OTHER};

const DEVICE: Device<'static> = Device {
    uuid: [0; 16],
    blocks: 0x0101_0101_0101_0101,
    major: 0,
    minor: 0,
    signature_block: 0,
    private: 0,
    label: "",
};

#[test]
fn map_tables() {
    let devices = |id, count: usize, next, total| {
        let mut out = [0; BLOCK];
        codec::encode_devices(&mut out, &id, &[DEVICE; DEVICES_MAX][..count], next, total).unwrap();
        out[..codec::HEADER_BYTES].to_vec()
    };
    let entries = |sequence| {
        let runs = 2 * codec::ENTRIES_PER_BLOCK as u32;
        let mut map = BlockMap::new(vec![MapEntry::default(); runs as usize]);
        (0..runs).for_each(|n| map.append(0, u64::from(n) * 0x2_0000, 0x1_0000).unwrap());
        let mut out = [0; BLOCK];
        codec::encode_entries(&mut out, &ImageId([0; 16]), &map, sequence, 0).unwrap();
        (out[..codec::HEADER_BYTES].to_vec(), map.total())
    };
    let zero = ImageId([0; 16]);
    let base = devices(zero, 1, 0, entries(1).1);
    let changes = vec![
        ("magic", Fixed(codec::MAGIC.to_vec())),
        ("version", version()),
        ("image_id", Whole(devices(OTHER, 1, 0, entries(1).1))),
        ("next", Whole(devices(zero, 1, ONES, entries(1).1))),
        ("sequence", Part(entries(1).0, &["count"])),
        ("count", Part(devices(zero, 32, 0, entries(1).1), &[])),
        ("total", Part(devices(zero, 1, 0, ONES), &[])),
        ("first", Part(entries(2).0, &["count", "sequence"])),
    ];
    compare("Map block", &base, changes);

    let device = |device: Device<'_>| {
        let mut out = [0; BLOCK];
        codec::encode_devices(&mut out, &zero, &[device], 0, 0).unwrap();
        out[codec::HEADER_BYTES..][..codec::DEVICE_BYTES].to_vec()
    };
    let label = "x".repeat(codec::LABEL_BYTES);
    let changes = vec![
        (
            "uuid",
            Whole(device(Device {
                uuid: [1; 16],
                ..DEVICE
            })),
        ),
        (
            "blocks",
            Whole(device(Device {
                blocks: ONES,
                ..DEVICE
            })),
        ),
        (
            "major",
            Whole(device(Device {
                major: u32::MAX,
                ..DEVICE
            })),
        ),
        (
            "minor",
            Whole(device(Device {
                minor: u32::MAX,
                ..DEVICE
            })),
        ),
        (
            "signature_block",
            Part(
                device(Device {
                    signature_block: 0x00ff_ffff_ffff_ffff,
                    ..DEVICE
                }),
                &[],
            ),
        ),
        (
            "private",
            Whole(device(Device {
                private: ONES,
                ..DEVICE
            })),
        ),
        (
            "label",
            Whole(device(Device {
                label: &label,
                ..DEVICE
            })),
        ),
        ("reserved", Fixed(vec![0; 8])),
    ];
    compare("Map device", &device(DEVICE), changes);

    let entry = |device, block, count| {
        let mut map = BlockMap::new(vec![MapEntry::default()]);
        map.append(device, block, count).unwrap();
        let mut out = [0; BLOCK];
        codec::encode_entries(&mut out, &zero, &map, 1, 0).unwrap();
        out[codec::HEADER_BYTES..][..codec::ENTRY_BYTES].to_vec()
    };
    let changes = vec![
        ("block", Part(entry(0, ONES >> 1, 1), &[])),
        ("count", Whole(entry(0, 0, 0xffff_fffe))),
        ("device", Part(entry(31, 0, 1), &[])),
    ];
    compare("Map entry", &entry(0, 0, 1), changes);
}
