// SPDX-License-Identifier: GPL-2.0

//! What fails, how images are made meanwhile, and which sweeps that makes.

use std::fmt;

/// What fails in a sweep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// Whatever the task that hibernates asks for, but page frames of the image.
    Task,
    /// A small allocation of any task; numbers are bytes.
    Slab,
    /// An allocation of pages of any task; numbers are pages.
    Pages,
    /// A request to a disk of any task; numbers are bytes.
    Requests,
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            What::Task => "task",
            What::Slab => "failslab",
            What::Pages => "fail_page_alloc",
            What::Requests => "fail_make_request",
        })
    }
}

/// Where images are kept, and how they are made.
#[derive(Clone, Copy, Debug)]
pub struct How {
    /// Compressor.
    pub compressor: &'static str,
    /// Encryptor.
    pub encryptor: &'static str,
    /// Writer: `swap`, `file` on ext4, or `netblock` with a server of the host.
    pub writer: &'static str,
}

impl How {
    const fn new(compressor: &'static str, encryptor: &'static str, writer: &'static str) -> How {
        How {
            compressor,
            encryptor,
            writer,
        }
    }

    /// Whether another boot can load such an image by itself.
    pub fn can_load_again(&self) -> bool {
        self.writer == "swap" && self.encryptor == "none"
    }
}

impl fmt::Display for How {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}-{}", self.compressor, self.encryptor, self.writer)
    }
}

/// The ways that sweeps go.
pub const HOW: [How; 5] = [
    How::new("lz4", "none", "swap"),
    How::new("zstd", "none", "swap"),
    How::new("lzo", "aes-gcm", "swap"),
    How::new("none", "chacha20-poly1305", "file"),
    How::new("lz4", "none", "netblock"),
];

/// Failures that one machine goes through.
#[derive(Clone, Copy, Debug)]
pub struct Sweep {
    /// Where images are, and how they are made.
    pub how: How,
    /// What fails.
    pub what: What,
    /// The first number, the last one, and the distance from one to the next.
    pub numbers: (u64, u64, u64),
}

impl fmt::Display for Sweep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.what, self.how)
    }
}

/// Those of `how`: each of `steps` with up to `most` numbers.
fn of(how: How, steps: [(What, u64); 3], most: u64) -> impl Iterator<Item = Sweep> {
    steps.into_iter().map(move |(what, step)| Sweep {
        how,
        what,
        numbers: (1, most * step, step),
    })
}

/// That of `how` in which all of the task fails, one after the other.
fn of_task(how: How, n: u64) -> Sweep {
    Sweep {
        how,
        what: What::Task,
        numbers: (1, 20 * n, 1),
    }
}

/// Sweeps over saves, for torture with `-n` of this.
pub fn saves(n: u64) -> Vec<Sweep> {
    let steps = [
        (What::Slab, 1 << 10),
        (What::Pages, 512),
        (What::Requests, 128 << 10),
    ];
    // No disk gets a request from the core then.
    let makes_sense =
        |sweep: &Sweep| sweep.what != What::Requests || sweep.how.writer != "netblock";
    let all = HOW.into_iter();
    let all = all.flat_map(|how| [of_task(how, n)].into_iter().chain(of(how, steps, 4 * n)));
    all.filter(makes_sense).collect()
}

/// Sweeps over loads, which ask for less than saves: the steps are smaller.
pub fn loads(n: u64) -> Vec<Sweep> {
    let steps = [
        (What::Slab, 128),
        (What::Pages, 4),
        (What::Requests, 32 << 10),
    ];
    let all = HOW.into_iter().filter(How::can_load_again);
    all.flat_map(|how| [of_task(how, n)].into_iter().chain(of(how, steps, 20 * n)))
        .collect()
}
