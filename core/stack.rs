// SPDX-License-Identifier: GPL-2.0

//! Which block devices must not take an image, by what they are made of.
//!
//! The image is written after the snapshot, and the resumed system knows
//! nothing of that. So a place for images has to keep data where it was told
//! to, and nothing else of its own that the resumed system remembers from
//! before: notes of where blocks are, checksums, parity, a log. It has to work
//! while tasks and kernel threads are frozen, and to outlast the power.
//!
//! What device-mapper makes is refused unless its target is known to be like
//! that. Disks of drivers are taken unless they are known not to be.
//! [`Stack`](crate::sys::stack::Stack) finds the layers; here is what they
//! mean.

#![forbid(unsafe_code)]

use core::fmt;

/// One layer of a block device.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Layer<'a> {
    /// Name of the whole disk, such as `dm-3`.
    pub disk: &'a str,
    /// What is known of it.
    pub fact: Fact<'a>,
}

/// What is known of a disk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fact<'a> {
    /// A driver makes it.
    Driver {
        /// Its major number.
        major: u32,
        /// It forgets the contents of swap slots that are free.
        frees_slots: bool,
    },
    /// Device-mapper makes it.
    Target {
        /// Type of a target in its table.
        name: &'a str,
        /// First word of the parameters of types `raid` and `mirror`: which
        /// kind of array, or where its log is.
        variant: &'a str,
    },
    /// md makes it.
    Array {
        /// Level; negative for linear.
        level: i32,
        /// A process keeps its metadata.
        external: bool,
        /// It is being reshaped, or is to go on with that.
        reshapes: bool,
    },
}

/// Why a device must not take an image; the end of a sentence that begins with
/// its name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unfit<'a> {
    /// Requests to it are not answered while tasks and kernel threads are
    /// frozen.
    Still {
        /// What kind of disk that is.
        what: &'static str,
        /// The disk.
        disk: &'a str,
    },
    /// Writes to it wait for a process, which is frozen; reads do not.
    Managed(&'a str),
    /// It is an array that is being reshaped.
    Reshaped(&'a str),
    /// What is on it is lost with the power.
    Lost(&'a str),
    /// It keeps more than the data.
    Notes {
        /// What keeps it.
        what: Keeper<'a>,
        /// The disk.
        disk: &'a str,
    },
    /// It has more layers than are looked at.
    Deep,
}

/// What keeps more than the data.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Keeper<'a> {
    /// A driver.
    Driver(&'static str),
    /// A target of device-mapper, and its variant.
    Target(&'a str, &'a str),
    /// An array of this level.
    Array(i32),
}

impl Unfit<'_> {
    /// Whether nothing that is asked of the device is answered while tasks and
    /// kernel threads are frozen, not even a read.
    pub fn is_still(&self) -> bool {
        matches!(self, Unfit::Still { .. })
    }
}

impl fmt::Display for Unfit<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Unfit::Still { what, disk } => write!(
                f,
                "is on {what} ({disk}), which stands still while the image is written"
            ),
            Unfit::Managed(disk) => write!(
                f,
                "is on an array ({disk}) whose metadata a process keeps (mdmon), which stands still while the image is written"
            ),
            Unfit::Reshaped(disk) => write!(
                f,
                "is on an array ({disk}) that is being reshaped, which goes on while the image is written: wait until that is over (cat /proc/mdstat)"
            ),
            Unfit::Lost(disk) => {
                write!(f, "is on {disk}, which is lost when the machine goes down")
            }
            Unfit::Notes { what, disk } => write!(
                f,
                "is on {what} ({disk}), which may keep more than the data that is written: the resumed system would go on with what it remembers of that, and damage it"
            ),
            Unfit::Deep => f.write_str("is made of more devices than can be looked at"),
        }
    }
}

impl fmt::Display for Keeper<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Keeper::Driver(name) => f.write_str(name),
            Keeper::Target(name, "") => write!(f, "device-mapper target {name}"),
            Keeper::Target(name, variant) => {
                write!(f, "device-mapper target {name} ({variant})")
            }
            Keeper::Array(level) => write!(f, "an array of level {level}"),
        }
    }
}

impl<'a> Layer<'a> {
    /// Why what is on this layer must not take an image, if so. Any context.
    pub fn unfit(&self) -> Option<Unfit<'a>> {
        let disk = self.disk;
        match self.fact {
            Fact::Driver { major, frees_slots } => driver(disk, major, frees_slots),
            Fact::Target { name, variant } => {
                let what = Keeper::Target(name, variant);
                (!is_plain_target(name, variant)).then_some(Unfit::Notes { what, disk })
            }
            // After the first write that follows a pause, writes wait until
            // mdmon has noted that.
            Fact::Array { external: true, .. } => Some(Unfit::Managed(disk)),
            Fact::Array { reshapes: true, .. } => Some(Unfit::Reshaped(disk)),
            Fact::Array { level, .. } => {
                let what = Keeper::Array(level);
                (!is_plain_level(level)).then_some(Unfit::Notes { what, disk })
            }
        }
    }
}

impl Layer<'_> {
    /// Whether it goes on to move data by itself, from a cache to the disk or the
    /// like, when nothing is written to what is on it: its threads are not frozen,
    /// and the resumed system knows nothing of that. Any context.
    pub fn moves(&self) -> bool {
        match self.fact {
            Fact::Target { name, .. } => {
                matches!(name, "cache" | "clone" | "writecache" | "vdo" | "zoned")
            }
            Fact::Driver { .. } => {
                self.disk.trim_end_matches(|c: char| c.is_ascii_digit()) == "bcache"
            }
            Fact::Array { .. } => false,
        }
    }

    /// Whether it is an array that is being reshaped. The thread of md is not
    /// frozen: data would go on to move, and the place where that is would be noted
    /// on the members, while the image is written. The resumed system would do it
    /// again from the older place that it remembers, and take what is there by
    /// then for what was there before. Any context.
    pub fn reshapes(&self) -> bool {
        matches!(self.fact, Fact::Array { reshapes: true, .. })
    }
}

/// Major number of RAM disks.
const RAMDISK: u32 = 1;
/// Of loop devices, whose workqueue is frozen with kernel threads.
const LOOP: u32 = 7;
/// Of DRBD, whose log of active parts would be older than what is on the disk.
const DRBD: u32 = 147;
/// Of flash translation layers, which move blocks when they are written.
const FLASH: [u32; 4] = [44, 93, 96, 256];

/// Judges the disk of a driver: by its major number where that is fixed,
/// otherwise by the name that the driver gives its disks.
fn driver(disk: &str, major: u32, frees_slots: bool) -> Option<Unfit<'_>> {
    let still = |what| Some(Unfit::Still { what, disk });
    let notes = |what| {
        let what = Keeper::Driver(what);
        Some(Unfit::Notes { what, disk })
    };
    match major {
        RAMDISK => return Some(Unfit::Lost(disk)),
        LOOP => return still("a loop device"),
        DRBD => return notes("DRBD"),
        _ if FLASH.contains(&major) => return notes("a flash translation layer"),
        // Gone with the slot: only zram does so.
        _ if frees_slots => return Some(Unfit::Lost(disk)),
        _ => {}
    }
    // The free block of a lane is the one that was written to last.
    if disk.starts_with("pmem") && disk.ends_with('s') {
        return notes("persistent memory in sectors (BTT)");
    }
    let name = disk.trim_end_matches(|c: char| c.is_ascii_digit());
    if name.len() == disk.len() {
        return None;
    }
    match name {
        "zram" | "nullb" => Some(Unfit::Lost(disk)),
        "ublkb" => still("a disk that a process serves"),
        "pktcdvd" => still("a packet-writing device"),
        "zloop" => still("a zoned loop device"),
        // The sectors of a bucket get their place when they are written.
        "bcache" => notes("bcache"),
        "smblk" => notes("a flash translation layer"),
        "zd" => notes("a ZFS volume"),
        _ => None,
    }
}

/// Whether targets of this type pass data on to the place that their table
/// says, and keep nothing on a medium that changes when that is written.
///
/// Not among them, for instance:
/// - `thin`, `snapshot`, `snapshot-origin`, `clone`, `cache`, `writecache`,
///   `era`, `zoned`, `vdo`: their metadata say where blocks are, and are
///   committed after the snapshot.
/// - `integrity`: the resumed system has older blocks of checksums in memory
///   (dm-bufio), so what was written after the snapshot, the mark of the image
///   with it, would not be readable; its journal goes on at an older place.
/// - `ebs`: the same with blocks of data.
/// - `log-writes`: its thread is frozen, and its log goes on at an older place.
fn is_plain_target(name: &str, variant: &str) -> bool {
    match name {
        "linear" | "striped" | "unstriped" | "crypt" | "zero" | "error" => true,
        // Paths are a matter of memory, tables of regions as well.
        "multipath" | "switch" => true,
        // Only read.
        "verity" => true,
        // For tests; lists of bad sectors are a matter of memory.
        "delay" | "flakey" | "dust" => true,
        // The log on the disk says which regions may differ. What was noted
        // after the snapshot is noted again by the next write, except that a
        // region which was clean on the disk by then counts as noted for some
        // seconds. With a log in user space writes wait for a process.
        "mirror" => matches!(variant, "core" | "disk"),
        "raid" => ["raid0", "raid1"]
            .iter()
            .any(|kind| variant.starts_with(kind)),
        _ => false,
    }
}

/// Whether arrays of this level keep nothing that changes with the data, so
/// that the resumed system can go on with what it remembers.
///
/// The superblocks of all members change in the same way. With a bitmap of
/// writes (levels 1 and 10) the resumed system takes chunks for marked on the
/// disk for some seconds that no longer are: if the power is lost within these,
/// the copies of what was being written then are not made equal again.
///
/// Levels 4, 5 and 6 keep stripes in memory. The resumed system would compute
/// parity from what stripes held before the image was written: when a disk is
/// lost later, other blocks of such stripes are damaged. Their journal and
/// partial parity log would go on at an older place.
fn is_plain_level(level: i32) -> bool {
    matches!(level, 0 | 1 | 10) || level == LINEAR
}

/// Level of arrays that are a line of disks.
const LINEAR: i32 = -1;
