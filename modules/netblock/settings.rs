// SPDX-License-Identifier: GPL-2.0

//! `/sys/power/hibernate/modules/netblock/`.

#![forbid(unsafe_code)]

use core::fmt::Write;
use core::sync::atomic::{AtomicU32, Ordering};
use dormouse::sys::sysfs::{Attribute, Directory, ShowBuf};
use dormouse::{control, engine, target};
use kernel::c_str;
use kernel::prelude::*;

/// Most connections to one server.
pub(crate) const CONNECTIONS_MAX: usize = 8;

/// A number that can be set.
struct Number {
    name: &'static CStr,
    value: AtomicU32,
    least: u32,
    most: u32,
}

static CONNECTIONS: Number = Number {
    name: c_str!("connections"),
    value: AtomicU32::new(4),
    least: 1,
    most: CONNECTIONS_MAX as u32,
};

static TIMEOUT: Number = Number {
    name: c_str!("timeout"),
    value: AtomicU32::new(60),
    least: 5,
    most: 600,
};

static CLAIM: Number = Number {
    name: c_str!("claim"),
    value: AtomicU32::new(0),
    least: 0,
    most: 1,
};

impl Attribute for Number {
    fn name(&self) -> &'static CStr {
        self.name
    }

    fn mode(&self) -> u16 {
        0o600
    }

    fn show(&self, out: &mut ShowBuf<'_>) -> Result {
        writeln!(out, "{}", self.value.load(Ordering::Relaxed)).map_err(|_| E2BIG)
    }

    fn store(&self, value: &[u8]) -> Result {
        let text = core::str::from_utf8(value).map_err(|_| EINVAL)?;
        let number = target::parse_unsigned(text).map_err(|_| EINVAL)?;
        let number = u32::try_from(number).map_err(|_| EINVAL)?;
        if !(self.least..=self.most).contains(&number) {
            pr_err!("{}: {} to {}\n", self.name, self.least, self.most);
            return Err(EINVAL);
        }
        engine::get()?.configure(|_| self.value.store(number, Ordering::Relaxed))
    }
}

/// Makes the folder. May sleep.
///
/// # Errors
///
/// `ENOMEM`, `EEXIST`.
pub(crate) fn create() -> Result<Directory> {
    let folder = control::module_folder(c_str!("netblock"))?;
    for attribute in [&CONNECTIONS, &TIMEOUT, &CLAIM] {
        folder.add(attribute)?;
    }
    Ok(folder)
}

/// Connections to make where the server allows several.
pub(crate) fn connections() -> usize {
    CONNECTIONS.value.load(Ordering::Relaxed) as usize
}

/// How long nothing may come of what was asked, in milliseconds.
pub(crate) fn timeout_ms() -> u32 {
    TIMEOUT.value.load(Ordering::Relaxed).saturating_mul(1000)
}

/// Whether the export may be taken although it holds something else.
pub(crate) fn claims() -> bool {
    CLAIM.value.load(Ordering::Relaxed) != 0
}

/// Forgets the permission to take an export: it was used.
pub(crate) fn claimed() {
    CLAIM.value.store(0, Ordering::Relaxed);
}
