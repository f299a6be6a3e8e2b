// SPDX-License-Identifier: GPL-2.0

//! Suite `dormouse_transforms`: the compressors as they are registered, against the formats that
//! they promise, and against data that they did not make.

#![forbid(unsafe_code)]

use crate::check::{
    check,
    check_eq,
    suite,
    Verdict, //
};
use crate::fixture::Random;
use crate::vectors;
use dormouse::errno;
use dormouse::image::{
    frame,
    ImageId,
    FRAME_RAW_MAX,
    PAGE, //
};
use dormouse::registry::{
    self,
    Pinned, //
};
use dormouse::sys::buf::Buf;
use dormouse::transform::{
    Direction,
    Kind,
    Place,
    Stage,
    Transform, //
};
use kernel::prelude::*;
use kernel::sync::Arc;

suite! { "dormouse_transforms":
    lz4_undoes_what_lz4_made,
    lzo_undoes_what_lzop_made,
    zstd_undoes_what_zstd_made,
    lz4_comes_back,
    lzo_comes_back,
    zstd_comes_back,
    lz4_survives_anything,
    lzo_survives_anything,
    zstd_survives_anything,
    refuse_parameters,
    refuse_too_little_room,
}

const ALL: [&str; 3] = ["lz4", "lzo", "zstd"];

const PLACE: Place<'static> = Place {
    image_id: ImageId([0; 16]),
    frame_no: 3,
    kind: frame::Kind::Data,
    applied: 1,
    raw_len: PAGE as u32,
    extents: &[],
};

fn find(name: &str) -> Result<Pinned<dyn Transform>> {
    registry::get()?.compressors.find(name)
}

fn stages(name: &str) -> Result<(Arc<dyn Stage>, Arc<dyn Stage>)> {
    let found = find(name)?;
    Ok((
        found.stage(Direction::Save, &[])?,
        found.stage(Direction::Load, &[])?,
    ))
}

fn undoes(name: &str, vector: &[u8]) -> Verdict {
    let (_, load) = stages(name)?;
    let mut out = [0xee; PAGE];
    check_eq!(load.backward(&PLACE, vector, &mut out)?, PAGE);
    check!(out == vectors::plain());
    Ok(())
}

fn lz4_undoes_what_lz4_made() -> Verdict {
    undoes("lz4", &vectors::LZ4)
}

fn lzo_undoes_what_lzop_made() -> Verdict {
    undoes("lzo", &vectors::LZO)
}

fn zstd_undoes_what_zstd_made() -> Verdict {
    undoes("zstd", &vectors::ZSTD)
}

/// Contents that compressors find easy, hard, and worst.
fn contents(sample: usize, out: &mut [u8]) {
    let mut random = Random::new(sample as u64);
    match sample {
        0 => out.fill(0),
        1 => random.fill(out),
        2 => out
            .iter_mut()
            .zip(0u32..)
            .for_each(|(b, i)| *b = (i / 300) as u8),
        3 => {
            // Matches of all lengths between literals of all lengths.
            random.fill(out);
            let mut at = 64;
            while at + 600 < out.len() {
                let len = random.below(500);
                let from = random.below(at - 32);
                out.copy_within(from..from + len.min(at - from), at);
                at += len + random.below(70) + 1;
            }
        }
        4 => {
            let plain = vectors::plain();
            out.chunks_mut(PAGE)
                .for_each(|p| p.copy_from_slice(&plain[..p.len()]));
        }
        // Four values: little to gain.
        _ => out.iter_mut().for_each(|b| *b = random.below(4) as u8 * 77),
    }
}

fn comes_back(name: &str) -> Verdict {
    let (save, load) = stages(name)?;
    let transform = find(name)?;
    check_eq!(transform.kind(), Kind::Compress);
    let mut plain = Buf::new(FRAME_RAW_MAX)?;
    let mut back = Buf::new(FRAME_RAW_MAX)?;
    for sample in 0..6 {
        contents(sample, &mut plain);
        for pages in [1, 2, 3, 8, 31, 32] {
            let src = &plain[..pages * PAGE];
            // Exactly as much room as it asks for.
            let mut stored = Buf::new(transform.worst_case(src.len()))?;
            let Some(len) = save.forward(&PLACE, src, &mut stored)? else {
                check!(sample == 1, "sample {sample} of {pages} pages");
                continue;
            };
            check!(len < src.len(), "sample {sample} of {pages} pages: {len}");
            let dst = &mut back[..src.len()];
            dst.fill(0xee);
            check_eq!(load.backward(&PLACE, &stored[..len], dst)?, src.len());
            check!(dst == src, "sample {sample} of {pages} pages");
        }
    }
    Ok(())
}

fn lz4_comes_back() -> Verdict {
    comes_back("lz4")
}

fn lzo_comes_back() -> Verdict {
    comes_back("lzo")
}

fn zstd_comes_back() -> Verdict {
    comes_back("zstd")
}

/// Undoing damaged data either fails or fills the whole frame, and leaves what is behind it alone.
fn survives(name: &str) -> Verdict {
    const LEN: usize = 4 * PAGE;
    let (save, load) = stages(name)?;
    let mut plain = Buf::new(LEN)?;
    contents(3, &mut plain);
    plain[LEN / 2..].fill(7);
    let mut good = Buf::new(find(name)?.worst_case(LEN))?;
    let len = save.forward(&PLACE, &plain, &mut good)?.ok_or(EINVAL)?;
    let mut random = Random::new(9);
    let mut bad = Buf::new(LEN * 2)?;
    let mut out = Buf::new(LEN + PAGE)?;
    let mut refused = 0;
    for round in 0..600 {
        let used = match round % 3 {
            // Cut off.
            0 => random.below(len),
            // A few bytes changed.
            1 => {
                bad[..len].copy_from_slice(&good[..len]);
                for _ in 0..1 + random.below(3) {
                    bad[random.below(len)] ^= 1 << random.below(8);
                }
                len
            }
            // Nothing that anybody made.
            _ => {
                random.fill(&mut bad);
                random.below(LEN * 2)
            }
        };
        let src = if round % 3 == 0 {
            &good[..used]
        } else {
            &bad[..used]
        };
        out.fill(0xee);
        match load.backward(&PLACE, src, &mut out[..LEN]) {
            Ok(n) => check_eq!(n, LEN),
            Err(e) => {
                check_eq!(e, errno::error(errno::EBADMSG));
                refused += 1;
            }
        }
        check!(out[LEN..].iter().all(|b| *b == 0xee), "round {round}");
    }
    check!(refused >= 400, "only {refused} were refused");
    // And it still works.
    check_eq!(load.backward(&PLACE, &good[..len], &mut out[..LEN])?, LEN);
    check!(out[..LEN] == plain[..]);
    Ok(())
}

fn lz4_survives_anything() -> Verdict {
    survives("lz4")
}

fn lzo_survives_anything() -> Verdict {
    survives("lzo")
}

fn zstd_survives_anything() -> Verdict {
    survives("zstd")
}

fn refuse_parameters() -> Verdict {
    for name in ALL {
        let transform = find(name)?;
        let mut out = [0; 64];
        check_eq!(transform.parameters(&mut out)?, 0);
        for direction in [Direction::Save, Direction::Load] {
            let stage = transform.stage(direction, b"level=9");
            check_eq!(stage.err(), Some(EINVAL), "{name}");
        }
    }
    Ok(())
}

fn refuse_too_little_room() -> Verdict {
    for name in ALL {
        let (save, load) = stages(name)?;
        let worst = find(name)?.worst_case(PAGE);
        let mut stored = Buf::new(worst)?;
        let plain = vectors::plain();
        let little = save.forward(&PLACE, &plain, &mut stored[..worst - 1]);
        check_eq!(little.err(), Some(E2BIG), "{name}");
        let len = save.forward(&PLACE, &plain, &mut stored)?.ok_or(EINVAL)?;
        // A frame has exactly the length that its header says.
        for other in [PAGE - 1, PAGE + 1, 0] {
            let mut out = Buf::new(other)?;
            let result = load.backward(&PLACE, &stored[..len], &mut out);
            check_eq!(
                result.err(),
                Some(errno::error(errno::EBADMSG)),
                "{name}: {other}"
            );
        }
    }
    Ok(())
}
