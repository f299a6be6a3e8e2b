// SPDX-License-Identifier: GPL-2.0

//! Makes an ELF core of an image, as debuggers of kernels read it: each run of pages that follow
//! each other in physical memory is a segment, at its physical address.
//!
//! Pages that are not in the image are in no segment. The index is read first; the rest then, in
//! the order in which it lies there, and written to the core page by page: nothing is kept in memory
//! but the runs of pages. Pages of zeros become holes. A few bytes of an image can stand for any
//! number of pages, so the core is not begun where there is no room for all of it.

#![forbid(unsafe_code)]

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use crate::check::Contents;
use crate::fault::{At, Fault, Part};
use crate::fill;
use crate::image::frame::Frame;
use crate::image::index::{entries, Entry, Source};
use crate::image::root::Chunk;
use crate::image::{Error, FRAME_RAW_MAX, PAGE};
use crate::keys::Keys;
use crate::open::{Chunks, Opened};

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
    /// There is no room for it.
    NoRoom {
        /// Bytes that it takes, holes left out.
        needed: u64,
        /// Bytes that there are.
        free: u64,
    },
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

/// Writes the pages of `opened` to `out`, which is empty, as an ELF core. `free` says how many bytes
/// there is room for; it is asked once. `go_on` hears how many chunks of how many are done, and says
/// whether to go on.
///
/// # Errors
///
/// Why there is no core; `out` is of no use then.
pub fn extract(
    opened: &Opened<'_>,
    keys: Option<&Keys>,
    out: &File,
    free: impl FnOnce() -> io::Result<u64>,
    mut go_on: impl FnMut(u64, u64) -> bool,
) -> Result<Extracted, Failed> {
    let header = opened.header()?;
    let machine = machine(header.facts.machine)?;
    let mut contents = Contents::new(opened, keys)?;
    let chunks = opened.chunks()?;
    let mut done = 0;
    let mut step = |count: u64| {
        done += count;
        match go_on(done, opened.commit.chunks) {
            true => Ok(()),
            false => Err(Failed::Stopped),
        }
    };
    for chunk in chunks_of(&chunks, Holds::Index) {
        contents.chunk(&chunk?, |_, _| Ok::<(), Failed>(()))?;
        step(1)?;
    }
    let layout = Layout::new(contents.ledger.take_index(&opened.commit).at(Part::Index)?);
    let layout = layout.ok_or(Fault::image(Part::Index, Error::PageRange))?;
    let commit = &opened.commit;
    let zero_pages = contents.ledger.zero_pages();
    let filled = commit.fill_pages.saturating_sub(zero_pages);
    let needed = layout.needed(commit.data_pages.saturating_add(filled));
    let free = free()?;
    if needed > free {
        return Err(Failed::NoRoom { needed, free });
    }
    out.set_len(layout.end())?;
    let mut core = Core {
        out,
        layout: &layout,
        zero_pages,
        filled: 0,
        fills_most: filled,
        candidates: Vec::new(),
        wanted: info::wanted(header.facts.release),
    };
    if filled != 0 {
        for chunk in chunks_of(&chunks, Holds::Index) {
            contents.again(&chunk?, |_, raw| {
                let all = entries(raw, commit.frames);
                all.map(|entry| entry.at(Part::Index))
                    .try_for_each(|entry| core.fill(&entry?, || step(0)))
            })?;
        }
    }
    for chunk in chunks_of(&chunks, Holds::Data) {
        contents.chunk(&chunk?, |frame, raw| core.frame(frame, raw))?;
        step(1)?;
    }
    contents.ledger.check_frames(commit).at(Part::Root)?;
    contents.ledger.check_places().at(Part::Index)?;
    core.finish(machine, header.facts.build_id, commit.image_pages)
}

/// The number that an ELF core has for a machine of this `name`.
fn machine(name: &str) -> Result<u16, Fault> {
    elf::machine(name).ok_or_else(|| {
        Fault::missing(
            Part::Header,
            format!("it is not known here how an ELF core of a machine of type \"{name}\" looks"),
        )
    })
}

/// What chunks hold.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Holds {
    Index,
    Data,
}

/// Those of `chunks` that hold `what`, and what is wrong with others.
fn chunks_of<'o>(
    chunks: &Chunks<'o>,
    what: Holds,
) -> impl Iterator<Item = Result<Chunk, Fault>> + use<'o> {
    let wants_index = what == Holds::Index;
    let is_wanted = move |chunk: &Result<Chunk, Fault>| match chunk {
        Ok(chunk) => chunk.holds_index() == wants_index,
        Err(_) => true,
    };
    chunks.clone().filter(is_wanted)
}

/// A core whose pages are being written.
struct Core<'a> {
    out: &'a File,
    layout: &'a Layout,
    zero_pages: u64,
    /// Pages that were filled by a word other than 0, and how many there is room for.
    filled: u64,
    fills_most: u64,
    /// Pages that may be what a kernel says of itself.
    candidates: Vec<Info>,
    wanted: String,
}

impl Core<'_> {
    /// Writes what is in front of the pages, for this `machine` and a kernel with this `build_id`, when
    /// all `pages` are there.
    fn finish(self, machine: u16, build_id: &[u8], pages: u64) -> Result<Extracted, Failed> {
        let (out, layout) = (self.out, self.layout);
        let memory = Memory { out, layout };
        let (info, map) = info::choose(self.candidates, build_id, |info| match machine {
            elf::X86_64 => x86::map(&memory, info),
            _ => None,
        });
        elf::write(out, layout, machine, info.as_ref(), map.as_ref())?;
        Ok(Extracted {
            pages,
            zero_pages: self.zero_pages,
            segments: layout.segments().len() as u64,
            bytes: layout.end(),
            is_virtual: map.is_some(),
            info,
        })
    }

    /// Writes the pages from `pfn` on. Zeros are there already: the core is one hole at first.
    ///
    /// Returns whether there was anything else.
    fn write(&self, pfn: u64, bytes: &[u8]) -> Result<bool, Failed> {
        let count = (bytes.len() / PAGE) as u64;
        let at = self.layout.find(pfn, count);
        // The frame has a page that the index does not know.
        let at = at.ok_or(Fault::image(Part::Index, Error::BadFrameNo))?;
        if fill::filled_with(bytes) == Some(0) {
            return Ok(false);
        }
        self.out.write_all_at(bytes, at)?;
        Ok(true)
    }

    /// Fills the pages of an entry of the index that has a word for them. A few bytes of an index
    /// can make this long: `go_on` is asked all the time.
    fn fill(
        &mut self,
        entry: &Entry,
        mut go_on: impl FnMut() -> Result<(), Failed>,
    ) -> Result<(), Failed> {
        let word = match entry.source {
            Source::Frame(_) | Source::Fill(0) => return Ok(()),
            Source::Fill(word) => word,
        };
        let mut left = u64::from(entry.count);
        // The index may be another one when it is read again.
        self.filled = self.filled.saturating_add(left);
        if self.filled > self.fills_most {
            return Err(Fault::image(Part::Index, Error::BadCount).into());
        }
        let mut pfn = entry.pfn;
        let most = (FRAME_RAW_MAX / PAGE) as u64;
        let words = left.min(most) as usize * PAGE / 8;
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

    /// Writes the pages of a data frame.
    fn frame(&mut self, frame: &Frame<'_>, raw: &[u8]) -> Result<(), Failed> {
        let mut rest = raw;
        for extent in frame.extents() {
            let len = extent.count as usize * PAGE;
            let (here, behind) = rest
                .split_at_checked(len)
                .ok_or(Fault::image(Part::Index, Error::BadLength))?;
            if !self.write(extent.pfn, here)? {
                self.zero_pages = self.zero_pages.saturating_add(u64::from(extent.count));
            }
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
