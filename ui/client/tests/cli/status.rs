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
        "image             resuming, saved 2027-01-15 08:00:00 UTC, 2 restores begun, \
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
