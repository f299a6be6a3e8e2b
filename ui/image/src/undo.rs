// SPDX-License-Identifier: GPL-2.0

//! Undoing what was done to frames.
//!
//! Every transform gets room for what the frame was, and no more: a frame is at most
//! [`FRAME_RAW_MAX`] bytes, whatever its payload would become.

#![forbid(unsafe_code)]

use zstd_safe::DCtx;

use crate::image::frame::Frame;
use crate::image::header::{Header, TransformKind};
use crate::image::{Error, ImageId, Result, FRAME_RAW_MAX};
use crate::keys::Keys;

enum Stage<'k> {
    Lzo,
    Lz4,
    Zstd(DCtx<'static>),
    Decrypt(&'k Keys),
}

/// The transforms of an image, to be undone.
pub struct Undo<'k> {
    id: ImageId,
    stages: Vec<Stage<'k>>,
    /// Bits of the stages that no frame may go without.
    required: u8,
    /// What a stage made of a frame, and room for what the next one makes of that.
    bytes: Vec<u8>,
    spare: Vec<u8>,
}

impl<'k> Undo<'k> {
    /// Those that `header` names, encryption with `keys`.
    ///
    /// # Errors
    ///
    /// The name of one that is not known here, or for which there is no key; both names where one
    /// compressor follows another: no kernel does that, and a few bytes could become much work.
    pub fn new(header: &Header<'_>, keys: Option<&'k Keys>) -> Result<Self, String> {
        let mut undo = Undo {
            id: header.facts.image_id,
            stages: Vec::new(),
            required: 0,
            bytes: Vec::new(),
            spare: Vec::new(),
        };
        let mut compressor: Option<&str> = None;
        for (transform, number) in header.transforms().zip(0u32..) {
            let stage = match (transform.kind, transform.name, keys) {
                (TransformKind::Compress, "lzo", _) => Stage::Lzo,
                (TransformKind::Compress, "lz4", _) => Stage::Lz4,
                (TransformKind::Compress, "zstd", _) => {
                    let context = DCtx::try_create();
                    Stage::Zstd(context.ok_or("zstd without memory")?)
                }
                (TransformKind::Encrypt, _, Some(keys)) => {
                    undo.required |= 1 << number;
                    Stage::Decrypt(keys)
                }
                (_, name, _) => return Err(name.to_string()),
            };
            if transform.kind == TransformKind::Compress {
                if let Some(first) = compressor.replace(transform.name) {
                    return Err(format!("{} after {first}", transform.name));
                }
            }
            undo.stages.push(stage);
        }
        Ok(undo)
    }

    /// What `frame` was before all of them: as many bytes as it says.
    ///
    /// # Errors
    ///
    /// When it is not what they make of anything.
    pub fn frame<'f>(&'f mut self, frame: &Frame<'f>) -> Result<&'f [u8]> {
        if frame.applied & self.required != self.required {
            return Err(Error::BadTransform);
        }
        let Undo { bytes, spare, .. } = self;
        let room = FRAME_RAW_MAX.min(frame.raw_len as usize);
        let mut is_changed = false;
        for (number, stage) in self.stages.iter_mut().enumerate().rev() {
            if frame.applied & (1 << number) == 0 {
                continue;
            }
            let from = match is_changed {
                true => &bytes[..],
                false => frame.payload,
            };
            match stage {
                // The last transform that was applied, so its payload is as it was.
                Stage::Decrypt(keys) => *spare = keys.decrypt(self.id, frame)?,
                Stage::Lzo => lzo(from, room, spare)?,
                Stage::Lz4 => lz4(from, room, spare)?,
                Stage::Zstd(context) => zstd(context, from, room, spare)?,
            }
            std::mem::swap(bytes, spare);
            is_changed = true;
        }
        let whole = match is_changed {
            true => &bytes[..],
            false => frame.payload,
        };
        if whole.len() != frame.raw_len as usize {
            return Err(Error::BadLength);
        }
        Ok(whole)
    }
}

fn lzo(from: &[u8], room: usize, out: &mut Vec<u8>) -> Result {
    out.resize(room, 0);
    lzo1x::decompress(from, out).map_err(|_| Error::BadLength)
}

fn lz4(from: &[u8], room: usize, out: &mut Vec<u8>) -> Result {
    out.resize(room, 0);
    let len = lz4_flex::block::decompress_into(from, out).map_err(|_| Error::BadLength)?;
    out.truncate(len);
    Ok(())
}

fn zstd(context: &mut DCtx<'_>, from: &[u8], room: usize, out: &mut Vec<u8>) -> Result {
    out.resize(room, 0);
    let len = context.decompress(&mut out[..], from);
    out.truncate(len.map_err(|_| Error::BadLength)?);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    type Unpack<'a> = &'a mut dyn FnMut(&[u8], usize, &mut Vec<u8>) -> Result;

    fn pages() -> Vec<u8> {
        // Something that shrinks, and is not the same everywhere.
        (0..16 * 1024usize).map(|n| (n / 100 % 251) as u8).collect()
    }

    fn zstd_of(raw: &[u8]) -> Vec<u8> {
        let mut packed = Vec::with_capacity(zstd_safe::compress_bound(raw.len()));
        zstd_safe::compress(&mut packed, raw, 3).unwrap();
        packed
    }

    #[test]
    fn unpacks_what_was_packed() {
        let raw = pages();
        let mut context = DCtx::create();
        let mut unzstd = |from: &[u8], room, out: &mut _| zstd(&mut context, from, room, out);
        let mut all: [(Vec<u8>, Unpack<'_>); 3] = [
            (lz4_flex::block::compress(&raw), &mut lz4),
            (lzo1x::compress(&raw, lzo1x::CompressLevel::MIN), &mut lzo),
            (zstd_of(&raw), &mut unzstd),
        ];
        for (packed, unpack) in &mut all {
            let mut out = vec![7; 3];
            let mut unpack = |from: &[u8], room| unpack(from, room, &mut out).map(|()| out.clone());
            assert!(packed.len() < raw.len());
            assert_eq!(unpack(packed, raw.len()), Ok(raw.clone()));
            // Too little room, cut off, or altered: an error or other bytes, and no panic.
            assert!(unpack(packed, raw.len() - 1).is_err());
            assert!(unpack(&packed[..packed.len() - 1], raw.len()) != Ok(raw.clone()));
            for at in 0..packed.len() {
                let mut bad = packed.clone();
                bad[at] ^= 0x41;
                if let Ok(bytes) = unpack(&bad, raw.len()) {
                    assert!(bytes.len() <= raw.len());
                }
            }
        }
    }
}
