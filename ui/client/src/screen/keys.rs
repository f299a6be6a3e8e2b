// SPDX-License-Identifier: GPL-2.0

//! What is typed: Esc alone, R and V, between whatever else a keyboard sends.
//!
//! Other keys begin with the byte that Esc sends, and go on at once. So Esc is known by the pause
//! that follows.

use std::time::Duration;

/// How long nothing follows an Esc that was typed.
pub const PAUSE: Duration = Duration::from_millis(50);

const ESC: u8 = 0x1b;

/// What somebody wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key {
    /// Esc: stop the cycle.
    Stop,
    /// R: another end of the save.
    AfterSave,
    /// V: more or less detail.
    Detail,
    /// Anything else.
    Other,
}

/// Where in a sequence of bytes the reader is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Ground,
    /// After an Esc.
    Escape,
    /// In a control sequence, before its last byte.
    Control,
    /// Before the one byte that ends a function key.
    Last,
}

/// Makes keys of bytes.
pub struct Keys {
    state: State,
    /// When the last byte came.
    at: Duration,
}

impl Keys {
    /// Nothing was typed yet.
    pub fn new() -> Keys {
        Keys {
            state: State::Ground,
            at: Duration::ZERO,
        }
    }

    /// Takes the `byte` that came at the time `now`.
    pub fn feed(&mut self, byte: u8, now: Duration) -> Option<Key> {
        let late = self.tick(now);
        self.at = now;
        let key = match (self.state, byte) {
            (State::Ground, ESC) => {
                self.state = State::Escape;
                None
            }
            (State::Ground, b'r' | b'R') => Some(Key::AfterSave),
            (State::Ground, b'v' | b'V') => Some(Key::Detail),
            (State::Ground, _) => Some(Key::Other),
            // Esc twice: the first one was alone.
            (State::Escape, ESC) => Some(Key::Stop),
            (State::Escape, b'[') => {
                self.state = State::Control;
                None
            }
            (State::Escape, b'O') => {
                self.state = State::Last;
                None
            }
            // The console of Linux begins its first function keys with two brackets.
            (State::Control, b'[') => {
                self.state = State::Last;
                None
            }
            (State::Control, 0x20..=0x3f) => None,
            (State::Control | State::Last, ESC) => {
                self.state = State::Escape;
                None
            }
            (State::Escape | State::Control | State::Last, _) => {
                self.state = State::Ground;
                Some(Key::Other)
            }
        };
        // A lone Esc counts for more than what follows it.
        late.or(key)
    }

    /// Looks at the time; an Esc after which nothing came is one.
    pub fn tick(&mut self, now: Duration) -> Option<Key> {
        if self.state == State::Ground || now.saturating_sub(self.at) < PAUSE {
            return None;
        }
        let before = std::mem::replace(&mut self.state, State::Ground);
        (before == State::Escape).then_some(Key::Stop)
    }

    /// Whether it is to be asked again after [`PAUSE`], even if nothing comes.
    pub fn is_waiting(&self) -> bool {
        self.state != State::Ground
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(count: u64) -> Duration {
        Duration::from_millis(count)
    }

    /// The keys of bytes that come at once, and of the silence after them.
    fn typed(bytes: &[u8]) -> Vec<Key> {
        let mut keys = Keys::new();
        let mut found: Vec<Key> = bytes
            .iter()
            .filter_map(|byte| keys.feed(*byte, ms(1000)))
            .collect();
        found.extend(keys.tick(ms(1000) + PAUSE));
        found
    }

    #[test]
    fn letters() {
        assert_eq!(
            typed(b"rRvV"),
            [Key::AfterSave, Key::AfterSave, Key::Detail, Key::Detail]
        );
        assert_eq!(typed(b"x"), [Key::Other]);
        assert_eq!(typed(&[0xc3, 0xa4]), [Key::Other, Key::Other]);
    }

    #[test]
    fn escape_alone() {
        assert_eq!(typed(b"\x1b"), [Key::Stop]);
        assert_eq!(typed(b"\x1b\x1b"), [Key::Stop, Key::Stop]);
        let mut keys = Keys::new();
        assert_eq!(keys.feed(ESC, ms(0)), None);
        assert!(keys.is_waiting());
        assert_eq!(keys.tick(ms(49)), None);
        assert_eq!(keys.tick(ms(50)), Some(Key::Stop));
        assert!(!keys.is_waiting());
        assert_eq!(keys.tick(ms(500)), None);
        // What is typed later does not belong to it.
        assert_eq!(keys.feed(ESC, ms(1000)), None);
        assert_eq!(keys.feed(b'[', ms(1200)), Some(Key::Stop));
        assert_eq!(keys.feed(b'r', ms(1201)), Some(Key::AfterSave));
    }

    #[test]
    fn other_keys_are_no_escape() {
        for sequence in [
            "\x1b[A",    // up
            "\x1b[[A",   // F1 of the console
            "\x1b[15~",  // F5
            "\x1bOP",    // F1 of a terminal
            "\x1br",     // Alt and R
            "\x1b[1;5R", // something with modifiers
            "\x1b[200~", // something is pasted
        ] {
            assert_eq!(typed(sequence.as_bytes()), [Key::Other], "{sequence:?}");
        }
        // Cut off: forgotten.
        assert_eq!(typed(b"\x1b["), []);
        assert_eq!(typed(b"\x1bO"), []);
        assert_eq!(typed(b"\x1b[1;"), []);
        // Cut off by an Esc.
        assert_eq!(typed(b"\x1b[1\x1b"), [Key::Stop]);
        assert_eq!(typed(b"\x1b[Av"), [Key::Other, Key::Detail]);
    }

    #[test]
    fn never_stops_without_an_escape() {
        let mut keys = Keys::new();
        for round in 0..3 {
            for byte in (0..=255u8).filter(|byte| *byte != ESC) {
                let at = ms(u64::from(byte) * 7 + round * 2000);
                assert_ne!(keys.feed(byte, at), Some(Key::Stop));
                assert_ne!(keys.tick(at + ms(60)), Some(Key::Stop));
            }
        }
    }
}
