// SPDX-License-Identifier: GPL-2.0

//! Every command in every situation in which it can do nothing: one clear line, and the exit code
//! that the manual has for it.

use std::fs;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::disks;
use crate::fake::{Fake, Ran};

/// A command and how it ends.
struct Row {
    /// A good command line. `IMAGE` stands for a file with an image, `CORE` for one that is not
    /// there.
    good: &'static str,
    /// How it ends where all is well.
    well: i32,
    /// How it ends without Dormouse in the kernel.
    without: i32,
    /// How it ends for somebody who is not root.
    user: i32,
    /// One with a bad value.
    bad: &'static str,
}

const fn row(good: &'static str, codes: [i32; 3], bad: &'static str) -> Row {
    let [well, without, user] = codes;
    Row {
        good,
        well,
        without,
        user,
        bad,
    }
}

const ROWS: &[Row] = &[
    row("status", [0, 5, 6], "status --json=maybe"),
    row("doctor", [1, 1, 6], "doctor all"),
    row("hibernate", [0, 5, 6], "hibernate --mode sleep"),
    row("resume", [0, 5, 6], "resume here"),
    row("abort", [0, 5, 6], "abort now"),
    row("watch --now", [0, 5, 6], "watch --now=1"),
    row("config get", [0, 5, 6], "config get colour"),
    row("config set threads=1", [0, 5, 6], "config set threads=two"),
    row("config save", [0, 5, 6], "config save --file"),
    row("config apply", [0, 5, 6], "config apply --file"),
    row("image info IMAGE", [0, 0, 6], "image info IMAGE --offset x"),
    row(
        "image verify IMAGE --no-key",
        [0, 0, 6],
        "image verify nowhere",
    ),
    row("image erase IMAGE --yes", [0, 0, 6], "image erase auto"),
    row(
        "image extract IMAGE CORE",
        [0, 0, 6],
        "image extract nbd:///x CORE",
    ),
    row("key set --stdin", [1, 5, 6], "key set --passes many"),
    row("key unlock --stdin", [3, 5, 6], "key unlock here"),
    row(
        "key unlock --stdin --device IMAGE",
        [3, 5, 6],
        "key unlock --device auto",
    ),
    row("key status", [0, 5, 6], "key status --of me"),
    row("key clear", [0, 5, 6], "key clear all"),
    row(
        "bench --yes --compressor lz4",
        [0, 5, 6],
        "bench --cycles 101",
    ),
    row(
        "generate completions bash",
        [0, 0, 0],
        "generate completions tcsh",
    ),
    row("generate man MAN", [0, 0, 0], "generate man"),
];

/// A system in which every command has something to do.
fn system() -> Fake {
    let fake = Fake::new();
    let result = "0 resumed the system is back: saved 4 kB in 1 ms, 4 kB stored, loaded in 1 ms\n";
    fake.set("last_result", result);
    fake.put("etc/dormouse.toml", "threads = 2\n");
    let page = vec![7; 4096];
    let image = crate::memory::export(&dormouse_host::samples::FACTS, &[(1, page)].into(), &[]);
    fake.put("IMAGE", image);
    fake
}

/// `line` with the paths that its capital words stand for.
fn words(fake: &Fake, line: &str) -> Vec<String> {
    let path = |word: &str| match word {
        "IMAGE" | "CORE" | "MAN" => fake.root().join(word).display().to_string(),
        word => word.to_string(),
    };
    line.split(' ').map(path).collect()
}

fn run(fake: &Fake, line: &str) -> Ran {
    let words = words(fake, line);
    fake.feed(&words.iter().map(String::as_str).collect::<Vec<_>>(), "")
}

/// Checks the exit code, and that there is one line if it is not 0, and none otherwise.
#[track_caller]
fn ends(ran: &Ran, line: &str, code: i32) {
    assert_eq!(ran.code, code, "'{line}': {ran:?}");
    match code {
        0 => assert_eq!(ran.err, "", "'{line}': {ran:?}"),
        _ => ran.fails(code, ""),
    }
}

#[test]
fn all_is_well() {
    for row in ROWS {
        ends(&run(&system(), row.good), row.good, row.well);
    }
}

#[test]
fn no_kernel_support() {
    for row in ROWS {
        let fake = system();
        fs::remove_dir_all(fake.control()).unwrap();
        let ran = run(&fake, row.good);
        ends(&ran, row.good, row.without);
        if row.without == 5 {
            ran.fails(5, "this kernel has no Dormouse");
        }
    }
}

fn all(mode: u32) -> fs::Permissions {
    fs::Permissions::from_mode(mode)
}

/// A copy of the command that everybody can run.
fn program_for_all() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), all(0o755)).unwrap();
    let program = folder.path().join("dormouse");
    fs::copy(env!("CARGO_BIN_EXE_dormouse"), &program).unwrap();
    // A process that another test has started may have the copy open for a moment yet.
    let is_busy = || {
        let run = Command::new(&program).arg("--version").output();
        run.is_err_and(|error| error.raw_os_error() == Some(nix::libc::ETXTBSY))
    };
    while is_busy() {
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    (folder, program)
}

/// Runs the command as somebody who owns nothing.
fn as_user(program: &Path, fake: &Fake, line: &str) -> Ran {
    for folder in ["", "sys", "sys/power", "sys/power/hibernate", "etc"] {
        fs::set_permissions(fake.root().join(folder), all(0o755)).unwrap();
    }
    let man = fake.root().join("MAN");
    fs::create_dir(&man).unwrap();
    fs::set_permissions(man, all(0o777)).unwrap();
    let mut command = Command::new("setpriv");
    // Only root can be somebody else; whoever else runs this owns the files, and may not read
    // them for that.
    let (mode, is_root) = match nix::unistd::geteuid().is_root() {
        true => (0o600, true),
        false => (0, false),
    };
    if is_root {
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]);
    }
    fs::set_permissions(fake.root().join("IMAGE"), all(mode)).unwrap();
    for entry in fs::read_dir(fake.control()).unwrap().flatten() {
        if entry.path().is_file() {
            fs::set_permissions(entry.path(), all(mode)).unwrap();
        }
    }
    let output = command
        .arg("--")
        .arg(program)
        .arg("--root")
        .arg(fake.root())
        .args(words(fake, line))
        .stdin(Stdio::null())
        .output()
        .unwrap();
    Ran::of(&output)
}

#[test]
fn not_root() {
    let (_folder, program) = program_for_all();
    for row in ROWS {
        let ran = as_user(&program, &system(), row.good);
        ends(&ran, row.good, row.user);
        if row.user == 6 {
            ran.fails(6, "only root may");
        }
    }
}

#[test]
fn unknown_options() {
    for row in ROWS {
        let line = format!("{} --frob", row.good);
        let ran = run(&system(), &line);
        ran.fails(2, "unexpected argument '--frob' found");
    }
    run(&system(), "frob").fails(2, "unrecognized subcommand 'frob'");
}

#[test]
fn bad_values() {
    for row in ROWS {
        let fake = system();
        let before = fake.get("threads");
        let ran = run(&fake, row.bad);
        ends(&ran, row.bad, 2);
        assert_eq!(fake.get("threads"), before);
        assert_eq!(fake.get("start"), "");
    }
}

/// Checks that what `line` with `--json` prints is one value, and that it says how the command
/// failed unless it is a report that says so itself.
#[track_caller]
fn says_in_json(fake: &Fake, line: &str, code: i32) {
    let ran = run(fake, &format!("{line} --json"));
    assert_eq!(ran.code, code, "'{line}': {ran:?}");
    assert_eq!(ran.out.lines().count(), 1, "'{line}': {ran:?}");
    let value = ran.json();
    match line.starts_with("doctor") && code == 1 {
        true => assert_eq!(value["error"], serde_json::Value::Null, "'{line}': {ran:?}"),
        false => {
            assert_eq!(value["code"], code, "'{line}': {ran:?}");
            let sentence = value["error"].as_str().unwrap();
            assert_eq!(
                ran.err,
                format!("dormouse: {sentence}\n"),
                "'{line}': {ran:?}"
            );
        }
    }
}

#[test]
fn failures_are_json() {
    for row in ROWS {
        says_in_json(&system(), row.bad, 2);
        if row.without != 0 {
            let fake = system();
            fs::remove_dir_all(fake.control()).unwrap();
            says_in_json(&fake, row.good, row.without);
        }
    }
    let fake = system();
    fake.put("IMAGE", [0xa5; 3 * 4096]);
    for line in [
        "info IMAGE",
        "verify IMAGE",
        "erase IMAGE --yes",
        "extract IMAGE CORE",
    ] {
        says_in_json(&fake, &format!("image {line}"), 3);
        says_in_json(
            &fake,
            &format!("image {}", line.replace("IMAGE", "/proc")),
            1,
        );
    }
    // A report that says what is wrong is all there is.
    let mut bad = disks::golden_export();
    bad[disks::frame_at()] ^= 1;
    fake.put("IMAGE", bad);
    let ran = run(&fake, "image verify IMAGE --no-key --json");
    ran.fails(4, "the image is damaged");
    assert_eq!(
        (&ran.json()["good"], ran.out.lines().count()),
        (&false.into(), 1)
    );
}

#[test]
fn missing_devices_and_garbage() {
    let lines = [
        "image info PLACE",
        "image verify PLACE",
        "image erase PLACE --yes",
        "image extract PLACE CORE",
        "key unlock --stdin --device PLACE",
    ];
    for line in lines {
        let fake = system();
        let on = |place: &str| run(&fake, &line.replace("PLACE", place));
        on("/dev/nowhere").fails(1, "/dev/nowhere cannot be read: No such file");
        on("nbd://127.0.0.1:1/x").fails(1, "nobody listens there");
        on("/proc").fails(1, "neither a block device nor a file");
        fake.put("IMAGE", [0xa5; 3 * 4096]);
        on("IMAGE").fails(3, "has no mark of Dormouse");
        fake.put("IMAGE", "");
        on("IMAGE").fails(3, "ends before that");
        // A good mark, and nothing behind it.
        let image = disks::golden_export();
        fake.put("IMAGE", &image[..8 * 4096]);
        let ran = on("IMAGE");
        if !line.contains("info") && !line.contains("erase") {
            ran.fails(1, "the export has shrunk");
        }
        // A superblock with a bit that is not as it was.
        let mut bad = image;
        bad[100] ^= 1;
        fake.put("IMAGE", &bad);
        on("IMAGE").fails(4, "superblock: ");
    }
}

#[test]
fn nobody_to_ask() {
    let fake = system();
    let image = fs::read(fake.root().join("IMAGE")).unwrap();
    run(&fake, "bench").fails(1, "say --yes to save and load all of memory: there is no ");
    let ran = run(&fake, "image erase IMAGE");
    ran.fails(1, "say --yes to erase the image on /");
    assert_eq!(fs::read(fake.root().join("IMAGE")).unwrap(), image);
    assert_eq!(fake.get("start"), "");
}

#[test]
fn closed_pipes() {
    for row in ROWS {
        for both in [false, true] {
            let fake = system();
            let mut command = fake.command();
            command.args(words(&fake, row.good)).stdin(Stdio::null());
            let (reader, writer) = UnixStream::pair().unwrap();
            drop(reader);
            command.stderr(match both {
                true => OwnedFd::from(writer.try_clone().unwrap()).into(),
                false => Stdio::piped(),
            });
            let mut child = command.stdout(OwnedFd::from(writer)).spawn().unwrap();
            drop(command);
            let mut err = String::new();
            if let Some(mut stderr) = child.stderr.take() {
                stderr.read_to_string(&mut err).unwrap();
            }
            let code = child.wait().unwrap().code();
            assert_eq!(code, Some(row.well), "'{}': {err}", row.good);
            assert!(err.lines().count() <= 1, "'{}': {err}", row.good);
        }
    }
}

#[test]
fn help_for_each() {
    for row in ROWS {
        let fake = system();
        let mut words: Vec<&str> = row.good.split(' ').take(2).collect();
        if words
            .get(1)
            .is_some_and(|word| word.starts_with('-') || word.contains('='))
        {
            words.pop();
        }
        words.push("--help");
        let ran = fake.feed(&words, "");
        assert!(ran.works().contains("Usage: dormouse "), "{ran:?}");
    }
}
