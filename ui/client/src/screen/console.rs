// SPDX-License-Identifier: GPL-2.0

//! The console that the screen is on.
//!
//! Of the consoles of Linux it is the one that the kernel itself switches to while it hibernates,
//! so that nobody has to wait for somebody else's switch: if the kernel has not switched to it by
//! itself, nothing is in the way of doing so. Without consoles it is `/dev/console`, which may be
//! a serial line.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::libc;
use nix::sys::termios::{self, SetArg, Termios};

use super::ioctl;
use crate::system::System;

/// `SUSPEND_CONSOLE` of the kernel, as consoles are counted: from 1.
const NUMBER: u32 = 63;

/// How long a switch may take when somebody is there to agree to it.
const SWITCH: Duration = Duration::from_secs(1);

/// Ends whatever sequence was cut off, attributes to normal, clears, hides the cursor.
const BEGIN: &[u8] = b"\x18\x1b[0m\x1b[H\x1b[2J\x1b[?25l";
/// The same without the cursor.
const END: &[u8] = b"\x18\x1b[0m\x1b[H\x1b[2J\x1b[?25h";

/// Columns and lines of a terminal that does not know its size.
const USUAL: (u16, u16) = (80, 24);

/// A console, and how it was before.
pub struct Console {
    file: Rc<File>,
    before: Option<Termios>,
    virtual_one: Option<Virtual>,
}

/// What there is to put back of a console of Linux.
struct Virtual {
    /// `/dev/tty0`: any console will do, and this one is always there.
    any: File,
    /// The one that was to be seen before.
    seen: u32,
    /// The one that got the kernel's messages.
    messages: u8,
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        // Nobody who types Ctrl-S, and no line that stands still, holds up the screen.
        .custom_flags(libc::O_NOCTTY | libc::O_NONBLOCK)
        .open(path)
}

/// Whether the consoles of Linux are to be seen on anything.
fn has_display(system: &System) -> bool {
    // A framebuffer may be waiting for the first sign that is written.
    if system.path("sys/class/graphics/fb0").exists() {
        return true;
    }
    let Ok(drivers) = std::fs::read_dir(system.path("sys/class/vtconsole")) else {
        return false;
    };
    drivers.flatten().any(|driver| {
        let read = |name| std::fs::read_to_string(driver.path().join(name)).unwrap_or_default();
        let name = read("name");
        // With a star it is the adapter of 1981, which the kernel takes for there when it finds none.
        read("bind").trim() == "1" && !name.contains("dummy") && !name.contains('*')
    })
}

/// `/dev/tty0` of `system`, if its consoles are to be seen.
pub fn display(system: &System) -> Option<File> {
    let any = open(&system.path("dev/tty0")).ok()?;
    (has_display(system) && ioctl::seen_console(&any).is_ok()).then_some(any)
}

impl Console {
    /// Opens the console of `system`, or `tty` if that is wanted.
    ///
    /// # Errors
    ///
    /// When it is no terminal.
    pub fn open(system: &System, tty: Option<&Path>) -> Result<Console> {
        let any = match tty {
            None => display(system),
            Some(_) => None,
        };
        let path = match (tty, &any) {
            (Some(tty), _) => tty.to_path_buf(),
            (None, Some(_)) => system.path(&format!("dev/tty{NUMBER}")),
            (None, None) => system.path("dev/console"),
        };
        let file = open(&path).with_context(|| format!("cannot open {}", path.display()))?;
        termios::tcgetattr(&file).with_context(|| format!("{} is no terminal", path.display()))?;
        Ok(Console {
            file: Rc::new(file),
            before: None,
            virtual_one: any.map(|any| Virtual {
                messages: ioctl::messages(&any).unwrap_or(0),
                seen: ioctl::seen_console(&any).unwrap_or(1),
                any,
            }),
        })
    }

    /// Columns and lines.
    pub fn size(&self) -> (u16, u16) {
        match ioctl::size(&self.file) {
            Ok((columns, lines)) if columns > 0 && lines > 0 => (columns, lines),
            _ => USUAL,
        }
    }

    /// Takes the console; `first` says that no cycle has begun yet, so that there is time to wait
    /// until it is to be seen.
    ///
    /// # Errors
    ///
    /// When the terminal does not do what it is told.
    pub fn show(&mut self, first: bool) -> Result<()> {
        let before = termios::tcgetattr(&self.file).context("the console is gone")?;
        let mut raw = before.clone();
        termios::cfmakeraw(&mut raw);
        termios::tcsetattr(&self.file, SetArg::TCSANOW, &raw)
            .context("the console cannot be set")?;
        self.before = Some(before);
        if first {
            self.look(true);
            let begun = Instant::now();
            while !self.is_seen() && begun.elapsed() < SWITCH {
                std::thread::sleep(Duration::from_millis(10));
            }
        }
        self.put(BEGIN);
        Ok(())
    }

    fn is_seen(&self) -> bool {
        match &self.virtual_one {
            Some(one) => ioctl::seen_console(&one.any) == Ok(NUMBER),
            None => true,
        }
    }

    /// Keeps the kernel's messages away, and sees to it that the console is to be seen, if `may`
    /// be: not while the kernel is about to switch by itself.
    pub fn look(&self, may: bool) {
        let Some(one) = &self.virtual_one else {
            return;
        };
        // What goes wrong here is a screen that nobody sees, and no reason to give up.
        let _ = ioctl::set_messages(&one.any, u8::try_from(one.seen).unwrap_or(1));
        if may && !self.is_seen() {
            let _ = ioctl::show_console(&one.any, NUMBER);
        }
    }

    /// What was typed, as far as it fits.
    pub fn read<'a>(&self, room: &'a mut [u8]) -> &'a [u8] {
        let count = (&*self.file).read(room).unwrap_or(0);
        &room[..count]
    }

    /// Something to write to.
    pub fn writer(&self) -> Writer {
        Writer {
            file: self.file.clone(),
            pending: Vec::with_capacity(64 << 10),
        }
    }

    fn put(&self, bytes: &[u8]) {
        let _ = (&*self.file).write_all(bytes);
    }

    /// Gives the console back.
    pub fn hide(&mut self) {
        let Some(before) = self.before.take() else {
            return;
        };
        self.put(END);
        let _ = termios::tcsetattr(&self.file, SetArg::TCSANOW, &before);
        let Some(one) = &self.virtual_one else {
            return;
        };
        let _ = ioctl::set_messages(&one.any, one.messages);
        if self.is_seen() {
            let _ = ioctl::show_console(&one.any, one.seen);
        }
    }
}

impl AsFd for Console {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

impl Drop for Console {
    fn drop(&mut self) {
        self.hide();
    }
}

/// Writes to a console what it takes at once.
pub struct Writer {
    file: Rc<File>,
    pending: Vec<u8>,
}

impl Write for Writer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.pending.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        let mut rest = &self.pending[..];
        while !rest.is_empty() {
            match (&*self.file).write(rest) {
                Ok(count) if count > 0 => rest = &rest[count..],
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // It stands still, or is gone: what is lost is drawn anew in a moment.
                _ => break,
            }
        }
        self.pending.clear();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn knows_a_display_from_none() {
        for (name, bind, expected) in [
            ("(S) dummy device", "1", false),
            ("(S) VGA+", "1", true),
            ("(S) VGA+", "0", false),
            ("(S) *CGA", "1", false),
            ("(M) frame buffer device", "1", true),
        ] {
            let root = tempfile::tempdir().unwrap();
            let driver = root.path().join("sys/class/vtconsole/vtcon0");
            fs::create_dir_all(&driver).unwrap();
            fs::write(driver.join("name"), format!("{name}\n")).unwrap();
            fs::write(driver.join("bind"), format!("{bind}\n")).unwrap();
            let system = System::new(root.path());
            assert_eq!(has_display(&system), expected, "{name}, {bind}");
        }
    }
}
