// SPDX-License-Identifier: GPL-2.0

//! What a frame of an image costs in the stage `aes-gcm`.
//!
//! Frames and lengths are those of aead_raw.c.

#![forbid(unsafe_code)]

use dormouse::cryptoaead::CryptoEncryptor;
use dormouse::errno;
use dormouse::image::cipher::params::KeyType;
use dormouse::image::frame::Kind;
use dormouse::image::ImageId;
use dormouse::sys::buf::Buf;
use dormouse::sys::time;
use dormouse::transform::Place;
use kernel::c_str;
use kernel::prelude::*;

module! {
    type: Module,
    name: "aead_stage",
    author: "The Dormouse developers",
    description: "What gcm(aes) costs with Dormouse",
    license: "GPL",
}

const FRAMES: usize = 300;
const FRAME_BYTES: usize = 128 * 1024;
const TAG_BYTES: usize = 16;
const LENGTHS: [usize; 3] = [FRAME_BYTES, 77003, 40501];

struct Module;

impl kernel::Module for Module {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        measure()?;
        // It has done its work: nothing of it need stay.
        Err(errno::error(errno::ECANCELED))
    }
}

fn measure() -> Result {
    let cipher = CryptoEncryptor::new(c_str!("aes-gcm"), c_str!("gcm(aes)"))?;
    let mut parameters = Buf::new(1024)?;
    let user_key = [7; 32];
    let len = cipher.wrap(&user_key, KeyType::User, "bench", "", &mut parameters)?;
    let data_key = cipher.unwrap(&user_key, parameters.get(..len).ok_or(EINVAL)?)?;
    let stage = cipher.stage_with(&data_key)?;
    let mut plain = Buf::new(FRAME_BYTES)?;
    plain.fill(0x5a);
    let mut sealed = Buf::new(FRAME_BYTES + TAG_BYTES)?;
    let extents = [1; 32];
    let (mut bytes, mut forward_ns, mut backward_ns) = (0u64, 0u64, 0u64);
    for (number, &len) in LENGTHS.iter().cycle().take(FRAMES).enumerate() {
        let place = Place {
            image_id: ImageId([1; 16]),
            frame_no: number as u64,
            kind: Kind::Data,
            applied: 1,
            raw_len: FRAME_BYTES as u32,
            extents: &extents,
        };
        let plain = plain.get_mut(..len).ok_or(EINVAL)?;
        let start = time::monotonic_ns();
        let done = stage.forward(&place, plain, &mut sealed)?.ok_or(EINVAL)?;
        let middle = time::monotonic_ns();
        stage.backward(&place, sealed.get(..done).ok_or(EINVAL)?, plain)?;
        forward_ns = forward_ns.saturating_add(middle.saturating_sub(start));
        backward_ns = backward_ns.saturating_add(time::monotonic_ns().saturating_sub(middle));
        bytes = bytes.saturating_add(len as u64);
    }
    pr_info!(
        "measured {} bytes, encrypted in {} ns, decrypted in {} ns\n",
        bytes,
        forward_ns,
        backward_ns
    );
    Ok(())
}
