// SPDX-License-Identifier: GPL-2.0

//! Files that are refused, each with its reason.

use anyhow::{ensure, Result};
use dormouse_vm::Vm;

use super::{host, FILE, LET_GO};
use crate::steps::{expect_result, get, refused, set, with_program};
use crate::Lab;

/// Writes `request` to `create` or a path to `target`; expects `errno`, as
/// busybox words it, and the sentence.
fn refuse(vm: &mut Vm, what: &str, value: &str, errno: (i32, &str), why: &str) -> Result<()> {
    let attribute = match what {
        "create" => format!("{FILE}/create"),
        _ => format!("/sys/power/hibernate/{what}"),
    };
    refused(vm, &format!("echo '{value}' > {attribute}"), errno.1)?;
    expect_result(vm, errno.0, &[why])?;
    Ok(())
}

fn create(vm: &mut Vm, request: &str) -> Result<()> {
    vm.run(&format!("echo '{request}' > {FILE}/create"))?;
    Ok(())
}

const ENOENT: (i32, &str) = (-2, "No such file");
const EEXIST: (i32, &str) = (-17, "File exists");
const EINVAL: (i32, &str) = (-22, "Invalid argument");
const ETXTBSY: (i32, &str) = (-26, "Text file busy");
const ENOSPC: (i32, &str) = (-28, "No space left");
const EROFS: (i32, &str) = (-30, "Read-only file system");
const ELOOP: (i32, &str) = (-40, "symbolic");
const EOPNOTSUPP: (i32, &str) = (-95, "not supported");

/// All of them, in one guest with three filesystems.
pub(super) fn all(lab: &Lab) -> Result<()> {
    let mut vm = lab.vm().mem(256);
    for size in ["64M", "320M", "160M", "16M"] {
        vm = vm.disk(size)?;
    }
    for program in [
        "/bin/cp",
        "/usr/bin/chattr",
        "/bin/btrfs",
        "/sbin/mke2fs",
        "/usr/bin/fuse2fs",
    ] {
        vm = with_program(vm, program)?;
    }
    vm.get_disk(0)?.mkfs()?;
    host("/sbin/mkfs.xfs", &["-q", "-f"], &vm, 1)?;
    host("/sbin/mkfs.btrfs", &["-q", "-f"], &vm, 2)?;
    host("/sbin/mkfs.ext4", &["-q", "-F", "-b", "1024"], &vm, 3)?;
    vm.boot()?;
    for (fs, disk) in [
        ("ext4", "vda"),
        ("xfs", "vdb"),
        ("btrfs", "vdc"),
        ("ext4", "vdd"),
    ] {
        vm.run(&format!(
            "mkdir /{disk} && mount -t {fs} /dev/{disk} /{disk}"
        ))?;
    }
    set(&mut vm, "writer", "file")?;
    making(&mut vm)?;
    places(&mut vm)?;
    blocks(&mut vm)?;
    // All of that changed no setting, and a good file is still taken.
    ensure!(get(&mut vm, "target")? == "auto", "the target changed");
    set(&mut vm, "target", "/vda/good")?;
    refuse(
        &mut vm,
        "target",
        "/vda/nothing",
        ENOENT,
        "there is no file /vda/nothing",
    )?;
    ensure!(get(&mut vm, "target")? == "/vda/good", "the target changed");
    refused(&mut vm, "echo x >> /vda/good", "Text file busy")?;
    set(&mut vm, "target", "auto")?;
    vm.run("umount /vda && umount /vdb && umount /vdc && umount /vdd")?;
    vm.power_off()?;
    host("/sbin/e2fsck", &["-f", "-n"], &vm, 0)?;
    host("/sbin/xfs_repair", &["-n", "-f"], &vm, 1)?;
    host("/bin/btrfs", &["check", "--readonly"], &vm, 2)?;
    vm.assert_clean()
}

/// What is not made, or not made into one.
fn making(vm: &mut Vm) -> Result<()> {
    for request in [
        "",
        "/vda/x",
        "/vda/x 1x",
        "vda/x 2M",
        "/dev/vda 2M",
        "/vda/../x 2M",
    ] {
        refuse(
            vm,
            "create",
            request,
            EINVAL,
            "a path and its size in bytes",
        )?;
    }
    refuse(vm, "create", "/vda/x 64K", EINVAL, "1048576 bytes at least")?;
    refuse(
        vm,
        "create",
        "/vda/x 1G",
        ENOSPC,
        "no room for a file of that size",
    )?;
    refuse(vm, "create", "/vda/none/x 2M", ENOENT, "could not be made")?;
    refuse(
        vm,
        "create",
        "/tmp/x 2M",
        EOPNOTSUPP,
        "is not on ext4, xfs or btrfs",
    )?;
    refuse(
        vm,
        "create",
        "/vdd/x 2M",
        EOPNOTSUPP,
        "blocks of less than 4096 bytes",
    )?;
    vm.run("[ ! -e /vda/x ] && [ ! -e /tmp/x ] && [ ! -e /vdd/x ]")?;

    // Somebody's own files stay what they are.
    vm.run("(yes precious | head -c 2097152) > /vda/mine && md5sum /vda/mine > /tmp/sum")?;
    refuse(vm, "create", "/vda/mine 2M", EEXIST, "nothing was changed")?;
    vm.run("dd if=/dev/zero of=/vda/zero bs=1M count=2 && cp /vda/zero /vda/tail")?;
    vm.run("printf x | dd of=/vda/tail bs=1 seek=2097151 conv=notrunc")?;
    refuse(vm, "create", "/vda/tail 2M", EEXIST, "nothing was changed")?;
    refuse(vm, "create", "/vda/zero 4M", EEXIST, "nothing was changed")?;
    refuse(vm, "create", "/vda 2M", EINVAL, "is not an ordinary file")?;
    vm.run("mknod /vda/fifo p && mknod /vda/disk b 254 0 && ln -s mine /vda/link")?;
    for node in ["fifo", "disk"] {
        let request = format!("/vda/{node} 2M");
        refuse(vm, "create", &request, EINVAL, "not an ordinary file")?;
    }
    refuse(vm, "create", "/vda/link 2M", ELOOP, "is a symbolic link")?;
    vm.run("(sleep 100 3>> /vda/zero) & sleep 0.3")?;
    refuse(vm, "create", "/vda/zero 2M", ETXTBSY, "open for writing")?;
    vm.run("killall sleep; md5sum -c /tmp/sum && ls -l /vda/tail | grep -q 2097152")?;

    // What is empty, or all zero, may become one; what is one stays.
    create(vm, "/vda/zero 2M")?;
    create(vm, "/vda/good 2000000")?;
    create(vm, "/vda/good 2002944")?;
    vm.run("touch /vda/empty && ls -l /vda/good | grep -q 2002944")?;
    create(vm, "/vda/empty 2M")?;
    refuse(vm, "create", "/vda/good 4M", EEXIST, "nothing was changed")
}

/// Files that are in the wrong place, or not ours.
fn places(vm: &mut Vm) -> Result<()> {
    let mut no = |path: &str, errno, why: &str| refuse(vm, "target", path, errno, why);
    no(
        "/vda/nothing",
        ENOENT,
        "there is no file /vda/nothing: write",
    )?;
    no(
        "/vda/mine",
        EINVAL,
        "file /vda/mine was not made for images",
    )?;
    no("/vda", EINVAL, "is not an ordinary file")?;
    no("/vda/fifo", EINVAL, "is not an ordinary file")?;
    no("file:/vda/disk", EINVAL, "is not an ordinary file")?;
    no("/vda/link", ELOOP, "is a symbolic link")?;
    no("/bin/swapon", ELOOP, "is a symbolic link")?;
    no("/proc/version", EOPNOTSUPP, "is not on ext4, xfs or btrfs")?;
    vm.run("mkswap /vda/tail && swapon /vda/tail")?;
    refuse(
        vm,
        "target",
        "/vda/tail",
        (-16, "busy"),
        "is swap space already",
    )?;
    vm.run("swapoff /vda/tail && dd if=/dev/zero of=/vda/loop bs=1M count=8")?;
    vm.run("losetup /dev/loop0 /vda/loop && mke2fs -q -b 4096 /dev/loop0 && mkdir /loop")?;
    vm.run("mount -t ext4 /dev/loop0 /loop")?;
    refuse(vm, "create", "/loop/x 2M", EOPNOTSUPP, "on a loop device")?;
    vm.run("umount /loop && losetup -d /dev/loop0")?;
    // The same disk, behind a process that will be frozen.
    vm.run("mke2fs -q -F -b 4096 /vda/loop && mkdir /fuse && /usr/bin/fuse2fs /vda/loop /fuse")?;
    vm.run("grep -q ' /fuse fuse' /proc/mounts && cp /vda/zero /fuse/zero")?;
    let why = "is not on ext4, xfs or btrfs";
    refuse(vm, "target", "/fuse/zero", EOPNOTSUPP, why)?;
    refuse(vm, "create", "/fuse/x 2M", EOPNOTSUPP, why)?;
    vm.run("[ ! -e /fuse/x ] && umount /fuse")?;
    vm.run("while pidof fuse2fs > /dev/null; do usleep 50000; done")?;
    vm.run("mount -o remount,ro /vda")?;
    refuse(vm, "target", "/vda/good", EROFS, "cannot be written")?;
    refuse(vm, "create", "/vda/more 2M", EROFS, "could not be made")?;
    vm.run("mount -o remount,rw /vda")?;
    journal(vm)?;
    // A target that is none of ours is refused when it is used.
    set(vm, "target", "/dev/vdd")?;
    set(vm, "enabled", "1")?;
    refused(vm, "echo disk > /sys/power/state", "Invalid argument")?;
    expect_result(vm, -22, &["writer file needs the path of a file as target"])?;
    set(vm, "target", "auto")
}

/// Files whose data goes through the journal, where the blocks would be
/// overwritten with what it holds: by a flag of their own, or all there are.
fn journal(vm: &mut Vm) -> Result<()> {
    let why = "/vda/good has its data in the journal of the filesystem";
    vm.run("/usr/bin/chattr +j /vda/good")?;
    refuse(vm, "target", "/vda/good", EOPNOTSUPP, why)?;
    vm.run("/usr/bin/chattr -j /vda/good && umount /vda")?;
    vm.run("mount -t ext4 -o data=journal /dev/vda /vda")?;
    refuse(vm, "target", "/vda/good", EOPNOTSUPP, why)?;
    let why = "/vda/more has its data in the journal of the filesystem";
    refuse(vm, "create", "/vda/more 2M", EOPNOTSUPP, why)?;
    vm.run("[ ! -e /vda/more ] && umount /vda && mount -t ext4 /dev/vda /vda")?;
    set(vm, "target", "/vda/good")?;
    set(vm, "target", "auto")
}

/// Files whose blocks are not there, or not only theirs.
fn blocks(vm: &mut Vm) -> Result<()> {
    for disk in ["vda", "vdb", "vdc"] {
        for (name, change) in [
            ("hole", "truncate -s 4M"),
            ("unwritten", "fallocate -l 4M"),
            ("tail", "printf x >>"),
            ("open", ":"),
        ] {
            let path = format!("/{disk}/a-{name}");
            create(vm, &format!("{path} 2M"))?;
            vm.run(&format!("{change} {path}"))?;
        }
        let holes = "has holes, or parts that were allocated but never written";
        let mut no =
            |name: &str, errno, why| refuse(vm, "target", &format!("/{disk}/a-{name}"), errno, why);
        no("hole", EINVAL, holes)?;
        no("unwritten", EINVAL, holes)?;
        no(
            "tail",
            EINVAL,
            "has 2097153 bytes: it needs a multiple of 4096",
        )?;
        vm.run(&format!("(sleep 100 3>> /{disk}/a-open) & sleep 0.3"))?;
        let path = format!("/{disk}/a-open");
        refuse(
            vm,
            "target",
            &path,
            ETXTBSY,
            "is open for writing by somebody",
        )?;
        vm.run(LET_GO)?;
        set(vm, "target", &path)?;
        set(vm, "target", "auto")?;
    }
    // Blocks that two files share; a copy of its own is as good as new.
    vm.run("/bin/cp --reflink=always /vdb/a-open /vdb/shared && /bin/cp --reflink=never /vdb/shared /vdb/own")?;
    refuse(
        vm,
        "target",
        "/vdb/a-open",
        EINVAL,
        "shares blocks with a copy",
    )?;
    refuse(
        vm,
        "target",
        "/vdb/shared",
        EINVAL,
        "shares blocks with a copy",
    )?;
    set(vm, "target", "/vdb/own")?;
    set(vm, "target", "auto")?;
    vm.run("/bin/cp --reflink=never /vdc/a-open /vdc/cow")?;
    refuse(vm, "target", "/vdc/cow", EOPNOTSUPP, "is copied on write")?;
    vm.run("touch /vdc/packed && /usr/bin/chattr +c /vdc/packed && cp /vdc/a-open /vdc/packed")?;
    refuse(vm, "target", "/vdc/packed", EOPNOTSUPP, "is compressed")?;
    // While it is the target there is no snapshot; after one it shares blocks.
    set(vm, "target", "/vdc/a-open")?;
    refused(
        vm,
        "btrfs subvolume snapshot /vdc /vdc/snap 2>&1",
        "Text file busy",
    )?;
    set(vm, "target", "auto")?;
    vm.run("btrfs subvolume snapshot /vdc /vdc/snap")?;
    refuse(
        vm,
        "target",
        "/vdc/a-open",
        EINVAL,
        "shares blocks with a copy or a snapshot",
    )
}
