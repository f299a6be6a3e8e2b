// SPDX-License-Identifier: GPL-2.0

//! What users write: targets, and the values of settings.
//!
//! A value is taken as a whole or refused as a whole, with a sentence that says what was
//! expected; the errno is always `EINVAL`.

#![forbid(unsafe_code)]

use core::net::Ipv6Addr;

mod value;

use self::value::decimal;
pub use self::value::{
    parse_bool,
    parse_name,
    parse_unsigned,
    value, //
};

/// Most bytes of a target.
pub const TARGET_MAX: usize = 255;

/// The port that network block devices listen on.
pub const NBD_PORT: u16 = 10809;

/// Most bytes of the name of an exported network block device.
pub const EXPORT_MAX: usize = 127;

const HOST_MAX: usize = 253;
const LABEL_MAX: usize = 63;
const MAJOR_MAX: u32 = (1 << 12) - 1;
const MINOR_MAX: u32 = (1 << 20) - 1;

/// Why a value was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Invalid {
    /// Empty, or longer than [`TARGET_MAX`].
    Length,
    /// Not one of the forms of a target.
    Form,
    /// A path that is not clean.
    Path,
    /// A device number.
    Number,
    /// A UUID.
    Uuid,
    /// The host of a network block device.
    Host,
    /// The port of a network block device.
    Port,
    /// The name of an exported network block device.
    Export,
    /// Neither 0 nor 1.
    Bool,
    /// Not an unsigned number, or too large a one.
    Unsigned,
    /// Not the name of a module.
    Name,
    /// Not one line of text.
    Text,
    /// Not the 1 that makes something happen.
    One,
    /// Not what to resume from.
    Resume,
    /// Not what can be done to an image.
    Image,
    /// Not process ids.
    Pids,
    /// Not an end of a save.
    AfterSave,
}

impl Invalid {
    /// The positive errno of every refusal here, `EINVAL`.
    pub const ERRNO: i32 = 22;

    /// Returns one sentence for the log and for `last_result`, without a final full stop.
    pub const fn sentence(self) -> &'static str {
        match self {
            Invalid::Length => "a target has 1 to 255 characters",
            Invalid::Form => {
                "a target is auto, a path, MAJOR:MINOR[:OFFSET], UUID=...[:OFFSET], file:/PATH \
                 or nbd://HOST[:PORT]/EXPORT"
            }
            Invalid::Path => "a path is absolute, names one file, and has no . or .. in it",
            Invalid::Number => {
                "a device number is MAJOR:MINOR[:OFFSET] in decimal, and so is an OFFSET"
            }
            Invalid::Uuid => "a UUID has 32 hexadecimal digits in groups of 8-4-4-4-12",
            Invalid::Host => "a host is a name, an IPv4 address or an IPv6 address in brackets",
            Invalid::Port => "a port is a number from 1 to 65535",
            Invalid::Export => {
                "an export has up to 127 printable characters, without spaces, %, ? and #"
            }
            Invalid::Bool => "the value is 0 or 1",
            Invalid::Unsigned => "the value is an unsigned number, with K, M or G behind it or not",
            Invalid::Name => "a name has 1 to 31 of the characters a-z, 0-9, _ and -",
            Invalid::Text => "the value is one line of text",
            Invalid::One => "the only value is 1",
            Invalid::Resume => "the value is 1, retry, or a target other than auto, with \"retry \" before it or not",
            Invalid::Image => "the only value is erase",
            Invalid::Pids => "the value is process ids above 1, with spaces between them",
            Invalid::AfterSave => "the value is mode, power-off or reboot",
        }
    }
}

/// Where an image goes, or comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target<'a> {
    /// Wherever the writer finds room.
    Auto,
    /// The block device at this path below `/dev/`.
    Device(&'a str),
    /// The block device with this number.
    Number {
        /// Major part of the device number.
        major: u32,
        /// Minor part of the device number.
        minor: u32,
        /// Block of the device where the storage begins, as of `resume_offset=`.
        offset: u64,
    },
    /// The swap area or file system with this UUID.
    Uuid([u8; 16]),
    /// What is in this block of a device with a file system of this UUID.
    UuidOffset {
        /// UUID of the file system.
        uuid: [u8; 16],
        /// Block of the device where the storage begins, as of `resume_offset=`.
        offset: u64,
    },
    /// The file at this path.
    File(&'a str),
    /// A network block device.
    Nbd(Nbd<'a>),
}

/// An exported network block device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Nbd<'a> {
    /// Host name or address; an IPv6 address without its brackets.
    pub host: &'a str,
    /// TCP port.
    pub port: u16,
    /// Name of the export; empty for the server's default.
    pub export: &'a str,
}

impl<'a> Target<'a> {
    /// Reads a target as it is written to sysfs or the command line; one newline at the end does
    /// not count.
    ///
    /// # Errors
    ///
    /// What is wrong with it.
    pub fn parse(text: &'a str) -> Result<Target<'a>, Invalid> {
        let text = value(text);
        if text.is_empty() || text.len() > TARGET_MAX {
            return Err(Invalid::Length);
        }
        if text == "auto" {
            return Ok(Target::Auto);
        }
        if let Some(rest) = text.strip_prefix("nbd://") {
            return parse_nbd(rest).map(Target::Nbd);
        }
        if let Some(rest) = text.strip_prefix("file:") {
            return parse_path(rest).map(Target::File);
        }
        if let Some(rest) = text.strip_prefix("UUID=") {
            return match rest.split_once(':') {
                None => parse_uuid(rest).map(Target::Uuid),
                Some((uuid, offset)) => Ok(Target::UuidOffset {
                    uuid: parse_uuid(uuid)?,
                    offset: parse_offset(offset)?,
                }),
            };
        }
        if text.starts_with("/dev/") {
            return parse_path(text).map(Target::Device);
        }
        if text.starts_with('/') {
            return parse_path(text).map(Target::File);
        }
        if text.starts_with(|c: char| c.is_ascii_digit()) {
            return parse_number(text);
        }
        Err(Invalid::Form)
    }
}

fn parse_path(path: &str) -> Result<&str, Invalid> {
    let rest = path.strip_prefix('/').ok_or(Invalid::Path)?;
    let unclean = |part: &str| part.is_empty() || part == "." || part == "..";
    if rest.split('/').any(unclean) || rest.chars().any(char::is_control) {
        return Err(Invalid::Path);
    }
    Ok(path)
}

fn parse_number(text: &str) -> Result<Target<'_>, Invalid> {
    let mut parts = text.split(':');
    let mut next = || parts.next().map(decimal);
    let device_part = |part: Option<Option<u64>>, max: u32| match part.flatten() {
        Some(number) if number <= u64::from(max) => Ok(number as u32),
        _ => Err(Invalid::Number),
    };
    let major = device_part(next(), MAJOR_MAX)?;
    let minor = device_part(next(), MINOR_MAX)?;
    let offset = match next() {
        None => 0,
        Some(offset) => offset.ok_or(Invalid::Number)?,
    };
    if next().is_some() {
        return Err(Invalid::Number);
    }
    Ok(Target::Number {
        major,
        minor,
        offset,
    })
}

fn parse_offset(text: &str) -> Result<u64, Invalid> {
    match decimal(text) {
        Some(offset) if !text.is_empty() => Ok(offset),
        _ => Err(Invalid::Number),
    }
}

fn parse_uuid(text: &str) -> Result<[u8; 16], Invalid> {
    let groups_fit = text.split('-').map(str::len).eq([8, 4, 4, 4, 12]);
    let mut uuid = [0u8; 16];
    let mut digits = text.chars().filter(|&c| c != '-').map(|c| c.to_digit(16));
    for byte in &mut uuid {
        let (Some(Some(high)), Some(Some(low))) = (digits.next(), digits.next()) else {
            return Err(Invalid::Uuid);
        };
        *byte = ((high << 4) | low) as u8;
    }
    if !groups_fit {
        return Err(Invalid::Uuid);
    }
    Ok(uuid)
}

fn parse_nbd(rest: &str) -> Result<Nbd<'_>, Invalid> {
    let (place, export) = rest.split_once('/').unwrap_or((rest, ""));
    let (host, port) = match place.strip_prefix('[') {
        Some(inner) => {
            let (host, after) = inner.split_once(']').ok_or(Invalid::Host)?;
            host.parse::<Ipv6Addr>().map_err(|_| Invalid::Host)?;
            let port = match after.strip_prefix(':') {
                Some(port) => Some(port),
                None if after.is_empty() => None,
                None => return Err(Invalid::Host),
            };
            (host, port)
        }
        None => match place.split_once(':') {
            Some((host, port)) => (check_host(host)?, Some(port)),
            None => (check_host(place)?, None),
        },
    };
    let port = match port.map(decimal) {
        None => NBD_PORT,
        Some(Some(port @ 1..=65535)) => port as u16,
        Some(_) => return Err(Invalid::Port),
    };
    let printable = |b: u8| b.is_ascii_graphic() && !matches!(b, b'%' | b'?' | b'#');
    if export.len() > EXPORT_MAX || !export.bytes().all(printable) {
        return Err(Invalid::Export);
    }
    Ok(Nbd { host, port, export })
}

// A name or an IPv4 address: both are labels of letters, digits and inner hyphens.
fn check_host(host: &str) -> Result<&str, Invalid> {
    let good = |label: &str| {
        (1..=LABEL_MAX).contains(&label.len())
            && label
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    if host.len() > HOST_MAX || !host.split('.').all(good) {
        return Err(Invalid::Host);
    }
    Ok(host)
}
