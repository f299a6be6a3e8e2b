// SPDX-License-Identifier: GPL-2.0

//! What earlier cycles and settings left behind.

use anyhow::Result;

use super::{locator, Check};
use crate::cli::Context;
use crate::command::image::{self as images, PlaceArgs};
use crate::control::{Choice, Shown};
use crate::text;

pub(super) fn checks(context: &Context) -> Result<Vec<Check>> {
    let mut all = vec![image(context)];
    all.extend(memory(context));
    all.push(last_result(context)?);
    all.extend(mode(context));
    all.extend(kept_running(context)?);
    Ok(all)
}

fn image(context: &Context) -> Check {
    let name = "image";
    let shown = match context.control.shown() {
        Ok(shown) => shown,
        Err(error) => return Check::unknown(name, format!("{error:#}")),
    };
    match shown.filter(Shown::waits) {
        None => Check::ok(name, "none waits to be resumed"),
        Some(image) => {
            let saved = image.saved_at.map_or(String::new(), |time| {
                format!(", saved {}", text::date(time))
            });
            let passed = image
                .passed
                .map_or(String::new(), |passed| format!(": {passed}"));
            Check::fail(
                name,
                format!("one was not resumed, state {}{saved}{passed}", image.state),
                "this system has gone on without it, so it must not be resumed any more: unless you are in the initramfs, echo erase > /sys/power/hibernate/image",
            )
        }
    }
}

/// Whether an image that waits was made with as much memory as there is; only if it can be found.
fn memory(context: &Context) -> Option<Check> {
    let name = "memory";
    context
        .control
        .shown()
        .ok()
        .flatten()
        .filter(Shown::waits)?;
    let (major, minor, offset) = locator::looks(context)?;
    let device = context.system.device(major, minor)?;
    let then = ram_pages(&PlaceArgs::of(device.to_str()?, offset)).ok()?;
    let now = context.system.ram_pages()?;
    Some(match then == now {
        true => Check::ok(
            name,
            format!("{} as when the image was saved", text::pages(now)),
        ),
        false => Check::fail(
            name,
            format!(
                "the image was made with {} ({then} pages) of memory, and now there are {} ({now})",
                text::pages(then),
                text::pages(now)
            ),
            "it will not be resumed: put memory back as it was, or erase the image",
        ),
    })
}

fn ram_pages(place: &PlaceArgs) -> Result<u64> {
    let place = images::find(place)?;
    let disks = images::disks(&place, &[])?;
    let opened = images::open(&place, &disks)?;
    let header = opened.header().map_err(|fault| images::failure(&fault))?;
    Ok(header.facts.ram_pages)
}

fn last_result(context: &Context) -> Result<Check> {
    let name = "last result";
    let last = context.control.last_result()?;
    Ok(match last.errno {
        0 => Check::ok(name, last.sentence),
        errno => Check::note(
            name,
            format!("{} ({errno}, in step {})", last.sentence, last.step),
            "the admin guide says what to do about each sentence",
        ),
    })
}

/// Modes that do not end with the machine off.
fn mode(context: &Context) -> Option<Check> {
    let name = "mode";
    let modes = Choice::parse(&context.system.read("sys/power/disk")?)?;
    let found = format!("/sys/power/disk is {}", modes.chosen);
    Some(match modes.chosen.as_str() {
        "platform" | "shutdown" => Check::ok(name, found),
        _ => Check::note(name, found, "the machine does not stay off in the end"),
    })
}

fn kept_running(context: &Context) -> Result<Option<Check>> {
    let name = "keep_running";
    let list = context.control.get("keep_running")?;
    let gone: Vec<&str> = list
        .split_whitespace()
        .filter(|pid| !context.system.path(&format!("proc/{pid}")).exists())
        .collect();
    Ok((!gone.is_empty()).then(|| {
        let found = format!("tasks {} are not there any more", gone.join(", "));
        Check::note(name, found, "dormouse config set keep_running=")
    }))
}
