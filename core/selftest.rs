// SPDX-License-Identifier: GPL-2.0

//! The round trip that a transform has to pass before it can be selected.

#![forbid(unsafe_code)]

use crate::image::frame;
use crate::image::{ImageId, FRAME_RAW_MAX};
use crate::sys::buf::Buf;
use crate::transform::{Kind, Place, Transform};
use kernel::prelude::*;

/// Contents of the test frames: constant, text-like, and without any pattern.
fn fill(sample: usize, out: &mut [u8]) {
    let mut state: u64 = 0x9e37_79b9_7f4a_7c15;
    for (i, byte) in out.iter_mut().enumerate() {
        // Xorshift64 (Marsaglia, 2003).
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        *byte = match sample {
            0 => 0x5a,
            1 => b'a'.wrapping_add((i % 19) as u8),
            _ => (state >> 32) as u8,
        };
    }
}

/// Sends frames of several kinds and lengths through `transform` and back.
/// May sleep.
///
/// # Errors
///
/// `EBADMSG` when a frame does not come back as it was, `E2BIG` when one grew
/// beyond the declared worst case, `EINVAL` when what the transform declares
/// makes no sense, `ENOMEM`, or what the transform says.
pub fn round_trip(transform: &dyn Transform) -> Result {
    let bound = transform.worst_case(FRAME_RAW_MAX);
    if bound == 0 || bound > FRAME_RAW_MAX.saturating_mul(2) {
        pr_err!(
            "{:?}: worst case {} is not sensible\n",
            transform.name(),
            bound
        );
        return Err(EINVAL);
    }
    if !(1..=100).contains(&transform.expected_percent()) {
        return Err(EINVAL);
    }
    let (save, load) = transform.trial()?;

    let mut plain = Buf::new(FRAME_RAW_MAX)?;
    let mut stored = Buf::new(bound)?;
    let mut back = Buf::new(FRAME_RAW_MAX)?;
    let mut frame_no = 0u64;
    for sample in 0..3 {
        fill(sample, &mut plain);
        for pages in [1usize, 7, 32] {
            let len = pages.saturating_mul(crate::image::BLOCK).min(FRAME_RAW_MAX);
            frame_no = frame_no.wrapping_add(1);
            let place = Place {
                image_id: ImageId([0x42; 16]),
                frame_no,
                kind: frame::Kind::Data,
                applied: 1,
                raw_len: len as u32,
                extents: &[],
            };
            let src = plain.get(..len).ok_or(EINVAL)?;
            let Some(n) = save.forward(&place, src, &mut stored)? else {
                if transform.kind() == Kind::Encrypt {
                    pr_err!("{:?}: an encryptor takes every frame\n", transform.name());
                    return Err(EINVAL);
                }
                continue;
            };
            if n > transform.worst_case(len) {
                pr_err!(
                    "{:?}: self-test output exceeds its worst case\n",
                    transform.name()
                );
                return Err(E2BIG);
            }
            let dst = back.get_mut(..len).ok_or(EINVAL)?;
            dst.fill(0xee);
            let m = load.backward(&place, stored.get(..n).ok_or(E2BIG)?, dst)?;
            if m != len || dst != src {
                pr_err!("{:?}: self-test failed\n", transform.name());
                return Err(Error::from_errno(-crate::errno::EBADMSG));
            }
        }
    }
    Ok(())
}
