// SPDX-License-Identifier: GPL-2.0

//! Makes an ELF core of an image, as debuggers of kernels read it: each run of pages that follow
//! each other in physical memory is a segment, at its physical address.
//!
//! Pages that are not in the image are in no segment. The image is read once, in the order in
//! which it lies there, and written to the core page by page: nothing is kept in memory but the
//! index.

#![forbid(unsafe_code)]

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use crate::check::Contents;
use crate::fault::{At, Fault, Part};
use crate::image::frame::Frame;
use crate::image::{Error, FRAME_RAW_MAX, PAGE};
use crate::keys::Keys;
use crate::ledger::Fill;
use crate::open::Opened;

mod elf;
mod info;
mod layout;
mod x86;

pub use self::info::Info;
use self::layout::Layout;

/// What came of it.
#[derive(Debug)]
pub struct Extracted {
    /// Pages of the image.
    pub pages: u64,
    /// Those of them that hold nothing but zeros, which take no room in the file.
    pub zero_pages: u64,
    /// Segments with physical memory.
    pub segments: u64,
    /// Bytes of the file, holes included.
    pub bytes: u64,
    /// What the saved kernel says of itself to debuggers.
    pub info: Option<Info>,
    /// Whether the segments have the virtual addresses of the saved kernel, too.
    pub is_virtual: bool,
}

/// Why there is none.
#[derive(Debug)]
pub enum Failed {
    /// The image is not as it should be, or something is missing to read it.
    Image(Fault),
    /// The core cannot be written.
    Output(io::Error),
    /// Whoever asked for it does not want it any more.
    Stopped,
}

impl From<Fault> for Failed {
    fn from(fault: Fault) -> Self {
        Failed::Image(fault)
    }
}

impl From<io::Error> for Failed {
    fn from(error: io::Error) -> Self {
        Failed::Output(error)
    }
}

/// Writes the pages of `opened` to `out`, which is empty, as an ELF core. `go_on` hears how
/// many chunks of how many are done, and says whether to go on.
///
/// # Errors
///
/// Why there is no core; `out` is of no use then.
pub fn extract(
    opened: &Opened<'_>,
    keys: Option<&Keys>,
    out: &File,
    mut go_on: impl FnMut(usize, usize) -> bool,
) -> Result<Extracted, Failed> {
    let header = opened.header()?;
    let machine = elf::machine(header.facts.machine).ok_or_else(|| {
        let machine = header.facts.machine;
        Fault::missing(
            Part::Header,
            format!(
                "it is not known here how an ELF core of a machine of type \"{machine}\" looks"
            ),
        )
    })?;
    let mut contents = Contents::new(opened, keys)?;
    let chunks = opened.chunks()?;
    let mut done = 0;
    let mut step = |count: usize| {
        done += count;
        match go_on(done, chunks.len()) {
            true => Ok(()),
            false => Err(Failed::Stopped),
        }
    };
    for chunk in chunks.iter().filter(|chunk| chunk.holds_index()) {
        contents.chunk(chunk, |_, _| Ok::<(), Failed>(()))?;
        step(1)?;
    }
    contents
        .ledger
        .check_index(&opened.commit)
        .at(Part::Index)?;
    let layout = Layout::new(contents.ledger.present());
    out.set_len(layout.end())?;
    let mut core = Core {
        out,
        layout: &layout,
        zero_pages: 0,
        candidates: Vec::new(),
        wanted: info::wanted(header.facts.release),
    };
    for fill in contents.ledger.fills() {
        core.fill(fill, || step(0))?;
    }
    for chunk in chunks.iter().filter(|chunk| !chunk.holds_index()) {
        contents.chunk(chunk, |frame, raw| core.frame(frame, raw))?;
        step(1)?;
    }
    contents
        .ledger
        .check_frames(&opened.commit)
        .at(Part::Root)?;
    contents.ledger.check_places().at(Part::Index)?;
    let Core {
        zero_pages,
        candidates,
        ..
    } = core;
    let memory = Memory {
        out,
        layout: &layout,
    };
    let (info, map) = info::choose(candidates, header.facts.build_id, |info| match machine {
        elf::X86_64 => x86::map(&memory, info),
        _ => None,
    });
    elf::write(out, &layout, machine, info.as_ref(), map.as_ref())?;
    Ok(Extracted {
        pages: opened.commit.image_pages,
        zero_pages,
        segments: layout.segments().len() as u64,
        bytes: layout.end(),
        is_virtual: map.is_some(),
        info,
    })
}

/// A core whose pages are being written.
struct Core<'a> {
    out: &'a File,
    layout: &'a Layout,
    zero_pages: u64,
    /// Pages that may be what a kernel says of itself.
    candidates: Vec<Info>,
    wanted: String,
}

impl Core<'_> {
    fn write(&self, pfn: u64, bytes: &[u8]) -> Result<(), Failed> {
        let count = (bytes.len() / PAGE) as u64;
        let at = self.layout.find(pfn, count);
        // The frame has a page that the index does not know.
        let at = at.ok_or(Fault::image(Part::Index, Error::BadFrameNo))?;
        Ok(self.out.write_all_at(bytes, at)?)
    }

    /// A few bytes of an index can make this long: `go_on` is asked all the time.
    fn fill(
        &mut self,
        fill: &Fill,
        mut go_on: impl FnMut() -> Result<(), Failed>,
    ) -> Result<(), Failed> {
        let (mut pfn, count, word) = *fill;
        let mut left = u64::from(count);
        if word == 0 {
            self.zero_pages = self.zero_pages.saturating_add(left);
            return Ok(());
        }
        let most = (FRAME_RAW_MAX / PAGE) as u64;
        let words = FRAME_RAW_MAX.min(left.min(most) as usize * PAGE) / 8;
        let bytes = word.to_le_bytes().repeat(words);
        while left != 0 {
            let now = left.min(most);
            let bytes = bytes.get(..now as usize * PAGE).unwrap_or(&[]);
            self.write(pfn, bytes)?;
            go_on()?;
            pfn = pfn.saturating_add(now);
            left -= now;
        }
        Ok(())
    }

    fn frame(&mut self, frame: &Frame<'_>, raw: &[u8]) -> Result<(), Failed> {
        let mut rest = raw;
        for extent in frame.extents() {
            let len = extent.count as usize * PAGE;
            let (here, behind) = rest
                .split_at_checked(len)
                .ok_or(Fault::image(Part::Index, Error::BadLength))?;
            self.write(extent.pfn, here)?;
            for page in here.chunks(PAGE) {
                if self.candidates.len() < info::CANDIDATES_MAX {
                    self.candidates.extend(Info::of(page, &self.wanted));
                }
            }
            rest = behind;
        }
        Ok(())
    }
}

/// Physical memory, as it is in the core.
pub(crate) struct Memory<'a> {
    out: &'a File,
    layout: &'a Layout,
}

impl Memory<'_> {
    /// The page with this number, if it is in the image.
    pub(crate) fn page(&self, pfn: u64) -> Option<[u8; PAGE]> {
        let mut page = [0; PAGE];
        let at = self.layout.find(pfn, 1)?;
        self.out.read_exact_at(&mut page, at).ok()?;
        Some(page)
    }
}
