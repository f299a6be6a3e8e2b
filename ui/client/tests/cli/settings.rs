// SPDX-License-Identifier: GPL-2.0

//! `dormouse config`.

use std::fs;

use crate::fake::Fake;

#[test]
fn gets() {
    let fake = Fake::new();
    assert_eq!(fake.run("config get compressor").works(), "lz4\n");
    assert_eq!(
        fake.run("config get writer target").works(),
        "writer=swap\ntarget=auto\n"
    );
    let all = fake.run("config get").works().to_string();
    for line in ["compressor=lz4", "keep_running=", "netblock.timeout=60"] {
        assert!(
            all.lines().any(|found| found == line),
            "no '{line}' in {all}"
        );
    }
    let json = fake.run("--json config get").json();
    assert_eq!(json["netblock.timeout"], "60");
    fake.run("config get colour")
        .fails(2, "there is no setting \"colour\": there are compressor");
    fake.run("config get loop.back").fails(2, "does not know");
    fake.run("config get ../state")
        .fails(2, "there is no setting");
}

#[test]
fn sets() {
    let fake = Fake::new();
    let args = "config set enabled=1 threads=2 netblock.timeout=5 compressor=zstd";
    assert_eq!(fake.run(args).works(), "done\n");
    for (name, value) in [
        ("enabled", "1"),
        ("threads", "2"),
        ("modules/netblock/timeout", "5"),
        ("compressor", "zstd"),
    ] {
        assert_eq!(fake.get(name), value);
    }
    fake.set("compressor", "[lz4]\n");
    let again = fake.run("config set threads=2 compressor=lz4");
    assert!(again.works().contains("already"));
    assert_eq!(fake.get("compressor"), "[lz4]\n");
}

#[test]
fn refuses_what_the_kernel_would() {
    let fake = Fake::new();
    for (change, why) in [
        ("enabled=yes", "the value is 0 or 1"),
        ("threads=-1", "unsigned number"),
        ("compressor=LZ4", "a name has 1 to 31"),
        ("target=here", "a target is auto"),
        ("threads", "is not NAME=VALUE"),
        ("start=1", "there is no setting"),
        ("netblock.timeout=\u{1b}[31m", "no control characters"),
    ] {
        let ran = fake.feed(&["config", "set", "image_size_limit=1G", change], "");
        ran.fails(2, why);
        assert!(!ran.err.contains('\u{1b}'), "{ran:?}");
    }
    assert_eq!(fake.get("image_size_limit"), "0\n");
}

#[test]
fn puts_back_what_was_set() {
    let fake = Fake::new();
    // There is no such module; that is noticed when all others are set.
    let ran = fake
        .run("config set tape.speed=1 compressor=zstd threads=4 writer=file target=/x enabled=1");
    ran.fails(2, "nothing was changed");
    for (name, value) in [
        ("compressor", "lz4"),
        ("threads", "0"),
        ("writer", "swap"),
        ("target", "auto"),
        ("enabled", "0\n"),
    ] {
        assert_eq!(fake.get(name), value, "{name}");
    }
}

#[test]
fn keeps_and_applies() {
    let fake = Fake::new();
    fake.run("config apply").fails(3, "config save");
    fake.set("threads", "3\n");
    fake.set("keep_running", "1234\n");
    fake.run("config save").works();
    let path = fake.root().join("etc/dormouse.toml");
    let text = fs::read_to_string(&path).unwrap();
    assert!(
        text.contains("threads = 3\n") && text.contains("[netblock]\ntimeout = 60\n"),
        "{text}"
    );
    assert!(
        !text.contains("keep_running") && !text.contains("claim"),
        "{text}"
    );
    fake.set("threads", "0\n");
    fake.set("modules/netblock/timeout", "7\n");
    assert_eq!(fake.run("config apply").works(), "done\n");
    assert_eq!(fake.get("threads"), "3");
    assert_eq!(fake.get("modules/netblock/timeout"), "60");

    for (text, why) in [
        (
            "threads = 1\ncolour = 'red'\n",
            "there is no setting \"colour\"",
        ),
        ("threads = 1\ntarget = 'here'\n", "a target is auto"),
        ("threads = 1\nwriter = ['swap']\n", "TOML array"),
        ("threads = \n", "is not understood"),
    ] {
        fs::write(&path, text).unwrap();
        let ran = fake.run("config apply");
        ran.fails(2, why);
        assert!(ran.err.contains("etc/dormouse.toml"), "{ran:?}");
        assert_eq!(fake.get("threads"), "3");
    }
}

#[test]
fn applies_what_there_is() {
    let fake = Fake::new();
    // The module of one is not loaded, and nothing in the file would load it.
    let text = "encryptor = 'aes-gcm'\nthreads = 3\n[tape]\nspeed = 1\n";
    fake.put("etc/dormouse.toml", text);
    let ran = fake.run("config apply");
    assert_eq!((ran.code, &*ran.out), (0, "done\n"), "{ran:?}");
    assert!(ran.err.contains("tape.speed is left out"), "{ran:?}");
    assert_eq!(fake.get("threads"), "3");
    assert_eq!(fake.get("encryptor"), "aes-gcm");
}

#[test]
fn an_encryptor_outlives_other_failures() {
    let text = "encryptor = 'aes-gcm'\nthreads = 'many'\nenabled = 1\nio_timeout = 5\n\
                allow_abort = 0\nfreeze_filesystems = 0\n[netblock]\ntimeout = 9\n";
    let broken = || {
        let fake = Fake::new();
        fake.put("etc/dormouse.toml", text);
        fake
    };
    let fake = broken();
    let ran = fake.run("config apply");
    ran.fails(2, ", all but encryptor: threads cannot be");
    assert_eq!(fake.get("encryptor"), "aes-gcm");
    assert_eq!(fake.get("enabled"), "0\n");
    // A resume does not fail for it; it does when the encryptor is not there.
    let fake = broken();
    let ran = fake.run("config apply --resume");
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(ran.err.contains("threads cannot be"), "{ran:?}");
    assert_eq!(fake.get("encryptor"), "aes-gcm");
    assert_eq!(fake.get("modules/netblock/timeout"), "9");
    assert_eq!(fake.get("io_timeout"), "5");
    assert_eq!(fake.get("allow_abort"), "0");
    // What only a save goes by is left alone.
    assert_eq!(fake.get("enabled"), "0\n");
    assert_eq!(fake.get("freeze_filesystems"), "1\n");
    fs::remove_file(fake.control().join("encryptor")).unwrap();
    let ran = fake.run("config apply --resume");
    assert_ne!(ran.code, 0, "{ran:?}");
}
