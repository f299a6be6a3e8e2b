// SPDX-License-Identifier: GPL-2.0

//! Numbers of the last cycle, as `stats` in sysfs shows them.
//!
//! The kernel that comes out of a restore is as old as its snapshot: it knows
//! what was counted before that, and what the superblock tells it.

#![forbid(unsafe_code)]

use crate::image::superblock::Figures;
use core::fmt::{self, Write};
use core::sync::atomic::{AtomicU64, Ordering};

/// A number that anybody may read while one writes.
pub struct Stat(AtomicU64);

impl Stat {
    const fn new() -> Self {
        Stat(AtomicU64::new(0))
    }

    /// Sets it. Any context.
    pub fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    /// Reads it. Any context.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

macro_rules! stats {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// Numbers of the last cycle.
        pub struct Stats {
            $($(#[$doc])* pub $name: Stat,)*
        }

        impl Default for Stats {
            fn default() -> Self {
                Self::new()
            }
        }

        impl Stats {
            /// All zero.
            pub const fn new() -> Self {
                Stats { $($name: Stat::new(),)* }
            }

            /// Sets all to zero. Any context.
            pub fn clear(&self) {
                $(self.$name.set(0);)*
            }

            /// Writes one `name: value` line for each.
            ///
            /// # Errors
            ///
            /// That of `out`.
            pub fn write(&self, out: &mut dyn Write) -> fmt::Result {
                $(writeln!(out, concat!(stringify!($name), ": {}"), self.$name.get())?;)*
                Ok(())
            }
        }
    };
}

impl Stats {
    /// Takes over what the kernels that saved and loaded the image have left in
    /// the superblock. Any context.
    pub fn recall(&self, figures: &Figures) {
        self.image_pages.set(figures.image_pages);
        self.fill_pages.set(figures.fill_pages);
        self.frames.set(figures.frames);
        self.stored_bytes.set(figures.stored_bytes);
        self.atomic_ns.set(figures.atomic_ns);
        self.write_ns.set(figures.write_ns);
        self.load_ns.set(figures.load_ns);
        self.in_place_pages.set(figures.in_place_pages);
    }
}

stats! {
    /// Pages that were to be saved when the last save was planned.
    saveable_pages,
    /// Pages of memory freed to make room.
    freed_pages,
    /// Pages that the save itself was to take, besides the copies.
    planned_pages,
    /// Those that it took.
    taken_pages,
    /// Pages of the last image.
    image_pages,
    /// Pages of it that one word fills.
    fill_pages,
    /// Frames of it.
    frames,
    /// Bytes of its frames.
    stored_bytes,
    /// Time of the copy with interrupts off, in nanoseconds.
    atomic_ns,
    /// Time of writing it, commit included, in nanoseconds.
    write_ns,
    /// Time of the last load, in nanoseconds.
    load_ns,
    /// Pages that were loaded straight to where they belong.
    in_place_pages,
    /// Workers.
    workers,
}
