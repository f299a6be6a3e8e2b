// SPDX-License-Identifier: GPL-2.0

//! `dormouse image extract`.

use std::fs::File;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use dormouse_image::extract::{extract, Extracted, Failed};
use nix::sys::statvfs::fstatvfs;
use serde::Serialize;

use super::key::KeyArgs;
use super::{failure, find, open, PlaceArgs};
use crate::cli::Context;
use crate::failure::{Code, Failure};
use crate::newfile::{NewFile, NoFile};
use crate::output::Percent;
use crate::signals;
use crate::text;

/// Options of `image extract`.
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    place: PlaceArgs,
    /// File for the core; it holds everything that was in memory, and only you can read it
    core: PathBuf,
    #[command(flatten)]
    key: KeyArgs,
    /// Overwrite the file if it is there
    #[arg(long)]
    force: bool,
}

#[derive(Serialize)]
struct Done<'a> {
    path: String,
    core: String,
    pages: u64,
    zero_pages: u64,
    segments: u64,
    bytes: u64,
    virtual_addresses: bool,
    kernel_offset: Option<u64>,
    vmcoreinfo: Option<&'a str>,
}

fn written(path: &Path, error: std::io::Error) -> anyhow::Error {
    let shown = path.display();
    if let Some(why) = NoFile::of(&error) {
        return anyhow::anyhow!("{shown} {why}: it stays as it is. Name another file for the core");
    }
    match error.kind() {
        std::io::ErrorKind::PermissionDenied => Failure::error(
            Code::NotRoot,
            format!("{shown} may not be written by you: run this as root, or name another file"),
        ),
        std::io::ErrorKind::AlreadyExists => {
            anyhow::anyhow!("there is {shown} already: name another file, or say --force")
        }
        _ => anyhow::Error::new(error).context(format!("{shown} cannot be written")),
    }
}

/// Bytes that may be written to the filesystem of `file`.
fn free(file: &File) -> std::io::Result<u64> {
    let stat = fstatvfs(file)?;
    Ok(stat.blocks_available().saturating_mul(stat.fragment_size()))
}

/// Why there is no core at `path`.
fn failed(path: &Path, why: Failed) -> anyhow::Error {
    match why {
        Failed::Image(fault) => failure(&fault),
        Failed::Output(error) => written(path, error),
        Failed::NoRoom { needed, free } => anyhow::anyhow!(
            "the core takes {}, and where {} is to be there are {} free: name a file on a larger filesystem",
            text::bytes(needed),
            path.display(),
            text::bytes(free)
        ),
        Failed::Stopped => anyhow::anyhow!("stopped: nothing is left of {}", path.display()),
    }
}

/// Makes the core, as a whole or not at all.
///
/// # Errors
///
/// When there is no image, something is wrong with it, or the core cannot be written.
pub(super) fn run(context: &Context, args: &Args) -> Result<()> {
    let path = &args.core;
    // Said at once, and not after somebody has typed a passphrase.
    if !args.force && path.symlink_metadata().is_ok() {
        return Err(written(path, std::io::ErrorKind::AlreadyExists.into()));
    }
    let place = find(&args.place)?;
    let disks = super::disks(&place, &args.place.member)?;
    let opened = open(&place, &disks)?;
    let keys = args.key.keys(&context.control, &opened, "")?;
    // The file is removed if this is stopped.
    let held = signals::hold()?;
    let alarm = held.alarm()?;
    let new = NewFile::begin(path, args.force).map_err(|error| written(path, error))?;
    let percent = Percent::new("extracted");
    let file = new.file();
    let result = extract(
        &opened,
        keys.as_ref(),
        file,
        || free(file),
        |done, total| {
            percent.at(done, total);
            !alarm.is_due()
        },
    );
    drop(percent);
    let extracted = result.map_err(|why| failed(path, why))?;
    file.sync_all().context("the core cannot be written")?;
    new.keep(args.force).map_err(|error| written(path, error))?;
    drop(held);
    let done = Done {
        path: place.place().to_string(),
        core: path.display().to_string(),
        pages: extracted.pages,
        zero_pages: extracted.zero_pages,
        segments: extracted.segments,
        bytes: extracted.bytes,
        virtual_addresses: extracted.is_virtual,
        kernel_offset: extracted
            .info
            .as_ref()
            .and_then(|info| info.kernel_offset()),
        vmcoreinfo: extracted.info.as_ref().map(|info| info.text()),
    };
    context
        .output
        .print(&done, || words(&done.core, &extracted))
}

fn words(core: &str, extracted: &Extracted) -> String {
    let mut out = format!(
        "{core}: {} of memory in {} segments, {} of it zeros; {} with holes\n",
        text::pages(extracted.pages),
        extracted.segments,
        text::pages(extracted.zero_pages),
        text::bytes(extracted.bytes)
    );
    let Some(info) = &extracted.info else {
        out.push_str("no VMCOREINFO was found: crash has to be told how the kernel was moved\n");
        return out;
    };
    if let Some(offset) = info.kernel_offset() {
        out.push_str(&format!("the kernel was moved by {offset:#x}\n"));
    }
    if !extracted.is_virtual {
        out.push_str("segments have physical addresses only\n");
    }
    out
}
