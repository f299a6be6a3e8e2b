// SPDX-License-Identifier: GPL-2.0

//! Whether the next boot would look where the image is.

use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use anyhow::Result;
use nix::sys::stat::{major, minor};

use super::Check;
use crate::cli::Context;

const NAME: &str = "resume";

/// A place as the kernel numbers it.
type At = (u64, u64, u64);

/// Reads `MAJOR:MINOR` and, behind a third colon, an offset.
fn number(text: &str) -> Option<At> {
    let mut parts = text.trim().split(':').map(str::parse::<u64>);
    let mut next = || parts.next()?.ok();
    let (major, minor) = (next()?, next()?);
    Some((major, minor, next().unwrap_or(0)))
}

/// Where the kernel would look now: what `resume=` said, or whoever wrote to /sys/power/resume.
fn looks(context: &Context) -> Option<At> {
    let (major, minor, _) = number(&context.system.read("sys/power/resume")?)?;
    let offset = context.system.read("sys/power/resume_offset");
    let offset = offset
        .and_then(|text| text.trim().parse().ok())
        .unwrap_or(0);
    ((major, minor) != (0, 0)).then_some((major, minor, offset))
}

/// Whether the swap area at `path` lies at `at`, as far as that can be seen.
fn lies(path: &Path, at: At) -> bool {
    let Ok(meta) = path.metadata() else {
        return false;
    };
    let is_device = meta.file_type().is_block_device();
    let device = if is_device { meta.rdev() } else { meta.dev() };
    (major(device), minor(device)) == (at.0, at.1) && is_device == (at.2 == 0)
}

pub(super) fn check(context: &Context) -> Result<Check> {
    let writer = context.control.choice("writer")?.chosen;
    let said = context.system.boot_option("resume");
    Ok(match writer.as_str() {
        "swap" => swap(context, said.as_deref()),
        "file" => file(context)?,
        _ => {
            let target = context.control.get("target")?;
            match said {
                Some(said) if said == target => Check::ok(NAME, format!("resume={said}")),
                _ => Check::note(
                    NAME,
                    format!("resume={target} is not on the kernel's command line"),
                    "add it, or have the initramfs write that to /sys/power/hibernate/resume",
                ),
            }
        }
    })
}

fn swap(context: &Context, said: Option<&str>) -> Check {
    let areas = context.system.swaps();
    let areas: Vec<_> = areas
        .iter()
        .filter(|area| area.unusable.is_none())
        .collect();
    let Some(first) = areas.first() else {
        return Check::unknown(NAME, "there is no swap area to look for");
    };
    let named = areas.iter().find(|area| {
        let there = looks(context).is_some_and(|at| lies(&context.system.path(&area.path), at));
        there || said == Some(area.path.as_str())
    });
    if let Some(area) = named {
        return Check::ok(NAME, format!("the next boot looks on {}", area.path));
    }
    let path = &first.path;
    let advice = match path.starts_with("/dev/") {
        true => format!("add resume={path} to the kernel's command line"),
        false => format!("add resume=DEVICE resume_offset=N to the kernel's command line, with the place of {path} that \"filefrag -v\" shows"),
    };
    let found = match said {
        Some(said) => format!("resume={said} is none of the swap areas"),
        None => "no resume= on the kernel's command line".to_string(),
    };
    Check::fail(NAME, found, advice)
}

fn file(context: &Context) -> Result<Check> {
    let lines = context.control.get_if_there("modules/file/resume")?;
    let lines = lines.unwrap_or_default();
    let lines: Vec<&str> = lines.lines().collect();
    let [words, _, place] = lines[..] else {
        return Ok(Check::unknown(NAME, "there is no file to look for"));
    };
    let wanted = number(place);
    Ok(match wanted.is_some() && looks(context) == wanted {
        true => Check::ok(NAME, format!("the next boot looks at {place}")),
        false => Check::fail(
            NAME,
            "the next boot does not look where the file is",
            format!("add {words} to the kernel's command line"),
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers() {
        assert_eq!(number("254:1\n"), Some((254, 1, 0)));
        assert_eq!(number("254:1:34816"), Some((254, 1, 34816)));
        assert_eq!(number("254"), None);
        assert_eq!(number(""), None);
    }
}
