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
use crate::image::filesystem::{Filesystem, Uuid};
use crate::image::header::{Header, HeaderBuilder, Mounted, MOUNTED_MAX};
use crate::sys::block::{self, BlockDevice, DevT};
use crate::text::Text;
use kernel::prelude::*;

/// Devices with mounted filesystems, open.
pub(super) struct Mounts {
    devices: KVec<BlockDevice>,
}

impl Mounts {
    /// Finds them. May sleep; nothing is frozen yet.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(super) fn find() -> Result<Mounts> {
        let (numbers, there) = block::mounted(MOUNTED_MAX)?;
        let mut devices = KVec::with_capacity(numbers.len(), GFP_KERNEL)?;
        for &dev in numbers.iter() {
            match BlockDevice::open(dev, false, false) {
                Ok(device) => devices.push(device, GFP_KERNEL)?,
                Err(e) => unseen(format_args!("on {dev}"), e),
            }
        }
        if there > numbers.len() {
            pr_warn!(
                "{} filesystems are mounted, and only {} of them are looked at when the image is resumed\n",
                there,
                MOUNTED_MAX
            );
        }
        Ok(Mounts { devices })
    }

    /// Writes into a header what they are like now, on their media. Tasks and
    /// kernel threads are frozen, and nothing of them is under way. May sleep.
    ///
    /// # Errors
    ///
    /// `ENOSPC` when the header is full.
    pub(super) fn record(&self, builder: &mut HeaderBuilder<'_>) -> Result {
        for device in self.devices.iter() {
            let (name, dev) = (device.name(), device.dev());
            let found = match blockspace::filesystem(device) {
                Ok(Some(found)) => found,
                // Neither ext4 nor xfs nor btrfs.
                Ok(None) => {
                    unseen(format_args!("on {name}"), errno::error(errno::EOPNOTSUPP));
                    continue;
                }
                Err(e) => {
                    unseen(format_args!("on {name}"), e);
                    continue;
                }
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
    /// Nobody knows: its device is not there.
    Gone,
}

fn look(dev: DevT) -> Result<(Text<32>, Filesystem)> {
    let device = BlockDevice::open(dev, false, false)?;
    let found = blockspace::filesystem(&device)?;
    Ok((device.name(), found.ok_or(ENODEV)?))
}

/// Looks for `was` where it was, and otherwise everywhere: devices can change
/// their numbers from boot to boot.
fn now(was: &Mounted<'_>) -> Result<Now> {
    let same = |found: &Filesystem| found.uuid == was.uuid && found.fingerprint == was.fingerprint;
    let (major, minor) = was.device;
    let there = DevT::new(major, minor).and_then(|dev| look(dev).ok());
    if let Some((name, found)) = there.filter(|(_, found)| found.uuid == was.uuid) {
        if same(&found) {
            return Ok(Now::Same);
        }
        if found.devices == 1 {
            return Ok(Now::Changed(name));
        }
    }
    let mut now = Now::Gone;
    for &dev in block::devices()?.iter() {
        match look(dev) {
            Ok((_, found)) if same(&found) => return Ok(Now::Same),
            Ok((name, found)) if found.uuid == was.uuid => now = Now::Changed(name),
            _ => {}
        }
    }
    Ok(now)
}

/// Checks that no filesystem of the system that `header` describes was mounted
/// since. May sleep.
///
/// # Errors
///
/// `ESTALE` for one that was, with the reason recorded; `E2BIG` for too many
/// devices, `ENOMEM`.
pub(super) fn check(engine: &Engine, header: &Header<'_>) -> Result {
    for was in header.mounted() {
        let uuid = Uuid(was.uuid);
        let now = now(&was).map_err(|e| {
            engine.fail(
                e,
                format_args!(
                    "the filesystem with UUID {uuid} could not be looked for; the image is kept"
                ),
            )
        })?;
        match now {
            Now::Same => {}
            Now::Changed(name) => {
                return Err(engine.fail(
                    errno::error(errno::ESTALE),
                    format_args!("the filesystem on {name} (UUID {uuid}) was mounted since the image was saved, so to resume would damage it; the image is kept: write \"erase\" to /sys/power/hibernate/image"),
                ));
            }
            Now::Gone => pr_notice!(
                "the filesystem with UUID {} that was on {} is not there, so nobody knows whether it was mounted since the image was saved\n",
                uuid,
                was.name
            ),
        }
    }
    Ok(())
}
