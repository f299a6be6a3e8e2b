// SPDX-License-Identifier: GPL-2.0

//! `dormouse bench`. What it measures is measured in guests.

use crate::fake::Fake;

const RESUMED: &str =
    "0 resumed the system is back: saved 122904 kB in 4091 ms, 40968 kB stored, loaded in 1946 ms\n";

fn disk(fake: &Fake) -> String {
    std::fs::read_to_string(fake.root().join("sys/power/disk")).unwrap()
}

#[test]
fn measures_and_puts_back() {
    let fake = Fake::new();
    fake.set("last_result", RESUMED);
    let ran = fake.run("bench --yes --compressor zstd --cycles 2");
    let line = "zstd           120 MiB  40.0 MiB  33 %     4.0 s   30 MB/s     1.9 s   64 MB/s";
    assert_eq!(
        ran.works().lines().skip(1).collect::<Vec<_>>(),
        [line, line]
    );
    assert_eq!(
        (fake.get("start").as_str(), fake.get("compressor").as_str()),
        ("1", "lz4")
    );
    assert_eq!(disk(&fake), "platform");

    let fake = Fake::new();
    fake.set("last_result", RESUMED);
    let json = fake.run("bench --yes --compressor lz4 --json").json();
    assert_eq!(json["cycles"][0]["stored_kb"], 40968);
    assert_eq!(
        (&json["writer"], &json["target"]),
        (&"swap".into(), &"auto".into())
    );
}

#[test]
fn asks_first() {
    let fake = Fake::new();
    fake.run("bench").fails(1, "say --yes");
    assert_eq!(fake.get("start"), "");
    fake.run("bench --cycles 0").fails(2, "0 is not in 1..=100");
}

#[test]
fn puts_back_when_something_goes_wrong() {
    let fake = Fake::new();
    fake.set("last_result", "-28 prepare the storage was full\n");
    fake.run("bench --yes --compressor zstd")
        .fails(1, "with zstd: the storage was full (-28)");
    assert_eq!(
        (fake.get("compressor").as_str(), disk(&fake).as_str()),
        ("lz4", "platform")
    );

    let fake = Fake::new();
    fake.put("sys/power/disk", "[platform] shutdown\n");
    fake.run("bench --yes")
        .fails(2, "there is no mode \"test_resume\" here");
    assert_eq!(fake.get("start"), "");

    // It stayed up, and says nothing of a resume.
    let fake = Fake::new();
    fake.run("bench --yes --compressor zstd")
        .fails(1, "the kernel says \"nothing has happened yet\"");
    assert_eq!(
        (fake.get("compressor").as_str(), disk(&fake).as_str()),
        ("lz4", "platform")
    );
}
