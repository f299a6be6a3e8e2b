// SPDX-License-Identifier: GPL-2.0

//! Images that a boot went on without.
//!
//! An image that was kept stays armed, and the boot that kept it goes on and
//! mounts filesystems. What can be seen of these the next boot refuses; what
//! cannot be seen it would have to take on trust. So the superblock says that a
//! boot went on without the image, and from then on trust needs a person.
//!
//! The boot that looks again itself, with a key or a module that was missing at
//! first, is not meant: an initramfs asks several times before it mounts
//! anything. So each boot has a number.

#![forbid(unsafe_code)]

use super::{get_superblock, put_superblock};
use crate::image::superblock::Superblock;
use crate::registry;
use crate::storage::{Place, Signature, Space};
use crate::sys::random;
use core::sync::atomic::{AtomicU64, Ordering};
use kernel::prelude::*;

/// Number of this boot: random, and not 0. Any context.
fn this_boot() -> u64 {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let mut bytes = [0; 8];
    random::fill_random(&mut bytes);
    let new = u64::from_le_bytes(bytes).max(1);
    match NUMBER.compare_exchange(0, new, Ordering::Relaxed, Ordering::Relaxed) {
        Ok(_) => new,
        Err(number) => number,
    }
}

/// Whether a boot before this one went on without the image. Any context.
pub(super) fn by_another_boot(sb: &Superblock) -> bool {
    sb.passed_by != 0 && sb.passed_by != this_boot()
}

/// Notes in `sb`, which is written later, that this boot goes on without the
/// image. Any context.
pub(super) fn note(sb: &mut Superblock) {
    if sb.state.is_image() && sb.passed_by == 0 {
        sb.passed_by = this_boot();
    }
}

/// Notes that on the medium, once for each image. A medium that cannot be
/// written stays as it is, and nothing is worse than before. May sleep.
pub(super) fn record(space: &dyn Space, sb: &mut Superblock) {
    if !sb.state.is_image() || sb.passed_by != 0 {
        return;
    }
    note(sb);
    let result = sb
        .advance(sb.state)
        .map_err(Error::from)
        .and_then(|()| put_superblock(space, sb, Signature::Image));
    if let Err(e) = result {
        pr_notice!(
            "it could not be noted on the storage that this boot goes on without the image ({})\n",
            e.to_errno()
        );
    }
}

/// The same for an image at `place` that could not be opened, where its
/// superblock alone can be. May sleep.
pub(super) fn record_at(place: Place<'_>) {
    let Ok(registry) = registry::get() else {
        return;
    };
    let Ok(writers) = registry.writers.all() else {
        return;
    };
    for writer in writers.iter() {
        let Ok(space) = writer.open_mark(place) else {
            continue;
        };
        if let Ok(Some((mut sb, Signature::Image))) = get_superblock(&*space) {
            record(&*space, &mut sb);
        }
    }
}
