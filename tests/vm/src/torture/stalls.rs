// SPDX-License-Identifier: GPL-2.0

//! Storage that stands still at random points of saves.

use std::time::{Duration, Instant};

use anyhow::{bail, ensure, Context, Result};
use dormouse_vm::agent::Progress;
use dormouse_vm::Vm;

use super::{Counts, Random};
use crate::netblock::{self, servers::Server};
use crate::stalls::{self, Brake, PATIENCE, REST};
use crate::steps::{get, resume, set, FOLDER};
use crate::Lab;

/// How long a save may take that is not disturbed.
const LONG: Duration = Duration::from_secs(180);
/// How long a stopped save is looked at.
const AT_MOST: Duration = Duration::from_secs(40);
/// How long the storage may take to be as it was, once it goes on.
const SOON: Duration = Duration::from_secs(20);
/// The setting `io_timeout` where nothing is stopped.
const UNDISTURBED: &str = "60";
/// Draws until the storage stops before the image is complete.
const DRAWS: u64 = 20;

/// Which storage is stopped, and how.
#[derive(Clone, Copy, Debug)]
enum Kind {
    /// A swap partition on a disk that QEMU holds back.
    Disk,
    /// A swap partition on a disk whose server is stopped.
    Served,
    /// Writer `netblock`, to an nbdkit that is stopped.
    Netblock,
}

impl Kind {
    fn of(number: u64) -> Kind {
        match number % 3 {
            1 => Kind::Disk,
            2 => Kind::Served,
            _ => Kind::Netblock,
        }
    }

    /// A machine that is ready to hibernate to such a storage, and what stops it.
    fn machine(self, lab: &Lab) -> Result<(Vm, Brake)> {
        match self {
            Kind::Disk => Ok((stalls::sleepy(lab)?, Brake::Disk(0))),
            Kind::Served => stalls::served(lab),
            Kind::Netblock => {
                let server = Server::nbdkit("1G", &["file", "DISK"])?;
                let vm = netblock::ready(lab, &server.target_of(""))?;
                Ok((vm, Brake::Server(server)))
            }
        }
    }
}

/// A machine that is up and at work, and how long a save takes.
struct Victim {
    kind: Kind,
    vm: Vm,
    brake: Brake,
    save: Duration,
    swaps: String,
}

impl Victim {
    /// A machine that has been through an undisturbed cycle.
    fn new(lab: &Lab, kind: Kind) -> Result<Self> {
        let (mut vm, brake) = kind.machine(lab)?;
        set(&mut vm, "io_timeout", UNDISTURBED)?;
        let start = Instant::now();
        vm.hibernate()?;
        let save = start.elapsed();
        resume(&mut vm)?;
        let swaps = vm.run("cat /proc/swaps")?;
        Ok(Victim {
            kind,
            vm,
            brake,
            save,
            swaps,
        })
    }

    /// Stops the storage at a random point of a save, and lets it go on when the
    /// machine has. Returns what happened, or nothing if the image was complete
    /// before.
    fn stall(&mut self, random: &mut Random, counts: &Counts) -> Result<Option<String>> {
        let ms = u64::try_from(self.save.as_millis()).unwrap_or(1);
        let delay = Duration::from_millis(random.below(ms.max(1)));
        let point = format!("{} ms into a save", delay.as_millis());
        set(&mut self.vm, "io_timeout", &PATIENCE.to_string())?;
        let from = self.vm.log()?.len();
        let seq = self.vm.send("echo disk > /sys/power/state")?;
        std::thread::sleep(delay);
        if self.brake.stop(&mut self.vm).is_err() {
            // It was off before.
            self.vm.finish(LONG)?;
            counts.kept(resume(&mut self.vm))?;
            return Ok(None);
        }
        let since = Instant::now();
        let mut progress = self.vm.look(seq, AT_MOST, |_| {})?;
        if matches!(progress, Progress::Running) && self.is_going_down(from)? {
            // QEMU does not end before a server has told it farewell.
            self.brake.go_on(&mut self.vm)?;
            progress = self.vm.wait(seq, LONG, |_| {})?;
            ensure!(
                matches!(progress, Progress::Gone),
                "{point}: the machine did not go down: {progress:?}"
            );
        }
        match progress {
            Progress::Done(output) => {
                let took = since.elapsed();
                self.brake.go_on(&mut self.vm)?;
                ensure!(output.code != 0, "{point}: it went well: {output:?}");
                let said = self.went_on(took).context(point.clone())?;
                Ok(Some(format!("{point}: {} ms, {said}", took.as_millis())))
            }
            Progress::Gone => {
                self.brake
                    .go_on(&mut self.vm)
                    .or_else(|e| match self.brake {
                        // QEMU, which stopped it, has ended.
                        Brake::Disk(_) => Ok(()),
                        Brake::Server(_) => Err(e),
                    })?;
                counts.kept(resume(&mut self.vm))?;
                Ok(None)
            }
            Progress::Running => {
                let tail = self.vm.log()?.tail(25);
                self.vm.kill();
                bail!("{point}: the machine did not go on\n{tail}");
            }
            other => bail!("{point}: {other:?}"),
        }
    }

    /// Whether the image is complete and devices and processors are off.
    fn is_going_down(&self, from: usize) -> Result<bool> {
        let log = self.vm.log()?;
        let saved = log.wait_for("dormouse: saved ", from, Duration::ZERO);
        Ok(saved.is_ok_and(|at| {
            log.wait_for("Disabling non-boot CPUs", at, Duration::ZERO)
                .is_ok()
        }))
    }

    /// Checks that the machine went on in time, with the reason, and that nothing
    /// is lost. Returns the reason.
    fn went_on(&mut self, took: Duration) -> Result<String> {
        let most = Duration::from_secs(PATIENCE) + REST;
        let vm = &mut self.vm;
        let result = get(vm, "last_result")?;
        ensure!(
            took < most,
            "the machine went on after {} ms: {result}",
            took.as_millis()
        );
        ensure!(result.starts_with("-110 "), "{result}");
        match self.kind {
            Kind::Disk | Kind::Served => stalls::is_whole(vm, &self.swaps)?,
            Kind::Netblock => {
                vm.run("guest work verify")?;
                let begin = Instant::now();
                loop {
                    // Some abort when they go on and their clients are gone. Whoever runs one has
                    // it started again.
                    let evidence = self.brake.evidence();
                    if self.brake.start_again()? {
                        println!(
                            "started again: {}",
                            evidence.lines().next().unwrap_or_default()
                        );
                    }
                    // The server may still be busy with what was asked of it before.
                    let image = vm.try_run(&format!("cat {FOLDER}/image"))?;
                    if image.code == 0 && !image.text.starts_with("state: committed") {
                        break;
                    }
                    ensure!(
                        begin.elapsed() < SOON,
                        "the mark of the image stays: {image:?}; {}",
                        self.brake.evidence()
                    );
                    std::thread::sleep(Duration::from_millis(500));
                }
            }
        }
        Ok(result.split_once(' ').unwrap_or_default().1.to_string())
    }

    /// Draws a point until the storage stops before the image is complete.
    fn one(&mut self, random: &mut Random, counts: &Counts) -> Result<String> {
        for _ in 0..DRAWS {
            let point = self.stall(random, counts)?;
            self.vm.assert_clean()?;
            if let Some(point) = point {
                return Ok(point);
            }
        }
        bail!("no save was stopped in {DRAWS} draws")
    }
}

/// Stops storage in `count` saves; `number` says which kind of storage.
///
/// # Errors
///
/// When not even an undisturbed cycle works.
pub fn run(lab: &Lab, random: &mut Random, number: u64, count: u64, counts: &Counts) -> Result<()> {
    let kind = Kind::of(number);
    let mut machine = 0;
    // Each in a folder of its own, so that the logs of one that has failed stay.
    let mut next = || {
        machine += 1;
        let mut lab = lab.clone();
        if let Some(logs) = &mut lab.system.logs {
            logs.push(format!("machine-{machine}"));
        }
        Victim::new(&lab, kind)
    };
    let mut victim = next()?;
    for stall in 1..=count {
        match victim.one(random, counts) {
            Ok(point) => {
                println!("stall {number}.{stall}, {kind:?}: {point}");
                counts.stalls.good();
            }
            Err(error) => {
                println!("stall {number}.{stall}, {kind:?} FAILED: {error:#}");
                victim = next()?;
            }
        }
    }
    // What so many stopped saves have left does not harm a whole one.
    set(&mut victim.vm, "io_timeout", UNDISTURBED)?;
    victim.vm.hibernate()?;
    counts.kept(resume(&mut victim.vm))
}
