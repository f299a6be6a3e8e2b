// SPDX-License-Identifier: GPL-2.0

//! Why a file cannot be used.

#![forbid(unsafe_code)]

use dormouse::engine;
use dormouse::errno;
use dormouse::sys::file::{File, Info};
use dormouse::sys::stack;
use kernel::prelude::*;

/// Checks what can be seen from outside of `file`, whose path is `path`. May
/// sleep.
///
/// # Errors
///
/// Why it cannot be used, with the reason recorded; `ENOMEM`.
pub(crate) fn check(path: &str, file: &File) -> Result<Info> {
    let info = file.info();
    if let Some((e, why)) = of_info(&info) {
        return Err(engine::fail(e, format_args!("file {path} {why}")));
    }
    let reason = match file.dev() {
        Some(dev) => stack::unfit(dev)?,
        None => None,
    };
    match reason {
        Some(why) => Err(engine::fail(
            errno::error(errno::EOPNOTSUPP),
            format_args!("file {path} {why}"),
        )),
        None => Ok(info),
    }
}

/// Why a file is not used that is as `info` says; the end of a sentence that
/// begins with its name.
fn of_info(info: &Info) -> Option<(Error, &'static str)> {
    let unsupported = errno::error(errno::EOPNOTSUPP);
    let why = if !info.is_on_known_fs() {
        (
            unsupported,
            "is not on ext4, xfs or btrfs on a disk: only these say where its blocks are, and leave them there",
        )
    } else if info.is_read_only() {
        (EROFS, "cannot be written")
    } else if info.is_unlinked() {
        (ENOENT, "was removed")
    } else if info.is_in_use() {
        (EBUSY, "is swap space already")
    } else if info.is_encrypted() {
        (
            unsupported,
            "is encrypted by the filesystem, which the next boot could not undo",
        )
    } else if info.is_compressed() {
        (
            unsupported,
            "is compressed by the filesystem, which could not leave its blocks where they are",
        )
    } else if info.is_inline() {
        (unsupported, "has its data in the inode, and no blocks")
    } else if info.is_journaled() {
        (unsupported, "has its data in the journal of the filesystem")
    } else if info.is_dax() {
        (
            unsupported,
            "can be written by programs without the kernel (DAX)",
        )
    } else if info.fs() == "btrfs" && !info.is_nocow() {
        (
            unsupported,
            "is copied on write, so its blocks do not stay where they are (chattr +C helps only while it is empty)",
        )
    } else if info.block_bytes() < crate::image::BLOCK {
        (
            unsupported,
            "is on a filesystem with blocks of less than 4096 bytes",
        )
    } else {
        return None;
    };
    Some(why)
}

/// Says why the file at `path` could not be opened.
pub(crate) fn of_open(path: &str, e: Error) -> Error {
    if e == ENOENT {
        return engine::fail(
            e,
            format_args!("there is no file {path}: write \"{path} SIZE\" to /sys/power/hibernate/modules/file/create"),
        );
    }
    if e == errno::error(errno::ELOOP) {
        return engine::fail(
            e,
            format_args!("{path} is a symbolic link: name the file itself"),
        );
    }
    if e == EINVAL {
        return engine::fail(e, format_args!("{path} is not an ordinary file"));
    }
    engine::fail(e, format_args!("file {path} could not be opened"))
}

/// Says why the blocks of the file at `path` cannot be kept where they are.
pub(crate) fn of_pin(path: &str, fs: &str, e: Error) -> Error {
    if e == errno::error(errno::ENODATA) {
        return engine::fail(EINVAL, format_args!(
            "file {path} has holes, or parts that were allocated but never written: they are no place for an image"
        ));
    }
    if e == ETXTBSY {
        return engine::fail(
            e,
            format_args!("file {path} is open for writing by somebody"),
        );
    }
    if e == EBUSY {
        return engine::fail(e, format_args!(
            "file {path} is in use: as swap space, by somebody who reads it, or by an exclusive operation of the filesystem"
        ));
    }
    if e == EINVAL && fs == "btrfs" {
        return engine::fail(e, format_args!(
            "file {path} shares blocks with a copy or a snapshot, is compressed, or is on a filesystem of several devices: btrfs does not leave its blocks where they are"
        ));
    }
    if e == EINVAL {
        return engine::fail(e, format_args!(
            "file {path} shares blocks with a copy (reflink), or is not on the main device of its filesystem"
        ));
    }
    engine::fail(
        e,
        format_args!("the filesystem does not leave the blocks of file {path} where they are"),
    )
}
