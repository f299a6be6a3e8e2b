// SPDX-License-Identifier: GPL-2.0

//! Making a file: never from one that somebody else has put something into.

#![forbid(unsafe_code)]

use crate::image::BLOCK;
use crate::page;
use crate::pinned::{new_id, BYTES_MIN};
use crate::refusal;
use dormouse::engine;
use dormouse::sys::buf::Buf;
use dormouse::sys::file::{Access, File};
use dormouse::target::{self, Target};
use kernel::prelude::*;
use kernel::str::CString;

/// Bytes that are written at a time.
const PART: usize = 1 << 20;

/// Makes what `request`, a path and a size, asks for. May sleep, for as long
/// as the device needs to write all of it.
///
/// # Errors
///
/// `EINVAL` for something else, `EEXIST` for a file that has anything in it,
/// `ENOSPC`; why a file cannot be used, with the reason recorded.
pub(crate) fn create(request: &str) -> Result {
    let (path, bytes) = parse(request)?;
    let name = CString::try_from_fmt(format_args!("{path}"))?;
    match File::open(&name, Access::Create) {
        Ok(file) => fill_new(path, &file, bytes).inspect_err(|_| {
            if file.remove().is_err() {
                pr_err!("{}: it could not be removed again\n", path);
            }
        }),
        Err(e) if e == EEXIST => {
            let file = File::open(&name, Access::Write).map_err(|e| refusal::of_open(path, e))?;
            fill_existing(path, &file, bytes)
        }
        Err(e) => Err(engine::fail(
            e,
            format_args!("file {path} could not be made"),
        )),
    }
}

fn parse(request: &str) -> Result<(&str, u64)> {
    let usage = |e: Error| {
        engine::fail(
            e,
            format_args!("a file is made of a path and its size in bytes, with K, M or G behind it or not: /PATH SIZE"),
        )
    };
    let (path, size) = request.rsplit_once(' ').ok_or_else(|| usage(EINVAL))?;
    let bytes = target::parse_unsigned(size).map_err(|_| usage(EINVAL))?;
    let path = match Target::parse(path) {
        Ok(Target::File(path)) => path,
        _ => return Err(usage(EINVAL)),
    };
    let bytes = bytes
        .checked_next_multiple_of(BLOCK as u64)
        .ok_or_else(|| usage(EINVAL))?;
    if bytes < BYTES_MIN {
        return Err(engine::fail(
            EINVAL,
            format_args!("a file for images has {BYTES_MIN} bytes at least, and not {bytes}"),
        ));
    }
    Ok((path, bytes))
}

fn failed(path: &str, e: Error) -> Error {
    if e == ENOSPC {
        return engine::fail(
            e,
            format_args!("the filesystem of {path} has no room for a file of that size"),
        );
    }
    engine::fail(e, format_args!("file {path} could not be written"))
}

fn fill_new(path: &str, file: &File, bytes: u64) -> Result {
    // On btrfs it becomes one without copying on write.
    file.allocate(bytes).map_err(|e| failed(path, e))?;
    refusal::check(path, file)?;
    write_all(file, bytes).map_err(|e| failed(path, e))
}

fn fill_existing(path: &str, file: &File, bytes: u64) -> Result {
    let info = file.info();
    if info.bytes() == 0 && !file.is_open_for_write() {
        return fill_new(path, file, bytes);
    }
    refusal::check(path, file)?;
    if file.is_open_for_write() {
        return Err(engine::fail(
            ETXTBSY,
            format_args!("file {path} is open for writing by somebody"),
        ));
    }
    let mut first = Buf::new(BLOCK)?;
    file.read(0, &mut first)?;
    let ours = page::decode_label(&first).is_ok();
    if ours && info.bytes() == bytes {
        return Ok(());
    }
    if ours || info.bytes() != bytes || !is_zero(file, bytes)? {
        return Err(engine::fail(
            EEXIST,
            format_args!(
                "file {path} is there already and has {} bytes{}; nothing was changed",
                info.bytes(),
                if ours { "" } else { ", not all of them zero" }
            ),
        ));
    }
    write_all(file, bytes).map_err(|e| failed(path, e))
}

/// Calls `f` with the place and length of each part of `bytes`.
fn parts(bytes: u64, mut f: impl FnMut(u64, usize) -> Result<bool>) -> Result<bool> {
    let mut at = 0u64;
    while at < bytes {
        let len = usize::try_from(bytes.saturating_sub(at))?.min(PART);
        if !f(at, len)? {
            return Ok(false);
        }
        at = at.saturating_add(len as u64);
    }
    Ok(true)
}

fn is_zero(file: &File, bytes: u64) -> Result<bool> {
    let mut buf = Buf::new(PART)?;
    parts(bytes, |at, len| {
        let part = buf.get_mut(..len).ok_or(EINVAL)?;
        Ok(file.read(at, part)? == len && part.iter().all(|&b| b == 0))
    })
}

/// Writes zeros everywhere, so that there are blocks everywhere, and then the
/// first page.
fn write_all(file: &File, bytes: u64) -> Result {
    let zeros = Buf::new(PART)?;
    parts(bytes, |at, len| {
        file.write(at, zeros.get(..len).ok_or(EINVAL)?)?;
        Ok(true)
    })?;
    file.sync()?;
    let mut first = Buf::new(BLOCK)?;
    let page = first.first_chunk_mut().ok_or(EINVAL)?;
    page::new_page(page, new_id(), bytes / BLOCK as u64)?;
    file.write(0, &first)?;
    file.sync()
}
