// SPDX-License-Identifier: GPL-2.0

//! Numbers and times for people.

use crate::control::PAGE;
use dormouse_image::text as signs;

/// `text` in one line, without anything that a terminal would take for a command: what the kernel
/// quotes may have been chosen by any user of the machine.
pub fn plain(text: &str) -> String {
    text.chars().map(signs::plain).collect()
}

/// The same, but the ends of lines stay.
pub fn plain_lines(text: &str) -> String {
    let clean = |c: char| if c == '\n' { c } else { signs::plain(c) };
    text.chars().map(clean).collect()
}

/// `json` with what a terminal would take for a command escaped: it stands in strings only.
pub fn plain_json(json: &str) -> String {
    let mut plain = String::with_capacity(json.len());
    for c in json.chars() {
        match signs::is_plain(c) {
            true => plain.push(c),
            false => plain.push_str(&format!("\\u{:04x}", u32::from(c))),
        }
    }
    plain
}

/// Bytes, in the largest unit that leaves three digits or more where there are as many.
pub fn bytes(count: u64) -> String {
    const UNITS: [(&str, u32); 4] = [("TiB", 40), ("GiB", 30), ("MiB", 20), ("KiB", 10)];
    for (unit, shift) in UNITS {
        if count >> shift != 0 {
            let tenths = (u128::from(count) * 10) >> shift;
            return match tenths {
                1000.. => format!("{} {unit}", tenths / 10),
                _ => format!("{}.{} {unit}", tenths / 10, tenths % 10),
            };
        }
    }
    format!("{count} bytes")
}

/// Pages of memory, as the bytes that they hold.
pub fn pages(count: u64) -> String {
    bytes(count.saturating_mul(PAGE))
}

/// Seconds since 1970 as date and time of day, UTC.
pub fn date(seconds: i64) -> String {
    let days = seconds.div_euclid(86_400);
    let time = seconds.rem_euclid(86_400);
    let Some((year, month, day)) = civil(days) else {
        return format!("{seconds} s after 1970");
    };
    let (hour, minute, second) = (time / 3600, time / 60 % 60, time % 60);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02} UTC")
}

/// The day of the Gregorian calendar that is `days` after 1970-01-01, for years of four digits.
fn civil(days: i64) -> Option<(i64, i64, i64)> {
    if !(-719_162..=2_932_896).contains(&days) {
        return None;
    }
    let leap = |year: i64| year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    // 400 years are 146,097 days.
    let mut year = 1970 + days.div_euclid(146_097) * 400;
    let mut left = days.rem_euclid(146_097);
    loop {
        let length = 365 + i64::from(leap(year));
        if left < length {
            break;
        }
        left -= length;
        year += 1;
    }
    let february = 28 + i64::from(leap(year));
    let lengths = [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    for (month, length) in (1..).zip(lengths) {
        if left < length {
            return Some((year, month, left + 1));
        }
        left -= length;
    }
    None
}

/// Seconds as they are said.
pub fn duration(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{}:{:02} min", seconds / 60, seconds % 60),
        _ => format!("{}:{:02} h", seconds / 3600, seconds / 60 % 60),
    }
}

/// What is wrong with a command line, of several lines, in one: the reason, and how it is used.
pub fn one_line(error: &str) -> String {
    let reason: Vec<&str> = error
        .lines()
        .take_while(|line| !line.is_empty())
        .map(str::trim)
        .collect();
    let reason = reason.join(" ");
    let reason = reason.strip_prefix("error: ").unwrap_or(&reason);
    let usage = error.lines().find_map(|line| line.strip_prefix("Usage: "));
    let usage = usage.map_or(String::new(), |usage| format!(" (usage: {usage})"));
    let plain = |c: char| match c.is_control() {
        true => c.escape_debug().to_string(),
        false => c.to_string(),
    };
    format!("{reason}{usage}").chars().map(plain).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_what_is_wrong_in_one_line() {
        let error = "error: the following required arguments were not provided:\n  <PLACE>\n\n\
                     Usage: dormouse image info <PLACE>\n\nFor more information, try '--help'.\n";
        let expected = "the following required arguments were not provided: <PLACE> \
                        (usage: dormouse image info <PLACE>)";
        assert_eq!(one_line(error), expected);
        assert_eq!(one_line("error: no \u{1b}[31m\n"), "no \\u{1b}[31m");
    }

    #[test]
    fn shows_signs_only() {
        let text = "a\u{1b}[2J\n\u{9b}\u{2066}\u{e9}";
        assert_eq!(plain(text), "a?[2J???\u{e9}");
        assert_eq!(plain_lines(text), "a?[2J\n??\u{e9}");
        let json = serde_json::to_string(text).unwrap();
        assert_ne!(plain_json(&json), json);
        assert!(plain_json(&json).chars().all(signs::is_plain));
        let back: String = serde_json::from_str(&plain_json(&json)).unwrap();
        assert_eq!(back, text);
    }

    #[test]
    fn says_bytes() {
        assert_eq!(bytes(1023), "1023 bytes");
        assert_eq!(bytes(1024), "1.0 KiB");
        assert_eq!(bytes(123 << 20), "123 MiB");
        assert_eq!(bytes(u64::MAX), "16777215 TiB");
        assert_eq!(pages(3), "12.0 KiB");
        assert_eq!(pages(u64::MAX), bytes(u64::MAX));
    }

    #[test]
    fn says_dates() {
        // `date -u -d @N`.
        assert_eq!(date(0), "1970-01-01 00:00:00 UTC");
        assert_eq!(date(1_800_000_000), "2027-01-15 08:00:00 UTC");
        assert_eq!(date(951_782_400), "2000-02-29 00:00:00 UTC");
        assert_eq!(date(4_107_542_399), "2100-02-28 23:59:59 UTC");
        assert_eq!(date(-1), "1969-12-31 23:59:59 UTC");
        assert_eq!(date(i64::MAX), format!("{} s after 1970", i64::MAX));
    }

    #[test]
    fn says_durations() {
        assert_eq!(duration(59), "59 s");
        assert_eq!(duration(61), "1:01 min");
        assert_eq!(duration(7260), "2:01 h");
    }
}
