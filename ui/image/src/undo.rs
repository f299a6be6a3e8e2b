// SPDX-License-Identifier: GPL-2.0

//! Undoing what was done to frames.

#![forbid(unsafe_code)]

use ruzstd::decoding::FrameDecoder;

use crate::image::frame::Frame;
use crate::image::header::{Header, TransformKind};
use crate::image::{Error, ImageId, Result, FRAME_RAW_MAX};
use crate::keys::Keys;

enum Stage<'k> {
    Lzo,
    Lz4,
    Zstd(Box<FrameDecoder>),
    Decrypt(&'k Keys),
}

/// The transforms of an image, to be undone.
pub struct Undo<'k> {
    id: ImageId,
    stages: Vec<Stage<'k>>,
    /// Bits of the stages that no frame may go without.
    required: u8,
}

impl<'k> Undo<'k> {
    /// Those that `header` names, encryption with `keys`.
    ///
    /// # Errors
    ///
    /// The name of one that is not known here, or for which there is no key.
    pub fn new(header: &Header<'_>, keys: Option<&'k Keys>) -> Result<Self, String> {
        let mut undo = Undo {
            id: header.facts.image_id,
            stages: Vec::new(),
            required: 0,
        };
        for (transform, number) in header.transforms().zip(0u32..) {
            let stage = match (transform.kind, transform.name, keys) {
                (TransformKind::Compress, "lzo", _) => Stage::Lzo,
                (TransformKind::Compress, "lz4", _) => Stage::Lz4,
                (TransformKind::Compress, "zstd", _) => Stage::Zstd(Box::new(FrameDecoder::new())),
                (TransformKind::Encrypt, _, Some(keys)) => {
                    undo.required |= 1 << number;
                    Stage::Decrypt(keys)
                }
                (_, name, _) => return Err(name.to_string()),
            };
            undo.stages.push(stage);
        }
        Ok(undo)
    }

    /// What `frame` was before all of them: as many bytes as it says.
    ///
    /// # Errors
    ///
    /// When it is not what they make of anything.
    pub fn frame(&mut self, frame: &Frame<'_>) -> Result<Vec<u8>> {
        if frame.applied & self.required != self.required {
            return Err(Error::BadTransform);
        }
        let mut bytes = None;
        for (number, stage) in self.stages.iter_mut().enumerate().rev() {
            if frame.applied & (1 << number) == 0 {
                continue;
            }
            let from = bytes.as_deref().unwrap_or(frame.payload);
            let room = FRAME_RAW_MAX.min(frame.raw_len as usize);
            bytes = Some(match stage {
                // The last transform that was applied, so its payload is as it was.
                Stage::Decrypt(keys) => keys.decrypt(self.id, frame)?,
                Stage::Lzo => lzo(from, room)?,
                Stage::Lz4 => lz4(from, room)?,
                Stage::Zstd(decoder) => zstd(decoder, from, room)?,
            });
        }
        let bytes = bytes.unwrap_or_else(|| frame.payload.to_vec());
        if bytes.len() != frame.raw_len as usize {
            return Err(Error::BadLength);
        }
        Ok(bytes)
    }
}

fn lzo(from: &[u8], room: usize) -> Result<Vec<u8>> {
    let mut out = vec![0; room];
    lzo1x::decompress(from, &mut out).map_err(|_| Error::BadLength)?;
    Ok(out)
}

fn lz4(from: &[u8], room: usize) -> Result<Vec<u8>> {
    let mut out = vec![0; room];
    let len = lz4_flex::block::decompress_into(from, &mut out).map_err(|_| Error::BadLength)?;
    out.truncate(len);
    Ok(out)
}

fn zstd(decoder: &mut FrameDecoder, from: &[u8], room: usize) -> Result<Vec<u8>> {
    let mut out = vec![0; room];
    let len = decoder
        .decode_all(from, &mut out)
        .map_err(|_| Error::BadLength)?;
    out.truncate(len);
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    type Unpack<'a> = &'a mut dyn FnMut(&[u8], usize) -> Result<Vec<u8>>;

    fn pages() -> Vec<u8> {
        // Something that shrinks, and is not the same everywhere.
        (0..16 * 1024usize).map(|n| (n / 100 % 251) as u8).collect()
    }

    #[test]
    fn unpacks_what_other_code_packed() {
        let raw = pages();
        let level = ruzstd::encoding::CompressionLevel::Fastest;
        let mut decoder = FrameDecoder::new();
        let mut unzstd = |from: &[u8], room| zstd(&mut decoder, from, room);
        let mut all: [(Vec<u8>, Unpack<'_>); 3] = [
            (lz4_flex::block::compress(&raw), &mut lz4),
            (lzo1x::compress(&raw, lzo1x::CompressLevel::MIN), &mut lzo),
            (
                ruzstd::encoding::compress_to_vec(&raw[..], level),
                &mut unzstd,
            ),
        ];
        for (packed, unpack) in &mut all {
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
