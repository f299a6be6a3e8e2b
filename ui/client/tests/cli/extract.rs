// SPDX-License-Identifier: GPL-2.0

//! `dormouse image extract`.

use std::fs;
use std::os::unix::fs::{symlink, FileTypeExt, MetadataExt, PermissionsExt};
use std::process::Command;

use dormouse_host::encrypted::{self, Cipher, USER_KEY};
use dormouse_host::image::PAGE;
use dormouse_host::samples::{self, FACTS};

use crate::disks;
use crate::fake::{Fake, Ran};
use crate::memory::{export, Pages};

fn extract(fake: &Fake, place: &str, options: &str) -> Ran {
    let path = |name: &str| fake.root().join(name).display().to_string();
    let (place, core, key) = (path(place), path("core"), path("key"));
    let options = options.replace("KEY", &format!("--key-file {key}"));
    let mut words = vec!["image", "extract", &place, &core];
    words.extend(options.split_whitespace());
    fake.feed(&words, "")
}

/// One segment: type, place in the file, virtual and physical address, bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Segment {
    kind: u64,
    at: u64,
    virt: u64,
    phys: u64,
    len: u64,
}

fn word(bytes: &[u8], at: usize, len: usize) -> u64 {
    let mut word = [0; 8];
    word[..len].copy_from_slice(&bytes[at..at + len]);
    u64::from_le_bytes(word)
}

/// What a core is made of.
fn segments(core: &[u8]) -> Vec<Segment> {
    assert_eq!(&core[..7], b"\x7fELF\x02\x01\x01");
    // A core, of x86_64.
    assert_eq!((word(core, 16, 2), word(core, 18, 2)), (4, 62));
    let (table, sections) = (word(core, 32, 8) as usize, word(core, 40, 8) as usize);
    let count = match word(core, 56, 2) {
        0xffff => word(core, sections + 44, 4),
        count => count,
    };
    let segment = |number: u64| {
        let at = table + number as usize * 56;
        let field = |from| word(core, at + from, 8);
        assert_eq!(field(32), field(40));
        Segment {
            kind: word(core, at, 4),
            at: field(8),
            virt: field(16),
            phys: field(24),
            len: field(32),
        }
    };
    (0..count).map(segment).collect()
}

/// The pages that are in a core, by the physical addresses of its first segments.
fn pages(core: &[u8]) -> Pages {
    let mut pages = Pages::new();
    for segment in segments(core).iter().filter(|segment| segment.kind == 1) {
        for page in 0..segment.len / PAGE as u64 {
            let at = (segment.at as usize) + page as usize * PAGE;
            let bytes = core[at..at + PAGE].to_vec();
            pages.insert(segment.phys / PAGE as u64 + page, bytes);
        }
    }
    pages
}

/// What readelf has to say about it.
fn readelf(fake: &Fake) -> String {
    let output = Command::new("readelf")
        .args(["-hlnW"])
        .arg(fake.root().join("core"))
        .output()
        .unwrap();
    let err = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success() && err.is_empty(), "{err}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn extracts_every_page_and_no_other() {
    let fake = Fake::new();
    let mut memory: Pages = [1, 2, 3, 0x500, 0x501, 0x10_0000]
        .into_iter()
        .map(|pfn| (pfn, samples::page(pfn).to_vec()))
        .collect();
    let fills = [(0, 1, 0), (4, 70, 0x0807_0605_0403_0201), (0x600, 3, 0)];
    fake.put("export", export(&FACTS, &memory, &fills));
    let ran = extract(&fake, "export", "");
    assert!(
        ran.works()
            .contains("320 KiB of memory in 4 segments, 16.0 KiB of it zeros"),
        "{ran:?}"
    );
    assert!(ran.out.contains("no VMCOREINFO was found"), "{ran:?}");
    let core = fs::read(fake.root().join("core")).unwrap();
    for (pfn, count, word) in fills {
        let page = word.to_le_bytes().repeat(PAGE / 8);
        memory.extend((pfn..pfn + u64::from(count)).map(|pfn| (pfn, page.clone())));
    }
    assert!(pages(&core) == memory);
    let text = readelf(&fake);
    assert!(
        text.contains("CORE (Core file)") && text.contains("X86-64"),
        "{text}"
    );
    let meta = fs::metadata(fake.root().join("core")).unwrap();
    // Nobody else may read what was in memory.
    assert_eq!(meta.permissions().mode() & 0o777, 0o600);
    // Zeros, and room that is kept for the header, are holes.
    assert!(
        meta.blocks() * 512 < meta.len(),
        "{} of {}",
        meta.blocks() * 512,
        meta.len()
    );
    extract(&fake, "export", "").fails(1, "already: name another file, or say --force");
    let json = extract(&fake, "export", "--force --json").json();
    assert_eq!((&json["pages"], &json["segments"]), (&80.into(), &4.into()));
    assert_eq!(json["vmcoreinfo"], serde_json::Value::Null);
}

/// A page table with these entries.
fn table(entries: &[(usize, u64)]) -> Vec<u8> {
    let mut page = vec![0; PAGE];
    for &(number, entry) in entries {
        page[number * 8..][..8].copy_from_slice(&entry.to_le_bytes());
    }
    page
}

#[test]
fn finds_the_kernel_wherever_it_is() {
    let id: String = FACTS.build_id.iter().map(|b| format!("{b:02x}")).collect();
    let text = |offset: &str| {
        let text = format!(
            "OSRELEASE=6.12.117\nBUILD-ID={id}\nPAGESIZE=4096\nSYMBOL(init_top_pgt)=ffffffffa0001000\n\
             NUMBER(phys_base)=-503316480\nNUMBER(pgtable_l5_enabled)=0\nKERNELOFFSET={offset}\n"
        );
        let mut page = text.into_bytes();
        page.resize(PAGE, 0);
        page
    };
    let (present, large) = (1, 1 << 7);
    let memory: Pages = [
        // Of an earlier boot, in a file; its root is somewhere else.
        (
            0x100,
            String::from_utf8(text("1e000000"))
                .unwrap()
                .replace("a0001000", "b0001000")
                .into_bytes(),
        ),
        (0x1234, text("1f000000")),
        (0x2000, samples::page(0x2000).to_vec()),
        // The root: something of a task, all of memory, the kernel.
        (
            0x2001,
            table(&[
                (5, 0x7777_7000 | present),
                (288, 0x200_4000 | present),
                (511, 0x200_2000 | present),
            ]),
        ),
        (0x2002, table(&[(510, 0x200_3000 | present)])),
        (0x2003, table(&[(256, 0x200_0000 | present | large)])),
        (0x2004, table(&[(3, present | large)])),
    ]
    .into();
    let fake = Fake::new();
    fake.put("export", export(&FACTS, &memory, &[]));
    let ran = extract(&fake, "export", "");
    assert!(
        ran.works()
            .ends_with("holes\nthe kernel was moved by 0x1f000000\n"),
        "{ran:?}"
    );
    let core = fs::read(fake.root().join("core")).unwrap();
    assert!(pages(&core) == memory);
    let all = segments(&core);
    assert_eq!(all[0].kind, 4);
    let direct = 0xffff_9000_c000_0000;
    for segment in &all[1..4] {
        assert_eq!(segment.virt, direct + segment.phys, "{segment:?}");
    }
    let kernel = Segment {
        virt: 0xffff_ffff_a000_0000,
        phys: 0x200_0000,
        ..all[3]
    };
    assert_eq!(all[4..], [kernel]);
    let said = readelf(&fake);
    assert!(
        said.contains("VMCOREINFO")
            && said.contains("0xffffffffa0000000 0x0000000002000000 0x005000"),
        "{said}"
    );
    let json = extract(&fake, "export", "--json --force").json();
    assert_eq!(json["kernel_offset"], 0x1f00_0000);
    assert_eq!(json["virtual_addresses"], true);
    assert!(json["vmcoreinfo"].as_str().unwrap().contains(&id));
}

#[test]
fn has_more_segments_than_fit_a_header() {
    let fake = Fake::new();
    // Every second page: each is a segment of its own.
    let fills: Vec<_> = (0..0x1_0010).map(|n| (n * 2, 1, 0)).collect();
    let memory = [(0x10_0001, samples::page(1).to_vec())].into();
    fake.put("export", export(&FACTS, &memory, &fills));
    extract(&fake, "export", "").works();
    let core = fs::read(fake.root().join("core")).unwrap();
    assert_eq!(pages(&core).len(), 0x1_0011);
    assert!(readelf(&fake).contains("(65553)"));
}

#[test]
fn extracts_encrypted_images() {
    let fake = Fake::new();
    fake.put("key", USER_KEY);
    let good = disks::encrypted_export(Cipher::AesGcm);
    fake.put("export", &good);
    let ran = extract(&fake, "export", "KEY");
    assert!(
        ran.works().contains("72.0 KiB of memory in 5 segments"),
        "{ran:?}"
    );
    let core = fs::read(fake.root().join("core")).unwrap();
    assert!(pages(&core) == encrypted::pages());

    fs::remove_file(fake.root().join("core")).unwrap();
    extract(&fake, "export", "").fails(1, "needs the key logon:dormouse:passphrase");
    fake.put("key", [1; 32]);
    extract(&fake, "export", "KEY").fails(1, "does not open the image");
    fake.put("key", USER_KEY);
    let mut bad = good;
    bad[disks::frame_at()] ^= 1;
    fake.put("export", &bad);
    extract(&fake, "export", "KEY").fails(4, "does not match its checksum");
    // Nothing is left of it, not even under another name.
    let left: Vec<_> = fs::read_dir(fake.root())
        .unwrap()
        .flatten()
        .map(|e| e.file_name())
        .collect();
    assert!(
        !left
            .iter()
            .any(|name| name == "core" || name.to_string_lossy().starts_with(".tmp")),
        "{left:?}"
    );
}

/// Whatever is there and is no file stays what it is, also with `--force`.
#[test]
fn replaces_nothing_but_files() {
    let fake = Fake::new();
    let memory = [(1, samples::page(1).to_vec())].into();
    fake.put("export", export(&FACTS, &memory, &[]));
    fake.put("file", "mine");
    let core = fake.root().join("core");
    let kind = || fs::symlink_metadata(&core).unwrap().file_type();
    symlink(fake.root().join("file"), &core).unwrap();
    extract(&fake, "export", "--force").fails(1, "core is a symbolic link and no regular file");
    assert!(kind().is_symlink());
    extract(&fake, "export", "").fails(1, "already: name another file");
    fs::remove_file(&core).unwrap();
    // A link to nothing does not lead the core there.
    symlink(fake.root().join("nothing"), &core).unwrap();
    extract(&fake, "export", "--force").fails(1, "core is a symbolic link");
    assert!(!fake.root().join("nothing").exists());
    fs::remove_file(&core).unwrap();
    nix::unistd::mkfifo(&core, nix::sys::stat::Mode::S_IRWXU).unwrap();
    extract(&fake, "export", "--force").fails(1, "core is a pipe or socket and no regular file");
    assert!(kind().is_fifo());
    fs::remove_file(&core).unwrap();
    fs::create_dir(&core).unwrap();
    extract(&fake, "export", "--force").fails(1, "core is a folder and no regular file");
    fs::remove_dir(&core).unwrap();
    // The target of the link is as it was; nothing else is left.
    assert_eq!(fs::read(fake.root().join("file")).unwrap(), b"mine");
    let names = fs::read_dir(fake.root()).unwrap().flatten();
    let mut names = names.map(|entry| entry.file_name().into_string().unwrap());
    assert!(names.all(|name| !name.starts_with(".tmp")));
}

/// A few bytes of an image stand for any number of pages.
#[test]
fn fills_no_disk() {
    let facts = dormouse_host::image::header::Facts {
        ram_pages: 1 << 40,
        ..FACTS
    };
    let fake = Fake::new();
    let memory: Pages = [(u64::from(u32::MAX), samples::page(1).to_vec())].into();
    let fills: Vec<_> = (0..64).map(|n| (n << 32, u32::MAX, 7)).collect();
    fake.put("export", export(&facts, &memory, &fills));
    // Nearly 1 PiB.
    let ran = extract(&fake, "export", "");
    ran.fails(1, "the core takes 1023 TiB, and where ");
    assert!(
        ran.err
            .contains(" free: name a file on a larger filesystem"),
        "{ran:?}"
    );
    assert!(!fake.root().join("core").exists());
}

#[test]
fn zeros_are_holes() {
    let fake = Fake::new();
    let zeros = vec![0; PAGE];
    let mut memory: Pages = (0..100).map(|pfn| (pfn, zeros.clone())).collect();
    memory.insert(100, samples::page(100).to_vec());
    fake.put("export", export(&FACTS, &memory, &[]));
    let ran = extract(&fake, "export", "");
    assert!(ran.works().contains("400 KiB of it zeros"), "{ran:?}");
    let core = fs::read(fake.root().join("core")).unwrap();
    assert!(pages(&core) == memory);
    let meta = fs::metadata(fake.root().join("core")).unwrap();
    assert!(meta.blocks() * 512 < 200_000, "{}", meta.blocks() * 512);
}

#[test]
fn says_where_it_cannot_write() {
    let fake = Fake::new();
    fake.put(
        "export",
        export(&FACTS, &[(1, samples::page(1).to_vec())].into(), &[]),
    );
    let place = fake.root().join("export").display().to_string();
    let to = |core: &str| fake.feed(&["image", "extract", &place, core], "");
    to("/nowhere/at/all").fails(1, "/nowhere/at/all cannot be written: No such file");
    to("/dev/full").fails(1, "there is /dev/full already");
    fake.feed(&["image", "extract", &place], "")
        .fails(2, "<CORE>");
    let other = samples::FACTS;
    let facts = dormouse_host::image::header::Facts {
        machine: "s390x",
        ..other
    };
    fake.put(
        "export",
        export(&facts, &[(1, samples::page(1).to_vec())].into(), &[]),
    );
    to("core").fails(1, "a machine of type \"s390x\"");
}
