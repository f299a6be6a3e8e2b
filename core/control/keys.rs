// SPDX-License-Identifier: GPL-2.0

//! Attributes that say which key images are encrypted with. None of them
//! shows a secret.

#![forbid(unsafe_code)]

use crate::engine::{Engine, Settings};
use crate::errno;
use crate::image::cipher::params;
use crate::keyslot::Configured;
use crate::sys::sysfs::ShowBuf;
use crate::text::Text;
use core::fmt::Write;
use kernel::prelude::*;

pub(super) fn show_key(engine: &Engine, out: &mut ShowBuf<'_>) -> Result {
    let (key, named) = engine.settings(|s| (s.key.clone(), s.key_named));
    match key {
        Some(key) => writeln!(out, "{key}"),
        None if named.is_empty() => writeln!(out, "none"),
        None => writeln!(out, "{named}"),
    }
    .map_err(|_| E2BIG)
}

/// `none` lets go of the key. The hint goes with the key that it was for.
pub(super) fn store_key(engine: &Engine, value: &str) -> Result {
    engine.configure(|_| ())?;
    let key = match value {
        "none" => None,
        _ => Some(Configured::find(value)?),
    };
    let old = engine.configure(|s: &mut Settings| {
        s.key_named.clear();
        core::mem::replace(&mut s.key, key)
    })?;
    drop(old);
    Ok(())
}

pub(super) fn show_hint(engine: &Engine, out: &mut ShowBuf<'_>) -> Result {
    let hint = engine.settings(|s| s.key.as_ref().map_or(Text::new(), |key| key.hint));
    writeln!(out, "{hint}").map_err(|_| E2BIG)
}

pub(super) fn store_hint(engine: &Engine, value: &str) -> Result {
    if !params::is_hint(value) {
        pr_err!(
            "hint: expected at most {} bytes without control characters\n",
            params::HINT_MAX
        );
        return Err(EINVAL);
    }
    engine.configure(|s| match &mut s.key {
        Some(key) => {
            key.hint = Text::format(format_args!("{value}"));
            Ok(())
        }
        None => Err(errno::error(errno::ENOKEY)),
    })?
}
