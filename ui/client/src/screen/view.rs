// SPDX-License-Identifier: GPL-2.0

//! How the screen looks, on a terminal of any size.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::Widget;

use super::model::{Model, Way};
use crate::text;

/// Most columns that are used: what is further apart is hard to read together.
const WIDTH: u16 = 68;
/// Columns that stay free on both sides where there is room.
const MARGIN: u16 = 4;
/// Lines of the screen with all there is, so that nothing jumps when there is more.
const HEIGHT: u16 = 20;

/// The bar, on terminals without colours; on others it is all of one colour. Nothing but ASCII: not
/// every console has more in its font, or knows what it means.
const FULL: &str = "#";
const EMPTY: &str = ".";

/// A line, and how soon it is left out where there are too few: the highest first.
struct Row<'a> {
    left: Line<'a>,
    right: Line<'a>,
    rank: u8,
}

fn row<'a>(rank: u8, left: impl Into<Line<'a>>, right: impl Into<Line<'a>>) -> Row<'a> {
    Row {
        left: left.into(),
        right: right.into(),
        rank,
    }
}

fn blank<'a>(rank: u8) -> Row<'a> {
    row(rank, "", "")
}

fn dim() -> Style {
    Style::new().fg(Color::Gray)
}

fn bright() -> Style {
    Style::new().fg(Color::White).add_modifier(Modifier::BOLD)
}

fn accent() -> Style {
    Style::new().fg(Color::Cyan)
}

/// What a step is called.
fn phase(step: &str) -> &str {
    match step {
        "begin" => "Checking the settings",
        "prepare" => "Making room in memory and on the target",
        "snapshot" => "Copying memory",
        "write" => "Writing the image",
        "power-down" => "The image is complete",
        "check" => "Looking for an image",
        "load" => "Loading the image",
        "restore" => "Handing over to the saved system",
        "resumed" => "Waking up",
        "idle" => "Getting ready",
        other => other,
    }
}

/// What becomes of the machine.
fn end_of_save(end: &str) -> &str {
    match end {
        "power-off" => "power off",
        "test_resume" => "load it again, as a test",
        "suspend" => "suspend to memory",
        "" => "what /sys/power/disk says",
        other => other,
    }
}

fn heading(model: &Model) -> (&'static str, Style) {
    match (&model.ended, model.way) {
        (Some(ended), _) if ended.errno == -nix::libc::ECANCELED => {
            ("stopped", Style::new().fg(Color::Yellow))
        }
        (Some(ended), _) if ended.errno != 0 => ("failed", Style::new().fg(Color::LightRed)),
        (Some(_), _) => ("restored", Style::new().fg(Color::LightGreen)),
        (None, _) if model.stopping => ("stopping", Style::new().fg(Color::Yellow)),
        // The system that was saved is back.
        (None, _) if model.progress.step == "resumed" => {
            ("restored", Style::new().fg(Color::LightGreen))
        }
        (None, Way::Save) => ("hibernating", accent()),
        (None, Way::Load) => ("resuming", accent()),
    }
}

fn mb(rate: Option<u64>) -> String {
    match rate {
        Some(rate) => format!("{} MB/s", rate / 1_000_000),
        None => "- MB/s".to_string(),
    }
}

/// Percent to show: between steps there is nothing to count.
fn percent(model: &Model) -> Option<u64> {
    match (&model.ended, model.progress.step.as_str()) {
        (Some(ended), _) => (ended.errno == 0).then_some(100),
        (None, "write" | "load") => Some(model.progress.percent()),
        (None, "power-down" | "restore" | "resumed") => Some(100),
        _ => None,
    }
}

fn bar<'a>(model: &Model, width: u16) -> Line<'a> {
    let width = usize::from(width);
    let percent = usize::try_from(percent(model).unwrap_or(0)).unwrap_or(100);
    let full = percent.min(100) * width / 100;
    Line::from(vec![
        Span::styled(FULL.repeat(full), accent().bg(Color::Cyan)),
        Span::styled(EMPTY.repeat(width - full), Style::new().fg(Color::DarkGray)),
    ])
}

/// The steps until now, one to a line, for those who want to know.
fn history(model: &Model) -> Vec<Row<'_>> {
    let mut rows = Vec::new();
    for (number, seen) in model.steps.iter().enumerate() {
        if seen.step == "idle" {
            continue;
        }
        let next = model.steps.get(number + 1);
        let (sign, style) = match next {
            Some(_) => ("+", dim()),
            None => (">", bright()),
        };
        let took = next.map(|next| next.since.saturating_sub(seen.since));
        let took = took.map_or(String::new(), |took| format!("{:.1} s", took.as_secs_f64()));
        rows.push(row(
            9,
            Line::styled(format!("{sign} {}", phase(&seen.step)), style),
            Line::styled(took, dim()),
        ));
    }
    rows
}

fn numbers(model: &Model) -> Vec<Row<'_>> {
    let progress = &model.progress;
    let left = match model.seconds_left() {
        Some(seconds) if progress.is_moving() => format!("{} left", text::duration(seconds)),
        _ => String::new(),
    };
    let rates = match progress.is_moving() {
        true => Line::from(vec![
            Span::styled(mb(model.rate_now()), bright()),
            Span::styled(" now, ", dim()),
            Span::styled(mb(model.rate_average()), bright()),
            Span::styled(" on average", dim()),
        ]),
        false => Line::from(""),
    };
    let counted = progress.total_pages > 0 && percent(model).is_some();
    let amounts = match counted {
        true => Line::from(vec![
            Span::styled(text::pages(progress.done_pages), bright()),
            Span::styled(" of ", dim()),
            Span::styled(text::pages(progress.total_pages), bright()),
            Span::styled(" of memory", dim()),
        ]),
        false => Line::from(""),
    };
    let word = match model.way {
        Way::Save => "stored",
        Way::Load => "read",
    };
    let ratio = match model.stored_percent() {
        Some(percent) if model.way == Way::Save => format!(" ({percent} %)"),
        _ => String::new(),
    };
    let stored = match counted {
        true => Line::from(vec![
            Span::styled(text::bytes(progress.stored_bytes), bright()),
            Span::styled(format!(" {word}{ratio}"), dim()),
        ]),
        false => Line::from(""),
    };
    vec![
        row(2, rates, Line::styled(left, bright())),
        row(4, amounts, stored),
    ]
}

/// The sentence that it ended with, cut into lines.
fn sentence(model: &Model, width: u16) -> Vec<Row<'_>> {
    let Some(ended) = &model.ended else {
        return Vec::new();
    };
    let width = usize::from(width.max(1));
    let mut lines = vec![String::new()];
    for word in ended.sentence.split_whitespace() {
        let last = lines.len() - 1;
        let room = width.saturating_sub(lines[last].chars().count());
        if lines[last].is_empty() {
            lines[last].push_str(word);
        } else if word.chars().count() < room {
            lines[last].push(' ');
            lines[last].push_str(word);
        } else {
            lines.push(word.to_string());
        }
    }
    let lines = lines.into_iter().take(4);
    lines.map(|line| row(3, Line::from(line), "")).collect()
}

fn key_help(model: &Model) -> Line<'_> {
    let mut spans = Vec::new();
    let mut add = |key: &'static str, what: &'static str| {
        let gap = if spans.is_empty() { "" } else { "    " };
        spans.push(Span::styled(gap, dim()));
        spans.push(Span::styled(key, bright()));
        spans.push(Span::styled(what, dim()));
    };
    if model.ended.is_some() {
        return Line::from("");
    }
    if model.can_stop() {
        add("Esc", " stop");
    }
    if model.can_choose() {
        match model.end_of_save() {
            "reboot" => add("R", " do not reboot"),
            _ => add("R", " reboot in the end"),
        }
    }
    match model.detail {
        true => add("V", " less"),
        false => add("V", " more"),
    }
    Line::from(spans)
}

/// Where the image goes or comes from, and what is to happen then.
fn place(model: &Model) -> [Row<'_>; 2] {
    let target = &model.facts.target;
    let (target, end) = match model.way {
        Way::Save => {
            let end = end_of_save(model.end_of_save());
            (format!("to {target}"), format!("then {end}"))
        }
        Way::Load => (format!("from {target}"), String::new()),
    };
    let modules = model.facts.modules.as_str();
    [
        row(4, Line::styled(target, dim()), Line::styled(end, dim())),
        row(8, Line::styled(modules, dim()), ""),
    ]
}

fn rows(model: &Model, width: u16) -> Vec<Row<'_>> {
    let (word, style) = heading(model);
    let percent = percent(model).map_or(String::new(), |percent| format!("{percent} %"));
    let now = match &model.ended {
        Some(ended) if ended.errno == 0 => "The system goes on where it was",
        Some(_) => "The system goes on",
        None => phase(&model.progress.step),
    };
    let rule = "-".repeat(usize::from(width));
    let mut rows = vec![
        row(
            3,
            Line::styled("Dormouse", accent().add_modifier(Modifier::BOLD)),
            Line::styled(word, style.add_modifier(Modifier::BOLD)),
        ),
        row(5, Line::styled(rule, Style::new().fg(Color::DarkGray)), ""),
        blank(6),
        row(
            0,
            Line::styled(now, bright()),
            Line::styled(percent, bright()),
        ),
        row(1, bar(model, width), ""),
        blank(7),
    ];
    match model.ended {
        Some(_) => rows.extend(sentence(model, width)),
        None => rows.extend(numbers(model)),
    }
    if model.ended.is_none() {
        rows.push(blank(7));
        rows.extend(place(model));
    }
    rows.push(row(
        2,
        Line::styled(model.note.as_str(), Style::new().fg(Color::Yellow)),
        "",
    ));
    rows.push(row(1, key_help(model), ""));
    if model.detail {
        rows.push(blank(9));
        rows.extend(history(model));
        for pair in model.stats.chunks(2) {
            let say = |(name, value): &(String, String)| format!("{name} {value}");
            let left = pair.first().map(say).unwrap_or_default();
            let right = pair.get(1).map(say).unwrap_or_default();
            rows.push(row(
                10,
                Line::styled(left, dim()),
                Line::styled(right, dim()),
            ));
        }
    }
    rows
}

/// The same for a splash screen: one sentence, and percent.
pub fn line(model: &Model) -> (String, Option<u64>) {
    let (word, _) = heading(model);
    let percent = percent(model);
    let message = match (&model.ended, model.progress.step.as_str()) {
        (None, "idle") => String::new(),
        (Some(ended), _) => format!("Dormouse: {word}: {}", ended.sentence),
        (None, step) => match (percent, model.seconds_left()) {
            (Some(percent), Some(seconds)) if model.progress.is_moving() => {
                let left = text::duration(seconds);
                format!("{}: {percent} %, {left} left", phase(step))
            }
            _ => phase(step).to_string(),
        },
    };
    (message, percent)
}

/// Draws `model` into all of `area`.
pub fn draw(model: &Model, area: Rect, buffer: &mut Buffer) {
    for y in area.top()..area.bottom() {
        for x in area.left()..area.right() {
            buffer[(x, y)].reset();
        }
    }
    let margin = MARGIN.min(area.width / 10);
    let width = area.width.saturating_sub(2 * margin).min(WIDTH);
    if width == 0 || area.height == 0 {
        return;
    }
    let mut rows = rows(model, width);
    while rows.len() > usize::from(area.height) {
        let Some(worst) = (0..rows.len()).max_by_key(|number| rows[*number].rank) else {
            return;
        };
        rows.remove(worst);
    }
    let left = area.left() + (area.width - width) / 2;
    // Where all of it would be in the middle, so that nothing moves when there is more.
    let room = area.height.saturating_sub(HEIGHT) / 2;
    let count = u16::try_from(rows.len()).unwrap_or(area.height);
    let top = area.top() + room.min(area.height.saturating_sub(count));
    for (row, y) in rows.into_iter().zip(top..area.bottom()) {
        let right = u16::try_from(row.right.width())
            .unwrap_or(u16::MAX)
            .min(width);
        // What is on the right is short and counts more.
        let gap = u16::from(right > 0);
        let place = Rect::new(left, y, width.saturating_sub(right + gap), 1);
        row.left.render(place, buffer);
        let place = Rect::new(left + width - right, y, right, 1);
        row.right.render(place, buffer);
    }
}

#[cfg(test)]
mod tests;
