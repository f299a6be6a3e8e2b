// SPDX-License-Identifier: GPL-2.0

//! Transforms: what is done to a frame between memory and storage.
//!
//! A transform module implements [`Transform`] for the algorithm and
//! [`Stage`] for one worker's use of it, and registers the transform with
//! [`register_transform`](crate::registry::register_transform). While an
//! image is saved every worker owns one stage per transform, so a stage needs
//! no lock of its own against other workers.

#![forbid(unsafe_code)]

use crate::image::commit::TAG_BYTES;
use crate::image::header::PARAMS_MAX;
use crate::sys::buf::Buf;
use kernel::prelude::*;
use kernel::sync::Arc;

/// What a transform is for; it decides its place in the chain.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Makes frames smaller; comes first.
    Compress,
    /// Makes frames secret and authentic; comes last.
    Encrypt,
}

impl Kind {
    /// The number that stands for it in the image header.
    pub const fn number(self) -> u32 {
        match self {
            Kind::Compress => 1,
            Kind::Encrypt => 2,
        }
    }
}

/// Which way data flows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Direction {
    /// From memory to storage.
    Save,
    /// From storage to memory.
    Load,
}

pub use crate::image::cipher::Place;

/// Vouches for what describes an image: its header, its root and its commit
/// record.
pub trait Authenticator: Send + Sync {
    /// Computes the tag of `parts`, one after the other. Process context, also
    /// while tasks are frozen.
    ///
    /// # Errors
    ///
    /// Any error ends the cycle.
    fn tag(&self, parts: &[&[u8]], tag: &mut [u8; TAG_BYTES]) -> Result;
}

/// A stage for each direction.
pub type Stages = (Arc<dyn Stage>, Arc<dyn Stage>);

/// An algorithm over frames of memory.
///
/// # Guarantees
///
/// Implementers promise that `backward` undoes `forward` byte for byte, that
/// the output of `forward` never exceeds [`Transform::worst_case`], and that
/// stages neither sleep for long nor depend on user space: they run while
/// user space is frozen and the page allocator may not start I/O.
pub trait Transform: Send + Sync {
    /// Name as chosen in sysfs and recorded in the image header, at most 31
    /// of `[a-z0-9_-]`.
    fn name(&self) -> &'static CStr;

    /// What it is for.
    fn kind(&self) -> Kind;

    /// Most bytes that `len` bytes can become. Any context.
    fn worst_case(&self, len: usize) -> usize;

    /// Size to plan storage with, in percent of the input, 1 to 100. Storage
    /// that holds this much is accepted, at the risk that writing stops with
    /// `ENOSPC`. Any context.
    fn expected_percent(&self) -> u32;

    /// Bytes of memory that one stage takes. Any context.
    fn stage_memory(&self) -> usize;

    /// Writes the parameters that loading needs into `out` and returns their
    /// length in bytes. Called once per image. May sleep.
    ///
    /// # Errors
    ///
    /// Whatever keeps the transform from being used now; the cycle stops.
    fn parameters(&self, out: &mut [u8]) -> Result<usize> {
        let _ = out;
        Ok(0)
    }

    /// Makes the state of one worker. `parameters` are those of the image.
    /// Called before anything is frozen when saving. May sleep and allocate.
    ///
    /// # Errors
    ///
    /// `EINVAL` for parameters that are not understood, `ENOMEM`, or what the
    /// algorithm says.
    fn stage(&self, direction: Direction, parameters: &[u8]) -> Result<Arc<dyn Stage>>;

    /// Makes what vouches for an image with these parameters; each encryptor
    /// has one. Called before anything else of an image is believed when
    /// loading. May sleep and allocate.
    ///
    /// # Errors
    ///
    /// As [`Transform::stage`].
    fn authenticator(&self, parameters: &[u8]) -> Result<Option<Arc<dyn Authenticator>>> {
        let _ = parameters;
        Ok(None)
    }

    /// Makes stages for the self-test, saving and loading. Override it when
    /// [`Transform::parameters`] needs what only a user can configure. May
    /// sleep and allocate.
    ///
    /// # Errors
    ///
    /// As [`Transform::parameters`] and [`Transform::stage`].
    fn trial(&self) -> Result<Stages> {
        let mut parameters = Buf::new(PARAMS_MAX)?;
        let len = self.parameters(&mut parameters)?;
        let parameters = parameters.get(..len).ok_or(EINVAL)?;
        Ok((
            self.stage(Direction::Save, parameters)?,
            self.stage(Direction::Load, parameters)?,
        ))
    }
}

/// One worker's use of a [`Transform`]. Only one thread calls it at a time.
pub trait Stage: Send + Sync {
    /// Transforms `src` into `dst`, which has room for the worst case, and
    /// returns the number of bytes written, or `None` when the transform does
    /// not help and the frame is to be stored without it, which an encryptor
    /// never says. Process context.
    ///
    /// # Errors
    ///
    /// Any error ends the cycle.
    fn forward(&self, place: &Place<'_>, src: &[u8], dst: &mut [u8]) -> Result<Option<usize>>;

    /// Undoes [`Stage::forward`]: fills `dst` from `src` and returns the
    /// number of bytes written. `src` is hostile. Process context.
    ///
    /// # Errors
    ///
    /// `EBADMSG` or another error for data that `forward` cannot have made.
    fn backward(&self, place: &Place<'_>, src: &[u8], dst: &mut [u8]) -> Result<usize>;
}
