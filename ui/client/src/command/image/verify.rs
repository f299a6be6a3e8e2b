// SPDX-License-Identifier: GPL-2.0

//! `dormouse image verify`.

use std::fmt::Write;
use std::io::IsTerminal;
use std::path::PathBuf;

use anyhow::{bail, Context as _, Result};
use dormouse_image::check::{check, Report};
use dormouse_image::image::cipher::params::{Params, USER_KEY_MAX, USER_KEY_MIN};
use dormouse_image::image::Error;
use dormouse_image::keys::Keys;
use dormouse_image::open::Opened;
use serde::Serialize;
use zeroize::Zeroizing;

use super::{failure, find, PlaceArgs};
use crate::cli::Context;
use crate::failure::{Code, Failure};
use crate::hint::Hint;
use crate::passphrase;
use crate::text;

/// Options of `image verify`.
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    place: PlaceArgs,
    /// Read the passphrase from standard input, to the first newline
    #[arg(long)]
    stdin: bool,
    /// File with the secret of the key, where it does not come from a passphrase
    #[arg(long, conflicts_with = "stdin")]
    key_file: Option<PathBuf>,
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
    faults: Vec<String>,
}

/// The user's key.
fn user_key(args: &Args, parameters: &[u8]) -> Result<Zeroizing<Vec<u8>>> {
    if let Some(path) = &args.key_file {
        let shown = path.display();
        let key = std::fs::read(path).with_context(|| format!("cannot read {shown}"))?;
        if !(USER_KEY_MIN..=USER_KEY_MAX).contains(&key.len()) {
            bail!(
                "{shown} has {} bytes: a key has {USER_KEY_MIN} to {USER_KEY_MAX}",
                key.len()
            );
        }
        return Ok(Zeroizing::new(key));
    }
    let damaged = |error: Error| Failure::error(Code::Damaged, format!("header: {error}"));
    let params = Params::decode(parameters).map_err(damaged)?;
    let hint: Hint = params.hint.parse().with_context(|| {
        let key = format!("{}:{}", params.key_type.name(), params.description);
        format!("the image needs the key {key}: give its secret with --key-file, or check without it with --no-key")
    })?;
    if !args.stdin && !std::io::stdin().is_terminal() {
        bail!("the image is encrypted: give the passphrase with --stdin, or check without it with --no-key");
    }
    let passphrase = passphrase::of_image(args.stdin)?;
    Ok(Zeroizing::new(hint.key(passphrase.as_bytes())?.to_vec()))
}

/// The keys of an encrypted image, if they are wanted.
fn keys(args: &Args, opened: &Opened<'_>) -> Result<Option<Keys>> {
    let encryptor = opened.encryptor().map_err(|fault| failure(&fault))?;
    let Some((name, parameters)) = encryptor.filter(|_| !args.no_key) else {
        return Ok(None);
    };
    let key = user_key(args, parameters)?;
    match Keys::open(&key, name, parameters) {
        Ok(keys) => Ok(Some(keys)),
        Err(Error::BadTag) => {
            bail!("this key does not open the image: it is another one, or the image was altered")
        }
        Err(error) => Err(Failure::error(Code::Damaged, format!("header: {error}"))),
    }
}

/// Checks the image.
///
/// # Errors
///
/// When there is none, or something is wrong with it.
pub(super) fn run(context: &Context, args: &Args) -> Result<()> {
    let place = find(&args.place)?;
    let sb = place.superblock().map_err(|fault| failure(&fault))?;
    if !sb.state.is_image() {
        let sentence = format!(
            "there is no image: {} says \"{}\"",
            place.path().display(),
            sb.state.name()
        );
        return Err(Failure::error(Code::Nothing, sentence));
    }
    if let Some(why) = place.discarded() {
        bail!("the image is of no use any more: {why}");
    }
    let disks = place
        .disks(&args.place.member)
        .map_err(|fault| failure(&fault))?;
    let opened = Opened::open(&disks, sb.clone()).map_err(|fault| failure(&fault))?;
    let keys = keys(args, &opened)?;
    let total = opened.chunks().map_err(|fault| failure(&fault))?.len();
    let shows = std::io::stderr().is_terminal();
    let report = check(&opened, keys.as_ref(), |done| {
        if shows && (done % 64 == 0 || done == total) {
            eprint!("\rchecked {} %", done * 100 / total.max(1));
        }
    });
    if shows {
        eprint!("\r\x1b[K");
    }
    let report = report.map_err(|fault| failure(&fault))?;
    let verdict = Verdict {
        path: place.path().display().to_string(),
        good: report.is_good(),
        frames: report.frames,
        pages: report.pages,
        stored_bytes: report.stored_bytes,
        tags_checked: report.authenticated,
        contents_checked: report.contents,
        not_checked: &report.contents_unknown,
        fault_count: report.fault_count,
        faults: report.faults.iter().map(ToString::to_string).collect(),
    };
    context.output.print(&verdict, || words(&verdict))?;
    judge(&report)
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
