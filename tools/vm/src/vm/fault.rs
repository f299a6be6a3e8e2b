// SPDX-License-Identifier: GPL-2.0

//! Faults of QEMU itself, before the guest has done anything that is tested.

use std::fmt::{self, Display, Formatter};

use crate::qemu::Qemu;

/// Why a guest did not come up, when that is QEMU's own fault.
#[derive(Debug)]
pub enum Fault {
    /// It ended by a signal that nobody here has sent: the signal, and what it said.
    Crash(String),
    /// A processor of the guest that is emulated gets no timer interrupts: it halts, and the
    /// kernel finds that its timers have not run for 21 seconds.
    NoTimer,
}

impl Fault {
    /// The fault of `qemu`, which has not answered.
    pub fn of(qemu: &mut Qemu) -> Option<Self> {
        let crash = qemu.crash().filter(|_| !qemu.log.contains("Run /init"));
        crash
            .map(Fault::Crash)
            .or_else(|| lacks_timer(&qemu.log.lines()).then_some(Fault::NoTimer))
    }
}

/// Whether a guest lacks timer interrupts that has neither saved nor loaded an image.
fn lacks_timer(lines: &[String]) -> bool {
    let acts = ["hibernation entry", "resume from hibernation", "Freezing"];
    let says = |text: &str| lines.iter().any(|line| line.contains(text));
    says("Possible timer handling issue on cpu=") && !acts.into_iter().any(says)
}

impl Display for Fault {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Fault::Crash(how) => write!(f, "QEMU crashed while the guest's kernel started ({how})"),
            Fault::NoTimer => write!(f, "a processor of the guest got no timer interrupts"),
        }
    }
}

impl std::error::Error for Fault {}

#[cfg(test)]
mod tests {
    use super::lacks_timer;

    #[test]
    fn only_a_guest_that_has_done_nothing_is_excused() {
        let lines = |more: &[&str]| -> Vec<String> {
            let begin = [
                "Run /init as init process",
                "dormouse: writer \"swap\" registered",
            ];
            begin
                .iter()
                .chain(more)
                .map(|line| line.to_string())
                .collect()
        };
        let fault = "rcu: \tPossible timer handling issue on cpu=1 timer-softirq=1";
        assert!(lacks_timer(&lines(&[fault])));
        assert!(!lacks_timer(&lines(&[])));
        assert!(!lacks_timer(&lines(&[
            "PM: hibernation: resume from hibernation",
            fault
        ])));
        assert!(!lacks_timer(&lines(&[
            "PM: hibernation: hibernation entry",
            fault
        ])));
    }
}
