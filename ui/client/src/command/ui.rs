// SPDX-License-Identifier: GPL-2.0

//! `dormouse ui`.

use std::io;
use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::PathBuf;
use std::sync::mpsc::{self, Receiver, TryRecvError};
use std::time::{Duration, Instant};

use anyhow::{bail, Context as _, Result};

use crate::cli::Context;
use crate::command::{hibernate, resume};
use crate::control::{Control, LastResult};
use crate::memory;
use crate::output;
use crate::screen::keys::{self, Key, Keys};
use crate::screen::model::{Model, Way};
use crate::screen::panel::{self, Answer, Panel};
use crate::screen::plymouth;
use crate::screen::surface::Surface;
use crate::settings::{self, Change};
use crate::signals::{self, Alarm, Held};

/// How often to look while no cycle runs.
const IDLE: Duration = Duration::from_millis(200);
/// How often to look, and to draw, while one does: each time costs the save some milliseconds.
const BUSY: Duration = Duration::from_millis(250);
/// How long the result stays to be seen.
const HOLD: Duration = Duration::from_secs(1);
/// The same for somebody who has stopped the cycle, and wants to go on.
const SHORT: Duration = Duration::from_millis(250);
/// When a second Esc means what the first one asked: not from a key that is held down, and not from
/// somebody who has forgotten the first.
const SURE: Range<Duration> = Duration::from_millis(700)..Duration::from_secs(10);
const ASK: &str = "Esc again: this boot goes on without the saved session, and loses it";
/// Stack of the thread that asks the kernel for a cycle.
const STACK: usize = 64 << 10;

/// In place of a target: where the kernel looks by itself.
const HERE: &str = "1";

/// Options of `ui`.
#[derive(clap::Args)]
pub struct Args {
    /// Hibernate now, with the screen from the beginning
    #[arg(long, conflicts_with = "load")]
    hibernate: bool,
    /// Resume now, from where resume= or the setting "target" says, or from TARGET
    #[arg(long, value_name = "TARGET", num_args = 0..=1, default_missing_value = HERE)]
    load: Option<String>,
    /// With --load: take an image that is kept because its restore was begun before, its load was
    /// cut off three times, or a boot went on without it. If anything has used its filesystems
    /// since, this damages them
    #[arg(long, requires = "load")]
    retry: bool,
    /// Take the console now, before the cycle begins: for a unit that starts right before it
    #[arg(long, conflicts_with_all = ["hibernate", "load"])]
    now: bool,
    /// Draw on this terminal, a serial line for example, and leave consoles alone
    #[arg(long, value_name = "DEVICE")]
    tty: Option<PathBuf>,
    /// Go without a screen where there is no display, and no splash screen
    #[arg(long, conflicts_with_all = ["hibernate", "tty"])]
    if_display: bool,
    /// Name of the socket of the splash screen
    #[arg(long, hide = true, default_value = plymouth::SOCKET)]
    plymouth: String,
    /// Do not look for a splash screen
    #[arg(long)]
    no_plymouth: bool,
}

/// What the thread that has asked the kernel hands back.
type Asked = Receiver<io::Result<()>>;

/// Shows the next cycle, or the one that it begins.
///
/// # Errors
///
/// When there can be no screen, or the cycle fails. A resume does without a screen then.
pub fn run(context: &Context, args: &Args) -> Result<()> {
    // Without a target it is where the kernel looks by itself.
    let named = args.load.as_deref().filter(|target| *target != HERE);
    let wanted = match args.load {
        Some(_) => Some(("resume", resume::value(context, named, args.retry)?)),
        None if args.hibernate => Some(("start", "1".to_string())),
        None => None,
    };
    let wanted = wanted.as_ref().map(|(file, value)| (*file, value.as_str()));
    let found = match Stage::set(context, args, named) {
        // Nobody loses a session because there is no terminal.
        Err(error) if args.load.is_some() => {
            output::complain(format_args!("no progress screen: {error:#}"));
            None
        }
        other => other?,
    };
    match (found, wanted) {
        (Some(stage), _) => stage.play(args, wanted),
        (None, Some((_, value))) => resume::ask(context, value),
        (None, None) => {
            tell_service_manager();
            context.output.say("there is no display to draw on")
        }
    }
}

/// A service that is started in this way counts as started from now on.
fn tell_service_manager() {
    if let Err(error) = sd_notify::notify(&[sd_notify::NotifyState::Ready]) {
        output::complain(format_args!("the service manager was not told: {error}"));
    }
}

/// All that is needed to show a cycle.
struct Stage<'a> {
    surface: Surface,
    show: Show<'a>,
    alarm: Alarm,
    change: Change<'a>,
    // The last to go.
    _held: Held,
}

impl<'a> Stage<'a> {
    /// Makes everything ready; nothing if there is no display, and none may be.
    fn set(context: &'a Context, args: &Args, named: Option<&str>) -> Result<Option<Stage<'a>>> {
        let control = &context.control;
        let before = control.last_result()?;
        let held = signals::hold()?;
        let alarm = held.alarm()?;
        let Some(surface) = surface(context, args)? else {
            return Ok(None);
        };
        let panel = Panel::open(control)?;
        let (way, from) = match (&args.load, named) {
            (None, _) => (Way::Save, None),
            (_, Some(named)) => (Way::Load, Some(named.to_string())),
            (_, None) => {
                let said = context.system.boot_option("resume");
                (Way::Load, Some(said.unwrap_or_else(|| "auto".to_string())))
            }
        };
        let model = Model::new(panel::facts(context, from.as_deref()), way);
        // One that is kept running and is not in memory as a whole stops the machine for good
        // when it has to be read from a disk that is suspended.
        memory::lock()?;
        let change = keep_running(control, &surface)?;
        let show = Show {
            context,
            panel,
            model,
            keys: Keys::new(),
            begun: Instant::now(),
            before,
            signalled: false,
            escaped: None,
        };
        Ok(Some(Stage {
            surface,
            show,
            alarm,
            change,
            _held: held,
        }))
    }

    /// Shows one cycle, and puts everything back.
    fn play(mut self, args: &Args, wanted: Option<(&'static str, &str)>) -> Result<()> {
        let control = &self.show.context.control;
        // There may be nothing to load, and a boot need not see that.
        if args.hibernate || args.now {
            self.surface.begin(true)?;
            self.surface.draw(&self.show.model, false);
        }
        let asked = match wanted {
            Some((file, value)) => Some(ask(control, file, value.to_string())?),
            None => {
                tell_service_manager();
                None
            }
        };
        let result = self.show.cycle(&mut self.surface, &self.alarm, asked);
        drop(self.surface);
        // The list may be busy for a moment yet.
        let mut tries = 50;
        while control.get("state")? != "idle" && tries > 0 {
            std::thread::sleep(IDLE);
            tries -= 1;
        }
        self.change.undo()?;
        let end = result?;
        // With what there is to say we end anyway.
        self.alarm.forget();
        self.show.finish(end, wanted)
    }
}

fn surface(context: &Context, args: &Args) -> Result<Option<Surface>> {
    let splash = match args.no_plymouth || args.tty.is_some() {
        true => None,
        false => Some(args.plymouth.as_str()),
    };
    match args.if_display {
        true => Surface::on_display(&context.system, splash),
        false => Surface::find(&context.system, args.tty.as_deref(), splash).map(Some),
    }
}

/// Puts this process, and the one that draws, on the list of those that are not frozen.
fn keep_running<'a>(control: &'a Control, surface: &Surface) -> Result<Change<'a>> {
    let list = settings::get(control, "keep_running")?;
    let mut pids: Vec<String> = list
        .split_whitespace()
        .filter(|pid| std::path::Path::new("/proc").join(pid).exists())
        .map(str::to_string)
        .collect();
    let mut add = |pid: String| {
        if !pids.contains(&pid) {
            pids.push(pid);
        }
    };
    add(std::process::id().to_string());
    if let Some(pid) = surface.painter() {
        add(pid.to_string());
    }
    Change::make(control, &[("keep_running".to_string(), pids.join(" "))])
}

/// Asks the kernel for a cycle, in a thread of its own: the answer comes when it is over.
fn ask(control: &Control, file: &'static str, value: String) -> Result<Asked> {
    let control = Control::new(control.path());
    let (sender, receiver) = mpsc::channel();
    let work = move || {
        let answer = match control.ask(file, &value) {
            Ok(answer) => answer,
            Err(error) => Err(io::Error::other(error)),
        };
        let _ = sender.send(answer);
    };
    std::thread::Builder::new()
        .stack_size(STACK)
        .spawn(work)
        .context("cannot start a thread")?;
    Ok(receiver)
}

/// How it ended: with what the kernel said to the one who asked, or seen from outside.
enum End {
    Answered(io::Result<()>),
    Seen(LastResult),
}

/// One cycle on a surface.
struct Show<'a> {
    context: &'a Context,
    panel: Panel,
    model: Model,
    keys: Keys,
    begun: Instant,
    before: LastResult,
    signalled: bool,
    /// When Esc came last, while an image is loaded.
    escaped: Option<Duration>,
}

impl Show<'_> {
    /// Shows one cycle to its end.
    fn cycle(&mut self, surface: &mut Surface, alarm: &Alarm, asked: Option<Asked>) -> Result<End> {
        let mut running = false;
        let mut last_look = false;
        loop {
            let changed = match self.panel.progress() {
                Some(progress) => self.model.look(progress, self.begun.elapsed()),
                None => false,
            };
            let idle = self.model.progress.step == "idle";
            if !idle && !running && self.model.progress.step != "check" {
                running = true;
                // Settings as they are for this one.
                let target = &self.model.facts.target;
                let from = (self.model.way == Way::Load).then(|| target.clone());
                self.model.facts = panel::facts(self.context, from.as_deref());
                // With a cycle under way it is too late to say no.
                if let Err(error) = surface.begin(false) {
                    output::complain(format_args!("no progress screen: {error:#}"));
                }
            }
            match asked.as_ref().map(Receiver::try_recv) {
                Some(Ok(answer)) => return self.answered(surface, alarm, running, answer),
                Some(Err(TryRecvError::Disconnected)) => bail!("the kernel was not asked"),
                Some(Err(TryRecvError::Empty)) => {}
                None if idle => {
                    let last = self.panel.last_result();
                    // A cycle may come and go between two looks.
                    let other = last.as_ref().is_some_and(|last| *last != self.before);
                    if let (Some(last), true) = (last, running || other) {
                        self.hold(surface, alarm, &last);
                        return Ok(End::Seen(last));
                    }
                }
                None => {}
            }
            if last_look {
                surface.end();
                bail!("the screen was ended; the cycle goes on if there is one");
            }
            if running {
                self.model.after = self.panel.after_save();
                if self.model.detail {
                    self.model.stats = self.panel.stats();
                }
            }
            self.forget();
            surface.draw(&self.model, changed);
            if self.wait(surface, alarm, if running { BUSY } else { IDLE }) {
                match asked {
                    // It has begun by our wish, and so it ends.
                    Some(_) => self.stop(),
                    // It may be over, which is why we are to end.
                    None => last_look = true,
                }
            }
        }
    }

    /// The kernel has come back to the one who asked.
    fn answered(
        &mut self,
        surface: &mut Surface,
        alarm: &Alarm,
        running: bool,
        answer: io::Result<()>,
    ) -> Result<End> {
        if let (true, Some(last)) = (running, self.panel.last_result()) {
            self.hold(surface, alarm, &last);
        }
        surface.end();
        Ok(End::Answered(answer))
    }

    /// Shows how it ended, for a moment, and gives the console back.
    fn hold(&mut self, surface: &mut Surface, alarm: &Alarm, last: &LastResult) {
        self.model.end(last);
        let time = if self.model.stopping { SHORT } else { HOLD };
        let until = Instant::now() + time;
        while Instant::now() < until {
            surface.draw(&self.model, true);
            if self.wait(
                surface,
                alarm,
                until.saturating_duration_since(Instant::now()),
            ) {
                break;
            }
        }
        surface.end();
    }

    /// Waits for a key or a signal; true if this is to end.
    fn wait(&mut self, surface: &Surface, alarm: &Alarm, mut time: Duration) -> bool {
        if self.keys.is_waiting() {
            time = time.min(keys::PAUSE);
        }
        let mut from: Vec<BorrowedFd<'_>> = surface.keyboard().into_iter().collect();
        if !self.signalled {
            from.push(alarm.as_fd());
        }
        signals::sleep(time, &from);
        // It stays pending, and is heard once.
        let signal = !self.signalled && alarm.is_due();
        self.signalled |= signal;
        let mut over = false;
        let mut press = |show: &mut Self, key: Option<Key>| {
            over |= key.is_some() && show.model.ended.is_some();
            show.press(key);
        };
        let mut room = [0; 64];
        for byte in surface.read(&mut room) {
            let key = self.keys.feed(*byte, self.begun.elapsed());
            press(self, key);
        }
        let key = self.keys.tick(self.begun.elapsed());
        press(self, key);
        signal || over
    }

    fn press(&mut self, key: Option<Key>) {
        match key {
            _ if self.model.ended.is_some() => {}
            Some(Key::Stop) if self.is_sure() => self.stop(),
            Some(Key::AfterSave) if self.model.can_choose() => {
                let other = self.model.other_end();
                self.model.note = match self.panel.set_after_save(other) {
                    Answer::Done => String::new(),
                    _ => "it is too late for that".to_string(),
                };
                self.model.after = self.panel.after_save();
            }
            Some(Key::Detail) => self.model.detail = !self.model.detail,
            _ => {}
        }
    }

    /// Whether Esc is meant. To stop a save costs nothing; when a load is stopped, the boot goes on
    /// and changes the filesystems that the image counts on.
    fn is_sure(&mut self) -> bool {
        if self.model.way == Way::Save {
            return true;
        }
        let now = self.begun.elapsed();
        let last = self.escaped.replace(now);
        let is_sure = last.is_some_and(|last| SURE.contains(&now.saturating_sub(last)));
        if !is_sure && !self.model.stopping {
            self.model.note = ASK.to_string();
        }
        is_sure
    }

    /// Forgets an Esc that nobody has meant.
    fn forget(&mut self) {
        let now = self.begun.elapsed();
        if self
            .escaped
            .is_some_and(|last| now.saturating_sub(last) >= SURE.end)
        {
            self.escaped = None;
            if self.model.note == ASK {
                self.model.note.clear();
            }
        }
    }

    fn stop(&mut self) {
        if self.model.stopping {
            return;
        }
        match self.panel.stop() {
            Answer::Done => {
                self.model.stopping = true;
                self.model.note.clear();
            }
            Answer::Forbidden => {
                self.model.note =
                    "stopping is forbidden here (the setting allow_abort is 0)".to_string();
            }
            Answer::Late => self.model.note = "it cannot be stopped now".to_string(),
        }
    }

    /// What the command ends with.
    fn finish(&self, end: End, wanted: Option<(&str, &str)>) -> Result<()> {
        match (end, wanted) {
            (End::Answered(answer), Some(("resume", value))) => {
                resume::finish(self.context, &self.before, value, answer)
            }
            (End::Answered(answer), _) => {
                let last = hibernate::outcome(self.context, &self.before, answer)?;
                self.context.output.print(&last, || last.sentence.clone())
            }
            (End::Seen(last), _) => match last.errno {
                0 => self.context.output.print(&last, || last.sentence.clone()),
                errno => bail!("{} ({errno})", last.sentence),
            },
        }
    }
}
