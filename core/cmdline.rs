// SPDX-License-Identifier: GPL-2.0

//! Settings on the kernel's command line: `dormouse.NAME=VALUE`.
//!
//! They are read when the engine is set up, before there is any module that
//! they could name. So a module is only noted by its name, and looked for when
//! a cycle needs it.
//!
//! A value that makes no sense is not used, and the log says so. An encryptor
//! is another matter: who asks for one must not get a system that saves or
//! resumes in clear because of a mistake in its name. Whatever stands there is
//! what has to be had.

#![forbid(unsafe_code)]

use crate::engine::{Choice, Engine, Settings, MOST_WORKERS};
#[cfg(CONFIG_DORMOUSE_ENCRYPTION)]
use crate::image::cipher::params;
use crate::patience;
use crate::sys::cmdline;
use crate::target::{self, Invalid, Target};
use crate::text::Text;
use kernel::c_str;
use kernel::prelude::*;

type Taken = core::result::Result<(), &'static str>;

struct Opt {
    name: &'static CStr,
    take: fn(&mut Settings, &str) -> Taken,
}

macro_rules! options {
    ($($(#[$meta:meta])* $name:literal: $take:expr;)*) => {
        static OPTIONS: &[Opt] = &[
            $($(#[$meta])* Opt { name: c_str!($name), take: $take },)*
        ];
    };
}

options! {
    "enabled": |s, value| {
        s.enabled = target::parse_bool(value).map_err(Invalid::sentence)?;
        Ok(())
    };
    "compressor": |s, value| choose(&mut s.compressor, value, true);
    "encryptor": |s, value| encryptor(s, value);
    #[cfg(CONFIG_DORMOUSE_ENCRYPTION)]
    "key": |s, value| key(s, value);
    "writer": |s, value| choose(&mut s.writer, value, false);
    "freezer": |s, value| choose(&mut s.freezer, value, false);
    "snapshot": |s, value| choose(&mut s.snapshot, value, false);
    "target": |s, value| {
        Target::parse(value).map_err(Invalid::sentence)?;
        s.target = Text::format(format_args!("{value}"));
        Ok(())
    };
    "threads": |s, value| {
        let threads = target::parse_unsigned(value).map_err(Invalid::sentence)?;
        let threads = usize::try_from(threads).ok().filter(|&n| n <= MOST_WORKERS);
        s.threads = threads.ok_or("at most 64, or 0 for one per CPU")?;
        Ok(())
    };
    "image_size_limit": |s, value| {
        s.image_size_limit = target::parse_unsigned(value).map_err(Invalid::sentence)?;
        Ok(())
    };
    "io_timeout": |_, value| {
        let number = target::parse_unsigned(value).map_err(Invalid::sentence)?;
        patience::set_limit(patience::seconds(number).ok_or(patience::RANGE)?);
        Ok(())
    };
}

fn choose<T: ?Sized>(choice: &mut Choice<T>, value: &str, none: bool) -> Taken {
    *choice = match value {
        "none" if none => Choice::Default,
        _ => Choice::named(target::parse_name(value).map_err(Invalid::sentence)?),
    };
    Ok(())
}

fn encryptor(settings: &mut Settings, value: &str) -> Taken {
    let taken = choose(&mut settings.encryptor, value, true);
    if taken.is_err() {
        // No name of a module, so nothing will ever be made with it.
        settings.encryptor = Choice::named("?");
    }
    taken.map_err(|_| {
        "a name has 1 to 31 of the characters a-z, 0-9, _ and -; nothing is saved or resumed before encryptor is set"
    })
}

#[cfg(CONFIG_DORMOUSE_ENCRYPTION)]
fn key(settings: &mut Settings, value: &str) -> Taken {
    params::parse_key(value)
        .map_err(|_| "a key is user:, logon:, trusted: or encrypted: with its description")?;
    settings.key_named = Text::format(format_args!("{value}"));
    Ok(())
}

/// Takes the options that were given. May sleep.
pub fn apply(engine: &Engine) {
    for option in OPTIONS {
        let Some(value) = cmdline::option(option.name) else {
            continue;
        };
        let text = value.to_str();
        let taken = engine.adjust(|s| match text {
            Ok(text) => (option.take)(s, text),
            Err(_) => (option.take)(s, "\0"),
        });
        let value = text.unwrap_or("?");
        match taken {
            Ok(()) => pr_info!("command line: {} is {}\n", option.name, value),
            Err(why) => pr_err!("command line: {}={}: {}\n", option.name, value, why),
        }
    }
}
