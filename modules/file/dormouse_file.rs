// SPDX-License-Identifier: GPL-2.0

//! Keeps images in an ordinary file on a mounted ext4, xfs or btrfs.
//!
//! Read in this order: [`create`] makes such a file, [`pinned`] keeps it where
//! it is while it is the target, [`space`] is what the engine then writes to,
//! [`page`] is what is seen of it in its [`first`] page, and [`open`] finds it
//! again without its filesystem, of which it only knows whether it was mounted
//! meanwhile.

#![forbid(unsafe_code)]

mod create;
mod first;
mod open;
mod page;
mod pinned;
mod plan;
mod refusal;
mod space;

// The pure files name these as they do on the host.
use dormouse::{blockmap, image};

use core::fmt::Write;
use dormouse::control;
use dormouse::engine;
use dormouse::image::filesystem::Uuid;
use dormouse::registry::{self, Registration};
use dormouse::storage::{Place, Room, Space, Storage};
use dormouse::sys::sysfs::{Attribute, Directory, ShowBuf};
use dormouse::target::{self, Target};
use kernel::c_str;
use kernel::prelude::*;
use kernel::sync::{new_mutex, Arc, Mutex};
use pinned::Pinned;

module! {
    type: Module,
    name: "dormouse_file",
    author: "The Dormouse developers",
    description: "A file as storage of Dormouse",
    license: "GPL",
    alias: ["dormouse-writer-file"],
}

struct Module {
    // Field order matters: nobody finds us any more when the rest goes.
    _folder: Directory,
    _registration: Registration,
}

impl kernel::Module for Module {
    fn init(module: &'static ThisModule) -> Result<Self> {
        let file = Arc::pin_init(
            pin_init!(FileStorage {
                pinned <- new_mutex!(None, "dormouse::file"),
            }),
            GFP_KERNEL,
        )?;
        let folder = control::module_folder(c_str!("file"))?;
        folder.add_shared(Arc::new(Create, GFP_KERNEL)?)?;
        folder.add_shared(Arc::new(Resume(file.clone()), GFP_KERNEL)?)?;
        Ok(Module {
            _folder: folder,
            _registration: registry::register_storage(file, module)?,
        })
    }
}

#[pin_data]
struct FileStorage {
    /// The file that is configured.
    #[pin]
    pinned: Mutex<Option<Arc<Pinned>>>,
}

impl FileStorage {
    fn pinned(&self) -> Option<Arc<Pinned>> {
        self.pinned.lock().clone()
    }

    /// The file that `place` means, which has to be the one that is configured.
    fn meant(&self, place: Place<'_>) -> Result<Arc<Pinned>> {
        let pinned = self.pinned();
        let path = match place {
            Place::Target(text) => match Target::parse(text) {
                Ok(Target::File(path)) => path,
                _ => {
                    return Err(engine::fail(
                        EINVAL,
                        format_args!("writer file needs the path of a file as target"),
                    ));
                }
            },
            Place::Resume(_) => return Err(EINVAL),
        };
        pinned.filter(|p| p.path == *path).ok_or_else(|| {
            engine::fail(
                ENODEV,
                format_args!("file {path} is not configured: write it to target again"),
            )
        })
    }
}

impl Storage for FileStorage {
    fn name(&self) -> &'static CStr {
        c_str!("file")
    }

    fn configure(&self, target: Option<&str>) -> Result {
        let next = match target.map(Target::parse) {
            Some(Ok(Target::File(path))) => {
                if self.pinned().is_some_and(|p| p.path == *path) {
                    return Ok(());
                }
                Some(Arc::new(Pinned::new(path)?, GFP_KERNEL)?)
            }
            _ => None,
        };
        let before = core::mem::replace(&mut *self.pinned.lock(), next);
        drop(before);
        Ok(())
    }

    fn memory(&self, place: Place<'_>, _blocks: u64) -> usize {
        self.meant(place).map_or(0, |pinned| pinned.memory())
    }

    fn room(&self, place: Place<'_>) -> Result<Room> {
        let pinned = self.meant(place)?;
        let mut room = Room::new();
        room.add(pinned.path.as_str(), pinned.room());
        Ok(room)
    }

    fn reserve(&self, place: Place<'_>, _want: u64, at_least: u64) -> Result<Arc<dyn Space>> {
        let space = Pinned::reserve(self.meant(place)?, at_least)?;
        Ok(Arc::new(space, GFP_KERNEL)?)
    }

    fn open(&self, place: Place<'_>) -> Result<Arc<dyn Space>> {
        let space = open::open(place, self.pinned())?;
        Ok(Arc::new(space, GFP_KERNEL)?)
    }
}

/// `create`: makes a file.
struct Create;

impl Attribute for Create {
    fn name(&self) -> &'static CStr {
        c_str!("create")
    }

    fn mode(&self) -> u16 {
        0o200
    }

    fn show(&self, _out: &mut ShowBuf<'_>) -> Result {
        Err(EPERM)
    }

    fn store(&self, value: &[u8]) -> Result {
        let request = target::value(core::str::from_utf8(value).map_err(|_| EINVAL)?);
        let engine = engine::get()?;
        engine.configure(|_| ())?;
        engine.report.beside(|| create::create(request))
    }
}

/// `resume`: where the next boot has to look.
struct Resume(Arc<FileStorage>);

impl Attribute for Resume {
    fn name(&self) -> &'static CStr {
        c_str!("resume")
    }

    fn mode(&self) -> u16 {
        0o400
    }

    fn show(&self, out: &mut ShowBuf<'_>) -> Result {
        let Some(pinned) = self.0.pinned() else {
            return out.write_str("none\n").map_err(|_| E2BIG);
        };
        let (uuid, at) = (Uuid(pinned.label.uuid), pinned.at());
        let block = at.block;
        out.write_fmt(format_args!(
            "resume=UUID={uuid} resume_offset={block}\nUUID={uuid}:{block}\n{}:{block}\n",
            at.dev
        ))
        .map_err(|_| E2BIG)
    }

    fn store(&self, _value: &[u8]) -> Result {
        Err(EPERM)
    }
}
