// SPDX-License-Identifier: GPL-2.0

//! Checks everything that an image says of itself.

#![forbid(unsafe_code)]

use crate::fault::{At, Fault, Part, Reason};
use crate::image::frame::{frames, Frame, Kind};
use crate::image::root::Chunk;
use crate::image::{Error, PAGE};
use crate::keys::Keys;
use crate::ledger::Ledger;
use crate::open::Opened;
use crate::undo::Undo;

/// Most faults that are kept; more are counted.
const FAULTS_MAX: usize = 20;

/// Faults after which the rest is not looked at: the image is no better for it.
const FAULTS_ENOUGH: u64 = 1000;

/// What was checked, and what came of it.
#[derive(Debug, Default)]
pub struct Report {
    /// Frames that are whole.
    pub frames: u64,
    /// Pages in them.
    pub pages: u64,
    /// Bytes of their chunks.
    pub stored_bytes: u64,
    /// Whether their contents were unpacked, and compared with the index.
    pub contents: bool,
    /// Why not, otherwise.
    pub contents_unknown: Option<String>,
    /// Whether tags were checked.
    pub authenticated: bool,
    /// The first faults.
    pub faults: Vec<Fault>,
    /// All of them.
    pub fault_count: u64,
    /// Whether it ended before all was checked, because of what was found until then.
    pub is_cut_short: bool,
}

impl Report {
    fn fault(&mut self, fault: Fault) {
        self.fault_count += 1;
        if self.faults.len() < FAULTS_MAX {
            self.faults.push(fault);
        }
    }

    /// Whether nothing was found.
    pub fn is_good(&self) -> bool {
        self.fault_count == 0
    }
}

/// Frames, read and unpacked chunk by chunk, and the accounts of them.
pub(crate) struct Contents<'a> {
    opened: &'a Opened<'a>,
    undo: Option<Undo<'a>>,
    /// Why they cannot be unpacked, if so.
    unknown: Option<String>,
    /// The accounts.
    pub(crate) ledger: Ledger,
    /// The chunk that is looked at.
    bytes: Vec<u8>,
}

impl<'a> Contents<'a> {
    /// Nothing read yet. Checks the tags of what describes the image, if there is a key for them
    /// or none is needed.
    fn begin(opened: &'a Opened<'a>, keys: Option<&'a Keys>) -> Result<Self, Fault> {
        let header = opened.header()?;
        if header.may_override() {
            return Err(Fault::image(Part::Header, Error::UnknownFeature));
        }
        let encryptor = opened.encryptor()?;
        if keys.is_some() || encryptor.is_none() {
            opened.check_tag(keys)?;
        }
        let (undo, unknown) = match Undo::new(&header, keys) {
            Ok(undo) => (Some(undo), None),
            Err(name) => match encryptor {
                Some((encryptor, _)) if encryptor == name => {
                    (None, Some(format!("encrypted by {name}")))
                }
                _ => (None, Some(format!("{name} is not known here"))),
            },
        };
        Ok(Contents {
            opened,
            undo,
            unknown,
            ledger: Ledger::new(&opened.commit),
            bytes: Vec::new(),
        })
    }

    /// As [`Contents::begin`], for somebody who wants what is in the frames.
    ///
    /// # Errors
    ///
    /// When the description of the image is no good, or frames could not be unpacked.
    pub(crate) fn new(opened: &'a Opened<'a>, keys: Option<&'a Keys>) -> Result<Self, Fault> {
        let contents = Contents::begin(opened, keys)?;
        match contents.unknown {
            Some(why) => {
                let sentence = format!("what is in the image cannot be read: {why}");
                Err(Fault::missing(Part::Header, sentence))
            }
            None => Ok(contents),
        }
    }

    /// Reads `chunk` and enters it into the accounts. `each` gets every frame and what it was
    /// before it was packed; nothing where that is not known.
    ///
    /// # Errors
    ///
    /// What is wrong with it, and those of `each`.
    pub(crate) fn chunk<E: From<Fault>>(
        &mut self,
        chunk: &Chunk,
        mut each: impl FnMut(&Frame<'_>, &[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let part = Part::Chunk(chunk.block);
        let commit = &self.opened.commit;
        self.ledger.chunk(chunk, commit).at(part)?;
        self.unpack(chunk, |ledger, frame, raw| {
            ledger.frame(chunk, frame, commit).at(part)?;
            if frame.kind == Kind::Index {
                ledger.index(raw, commit).map_err(indexed)?;
            }
            each(frame, raw)
        })
    }

    /// Reads `chunk` again, of which the accounts know.
    ///
    /// # Errors
    ///
    /// As [`Contents::chunk`].
    pub(crate) fn again<E: From<Fault>>(
        &mut self,
        chunk: &Chunk,
        mut each: impl FnMut(&Frame<'_>, &[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        self.unpack(chunk, |_, frame, raw| each(frame, raw))
    }

    fn unpack<E: From<Fault>>(
        &mut self,
        chunk: &Chunk,
        mut each: impl FnMut(&mut Ledger, &Frame<'_>, &[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let part = Part::Chunk(chunk.block);
        let opened = self.opened;
        opened.chunk_bytes(chunk, &mut self.bytes)?;
        let count = opened.header()?.transform_count();
        for frame in frames(&self.bytes, &opened.commit.image_id, count) {
            let frame = frame.at(part)?;
            let mut raw: &[u8] = &[];
            if let Some(undo) = &mut self.undo {
                raw = undo
                    .frame(&frame)
                    .map_err(|error| unpacked(part, frame.frame_no, error))?;
                if frame.kind == Kind::Data && raw.len() != frame.pages as usize * PAGE {
                    return Err(Fault::image(part, Error::BadLength).into());
                }
            }
            each(&mut self.ledger, &frame, raw)?;
        }
        Ok(())
    }
}

/// Checks all chunks, frames, tags and pages of `opened`. `step` hears of every chunk: how many
/// are done.
///
/// # Errors
///
/// When the description of the image itself is no good. What is wrong with frames is in the
/// report.
pub fn check(
    opened: &Opened<'_>,
    keys: Option<&Keys>,
    mut step: impl FnMut(usize),
) -> Result<Report, Fault> {
    let mut contents = Contents::begin(opened, keys)?;
    let mut report = Report {
        authenticated: keys.is_some(),
        contents: contents.undo.is_some(),
        contents_unknown: contents.unknown.clone(),
        ..Report::default()
    };
    for (number, chunk) in opened.chunks()?.enumerate() {
        let result = chunk.and_then(|chunk| {
            contents.chunk(&chunk, |frame, _| {
                report.frames += 1;
                report.pages += u64::from(frame.pages);
                Ok::<(), Fault>(())
            })?;
            report.stored_bytes += u64::from(chunk.used);
            Ok(())
        });
        if let Err(fault) = result {
            report.is_cut_short = matches!(fault.reason, Reason::Missing(_));
            report.fault(fault);
            report.is_cut_short |= report.fault_count >= FAULTS_ENOUGH;
        }
        if report.is_cut_short {
            break;
        }
        step(number + 1);
    }
    // Whatever is missing in the accounts is what was just found.
    if report.is_good() {
        let ledger = &mut contents.ledger;
        let whole = ledger.check_frames(&opened.commit).at(Part::Root);
        let pages = match report.contents {
            true => ledger.check_pages(&opened.commit).at(Part::Index),
            false => Ok(()),
        };
        for fault in [whole.err(), pages.err()].into_iter().flatten() {
            report.fault(fault);
        }
    }
    Ok(report)
}

/// An index that could say the same in fewer entries, or says of pages here and there only, is
/// not known to be damaged.
pub(crate) fn indexed(error: Error) -> Fault {
    match error {
        Error::NoRoom => Fault::missing(
            Part::Index,
            "the index has more entries than an image of this size needs: it cannot be checked",
        ),
        error => Fault::image(Part::Index, error),
    }
}

fn unpacked(part: Part, number: u64, error: Error) -> Fault {
    match error {
        Error::BadLength => Fault {
            part,
            reason: Reason::Unpack(number),
        },
        error => Fault::image(part, error),
    }
}
