// SPDX-License-Identifier: GPL-2.0

//! The command, and images that were made to exhaust it: how much memory and time it takes.
//!
//! `DORMOUSE_HOSTILE_MIB=64` makes the images as large as the bar is for, as `cargo xtask torture
//! --only hostile` does: of smaller ones, time is only known to be within the bar if it grows no
//! faster than they do.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use dormouse_host::hostile::{Sort, ALL};
use nix::sys::resource::{getrusage, UsageWho};
use nix::sys::time::TimeVal;
use serde::{Deserialize, Serialize};

const MIB: usize = 1 << 20;
/// Whatever is in an image, this much memory is there to read it.
const BASE: usize = 64 * MIB;
/// What a command takes at most, for 64 MiB.
const TIME: Duration = Duration::from_secs(60);
/// Address space, in KiB: where a limit does not hold, the machine that tests does not suffer.
const SPACE_KIB: usize = 4 << 20;

/// What became of a command.
#[derive(Debug, Deserialize, Serialize)]
struct Ran {
    code: Option<i32>,
    out: String,
    err: String,
    /// Most memory it had, in bytes.
    memory: usize,
    /// What it took of processors.
    time: Duration,
}

/// Names a folder with the arguments of one command, which this program is to run and nothing else.
/// The kernel counts the memory of whoever starts a program as that of the program, so that has to
/// be small.
const MEASURE: &str = "DORMOUSE_HOSTILE_MEASURE";

fn measure(folder: &Path) {
    let args = fs::read(folder.join("args")).unwrap();
    let args: Vec<String> = serde_json::from_slice(&args).unwrap();
    let output = Command::new("sh")
        .args([
            "-c",
            &format!("ulimit -v {SPACE_KIB}; echo x | \"$0\" \"$@\""),
        ])
        .arg(env!("CARGO_BIN_EXE_dormouse"))
        .args(["image", "--json"])
        .args(args)
        .output()
        .unwrap();
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN).unwrap();
    let time = |time: TimeVal| {
        Duration::from_secs(time.tv_sec() as u64) + Duration::from_micros(time.tv_usec() as u64)
    };
    let ran = Ran {
        code: output.status.code(),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
        memory: usage.max_rss() as usize * 1024,
        time: time(usage.user_time()) + time(usage.system_time()),
    };
    fs::write(folder.join("ran"), serde_json::to_vec(&ran).unwrap()).unwrap();
}

fn run(args: &[&str]) -> Ran {
    let folder = tempfile::tempdir().unwrap();
    fs::write(
        folder.path().join("args"),
        serde_json::to_vec(args).unwrap(),
    )
    .unwrap();
    let output = Command::new(std::env::current_exe().unwrap())
        .env(MEASURE, folder.path())
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&fs::read(folder.path().join("ran")).unwrap()).unwrap()
}

/// Checks that the command ended by itself, within what a file of `len` bytes may take, and said in
/// JSON how.
fn judge(what: &str, len: usize, ran: &Ran) -> serde_json::Value {
    let (memory, most) = (ran.memory / MIB, (BASE + 2 * len) / MIB);
    // Of processors, not of the clock: other tests run beside this one.
    let time = TIME.mul_f64((len as f64 / (64 * MIB) as f64).max(0.05));
    println!(
        "{what}: {memory} of {most} MiB, {:.1} of {:.1} s",
        ran.time.as_secs_f32(),
        time.as_secs_f32()
    );
    assert!(memory < most, "{what}: {memory} MiB");
    assert!(ran.time < time, "{what}: {:?}", ran.time);
    assert!(matches!(ran.code, Some(0 | 1 | 4)), "{what}: {ran:?}");
    let complaints = usize::from(ran.code != Some(0));
    assert_eq!(ran.err.lines().count(), complaints, "{what}: {ran:?}");
    let value: serde_json::Value =
        serde_json::from_str(&ran.out).unwrap_or_else(|error| panic!("{what}: {error}: {ran:?}"));
    if value["error"].is_string() {
        assert_eq!(value["code"], ran.code.unwrap(), "{what}");
    }
    value
}

fn verifies(sort: &Sort, place: &str, len: usize) {
    let ran = run(&["verify", place, "--stdin"]);
    let value = judge(sort.name, len, &ran);
    assert_eq!(ran.code == Some(0), sort.is_good, "{}: {value}", sort.name);
}

/// Cores take much disk where there are many pages; that is refused before any is written, or they
/// have holes.
fn extracts(sort: &Sort, place: &str, len: usize, core: &str) {
    let ran = run(&["extract", place, core, "--stdin"]);
    let what = format!("{}, extracted", sort.name);
    let value = judge(&what, len, &ran);
    assert_eq!(
        ran.code == Some(0),
        fs::metadata(core).is_ok(),
        "{what}: {value}"
    );
    let _ = fs::remove_file(core);
}

#[test]
fn keep_within_their_size() {
    if let Some(folder) = std::env::var_os(MEASURE) {
        return measure(Path::new(&folder));
    }
    let mib = std::env::var("DORMOUSE_HOSTILE_MIB").map_or(12, |text| text.parse().unwrap());
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let place = path("image");
    let size = mib * MIB;
    for sort in ALL {
        let bytes = (sort.make)(size);
        let len = bytes.len();
        assert!(len <= size, "{}: {len}", sort.name);
        fs::write(&place, &bytes).unwrap();
        drop(bytes);
        verifies(sort, &place, len);
        if !sort.has_pages {
            extracts(sort, &place, len, &path("core"));
        }
    }
}
