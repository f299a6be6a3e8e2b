// SPDX-License-Identifier: GPL-2.0

//! `dormouse image info`.

use std::fmt::Write;

use anyhow::Result;
use dormouse_image::image::cipher::params::Params;
use dormouse_image::image::header::TransformKind;
use dormouse_image::image::superblock::Superblock;
use dormouse_image::open::Opened;
use dormouse_image::place::{bystanders, Bystander, Condition, Place};
use serde::Serialize;

use super::{failure, find, key, PlaceArgs};
use crate::cli::Context;
use crate::control::PAGE;
use crate::text;

#[derive(Serialize)]
struct Key {
    key: String,
    hint: String,
}

/// A swap area with pages of the saved system that holds no part of the image.
#[derive(Serialize)]
struct SwapArea {
    path: String,
    uuid: String,
    label: String,
    state: &'static str,
    found_at: Option<String>,
    needed: bool,
}

impl SwapArea {
    fn of(area: Bystander) -> SwapArea {
        let (state, at) = match &area.condition {
            Condition::Waits(at) => ("waits", Some(at)),
            Condition::Used(at) => ("used", Some(at)),
            Condition::Twice(at, _) => ("twice", Some(at)),
            Condition::Elsewhere(at) => ("elsewhere", Some(at)),
            Condition::Unreadable(at, _) => ("unreadable", Some(at)),
            Condition::Missing => ("missing", None),
        };
        SwapArea {
            state,
            found_at: at.map(|path| path.display().to_string()),
            path: area.path,
            uuid: area.uuid,
            label: area.label,
            needed: area.needed,
        }
    }

    /// Whether the image can be resumed as far as this one is concerned.
    fn is_fine(&self) -> bool {
        let is_nowhere = ["missing", "unreadable"].contains(&self.state);
        self.state == "waits" || (is_nowhere && !self.needed)
    }

    fn words(&self) -> String {
        let what = match self.state {
            "used" => ", put to use since: the image is of no use any more",
            "twice" => ", there twice, once put to use since: detach the copy",
            "elsewhere" => ", not where it was, and found as a copy or put to use since: attach it, or name it with --member",
            "unreadable" => ", not to be found, and what may be it cannot be read: verify says why",
            "missing" => ", not to be found: attach it, or name it with --member",
            _ => "",
        };
        format!("{}, UUID {}{what}", self.path, self.uuid)
    }
}

/// What describes the image.
#[derive(Serialize)]
struct Description {
    release: String,
    kernel_version: String,
    machine: String,
    memory_bytes: u64,
    snapshot: String,
    writer: String,
    transforms: Vec<String>,
    platform: bool,
    key: Option<Key>,
    pages: u64,
    filled_pages: u64,
    frames: u64,
    stored_bytes: u64,
    swap_areas: Vec<SwapArea>,
}

#[derive(Serialize)]
struct Info {
    path: String,
    kind: &'static str,
    uuid: Option<String>,
    state: &'static str,
    saved_at: i64,
    attempts: u32,
    identity: String,
    resumable: bool,
    discarded: Option<&'static str>,
    passed: bool,
    last_errno: u32,
    last_failure: Option<String>,
    image: Option<Description>,
    unreadable: Option<String>,
}

fn describe(place: &Place, args: &PlaceArgs) -> Result<Description, String> {
    let disks = place
        .disks(&args.member)
        .map_err(|fault| fault.to_string())?;
    let superblock = place
        .superblock()
        .map_err(|fault| fault.to_string())?
        .clone();
    let opened = Opened::open(&disks, superblock).map_err(|fault| fault.to_string())?;
    let header = opened.header().map_err(|fault| fault.to_string())?;
    let encrypting = header
        .transforms()
        .find(|t| t.kind == TransformKind::Encrypt);
    let key = encrypting.and_then(|t| {
        let params = Params::decode(t.params).ok()?;
        Some(Key {
            key: key::name(&params),
            hint: params.hint.to_string(),
        })
    });
    let areas = bystanders(&opened, &args.member).map_err(|fault| fault.to_string())?;
    let (facts, commit) = (&header.facts, &opened.commit);
    Ok(Description {
        release: facts.release.to_string(),
        kernel_version: facts.kversion.to_string(),
        machine: facts.machine.to_string(),
        memory_bytes: facts.ram_pages.saturating_mul(PAGE),
        snapshot: facts.snapshot.to_string(),
        writer: facts.writer.to_string(),
        transforms: header.transforms().map(|t| t.name.to_string()).collect(),
        platform: header.platform_mode(),
        key,
        pages: commit.image_pages,
        filled_pages: commit.fill_pages,
        frames: commit.frames,
        stored_bytes: commit.stored_bytes,
        swap_areas: areas.into_iter().map(SwapArea::of).collect(),
    })
}

fn last_failure(sb: &Superblock) -> Option<String> {
    match sb.last_errno {
        0 => None,
        _ => Some(sb.reason().to_string()),
    }
}

/// Says what the image is.
///
/// # Errors
///
/// When there is none, or its mark is damaged.
pub(super) fn run(context: &Context, args: &PlaceArgs) -> Result<()> {
    let place = find(args)?;
    let sb = place.superblock().map_err(|fault| failure(&fault))?;
    let described = sb.state.is_image().then(|| describe(&place, args));
    let (image, unreadable) = match described {
        Some(Ok(image)) => (Some(image), None),
        Some(Err(why)) => (None, Some(why)),
        None => (None, None),
    };
    let fine = |image: &Description| image.swap_areas.iter().all(SwapArea::is_fine);
    let info = Info {
        path: place.place().to_string(),
        kind: place.kind(),
        uuid: place.uuid(),
        state: sb.state.name(),
        saved_at: sb.saved_at,
        attempts: sb.attempts,
        identity: sb.image_id.0.iter().map(|b| format!("{b:02x}")).collect(),
        resumable: place.has_image() && image.as_ref().is_some_and(fine),
        discarded: place.discarded().filter(|_| sb.state.is_image()),
        passed: sb.passed_by != 0,
        last_errno: sb.last_errno,
        last_failure: last_failure(sb),
        image,
        unreadable,
    };
    context.output.print(&info, || words(&info))
}

fn words(info: &Info) -> String {
    let mut out = String::new();
    let mut line = |name: &str, value: &str| {
        let _ = writeln!(out, "{name:<16}{value}");
    };
    mark_words(info, &mut line);
    if let Some(image) = &info.image {
        image_words(image, &mut line);
    }
    out
}

/// What the mark says, in lines of a name and a value.
fn mark_words(info: &Info, line: &mut impl FnMut(&str, &str)) {
    let uuid = info.uuid.as_deref().map(|uuid| format!(", UUID {uuid}"));
    line(
        "place",
        &format!("{} on {}{}", info.kind, info.path, uuid.unwrap_or_default()),
    );
    line("state", info.state);
    if info.saved_at != 0 {
        line("saved", &text::date(info.saved_at));
    }
    if info.attempts != 0 {
        line("loads begun", &info.attempts.to_string());
    }
    if let Some(why) = info.discarded {
        line("of no use", why);
    }
    if info.passed {
        line("passed", "a boot went on without it");
    }
    if let Some(why) = &info.last_failure {
        line("last failure", &format!("{why} (-{})", info.last_errno));
    }
    if let Some(why) = &info.unreadable {
        line("unreadable", why);
    }
}

/// What the image says of itself.
fn image_words(image: &Description, line: &mut impl FnMut(&str, &str)) {
    line(
        "kernel",
        &format!(
            "{} {}, {}",
            image.release, image.kernel_version, image.machine
        ),
    );
    line("memory", &text::bytes(image.memory_bytes));
    let transforms = match image.transforms.is_empty() {
        true => "nothing".to_string(),
        false => image.transforms.join(", then "),
    };
    line(
        "made with",
        &format!("{transforms}; written by {}", image.writer),
    );
    if let Some(key) = &image.key {
        line("key", &key.key);
    }
    for area in &image.swap_areas {
        line("pages on", &area.words());
    }
    line(
        "contents",
        &format!(
            "{} of pages, {} of them filled by one word; {} stored in {} frames",
            text::pages(image.pages),
            text::pages(image.filled_pages),
            text::bytes(image.stored_bytes),
            image.frames
        ),
    );
}
