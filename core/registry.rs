// SPDX-License-Identifier: GPL-2.0

//! Registry of what modules offer: transforms, storages, freezers, snapshot
//! methods.
//!
//! Everything is found by kind and name. What is found is pinned: the module
//! that brought it cannot be unloaded before the [`Pinned`] is dropped. A name
//! that is not there makes the registry ask for the module
//! `dormouse-<kind>-<name>`.

#![forbid(unsafe_code)]

use crate::freezer::Freezer;
use crate::image;
use crate::selftest;
use crate::snapshot::Snapshot;
use crate::storage::Storage;
use crate::sys::module::{self, ModuleRef, Owner};
use crate::sys::once::Once;
use crate::transform::{self, Transform};
use core::fmt::{self, Write};
use kernel::prelude::*;
use kernel::sync::{new_mutex, Arc, Mutex};

/// Most entries of one kind at a time.
const MOST: usize = 32;

/// An entry in use. While it lives, its module stays.
pub struct Pinned<T: ?Sized + 'static> {
    // Field order matters: the object goes before the module that holds its
    // code.
    object: Arc<T>,
    name: &'static CStr,
    _module: ModuleRef,
}

impl<T: ?Sized> core::ops::Deref for Pinned<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.object
    }
}

impl<T: ?Sized> Pinned<T> {
    /// Keeps the module from being unloaded for ever: something may be under way
    /// in it that has no end. Any context.
    pub fn stay_loaded(&self) {
        self._module.stay_loaded();
    }

    /// The registered name.
    pub fn name(&self) -> &'static str {
        self.name.to_str().unwrap_or("?")
    }
}

fn is(name: &CStr, text: &str) -> bool {
    name.as_bytes() == text.as_bytes()
}

struct Entry<T: ?Sized> {
    name: &'static CStr,
    object: Arc<T>,
    owner: Owner,
}

/// All entries of one kind.
#[pin_data]
pub struct Table<T: ?Sized + Send + Sync + 'static> {
    kind: &'static str,
    #[pin]
    slots: Mutex<[Option<Entry<T>>; MOST]>,
}

impl<T: ?Sized + Send + Sync + 'static> Table<T> {
    fn new(kind: &'static str) -> impl PinInit<Self> {
        pin_init!(Self {
            kind,
            slots <- new_mutex!([const { None }; MOST], "dormouse::registry"),
        })
    }

    /// The word for entries of this kind. Any context.
    pub fn kind(&self) -> &'static str {
        self.kind
    }

    fn insert(&self, name: &'static CStr, object: Arc<T>, owner: Owner) -> Result {
        let text = name.to_str().map_err(|_| EINVAL)?;
        if !image::is_module_name(text) || text == "none" {
            pr_err!("{} name \"{}\" is not valid\n", self.kind, text);
            return Err(EINVAL);
        }
        let mut slots = self.slots.lock();
        if slots.iter().flatten().any(|e| is(e.name, text)) {
            pr_err!("{} \"{}\" is registered already\n", self.kind, text);
            return Err(EEXIST);
        }
        let slot = slots.iter_mut().find(|s| s.is_none()).ok_or(ENOSPC)?;
        *slot = Some(Entry {
            name,
            object,
            owner,
        });
        pr_info!("{} \"{}\" registered\n", self.kind, text);
        Ok(())
    }

    fn remove(&self, name: &'static CStr) {
        for slot in self.slots.lock().iter_mut() {
            if slot
                .as_ref()
                .is_some_and(|e| e.name.as_bytes() == name.as_bytes())
            {
                *slot = None;
            }
        }
    }

    fn pin(&self, name: &str) -> Option<Pinned<T>> {
        let slots = self.slots.lock();
        let entry = slots.iter().flatten().find(|e| is(e.name, name))?;
        Some(Pinned {
            object: entry.object.clone(),
            name: entry.name,
            _module: entry.owner.try_get()?,
        })
    }

    /// Finds and pins the entry `name`; loads its module if it has to. May
    /// sleep.
    ///
    /// # Errors
    ///
    /// `EINVAL` when `name` is not a valid name, `ENOENT` when there is none.
    pub fn find(&self, name: &str) -> Result<Pinned<T>> {
        if !image::is_module_name(name) {
            return Err(EINVAL);
        }
        if let Some(found) = self.pin(name) {
            return Ok(found);
        }
        module::request(format_args!("dormouse-{}-{}", self.kind, name))?;
        self.pin(name).ok_or(ENOENT)
    }

    /// Finds and pins the entry `name` if its module is there. May sleep.
    pub fn find_loaded(&self, name: &str) -> Option<Pinned<T>> {
        self.pin(name)
    }

    /// Pins all entries, in the order of registration, but those whose module
    /// is going away. May sleep and allocate.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub fn all(&self) -> Result<KVec<Pinned<T>>> {
        let mut all = KVec::with_capacity(MOST, GFP_KERNEL)?;
        for entry in self.slots.lock().iter().flatten() {
            if let Some(module) = entry.owner.try_get() {
                let pinned = Pinned {
                    object: entry.object.clone(),
                    name: entry.name,
                    _module: module,
                };
                all.push(pinned, GFP_KERNEL)?;
            }
        }
        Ok(all)
    }

    /// Writes all names as a block scheduler does: `none lzo [lz4]`. May
    /// sleep.
    ///
    /// # Errors
    ///
    /// That of `out`.
    pub fn list(&self, out: &mut dyn Write, selected: &str, none: bool) -> fmt::Result {
        let mut first = true;
        let mut item = |out: &mut dyn Write, name: &str| {
            let space = if first { "" } else { " " };
            first = false;
            if name == selected {
                write!(out, "{space}[{name}]")
            } else {
                write!(out, "{space}{name}")
            }
        };
        if none {
            item(out, "none")?;
        }
        for entry in self.slots.lock().iter().flatten() {
            item(out, entry.name.to_str().unwrap_or("?"))?;
        }
        out.write_str("\n")
    }
}

/// The tables of all kinds.
#[pin_data]
pub struct Registry {
    /// Transforms that compress.
    #[pin]
    pub compressors: Table<dyn Transform>,
    /// Transforms that encrypt.
    #[pin]
    pub encryptors: Table<dyn Transform>,
    /// Places for images.
    #[pin]
    pub writers: Table<dyn Storage>,
    /// Ways to stop the world.
    #[pin]
    pub freezers: Table<dyn Freezer>,
    /// Ways to choose and hold still the pages of an image.
    #[pin]
    pub snapshots: Table<dyn Snapshot>,
}

static REGISTRY: Once<Registry> = Once::new();

impl Registry {
    fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            compressors <- Table::new("compress"),
            encryptors <- Table::new("encrypt"),
            writers <- Table::new("writer"),
            freezers <- Table::new("freezer"),
            snapshots <- Table::new("snapshot"),
        })
    }

    /// The table that a transform of `kind` belongs to.
    pub fn transforms(&self, kind: transform::Kind) -> &Table<dyn Transform> {
        match kind {
            transform::Kind::Compress => &self.compressors,
            transform::Kind::Encrypt => &self.encryptors,
        }
    }
}

/// Sets the registry up, once, before anything registers. May sleep.
///
/// # Errors
///
/// `ENOMEM`; `EBUSY` when it is there already.
pub fn init() -> Result {
    let registry = KBox::pin_init(Registry::new(), GFP_KERNEL)?;
    REGISTRY.set(registry).map(|_| ())
}

/// The registry. Any context.
///
/// # Errors
///
/// `ENODEV` before [`init`] has succeeded.
pub fn get() -> Result<&'static Registry> {
    REGISTRY.get().ok_or(ENODEV)
}

/// Keeps an entry registered; dropping it takes the entry back.
#[must_use = "dropping the registration takes the entry back"]
pub struct Registration {
    name: &'static CStr,
    remove: fn(&Registry, &'static CStr),
}

impl Drop for Registration {
    fn drop(&mut self) {
        if let Ok(registry) = get() {
            (self.remove)(registry, self.name);
        }
    }
}

/// Registers a transform of `owner`, after it has passed the round-trip
/// self-test. May sleep.
///
/// # Errors
///
/// `EEXIST` for a name that is taken, `EINVAL` for one that is not valid,
/// `EBADMSG` when the self-test fails, or what the transform says during it.
pub fn register_transform(
    transform: Arc<dyn Transform>,
    owner: &'static ThisModule,
) -> Result<Registration> {
    selftest::round_trip(&*transform)?;
    let name = transform.name();
    let kind = transform.kind();
    get()?
        .transforms(kind)
        .insert(name, transform, Owner::of(owner))?;
    Ok(Registration {
        name,
        remove: match kind {
            transform::Kind::Compress => |r, n| r.compressors.remove(n),
            transform::Kind::Encrypt => |r, n| r.encryptors.remove(n),
        },
    })
}

/// Registers a storage of `owner`. May sleep.
///
/// # Errors
///
/// `EEXIST` for a name that is taken, `EINVAL` for one that is not valid.
pub fn register_storage(
    storage: Arc<dyn Storage>,
    owner: &'static ThisModule,
) -> Result<Registration> {
    let name = storage.name();
    get()?.writers.insert(name, storage, Owner::of(owner))?;
    Ok(Registration {
        name,
        remove: |r, n| r.writers.remove(n),
    })
}

/// Registers a freezer of `owner`. May sleep.
///
/// # Errors
///
/// As [`register_storage`].
pub fn register_freezer(
    freezer: Arc<dyn Freezer>,
    owner: &'static ThisModule,
) -> Result<Registration> {
    let name = freezer.name();
    get()?.freezers.insert(name, freezer, Owner::of(owner))?;
    Ok(Registration {
        name,
        remove: |r, n| r.freezers.remove(n),
    })
}

/// Registers a snapshot method of `owner`. May sleep.
///
/// # Errors
///
/// As [`register_storage`].
pub fn register_snapshot(
    snapshot: Arc<dyn Snapshot>,
    owner: &'static ThisModule,
) -> Result<Registration> {
    let name = snapshot.name();
    get()?.snapshots.insert(name, snapshot, Owner::of(owner))?;
    Ok(Registration {
        name,
        remove: |r, n| r.snapshots.remove(n),
    })
}
