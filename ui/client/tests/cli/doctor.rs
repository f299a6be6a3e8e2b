// SPDX-License-Identifier: GPL-2.0

//! `dormouse doctor`.

use crate::fake::Fake;

/// A system in which nothing is in the way.
fn healthy() -> Fake {
    let fake = Fake::new();
    fake.set("enabled", "1\n");
    fake.set("encryptor", "[none] aes-gcm\n");
    fake.put("proc/version", "Linux version 6.12.117 (builder) #1 SMP\n");
    fake.put("proc/modules", "dormouse_swap 1 0 - Live 0x0\n");
    fake.put(
        "lib/modules/6.12.117/modules.builtin",
        "kernel/power/dormouse/modules/compress/dormouse_lz4.ko\n",
    );
    fake.put(
        "lib/modules/6.12.117/modules.dep",
        "x/dormouse_zstd.ko.xz: y.ko\n",
    );
    fake.put("sys/power/state", "freeze mem disk\n");
    fake.put(
        "sys/kernel/security/lockdown",
        "[none] integrity confidentiality\n",
    );
    fake
}

/// Checks that `name` fails with `why`, and that nothing else does.
#[track_caller]
fn only(fake: &Fake, name: &str, why: &str) {
    let ran = fake.run("doctor");
    ran.fails(1, &format!("not ready: {name}\n"));
    let mut lines = ran.out.lines();
    let line = lines
        .find(|line| line.starts_with("FAIL"))
        .unwrap_or_default();
    assert!(line.contains(why), "no '{why}' in {}", ran.out);
    // What to do is on the same line.
    assert!(line.contains(": "), "{line}");
}

#[test]
fn finds_nothing_in_the_way() {
    let fake = healthy();
    let out = fake.run("doctor").works().to_string();
    for line in [
        "ok    kernel      6.12.117 has Dormouse",
        "ok    lockdown    the kernel is not locked down, Secure Boot is off",
        "ok    modules     found dormouse_swap, dormouse_lz4",
        "?     initramfs   no initramfs of 6.12.117 was found in /boot",
        "ok    resume      the next boot looks on /dev/vda2",
        "ok    mode        /sys/power/disk is platform",
    ] {
        assert!(
            out.lines().any(|found| found == line),
            "no '{line}' in\n{out}"
        );
    }
    assert!(
        out.contains("(/dev/zram0 is on zram0, which is lost"),
        "{out}"
    );
    let json = fake.run("doctor --json").json();
    assert_eq!(json["good"], true);
    assert_eq!(json["checks"][0]["verdict"], "ok");
}

#[test]
fn finds_what_the_kernel_forbids() {
    let fake = healthy();
    fake.put(
        "sys/kernel/security/lockdown",
        "none [integrity] confidentiality\n",
    );
    only(&fake, "lockdown", "locked down (integrity)");
    let fake = healthy();
    fake.put("proc/cmdline", "nohibernate resume=/dev/vda2\n");
    only(&fake, "hibernation", "\"nohibernate\" is on");
    let fake = healthy();
    fake.put("sys/power/state", "freeze mem\n");
    only(&fake, "hibernation", "secret memory");
    let fake = healthy();
    fake.set("enabled", "0\n");
    only(&fake, "enabled", "dormouse config set enabled=1");
    let empty = tempfile::tempdir().unwrap();
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_dormouse"))
        .arg("--root")
        .arg(empty.path())
        .arg("doctor")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stdout).contains("FAIL  kernel"));
}

#[test]
fn finds_missing_modules() {
    let fake = healthy();
    fake.set("compressor", "none [zstd]\n");
    fake.run("doctor").works();
    fake.set("compressor", "none [lzo]\n");
    only(&fake, "modules", "dormouse_lzo cannot be found");
}

#[test]
fn finds_too_little_room() {
    let fake = healthy();
    let head = "Filename Type Size Used Priority\n";
    fake.put(
        "proc/swaps",
        format!("{head}/dev/vda2 partition 131072 1024 -2\n"),
    );
    only(
        &fake,
        "room",
        "127 MiB to store; swap space on /dev/vda2 holds 127 MiB",
    );
    fake.put(
        "proc/swaps",
        format!("{head}/dev/vda2 partition 262144 1024 -2\n"),
    );
    let out = fake.run("doctor").works().to_string();
    assert!(
        out.contains("note  room") && out.contains("when memory is full"),
        "{out}"
    );
    fake.put(
        "proc/swaps",
        format!("{head}/dev/zram0 partition 262144 0 -2\n"),
    );
    fake.run("doctor").fails(1, "not ready: target, room\n");
    let fake = healthy();
    let thin = "/dev/zram0 is on zram0, which is lost when the machine goes down\n\
                /dev/vda2 is on device-mapper target thin (dm-3), which may keep more\n";
    fake.set("modules/swap/areas", thin);
    fake.run("doctor").fails(1, "not ready: target, room\n");
    let out = fake.run("doctor").out;
    assert!(
        out.contains("/dev/vda2 is on device-mapper target thin (dm-3)"),
        "{out}"
    );
    // Nobody has asked the module yet.
    let fake = healthy();
    std::fs::remove_file(fake.control().join("modules/swap/areas")).unwrap();
    let out = fake.run("doctor").works().to_string();
    assert!(
        out.contains("note  target") && out.contains("modprobe dormouse_swap"),
        "{out}"
    );
    let fake = healthy();
    fake.set("writer", "swap [file]\n");
    fake.put("proc/modules", "dormouse_file 1\n");
    only(&fake, "target", "which is no file");
}

#[test]
fn finds_that_nobody_would_look() {
    let fake = healthy();
    fake.put("proc/cmdline", "quiet\n");
    only(&fake, "resume", "add resume=/dev/vda2 to");
    fake.put("proc/cmdline", "resume=/dev/vdb\n");
    only(&fake, "resume", "resume=/dev/vdb is none of the swap areas");
}

#[test]
fn finds_where_a_swap_file_begins() {
    let fake = healthy();
    let head = "Filename Type Size Used Priority\n";
    fake.put("proc/swaps", format!("{head}/swapfile file 1048576 0 -2\n"));
    fake.put("proc/cmdline", "resume=/dev/vda2 resume_offset=3\n");
    fake.put("sys/dev/block/254:2/uevent", "MAJOR=254\nDEVNAME=vda2\n");
    fake.put("sys/power/resume", "254:2\n");
    fake.put("sys/power/resume_offset", "3\n");
    let mut header = vec![0; 4096];
    header[1024] = 1;
    header[1036..1040].copy_from_slice(b"uuid");
    fake.put("swapfile", &header);
    let mut device = vec![0; 8 * 4096];
    device[3 * 4096..4 * 4096].copy_from_slice(&header);
    fake.put("dev/vda2", &device);
    let out = fake.run("doctor").works().to_string();
    assert!(
        out.contains("ok    resume      the next boot looks on /swapfile"),
        "{out}"
    );
    // One block away, another area, behind the end.
    for offset in ["2\n", "0\n", "8\n", "18446744073709551615\n"] {
        fake.put("sys/power/resume_offset", offset);
        only(&fake, "resume", "filefrag -v");
    }
    fake.put("sys/power/resume_offset", "3\n");
    device[3 * 4096 + 1036] = b'U';
    fake.put("dev/vda2", &device);
    only(
        &fake,
        "resume",
        "no swap area begins where resume=/dev/vda2 resume_offset=3 says",
    );
}

#[test]
fn finds_that_memory_is_another_one() {
    let fake = healthy();
    fake.set("image", "state: committed\nsaved_at: 1800000000\n");
    fake.put("sys/dev/block/254:2/uevent", "DEVNAME=vda2\n");
    fake.put("sys/power/resume", "254:2\n");
    let pages = [(1, vec![7; 4096])].into();
    let facts = dormouse_host::samples::FACTS;
    fake.put("dev/vda2", crate::memory::export(&facts, &pages, &[]));
    fake.put("proc/zoneinfo", "  present 3998\n  present 258146\n");
    let out = fake.run("doctor").out;
    assert!(
        out.contains("ok    memory      1.0 GiB as when the image was saved"),
        "{out}"
    );
    fake.put("proc/zoneinfo", "  present 3998\n  present 258145\n");
    let ran = fake.run("doctor");
    ran.fails(1, "not ready: image, memory");
    assert!(
        ran.out
            .contains("(262144 pages) of memory, and now there are 1023 MiB (262143)"),
        "{ran:?}"
    );
}

#[test]
fn finds_what_was_left_behind() {
    let fake = healthy();
    fake.set("image", "state: committed\nsaved_at: 1800000000\n");
    only(&fake, "image", "state committed, saved 2027-01-15");
    // Whoever reads this sits in a system with mounted filesystems, in general.
    let out = fake.run("doctor").out;
    assert!(
        out.contains("must not be resumed any more") && out.contains("echo erase > "),
        "{out}"
    );
    let passed = "state: committed\npassed: a boot went on without it\n";
    fake.set("image", passed);
    only(
        &fake,
        "image",
        "state committed: a boot went on without it: ",
    );
    let fake = healthy();
    fake.set("keep_running", "4194999\n");
    let out = fake.run("doctor").works().to_string();
    assert!(out.contains("note  keep_running"), "{out}");
    assert!(out.contains("tasks 4194999 are not there"), "{out}");
    let fake = healthy();
    fake.set("encryptor", "none [aes-gcm]\n");
    fake.put("proc/modules", "dormouse_swap 1\ndormouse_aes_gcm 1\n");
    only(&fake, "key", "dormouse key set");
    let fake = healthy();
    fake.set("last_result", "-28 prepare the storage was full\n");
    fake.put("sys/power/disk", "platform [test_resume]\n");
    let out = fake.run("doctor").works().to_string();
    assert!(
        out.contains("note  last result the storage was full (-28"),
        "{out}"
    );
    assert!(out.contains("note  mode"), "{out}");
}

/// Mounts `name`, a disk in a folder of sysfs as the kernel makes it, with a partition 1.
fn mount(fake: &Fake, name: &str) {
    use std::os::unix::fs::symlink;
    let folder = fake.root().join(format!("sys/devices/{name}"));
    fake.put(&format!("sys/devices/{name}/queue/iostats"), "1\n");
    fake.put(&format!("sys/devices/{name}/{name}p1/partition"), "1\n");
    let below = format!("sys/devices/virtual/{name}-crypt/slaves/{name}p1");
    let below = fake.root().join(below);
    std::fs::create_dir_all(below.parent().unwrap()).unwrap();
    symlink(folder.join(format!("{name}p1")), below).unwrap();
    let numbers = fake.root().join("sys/dev/block");
    std::fs::create_dir_all(&numbers).unwrap();
    let crypt = fake
        .root()
        .join(format!("sys/devices/virtual/{name}-crypt"));
    symlink(crypt, numbers.join("253:0")).unwrap();
    symlink(folder.join(format!("{name}p1")), numbers.join("254:1")).unwrap();
    fake.put(
        "proc/self/mountinfo",
        "20 1 0:5 / /proc rw - proc proc rw\n\
         21 1 253:0 / /crypt rw shared:1 - ext4 /dev/dm-0 rw\n\
         22 1 254:1 / /plain rw - xfs /dev/x rw\n\
         23 1 254:1 /sub /again rw - xfs /dev/x rw\n",
    );
}

#[test]
fn finds_filesystems_that_a_save_stumbles_over() {
    let fake = healthy();
    mount(&fake, "vdc");
    let out = fake.run("doctor").works().to_string();
    assert!(!out.contains("filesystems"), "{out}");
    fake.put("sys/devices/vdc/queue/iostats", "0\n");
    fake.set("freeze_filesystems", "0\n");
    let out = fake.run("doctor").works().to_string();
    for part in [
        "note  filesystems they are not frozen (freeze_filesystems is 0)",
        "note  filesystems what is written to vdc, which has /plain, is not counted",
        "echo 1 > /sys/block/vdc/queue/iostats",
    ] {
        assert_eq!(out.matches(part).count(), 1, "{part}: {out}");
    }

    let fake = healthy();
    mount(&fake, "ublkb0");
    only(&fake, "filesystems", "/crypt is on ublkb0, which a process");
    let out = fake.run("doctor").out;
    assert_eq!(out.matches("FAIL").count(), 2, "{out}");
    assert!(out.contains(": umount /plain\n"), "{out}");

    // It may be another machine's.
    let fake = healthy();
    mount(&fake, "nbd0");
    let out = fake.run("doctor").works().to_string();
    assert!(out.contains("note  filesystems /plain is on nbd0"), "{out}");
}

#[test]
fn finds_the_device_of_a_btrfs() {
    let fake = healthy();
    mount(&fake, "ublkb0");
    fake.put("dev/ublkb0p1", "");
    let class = fake.root().join("sys/class/block");
    std::fs::create_dir_all(&class).unwrap();
    let folder = fake.root().join("sys/devices/ublkb0/ublkb0p1");
    std::os::unix::fs::symlink(folder, class.join("ublkb0p1")).unwrap();
    fake.put(
        "proc/self/mountinfo",
        "30 1 0:33 / /snap rw - btrfs /dev/ublkb0p1 rw\n\
         31 1 0:34 / /fuse rw - fuse.x /dev/ublkb0p1 rw\n",
    );
    only(&fake, "filesystems", "/snap is on ublkb0");
}

#[test]
fn finds_an_encryptor_that_the_boot_refuses() {
    let fake = healthy();
    fake.put("etc/dormouse.toml", "encryptor = 'aes-gcm'\n");
    only(
        &fake,
        "key",
        "says aes-gcm: a boot that goes by that refuses",
    );
    fake.put("etc/dormouse.toml", "encryptor = 'none'\n");
    fake.run("doctor").works();
}
