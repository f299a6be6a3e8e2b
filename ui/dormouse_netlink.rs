// SPDX-License-Identifier: GPL-2.0

//! Generic netlink family `hibernate`: what Dormouse does, how far it is, and
//! a way to stop it.
//!
//! Specified in `Documentation/netlink/specs/hibernate.yaml`. Whoever asks gets
//! an answer; whoever has joined the group `events` is told. What a listener
//! has no room for is lost to it: nobody waits for a listener.

#![forbid(unsafe_code)]

pub mod rates;

use dormouse::engine::{self, Engine, Settings};
use dormouse::observer::{Event, Observation, Observer};
use dormouse::progress::Step;
use dormouse::sys::genl::{
    self, result, settings, state, stats, Answers, Family, Message, News, Question,
};
use dormouse::target::TARGET_MAX;
use dormouse::text::Text;
use kernel::prelude::*;
use kernel::sync::Arc;
use rates::{Recent, Sample};

module! {
    type: Netlink,
    name: "dormouse_netlink",
    author: "The Dormouse developers",
    description: "Generic netlink family of Dormouse",
    license: "GPL",
    alias: ["net-pf-16-proto-16-family-hibernate"],
}

const PAGE_BYTES: u64 = 4096;

// The numbers of steps are the specification's.
const _: () = assert!(Step::Idle as u32 == genl::step::FIRST);
const _: () = assert!(Step::Resumed as u32 == genl::step::LAST);

/// How far things are, with rates.
struct View {
    engine: &'static Engine,
    recent: Recent,
}

impl View {
    fn now(&self) -> Sample {
        Sample {
            ms: self.engine.progress.elapsed_ns() / 1_000_000,
            pages: self.engine.progress.pages().0,
        }
    }

    /// Whether pages are being written or loaded.
    fn moves(&self) -> bool {
        matches!(self.engine.progress.step(), Step::Write | Step::Load)
    }

    fn put(&self, out: &mut Message<'_>) -> Result {
        let progress = self.engine.progress;
        let now = self.now();
        let (_, total) = progress.pages();
        out.put_u32(state::STEP, progress.step() as u32)?;
        out.put_uint(state::PAGES_DONE, now.pages)?;
        out.put_uint(state::PAGES_TOTAL, total)?;
        out.put_uint(state::STORED_BYTES, progress.stored())?;
        out.put_uint(state::ELAPSED_MS, now.ms)?;
        if let Some(pages) = rates::average(now) {
            out.put_uint(state::AVERAGE_RATE, pages.saturating_mul(PAGE_BYTES))?;
        }
        if self.moves() {
            let recent = self.recent.rate(now);
            if let Some(pages) = recent {
                out.put_uint(state::RATE, pages.saturating_mul(PAGE_BYTES))?;
            }
            if let Some(ms) = rates::remaining_ms(now, total, recent) {
                out.put_uint(state::REMAINING_MS, ms)?;
            }
        }
        Ok(())
    }

    fn put_stats(&self, out: &mut Message<'_>) -> Result {
        let numbers = &self.engine.stats;
        for (attribute, stat) in [
            (stats::SAVEABLE_PAGES, &numbers.saveable_pages),
            (stats::FREED_PAGES, &numbers.freed_pages),
            (stats::IMAGE_PAGES, &numbers.image_pages),
            (stats::FILL_PAGES, &numbers.fill_pages),
            (stats::FRAMES, &numbers.frames),
            (stats::STORED_BYTES, &numbers.stored_bytes),
            (stats::ATOMIC_NS, &numbers.atomic_ns),
            (stats::WRITE_NS, &numbers.write_ns),
            (stats::LOAD_NS, &numbers.load_ns),
            (stats::IN_PLACE_PAGES, &numbers.in_place_pages),
            (stats::WORKERS, &numbers.workers),
        ] {
            out.put_uint(attribute, stat.get())?;
        }
        Ok(())
    }

    fn put_result(&self, out: &mut Message<'_>) -> Result {
        let last = self.engine.report.last();
        out.put_s32(result::ERRNO, last.errno)?;
        out.put_u32(result::STEP, last.step as u32)?;
        if !last.sentence.is_empty() {
            out.put_text(result::SENTENCE, last.sentence.as_str())?;
        }
        Ok(())
    }
}

fn put_settings(chosen: &Settings, out: &mut Message<'_>) -> Result {
    out.put_u8(settings::ENABLED, chosen.enabled.into())?;
    out.put_text(
        settings::COMPRESSOR,
        chosen.compressor.name().unwrap_or("none"),
    )?;
    out.put_text(
        settings::ENCRYPTOR,
        chosen.encryptor.name().unwrap_or("none"),
    )?;
    out.put_text(settings::WRITER, chosen.writer.name().unwrap_or("swap"))?;
    out.put_text(settings::FREEZER, chosen.freezer.name().unwrap_or("pm"))?;
    out.put_text(
        settings::SNAPSHOT,
        chosen.snapshot.name().unwrap_or("atomic"),
    )?;
    out.put_text(settings::TARGET, chosen.target.as_str())?;
    let threads = u32::try_from(chosen.threads).unwrap_or(u32::MAX);
    out.put_u32(settings::THREADS, threads)?;
    out.put_uint(settings::IMAGE_SIZE_LIMIT, chosen.image_size_limit)
}

impl Answers for View {
    fn answer(&self, question: Question, out: &mut Message<'_>) -> Result {
        match question {
            Question::State => {
                self.put(out)?;
                let target: Text<TARGET_MAX> = self.engine.settings(|s| s.target);
                out.put_text(state::TARGET, target.as_str())
            }
            Question::Settings => self.engine.settings(|s| put_settings(s, out)),
            Question::Result => self.put_result(out),
            Question::Stats => self.put_stats(out),
        }
    }

    fn abort(&self) -> Result {
        self.engine.abort()
    }
}

/// Tells the listeners.
struct Teller {
    view: Arc<View>,
    family: Arc<Family>,
}

impl Observer for Teller {
    fn notice(&self, event: Event<'_>) {
        match event {
            Event::Step(step) => self
                .family
                .tell(News::Step, &mut |out| out.put_u32(state::STEP, step as u32)),
            Event::Progress => {
                self.view.recent.add(self.view.now());
                self.family
                    .tell(News::Progress, &mut |out| self.view.put(out));
            }
            Event::Result(outcome) => self.family.tell(News::Result, &mut |out| {
                out.put_s32(result::ERRNO, outcome.errno)?;
                out.put_u32(result::STEP, outcome.step as u32)?;
                out.put_text(result::SENTENCE, outcome.sentence.as_str())
            }),
            Event::Warning(step, sentence) => self.family.tell(News::Warning, &mut |out| {
                out.put_u32(result::STEP, step as u32)?;
                out.put_text(result::SENTENCE, sentence)
            }),
        }
    }
}

struct Netlink {
    // Field order matters: nobody may tell a family that is gone.
    _observation: Observation,
    _family: Arc<Family>,
}

impl kernel::Module for Netlink {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        let engine = engine::get()?;
        let recent = Recent::new();
        let view = Arc::new(View { engine, recent }, GFP_KERNEL)?;
        let family = Arc::new(Family::register(view.clone())?, GFP_KERNEL)?;
        let teller = Teller {
            view,
            family: family.clone(),
        };
        Ok(Netlink {
            _observation: engine.progress.observe(Arc::new(teller, GFP_KERNEL)?)?,
            _family: family,
        })
    }
}
