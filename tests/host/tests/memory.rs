// SPDX-License-Identifier: GPL-2.0

//! How much memory the fuzz target `verify` takes: the corpus, and mutations of it.
//!
//! A program of its own, as the memory of all its threads is counted.

use std::fs;
use std::path::PathBuf;

use dormouse_host::fuzzing::verify;
use peak_alloc::PeakAlloc;

#[path = "pure/random.rs"]
mod random;

use random::Random;

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

/// What an image may take besides twice its size.
const BASE: usize = 64 << 20;

#[track_caller]
fn within(what: &str, input: &[u8]) {
    MEMORY.reset_peak_usage();
    let before = MEMORY.current_usage();
    verify(input);
    let taken = MEMORY.peak_usage() - before;
    // The target keeps a copy of its input.
    let most = BASE + 3 * input.len();
    assert!(taken < most, "{what}: {taken} of {most} bytes");
}

#[test]
fn is_within_what_a_file_may_take() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus/verify");
    let mut paths: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    paths.sort();
    let corpus: Vec<_> = paths.iter().map(|path| fs::read(path).unwrap()).collect();
    let mut random = Random::new(0x646f_726d_6f75_7365);
    for (path, input) in paths.iter().zip(&corpus) {
        let what = path.display().to_string();
        within(&what, input);
        for run in 0..30 {
            let mut input = input.clone();
            for _ in 0..1 + random.below(4) {
                random.mutate(&mut input, &corpus);
            }
            within(&format!("{what}, run {run}"), &input);
        }
    }
}
