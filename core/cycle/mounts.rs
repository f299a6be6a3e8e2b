// SPDX-License-Identifier: GPL-2.0

//! Filesystems that the saved system has mounted.
//!
//! The restored kernel goes on with what it remembers of them, and what it
//! remembers is wrong once somebody else had them mounted: its first write
//! damages them. So the image says what they were like when it was complete,
//! and is refused when they are not like that any more.

#![forbid(unsafe_code)]

use crate::blockspace;
use crate::engine::Engine;
use crate::errno;
use crate::freezer::Kept;
use crate::image::filesystem::{Filesystem, Uuid};
use crate::image::header::{Header, HeaderBuilder, Mounted, MOUNTED_MAX};
use crate::patience;
use crate::sys::block::{self, BlockDevice, DevT};
use crate::sys::stack::Stack;
use crate::sys::{filesystems, hibernate};
use crate::text::Text;
use core::fmt;
use kernel::prelude::*;

/// A device of a mounted filesystem.
struct Mount {
    device: BlockDevice,
    /// What is on it, as it was before the snapshot.
    found: Option<Filesystem>,
    /// Sectors written to it at the snapshot, by anybody and by the writer.
    written: u64,
    own: u64,
}

/// The devices of mounted filesystems, open.
pub(super) struct Mounts {
    list: KVec<Mount>,
}

impl Mounts {
    /// Finds them. User tasks are frozen, so that no other is mounted after
    /// this. May sleep and allocate.
    ///
    /// # Errors
    ///
    /// `EBUSY` for one on an array that is being reshaped, `E2BIG` for more than
    /// [`MOUNTED_MAX`], with the reason recorded; `ENOMEM`.
    pub(super) fn find(engine: &Engine) -> Result<Mounts> {
        let mut numbers = KVec::new();
        for &dev in filesystems::devices()?.iter() {
            let Some(stack) = Stack::answering(dev)? else {
                continue;
            };
            if let Some(disk) = stack.reshaping() {
                return Err(engine.fail(
                    EBUSY,
                    format_args!("a mounted filesystem is on {disk}, an array that is being reshaped: that goes on after the snapshot, and the resumed system would do it again from an older place and damage what is there; wait until it is over (cat /proc/mdstat)"),
                ));
            }
            if let Some(disk) = stack.moving() {
                engine.report.warn(format_args!(
                    "a mounted filesystem is on {disk}, which goes on to move data after the snapshot, and that would not be seen: let it write through while you hibernate"
                ));
            }
            numbers.push(dev, GFP_KERNEL)?;
        }
        if numbers.len() > MOUNTED_MAX {
            let there = numbers.len();
            return Err(engine.fail(
                E2BIG,
                format_args!("{there} devices have mounted filesystems, and an image can describe {MOUNTED_MAX} of them: unmount some"),
            ));
        }
        let mut list = KVec::with_capacity(numbers.len(), GFP_KERNEL)?;
        for &dev in numbers.iter() {
            match BlockDevice::open(dev, false, false) {
                Ok(device) => list.push(
                    Mount {
                        device,
                        found: None,
                        written: 0,
                        own: 0,
                    },
                    GFP_KERNEL,
                )?,
                // Of this moment, and not of the device.
                Err(e) if e == ENOMEM => return Err(e),
                Err(e) => unseen(format_args!("on {dev}"), e),
            }
        }
        block::count_own(&numbers);
        Ok(Mounts { list })
    }

    /// Looks at what is on them, and makes them keep it: a disk that loses what
    /// it has not written yet would have an older filesystem than the image
    /// remembers. They are frozen; devices are live. May sleep.
    ///
    /// # Errors
    ///
    /// `ETIMEDOUT` for a device that does not answer: to suspend it would take
    /// for ever; `ECANCELED` for one that did not before the save was to stop,
    /// `ENOMEM`. The reason is recorded.
    pub(super) fn look(&mut self, engine: &Engine) -> Result {
        for mount in self.list.iter_mut() {
            let name = mount.device.name();
            if !mount.device.counts() {
                engine.report.warn(format_args!(
                    "what is written to {name} is not counted (its queue/iostats is 0, or it has several paths): a write behind the image would not be seen"
                ));
            }
            match mount.device.flush_within(blockspace::PATIENCE_MS) {
                Err(e) if is_of_device(e) => engine.report.warn(format_args!(
                    "{name}, which has a mounted filesystem, did not confirm that it keeps what was written to it ({}): what it loses when it is switched off, the resumed system will not miss",
                    e.to_errno()
                )),
                Err(e) => return Err(unread(engine, &name, e)),
                Ok(()) => {}
            }
            mount.found = match blockspace::filesystem(&mount.device) {
                Err(e) if is_of_device(e) => {
                    unseen(format_args!("on {name}"), e);
                    None
                }
                Err(e) => return Err(unread(engine, &name, e)),
                Ok(found) => found,
            };
        }
        Ok(())
    }

    /// Notes how much was written to each of them. In the snapshot, with
    /// interrupts off.
    pub(super) fn note_written(&mut self) {
        for mount in self.list.iter_mut() {
            mount.written = mount.device.written();
            mount.own = mount.device.own_written();
        }
    }

    /// Makes sure that they are as they were at the snapshot, but for what the
    /// writer wrote there. `kept` are the tasks that were kept running. May
    /// sleep.
    ///
    /// # Errors
    ///
    /// `ESTALE` when something else was written, or when there is another
    /// filesystem now, `ETIMEDOUT` when a device does not answer, `ECANCELED`
    /// when it did not before the save was to stop, `ENOMEM`, I/O errors; the
    /// reason is recorded.
    pub(super) fn unchanged(&self, engine: &Engine, kept: &Kept) -> Result {
        for mount in self.list.iter() {
            let written = mount.device.written().saturating_sub(mount.written);
            let own = mount.device.own_written().saturating_sub(mount.own);
            let name = mount.device.name();
            if written > own {
                let bytes = written.saturating_sub(own).saturating_mul(512);
                return Err(engine.fail(
                    errno::error(errno::ESTALE),
                    format_args!("{bytes} bytes were written to {name}, which has a mounted filesystem, after the snapshot: the image would damage it, so the save was stopped; nothing is lost; {}", Suspects(kept)),
                ));
            }
            let Some(was) = &mount.found else {
                continue;
            };
            match blockspace::filesystem(&mount.device) {
                Ok(Some(now)) if now == *was => {}
                Ok(_) => {
                    return Err(engine.fail(
                        errno::error(errno::ESTALE),
                        format_args!("the filesystem on {name} is not as it was at the snapshot: the image would damage it, so the save was stopped; nothing is lost; {}", Suspects(kept)),
                    ));
                }
                Err(e) => return Err(unread(engine, &name, e)),
            }
        }
        Ok(())
    }

    /// Writes into a header what is on them.
    ///
    /// # Errors
    ///
    /// `ENOSPC` when the header is full.
    pub(super) fn record(&self, builder: &mut HeaderBuilder<'_>) -> Result {
        for mount in self.list.iter() {
            let (name, dev) = (mount.device.name(), mount.device.dev());
            let Some(found) = &mount.found else {
                // Neither ext4 nor xfs nor btrfs, or it could not be read.
                unseen(format_args!("on {name}"), errno::error(errno::EOPNOTSUPP));
                continue;
            };
            builder.mounted(&Mounted {
                uuid: found.uuid,
                device: (dev.major(), dev.minor()),
                fingerprint: found.fingerprint,
                name: name.as_str(),
            })?;
        }
        Ok(())
    }
}

/// Records that device `name` does not answer, and returns `ETIMEDOUT`.
fn silent(engine: &Engine, name: &Text<32>) -> Error {
    engine.progress.stall();
    engine.fail(
        errno::error(errno::ETIMEDOUT),
        format_args!("{name}, which has a mounted filesystem, does not answer: it stands still, or what serves it was frozen"),
    )
}

/// Records that `e` keeps device `name` from being read, and returns it.
fn unread(engine: &Engine, name: &Text<32>, e: Error) -> Error {
    match e.to_errno().wrapping_neg() {
        errno::ETIMEDOUT => silent(engine, name),
        errno::ECANCELED => patience::stopped(format_args!("{name}")),
        _ => engine.fail(
            e,
            format_args!("the filesystem on {name} could not be read, so what is written there after the snapshot would not be seen: the save was stopped; nothing is lost"),
        ),
    }
}

/// Who may have written behind the image, for a message.
struct Suspects<'a>(&'a Kept);

impl fmt::Display for Suspects<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut first = true;
        for &pid in self.0.iter().filter(|&&pid| pid != 0) {
            let Some(name) = hibernate::task_name(pid) else {
                continue;
            };
            let before = if first { "kept running were" } else { "," };
            first = false;
            write!(f, "{before} {pid} ({name})")?;
        }
        if first {
            return f.write_str("no task was kept running, so a part of the kernel wrote");
        }
        Ok(())
    }
}

fn unseen(place: core::fmt::Arguments<'_>, e: Error) {
    pr_notice!(
        "the filesystem {} is not looked at when the image is resumed ({})\n",
        place,
        e.to_errno()
    );
}

/// What became of a filesystem.
enum Now {
    /// It is as it was.
    Same,
    /// It was mounted since; the name of its device.
    Changed(Text<32>),
    /// One device has it as it was, and another one as it was mounted since;
    /// their names.
    Both(Text<32>, Text<32>),
    /// The device that had it cannot be read; its name.
    Silent(Text<32>),
    /// Nobody knows: its device is not there.
    Gone,
}

/// Whether an error says nothing of a device, but of who looked at it.
pub(super) fn is_of_looking(e: Error) -> bool {
    e == ENOMEM || e == errno::error(errno::ECANCELED)
}

/// Whether an error says what is wrong with a device that answers.
fn is_of_device(e: Error) -> bool {
    !is_of_looking(e) && e != errno::error(errno::ETIMEDOUT)
}

/// What is on `dev`, which has this name; `None` when it is not there.
///
/// # Errors
///
/// `ENOMEM`, and `ECANCELED` when it did not answer before the load was to stop.
fn look(dev: DevT) -> Result<Option<(Text<32>, Result<Filesystem>)>> {
    let device = match BlockDevice::open(dev, false, false) {
        Ok(device) => device,
        Err(e) if is_of_looking(e) => return Err(e),
        Err(_) => return Ok(None),
    };
    match blockspace::filesystem(&device) {
        Err(e) if is_of_looking(e) => Err(e),
        found => Ok(Some((
            device.name(),
            found.and_then(|found| found.ok_or(ENODEV)),
        ))),
    }
}

/// Looks for `was` where it was, and otherwise everywhere: devices can change
/// their numbers from boot to boot, and be copies of each other.
///
/// # Errors
///
/// As [`look`]; `E2BIG` for too many devices.
fn now(was: &Mounted<'_>) -> Result<Now> {
    let same = |found: &Filesystem| found.uuid == was.uuid && found.fingerprint == was.fingerprint;
    let (major, minor) = was.device;
    let recorded = DevT::new(major, minor);
    let (mut like, mut unlike, mut twin, mut silent) = (None, None, false, None);
    match recorded.map(look).transpose()?.flatten() {
        Some((_, Ok(found))) if same(&found) => return Ok(Now::Same),
        // A copy may have got the number of what was saved.
        Some((name, Ok(found))) if found.uuid == was.uuid => {
            unlike = Some(name);
            twin = found.devices == 1;
        }
        // It has no such filesystem, or is too small for any.
        Some((_, Err(e))) if e == ENODEV || e == ENXIO => {}
        Some((name, Err(_))) => silent = Some(name),
        _ => {}
    }
    for &dev in block::devices()?
        .iter()
        .filter(|&&dev| Some(dev) != recorded)
    {
        match look(dev)? {
            Some((name, Ok(found))) if same(&found) => like = Some(name),
            Some((name, Ok(found))) if found.uuid == was.uuid => {
                unlike = Some(name);
                // Of several devices each is unlike the others.
                twin = found.devices == 1;
            }
            _ => {}
        }
    }
    Ok(match (like, unlike, silent) {
        (Some(like), Some(unlike), _) if twin => Now::Both(like, unlike),
        (Some(_), _, _) => Now::Same,
        (None, Some(unlike), _) => Now::Changed(unlike),
        (None, None, Some(name)) => Now::Silent(name),
        (None, None, None) => Now::Gone,
    })
}

/// What is taken on trust of filesystems that cannot be judged.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Trust {
    /// All: the user says, with a retry by hand, that none was mounted since.
    All,
    /// Those that are not seen.
    Unseen,
    /// None: another boot may have mounted what is not seen now.
    Seen,
}

/// Checks that no filesystem of the system that `header` describes was mounted
/// since. May sleep.
///
/// # Errors
///
/// `ESTALE` for one that was, `EALREADY` for one that cannot be judged, with the
/// reason recorded; `E2BIG` for too many devices, `ECANCELED`, `ENOMEM`.
pub(super) fn check(engine: &Engine, header: &Header<'_>, trust: Trust) -> Result {
    let mut first = Ok(());
    for was in header.mounted() {
        let uuid = Uuid(was.uuid);
        let name = Text::<32>::format_plain(format_args!("{}", was.name));
        let now = now(&was).map_err(|e| {
            not_looked_for(
                engine,
                e,
                format_args!(
                    "the filesystem with UUID {uuid} could not be looked for; the image is kept"
                ),
            )
        })?;
        let doubt = match now {
            Now::Same => continue,
            // Nothing outweighs this, so all are looked at before doubts count.
            Now::Changed(name) => {
                return Err(engine.fail(
                    errno::error(errno::ESTALE),
                    format_args!("the filesystem on {name} (UUID {uuid}) was mounted since the image was saved, so to resume would damage it; the image is of no use any more: write \"erase\" to /sys/power/hibernate/image"),
                ));
            }
            Now::Gone if trust != Trust::Seen => {
                pr_notice!(
                    "the filesystem with UUID {} that was on {} is not there, so nobody knows whether it was mounted since the image was saved\n",
                    uuid,
                    name
                );
                continue;
            }
            doubt => doubt,
        };
        if trust != Trust::All && first.is_ok() {
            first = Err((uuid, name, doubt));
        }
    }
    first.map_err(|(uuid, name, doubt)| doubted(engine, &uuid, name.as_str(), &doubt))
}

/// Says why what an image lists could not be looked for: the user stopped the load,
/// or else as `why` says.
pub(super) fn not_looked_for(engine: &Engine, e: Error, why: fmt::Arguments<'_>) -> Error {
    match e == errno::error(errno::ECANCELED) {
        true => engine.fail(e, format_args!("stopped on request; the image is kept")),
        false => engine.fail(e, why),
    }
}

/// What to do about something of the saved system that cannot be judged.
pub(super) const RETRY: &str = "the image is kept: write \"retry\" to /sys/power/hibernate/resume if it was not, otherwise \"erase\" to /sys/power/hibernate/image";

/// Says why a filesystem cannot be judged.
fn doubted(engine: &Engine, uuid: &Uuid, name: &str, doubt: &Now) -> Error {
    let error = errno::error(errno::EALREADY);
    match doubt {
        Now::Both(like, unlike) => engine.fail(
            error,
            format_args!("the filesystem with UUID {uuid} is there twice: as it was on {like}, and mounted since on {unlike}; whether the one of the saved system was is not known; {RETRY}"),
        ),
        Now::Silent(device) => engine.fail(
            error,
            format_args!("{device} cannot be read, so whether its filesystem with UUID {uuid} was mounted since the image was saved is not known; {RETRY}"),
        ),
        _ => engine.fail(
            error,
            format_args!("a boot went on without this image, and the filesystem with UUID {uuid} that was on {name} cannot be seen now: whether it was mounted since is not known; {RETRY}"),
        ),
    }
}
