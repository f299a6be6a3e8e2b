// SPDX-License-Identifier: GPL-2.0

//! `dormouse status`, and what holds for every subcommand.

use std::io::Read;
use std::process::{Command, Stdio};

use crate::fake::Fake;

#[test]
fn says_how_things_are() {
    let fake = Fake::new();
    let out = fake.run("status").works().to_string();
    for line in [
        "enabled           no: only \"dormouse hibernate\" uses Dormouse",
        "state             idle",
        "compressor        lz4 (of none, lzo, lz4, zstd)",
        "keep_running      none",
        "netblock.timeout  60",
        "last result       nothing has happened yet",
        "image             none",
        "memory            512 MiB in use of 1.0 GiB, about 127 MiB to store; \
         swap space on /dev/vda2 holds 1000 MiB",
    ] {
        assert!(
            out.lines().any(|found| found == line),
            "no '{line}' in\n{out}"
        );
    }
    let json = fake.run("status --json").json();
    assert_eq!(json["choices"]["compressor"]["chosen"], "lz4");
    assert_eq!(json["image"], serde_json::Value::Null);
    assert_eq!(json["room"]["holds"], 1000 << 20);

    fake.set("last_result", "-28 prepare swap space is too small\n");
    fake.set(
        "image",
        "state: resuming\nsaved_at: 1800000000\nattempts: 2\npassed: a boot went on without it\n\
         encryptor: none\n",
    );
    fake.set("state", "write\n");
    fake.set("progress", "write 1 4 100 10\n");
    let out = fake.run("status").works().to_string();
    for line in [
        "state             write, 25 %",
        "last result       swap space is too small (-28, in step prepare)",
        "image             resuming, saved 2027-01-15 08:00:00 UTC, 2 loads begun, \
         a boot went on without it",
    ] {
        assert!(
            out.lines().any(|found| found == line),
            "no '{line}' in\n{out}"
        );
    }
    let json = fake.run("status --json").json();
    assert_eq!(json["image"]["passed"], "a boot went on without it");
}

/// Names of tasks and paths of mounts are of anybody's choice, and older kernels pass them on.
#[test]
fn what_the_kernel_quotes_does_not_move_the_cursor() {
    let fake = Fake::new();
    let sentence = "1 task does not freeze: \"\u{1b}[2J\u{1b}]0;x\u{7}\u{9b}2K\u{202e}\u{2066}\" \
                    (pid 7) is at work\nlast result       all is well\rx";
    fake.set("last_result", &format!("-16 freeze {sentence}\n"));
    let areas = "/dev/vda2 can take an image\n/a\u{1b}[2Jb\u{202e} is on zram0\n";
    fake.put("sys/power/hibernate/modules/swap/areas", areas);
    fake.set("state", "\u{1b}c\n");
    let line = "last result       1 task does not freeze: \"?[2J?]0;x??2K??\" \
                (pid 7) is at work?last result       all is well?x (-16, in step freeze)";
    let ran = fake.run("status");
    assert!(ran.out.lines().any(|found| found == line), "{ran:?}");
    for args in [
        "status",
        "status --json",
        "doctor",
        "doctor --json",
        "config set threads=1",
        "image info auto",
    ] {
        let ran = fake.run(args);
        for text in [&ran.out, &ran.err] {
            let bad = |c: char| c.is_control() && c != '\n' || "\u{202e}\u{2066}".contains(c);
            assert!(!text.contains(bad), "{args}: {ran:?}");
        }
        assert!(
            args.starts_with("doctor") || !ran.out.contains("\nlast result       all is well"),
            "{args}: {ran:?}"
        );
    }
    let json = fake.run("status --json").json();
    let said = json["last_result"]["sentence"].as_str().unwrap();
    assert!(said.ends_with("is at work?last result       all is well?x"));
}

#[test]
fn says_when_there_is_no_dormouse() {
    let empty = tempfile::tempdir().unwrap();
    for args in [
        "status",
        "hibernate",
        "resume",
        "abort",
        "watch",
        "config get",
        "config set threads=1",
        "config save",
        "key status",
    ] {
        let output = Command::new(env!("CARGO_BIN_EXE_dormouse"))
            .arg("--root")
            .arg(empty.path())
            .args(args.split(' '))
            .output()
            .unwrap();
        let err = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(5), "{args}: {err}");
        assert!(err.contains("this kernel has no Dormouse"), "{args}: {err}");
        assert_eq!(err.lines().count(), 1, "{args}: {err}");
    }
}

#[test]
fn wrong_usage() {
    let fake = Fake::new();
    for args in [
        "frob",
        "status --frob",
        "config set",
        "resume a b",
        "hibernate --mode",
    ] {
        let ran = fake.run(args);
        assert_eq!(ran.code, 2, "{ran:?}");
    }
}

#[test]
fn a_closed_pipe_is_no_error() {
    let fake = Fake::new();
    for args in [
        "status",
        "config get",
        "generate completions bash",
        "--help",
    ] {
        let mut child = fake
            .command()
            .args(args.split(' '))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        drop(child.stdout.take());
        let mut err = String::new();
        child
            .stderr
            .take()
            .unwrap()
            .read_to_string(&mut err)
            .unwrap();
        assert!(child.wait().unwrap().success(), "{args}: {err}");
        assert_eq!(err, "", "{args}");
    }
}

#[test]
fn generates_pages_and_completions() {
    let fake = Fake::new();
    let folder = fake.root().join("man");
    let args = ["generate", "man", folder.to_str().unwrap()];
    fake.feed(&args, "").works();
    let page = std::fs::read_to_string(folder.join("dormouse.1")).unwrap();
    assert!(page.contains("Exit codes"), "{page}");
    assert!(folder.join("dormouse-config-set.1").exists());
    for shell in ["bash", "zsh", "fish"] {
        let ran = fake.run(&format!("generate completions {shell}"));
        assert!(ran.works().contains("hibernate"), "{shell}");
    }
}
