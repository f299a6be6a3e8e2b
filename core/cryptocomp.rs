// SPDX-License-Identifier: GPL-2.0

//! Compressors of the kernel's crypto API as transforms.
//!
//! A module that offers one states what is particular to the algorithm in a
//! [`CryptoCompressor`] and registers it.

#![forbid(unsafe_code)]

use crate::errno;
use crate::sys::crypto::Comp;
use crate::sys::trycell::TryCell;
use crate::transform::{Direction, Kind, Place, Stage, Transform};
use kernel::prelude::*;
use kernel::sync::Arc;

/// A compressor of the crypto API, and what it does not say of itself.
pub struct CryptoCompressor {
    /// Name of the transform, and of the algorithm in the crypto API.
    pub name: &'static CStr,
    /// Most bytes that so many bytes become, as the algorithm's own library
    /// states it.
    pub worst_case: fn(usize) -> usize,
    /// Size to plan storage with, in percent of the input.
    pub expected_percent: u32,
    /// Bytes of memory that one stage takes.
    pub stage_memory: usize,
}

impl Transform for CryptoCompressor {
    fn name(&self) -> &'static CStr {
        self.name
    }

    fn kind(&self) -> Kind {
        Kind::Compress
    }

    fn worst_case(&self, len: usize) -> usize {
        (self.worst_case)(len)
    }

    fn expected_percent(&self) -> u32 {
        self.expected_percent
    }

    fn stage_memory(&self) -> usize {
        self.stage_memory
    }

    fn stage(&self, _direction: Direction, parameters: &[u8]) -> Result<Arc<dyn Stage>> {
        if !parameters.is_empty() {
            return Err(EINVAL);
        }
        let stage = CryptoStage {
            comp: TryCell::new(Comp::new(self.name)?),
            worst_case: self.worst_case,
        };
        Ok(Arc::new(stage, GFP_KERNEL)?)
    }
}

/// One worker's compressor. The cell is never contended: a stage belongs to
/// one worker.
struct CryptoStage {
    comp: TryCell<Comp>,
    worst_case: fn(usize) -> usize,
}

impl Stage for CryptoStage {
    fn forward(&self, _place: &Place<'_>, src: &[u8], dst: &mut [u8]) -> Result<Option<usize>> {
        // With room for the worst case an error means an error, and not that
        // the data did not shrink.
        if dst.len() < (self.worst_case)(src.len()) {
            return Err(E2BIG);
        }
        let mut comp = self.comp.try_borrow().ok_or(EBUSY)?;
        let len = comp.compress(src, dst)?;
        Ok((len < src.len()).then_some(len))
    }

    fn backward(&self, _place: &Place<'_>, src: &[u8], dst: &mut [u8]) -> Result<usize> {
        let bad = errno::error(errno::EBADMSG);
        let mut comp = self.comp.try_borrow().ok_or(EBUSY)?;
        // What the decompressor calls it says nothing to a user: the data
        // passed its checksum and still is no output of the compressor.
        let len = comp.decompress(src, dst).map_err(|_| bad)?;
        if len != dst.len() {
            return Err(bad);
        }
        Ok(len)
    }
}
