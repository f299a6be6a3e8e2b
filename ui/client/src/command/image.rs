// SPDX-License-Identifier: GPL-2.0

//! `dormouse image`: what is in an image, without the kernel's help.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{bail, Result};
use dormouse_image::device::{self, Where};
use dormouse_image::export::Export;
use dormouse_image::fault::{Fault, Reason};
use dormouse_image::open::Opened;
use dormouse_image::place::{Disks, Found, Place};
use dormouse_image::target::Target;

use crate::cli::Context;
use crate::failure::{Code, Failure};

mod erase;
mod extract;
mod info;
pub mod key;
mod verify;

/// Subcommands of `image`.
#[derive(clap::Subcommand)]
pub enum Command {
    /// Say what an image is: when, of which kernel, how it was made
    Info(PlaceArgs),
    /// Check every part of an image, and with its key every tag
    Verify(verify::Args),
    /// Remove an image and give the place its own signature back
    Erase(erase::Args),
    /// Write the memory in an image to an ELF core, for a debugger
    Extract(extract::Args),
}

/// Where an image is.
#[derive(clap::Args)]
pub struct PlaceArgs {
    /// Block device, swap file, file for images, copy of one of these, MAJOR:MINOR[:OFFSET],
    /// UUID=...[:OFFSET] or nbd://HOST[:PORT]/EXPORT
    place: String,
    /// Where on the device the file begins, in blocks of 4096 bytes, as resume_offset= has it
    #[arg(long, default_value_t = 0)]
    offset: u64,
    /// A swap area, or a copy of it, that holds another part of the image, or pages of its system;
    /// can be given several times
    #[arg(long)]
    member: Vec<PathBuf>,
    /// How long the server of an export may take for an answer, in seconds
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=3600))]
    timeout: u64,
}

impl PlaceArgs {
    /// What begins in block `offset` of `place`.
    pub fn of(place: &str, offset: u64) -> PlaceArgs {
        PlaceArgs {
            place: place.to_string(),
            offset,
            member: Vec::new(),
            timeout: 30,
        }
    }
}

/// Looks into an image.
///
/// # Errors
///
/// When there is none, or it is not as it should be.
pub fn run(context: &Context, command: &Command) -> Result<()> {
    match command {
        Command::Info(args) => info::run(context, args),
        Command::Verify(args) => verify::run(context, args),
        Command::Erase(args) => erase::run(context, args),
        Command::Extract(args) => extract::run(context, args),
    }
}

fn usage(why: impl Into<String>) -> anyhow::Error {
    Failure::error(Code::Usage, why)
}

/// Device, file or export, and its block, that `args` mean.
fn locate(args: &PlaceArgs) -> Result<(Where, u64)> {
    let text = &args.place;
    let at = |path: &Path, offset| Ok((path.into(), offset));
    // A path is taken as it is, relative or not.
    if Path::new(text).exists() {
        return at(Path::new(text), args.offset);
    }
    let by_uuid = |uuid: &str| Path::new("/dev/disk/by-uuid").join(uuid);
    match Target::parse(text) {
        Ok(Target::Number {
            major,
            minor,
            offset,
        }) => at(&device::by_number(major, minor), offset.max(args.offset)),
        Ok(Target::Uuid(_) | Target::UuidOffset { .. }) => {
            let uuid = text.trim_start_matches("UUID=");
            let (uuid, offset) = uuid.split_once(':').unwrap_or((uuid, "0"));
            at(&by_uuid(uuid), offset.parse().unwrap_or(0).max(args.offset))
        }
        Ok(Target::Nbd(nbd)) => {
            let timeout = Duration::from_secs(args.timeout);
            Ok((Where::Export(Export::new(&nbd, timeout)), args.offset))
        }
        Ok(Target::Auto) => Err(usage(
            "say where the image is: a device, a file or an export",
        )),
        Ok(Target::Device(_) | Target::File(_)) => at(Path::new(text), args.offset),
        Err(why) if text.starts_with("nbd:") => Err(usage(why.sentence())),
        Err(_) => Err(usage(format!(
            "there is no {}: name a device, a file or an export",
            text.escape_debug()
        ))),
    }
}

/// The place that `args` mean, which has a mark of Dormouse.
///
/// # Errors
///
/// When it cannot be read, or has none.
pub fn find(args: &PlaceArgs) -> Result<Place> {
    let (place, block) = locate(args)?;
    match Place::find(&place, block) {
        Ok(Found::Place(place)) => Ok(*place),
        Ok(Found::Nothing(what)) => Err(Failure::error(
            Code::Nothing,
            format!("there is no image: {place} {what}"),
        )),
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
            Err(Failure::not_root("read", place))
        }
        Err(error) => bail!("{place} cannot be read: {error}"),
    }
}

/// All blocks of the image at `place`, if there is one that can be used.
///
/// # Errors
///
/// When there is none, it is of no use any more, or a part is missing.
pub fn disks(place: &Place, members: &[PathBuf]) -> Result<Disks> {
    let sb = place.superblock().map_err(|fault| failure(&fault))?;
    if !sb.state.is_image() {
        let sentence = format!(
            "there is no image: {} says \"{}\"",
            place.place(),
            sb.state.name()
        );
        return Err(Failure::error(Code::Nothing, sentence));
    }
    if let Some(why) = place.discarded() {
        bail!("the image is of no use any more: {why}");
    }
    place.disks(members).map_err(|fault| failure(&fault))
}

/// What describes the image on `disks`.
///
/// # Errors
///
/// When it is not as it should be.
pub fn open<'d>(place: &Place, disks: &'d Disks) -> Result<Opened<'d>> {
    let sb = place.superblock().map_err(|fault| failure(&fault))?;
    Opened::open(disks, sb.clone()).map_err(|fault| failure(&fault))
}

/// The sentence and exit code of a fault.
pub fn failure(fault: &Fault) -> anyhow::Error {
    let code = match fault.reason {
        Reason::Image(error) if error.errno() == nix::libc::EOPNOTSUPP => Code::Failed,
        _ if fault.is_damage() => Code::Damaged,
        _ => Code::Failed,
    };
    Failure::error(code, fault.to_string())
}

/// Refuses a path that this system swaps to: what is written there would be lost, or worse.
fn not_in_use(context: &Context, place: &Where) -> Result<()> {
    let Where::Path(path) = place else {
        return Ok(());
    };
    let real = fs::canonicalize(path).ok();
    let swaps = context.system.swaps();
    let used = swaps
        .iter()
        .any(|area| fs::canonicalize(&area.file).ok() == real && real.is_some());
    if used {
        bail!("{place} is in use as swap space: swapoff {place} first");
    }
    Ok(())
}
