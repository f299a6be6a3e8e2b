// SPDX-License-Identifier: GPL-2.0

use std::time::Duration;

use super::*;
use crate::control::{LastResult, Progress};
use crate::screen::model::{plain, Facts};

fn facts() -> Facts {
    Facts {
        target: "swap space".to_string(),
        modules: "swap, lz4".to_string(),
        mode: "platform".to_string(),
        may_stop: true,
    }
}

/// A save half-way, at 4 MiB/s.
fn half() -> Model {
    let mut model = Model::new(facts(), Way::Save);
    for (second, text) in [
        (0, "begin 0 0 0 0"),
        (1, "prepare 0 0 0 0"),
        (2, "snapshot 0 0 0 0"),
        (3, "write 0 4096 0 0"),
        (5, "write 2048 4096 3145728 2000"),
    ] {
        model.look(Progress::parse(text).unwrap(), Duration::from_secs(second));
    }
    model.after = "mode".to_string();
    model
}

/// The lines of a terminal of that size.
fn drawn(model: &Model, columns: u16, lines: u16) -> Vec<String> {
    let area = Rect::new(0, 0, columns, lines);
    let mut buffer = Buffer::empty(area);
    draw(model, area, &mut buffer);
    let line = |y| {
        let cells = (0..columns).map(|x| buffer[(x, y)].symbol());
        cells.collect::<String>().trim_end().to_string()
    };
    (0..lines).map(line).collect()
}

fn shown(model: &Model, columns: u16, lines: u16) -> String {
    drawn(model, columns, lines).join("\n")
}

#[test]
fn on_the_usual_terminal() {
    let text = shown(&half(), 80, 25);
    let expected = "

      Dormouse                                                 hibernating
      --------------------------------------------------------------------

      Writing the image                                               50 %
      ##################################..................................

      4 MB/s now, 4 MB/s on average                               2 s left
      8.0 MiB of 16.0 MiB of memory                  3.0 MiB stored (37 %)

      to swap space                                         then power off
      swap, lz4

      Esc stop    R reboot in the end    V more";
    assert_eq!(text.trim_end(), expected, "\n{text}");
}

#[test]
fn with_detail() {
    let mut model = half();
    model.detail = true;
    model.stats = vec![("workers".to_string(), "2".to_string())];
    let lines = drawn(&model, 80, 25);
    let before = drawn(&half(), 80, 25);
    // Nothing moves.
    assert_eq!(lines[..13], before[..13]);
    let text = lines.join("\n");
    for part in [
        "######",
        "....",
        "+ Copying memory",
        "1.0 s",
        "> Writing the image",
        "workers 2",
        "V less",
    ] {
        assert!(text.contains(part), "no {part} in\n{text}");
    }
}

#[test]
fn the_important_stays_where_there_is_little_room() {
    let text = shown(&half(), 40, 10);
    for part in [
        "Writing the image",
        "50 %",
        "####",
        "4 MB/s now",
        "2 s left",
        "Esc stop",
    ] {
        assert!(text.contains(part), "no {part} in\n{text}");
    }
    assert!(!text.contains("swap, lz4"), "{text}");
    let text = shown(&half(), 40, 3);
    assert!(
        text.contains("50 %") && text.contains("####") && text.contains("Esc"),
        "{text}"
    );
    let text = shown(&half(), 20, 1);
    assert!(text.contains("50 %"), "{text}");
}

#[test]
fn any_size_will_do() {
    let mut model = half();
    for detail in [false, true] {
        model.detail = detail;
        for (columns, lines) in [
            (0, 0),
            (1, 1),
            (1, 50),
            (200, 1),
            (2, 2),
            (7, 3),
            (500, 120),
        ] {
            let all = drawn(&model, columns, lines);
            assert_eq!(all.len(), usize::from(lines));
        }
        // In the middle, and no wider than can be read.
        let wide = drawn(&model, 500, 100);
        let bar = wide.iter().find(|line| line.contains("####")).unwrap();
        assert_eq!(bar.trim_start().len(), usize::from(WIDTH));
        assert_eq!(
            bar.len() - bar.trim_start().len(),
            (500 - usize::from(WIDTH)) / 2
        );
    }
}

#[test]
fn hostile_texts_stay_texts() {
    let mut model = half();
    let bytes = b"/dev/\xff\xfe\x1b[31mred\x07\n\x9b2J";
    model.facts.target = plain(&String::from_utf8_lossy(bytes));
    model.facts.modules = plain(&"m".repeat(4000));
    model.note = plain("\x1b]0;title\x07");
    for (columns, lines) in [(80, 25), (40, 10), (300, 80)] {
        let all = drawn(&model, columns, lines);
        assert!(
            !all.iter().any(|line| line.chars().any(char::is_control)),
            "{all:?}"
        );
    }
    assert!(shown(&model, 80, 25).contains("to /dev/\u{fffd}\u{fffd}?[31mred??\u{fffd}2J"));
    let text = "write 18446744073709551615 1 18446744073709551615 18446744073709551615";
    model.look(Progress::parse(text).unwrap(), Duration::from_secs(9));
    assert!(shown(&model, 80, 25).contains("100 %"));
}

#[test]
fn keys_are_offered_while_they_do_something() {
    let mut model = half();
    model.after = "reboot".to_string();
    let text = shown(&model, 80, 25);
    assert!(
        text.contains("then reboot") && text.contains("R do not reboot"),
        "{text}"
    );
    model.facts.may_stop = false;
    assert!(!shown(&model, 80, 25).contains("Esc"));
    model.after = String::new();
    assert!(!shown(&model, 80, 25).contains("reboot"));
    let mut model = half();
    model.stopping = true;
    let text = shown(&model, 80, 25);
    assert!(
        text.contains("stopping") && !text.contains("Esc") && !text.contains(" R "),
        "{text}"
    );
    let mut model = half();
    model.look(
        Progress::parse("power-down 4096 4096 1 1").unwrap(),
        Duration::from_secs(9),
    );
    let text = shown(&model, 80, 25);
    assert!(
        text.contains("100 %") && !text.contains("Esc") && !text.contains("R reboot"),
        "{text}"
    );
}

#[test]
fn how_it_ended() {
    let mut model = half();
    let sentence = "the system is back: saved 16384 kB in 2000 ms, loaded in 1000 ms";
    let ended = |errno, sentence: &str| LastResult {
        errno,
        step: "resumed".to_string(),
        sentence: sentence.to_string(),
    };
    model.end(&ended(0, sentence));
    let text = shown(&model, 80, 25);
    assert!(
        text.contains("restored")
            && text.contains("100 %")
            && text.contains(sentence)
            && !text.contains("Esc"),
        "{text}"
    );
    model.end(&ended(
        -125,
        "stopped on request while the image was written",
    ));
    let text = shown(&model, 80, 25);
    assert!(
        text.contains("stopped") && !text.contains("failed"),
        "{text}"
    );
    model.end(&ended(-5, &"a long sentence ".repeat(40)));
    let text = shown(&model, 40, 10);
    assert!(
        text.contains("failed") && text.contains("a long sentence a long"),
        "{text}"
    );
}

#[test]
fn a_line_for_a_splash_screen() {
    assert_eq!(
        line(&half()),
        ("Writing the image: 50 %, 2 s left".to_string(), Some(50))
    );
    let mut model = half();
    model.look(
        Progress::parse("resumed 1 1 1 1").unwrap(),
        Duration::from_secs(9),
    );
    assert_eq!(line(&model), ("Waking up".to_string(), Some(100)));
    let idle = Model::new(facts(), Way::Load);
    assert_eq!(line(&idle), (String::new(), None));
}
