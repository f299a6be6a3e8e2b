// SPDX-License-Identifier: GPL-2.0

//! What an image would need, and what its target holds.

use std::fs;

use anyhow::Result;
use dormouse_image::target::Target;
use serde::Serialize;

use crate::cli::Context;
use crate::system::{Memory, SwapArea};
use crate::text;

/// Memory, and the target that has to hold it. All in bytes.
#[derive(Clone, Debug, Serialize)]
pub struct Room {
    /// The memory.
    pub memory: Memory,
    /// What an image takes, as compressors usually do, without page cache.
    pub needed: u64,
    /// What it takes of all memory, if nothing of that compresses.
    pub needed_at_most: u64,
    /// What the target holds, if that can be seen from here.
    pub holds: Option<u64>,
    /// Where that is, in words.
    pub place: String,
}

/// Percent of the data that is left, as the modules themselves plan.
fn percent_left(compressor: &str) -> u64 {
    match compressor {
        "lzo" | "lz4" => 50,
        "zstd" => 40,
        _ => 100,
    }
}

/// What is meant by `target`, of the active swap areas.
fn areas_of<'a>(context: &Context, target: &str, all: &'a [SwapArea]) -> Option<Vec<&'a SwapArea>> {
    let good = |area: &&SwapArea| area.unusable().is_none();
    let (Ok(Target::Device(path)) | Ok(Target::File(path))) = Target::parse(target) else {
        let auto = matches!(Target::parse(target), Ok(Target::Auto));
        return auto.then(|| all.iter().filter(good).collect());
    };
    let real = |path: &str| fs::canonicalize(context.system.path(path)).ok();
    let is_it = |area: &&SwapArea| {
        area.path == path || real(path).is_some_and(|it| real(&area.path).as_ref() == Some(&it))
    };
    Some(all.iter().filter(good).filter(is_it).collect())
}

impl Room {
    /// How things are now, with the settings that are made.
    ///
    /// # Errors
    ///
    /// When settings or memory cannot be read.
    pub fn now(context: &Context) -> Result<Room> {
        let compressor = context.control.choice("compressor")?.chosen;
        let writer = context.control.choice("writer")?.chosen;
        let target = context.control.get("target")?;
        let memory = context.system.memory()?;
        let needed = memory.without_caches / 100 * percent_left(&compressor);
        let (holds, place) = holds(context, &writer, &target);
        Ok(Room {
            needed,
            needed_at_most: memory.total,
            memory,
            holds,
            place,
        })
    }

    /// One line of it.
    pub fn sentence(&self) -> String {
        let holds = match self.holds {
            Some(bytes) => format!("{} holds {}", self.place, text::bytes(bytes)),
            None => format!("what {} holds cannot be seen from here", self.place),
        };
        format!(
            "{} in use of {}, about {} to store; {holds}",
            text::bytes(self.memory.in_use),
            text::bytes(self.memory.total),
            text::bytes(self.needed)
        )
    }
}

fn holds(context: &Context, writer: &str, target: &str) -> (Option<u64>, String) {
    match (writer, Target::parse(target)) {
        ("swap", _) => {
            let all = context.system.swaps();
            let Some(areas) = areas_of(context, target, &all) else {
                return (None, target.to_string());
            };
            let free = areas.iter().map(|area| area.free).sum();
            let names: Vec<&str> = areas.iter().map(|area| area.path.as_str()).collect();
            match names.is_empty() {
                true => (Some(0), "swap space".to_string()),
                false => (Some(free), format!("swap space on {}", names.join(", "))),
            }
        }
        ("file", Ok(Target::File(path))) => {
            let size = fs::metadata(context.system.path(path)).map(|m| m.len());
            (size.ok(), path.to_string())
        }
        _ => (None, target.to_string()),
    }
}
