// SPDX-License-Identifier: GPL-2.0

//! What the rest of the system says of itself: memory and swap space.

use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use dormouse_image::device;
use serde::Serialize;

/// The system below a root folder.
pub struct System(PathBuf);

/// Memory, in bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Memory {
    /// All of it.
    pub total: u64,
    /// What is not free.
    pub in_use: u64,
    /// What would be left of that without caches.
    pub without_caches: u64,
}

/// An active swap area.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SwapArea {
    /// Path of the device or file, as far as it is text.
    pub path: String,
    /// The same, whatever it is.
    #[serde(skip)]
    pub file: PathBuf,
    /// Bytes.
    pub size: u64,
    /// Bytes that nobody uses.
    pub free: u64,
    /// What the kernel says of it, if that is known.
    pub verdict: Option<Verdict>,
}

/// A mounted filesystem.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// Number of its device, `MAJOR:MINOR`.
    pub device: String,
    /// Where it is mounted, as far as that is text.
    pub at: String,
    /// Name of its type.
    pub kind: String,
    /// What it was mounted from.
    pub source: PathBuf,
}

/// What the kernel says of a swap area.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// It can take an image.
    Usable,
    /// It cannot; why, as the end of a sentence that begins with its path.
    Unusable(String),
}

impl SwapArea {
    /// Why no image can be in it, if the kernel says that.
    pub fn unusable(&self) -> Option<&str> {
        match &self.verdict {
            Some(Verdict::Unusable(why)) => Some(why),
            _ => None,
        }
    }
}

/// Where the kernel says which areas can take an image, while the writer for
/// them is loaded.
const VERDICTS: &str = "sys/power/hibernate/modules/swap/areas";

impl System {
    /// The system whose root folder is `root`.
    pub fn new(root: &Path) -> Self {
        System(root.to_path_buf())
    }

    /// A path of the system.
    pub fn path(&self, path: &str) -> PathBuf {
        self.0.join(path.trim_start_matches('/'))
    }

    /// A text file of the system, if it can be read.
    pub fn read(&self, path: &str) -> Option<String> {
        fs::read_to_string(self.path(path)).ok()
    }

    /// Its memory.
    ///
    /// # Errors
    ///
    /// When /proc is not there.
    pub fn memory(&self) -> Result<Memory> {
        let path = self.path("proc/meminfo");
        let text = fs::read_to_string(&path)
            .with_context(|| format!("cannot read {}: is /proc mounted?", path.display()))?;
        memory(&text).with_context(|| format!("{} has no \"MemTotal\"", path.display()))
    }

    /// Its active swap areas.
    pub fn swaps(&self) -> Vec<SwapArea> {
        // Names of files need not be text.
        let text = fs::read(self.path("proc/swaps")).unwrap_or_default();
        let verdicts = self.read(VERDICTS).unwrap_or_default();
        let lines = text.split(|&byte| byte == b'\n').skip(1);
        lines
            .filter_map(|line| swap_area(line, &verdicts))
            .collect()
    }

    /// Its mounted filesystems.
    pub fn mounts(&self) -> Vec<Mount> {
        let text = fs::read(self.path("proc/self/mountinfo")).unwrap_or_default();
        text.split(|&byte| byte == b'\n')
            .filter_map(mount)
            .collect()
    }

    /// Folder in sysfs of the block device that `mount` is on, without any links in its path;
    /// nothing if it is on none, or is served by a process itself.
    pub fn block_folder(&self, mount: &Mount) -> Option<PathBuf> {
        if mount.kind.starts_with("fuse") {
            return None;
        }
        let folder = match mount.device.starts_with("0:") {
            false => self.path("sys/dev/block").join(&mount.device),
            // btrfs has a number of its own.
            true => {
                let node = mount.source.strip_prefix("/dev").ok()?;
                let node = self.path("dev").join(node).canonicalize().ok()?;
                self.path("sys/class/block").join(node.file_name()?)
            }
        };
        folder.canonicalize().ok()
    }

    /// The block device with this number.
    pub fn device(&self, major: u64, minor: u64) -> Option<PathBuf> {
        device::named(&self.0, major, minor)
    }

    /// Pages of memory that are there, used or not, as an image counts them.
    pub fn ram_pages(&self) -> Option<u64> {
        let text = self.read("proc/zoneinfo")?;
        let words = |line: &str| {
            let mut words = line.split_whitespace();
            (words.next()? == "present").then_some(())?;
            words.next()?.parse::<u64>().ok()
        };
        let zones: Vec<u64> = text.lines().filter_map(words).collect();
        (!zones.is_empty()).then(|| {
            zones
                .iter()
                .fold(0u64, |sum, pages| sum.saturating_add(*pages))
        })
    }

    /// The kernel's release, as `uname -r` says it.
    pub fn release(&self) -> Option<String> {
        let version = self.read("proc/version")?;
        let release = version.strip_prefix("Linux version ")?;
        Some(release.split_whitespace().next()?.to_string())
    }

    /// The value of `name=` on the kernel's command line; the last one counts.
    pub fn boot_option(&self, name: &str) -> Option<String> {
        let line = self.read("proc/cmdline")?;
        let mut words = line.split_whitespace().rev();
        words.find_map(|word| Some(word.strip_prefix(name)?.strip_prefix('=')?.to_string()))
    }

    /// Whether `word` stands on the kernel's command line.
    pub fn has_boot_word(&self, word: &str) -> bool {
        let line = self.read("proc/cmdline").unwrap_or_default();
        line.split_whitespace().any(|found| found == word)
    }
}

fn memory(text: &str) -> Option<Memory> {
    let field = |name: &str| -> Option<u64> {
        let mut lines = text.lines();
        let rest = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
        let kib: u64 = rest.split_whitespace().next()?.parse().ok()?;
        kib.checked_mul(1024)
    };
    let or_none = |name| field(name).unwrap_or(0);
    let total = field("MemTotal")?;
    let in_use = total.saturating_sub(or_none("MemFree"));
    let files = or_none("Cached").saturating_sub(or_none("Shmem"));
    let caches = files
        .saturating_add(or_none("Buffers"))
        .saturating_add(or_none("SReclaimable"));
    Some(Memory {
        total,
        in_use,
        without_caches: in_use.saturating_sub(caches),
    })
}

/// Bytes of which `seq_path()` of the kernel wrote some as a backslash and three octal digits.
fn unescaped(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&byte, behind)) = rest.split_first() {
        let escaped = match rest {
            [b'\\', a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', behind @ ..] => {
                Some((((a - b'0') << 6) | ((b - b'0') << 3) | (c - b'0'), behind))
            }
            _ => None,
        };
        let (byte, behind) = escaped.unwrap_or((byte, behind));
        out.push(byte);
        rest = behind;
    }
    out
}

/// One line of `/proc/self/mountinfo`, which is escaped like `/proc/swaps`.
fn mount(line: &[u8]) -> Option<Mount> {
    let text = |word: &[u8]| String::from_utf8_lossy(&unescaped(word)).into_owned();
    let mut words = line.split(|&byte| byte == b' ');
    let device = text(words.nth(2)?);
    let at = text(words.nth(1)?);
    // Any number of optional fields, up to a dash.
    words.find(|word| *word == b"-")?;
    Some(Mount {
        device,
        at,
        kind: text(words.next()?),
        source: PathBuf::from(OsString::from_vec(unescaped(words.next()?))),
    })
}

/// One line of `/proc/swaps`, where blanks, tabs, newlines and backslashes in a path are octal,
/// with what `verdicts` say of it.
fn swap_area(line: &[u8], verdicts: &str) -> Option<SwapArea> {
    let words = line.split(|byte| byte.is_ascii_whitespace());
    let mut words = words.filter(|word| !word.is_empty());
    let word = words.next()?;
    let file = PathBuf::from(OsString::from_vec(unescaped(word)));
    let path = file.to_string_lossy().into_owned();
    words.next()?;
    let mut kib = || {
        let word = std::str::from_utf8(words.next()?).ok()?;
        word.parse::<u64>().ok()?.checked_mul(1024)
    };
    let (size, used) = (kib()?, kib()?);
    Some(SwapArea {
        path,
        file,
        size,
        free: size.saturating_sub(used),
        verdict: std::str::from_utf8(word)
            .ok()
            .and_then(|word| verdict(word, verdicts)),
    })
}

/// What `verdicts` say of the area whose path is `word`, written as in
/// `/proc/swaps`.
fn verdict(word: &str, verdicts: &str) -> Option<Verdict> {
    let mut lines = verdicts.lines();
    let said = lines.find_map(|line| line.strip_prefix(word)?.strip_prefix(' '))?;
    Some(match said {
        "can take an image" => Verdict::Usable,
        why => Verdict::Unusable(why.to_string()),
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStrExt;

    use super::*;

    #[test]
    fn reads_meminfo() {
        let text = "MemTotal:        1000 kB\nMemFree:          400 kB\nMemAvailable:  1 kB\n\
                    Buffers:  10 kB\nCached:  200 kB\nShmem:  50 kB\nSReclaimable: 40 kB\n";
        let memory = memory(text).unwrap();
        assert_eq!(memory.total, 1000 << 10);
        assert_eq!(memory.in_use, 600 << 10);
        assert_eq!(memory.without_caches, 400 << 10);
        assert!(super::memory("MemFree: 4 kB\n").is_none());
    }

    #[test]
    fn reads_zones() {
        let folder = tempfile::tempdir().unwrap();
        let system = System::new(folder.path());
        assert_eq!(system.ram_pages(), None);
        fs::create_dir(folder.path().join("proc")).unwrap();
        let text = "Node 0, zone DMA\n  pages free 3840\n        present  3998\n\
                    Node 0, zone DMA32\n        present  126944\n      managed 12\n";
        fs::write(folder.path().join("proc/zoneinfo"), text).unwrap();
        assert_eq!(system.ram_pages(), Some(130_942));
    }

    #[test]
    fn reads_mounts() {
        let line = "36 35 254:2 / /my\\040home rw,noatime shared:1 master:2 - ext4 /dev/vda2 rw";
        let found = mount(line.as_bytes()).unwrap();
        assert_eq!((&*found.device, &*found.at), ("254:2", "/my home"));
        assert_eq!((&*found.kind, &found.source), ("ext4", &"/dev/vda2".into()));
        let none = mount(b"1 2 0:3 / /proc rw - proc proc rw").unwrap();
        assert_eq!((&*none.at, &*none.kind), ("/proc", "proc"));
        for broken in ["", "1 2 0:3 / /x rw shared:1", "1 2 0:3 / /x rw - ext4"] {
            assert_eq!(mount(broken.as_bytes()), None);
        }
    }

    #[test]
    fn reads_swaps() {
        let line = "/my\\040swap   file\t\t1024\t\t24\t\t-2";
        let verdicts = "/my\\040swap2 is lost\n/my\\040swap can take an image\n\
                        /dev/dm-0 is on a loop device (loop0), which stands still\n";
        let swap_area = |line: &str| super::swap_area(line.as_bytes(), verdicts);
        let area = swap_area(line).unwrap();
        assert_eq!((area.path.as_str(), area.free), ("/my swap", 1000 << 10));
        assert_eq!(area.verdict, Some(Verdict::Usable));
        assert_eq!(area.unusable(), None);
        let area = swap_area("/dev/dm-0 partition 8 0 100").unwrap();
        let why = "is on a loop device (loop0), which stands still";
        assert_eq!(area.unusable(), Some(why));
        let area = swap_area("/dev/dm-01 partition 8 0 100").unwrap();
        assert_eq!(area.verdict, None);
        assert!(swap_area("").is_none());
        assert!(swap_area("/dev/vda partition x 0").is_none());
        for (escaped, path) in [
            ("/\\011tab\\012line\\134\\040", &b"/\ttab\nline\\ "[..]),
            ("/no\\04x\\9\\4000\\", b"/no\\04x\\9\\4000\\"),
            ("/\\377\\1340\\040", b"/\xff\\0 "),
        ] {
            let area = swap_area(&format!("{escaped} file 8 0 -2")).unwrap();
            assert_eq!(area.file.as_os_str().as_bytes(), path);
        }
    }
}
