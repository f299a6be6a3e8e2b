// SPDX-License-Identifier: GPL-2.0

//! What the header of an image says of the system and the modules that make it.

#![forbid(unsafe_code)]

use super::mounts::Mounts;
use super::plan::Plan;
use crate::engine::Engine;
use crate::freezer::Kept;
use crate::snapshot::Snapshot;
use crate::storage::Storage;
use crate::sys::buf::Buf;
use crate::transform::{Kind, Transform};
use kernel::prelude::*;

/// What the header will say of the transforms, modules and mounts, found while
/// memory can be allocated.
pub(super) struct Recorded {
    pub(super) snapshot: &'static CStr,
    pub(super) writer: &'static CStr,
    pub(super) transforms: KVec<(Kind, &'static CStr, Buf, usize)>,
    pub(super) mounts: Mounts,
    pub(super) kept: Kept,
}

impl Recorded {
    /// Finds all of it. User tasks are frozen; may sleep and allocate.
    ///
    /// # Errors
    ///
    /// Those of [`Mounts::find`].
    pub(super) fn of(engine: &Engine, plan: &Plan) -> Result<Recorded> {
        let mut transforms = KVec::new();
        for i in plan.recipe.ingredients() {
            let mut parameters = Buf::new(i.parameters().len().max(1))?;
            parameters
                .get_mut(..i.parameters().len())
                .ok_or(EINVAL)?
                .copy_from_slice(i.parameters());
            transforms.push(
                (
                    i.transform.kind(),
                    Transform::name(&*i.transform),
                    parameters,
                    i.parameters().len(),
                ),
                GFP_KERNEL,
            )?;
        }
        Ok(Recorded {
            snapshot: Snapshot::name(&*plan.snapshot),
            writer: Storage::name(&*plan.writer),
            transforms,
            mounts: Mounts::find(engine)?,
            kept: plan.kept(),
        })
    }
}
