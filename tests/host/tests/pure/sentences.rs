// SPDX-License-Identifier: GPL-2.0

//! What the kernel says against `Documentation/admin-guide.rst`.
//!
//! Each sentence of `Engine::fail` and `warn`, and each warning in the kernel log, has its entry
//! there. The literal parts of the sentences are looked for, between what is filled in.

use std::fs;
use std::path::{Path, PathBuf};

/// Calls with a sentence for `last_result`, or a warning.
const SENTENCES: &[&str] = &["fail", "fail_above_all", "warn", "kept"];
/// Calls with a line for the kernel log alone.
const LOG: &[&str] = &["pr_err!", "pr_warn!", "pr_notice!"];

/// Files with a sentence that is put together elsewhere, and where: there every text counts.
const INDIRECT: &[(&str, &[&str])] = &[
    ("core/blockspace.rs", &["core/blockspace.rs"]),
    ("core/cycle.rs", &["core/cycle/lookout.rs"]),
    (
        "core/cycle/mounts.rs",
        &["core/cycle/mounts.rs", "core/image/error.rs"],
    ),
    ("core/cycle/resume.rs", &["core/cycle/resume.rs"]),
    ("core/cycle/room.rs", &["core/plan.rs"]),
    ("core/cycle/save.rs", &["core/cycle/save.rs"]),
    ("core/pipeline/watch.rs", &["core/patience.rs"]),
    ("core/sys/block.rs", &["core/patience.rs"]),
    ("modules/file/create.rs", &["modules/file/create.rs"]),
    (
        "modules/file/refusal.rs",
        &["modules/file/refusal.rs", "core/stack.rs"],
    ),
    (
        "modules/netblock/attempt.rs",
        &[
            "modules/netblock/attempt.rs",
            "modules/netblock/proto/negotiate.rs",
        ],
    ),
    (
        "modules/netblock/place.rs",
        &["modules/netblock/proto/terms.rs"],
    ),
    (
        "modules/swap/areas.rs",
        &["modules/swap/areas.rs", "core/swapmark/sector.rs"],
    ),
];

/// What only hands on the words of others.
const HANDS_ON: &[&str] = &["core/engine.rs", "core/report.rs", "core/pipeline.rs"];

/// Where the log answers who has just written a bad value, or whoever writes a module.
const FOR_OTHERS: &[&str] = &[
    "core/control",
    "core/keyslot.rs",
    "core/registry.rs",
    "core/selftest.rs",
];

/// Shortest part of a sentence that is looked for.
const PART: usize = 12;

/// A string in a source file.
struct Literal {
    text: String,
    /// The calls around it: position and name, macros with a "!".
    calls: Vec<(usize, String)>,
}

/// The character of an escape.
fn unescape(c: char) -> char {
    match c {
        'n' | 't' | 'r' => ' ',
        other => other,
    }
}

/// The string that begins behind `at`, and where it ends.
fn string(source: &[char], mut at: usize) -> (String, usize) {
    let mut text = String::new();
    while let Some(&c) = source.get(at) {
        match (c, source.get(at + 1)) {
            ('"', _) => break,
            ('\\', Some('\n')) => {
                at += 1;
                while source.get(at).is_some_and(|c| c.is_whitespace()) {
                    at += 1;
                }
                continue;
            }
            ('\\', Some(&next)) => {
                text.push(unescape(next));
                at += 1;
            }
            _ => text.push(c),
        }
        at += 1;
    }
    (text, at)
}

/// The name in front of the parenthesis at `at`; empty where a function is defined.
fn name(source: &[char], at: usize) -> String {
    let is_name = |c: &char| c.is_alphanumeric() || matches!(c, '_' | '!');
    let len = source[..at].iter().rev().take_while(|c| is_name(c)).count();
    match source[..at - len].ends_with(&['f', 'n', ' ']) {
        true => String::new(),
        false => source[at - len..at].iter().collect(),
    }
}

/// All strings of a source file, without those in comments.
fn literals(source: &str) -> Vec<Literal> {
    let source: Vec<char> = source.chars().collect();
    let (mut found, mut calls) = (Vec::new(), Vec::new());
    let mut at = 0;
    while at < source.len() {
        match (source[at], source.get(at + 1)) {
            ('/', Some('/')) => {
                while source.get(at).is_some_and(|&c| c != '\n') {
                    at += 1;
                }
            }
            ('\'', Some('\\')) => at += 3,
            ('\'', _) if source.get(at + 2) == Some(&'\'') => at += 2,
            ('(', _) => calls.push((at, name(&source, at))),
            (')', _) => {
                calls.pop();
            }
            ('"', _) => {
                let (text, end) = string(&source, at + 1);
                let calls = calls.clone();
                found.push(Literal { text, calls });
                at = end;
            }
            _ => {}
        }
        at += 1;
    }
    found
}

impl Literal {
    /// Where the outermost of these calls around it begins.
    fn call(&self, names: &[&str]) -> Option<usize> {
        let mut calls = self.calls.iter();
        let found = calls.find(|(_, name)| names.contains(&name.as_str()))?;
        Some(found.0)
    }

    /// What is not filled in, without what joins it to that.
    fn parts(&self) -> impl Iterator<Item = &str> {
        let parts = self.text.split('{');
        let behind = |part: &'_ str| part.find('}').map_or(0, |end| end + 1);
        parts
            .map(move |part| part[behind(part)..].trim_matches(|c| " :;,()'\"".contains(c)))
            .filter(|part| part.len() >= PART)
    }
}

/// Whether the guide has `part`, or its beginning and three dots.
fn is_told(guide: &str, part: &str) -> bool {
    let begins = |(end, _): (usize, &str)| {
        let begin = part[..end].trim_end_matches(|c| ",;:".contains(c));
        begin.len() >= 20 && guide.contains(&format!("{begin} ..."))
    };
    guide.contains(part) || part.match_indices(' ').any(begins)
}

/// What of `file`, whose text is `source`, the guide does not have.
fn untold(file: &str, source: &str, guide: &str) -> Vec<String> {
    let all = literals(source);
    let mut missing: Vec<String> = Vec::new();
    let for_others = FOR_OTHERS.iter().any(|start| file.starts_with(start));
    let mut say = |part: &str| {
        if !is_told(guide, part) {
            missing.push(format!("{file}: {part}"));
        }
    };
    for literal in &all {
        let sentence = literal.call(SENTENCES).is_some();
        let logged = literal.call(LOG).is_some() && !for_others;
        // A text that goes into a sentence has blanks in it; a name has none.
        let goes_in = INDIRECT.iter().any(|(_, from)| from.contains(&file))
            && literal.call(&["pr_info!"]).is_none();
        for part in literal.parts() {
            if sentence || logged || goes_in && part.matches(' ').count() >= 2 {
                say(part);
            }
        }
    }
    // A sentence without a word of its own has them from somewhere.
    let known = INDIRECT.iter().any(|(known, _)| *known == file) || HANDS_ON.contains(&file);
    for literal in &all {
        let Some(call) = literal.call(SENTENCES) else {
            continue;
        };
        let same = |other: &&Literal| other.call(SENTENCES) == Some(call);
        let has_words = all.iter().filter(same).any(|l| l.parts().next().is_some());
        if !has_words && !known {
            missing.push(format!(
                "{file}: where are the words of \"{}\"?",
                literal.text
            ));
        }
    }
    missing
}

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// Text with single blanks between its words.
fn words(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn the_guide_has_every_sentence() {
    let root = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."));
    let guide = words(&fs::read_to_string(root.join("Documentation/admin-guide.rst")).unwrap());
    let mut files = Vec::new();
    sources(&root.join("core"), &mut files);
    sources(&root.join("modules"), &mut files);
    files.sort();
    let (mut missing, mut sentences) = (Vec::new(), 0);
    for path in &files {
        let file = path.strip_prefix(root).unwrap().to_str().unwrap();
        let source = fs::read_to_string(path).unwrap();
        let all = literals(&source);
        sentences += all.iter().filter(|l| l.call(SENTENCES).is_some()).count();
        missing.extend(untold(file, &source, &guide));
    }
    assert!(sentences > 100, "only {sentences} sentences were found");
    for (file, from) in INDIRECT {
        for file in from.iter().chain([file]) {
            assert!(root.join(file).exists(), "there is no {file}");
        }
    }
    assert!(
        missing.is_empty(),
        "not in Documentation/admin-guide.rst:\n{}",
        missing.join("\n")
    );
}

#[test]
fn finds_what_is_missing() {
    let source = r#"
        // engine.fail(e, format_args!("a comment is no sentence"));
        fn fail(why: &str) { other("not said to anybody here") }
        let quote = ['"', '\'', 'x'];
        engine.fail(e, format_args!("the disk {name} is \"full\": {why}; \
             take another one"));
        engine.report.warn(format_args!("{name} was told of this"));
        engine.fail(e, format_args!("{why}"));
        pr_notice!("a line about {} in the log\n", name);
        pr_info!("a line that nobody needs\n");
    "#;
    let guide = "the disk NAME is full; take another one. NAME was told of this.";
    let file = "core/other.rs";
    assert_eq!(
        untold(file, source, guide),
        [
            format!("{file}: a line about"),
            format!("{file}: where are the words of \"{{why}}\"?")
        ]
    );
    assert_eq!(
        untold(file, source, "NAME was told of ... take another one").len(),
        3
    );
    assert_eq!(untold("core/registry.rs", source, guide).len(), 1);
    assert_eq!(untold("core/engine.rs", source, guide).len(), 1);
    let parts = |text: &str| {
        let literal = Literal {
            text: text.to_string(),
            calls: Vec::new(),
        };
        literal.parts().map(str::to_string).collect::<Vec<_>>()
    };
    assert_eq!(
        parts("{a}: it was not read ({b}), boot"),
        ["it was not read"]
    );
    assert!(parts("{name} {why}").is_empty());
}
