// SPDX-License-Identifier: GPL-2.0

//! Reproducible memory contents: the same seed gives the same bytes everywhere.
//!
//! The mix stands for what is found in a machine in use: text, machine code and
//! tables, data that does not compress, empty pages, pages filled with one
//! word. Tests verify with it and the benchmark measures with it, so changing
//! anything here changes every published number.

/// Size of the unit in which kinds of contents alternate, in bytes.
pub const PAGE: usize = 4096;

/// What a page holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Words of a small vocabulary with spaces and line ends.
    Text,
    /// Records of small numbers and near pointers, as in code and heap.
    Binary,
    /// Bytes without any order.
    Random,
    /// All zero.
    Zero,
    /// One 64-bit word all over.
    Fill,
}

const WORDS: [&str; 32] = [
    "memory", "page", "of", "the", "kernel", "sleeps", "until", "a", "dormouse", "wakes", "and",
    "every", "process", "goes", "on", "where", "it", "was", "in", "frame", "image", "with", "its",
    "own", "checksum", "while", "device", "driver", "returns", "error", "to", "caller",
];

struct Sequence(u64);

impl Sequence {
    fn new(seed: u64, page: u64) -> Self {
        // splitmix64: neighbouring pages get unrelated states.
        let mut z = (seed ^ page.wrapping_mul(0x9e37_79b9_7f4a_7c15)).wrapping_add(0x9e37_79b9);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        Sequence((z ^ (z >> 31)) | 1)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}

/// The kind of page number `page`: of 20 pages 8 are text, 6 binary, 3 random,
/// 2 zero, 1 filled with a word, in an order that the seed decides.
pub fn kind(seed: u64, page: u64) -> Kind {
    match Sequence::new(!seed, page).next() % 20 {
        0..=7 => Kind::Text,
        8..=13 => Kind::Binary,
        14..=16 => Kind::Random,
        17..=18 => Kind::Zero,
        _ => Kind::Fill,
    }
}

/// Writes the contents of page number `page` to `out`, of at most [`PAGE`] bytes.
pub fn fill(seed: u64, page: u64, out: &mut [u8]) {
    let mut sequence = Sequence::new(seed, page);
    match kind(seed, page) {
        Kind::Text => fill_text(&mut sequence, out),
        Kind::Binary => fill_words(out, |index| {
            let random = sequence.next();
            match index % 4 {
                0 => 0xffff_8880_0000_0000 | (random & 0x00ff_fff8),
                1 => random & 0xff,
                2 => (u64::from(random as u16) << 32) | 0x48,
                _ => 0,
            }
        }),
        Kind::Random => fill_words(out, |_| sequence.next()),
        Kind::Zero => out.fill(0),
        Kind::Fill => {
            let word = sequence.next();
            fill_words(out, |_| word);
        }
    }
}

fn fill_words(out: &mut [u8], mut word: impl FnMut(usize) -> u64) {
    for (index, chunk) in out.chunks_mut(8).enumerate() {
        chunk.copy_from_slice(&word(index).to_le_bytes()[..chunk.len()]);
    }
}

fn fill_text(sequence: &mut Sequence, out: &mut [u8]) {
    let mut at = 0;
    let mut words = 0;
    while at < out.len() {
        let word = WORDS[(sequence.next() >> 20) as usize % WORDS.len()].as_bytes();
        let end = (at + word.len()).min(out.len());
        out[at..end].copy_from_slice(&word[..end - at]);
        words += 1;
        if end < out.len() {
            out[end] = if words % 11 == 0 { b'\n' } else { b' ' };
        }
        at = end + 1;
    }
}

/// Number of the first page of `data` that is not what [`fill`] writes, where
/// `data` begins with page `first`; `None` when every byte is right.
pub fn first_wrong_page(seed: u64, first: u64, data: &[u8]) -> Option<u64> {
    let mut expected = [0; PAGE];
    for (page, actual) in (first..).zip(data.chunks(PAGE)) {
        let expected = &mut expected[..actual.len()];
        fill(seed, page, expected);
        if expected != actual {
            return Some(page);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reproducible_and_all_kinds_occur() {
        let mut memory = vec![0xaa; 200 * PAGE];
        for (page, out) in memory.chunks_mut(PAGE).enumerate() {
            fill(3, page as u64, out);
        }
        assert_eq!(first_wrong_page(3, 0, &memory), None);
        assert!(first_wrong_page(4, 0, &memory).is_some());
        for wanted in [
            Kind::Text,
            Kind::Binary,
            Kind::Random,
            Kind::Zero,
            Kind::Fill,
        ] {
            assert!((0..200).any(|page| kind(3, page) == wanted), "{wanted:?}");
        }
    }

    #[test]
    fn one_flipped_bit_is_found_in_every_kind() {
        for page in 0..40 {
            let mut memory = [0; PAGE];
            fill(9, page, &mut memory);
            memory[(page as usize * 97) % PAGE] ^= 1 << (page % 8);
            assert_eq!(first_wrong_page(9, page, &memory), Some(page));
        }
    }
}
