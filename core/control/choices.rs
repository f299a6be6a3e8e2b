// SPDX-License-Identifier: GPL-2.0

//! Attributes that choose: modules by name, and the target.

#![forbid(unsafe_code)]

use super::invalid;
use crate::engine::{Choice, Engine, Settings, USUAL_WRITER};
use crate::registry::{self, Pinned, Table};
use crate::sys::sysfs::ShowBuf;
use crate::target::{self, Target};
use crate::text::Text;
use core::fmt::Write;
use kernel::prelude::*;

/// Pins the entry `name`, or nothing for `none` where that is allowed.
fn choose<T: ?Sized + Send + Sync>(
    table: &Table<T>,
    name: &str,
    none: bool,
) -> Result<Option<Pinned<T>>> {
    if none && name == "none" {
        return Ok(None);
    }
    let name = target::parse_name(name).map_err(|why| invalid(table.kind(), why))?;
    table.find(name).map(Some).map_err(|_| {
        pr_err!("there is no {} \"{}\"\n", table.kind(), name);
        EINVAL
    })
}

macro_rules! choice_shown {
    ($show:ident, $field:ident, $table:ident, $none:expr, $default:expr) => {
        pub(super) fn $show(engine: &Engine, out: &mut ShowBuf<'_>) -> Result {
            let selected: Text<32> = engine.settings(|s| {
                let name = s.$field.name().unwrap_or($default);
                Text::format(format_args!("{name}"))
            });
            let table = &registry::get()?.$table;
            // It may be loaded when it is needed: the list is of those that are.
            let loaded = table.find_loaded(selected.as_str()).is_some();
            let listed = loaded || ($none && selected == *"none");
            if !listed {
                write!(out, "[{selected}] ").map_err(|_| E2BIG)?;
            }
            table.list(out, selected.as_str(), $none).map_err(|_| E2BIG)
        }
    };
}

macro_rules! choice {
    ($show:ident, $store:ident, $field:ident, $table:ident, $none:expr, $default:expr) => {
        choice_shown!($show, $field, $table, $none, $default);

        pub(super) fn $store(engine: &Engine, value: &str) -> Result {
            // A cycle under way is seen before any module is asked for.
            engine.configure(|_| ())?;
            let chosen = Choice::from(choose(&registry::get()?.$table, value, $none)?);
            let old =
                engine.configure(|s: &mut Settings| core::mem::replace(&mut s.$field, chosen))?;
            drop(old);
            Ok(())
        }
    };
}

choice!(
    show_compressor,
    store_compressor,
    compressor,
    compressors,
    true,
    "none"
);
choice!(
    show_encryptor,
    store_encryptor,
    encryptor,
    encryptors,
    true,
    "none"
);
choice!(show_freezer, store_freezer, freezer, freezers, false, "pm");
choice!(
    show_snapshot,
    store_snapshot,
    snapshot,
    snapshots,
    false,
    "atomic"
);

choice_shown!(show_writer, writer, writers, false, USUAL_WRITER);

/// A writer gets ready for the target before it becomes the choice, and lets
/// go of it when another one has.
pub(super) fn store_writer(engine: &Engine, value: &str) -> Result {
    engine.configure(|_| ())?;
    let chosen = choose(&registry::get()?.writers, value, false)?;
    let old = engine.configure(|s: &mut Settings| {
        if let Some(writer) = &chosen {
            let target = s.target.as_str();
            engine.report.beside(|| writer.configure(Some(target)))?;
        }
        let name = chosen.as_ref().map(|writer| writer.name());
        let old = core::mem::replace(&mut s.writer, Choice::from(chosen));
        if let Choice::Pinned(writer) = &old {
            if Some(writer.name()) != name {
                writer.configure(None)?;
            }
        }
        Ok::<_, Error>(old)
    })??;
    drop(old);
    Ok(())
}

pub(super) fn show_target(engine: &Engine, out: &mut ShowBuf<'_>) -> Result {
    let target = engine.settings(|s| s.target);
    writeln!(out, "{target}").map_err(|_| E2BIG)
}

pub(super) fn store_target(engine: &Engine, value: &str) -> Result {
    Target::parse(value).map_err(|why| invalid("target", why))?;
    let text = Text::format(format_args!("{value}"));
    let usual = registry::get()?.writers.find_loaded(USUAL_WRITER);
    engine.configure(|s| {
        let writer = match &s.writer {
            Choice::Pinned(writer) => Some(writer),
            Choice::Default => usual.as_ref(),
            // Asked when a save begins.
            Choice::Named(_) => None,
        };
        if let Some(writer) = writer {
            engine
                .report
                .beside(|| writer.configure(Some(text.as_str())))?;
        }
        s.target = text;
        Ok(())
    })?
}
