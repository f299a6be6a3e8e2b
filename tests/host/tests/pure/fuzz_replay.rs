// SPDX-License-Identifier: GPL-2.0

//! The short run of the fuzzers, without one: the corpus, and mutations of it from a fixed seed.
//!
//! `DORMOUSE_FUZZ_RUNS` is the number of mutations per target, fewer where inputs are long, `DORMOUSE_FUZZ_SEED` another seed.

use std::fs;
use std::path::PathBuf;

use dormouse_host::fuzzing::{seeds, FuzzTarget, TARGETS};

use crate::random::Random;

fn folder(target: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../fuzz/corpus")
        .join(target)
}

fn corpus(target: &str) -> Vec<Vec<u8>> {
    let entries = fs::read_dir(folder(target)).unwrap_or_else(|e| panic!("{target}: {e}"));
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths.iter().map(|path| fs::read(path).unwrap()).collect()
}

fn setting(name: &str, default: u64) -> u64 {
    match std::env::var(name) {
        Ok(text) => text
            .parse()
            .unwrap_or_else(|_| panic!("{name}={text} is not a number")),
        Err(_) => default,
    }
}

fn replay(&(name, body): &FuzzTarget) {
    let corpus = corpus(name);
    assert!(!corpus.is_empty(), "{name} has no corpus");
    corpus.iter().for_each(|input| body(input));

    // Inputs of some kilobytes cost accordingly.
    let size: usize = corpus.iter().map(Vec::len).sum::<usize>() / corpus.len();
    let default = (20_000_000 / (size as u64 + 1000)).min(20_000);
    // However many are asked for: whole images take 20 ms each.
    let most = 100_000_000 / (size as u64 + 1000);
    let mut random = Random::new(setting("DORMOUSE_FUZZ_SEED", 0x646f_726d_6f75_7365));
    for _ in 0..setting("DORMOUSE_FUZZ_RUNS", default).min(most) {
        let mut input = corpus[random.below(corpus.len())].clone();
        for _ in 0..1 + random.below(4) {
            random.mutate(&mut input, &corpus);
        }
        body(&input);
    }
}

#[test]
fn corpus_and_mutations() {
    std::thread::scope(|scope| {
        for target in &TARGETS {
            scope.spawn(move || replay(target));
        }
    });
}

#[test]
#[ignore = "writes the corpus that the other tests read"]
fn write_seeds() {
    for (target, name, bytes) in seeds() {
        fs::create_dir_all(folder(target)).unwrap();
        fs::write(folder(target).join(name), bytes).unwrap();
    }
}

#[test]
fn the_corpus_holds_the_samples() {
    for (target, name, bytes) in seeds() {
        let found = fs::read(folder(target).join(name));
        assert!(found.is_ok_and(|found| found == bytes), "{target}/{name}");
    }
}

// The fuzz crate has a one-line target for each body, and nothing else.
#[test]
fn every_body_has_a_target() {
    let fuzz = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../fuzz");
    let manifest = fs::read_to_string(fuzz.join("Cargo.toml")).unwrap();
    for (name, _) in TARGETS {
        let file = fs::read_to_string(fuzz.join(format!("fuzz_targets/{name}.rs"))).unwrap();
        assert!(file.contains("fuzz_target!"), "{name}");
        assert!(manifest.contains(&format!("name = \"{name}\"")), "{name}");
    }
    let count = fs::read_dir(fuzz.join("fuzz_targets")).unwrap().count();
    assert_eq!(count, TARGETS.len());
}
