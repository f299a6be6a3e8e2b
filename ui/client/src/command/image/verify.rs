// SPDX-License-Identifier: GPL-2.0

//! `dormouse image verify`.

use std::fmt::Write;

use anyhow::{bail, Result};
use dormouse_image::check::{check, Report};
use dormouse_image::place::{bystanders, Bystander, Condition};
use serde::Serialize;

use super::key::KeyArgs;
use super::{failure, find, open, PlaceArgs};
use crate::cli::Context;
use crate::failure::{Code, Failure};
use crate::output::Percent;
use crate::text;

/// Options of `image verify`.
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    place: PlaceArgs,
    #[command(flatten)]
    key: KeyArgs,
    /// Do not ask for the passphrase: check what can be checked without
    #[arg(long, conflicts_with_all = ["stdin", "key_file"])]
    no_key: bool,
}

#[derive(Serialize)]
struct Verdict<'a> {
    path: String,
    good: bool,
    frames: u64,
    pages: u64,
    stored_bytes: u64,
    tags_checked: bool,
    contents_checked: bool,
    not_checked: &'a Option<String>,
    fault_count: u64,
    cut_short: bool,
    faults: Vec<String>,
}

/// Checks the image.
///
/// # Errors
///
/// When there is none, or something is wrong with it.
pub(super) fn run(context: &Context, args: &Args) -> Result<()> {
    let place = find(&args.place)?;
    let disks = super::disks(&place, &args.place.member)?;
    let opened = open(&place, &disks)?;
    let keys = match args.no_key {
        true => None,
        false => args.key.keys(
            &context.control,
            &opened,
            ", or check without it with --no-key",
        )?,
    };
    let total = opened.commit.chunks;
    let percent = Percent::new("checked");
    let report = check(&opened, keys.as_ref(), |done| {
        percent.at(done as u64, total)
    });
    drop(percent);
    let report = report.map_err(|fault| failure(&fault))?;
    let verdict = Verdict {
        path: place.place().to_string(),
        good: report.is_good(),
        frames: report.frames,
        pages: report.pages,
        stored_bytes: report.stored_bytes,
        tags_checked: report.authenticated,
        contents_checked: report.contents,
        not_checked: &report.contents_unknown,
        fault_count: report.fault_count,
        cut_short: report.is_cut_short,
        faults: report.faults.iter().map(ToString::to_string).collect(),
    };
    context.output.print(&verdict, || words(&verdict))?;
    judge(&report)?;
    let areas = bystanders(&opened, &args.place.member).map_err(|fault| failure(&fault))?;
    areas.iter().try_for_each(judge_area)
}

/// The image itself is good, and nevertheless of no use without pages that are elsewhere.
fn judge_area(area: &Bystander) -> Result<()> {
    let (path, uuid) = (&area.path, &area.uuid);
    match &area.condition {
        Condition::Waits(_) => Ok(()),
        Condition::Missing | Condition::Unreadable(..) if !area.needed => Ok(()),
        Condition::Unreadable(at, why) => bail!("swap area {path} (UUID {uuid}), which has pages of that system, is not to be found, and {} cannot be read: {why}. Make it readable, or name a copy of it with --member", at.display()),
        Condition::Missing => bail!("swap area {path} (UUID {uuid}), which has pages of that system, is not to be found: attach it, or name it or a copy of it with --member"),
        Condition::Twice(marked, bare) => bail!("swap area {path} (UUID {uuid}), which has pages of that system, is there twice: as it was saved at {}, and put to use since at {}. Detach the copy, or name the right one with --member", marked.display(), bare.display()),
        Condition::Elsewhere(at) => bail!("swap area {path} (UUID {uuid}), which has pages of that system, is not where it was, and {} is a copy, or was put to use since: attach it, or name it with --member", at.display()),
        Condition::Used(at) => bail!("swap area {path} (UUID {uuid}, now {}), which had pages of that system, was put to use since: the image is of no use any more. Erase it", at.display()),
    }
}

fn words(verdict: &Verdict<'_>) -> String {
    let mut out = String::new();
    for fault in &verdict.faults {
        let _ = writeln!(out, "{fault}");
    }
    let more = verdict
        .fault_count
        .saturating_sub(verdict.faults.len() as u64);
    if more != 0 {
        let _ = writeln!(out, "and {more} more");
    }
    if verdict.cut_short {
        let _ = writeln!(out, "that is enough: the rest was not looked at");
    }
    let tags = match verdict.tags_checked {
        true => ", and all tags",
        false => "",
    };
    let good = if verdict.good { "good" } else { "not good" };
    let _ = writeln!(
        out,
        "{good}: checked {} frames with {} pages in {}{tags}",
        verdict.frames,
        verdict.pages,
        text::bytes(verdict.stored_bytes)
    );
    if let Some(why) = verdict.not_checked {
        let _ = writeln!(
            out,
            "not checked: what is in the frames, and the index ({why})"
        );
    }
    out
}

fn judge(report: &Report) -> Result<()> {
    let Some(fault) = report.faults.first() else {
        return Ok(());
    };
    match report.faults.iter().find(|fault| fault.is_damage()) {
        Some(_) => Err(Failure::error(
            Code::Damaged,
            "the image is damaged: it will not be resumed. Erase it",
        )),
        None => bail!("the image cannot be read: {fault}"),
    }
}
