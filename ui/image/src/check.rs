// SPDX-License-Identifier: GPL-2.0

//! Checks everything that an image says of itself.

use crate::fault::{At, Fault, Part, Reason};
use crate::image::frame::{frames, Kind};
use crate::image::root::Chunk;
use crate::image::{Error, PAGE};
use crate::keys::Keys;
use crate::ledger::Ledger;
use crate::open::Opened;
use crate::undo::Undo;

/// Most faults that are kept; all are counted.
const FAULTS_MAX: usize = 20;

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
    let header = opened.header()?;
    if header.may_override() {
        return Err(Fault::image(Part::Header, Error::UnknownFeature));
    }
    let mut report = Report::default();
    if keys.is_some() || opened.encryptor()?.is_none() {
        opened.check_tag(keys)?;
        report.authenticated = keys.is_some();
    }
    let mut undo = match Undo::new(&header, keys) {
        Ok(undo) => Some(undo),
        Err(name) => {
            let why = match opened.encryptor()? {
                Some((encryptor, _)) if encryptor == name => format!("encrypted by {name}"),
                _ => format!("{name} is not known here"),
            };
            report.contents_unknown = Some(why);
            None
        }
    };
    report.contents = undo.is_some();
    let mut ledger = Ledger::new();
    for (number, chunk) in opened.chunks()?.iter().enumerate() {
        ledger.chunk(chunk);
        if let Err(fault) = check_chunk(opened, chunk, &mut undo, &mut ledger, &mut report) {
            report.fault(fault);
        }
        step(number + 1);
    }
    // Whatever is missing in the accounts is what was just found.
    if report.is_good() {
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

fn check_chunk(
    opened: &Opened<'_>,
    chunk: &Chunk,
    undo: &mut Option<Undo<'_>>,
    ledger: &mut Ledger,
    report: &mut Report,
) -> Result<(), Fault> {
    let part = Part::Chunk(chunk.block);
    let bytes = opened.chunk_bytes(chunk)?;
    let count = opened.header()?.transform_count();
    for frame in frames(&bytes, &opened.commit.image_id, count) {
        let frame = frame.at(part)?;
        ledger.frame(chunk, &frame, &opened.commit).at(part)?;
        if let Some(undo) = undo {
            let raw = undo
                .frame(&frame)
                .map_err(|error| unpacked(part, frame.frame_no, error))?;
            match frame.kind {
                Kind::Index => ledger.index(&raw, &opened.commit).at(Part::Index)?,
                Kind::Data if raw.len() != frame.pages as usize * PAGE => {
                    return Err(Fault::image(part, Error::BadLength));
                }
                Kind::Data => {}
            }
        }
        report.frames += 1;
        report.pages += u64::from(frame.pages);
    }
    report.stored_bytes += u64::from(chunk.used);
    Ok(())
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
