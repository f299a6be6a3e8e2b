// SPDX-License-Identifier: GPL-2.0

//! What block devices are made of, down to the disks at the bottom.
//!
//! C header: [`include/linux/blkdev.h`](srctree/include/linux/blkdev.h)

use super::block::DevT;
use super::ffi;
use crate::stack::{Fact, Layer, Unfit};
use crate::text::Text;
use kernel::alloc::KVVec;
use kernel::error::to_result;
use kernel::prelude::*;

/// Most layers that are looked at.
const LAYERS_MAX: usize = 64;

/// Room for a reason in words.
pub type Reason = Text<256>;

/// The layers of a block device, from the top to the bottom: its whole disk,
/// and all disks that it is made of.
pub struct Stack {
    layers: KVVec<ffi::dormouse_layer>,
    /// How many there are, if not more than that.
    count: Option<usize>,
}

/// The text in a NUL-terminated field.
fn text(field: &[u8]) -> &str {
    let len = field.iter().position(|&b| b == 0).unwrap_or(0);
    core::str::from_utf8(field.get(..len).unwrap_or(&[])).unwrap_or("?")
}

fn layer(raw: &ffi::dormouse_layer) -> Layer<'_> {
    let fact = match raw.kind {
        ffi::dormouse_layer_kind_DORMOUSE_LAYER_TARGET => Fact::Target {
            name: text(&raw.type_),
            variant: text(&raw.variant),
        },
        ffi::dormouse_layer_kind_DORMOUSE_LAYER_ARRAY => Fact::Array {
            level: raw.level,
            external: raw.external,
            reshapes: raw.reshapes,
        },
        _ => Fact::Driver {
            major: DevT(raw.dev).major(),
            frees_slots: raw.frees_slots,
        },
    };
    Layer {
        disk: text(&raw.disk),
        fact,
    }
}

impl Stack {
    /// Finds the layers of `dev`, a disk or a partition of one. Reads nothing of any device, so it
    /// never waits for one; tasks may be frozen. May sleep.
    ///
    /// # Errors
    ///
    /// `ENODEV` when there is no such device, `ENOMEM`.
    pub fn of(dev: DevT) -> Result<Self> {
        let mut layers = KVVec::with_capacity(LAYERS_MAX, GFP_KERNEL)?;
        for _ in 0..LAYERS_MAX {
            layers.push(ffi::dormouse_layer::default(), GFP_KERNEL)?;
        }
        // SAFETY: There is room for as many layers.
        let found = unsafe { ffi::dormouse_stack(dev.0, layers.as_mut_ptr(), LAYERS_MAX as u32) };
        let count = match to_result(found) {
            Err(e) if e == E2BIG => None,
            result => {
                result?;
                Some(found as usize)
            }
        };
        Ok(Stack { layers, count })
    }

    /// As [`Stack::of`], but `None` for a device that does not answer while tasks and kernel threads
    /// are frozen, or is gone. What is on such a device is in a file, whose filesystem is looked at.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub fn answering(dev: DevT) -> Result<Option<Self>> {
        match Self::of(dev) {
            Ok(stack) => Ok(Some(stack).filter(|stack| !stack.is_still())),
            Err(e) if e == ENODEV => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// Iterates over the layers, from the device down. Any context.
    pub fn layers(&self) -> impl Iterator<Item = Layer<'_>> {
        let count = self.count.unwrap_or(LAYERS_MAX);
        self.layers.iter().take(count).map(layer)
    }

    /// Why the device must not take an image, if so. Any context.
    pub fn unfit(&self) -> Option<Unfit<'_>> {
        let found = self.layers().find_map(|layer| layer.unfit());
        found.or(self.count.is_none().then_some(Unfit::Deep))
    }

    /// Name of a disk in it that goes on to move data by itself. Any context.
    pub fn moving(&self) -> Option<&str> {
        self.layers()
            .find(|layer| layer.moves())
            .map(|layer| layer.disk)
    }

    /// Name of an array in it that is being reshaped. Any context.
    pub fn reshaping(&self) -> Option<&str> {
        self.layers()
            .find(|layer| layer.reshapes())
            .map(|layer| layer.disk)
    }

    /// Whether some of it does not even answer reads while tasks and kernel threads are frozen. Any
    /// context.
    pub fn is_still(&self) -> bool {
        self.layers()
            .any(|layer| layer.unfit().is_some_and(|unfit| unfit.is_still()))
    }
}

/// Why `dev` must not take an image, in words, if so: the end of a sentence that begins with its
/// name. As [`Stack::of`].
///
/// # Errors
///
/// `ENODEV` when there is no such device, `ENOMEM`.
pub fn unfit(dev: DevT) -> Result<Option<Reason>> {
    let stack = Stack::of(dev)?;
    let unfit = stack.unfit();
    Ok(unfit.map(|unfit| Text::format(format_args!("{unfit}"))))
}
