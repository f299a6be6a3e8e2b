// SPDX-License-Identifier: GPL-2.0

//! The frame of an ELF core: its header, the table of segments, and the note.

#![forbid(unsafe_code)]

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use super::info::Info;
use super::layout::Layout;
use super::x86::Map;
use crate::image::PAGE;

/// `EM_X86_64`.
pub(super) const X86_64: u16 = 62;

const HEADER_BYTES: u64 = 64;
const SEGMENT_BYTES: u64 = 56;
const SECTION_BYTES: u64 = 64;
/// Room for the note: a page of text and what ELF puts around it.
const NOTE_BYTES: u64 = 2 * PAGE as u64;
/// Most segments that show memory a second time, where the kernel itself is mapped.
const KERNEL_SEGMENTS_MAX: usize = 1024;
/// About as much as is written at once.
const PART_BYTES: usize = 64 * 1024;
/// `PN_XNUM`: this many segments and more are counted in a section.
const MANY: u64 = 0xffff;

const TYPE_CORE: u16 = 4;
const VERSION: u32 = 1;
const LOAD: u32 = 1;
const NOTE: u32 = 4;
/// Read, write and execute, as the kernel says of its own cores.
const FLAGS: u32 = 7;

/// The number of a machine, as `uname -m` calls it, in ELF; of those with 64 bits, little-endian.
pub(super) fn machine(name: &str) -> Option<u16> {
    Some(match name {
        "x86_64" => X86_64,
        "aarch64" => 183,
        "riscv64" => 243,
        "loongarch64" => 258,
        "ppc64le" => 21,
        _ => return None,
    })
}

/// Bytes in front of the first page of a core with so many segments.
pub(super) fn room(segments: u64) -> u64 {
    let table = segments.saturating_add(1 + KERNEL_SEGMENTS_MAX as u64) * SEGMENT_BYTES;
    let end = HEADER_BYTES + table + SECTION_BYTES + NOTE_BYTES;
    end.next_multiple_of(PAGE as u64)
}

/// One entry of the table of segments.
#[derive(Clone, Copy, Debug, Default)]
struct Entry {
    kind: u32,
    at: u64,
    virt: u64,
    phys: u64,
    len: u64,
}

impl Entry {
    fn encode(&self, out: &mut Vec<u8>) {
        out.extend(self.kind.to_le_bytes());
        out.extend(FLAGS.to_le_bytes());
        let align = if self.kind == LOAD { PAGE as u64 } else { 4 };
        for word in [self.at, self.virt, self.phys, self.len, self.len, align] {
            out.extend(word.to_le_bytes());
        }
    }
}

/// Memory that the kernel sees at its own place, too.
fn kernel_entries(layout: &Layout, map: &Map) -> Vec<Entry> {
    let mut entries = Vec::new();
    for range in &map.kernel {
        let end = range.phys.saturating_add(range.len);
        let pages = (range.phys / PAGE as u64, end.div_ceil(PAGE as u64));
        for segment in layout.within(pages.0, pages.1) {
            let first = segment.pfn.saturating_mul(PAGE as u64);
            let last = first.saturating_add(segment.pages.saturating_mul(PAGE as u64));
            let (from, to) = (first.max(range.phys), last.min(end));
            if from < to && entries.len() < KERNEL_SEGMENTS_MAX {
                entries.push(Entry {
                    kind: LOAD,
                    at: segment.at + (from - first),
                    virt: range.virt.wrapping_add(from - range.phys),
                    phys: from,
                    len: to - from,
                });
            }
        }
    }
    entries
}

fn note(info: &Info) -> Vec<u8> {
    let text = info.text().as_bytes();
    let mut out = Vec::new();
    // The lengths of the name, with its NUL, and of the text; the type, which has no meaning.
    for word in [11, text.len() as u32, 0] {
        out.extend(word.to_le_bytes());
    }
    out.extend(b"VMCOREINFO\0\0");
    out.extend(text);
    out.resize(out.len().next_multiple_of(4), 0);
    out
}

/// The header of a core with `count` segments, whose table follows it. More than fit into their field
/// are counted by a section behind that.
fn header(machine: u16, count: u64) -> Vec<u8> {
    let is_many = count >= MANY;
    let mut bytes = b"\x7fELF\x02\x01\x01".to_vec();
    bytes.resize(16, 0);
    bytes.extend(TYPE_CORE.to_le_bytes());
    bytes.extend(machine.to_le_bytes());
    bytes.extend(VERSION.to_le_bytes());
    let section_at = HEADER_BYTES + count * SEGMENT_BYTES;
    for word in [0, HEADER_BYTES, if is_many { section_at } else { 0 }] {
        bytes.extend(word.to_le_bytes());
    }
    bytes.extend(0u32.to_le_bytes());
    let sections = u16::from(is_many);
    for half in [
        HEADER_BYTES as u16,
        SEGMENT_BYTES as u16,
        count.min(MANY) as u16,
        SECTION_BYTES as u16 * sections,
        sections,
        0,
    ] {
        bytes.extend(half.to_le_bytes());
    }
    bytes
}

/// Writes everything in front of the pages.
///
/// # Errors
///
/// When it cannot be written.
pub(super) fn write(
    out: &File,
    layout: &Layout,
    machine: u16,
    info: Option<&Info>,
    map: Option<&Map>,
) -> io::Result<()> {
    let note = info.map(note).unwrap_or_default();
    let first = room(layout.segments().len() as u64);
    let note_at = first - NOTE_BYTES;
    // One that is empty is taken for damage.
    let noted = info.map(|_| Entry {
        kind: NOTE,
        at: note_at,
        len: note.len() as u64,
        ..Entry::default()
    });
    // First what is read first: some readers take all in front of it for the header.
    let physical = layout.segments().iter().map(|segment| {
        let phys = segment.pfn.saturating_mul(PAGE as u64);
        Entry {
            kind: LOAD,
            at: segment.at,
            virt: map.map_or(0, |map| map.direct.wrapping_add(phys)),
            phys,
            len: segment.pages.saturating_mul(PAGE as u64),
        }
    });
    let kernel = map
        .map(|map| kernel_entries(layout, map))
        .unwrap_or_default();
    let count = usize::from(noted.is_some()) + layout.segments().len() + kernel.len();
    let entries = noted.into_iter().chain(physical).chain(kernel);
    let count = count as u64;
    let mut bytes = header(machine, count);
    // There may be millions.
    let mut at = 0;
    for entry in entries {
        entry.encode(&mut bytes);
        if bytes.len() >= PART_BYTES {
            out.write_all_at(&bytes, at)?;
            at += bytes.len() as u64;
            bytes.clear();
        }
    }
    if count >= MANY {
        let count = u32::try_from(count)
            .map_err(|_| io::Error::other("too many segments for an ELF core"))?;
        let mut section = [0; SECTION_BYTES as usize];
        // `sh_info`.
        section[44..48].copy_from_slice(&count.to_le_bytes());
        bytes.extend(section);
    }
    out.write_all_at(&bytes, at)?;
    out.write_all_at(&note, note_at)
}
