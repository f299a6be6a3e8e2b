// SPDX-License-Identifier: GPL-2.0

//! `dormouse image`.

use std::fs;

use dormouse_host::encrypted::{Cipher, USER_KEY};
use dormouse_host::image::BLOCK;

use crate::disks;
use crate::fake::{Fake, Ran};
use crate::sector;

/// Runs `dormouse image ARGS`, in which names of files that were put there stand for their paths.
fn image(fake: &Fake, args: &str) -> Ran {
    let path = |word: &str| {
        let path = fake.root().join(word);
        match path.is_file() {
            true => path.display().to_string(),
            false => word.to_string(),
        }
    };
    let words: Vec<String> = ["image"]
        .into_iter()
        .chain(args.split(' '))
        .map(path)
        .collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    fake.feed(&words, "")
}

fn with(files: &[(&str, &[u8])]) -> Fake {
    let fake = Fake::new();
    fake.put("key", USER_KEY);
    for (name, bytes) in files {
        fake.put(name, bytes);
    }
    fake
}

#[test]
fn tells_of_the_golden_image() {
    let fake = with(&[("export", &disks::golden_export())]);
    let out = image(&fake, "info export").works().to_string();
    for part in [
        "place           export on ",
        "state           committed",
        "saved           2027-01-15 08:00:00 UTC",
        "loads begun     1",
        "last failure    the image was made by another kernel, 6.12.116 (-95)",
        "kernel          6.12.117 #1 SMP PREEMPT_DYNAMIC, x86_64",
        "memory          1.0 GiB",
        "made with       lz4, then aes-gcm; written by swap",
        "contents        44.0 KiB of pages, 28.0 KiB of them filled by one word; 12.3 KiB stored in 3 frames",
    ] {
        assert!(out.contains(part), "no '{part}' in\n{out}");
    }
    let json = image(&fake, "info export --json").json();
    assert_eq!(json["image"]["pages"], 11);
    assert_eq!(json["identity"], "73616d706c65206964656e7469747921");
    // Its encryptor has no parameters, so no key can open it; all checksums are good.
    image(&fake, "verify export --key-file key").fails(4, "header: ");
    let ran = image(&fake, "verify export --no-key");
    assert!(
        ran.works().contains("good: checked 3 frames with 4 pages"),
        "{ran:?}"
    );
    assert!(
        ran.out.contains("not checked: what is in the frames"),
        "{ran:?}"
    );
}

#[test]
fn verifies_encrypted_images() {
    for cipher in Cipher::ALL {
        let fake = with(&[("export", &disks::encrypted_export(cipher))]);
        let ran = image(&fake, "verify export --key-file key");
        assert!(
            ran.works().contains("good: checked 6 frames with 18 pages"),
            "{ran:?}"
        );
        assert!(ran.out.contains("and all tags"), "{ran:?}");
        let json = image(&fake, "verify export --key-file key --json").json();
        assert_eq!(
            (&json["good"], &json["tags_checked"]),
            (&true.into(), &true.into())
        );
        fake.put("key", [1; 32]);
        image(&fake, "verify export --key-file key").fails(1, "does not open the image");
        fake.put("key", [1; 31]);
        image(&fake, "verify export --key-file key").fails(1, "has 31 bytes");
        image(&fake, "verify export").fails(1, "needs the key logon:dormouse:passphrase");
    }
}

#[test]
fn reads_no_more_of_a_key_file_than_of_a_key() {
    let fake = with(&[("export", &disks::encrypted_export(Cipher::AesGcm))]);
    let ran = image(&fake, "verify export --key-file /dev/zero");
    ran.fails(1, "/dev/zero has more than ");
}

#[test]
fn finds_every_flip() {
    let good = disks::encrypted_export(Cipher::AesGcm);
    let fake = with(&[]);
    // Superblock, header, commit record, a frame, with the key and without.
    for at in [20, 65536 + 30, 65536 + 16 * BLOCK + 50, disks::frame_at()] {
        let mut bad = good.clone();
        bad[at] ^= 0x10;
        fake.put("export", &bad);
        for how in ["--key-file key", "--no-key"] {
            let ran = image(&fake, &format!("verify export {how}"));
            assert_eq!(ran.code, 4, "byte {at}, {how}: {ran:?}");
            assert_eq!(ran.err.lines().count(), 1, "{ran:?}");
        }
    }
    let ran = image(&fake, "verify export --no-key");
    assert!(
        ran.out
            .contains("chunk at block 17: a part of the image does not match"),
        "{ran:?}"
    );
}

#[test]
fn reads_several_swap_areas() {
    let [first, second] = disks::swap_areas();
    let fake = with(&[("first", &first), ("second", &second)]);
    let verify = "verify first --key-file key";
    let missing = image(&fake, verify);
    missing.fails(
        1,
        "swap area /dev/second (4000:77 when it was saved), which holds a part",
    );
    assert!(missing.err.contains("--member"), "{missing:?}");
    for wrong in [".", "no-such-file"] {
        let ran = image(&fake, &format!("{verify} --member {wrong}"));
        ran.fails(1, &format!("and {wrong} cannot be read: "));
    }
    let ran = image(&fake, &format!("{verify} --member second"));
    assert!(ran.works().contains("good: checked 6 frames"), "{ran:?}");
    image(&fake, "info second").fails(3, "only holds a part of an image, which began on 4000:77");
    let info = image(&fake, "info first");
    assert!(
        info.works()
            .contains("unreadable      swap area /dev/second"),
        "{info:?}"
    );

    // Put to use since.
    let mut used = second.clone();
    used[BLOCK - 512..BLOCK].copy_from_slice(&sector::plain());
    fake.put("second", &used);
    image(&fake, &format!("{verify} --member second")).fails(1, "was put to use after");
}

#[test]
fn erases_swap_areas() {
    let [first, second] = disks::swap_areas();
    let fake = with(&[("first", &first), ("second", &second)]);
    let read = |name: &str| fs::read(fake.root().join(name)).unwrap();
    image(&fake, "erase first").fails(1, "say --yes");
    // A part is missing: nothing is half erased.
    image(&fake, "erase first --yes").fails(1, "is not there");
    assert!(read("first") == first && read("second") == second);
    image(&fake, "erase first --yes --member second").works();
    // What the headers were before.
    assert_eq!(read("first")[BLOCK - 512..BLOCK], disks::padded());
    assert_eq!(read("second")[BLOCK - 512..BLOCK], sector::plain());
    // And nothing else has changed.
    assert!(read("first")[BLOCK..] == first[BLOCK..] && read("second")[BLOCK..] == second[BLOCK..]);
    image(&fake, "erase first --yes").fails(3, "is a swap area without an image");
    image(&fake, "verify first").fails(3, "is a swap area without an image");
}

#[test]
fn knows_the_swap_areas_beside_an_image() {
    let [export, area] = disks::export_and_bystander();
    let fake = with(&[("export", &export), ("area", &area)]);
    let read = |name: &str| fs::read(fake.root().join(name)).unwrap();
    let last = 4 * BLOCK - 512..4 * BLOCK;

    // Missing, there, and put to use since.
    let info = image(&fake, "info export");
    let name = "pages on        /var/swapfile, UUID 7365636f-6e64-2073-7761-702061726561";
    assert!(
        info.works().contains(&format!("{name}, not to be found")),
        "{info:?}"
    );
    let json = image(&fake, "info export --json").json();
    assert_eq!(json["resumable"], false);
    assert_eq!(json["image"]["swap_areas"][0]["state"], "missing");
    image(&fake, "verify export --no-key").fails(1, "is not to be found: attach it");
    for wrong in [".", "no-such-file"] {
        let member = format!("export --no-key --member {wrong}");
        let ran = image(&fake, &format!("verify {member}"));
        ran.fails(1, &format!("and {wrong} cannot be read: "));
    }
    let info = image(&fake, "info export --member area");
    assert!(info.works().contains(&format!("{name}\n")), "{info:?}");
    let json = image(&fake, "info export --member area --json").json();
    assert_eq!(json["resumable"], true);
    assert_eq!(json["image"]["swap_areas"][0]["state"], "waits");
    image(&fake, "info area --offset 3").fails(3, "only has pages of a saved system");
    let mut used = area.clone();
    used[last.clone()].copy_from_slice(&sector::plain());
    fake.put("area", &used);
    image(&fake, "verify export --no-key --member area").fails(1, "was put to use since");
    let json = image(&fake, "info export --member area --json").json();
    assert_eq!(json["resumable"], false);
    assert_eq!(json["image"]["swap_areas"][0]["state"], "used");

    // Erased by halves, and then for good.
    fake.put("area", &area);
    let ran = image(&fake, "erase export --yes");
    assert!(ran.works().contains("keeps its mark"), "{ran:?}");
    assert!(image(&fake, "info export").works().contains("failed"));
    assert!(read("area") == area, "it was changed");
    let ran = image(&fake, "erase export --yes --member area");
    assert!(!ran.works().contains("keeps its mark"), "{ran:?}");
    assert!(read("area") == used, "the area has another header");
    image(&fake, "erase export --yes").fails(3, "says \"empty\"");
}

#[test]
fn erases_exports_and_files() {
    let fake = with(&[
        ("export", &disks::golden_export()),
        ("device", &disks::file_device()),
    ]);
    image(&fake, "erase export --yes").works();
    image(&fake, "erase export --yes").fails(3, "says \"empty\"");
    image(&fake, "verify export").fails(3, "says \"empty\"");

    let at = format!("device --offset {}", disks::FILE_BLOCK);
    let ran = image(&fake, &format!("verify {at} --key-file key"));
    assert!(ran.works().contains("good: checked 6 frames"), "{ran:?}");
    image(&fake, "verify device").fails(3, "has no mark of Dormouse");
    image(&fake, &format!("erase {at} --yes")).works();
    image(&fake, &format!("info {at}")).works();
    image(&fake, &format!("erase {at} --yes")).fails(3, "says \"empty\"");
}

#[test]
fn says_what_else_is_there() {
    let fake = with(&[
        ("garbage", &[0xa5; 3 * BLOCK]),
        ("short", b"short"),
        ("empty", b""),
    ]);
    let mut swsusp = vec![0; 4 * BLOCK];
    swsusp[BLOCK - 10..BLOCK].copy_from_slice(b"S1SUSPEND\0");
    fake.put("swsusp", &swsusp);
    for (args, code, why) in [
        ("info garbage", 3, "has no mark of Dormouse"),
        ("verify short", 3, "ends before that"),
        ("erase empty --yes", 3, "ends before that"),
        (
            "info garbage --offset 18446744073709551615",
            3,
            "ends before that",
        ),
        ("info swsusp", 3, "has an image of swsusp"),
        ("info /nowhere/at/all", 1, "cannot be read"),
        ("info nowhere", 2, "name a device, a file or an export"),
        ("info auto", 2, "say where the image is"),
        ("info nbd:///x", 2, "a host is a name"),
        ("info 4000:77", 1, "cannot be read"),
        ("info /proc", 1, "neither a block device nor a file"),
    ] {
        image(&fake, args).fails(code, why);
    }
}
