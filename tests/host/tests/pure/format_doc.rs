// SPDX-License-Identifier: GPL-2.0

//! The tables of `Documentation/image-format.rst` against what the code writes.
//!
//! For every field of every table there is a way to change just that field. The bytes that
//! change must lie where the table says; where the field can hold any value, all of them must.

mod bystanders;
mod encryption;
mod filesystems;
mod frames;
mod maps;

use std::collections::BTreeMap;
use std::fs;

use dormouse_host::blockmap::{codec, DEVICES_MAX};
use dormouse_host::image::commit::Commit;
use dormouse_host::image::frame;
use dormouse_host::image::header::{self, Facts, Transform, TransformKind};
use dormouse_host::image::root::{self, Chunk};
use dormouse_host::image::superblock::{self, State, Superblock};
use dormouse_host::image::{self, ImageId, BLOCK, PAGE};
use dormouse_host::samples;

/// Rows of the table `title`, without the header row.
fn table(title: &str) -> Vec<Vec<String>> {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../Documentation/image-format.rst"
    );
    let text = fs::read_to_string(path).unwrap();
    let start = format!(".. list-table:: {title}");
    let mut lines = text
        .lines()
        .skip_while(|line| *line != start)
        .skip(1)
        .peekable();
    assert!(lines.peek().is_some(), "no table {title}");
    let mut rows: Vec<Vec<String>> = Vec::new();
    for line in lines.take_while(|line| line.is_empty() || line.starts_with("   ")) {
        if let Some(cell) = line.strip_prefix("   * - ") {
            rows.push(vec![cell.to_string()]);
        } else if let Some(cell) = line.strip_prefix("     - ") {
            rows.last_mut().unwrap().push(cell.to_string());
        }
    }
    let width = rows[0].len();
    assert!(
        rows.len() > 1 && rows.iter().all(|row| row.len() == width),
        "{title}"
    );
    rows.split_off(1)
}

/// A way to change one field.
enum Change {
    /// All of its bytes change.
    Whole(Vec<u8>),
    /// Some of them do; and others elsewhere only in the fields that are named.
    Part(Vec<u8>, &'static [&'static str]),
    /// It cannot change, and holds these bytes.
    Fixed(Vec<u8>),
}

use Change::{Fixed, Part, Whole};

/// Compares the table `title` with a structure of which `base` are the bytes.
fn compare(title: &str, base: &[u8], changes: Vec<(&str, Change)>) {
    let mut fields = BTreeMap::new();
    let mut end = 0;
    for row in table(title) {
        let (offset, size): (usize, usize) = (row[0].parse().unwrap(), row[1].parse().unwrap());
        assert_eq!(offset, end, "{title}: {} does not follow", row[2]);
        end = offset + size;
        let twice = fields.insert(row[2].clone(), offset..end);
        assert!(twice.is_none(), "{title}: {} twice", row[2]);
    }
    assert_eq!(end, base.len(), "{title}: size");

    let names: Vec<&str> = changes.iter().map(|change| change.0).collect();
    for name in fields.keys().filter(|name| name.as_str() != "crc") {
        assert!(
            names.contains(&name.as_str()),
            "{title}: the code does not know {name}"
        );
    }
    for (name, change) in changes {
        let field = fields
            .get(name)
            .unwrap_or_else(|| panic!("{title}: {name} is missing"));
        let (bytes, also) = match change {
            Fixed(bytes) => {
                assert_eq!(base[field.clone()], bytes, "{title}: {name}");
                continue;
            }
            Whole(bytes) => {
                let differs = |at: usize| base[at] != bytes[at];
                assert!(field.clone().all(differs), "{title}: {name} is shorter");
                (bytes, &[][..])
            }
            Part(bytes, also) => (bytes, also),
        };
        let differs = |at: &usize| base[*at] != bytes[*at];
        assert!(
            field.clone().any(|at| differs(&at)),
            "{title}: {name} is elsewhere"
        );
        let mut allowed = vec![field.clone()];
        allowed.extend(fields.get("crc").cloned());
        allowed.extend(also.iter().map(|other| fields[*other].clone()));
        for at in (0..base.len()).filter(differs) {
            let inside = allowed.iter().any(|field| field.contains(&at));
            assert!(inside, "{title}: {name} changes byte {at}");
        }
    }
}

const ONES: u64 = u64::MAX;
const OTHER: ImageId = ImageId([0xff; 16]);

fn version() -> Change {
    Fixed(vec![1, 0, 0, 0])
}

#[test]
fn superblock_table() {
    let bytes = |change: &dyn Fn(&mut Superblock)| {
        let mut sb = Superblock::new();
        change(&mut sb);
        let mut out = [0; superblock::BYTES];
        sb.encode(&mut out).unwrap();
        out.to_vec()
    };
    let whole = |change: &dyn Fn(&mut Superblock)| Whole(bytes(change));
    let reason = "é".repeat(superblock::REASON_BYTES / 2);
    let changes = vec![
        ("magic", Fixed(superblock::MAGIC.to_vec())),
        ("version", version()),
        ("state", Part(bytes(&|sb| sb.state = State::Failed), &[])),
        ("attempts", whole(&|sb| sb.attempts = u32::MAX)),
        ("image_id", whole(&|sb| sb.image_id = OTHER)),
        ("header_block", whole(&|sb| sb.header_block = ONES)),
        ("commit_block", whole(&|sb| sb.commit_block = ONES)),
        ("generation", whole(&|sb| sb.generation = ONES)),
        ("saved_at", whole(&|sb| sb.saved_at = -1)),
        ("storage_word0", whole(&|sb| sb.storage_word0 = ONES)),
        ("storage_word1", whole(&|sb| sb.storage_word1 = ONES)),
        ("last_errno", whole(&|sb| sb.last_errno = u32::MAX)),
        ("last_step", whole(&|sb| sb.last_step = u32::MAX)),
        ("reason", whole(&|sb| sb.set_reason(&reason))),
        (
            "storage_private",
            whole(&|sb| sb.storage_private = [1; superblock::PRIVATE_BYTES]),
        ),
        ("passed_by", whole(&|sb| sb.passed_by = u64::MAX)),
        (
            "image_pages",
            whole(&|sb| sb.figures.image_pages = u64::MAX),
        ),
        ("fill_pages", whole(&|sb| sb.figures.fill_pages = u64::MAX)),
        ("frames", whole(&|sb| sb.figures.frames = u64::MAX)),
        (
            "stored_bytes",
            whole(&|sb| sb.figures.stored_bytes = u64::MAX),
        ),
        ("atomic_ns", whole(&|sb| sb.figures.atomic_ns = u64::MAX)),
        ("write_ns", whole(&|sb| sb.figures.write_ns = u64::MAX)),
        ("load_ns", whole(&|sb| sb.figures.load_ns = u64::MAX)),
        (
            "in_place_pages",
            whole(&|sb| sb.figures.in_place_pages = u64::MAX),
        ),
        ("reserved", Fixed(vec![0; 56])),
    ];
    compare("Superblock", &bytes(&|_| ()), changes);
}

fn plain_facts() -> Facts<'static> {
    Facts {
        snapshot: "a",
        writer: "a",
        ..Facts::default()
    }
}

#[test]
fn header_table() {
    let bytes = |facts: Facts<'_>| {
        let mut bytes = samples::header_with(&facts, &[]).unwrap();
        bytes.truncate(header::FIXED_BYTES);
        bytes
    };
    let base = plain_facts();
    let one = [Transform {
        kind: TransformKind::Compress,
        name: "a",
        params: &[],
    }];
    let mut with_transform = samples::header_with(&base, &one).unwrap();
    with_transform.truncate(header::FIXED_BYTES);
    let text = "x".repeat(128);
    let name = "b".repeat(31);
    let changes = vec![
        ("magic", Fixed(header::MAGIC.to_vec())),
        ("version", version()),
        (
            "total_len",
            Part(with_transform.clone(), &["transform_count"]),
        ),
        ("flags", Part(bytes(Facts { flags: 3, ..base }), &[])),
        (
            "image_id",
            Whole(bytes(Facts {
                image_id: OTHER,
                ..base
            })),
        ),
        ("page_size", Fixed((PAGE as u32).to_le_bytes().to_vec())),
        (
            "arch_len",
            Part(
                bytes(Facts {
                    arch: &[0; 8],
                    ..base
                }),
                &["total_len"],
            ),
        ),
        (
            "build_id_len",
            Part(
                bytes(Facts {
                    build_id: &[0],
                    ..base
                }),
                &[],
            ),
        ),
        ("transform_count", Part(with_transform, &["total_len"])),
        (
            "release",
            Whole(bytes(Facts {
                release: &text[..64],
                ..base
            })),
        ),
        (
            "kversion",
            Whole(bytes(Facts {
                kversion: &text,
                ..base
            })),
        ),
        (
            "machine",
            Whole(bytes(Facts {
                machine: &text[..32],
                ..base
            })),
        ),
        (
            "build_id",
            Part(
                bytes(Facts {
                    build_id: &[1; 32],
                    ..base
                }),
                &["build_id_len"],
            ),
        ),
        (
            "snapshot_name",
            Part(
                bytes(Facts {
                    snapshot: &name,
                    ..base
                }),
                &[],
            ),
        ),
        (
            "writer_name",
            Part(
                bytes(Facts {
                    writer: &name,
                    ..base
                }),
                &[],
            ),
        ),
        (
            "ram_pages",
            Whole(bytes(Facts {
                ram_pages: ONES,
                ..base
            })),
        ),
    ];
    compare("Header", &bytes(base), changes);
}

#[test]
fn transform_table() {
    // The blob of the architecture is padded, and the transforms follow it.
    let facts = Facts {
        arch: b"blob",
        ..plain_facts()
    };
    let bytes = |kind, name: &str, params: &[u8]| {
        let all = samples::header_with(&facts, &[Transform { kind, name, params }]).unwrap();
        assert_eq!(all.len() % 8, 0);
        all[header::FIXED_BYTES + 8..][..header::TRANSFORM_BYTES].to_vec()
    };
    let name = "b".repeat(31);
    let changes = vec![
        ("kind", Part(bytes(TransformKind::Encrypt, "a", &[]), &[])),
        (
            "param_len",
            Part(bytes(TransformKind::Compress, "a", &[1; 1024]), &[]),
        ),
        (
            "name",
            Part(bytes(TransformKind::Compress, &name, &[]), &[]),
        ),
    ];
    compare(
        "Header transform",
        &bytes(TransformKind::Compress, "a", &[]),
        changes,
    );
    assert_eq!(bytes(TransformKind::Compress, "a", &[])[..4], [1, 0, 0, 0]);
    assert_eq!(bytes(TransformKind::Encrypt, "a", &[])[..4], [2, 0, 0, 0]);
}

#[test]
fn commit_table() {
    let base = Commit {
        image_pages: 0,
        data_pages: u64::from(u32::MAX),
        frames: 1 << 28,
        index_frames: 0,
        chunks: 1,
        ..Commit::default()
    };
    let bytes = |change: &dyn Fn(&mut Commit)| {
        let mut commit = base.clone();
        change(&mut commit);
        let mut out = [0; BLOCK];
        commit.encode(&mut out).unwrap();
        out.to_vec()
    };
    let changes = vec![
        ("magic", Fixed(dormouse_host::image::commit::MAGIC.to_vec())),
        ("version", version()),
        ("image_id", Whole(bytes(&|c| c.image_id = OTHER))),
        ("image_pages", Part(bytes(&|c| c.image_pages = 9), &[])),
        ("data_pages", Part(bytes(&|c| c.data_pages = ONES), &[])),
        (
            "fill_pages",
            Part(bytes(&|c| c.fill_pages = ONES << 32), &[]),
        ),
        ("frames", Part(bytes(&|c| c.frames = ONES), &[])),
        ("index_frames", Part(bytes(&|c| c.index_frames = 9), &[])),
        ("chunks", Part(bytes(&|c| c.chunks = 9), &["root_len"])),
        ("root_block", Whole(bytes(&|c| c.root_block = ONES))),
        (
            "root_len",
            Part(bytes(&|c| c.chunks = 1 << 20), &["chunks"]),
        ),
        ("root_crc", Whole(bytes(&|c| c.root_crc = u32::MAX))),
        ("header_crc", Whole(bytes(&|c| c.header_crc = u32::MAX))),
        ("stored_bytes", Whole(bytes(&|c| c.stored_bytes = ONES))),
        ("tag", Whole(bytes(&|c| c.tag = [1; 64]))),
        ("reserved", Fixed(vec![0; 3920])),
    ];
    compare("Commit record", &bytes(&|_| ()), changes);
}

#[test]
fn root_table() {
    let bytes = |block, used, flags| {
        let mut out = [0; root::ENTRY_BYTES];
        root::put(&mut out, 0, &Chunk { block, used, flags }).unwrap();
        out.to_vec()
    };
    let changes = vec![
        ("block", Part(bytes(ONES >> 1, 64, 0), &[])),
        ("used", Part(bytes(0, 0x7_fff8, 0), &[])),
        ("flags", Part(bytes(0, 64, root::FLAG_INDEX), &[])),
    ];
    compare("Root entry", &bytes(0, 64, 0), changes);
}

#[test]
fn constants() {
    let code: BTreeMap<&str, u64> = BTreeMap::from([
        ("BLOCK", image::BLOCK as u64),
        ("PAGE", image::PAGE as u64),
        ("CHUNK_BYTES", image::CHUNK_BYTES as u64),
        ("PAGES_PER_FRAME", image::PAGES_PER_FRAME as u64),
        ("FRAME_RAW_MAX", image::FRAME_RAW_MAX as u64),
        ("TRANSFORMS_MAX", image::TRANSFORMS_MAX as u64),
        ("NAME_BYTES", image::NAME_BYTES as u64),
        ("PFN_LIMIT", image::PFN_LIMIT),
        ("VERSION", u64::from(image::VERSION)),
        ("SUPERBLOCK_BYTES", superblock::BYTES as u64),
        ("HEADER_AREA_BLOCKS", header::AREA_BLOCKS as u64),
        ("STORED_MAX", frame::STORED_MAX as u64),
        ("CHUNKS_MAX", root::CHUNKS_MAX),
        ("DEVICES_MAX", DEVICES_MAX as u64),
        ("ENTRIES_PER_MAP_BLOCK", codec::ENTRIES_PER_BLOCK as u64),
        ("MOUNTED_MAX", header::MOUNTED_MAX as u64),
        ("BYSTANDERS_MAX", header::BYSTANDERS_MAX as u64),
    ]);
    let rows = table("Constants");
    let text: BTreeMap<&str, u64> = rows
        .iter()
        .map(|row| (row[0].as_str(), row[1].parse().unwrap()))
        .collect();
    assert_eq!(text, code);
}

#[test]
fn states_and_transitions() {
    let rows = table("States");
    assert_eq!(rows.len(), State::ALL.len());
    for (row, state) in rows.iter().zip(State::ALL) {
        assert_eq!(row[0], (state as u32).to_string());
        assert_eq!(row[1], state.name());
    }
    let rows = table("Transitions");
    assert_eq!(rows.len(), State::ALL.len());
    for (row, from) in rows.iter().zip(State::ALL) {
        assert_eq!(row[0], from.name());
        let to: Vec<&str> = row[1].split(", ").collect();
        for state in State::ALL {
            let allowed = to.contains(&state.name());
            assert_eq!(
                from.may_become(state),
                allowed,
                "{} to {}",
                from.name(),
                state.name()
            );
        }
    }
}
