// SPDX-License-Identifier: GPL-2.0

//! Targets and values of settings.

use dormouse_host::target::{
    parse_bool, parse_name, parse_unsigned, Invalid, Nbd, Target, TARGET_MAX,
};
use proptest::prelude::*;

fn nbd<'a>(host: &'a str, port: u16, export: &'a str) -> Target<'a> {
    Target::Nbd(Nbd { host, port, export })
}

#[test]
fn targets() {
    let number = |major, minor, offset| Target::Number {
        major,
        minor,
        offset,
    };
    let uuid = *b"\x0a\x1b\x2c\x3d\x00\x01\x00\x02\x00\x03\x01\x23\x45\x67\x89\xab";
    let good = [
        ("auto", Target::Auto),
        ("auto\n", Target::Auto),
        ("/dev/vda2", Target::Device("/dev/vda2")),
        (
            "/dev/mapper/vg-swap_1",
            Target::Device("/dev/mapper/vg-swap_1"),
        ),
        (
            "/var/lib/dormouse.img",
            Target::File("/var/lib/dormouse.img"),
        ),
        ("file:/dev/shm/image", Target::File("/dev/shm/image")),
        ("/with space", Target::File("/with space")),
        ("254:2", number(254, 2, 0)),
        (
            "4095:1048575:18446744073709551615",
            number(4095, 1_048_575, u64::MAX),
        ),
        (
            "UUID=0a1b2c3d-0001-0002-0003-0123456789AB",
            Target::Uuid(uuid),
        ),
        (
            "UUID=0a1b2c3d-0001-0002-0003-0123456789ab:34816",
            Target::UuidOffset {
                uuid,
                offset: 34816,
            },
        ),
        (
            "nbd://192.0.2.1:10809/export",
            nbd("192.0.2.1", 10809, "export"),
        ),
        ("nbd://server.example", nbd("server.example", 10809, "")),
        ("nbd://server/", nbd("server", 10809, "")),
        ("nbd://[2001:db8::1]:1/a/b", nbd("2001:db8::1", 1, "a/b")),
        ("nbd://[::1]/x", nbd("::1", 10809, "x")),
    ];
    for (text, target) in good {
        assert_eq!(Target::parse(text), Ok(target), "{text:?}");
    }
}

#[test]
fn targets_that_are_refused() {
    let long = format!("/{}", "x".repeat(TARGET_MAX));
    let export = format!("nbd://host/{}", "x".repeat(128));
    let host = format!("nbd://{}/x", "x".repeat(64));
    let bad = [
        ("", Invalid::Length),
        ("\n", Invalid::Length),
        (long.as_str(), Invalid::Length),
        ("auto ", Invalid::Form),
        ("Auto", Invalid::Form),
        ("auto\n\n", Invalid::Form),
        ("swap", Invalid::Form),
        ("PARTUUID=1", Invalid::Form),
        ("http://host/", Invalid::Form),
        ("file:relative", Invalid::Path),
        ("file:", Invalid::Path),
        ("/", Invalid::Path),
        ("/dev/", Invalid::Path),
        ("/dev/../etc/shadow", Invalid::Path),
        ("/a/./b", Invalid::Path),
        ("/a//b", Invalid::Path),
        ("/a/", Invalid::Path),
        ("/a\tb", Invalid::Path),
        ("/a\0b", Invalid::Path),
        ("254", Invalid::Number),
        ("254:", Invalid::Number),
        ("254:2:", Invalid::Number),
        ("254:2:3:4", Invalid::Number),
        ("254:+2", Invalid::Number),
        ("254: 2", Invalid::Number),
        ("4096:0", Invalid::Number),
        ("0:1048576", Invalid::Number),
        ("1:1:18446744073709551616", Invalid::Number),
        ("UUID=", Invalid::Uuid),
        (
            "UUID=0a1b2c3d-0001-0002-0003-0123456789ab:",
            Invalid::Number,
        ),
        (
            "UUID=0a1b2c3d-0001-0002-0003-0123456789ab:1:2",
            Invalid::Number,
        ),
        ("UUID=:7", Invalid::Uuid),
        ("UUID=0a1b2c3d00010002000301234567890ab", Invalid::Uuid),
        ("UUID=0a1b2c3d-0001-0002-0003-0123456789aG", Invalid::Uuid),
        ("UUID=0a1b2c3d-0001-0002-0003-0123456789abc", Invalid::Uuid),
        ("UUID=0a1b2c3-d0001-0002-0003-0123456789ab", Invalid::Uuid),
        ("nbd://", Invalid::Host),
        ("nbd:///export", Invalid::Host),
        ("nbd://a..b/x", Invalid::Host),
        ("nbd://-a/x", Invalid::Host),
        ("nbd://a_b/x", Invalid::Host),
        ("nbd://user@host/x", Invalid::Host),
        (host.as_str(), Invalid::Host),
        ("nbd://[::1/x", Invalid::Host),
        ("nbd://[::1]x/x", Invalid::Host),
        ("nbd://[1.2.3.4]/x", Invalid::Host),
        ("nbd://[fe80::1%eth0]/x", Invalid::Host),
        ("nbd://::1/x", Invalid::Host),
        ("nbd://host:/x", Invalid::Port),
        ("nbd://host:0/x", Invalid::Port),
        ("nbd://host:65536/x", Invalid::Port),
        ("nbd://host:+1/x", Invalid::Port),
        ("nbd://1:2:3/x", Invalid::Port),
        ("nbd://host/a b", Invalid::Export),
        ("nbd://host/a%20b", Invalid::Export),
        ("nbd://host/a?tls", Invalid::Export),
        ("nbd://host/é", Invalid::Export),
        (export.as_str(), Invalid::Export),
    ];
    for (text, invalid) in bad {
        assert_eq!(Target::parse(text), Err(invalid), "{text:?}");
        assert!(invalid.sentence().len() > 10);
    }
    assert_eq!(Invalid::ERRNO, 22);
}

#[test]
fn values() {
    assert_eq!(parse_bool("1\n"), Ok(true));
    assert_eq!(parse_bool("0"), Ok(false));
    for text in ["", "2", "01", "y", "1 ", "-1", "1\n\n"] {
        assert_eq!(parse_bool(text), Err(Invalid::Bool), "{text:?}");
    }
    let good = [
        ("0", 0),
        ("7\n", 7),
        ("3k", 3 << 10),
        ("3M", 3 << 20),
        ("1G\n", 1 << 30),
    ];
    for (text, number) in good {
        assert_eq!(parse_unsigned(text), Ok(number), "{text:?}");
    }
    assert_eq!(parse_unsigned("18446744073709551615"), Ok(u64::MAX));
    let bad = [
        "",
        "K",
        "-1",
        "+1",
        "1 ",
        " 1",
        "0x10",
        "1T",
        "1KK",
        "1é",
        "17179869184G",
    ];
    for text in bad.into_iter().chain(["18446744073709551616"]) {
        assert_eq!(parse_unsigned(text), Err(Invalid::Unsigned), "{text:?}");
    }
    assert_eq!(parse_name("aes-gcm_2\n"), Ok("aes-gcm_2"));
    let long = "x".repeat(32);
    for text in ["", "\n", "A", "a b", "a/b", "../x", "é", long.as_str()] {
        assert_eq!(parse_name(text), Err(Invalid::Name), "{text:?}");
    }
}

proptest! {
    #[test]
    fn any_text(text: String) {
        dormouse_host::fuzzing::target_string(text.as_bytes());
    }

    #[test]
    fn nearly_a_target(
        text in "(auto|/dev/|/|UUID=|file:/|nbd://|nbd://\\[|[0-9]{1,4}:)[-0-9a-f:./\\[\\]%\n]{0,40}"
    ) {
        dormouse_host::fuzzing::target_string(text.as_bytes());
    }
}
