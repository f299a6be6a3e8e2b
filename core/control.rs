// SPDX-License-Identifier: GPL-2.0

//! `/sys/power/hibernate/`: the attributes and what they do.
//!
//! Documented in `Documentation/ABI/testing/sysfs-power-hibernate`. A value
//! that is not understood gets `EINVAL` and changes nothing; settings get
//! `EBUSY` while a cycle is under way.

#![forbid(unsafe_code)]

mod actions;
mod choices;
#[cfg(CONFIG_DORMOUSE_ENCRYPTION)]
mod keys;
mod numbers;

use crate::engine::{self, Engine};
use crate::sys::once::Once;
use crate::sys::sysfs::{Attribute, Directory, ShowBuf};
use crate::target::{self, Invalid};
use kernel::prelude::*;

/// One attribute, made of functions.
struct Attr {
    name: &'static CStr,
    show: Option<fn(&Engine, &mut ShowBuf<'_>) -> Result>,
    store: Option<fn(&Engine, &str) -> Result>,
}

impl Attribute for Attr {
    fn name(&self) -> &'static CStr {
        self.name
    }

    fn mode(&self) -> u16 {
        match (self.show.is_some(), self.store.is_some()) {
            (true, true) => 0o600,
            (true, false) => 0o400,
            _ => 0o200,
        }
    }

    fn show(&self, out: &mut ShowBuf<'_>) -> Result {
        self.show.ok_or(EPERM)?(engine::get()?, out)
    }

    fn store(&self, value: &[u8]) -> Result {
        let name = self.name.to_str().map_err(|_| EINVAL)?;
        let text = core::str::from_utf8(value).map_err(|_| invalid(name, Invalid::Text))?;
        let text = target::value(text);
        // Parsers take a newline off themselves, and that would be the second.
        if text.ends_with('\n') {
            return Err(invalid(name, Invalid::Text));
        }
        self.store.ok_or(EPERM)?(engine::get()?, text)
    }
}

/// Says why a value of the attribute `name` is refused.
fn invalid(name: &str, why: Invalid) -> Error {
    pr_err!("{}: {}\n", name, why.sentence());
    EINVAL
}

macro_rules! attributes {
    ($($(#[$meta:meta])* $name:literal: $show:expr, $store:expr;)*) => {
        static ATTRIBUTES: &[Attr] = &[
            $($(#[$meta])* Attr {
                name: kernel::c_str!($name),
                show: $show,
                store: $store,
            },)*
        ];
    };
}

attributes! {
    "enabled": Some(numbers::show_enabled), Some(numbers::store_enabled);
    "compressor": Some(choices::show_compressor), Some(choices::store_compressor);
    "encryptor": Some(choices::show_encryptor), Some(choices::store_encryptor);
    #[cfg(CONFIG_DORMOUSE_ENCRYPTION)]
    "key": Some(keys::show_key), Some(keys::store_key);
    #[cfg(CONFIG_DORMOUSE_ENCRYPTION)]
    "hint": Some(keys::show_hint), Some(keys::store_hint);
    "writer": Some(choices::show_writer), Some(choices::store_writer);
    "freezer": Some(choices::show_freezer), Some(choices::store_freezer);
    "snapshot": Some(choices::show_snapshot), Some(choices::store_snapshot);
    "target": Some(choices::show_target), Some(choices::store_target);
    "threads": Some(numbers::show_threads), Some(numbers::store_threads);
    "image_size_limit": Some(numbers::show_limit), Some(numbers::store_limit);
    "io_timeout": Some(numbers::show_io_timeout), Some(numbers::store_io_timeout);
    "keep_running": Some(numbers::show_kept), Some(numbers::store_kept);
    "allow_abort": Some(numbers::show_allow_abort), Some(numbers::store_allow_abort);
    "freeze_filesystems": Some(numbers::show_freeze), Some(numbers::store_freeze);
    "start": None, Some(actions::store_start);
    "resume": None, Some(actions::store_resume);
    "abort": None, Some(actions::store_abort);
    "after_save": Some(actions::show_after_save), Some(actions::store_after_save);
    "state": Some(actions::show_state), None;
    "progress": Some(actions::show_progress), None;
    "last_result": Some(actions::show_last_result), None;
    "image": Some(actions::show_image), Some(actions::store_image);
    "stats": Some(actions::show_stats), None;
}

/// The folders, for as long as they are to be there.
struct Control {
    modules: Directory,
    _root: Directory,
}

static CONTROL: Once<Control> = Once::new();

/// Makes `/sys/power/hibernate/` with everything in it, once. May sleep.
///
/// # Errors
///
/// `ENOMEM`, `EEXIST`; `EBUSY` when it is there already.
pub fn create() -> Result {
    let root = Directory::under_power(kernel::c_str!("hibernate"))?;
    for attribute in ATTRIBUTES {
        root.add(attribute)?;
    }
    let control = Control {
        modules: root.child(kernel::c_str!("modules"))?,
        _root: root,
    };
    let control = KBox::pin(control, GFP_KERNEL)?;
    CONTROL.set(control).map(|_| ())
}

/// Makes the folder for the parameters of module `name`, which is there until
/// it is dropped. May sleep.
///
/// # Errors
///
/// `EEXIST`, `ENOMEM`; `ENODEV` before [`create`] has succeeded.
pub fn module_folder(name: &CStr) -> Result<Directory> {
    CONTROL.get().ok_or(ENODEV)?.modules.child(name)
}
