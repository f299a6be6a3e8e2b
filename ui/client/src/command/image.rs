// SPDX-License-Identifier: GPL-2.0

//! `dormouse image`: what is in an image, without the kernel's help.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Result;
use dormouse_image::device;
use dormouse_image::fault::{Fault, Reason};
use dormouse_image::place::{Found, Place};
use dormouse_image::target::Target;

use crate::cli::Context;
use crate::failure::{Code, Failure};

mod erase;
mod info;
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
}

/// Where an image is.
#[derive(clap::Args)]
pub struct PlaceArgs {
    /// Block device, swap file, file for images, copy of one of these, MAJOR:MINOR[:OFFSET] or
    /// UUID=...[:OFFSET]
    place: String,
    /// Where on the device the file begins, in blocks of 4096 bytes, as resume_offset= has it
    #[arg(long, default_value_t = 0)]
    offset: u64,
    /// A swap area, or a copy of it, that holds another part of the image; can be given several
    /// times
    #[arg(long)]
    member: Vec<PathBuf>,
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
    }
}

fn usage(why: impl Into<String>) -> anyhow::Error {
    Failure::error(Code::Usage, why)
}

/// Path and block that `args` mean.
fn locate(args: &PlaceArgs) -> Result<(PathBuf, u64)> {
    let text = &args.place;
    // A path is taken as it is, relative or not.
    if Path::new(text).exists() {
        return Ok((PathBuf::from(text), args.offset));
    }
    let by_uuid = |uuid: &str| Path::new("/dev/disk/by-uuid").join(uuid);
    match Target::parse(text) {
        Ok(Target::Number {
            major,
            minor,
            offset,
        }) => Ok((device::by_number(major, minor), offset.max(args.offset))),
        Ok(Target::Uuid(_) | Target::UuidOffset { .. }) => {
            let uuid = text.trim_start_matches("UUID=");
            let (uuid, offset) = uuid.split_once(':').unwrap_or((uuid, "0"));
            Ok((by_uuid(uuid), offset.parse().unwrap_or(0).max(args.offset)))
        }
        Ok(Target::Nbd(_)) => Err(usage(
            "an export cannot be read by itself yet: attach it with nbd-client or qemu-nbd and name the device, or name the file on the server",
        )),
        Ok(Target::Auto) => Err(usage("say where the image is: a device or a file")),
        Ok(Target::Device(_) | Target::File(_)) => Ok((PathBuf::from(text), args.offset)),
        Err(_) => Err(usage(format!(
            "there is no {}: name a device or a file",
            text.escape_debug()
        ))),
    }
}

/// The place that `args` mean, which has a mark of Dormouse.
fn find(args: &PlaceArgs) -> Result<Place> {
    let (path, block) = locate(args)?;
    let shown = path.display();
    match Place::find(&path, block) {
        Ok(Found::Place(place)) => Ok(*place),
        Ok(Found::Nothing(what)) => Err(Failure::error(
            Code::Nothing,
            format!("there is no image: {shown} {what}"),
        )),
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => Err(Failure::error(
            Code::NotRoot,
            format!("only root may read {shown}: run this as root, with sudo for example"),
        )),
        Err(error) => Err(anyhow::anyhow!("{shown} cannot be read: {error}")),
    }
}

/// The sentence and exit code of a fault.
fn failure(fault: &Fault) -> anyhow::Error {
    let code = match fault.reason {
        Reason::Image(error) if error.errno() == nix::libc::EOPNOTSUPP => Code::Failed,
        _ if fault.is_damage() => Code::Damaged,
        _ => Code::Failed,
    };
    Failure::error(code, fault.to_string())
}

/// Refuses a path that this system swaps to: what is written there would be lost, or worse.
fn not_in_use(context: &Context, path: &Path) -> Result<()> {
    let real = fs::canonicalize(path).ok();
    let swaps = context.system.swaps();
    let used = swaps
        .iter()
        .any(|area| fs::canonicalize(&area.path).ok() == real && real.is_some());
    if used {
        let path = path.display();
        anyhow::bail!("{path} is in use as swap space: swapoff {path} first");
    }
    Ok(())
}
