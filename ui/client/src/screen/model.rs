// SPDX-License-Identifier: GPL-2.0

//! What the screen knows of a cycle.

use std::time::Duration;

use super::rates::{self, Recent, Sample};
use crate::control::{LastResult, Progress, PAGE};
use dormouse_image::text as signs;

/// Longest text that is taken over from the kernel, in characters.
const TEXT_MAX: usize = 300;
/// Most steps that are remembered; a cycle has fewer.
const STEPS_MAX: usize = 12;

/// Which way it goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// An image is made.
    Save,
    /// An image is brought back.
    Load,
}

/// Settings that the screen shows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// Where the image goes or comes from.
    pub target: String,
    /// What is done to it, for example `swap, lz4`.
    pub modules: String,
    /// What `/sys/power/disk` says.
    pub mode: String,
    /// Whether the kernel lets somebody stop the cycle.
    pub may_stop: bool,
}

/// A step that was seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Its word in sysfs.
    pub step: String,
    /// When it began.
    pub since: Duration,
}

/// How it ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// Zero or a negative error number.
    pub errno: i32,
    /// Why.
    pub sentence: String,
}

/// All that is drawn.
pub struct Model {
    /// Settings.
    pub facts: Facts,
    /// Which way it goes, as far as can be told.
    pub way: Way,
    /// The last look.
    pub progress: Progress,
    /// The steps until now, with the present one.
    pub steps: Vec<Seen>,
    /// The choice of `after_save`; empty where the kernel has none.
    pub after: String,
    /// More is wanted.
    pub detail: bool,
    /// Numbers for those who want more.
    pub stats: Vec<(String, String)>,
    /// Somebody has asked for the end.
    pub stopping: bool,
    /// What there is to say about a key.
    pub note: String,
    /// Set when it is over.
    pub ended: Option<Ended>,
    recent: Recent,
    /// When the last sample was taken.
    sampled: Option<Duration>,
}

/// `text` without anything that a terminal would take for a command, and not longer than a screen
/// can use.
pub fn plain(text: &str) -> String {
    text.chars().take(TEXT_MAX).map(signs::plain).collect()
}

impl Model {
    /// Nothing has happened.
    pub fn new(facts: Facts, way: Way) -> Model {
        Model {
            facts,
            way,
            progress: Progress {
                step: "idle".to_string(),
                done_pages: 0,
                total_pages: 0,
                stored_bytes: 0,
                milliseconds: 0,
            },
            steps: Vec::with_capacity(STEPS_MAX),
            after: String::new(),
            detail: false,
            stats: Vec::new(),
            stopping: false,
            note: String::new(),
            ended: None,
            recent: Recent::new(),
            sampled: None,
        }
    }

    /// Takes a look at the time `now`; true if another step has begun.
    pub fn look(&mut self, mut progress: Progress, now: Duration) -> bool {
        progress.step = plain(&progress.step);
        let changed = self.progress.step != progress.step;
        if changed {
            match progress.step.as_str() {
                "begin" | "prepare" | "snapshot" | "write" | "power-down" => self.way = Way::Save,
                "check" | "load" | "restore" => self.way = Way::Load,
                _ => {}
            }
            if self.steps.len() == STEPS_MAX {
                self.steps.remove(0);
            }
            self.steps.push(Seen {
                step: progress.step.clone(),
                since: now,
            });
        }
        self.progress = progress;
        // As often as the kernel itself does, so that rates mean the same.
        let due = self
            .sampled
            .is_none_or(|before| now.saturating_sub(before) >= Duration::from_millis(200));
        if self.progress.is_moving() && (changed || due) {
            self.sampled = Some(now);
            self.recent.add(self.sample());
        }
        changed
    }

    fn sample(&self) -> Sample {
        Sample {
            ms: self.progress.milliseconds,
            pages: self.progress.done_pages,
        }
    }

    /// Records how it ended.
    pub fn end(&mut self, last: &LastResult) {
        self.ended = Some(Ended {
            errno: last.errno,
            sentence: plain(&last.sentence),
        });
    }

    /// Bytes of memory in the last one or two seconds, per second.
    pub fn rate_now(&self) -> Option<u64> {
        let pages = self.recent.rate(self.sample())?;
        Some(pages.saturating_mul(PAGE))
    }

    /// The same, from the beginning.
    pub fn rate_average(&self) -> Option<u64> {
        Some(rates::average(self.sample())?.saturating_mul(PAGE))
    }

    /// Seconds that are left, rounded up.
    pub fn seconds_left(&self) -> Option<u64> {
        let recent = self.recent.rate(self.sample());
        let ms = rates::remaining_ms(self.sample(), self.progress.total_pages, recent)?;
        Some(ms.div_ceil(1000))
    }

    /// Percent of the memory that was done so far that it takes on the storage.
    pub fn stored_percent(&self) -> Option<u64> {
        let done = u128::from(self.progress.done_pages) * u128::from(PAGE);
        let percent = (u128::from(self.progress.stored_bytes) * 100).checked_div(done)?;
        u64::try_from(percent).ok()
    }

    /// Whether Esc can still do something.
    pub fn can_stop(&self) -> bool {
        let step = self.progress.step.as_str();
        let late = matches!(step, "idle" | "power-down" | "restore" | "resumed");
        self.facts.may_stop && !late && !self.stopping && self.ended.is_none()
    }

    /// Whether R can still do something.
    pub fn can_choose(&self) -> bool {
        let step = self.progress.step.as_str();
        let early = matches!(step, "begin" | "prepare" | "snapshot" | "write");
        early && !self.stopping && self.ended.is_none() && !self.after.is_empty()
    }

    /// How the save will end, as things are.
    pub fn end_of_save(&self) -> &str {
        match self.after.as_str() {
            "power-off" => "power-off",
            "reboot" => "reboot",
            _ => match self.facts.mode.as_str() {
                "platform" | "shutdown" => "power-off",
                other => other,
            },
        }
    }

    /// What R would write to `after_save`.
    pub fn other_end(&self) -> &'static str {
        match (self.end_of_save(), self.facts.mode.as_str()) {
            // What was configured comes back as it was.
            ("reboot", "platform" | "shutdown") => "mode",
            ("reboot", _) => "power-off",
            (_, "reboot") => "mode",
            _ => "reboot",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn progress(text: &str) -> Progress {
        Progress::parse(text).unwrap()
    }

    fn model(mode: &str) -> Model {
        let facts = Facts {
            mode: mode.to_string(),
            may_stop: true,
            ..Facts::default()
        };
        Model::new(facts, Way::Save)
    }

    #[test]
    fn follows_a_cycle() {
        let mut model = model("platform");
        assert!(!model.look(progress("idle 0 0 0 0"), at(0)));
        assert!(!model.can_stop());
        assert!(model.look(progress("prepare 0 0 0 0"), at(1)));
        assert!(model.can_stop());
        assert!(!model.look(progress("prepare 0 0 0 0"), at(2)));
        assert!(model.look(progress("write 0 4096 0 0"), at(3)));
        assert_eq!(model.rate_now(), None);
        assert_eq!(model.seconds_left(), None);
        assert!(!model.look(progress("write 1024 4096 2097152 1000"), at(4)));
        assert_eq!(model.rate_now(), Some(4 << 20));
        assert_eq!(model.rate_average(), Some(4 << 20));
        assert_eq!(model.seconds_left(), Some(3));
        assert_eq!(model.stored_percent(), Some(50));
        let words: Vec<&str> = model.steps.iter().map(|seen| seen.step.as_str()).collect();
        assert_eq!(words, ["prepare", "write"]);
        model.stopping = true;
        assert!(!model.can_stop());
        model.look(progress("check 0 0 0 0"), at(5));
        assert_eq!(model.way, Way::Load);
    }

    #[test]
    fn the_present_rate_is_not_the_average() {
        let mut model = model("platform");
        for tick in 0..40u64 {
            // Slow at first, then four times as fast.
            let pages = if tick < 20 {
                tick * 100
            } else {
                2000 + (tick - 20) * 400
            };
            let text = format!("write {pages} 20000 0 {}", tick * 200);
            model.look(progress(&text), Duration::from_millis(tick * 200));
        }
        assert_eq!(model.rate_now(), Some(2000 * PAGE));
        assert!(model.rate_average().unwrap() < 1300 * PAGE);
    }

    #[test]
    fn survives_what_makes_no_sense() {
        let most = u64::MAX;
        let mut model = model("platform");
        for text in [
            format!("write {most} {most} {most} {most}"),
            format!("write {most} 1 {most} 1"),
            format!("write 0 {most} {most} {most}"),
            "load 5 0 5 0".to_string(),
            "\u{1b}[31m\u{7} 1 2 3 4".to_string(),
            "write 1 2 3 4".to_string(),
        ] {
            for step in 0..20 {
                model.look(progress(&text), at(step));
                model.rate_now();
                model.rate_average();
                model.seconds_left();
                model.stored_percent();
                assert!(!model.progress.step.contains('\u{1b}'));
            }
        }
        for number in 0..100 {
            model.look(progress(&format!("step{number} 0 0 0 0")), at(number));
        }
        assert_eq!(model.steps.len(), STEPS_MAX);
    }

    #[test]
    fn other_ends() {
        for (mode, after, end, other) in [
            ("platform", "mode", "power-off", "reboot"),
            ("platform", "reboot", "reboot", "mode"),
            ("shutdown", "mode", "power-off", "reboot"),
            ("reboot", "mode", "reboot", "power-off"),
            ("reboot", "power-off", "power-off", "mode"),
            ("suspend", "mode", "suspend", "reboot"),
            ("suspend", "reboot", "reboot", "power-off"),
            ("test_resume", "mode", "test_resume", "reboot"),
            ("", "", "", "reboot"),
        ] {
            let mut model = model(mode);
            model.after = after.to_string();
            assert_eq!(
                (model.end_of_save(), model.other_end()),
                (end, other),
                "{mode} {after}"
            );
        }
    }

    #[test]
    fn texts_are_harmless() {
        assert_eq!(plain("a\x1b[2Jb\r\n\u{202e}c\u{9b}"), "a?[2Jb???c?");
        assert_eq!(plain(&"x".repeat(5000)).len(), TEXT_MAX);
        assert_eq!(plain("Größe"), "Größe");
    }
}
