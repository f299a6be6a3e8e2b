// SPDX-License-Identifier: GPL-2.0

//! `dormouse image erase`.

use anyhow::Result;
use dormouse_image::image::superblock::State;

use super::{failure, find, not_in_use, PlaceArgs};
use crate::cli::Context;
use crate::failure::{Code, Failure};
use crate::output;
use crate::text;

/// Options of `image erase`.
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    place: PlaceArgs,
    /// Do not ask
    #[arg(long)]
    yes: bool,
}

/// Removes the image.
///
/// # Errors
///
/// When there is none, the place is in use, or nobody says yes.
pub(super) fn run(context: &Context, args: &Args) -> Result<()> {
    let place = find(&args.place)?;
    let sb = place.superblock().map_err(|fault| failure(&fault))?;
    let path = place.place();
    if sb.state == State::Empty {
        let sentence = format!("there is no image: {path} says \"empty\"");
        return Err(Failure::error(Code::Nothing, sentence));
    }
    not_in_use(context, path)?;
    let saved = match sb.saved_at {
        0 => String::new(),
        time => format!(", saved {}", text::date(time)),
    };
    let question = format!(
        "{path} has an image, state {}{saved}.\nWhat was in the memory of that system is lost then. Erase it?",
        sb.state.name()
    );
    let what = format!("erase the image on {path}");
    output::confirm(args.yes, &what, &question, "nothing was changed")?;
    let missing = place
        .erase(&args.place.member)
        .map_err(|fault| failure(&fault))?;
    let mut said = format!("{path} has no image any more");
    for area in missing {
        let (name, uuid) = (&area.path, &area.uuid);
        said.push_str(&format!(
            "; swap area {name} (UUID {uuid}), which had pages of that system, is not to be found and keeps its mark: attach it, or name it with --member, and erase again"
        ));
    }
    context.output.say(said)
}
