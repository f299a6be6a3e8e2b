// SPDX-License-Identifier: GPL-2.0

//! A system made of files, and the command run in it.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// A system; gone when it is dropped.
pub struct Fake(tempfile::TempDir);

const CONTROL: &[(&str, &str)] = &[
    ("enabled", "0\n"),
    ("compressor", "none lzo [lz4] zstd\n"),
    ("encryptor", "none [chacha20-poly1305] aes-gcm\n"),
    ("freezer", "[pm]\n"),
    ("snapshot", "[atomic]\n"),
    ("writer", "[swap] file netblock\n"),
    ("target", "auto\n"),
    ("threads", "0\n"),
    ("image_size_limit", "0\n"),
    ("io_timeout", "60\n"),
    ("keep_running", "\n"),
    ("allow_abort", "1\n"),
    ("freeze_filesystems", "1\n"),
    ("after_save", "[mode] power-off reboot\n"),
    ("stats", "image_pages: 4\nworkers: 2\n"),
    ("key", "none\n"),
    ("hint", "\n"),
    ("start", ""),
    ("resume", ""),
    ("abort", ""),
    ("state", "idle\n"),
    ("progress", "idle 0 0 0 0\n"),
    ("last_result", "0 idle nothing has happened yet\n"),
    ("image", "none\n"),
    (
        "modules/swap/areas",
        "/dev/zram0 is on zram0, which is lost when the machine goes down\n\
         /dev/vda2 can take an image\n",
    ),
    ("modules/netblock/timeout", "60\n"),
    ("modules/netblock/claim", "0\n"),
];

const MEMINFO: &str = "MemTotal: 1048576 kB\nMemFree: 524288 kB\nBuffers: 0 kB\n\
                       Cached: 262144 kB\nShmem: 0 kB\nSReclaimable: 0 kB\n";
const SWAPS: &str = "Filename Type Size Used Priority\n/dev/zram0 partition 524288 0 100\n\
                     /dev/vda2 partition 1048576 24576 -2\n";

impl Fake {
    /// A system with Dormouse, on which nothing has happened.
    pub fn new() -> Fake {
        let fake = Fake(tempfile::tempdir().unwrap());
        for (name, text) in CONTROL {
            fake.put(&format!("sys/power/hibernate/{name}"), text);
        }
        // As the kernel has it: a list, and no setting.
        let areas = fake.control().join("modules/swap/areas");
        std::fs::set_permissions(areas, std::fs::Permissions::from_mode(0o400)).unwrap();
        fake.put(
            "sys/power/disk",
            "[platform] shutdown reboot suspend test_resume \n",
        );
        fake.put("proc/meminfo", MEMINFO);
        fake.put("proc/swaps", SWAPS);
        fake.put("proc/cmdline", "quiet resume=/dev/vda2\n");
        fake.put("etc/x", "");
        fake
    }

    /// Its root folder.
    pub fn root(&self) -> &Path {
        self.0.path()
    }

    /// Its control folder.
    pub fn control(&self) -> PathBuf {
        self.root().join("sys/power/hibernate")
    }

    /// Writes a file.
    pub fn put(&self, path: &str, text: impl AsRef<[u8]>) {
        let path = self.root().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// Reads a file of the control folder.
    pub fn get(&self, name: &str) -> String {
        fs::read_to_string(self.control().join(name)).unwrap()
    }

    /// Writes a file of the control folder, which nobody finds half written.
    pub fn set(&self, name: &str, text: &str) {
        let new = self.root().join("new");
        fs::write(&new, text).unwrap();
        fs::rename(&new, self.control().join(name)).unwrap();
    }

    /// The command, ready for its arguments.
    pub fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_dormouse"));
        command.arg("--root").arg(self.root());
        command
    }

    /// Runs the command with `args` and `input`.
    pub fn feed(&self, args: &[&str], input: &str) -> Ran {
        let mut child = self
            .command()
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // It may end without reading.
        let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
        Ran::of(&child.wait_with_output().unwrap())
    }

    /// Runs the command with `args`, words between single blanks.
    pub fn run(&self, args: &str) -> Ran {
        self.feed(&args.split(' ').collect::<Vec<_>>(), "")
    }
}

/// What became of a command.
#[derive(Debug)]
pub struct Ran {
    /// Its exit code.
    pub code: i32,
    /// What it printed.
    pub out: String,
    /// What it complained of.
    pub err: String,
}

impl Ran {
    /// Of a program that has ended.
    pub fn of(output: &Output) -> Ran {
        Ran {
            code: output.status.code().unwrap_or(-1),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// What it printed, as JSON.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// Checks that it failed with `code` and one line that has `part` in it.
    #[track_caller]
    pub fn fails(&self, code: i32, part: &str) {
        assert_eq!(self.code, code, "{self:?}");
        assert!(self.err.contains(part), "no '{part}': {self:?}");
        assert!(self.err.starts_with("dormouse: "), "{self:?}");
        assert_eq!(self.err.lines().count(), 1, "{self:?}");
    }

    /// Checks that it went well.
    #[track_caller]
    pub fn works(&self) -> &str {
        assert_eq!((self.code, self.err.as_str()), (0, ""), "{self:?}");
        &self.out
    }
}
