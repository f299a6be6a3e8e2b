// SPDX-License-Identifier: GPL-2.0

//! Taking the key out of a header whose lists are still needed.

#![forbid(unsafe_code)]

use super::{
    Header,
    TransformKind,
    CRC_AT, //
};
use crate::image::wire::{
    align8,
    seal, //
};
use crate::image::{
    Error,
    Result,
    TRANSFORMS_MAX, //
};

/// Overwrites the parameters of all encryptors in the header at the start of `bytes` with zeros, and
/// seals it again. Its lists can be read as before; the image cannot, as its commit record has the
/// old seal.
///
/// Returns how many bytes from the start have all that changed: 0 without an encryptor that has
/// parameters.
///
/// # Errors
///
/// As [`Header::decode`]; nothing has changed then.
pub fn unkey(bytes: &mut [u8]) -> Result<usize> {
    let header = Header::decode(bytes)?;
    let total_len = header.total_len;
    let mut transforms = header.transforms;
    let mut places = [(0, 0); TRANSFORMS_MAX];
    for place in &mut places {
        let Some(transform) = transforms.next() else {
            break;
        };
        if transform.kind == TransformKind::Encrypt {
            // What was not read yet reaches to the end of the header.
            let end = total_len.saturating_sub(transforms.rest.len());
            let len = align8(transform.params.len());
            *place = (end.saturating_sub(len), end);
        }
    }
    let mut changed = 0usize;
    for (start, end) in places {
        if start != end {
            bytes.get_mut(start..end).ok_or(Error::Truncated)?.fill(0);
            changed = changed.max(end);
        }
    }
    if changed != 0 {
        seal(bytes.get_mut(..total_len).ok_or(Error::Truncated)?, CRC_AT)?;
    }
    Ok(changed)
}
