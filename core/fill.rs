// SPDX-License-Identifier: GPL-2.0

//! Pages that one word describes.

#![forbid(unsafe_code)]

/// Bytes of a word.
const WORD: usize = 8;

/// Words that are compared before the result is looked at, so that the comparison is one of
/// whole cache lines.
const LINE_WORDS: usize = 8;

/// Returns the word that fills `bytes`, or nothing when there is no such word.
///
/// The bytes of the word in memory are its little-endian bytes. Nothing fills bytes that are
/// empty or end within a word. Most pages differ in their first line, so the usual answer is
/// quick. Any context.
pub fn filled_with(bytes: &[u8]) -> Option<u64> {
    let first: [u8; WORD] = bytes.get(..WORD)?.try_into().ok()?;
    let word = u64::from_ne_bytes(first);
    let differs = |part: &[u8]| match part.try_into() {
        Ok(part) => u64::from_ne_bytes(part) ^ word,
        Err(_) => u64::MAX,
    };
    for line in bytes.chunks(WORD * LINE_WORDS) {
        if line.chunks(WORD).fold(0, |sum, part| sum | differs(part)) != 0 {
            return None;
        }
    }
    Some(u64::from_le_bytes(first))
}

/// Fills `bytes` with `word`, as [`filled_with`] describes it. Any context.
pub fn fill(bytes: &mut [u8], word: u64) {
    let word = word.to_le_bytes();
    for part in bytes.chunks_mut(WORD) {
        for (to, from) in part.iter_mut().zip(word) {
            *to = from;
        }
    }
}
