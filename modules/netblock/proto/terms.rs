// SPDX-License-Identifier: GPL-2.0

//! What a server says of an export, and what that means for us.

#![forbid(unsafe_code)]

use super::wire;
use core::fmt;

/// Unit in which an image is written, in bytes.
const BLOCK: u32 = 4096;

/// Largest request when the server does not name one.
const USUAL_MAX: u32 = 32 << 20;

/// What was agreed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// Bytes of the export.
    pub size: u64,
    /// Export flags, as in [`wire`].
    pub flags: u16,
    /// What every offset and length is a multiple of.
    pub min: u32,
    /// Most bytes of a request.
    pub max: u32,
    /// Replies have structure.
    pub structured: bool,
}

/// Why an export cannot be used at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unfit {
    /// Requests would have to be larger than our blocks.
    Coarse(u32),
    /// Requests would have to be smaller than our blocks.
    Small(u32),
    /// Nothing can make the data durable.
    Volatile,
}

impl fmt::Display for Unfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Unfit::Coarse(min) => write!(f, "the server wants requests in units of {min} bytes, and at most 4096 are possible"),
            Unfit::Small(max) => write!(f, "the server takes requests of at most {max} bytes, and at least 4096 are needed"),
            Unfit::Volatile => f.write_str("the server offers neither FLUSH nor FUA, so nothing says when the image is on its medium (nbd-server: flush = true)"),
        }
    }
}

impl Terms {
    /// Nothing known yet.
    pub const fn new() -> Self {
        Terms {
            size: 0,
            flags: 0,
            min: 1,
            max: USUAL_MAX,
            structured: false,
        }
    }

    fn has(&self, flag: u16) -> bool {
        self.flags & wire::HAS_FLAGS != 0 && self.flags & flag != 0
    }

    /// Whether the export cannot be written.
    pub fn read_only(&self) -> bool {
        self.has(wire::READ_ONLY)
    }

    /// Whether there is a flush.
    pub fn flush(&self) -> bool {
        self.has(wire::SEND_FLUSH)
    }

    /// Whether a write can be durable by itself.
    pub fn fua(&self) -> bool {
        self.has(wire::SEND_FUA)
    }

    /// Whether several connections see the same, flushes included.
    pub fn multi(&self) -> bool {
        self.has(wire::CAN_MULTI_CONN)
    }

    /// Whether blocks can be given back.
    pub fn trim(&self) -> bool {
        self.has(wire::SEND_TRIM)
    }

    /// Whether zeros can be written without being sent.
    pub fn write_zeroes(&self) -> bool {
        self.has(wire::SEND_WRITE_ZEROES)
    }

    /// Most bytes of one request, a multiple of 4096.
    ///
    /// # Errors
    ///
    /// When no request can have the size of a block.
    pub fn piece(&self) -> Result<u32, Unfit> {
        if self.min > BLOCK {
            return Err(Unfit::Coarse(self.min));
        }
        if self.max < BLOCK {
            return Err(Unfit::Small(self.max));
        }
        let rest = self.max.checked_rem(BLOCK).unwrap_or(0);
        Ok(self.max.saturating_sub(rest))
    }

    /// Whether an image can be kept there.
    ///
    /// # Errors
    ///
    /// Why not.
    pub fn check(&self) -> Result<(), Unfit> {
        self.piece()?;
        if !self.read_only() && !self.flush() && !self.fua() {
            return Err(Unfit::Volatile);
        }
        Ok(())
    }
}

impl Default for Terms {
    fn default() -> Self {
        Terms::new()
    }
}
