// SPDX-License-Identifier: GPL-2.0

//! The chain of transforms that an image goes through.

#![forbid(unsafe_code)]

use crate::errno;
use crate::image::header::PARAMS_MAX;
use crate::image::FRAME_RAW_MAX;
use crate::registry::Pinned;
use crate::sys::buf::Buf;
use crate::transform::{Authenticator, Direction, Kind, Place, Stage, Transform};
use kernel::prelude::*;
use kernel::sync::Arc;

/// Most transforms in a chain: one that compresses, one that encrypts.
pub const MOST_STAGES: usize = 2;

/// One transform of an image with its parameters.
pub struct Ingredient {
    /// The transform, pinned.
    pub transform: Pinned<dyn Transform>,
    parameters: Buf,
    len: usize,
}

impl Ingredient {
    /// For an image that is about to be saved: asks for the parameters. May
    /// sleep.
    ///
    /// # Errors
    ///
    /// `ENOMEM`, or what the transform says.
    pub fn new(transform: Pinned<dyn Transform>) -> Result<Self> {
        let mut parameters = Buf::new(PARAMS_MAX)?;
        let len = transform.parameters(&mut parameters)?;
        if len > PARAMS_MAX {
            return Err(EINVAL);
        }
        Ok(Ingredient {
            transform,
            parameters,
            len,
        })
    }

    /// For an image that is there: with the parameters of its header. May
    /// sleep.
    ///
    /// # Errors
    ///
    /// `ENOMEM`; `EINVAL` for parameters that are too long.
    pub fn recorded(transform: Pinned<dyn Transform>, recorded: &[u8]) -> Result<Self> {
        let mut parameters = Buf::new(PARAMS_MAX)?;
        parameters
            .get_mut(..recorded.len())
            .ok_or(EINVAL)?
            .copy_from_slice(recorded);
        Ok(Ingredient {
            transform,
            parameters,
            len: recorded.len(),
        })
    }

    /// The parameters.
    pub fn parameters(&self) -> &[u8] {
        self.parameters.get(..self.len).unwrap_or(&[])
    }
}

/// The transforms of an image, in the order in which saving applies them.
pub struct Recipe {
    ingredients: KVec<Ingredient>,
}

impl Default for Recipe {
    fn default() -> Self {
        Self::new()
    }
}

impl Recipe {
    /// No transforms.
    pub const fn new() -> Self {
        Recipe {
            ingredients: KVec::new(),
        }
    }

    /// Adds the next transform. May sleep.
    ///
    /// # Errors
    ///
    /// `E2BIG` when the chain is full, `ENOMEM`.
    pub fn push(&mut self, ingredient: Ingredient) -> Result {
        if self.ingredients.len() >= MOST_STAGES {
            return Err(E2BIG);
        }
        self.ingredients.push(ingredient, GFP_KERNEL)?;
        Ok(())
    }

    /// Keeps the modules of all transforms from being unloaded for ever. Any
    /// context.
    pub fn stay_loaded(&self) {
        for i in self.ingredients.iter() {
            i.transform.stay_loaded();
        }
    }

    /// The transforms.
    pub fn ingredients(&self) -> &[Ingredient] {
        &self.ingredients
    }

    /// Most bytes that `len` bytes become. Any context.
    pub fn worst_case(&self, len: usize) -> usize {
        self.ingredients
            .iter()
            .fold(len, |n, i| i.transform.worst_case(n).max(n))
    }

    /// Size to plan storage with, in percent. Any context.
    pub fn expected_percent(&self) -> u32 {
        self.ingredients
            .iter()
            .fold(100u32, |p, i| {
                p.saturating_mul(i.transform.expected_percent()) / 100
            })
            .clamp(1, 100)
    }

    /// Bytes of memory that the chain of one worker takes. Any context.
    pub fn chain_memory(&self) -> usize {
        self.ingredients
            .iter()
            .fold(self.worst_case(FRAME_RAW_MAX), |n, i| {
                n.saturating_add(i.transform.stage_memory())
            })
    }

    /// Makes what vouches for the image, if an encryptor is among the
    /// transforms. May sleep and allocate.
    ///
    /// # Errors
    ///
    /// `EINVAL` when an encryptor has no authenticator, `ENOMEM`, or what the
    /// encryptor says.
    pub fn authenticator(&self) -> Result<Option<Arc<dyn Authenticator>>> {
        let mut encryptors = self.ingredients.iter();
        let Some(i) = encryptors.find(|i| i.transform.kind() == Kind::Encrypt) else {
            return Ok(None);
        };
        let found = i.transform.authenticator(i.parameters())?;
        Ok(Some(found.ok_or(EINVAL)?))
    }

    /// Makes the chain of one worker. May sleep and allocate.
    ///
    /// # Errors
    ///
    /// `ENOMEM`, or what a transform says.
    pub fn chain(&self, direction: Direction) -> Result<Chain> {
        let mut stages = KVec::with_capacity(self.ingredients.len(), GFP_KERNEL)?;
        let mut required = 0;
        let mut bit = 1u8;
        for i in self.ingredients.iter() {
            stages.push(i.transform.stage(direction, i.parameters())?, GFP_KERNEL)?;
            if i.transform.kind() == Kind::Encrypt {
                required |= bit;
            }
            bit <<= 1;
        }
        let scratch = if stages.len() > 1 {
            self.worst_case(FRAME_RAW_MAX)
        } else {
            1
        };
        Ok(Chain {
            stages,
            required,
            scratch: Buf::new(scratch)?,
        })
    }
}

/// The stages of one worker.
pub struct Chain {
    stages: KVec<Arc<dyn Stage>>,
    /// Bits of the stages that no frame may go without.
    required: u8,
    scratch: Buf,
}

/// What became of a frame.
#[derive(Clone, Copy)]
pub struct Stored {
    /// Bit `i` is set when stage `i` was applied.
    pub applied: u8,
    /// Length in bytes.
    pub len: usize,
}

fn copy(src: &[u8], dst: &mut [u8]) -> Result<usize> {
    dst.get_mut(..src.len()).ok_or(E2BIG)?.copy_from_slice(src);
    Ok(src.len())
}

impl Chain {
    /// Sends `src` through all stages into `dst`, which has room for the
    /// recipe's worst case. `place` says where the frame belongs; what was
    /// applied to it is filled in here. Process context.
    ///
    /// # Errors
    ///
    /// What a stage says; `E2BIG` when one does not keep its word; `EINVAL`
    /// when an encryptor lets a frame go as it is.
    pub fn forward(&mut self, place: &Place<'_>, src: &[u8], dst: &mut [u8]) -> Result<Stored> {
        let at = |applied| Place { applied, ..*place };
        let (len, applied) = match (self.stages.first(), self.stages.get(1)) {
            (None, _) => (copy(src, dst)?, 0),
            (Some(only), None) => match only.forward(&at(1), src, dst)? {
                Some(n) => (n, 1),
                None => (copy(src, dst)?, 0),
            },
            (Some(first), Some(second)) => {
                let (middle, applied) = match first.forward(&at(1), src, &mut self.scratch)? {
                    Some(n) => (self.scratch.get(..n).ok_or(E2BIG)?, 1u8),
                    None => (src, 0),
                };
                match second.forward(&at(applied | 2), middle, dst)? {
                    Some(n) => (n, applied | 2),
                    None => (copy(middle, dst)?, applied),
                }
            }
        };
        if len > dst.len() {
            return Err(E2BIG);
        }
        if applied & self.required != self.required {
            return Err(EINVAL);
        }
        Ok(Stored { applied, len })
    }

    /// Undoes [`Chain::forward`]: fills all of `dst` from `src`, which is
    /// hostile, as is `place`. Process context.
    ///
    /// # Errors
    ///
    /// `EBADMSG` when `src` does not give `dst.len()` bytes, when stages were
    /// applied that are not there, or when an encryptor was not; or what a
    /// stage says.
    pub fn backward(&mut self, place: &Place<'_>, src: &[u8], dst: &mut [u8]) -> Result {
        let applied = place.applied;
        let bad = errno::error(errno::EBADMSG);
        let first = self.stages.first().filter(|_| applied & 1 != 0);
        let second = self.stages.get(1).filter(|_| applied & 2 != 0);
        let named = u32::from(first.is_some()).wrapping_add(u32::from(second.is_some()));
        if named != applied.count_ones() || applied & self.required != self.required {
            return Err(bad);
        }
        let before = Place {
            applied: applied & 1,
            ..*place
        };
        let len = match (first, second) {
            (None, None) => copy(src, dst).map_err(|_| bad)?,
            (Some(one), None) | (None, Some(one)) => one.backward(place, src, dst)?,
            (Some(first), Some(second)) => {
                let n = second.backward(place, src, &mut self.scratch)?;
                let middle = self.scratch.get(..n).ok_or(bad)?;
                first.backward(&before, middle, dst)?
            }
        };
        if len != dst.len() {
            return Err(bad);
        }
        Ok(())
    }
}
