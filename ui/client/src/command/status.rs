// SPDX-License-Identifier: GPL-2.0

//! `dormouse status`.

use std::fmt::Write;

use anyhow::Result;
use serde::Serialize;

use crate::cli::Context;
use crate::control::{Choice, LastResult, Progress, Shown};
use crate::room::Room;
use crate::settings;
use crate::text;

#[derive(Serialize)]
struct Choices {
    compressor: Choice,
    encryptor: Choice,
    writer: Choice,
    freezer: Choice,
    snapshot: Choice,
}

/// How things are.
#[derive(Serialize)]
struct Status {
    enabled: bool,
    state: String,
    progress: Progress,
    settings: Vec<(String, String)>,
    choices: Choices,
    key: Option<String>,
    last_result: LastResult,
    /// Absent while a cycle runs, when it cannot be looked at.
    image: Option<Shown>,
    image_unknown: Option<String>,
    room: Room,
}

fn look(context: &Context) -> Result<Status> {
    let control = &context.control;
    let (image, image_unknown) = match control.shown() {
        Ok(image) => (image, None),
        Err(error) => (None, Some(format!("{error:#}"))),
    };
    Ok(Status {
        enabled: control.get("enabled")? == "1",
        state: control.get("state")?,
        progress: control.progress()?,
        settings: settings::all(control)?,
        choices: Choices {
            compressor: control.choice("compressor")?,
            encryptor: control.choice("encryptor")?,
            writer: control.choice("writer")?,
            freezer: control.choice("freezer")?,
            snapshot: control.choice("snapshot")?,
        },
        key: control.get_if_there("key")?,
        last_result: control.last_result()?,
        image,
        image_unknown,
        room: Room::now(context)?,
    })
}

/// The image in one line.
fn image(status: &Status) -> String {
    if let Some(why) = &status.image_unknown {
        return format!("not known: {why}");
    }
    let Some(image) = &status.image else {
        return "none".to_string();
    };
    let mut line = image.state.clone();
    if let Some(saved_at) = image.saved_at.filter(|&time| time != 0) {
        let _ = write!(line, ", saved {}", text::date(saved_at));
    }
    match image.encryptor.as_deref() {
        None | Some("none") => {}
        Some(name) => {
            let key = image.key.as_deref().unwrap_or("an unknown key");
            let _ = write!(line, ", encrypted by {name} with {key}");
        }
    }
    if let Some(attempts @ 1..) = image.attempts {
        let _ = write!(line, ", {attempts} loads begun");
    }
    if let Some(passed) = &image.passed {
        let _ = write!(line, ", {passed}");
    }
    for (word, why) in [
        ("of no use", &image.discarded),
        ("damaged", &image.damaged),
        ("last failure", &image.last_failure),
    ] {
        if let Some(why) = why {
            let _ = write!(line, ", {word}: {why}");
        }
    }
    line
}

fn describe(status: &Status) -> String {
    let mut out = String::new();
    let mut line = |name: &str, value: &str| {
        let _ = writeln!(out, "{name:<17} {value}");
    };
    let enabled = match status.enabled {
        true => "yes: /sys/power/state and systemctl use Dormouse",
        false => "no: only \"dormouse hibernate\" uses Dormouse",
    };
    line("enabled", enabled);
    let state = match status.progress.is_moving() {
        true => format!("{}, {} %", status.state, status.progress.percent()),
        false => status.state.clone(),
    };
    line("state", &state);
    let choices = &status.choices;
    for (name, choice) in [
        ("compressor", &choices.compressor),
        ("encryptor", &choices.encryptor),
        ("writer", &choices.writer),
        ("freezer", &choices.freezer),
        ("snapshot", &choices.snapshot),
    ] {
        line(
            name,
            &format!("{} (of {})", choice.chosen, choice.of.join(", ")),
        );
    }
    if let Some(key) = &status.key {
        line("key", key);
    }
    let shown = [
        "enabled",
        "compressor",
        "encryptor",
        "writer",
        "freezer",
        "snapshot",
    ];
    for (name, value) in &status.settings {
        if !shown.contains(&name.as_str()) {
            line(name, if value.is_empty() { "none" } else { value });
        }
    }
    let last = &status.last_result;
    let result = match last.errno {
        0 => last.sentence.clone(),
        errno => format!("{} ({errno}, in step {})", last.sentence, last.step),
    };
    line("last result", &result);
    line("image", &image(status));
    line("memory", &status.room.sentence());
    out
}

/// Says how things are.
///
/// # Errors
///
/// When the kernel does not tell.
pub fn run(context: &Context) -> Result<()> {
    let status = look(context)?;
    context.output.print(&status, || describe(&status))
}
