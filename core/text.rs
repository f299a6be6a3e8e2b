// SPDX-License-Identifier: GPL-2.0

//! Short texts in fixed room, for messages that are made where nothing can be
//! allocated.

#![forbid(unsafe_code)]

use core::fmt;

/// Returns whether `c` shows as itself, and moves neither the cursor of a terminal nor the order
/// in which what stands beside it is read: whoever may choose a name that a message quotes must
/// not write the rest of the message.
pub fn is_plain(c: char) -> bool {
    // U+2028 to U+202E are separators of lines and paragraphs, embeddings and overrides; U+2066
    // to U+2069 are isolates.
    !c.is_control() && !matches!(c, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Returns `c`, or a question mark in the place of one that [is not plain](is_plain).
pub fn plain(c: char) -> char {
    match is_plain(c) {
        true => c,
        false => '?',
    }
}

/// A text of at most `N` bytes; what does not fit is cut off.
///
/// # Invariants
///
/// The first `len` bytes are valid UTF-8 and `len <= N`.
#[derive(Clone, Copy)]
pub struct Text<const N: usize> {
    bytes: [u8; N],
    len: usize,
}

impl<const N: usize> Text<N> {
    /// An empty text.
    pub const fn new() -> Self {
        // INVARIANT: Nothing is valid UTF-8.
        Text {
            bytes: [0; N],
            len: 0,
        }
    }

    /// The text made from `args`, cut off at `N` bytes.
    pub fn format(args: fmt::Arguments<'_>) -> Self {
        let mut text = Text::new();
        // `write_str` never fails.
        let _ = fmt::Write::write_fmt(&mut text, args);
        text
    }

    /// The text made from `args` as [`Text::format`] does, in one line and with a question mark
    /// for each character that [is not plain](is_plain).
    pub fn format_plain(args: fmt::Arguments<'_>) -> Self {
        let mut text = Plain(Text::new());
        // `write_str` never fails.
        let _ = fmt::Write::write_fmt(&mut text, args);
        text.0
    }

    /// The text that ends at the first NUL of `bytes`, as C keeps it; a
    /// question mark for one that is not UTF-8.
    pub fn until_nul(bytes: &[u8]) -> Self {
        let text = bytes.split(|&byte| byte == 0).next().unwrap_or(&[]);
        let text = core::str::from_utf8(text).unwrap_or("?");
        Text::format(format_args!("{text}"))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        let bytes = self.bytes.get(..self.len).unwrap_or(&[]);
        core::str::from_utf8(bytes).unwrap_or("")
    }

    /// Whether there is no text.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Makes the text empty.
    pub fn clear(&mut self) {
        // INVARIANT: Nothing is valid UTF-8.
        self.len = 0;
    }
}

impl<const N: usize> Default for Text<N> {
    fn default() -> Self {
        Text::new()
    }
}

impl<const N: usize> fmt::Write for Text<N> {
    fn write_str(&mut self, s: &str) -> fmt::Result {
        let room = N.saturating_sub(self.len);
        let mut cut = s.len().min(room);
        while !s.is_char_boundary(cut) {
            cut = cut.saturating_sub(1);
        }
        let end = self.len.saturating_add(cut);
        if let (Some(to), Some(from)) = (self.bytes.get_mut(self.len..end), s.as_bytes().get(..cut))
        {
            to.copy_from_slice(from);
            // INVARIANT: Whole characters were added, and `end <= N`.
            self.len = end;
        }
        Ok(())
    }
}

/// A text that takes plain characters only.
struct Plain<const N: usize>(Text<N>);

impl<const N: usize> fmt::Write for Plain<N> {
    fn write_str(&mut self, s: &str) -> fmt::Result {
        s.chars().try_for_each(|c| self.0.write_char(plain(c)))
    }
}

impl<const N: usize> fmt::Display for Text<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl<const N: usize> PartialEq<str> for Text<N> {
    fn eq(&self, other: &str) -> bool {
        self.as_str() == other
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::fmt::Write;

    #[test]
    fn cuts_at_a_character() {
        let text = Text::<4>::format(format_args!("abc\u{e9}"));
        assert_eq!(text.as_str(), "abc");
        let text = Text::<5>::format(format_args!("abc\u{e9}"));
        assert_eq!(text.as_str(), "abc\u{e9}");
    }

    #[test]
    fn ends_at_the_first_nul() {
        assert_eq!(Text::<8>::until_nul(b"ext4\0x\0").as_str(), "ext4");
        assert_eq!(Text::<8>::until_nul(b"ext4").as_str(), "ext4");
        assert_eq!(Text::<8>::until_nul(b"").as_str(), "");
        assert_eq!(Text::<8>::until_nul(b"\xff\0").as_str(), "?");
    }

    #[test]
    fn keeps_plain_signs_only() {
        let task = "\u{1b}[2J\u{9b}2K\t\u{7f}";
        let path = "/a\n0 resumed \r\u{2028}\u{202a}\u{202e}\u{2066}\u{2069}";
        let text = Text::<80>::format_plain(format_args!("{task:.20} on {path}: Gr\u{f6}\u{df}e"));
        assert_eq!(
            text.as_str(),
            "?[2J?2K?? on /a?0 resumed ??????: Gr\u{f6}\u{df}e"
        );
        let text = Text::<4>::format_plain(format_args!("a\nb\u{e9}"));
        assert_eq!(text.as_str(), "a?b");
        assert!("\u{2027}\u{202f}\u{2065}\u{206a}".chars().all(is_plain));
    }

    #[test]
    fn takes_several_pieces() {
        let mut text = Text::<8>::new();
        write!(text, "{}-{}", 12, 345).unwrap();
        text.write_str("6789").unwrap();
        assert_eq!(text.as_str(), "12-34567");
    }
}
