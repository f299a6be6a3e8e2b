// SPDX-License-Identifier: GPL-2.0

//! Suite `dormouse_encryption`: the encryptors, against published vectors, against another
//! implementation, and against everything that was altered.

#![forbid(unsafe_code)]

use crate::check::{
    check,
    check_eq,
    suite,
    Verdict, //
};
use crate::fixture::Random;
use crate::vectors::aead::*;
use dormouse::cryptoaead::CryptoEncryptor;
use dormouse::errno;
use dormouse::image::cipher::params::{
    KeyType,
    Params, //
};
use dormouse::image::cipher::{
    self,
    Hmac as _,
    TAG_BYTES, //
};
use dormouse::image::frame::Kind;
use dormouse::image::header::PARAMS_MAX;
use dormouse::image::{
    ImageId,
    FRAME_RAW_MAX,
    PAGE, //
};
use dormouse::registry;
use dormouse::sys::aead::{
    Aead,
    Hmac, //
};
use dormouse::sys::buf::Buf;
use dormouse::transform::{
    Direction,
    Place,
    Stage,
    Transform, //
};
use kernel::c_str;
use kernel::prelude::*;
use kernel::sync::Arc;

suite! { "dormouse_encryption":
    aes_gcm_as_published,
    chacha20_poly1305_as_published,
    hmac_as_published,
    hkdf_as_published,
    opens_what_another_implementation_wrapped,
    frames_come_back,
    refuses_frames_out_of_place,
    refuses_altered_frames,
    refuses_wrong_keys,
    tags_depend_on_everything,
    needs_a_configured_key,
}

const AES_GCM: (&CStr, &CStr) = (c_str!("aes-gcm"), c_str!("gcm(aes)"));
const CHACHA: (&CStr, &CStr) = (
    c_str!("chacha20-poly1305"),
    c_str!("rfc7539(chacha20,poly1305)"),
);

fn bad() -> Option<Error> {
    Some(errno::error(errno::EBADMSG))
}

/// The cipher wants memory of its own, which constants are not.
fn buf(bytes: &[u8]) -> Result<Buf> {
    let mut buf = Buf::new(bytes.len())?;
    buf.copy_from_slice(bytes);
    Ok(buf)
}

fn as_published(
    algorithm: &CStr,
    key: &[u8],
    nonce: &[u8; 12],
    bound: &[u8],
    plain: &[u8],
    stored: &[u8],
) -> Verdict {
    let mut aead = Aead::new(algorithm, 4096, 64)?;
    let mut out = Buf::new(plain.len() + TAG_BYTES)?;
    // Without a key it does nothing.
    check!(aead.encrypt(nonce, bound, &buf(plain)?, &mut out).is_err());
    aead.set_key(key)?;
    let len = aead.encrypt(nonce, bound, &buf(plain)?, &mut out)?;
    check_eq!(len, stored.len());
    check!(out[..] == *stored);
    let mut back = Buf::new(plain.len())?;
    let len = aead.decrypt(nonce, bound, &out, &mut back)?;
    check_eq!(len, plain.len());
    check!(back[..] == *plain);
    for at in 0..out.len() {
        out[at] ^= 1;
        let result = aead.decrypt(nonce, bound, &out, &mut back);
        check_eq!(result.err(), bad(), "byte {at}");
        out[at] ^= 1;
    }
    let less = aead.decrypt(nonce, &bound[1..], &out, &mut back);
    check_eq!(less.err(), bad());
    // Too long, too short, too much bound to it.
    check_eq!(
        aead.decrypt(nonce, bound, &out[..15], &mut back).err(),
        bad()
    );
    let long = Buf::new(65)?;
    check_eq!(
        aead.decrypt(nonce, &long, &out, &mut back).err(),
        Some(EINVAL)
    );
    let huge = Buf::new(1 << 20)?;
    let mut room = Buf::new((1 << 20) + TAG_BYTES)?;
    check!(aead.encrypt(nonce, bound, &huge, &mut room).is_err());
    check_eq!(
        aead.encrypt(nonce, bound, &huge, &mut back).err(),
        Some(E2BIG)
    );
    check_eq!(aead.set_key(&key[..31]).err(), Some(EINVAL));
    Ok(())
}

fn aes_gcm_as_published() -> Verdict {
    let (key, nonce) = (&GCM_KEY, &GCM_NONCE);
    as_published(AES_GCM.1, key, nonce, &GCM_BOUND, &GCM_PLAIN, &GCM_STORED)
}

fn chacha20_poly1305_as_published() -> Verdict {
    let (key, nonce, bound) = (&CHACHA_KEY, &CHACHA_NONCE, &CHACHA_BOUND);
    as_published(CHACHA.1, key, nonce, bound, CHACHA_PLAIN, &CHACHA_STORED)
}

fn hmac_as_published() -> Verdict {
    let mut hmac = Hmac::new()?;
    let mut out = [0; 32];
    let text = b"what do ya want for nothing?";
    for cut in [0, 1, 20, text.len()] {
        hmac.hmac(b"Jefe", &[&text[..cut], &text[cut..]], &mut out)?;
        check_eq!(out, HMAC, "cut at {cut}");
    }
    Ok(())
}

fn hkdf_as_published() -> Verdict {
    // RFC 5869, test case 1: the first half. HMAC pads a short key with zeros, so a padded salt is
    // the same salt.
    let mut salt = [0; 32];
    salt[..13].copy_from_slice(&[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]);
    let mut out = [0; 32];
    cipher::extract(&mut Hmac::new()?, &salt, &[0x0b; 22], &mut out)?;
    check_eq!(out[..4], [0x07, 0x77, 0x09, 0x36]);
    check_eq!(out[28..], [0xd7, 0xc2, 0xb3, 0xe5]);
    Ok(())
}

fn opens_what_another_implementation_wrapped() -> Verdict {
    let aes = CryptoEncryptor::new(AES_GCM.0, AES_GCM.1)?;
    aes.unwrap(PARAMETERS_KEY, &PARAMETERS)?;
    // The other encryptor has another key from them.
    let chacha = CryptoEncryptor::new(CHACHA.0, CHACHA.1)?;
    let rejected = Some(errno::error(errno::EKEYREJECTED));
    check_eq!(chacha.unwrap(PARAMETERS_KEY, &PARAMETERS).err(), rejected);
    Ok(())
}

/// An encryptor, and stages with the same data key.
fn made(name: (&'static CStr, &'static CStr)) -> Result<(CryptoEncryptor, [Arc<dyn Stage>; 2])> {
    let one = CryptoEncryptor::new(name.0, name.1)?;
    let mut out = Buf::new(PARAMS_MAX)?;
    let len = one.wrap(&[7; 32], KeyType::User, "kunit", "", &mut out)?;
    let key = one.unwrap(&[7; 32], &out[..len])?;
    let stages = [one.stage_with(&key)?, one.stage_with(&key)?];
    Ok((one, stages))
}

fn place(frame_no: u64, raw: usize, extents: &[u8]) -> Place<'_> {
    Place {
        image_id: ImageId([9; 16]),
        frame_no,
        kind: Kind::Data,
        applied: 2,
        raw_len: raw as u32,
        extents,
    }
}

fn frames_come_back() -> Verdict {
    for name in [AES_GCM, CHACHA] {
        let (one, [save, load]) = made(name)?;
        // Not at the beginning of a page, neither of them.
        let mut plain = Buf::new(FRAME_RAW_MAX + 100)?;
        Random::new(1).fill(&mut plain);
        let mut stored = Buf::new(FRAME_RAW_MAX + 200)?;
        let mut back = Buf::new(FRAME_RAW_MAX + 300)?;
        let mut extents = [0; 32 * 16];
        Random::new(2).fill(&mut extents);
        for (frame_no, len) in [1, 16, PAGE - 1, PAGE, PAGE + 1, FRAME_RAW_MAX]
            .iter()
            .enumerate()
        {
            let src = &plain[24..24 + len];
            let place = place(frame_no as u64, *len, &extents[..16 * (frame_no + 27)]);
            let n = save.forward(&place, src, &mut stored[72..])?;
            check_eq!(n, Some(one.worst_case(*len)));
            let cipher = &stored[72..72 + len + TAG_BYTES];
            check!(*len < 16 || cipher[..*len] != *src);
            back.fill(0xee);
            check_eq!(load.backward(&place, cipher, &mut back[8..8 + len])?, *len);
            check!(back[8..8 + len] == *src);
            check!(back[8 + len..].iter().all(|b| *b == 0xee));
        }
        // No room for the tag.
        let little = &mut stored[..PAGE + 15];
        let result = save.forward(&place(99, PAGE, &[]), &plain[..PAGE], little);
        check_eq!(result.err(), Some(E2BIG));
    }
    Ok(())
}

fn refuses_frames_out_of_place() -> Verdict {
    for name in [AES_GCM, CHACHA] {
        let (_, [save, load]) = made(name)?;
        let mut plain = Buf::new(PAGE)?;
        Random::new(3).fill(&mut plain);
        let mut stored = Buf::new(PAGE + TAG_BYTES)?;
        let mut back = Buf::new(PAGE)?;
        let extents = [1, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0];
        let mut other = extents;
        other[0] = 2;
        let right = place(5, PAGE, &extents);
        save.forward(&right, &plain, &mut stored)?;
        let wrong = [
            Place {
                frame_no: 6,
                ..right
            },
            Place {
                image_id: ImageId([8; 16]),
                ..right
            },
            Place {
                kind: Kind::Index,
                ..right
            },
            Place {
                applied: 3,
                ..right
            },
            Place {
                raw_len: PAGE as u32 + 1,
                ..right
            },
            Place {
                extents: &other,
                ..right
            },
            Place {
                extents: &[],
                ..right
            },
        ];
        for (number, wrong) in wrong.iter().enumerate() {
            let result = load.backward(wrong, &stored, &mut back);
            check_eq!(result.err(), bad(), "case {number}");
        }
        check_eq!(load.backward(&right, &stored, &mut back)?, PAGE);
        check!(back[..] == plain[..]);
    }
    Ok(())
}

fn refuses_altered_frames() -> Verdict {
    for name in [AES_GCM, CHACHA] {
        let (_, [save, load]) = made(name)?;
        let mut plain = Buf::new(2 * PAGE)?;
        Random::new(4).fill(&mut plain);
        let len = 2 * PAGE + TAG_BYTES;
        let mut stored = Buf::new(len + 1)?;
        let mut back = Buf::new(2 * PAGE + 1)?;
        let place = place(5, 2 * PAGE, &[]);
        save.forward(&place, &plain, &mut stored)?;
        let mut random = Random::new(5);
        for _ in 0..300 {
            let (at, bit) = (random.below(len), 1 << random.below(8));
            stored[at] ^= bit;
            let result = load.backward(&place, &stored[..len], &mut back);
            check_eq!(result.err(), bad(), "byte {at}");
            stored[at] ^= bit;
        }
        for cut in [0, 1, 15, 16, 17, len - 1, len + 1] {
            let result = load.backward(&place, &stored[..cut], &mut back);
            check_eq!(result.err(), bad(), "{cut} bytes");
        }
        // Longer than the room of the next stage.
        let result = load.backward(&place, &stored[..len], &mut back[..PAGE]);
        check_eq!(result.err(), bad());
        check_eq!(load.backward(&place, &stored[..len], &mut back)?, 2 * PAGE);
    }
    Ok(())
}

fn refuses_wrong_keys() -> Verdict {
    let rejected = Some(errno::error(errno::EKEYREJECTED));
    for name in [AES_GCM, CHACHA] {
        let one = CryptoEncryptor::new(name.0, name.1)?;
        let mut out = Buf::new(PARAMS_MAX)?;
        let key = [7; 32];
        let len = one.wrap(&key, KeyType::Logon, "kunit:key", "hint", &mut out)?;
        let first = Params::decode(&out[..len])?.salt;
        one.unwrap(&key, &out[..len])?;
        for wrong in [&[7; 31][..], &[7; 33], &[6; 32], &[]] {
            check_eq!(one.unwrap(wrong, &out[..len]).err(), rejected);
        }
        // Another name or another hint is another image's.
        for at in [16, 48, 96, len - 1] {
            out[at] ^= 1;
            check_eq!(one.unwrap(&key, &out[..len]).err(), rejected, "byte {at}");
            out[at] ^= 1;
        }
        check_eq!(one.unwrap(&key, &out[..len - 1]).err(), bad());
        // Each image has its own data key and its own salt.
        one.wrap(&key, KeyType::Logon, "kunit:key", "hint", &mut out)?;
        check!(Params::decode(&out[..len])?.salt != first);
    }
    Ok(())
}

fn tags_depend_on_everything() -> Verdict {
    let one = CryptoEncryptor::new(AES_GCM.0, AES_GCM.1)?;
    let mut out = Buf::new(PARAMS_MAX)?;
    let len = one.wrap(&[7; 32], KeyType::User, "kunit", "", &mut out)?;
    let key = one.unwrap(&[7; 32], &out[..len])?;
    let len = one.wrap(&[7; 32], KeyType::User, "kunit", "", &mut out)?;
    let other = one.unwrap(&[7; 32], &out[..len])?;
    let tag = |key, parts: &[&[u8]]| -> Result<[u8; 64]> {
        let mut tag = [0xee; 64];
        one.authenticator_with(key)?.tag(parts, &mut tag)?;
        Ok(tag)
    };
    let good = tag(&key, &[b"header", b"root", b"commit"])?;
    check_eq!(good, tag(&key, &[b"header", b"root", b"commit"])?);
    check!(good[32..].iter().all(|b| *b == 0));
    check!(good != tag(&key, &[b"hEader", b"root", b"commit"])?);
    check!(good != tag(&key, &[b"header", b"roo", b"commit"])?);
    check!(good != tag(&key, &[b"header", b"root", b"commis"])?);
    check!(good != tag(&other, &[b"header", b"root", b"commit"])?);
    Ok(())
}

fn needs_a_configured_key() -> Verdict {
    let nokey = Some(errno::error(errno::ENOKEY));
    for name in ["aes-gcm", "chacha20-poly1305"] {
        let found = registry::get()?.encryptors.find(name)?;
        let mut out = Buf::new(PARAMS_MAX)?;
        check_eq!(found.parameters(&mut out).err(), nokey, "{name}");
        let stage = found.stage(Direction::Load, &PARAMETERS);
        check_eq!(stage.err(), nokey, "{name}");
        check_eq!(found.authenticator(&PARAMETERS).err(), nokey, "{name}");
        let stage = found.stage(Direction::Load, &PARAMETERS[1..]);
        check!(stage.is_err() && stage.err() != nokey, "{name}");
    }
    Ok(())
}
