// SPDX-License-Identifier: GPL-2.0

//! Where a cycle is shown: on a console, or by a splash screen.

use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Result;
use ratatui::backend::{Backend, CrosstermBackend};
use ratatui::buffer::{Buffer, Cell};
use ratatui::layout::Rect;

use super::console::{self, Console, Writer};
use super::model::Model;
use super::plymouth::Plymouth;
use super::view;
use crate::system::System;

/// How often everything is drawn anew, whatever else was written to the console.
const ANEW: Duration = Duration::from_secs(1);

/// Where a cycle is shown.
pub enum Surface {
    /// A console.
    Screen(Box<Screen>),
    /// A splash screen.
    Splash(Plymouth),
}

/// A console with what is drawn on it.
pub struct Screen {
    console: Console,
    out: CrosstermBackend<Writer>,
    /// What is on the console, and what is to be.
    there: Buffer,
    next: Buffer,
    shown: bool,
    drawn: Instant,
}

impl Surface {
    /// The splash screen that listens on the socket `splash`, or else the console `tty`, or else
    /// the one of `system`.
    ///
    /// # Errors
    ///
    /// When there is no terminal.
    pub fn find(system: &System, tty: Option<&Path>, splash: Option<&str>) -> Result<Surface> {
        if let Some(splash) = Surface::find_splash(splash) {
            return Ok(splash);
        }
        let console = Console::open(system, tty)?;
        Ok(Surface::Screen(Box::new(Screen::new(console))))
    }

    /// The same, if somebody sees it: the splash screen, or a console on a display.
    ///
    /// # Errors
    ///
    /// When the console is no terminal.
    pub fn on_display(system: &System, splash: Option<&str>) -> Result<Option<Surface>> {
        let found = Surface::find_splash(splash);
        if found.is_some() || console::display(system).is_none() {
            return Ok(found);
        }
        Surface::find(system, None, None).map(Some)
    }

    fn find_splash(name: Option<&str>) -> Option<Surface> {
        name.and_then(Plymouth::find).map(Surface::Splash)
    }

    /// The process that draws, if it is another one.
    pub fn painter(&self) -> Option<i32> {
        match self {
            Surface::Screen(_) => None,
            Surface::Splash(plymouth) => Some(plymouth.pid()),
        }
    }

    /// Takes the console, if that has not happened yet; `first` says that no cycle has begun.
    ///
    /// # Errors
    ///
    /// When the terminal does not do what it is told.
    pub fn begin(&mut self, first: bool) -> Result<()> {
        match self {
            Surface::Screen(screen) if !screen.shown => screen.begin(first),
            _ => Ok(()),
        }
    }

    /// Where keys come from.
    pub fn keyboard(&self) -> Option<BorrowedFd<'_>> {
        match self {
            Surface::Screen(screen) if screen.shown => Some(screen.console.as_fd()),
            _ => None,
        }
    }

    /// What was typed, as far as it fits.
    pub fn read<'a>(&self, room: &'a mut [u8]) -> &'a [u8] {
        match self {
            Surface::Screen(screen) if screen.shown => screen.console.read(room),
            _ => &[],
        }
    }

    /// Shows `model`, of which at least the step is another one if `changed`.
    pub fn draw(&mut self, model: &Model, changed: bool) {
        match self {
            Surface::Screen(screen) if screen.shown => screen.draw(model, changed),
            Surface::Screen(_) => {}
            Surface::Splash(plymouth) => {
                let (message, percent) = view::line(model);
                plymouth.say(&message, percent);
            }
        }
    }

    /// Gives the console back.
    pub fn end(&mut self) {
        match self {
            Surface::Screen(screen) => {
                screen.console.hide();
                screen.shown = false;
            }
            Surface::Splash(plymouth) => plymouth.say("", None),
        }
    }
}

impl Screen {
    fn new(console: Console) -> Screen {
        Screen {
            out: CrosstermBackend::new(console.writer()),
            console,
            there: Buffer::default(),
            next: Buffer::default(),
            shown: false,
            drawn: Instant::now(),
        }
    }

    fn begin(&mut self, first: bool) -> Result<()> {
        self.console.show(first)?;
        let (columns, lines) = self.console.size();
        self.next = Buffer::empty(Rect::new(0, 0, columns, lines));
        self.there = self.next.clone();
        self.shown = true;
        Ok(())
    }

    /// Draws what has changed, and everything from time to time, over what is there: to clear it
    /// first would be seen. What cannot be drawn now is drawn another time.
    fn draw(&mut self, model: &Model, changed: bool) {
        if changed {
            // In the other steps the kernel may be about to switch consoles.
            let step = model.progress.step.as_str();
            let may = matches!(step, "prepare" | "snapshot" | "write" | "load" | "resumed");
            self.console.look(may);
        }
        if changed || self.drawn.elapsed() >= ANEW {
            self.drawn = Instant::now();
            // Nothing is drawn as this sign.
            self.there = Buffer::filled(self.next.area, Cell::new("\0"));
        }
        view::draw(model, self.next.area, &mut self.next);
        let cells = self.there.diff(&self.next);
        if !cells.is_empty() {
            // A console that takes nothing takes all of it later.
            let _ = self.out.draw(cells.into_iter());
            let _ = Backend::flush(&mut self.out);
        }
        self.there.clone_from(&self.next);
    }
}
