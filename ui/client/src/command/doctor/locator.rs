// SPDX-License-Identifier: GPL-2.0

//! Whether the next boot would look where the image is.

use std::fs::File;
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt};
use std::path::Path;

use anyhow::Result;
use nix::sys::stat::{major, minor};

use super::Check;
use crate::cli::Context;
use crate::control::PAGE;

const NAME: &str = "resume";

/// A place as the kernel numbers it.
pub(super) type At = (u64, u64, u64);

/// Reads `MAJOR:MINOR` and, behind a third colon, an offset.
fn number(text: &str) -> Option<At> {
    let mut parts = text.trim().split(':').map(str::parse::<u64>);
    let mut next = || parts.next()?.ok();
    let (major, minor) = (next()?, next()?);
    Some((major, minor, next().unwrap_or(0)))
}

/// Where the kernel would look now: what `resume=` said, or whoever wrote to /sys/power/resume.
pub(super) fn looks(context: &Context) -> Option<At> {
    let (major, minor, _) = number(&context.system.read("sys/power/resume")?)?;
    let offset = context.system.read("sys/power/resume_offset");
    let offset = offset
        .and_then(|text| text.trim().parse().ok())
        .unwrap_or(0);
    ((major, minor) != (0, 0)).then_some((major, minor, offset))
}

/// Page `block` of what is at `path`, as `resume_offset=` counts, if a swap area begins there.
fn first_page(path: &Path, block: u64) -> Option<Vec<u8>> {
    let mut page = vec![0; PAGE as usize];
    let file = File::open(path).ok()?;
    file.read_exact_at(&mut page, block.checked_mul(PAGE)?)
        .ok()?;
    // The header of a swap area says of which version it is, in one byte.
    (page.get(1024) == Some(&1)).then_some(page)
}

/// Whether the swap area at `path` lies at `at`: a device by its number, a file by what the kernel
/// would find there.
fn lies(context: &Context, path: &Path, at: At) -> bool {
    let (first, second, offset) = at;
    let Ok(meta) = path.metadata() else {
        return false;
    };
    if meta.file_type().is_block_device() {
        let device = meta.rdev();
        return (major(device), minor(device), 0) == at;
    }
    let there = context.system.device(first, second);
    let there = there.and_then(|device| first_page(&device, offset));
    there.is_some() && there == first_page(path, 0)
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
        .filter(|area| area.unusable().is_none())
        .collect();
    let Some(first) = areas.first() else {
        return Check::unknown(NAME, "there is no swap area to look for");
    };
    let named = areas.iter().find(|area| {
        let there =
            looks(context).is_some_and(|at| lies(context, &context.system.path(&area.path), at));
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
    let found = match (said, looks(context)) {
        (Some(said), Some((_, _, offset @ 1..))) => {
            format!("no swap area begins where resume={said} resume_offset={offset} says")
        }
        (Some(said), _) => format!("resume={said} is none of the swap areas"),
        (None, _) => "no resume= on the kernel's command line".to_string(),
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
