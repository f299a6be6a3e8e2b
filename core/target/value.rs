// SPDX-License-Identifier: GPL-2.0

//! Values of settings.

#![forbid(unsafe_code)]

use super::Invalid;
use crate::image::is_module_name;

// Digits only: no sign, no blank.
pub(super) fn decimal(text: &str) -> Option<u64> {
    if !text.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    text.parse().ok()
}

/// Returns `text` without the newline that `echo` puts behind a value.
pub fn value(text: &str) -> &str {
    text.strip_suffix('\n').unwrap_or(text)
}

/// Reads a switch.
///
/// # Errors
///
/// [`Invalid::Bool`] for anything but 0 and 1.
pub fn parse_bool(text: &str) -> Result<bool, Invalid> {
    match value(text) {
        "0" => Ok(false),
        "1" => Ok(true),
        _ => Err(Invalid::Bool),
    }
}

/// Reads an unsigned number, which a K, M or G multiplies by a power of 1024.
///
/// # Errors
///
/// [`Invalid::Unsigned`] for anything else, and for a number that 64 bits do not hold.
pub fn parse_unsigned(text: &str) -> Result<u64, Invalid> {
    let text = value(text);
    let (digits, unit) = match text.as_bytes().last() {
        Some(b'K' | b'k') => (text.get(..text.len().saturating_sub(1)), 1 << 10),
        Some(b'M' | b'm') => (text.get(..text.len().saturating_sub(1)), 1 << 20),
        Some(b'G' | b'g') => (text.get(..text.len().saturating_sub(1)), 1 << 30),
        _ => (Some(text), 1),
    };
    let number = digits.and_then(decimal);
    number
        .and_then(|number| number.checked_mul(unit))
        .ok_or(Invalid::Unsigned)
}

/// Reads the name of a module.
///
/// # Errors
///
/// [`Invalid::Name`] for anything that [`is_module_name`] refuses.
pub fn parse_name(text: &str) -> Result<&str, Invalid> {
    let name = value(text);
    if !is_module_name(name) {
        return Err(Invalid::Name);
    }
    Ok(name)
}
