// SPDX-License-Identifier: GPL-2.0

//! `dormouse doctor`: what would be in the way of hibernation, and what to do about it.

use anyhow::Result;
use serde::Serialize;

use crate::cli::Context;
use crate::failure::{Code, Failure};

mod filesystems;
mod kernel;
mod locator;
mod modules;
mod past;
mod target;

/// What a check came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Verdict {
    /// Nothing is in the way.
    Ok,
    /// It works, but not as somebody may expect.
    Note,
    /// Hibernation or resuming fails.
    Fail,
    /// It cannot be seen from here.
    Unknown,
}

/// One check.
#[derive(Clone, Debug, Serialize)]
struct Check {
    name: &'static str,
    verdict: Verdict,
    found: String,
    /// What to do about it.
    advice: Option<String>,
}

impl Check {
    fn ok(name: &'static str, found: impl Into<String>) -> Check {
        Check {
            name,
            verdict: Verdict::Ok,
            found: found.into(),
            advice: None,
        }
    }

    fn unknown(name: &'static str, found: impl Into<String>) -> Check {
        Check {
            verdict: Verdict::Unknown,
            ..Check::ok(name, found)
        }
    }

    fn note(name: &'static str, found: impl Into<String>, advice: impl Into<String>) -> Check {
        Check {
            verdict: Verdict::Note,
            advice: Some(advice.into()),
            ..Check::ok(name, found)
        }
    }

    fn fail(name: &'static str, found: impl Into<String>, advice: impl Into<String>) -> Check {
        Check {
            verdict: Verdict::Fail,
            ..Check::note(name, found, advice)
        }
    }

    fn line(&self) -> String {
        let word = match self.verdict {
            Verdict::Ok => "ok",
            Verdict::Note => "note",
            Verdict::Fail => "FAIL",
            Verdict::Unknown => "?",
        };
        let advice = self.advice.as_ref().map(|what| format!(": {what}"));
        let advice = advice.unwrap_or_default();
        format!("{word:<6}{:<12}{}{advice}\n", self.name, self.found)
    }
}

#[derive(Serialize)]
struct Report {
    good: bool,
    checks: Vec<Check>,
}

/// Makes all checks.
///
/// # Errors
///
/// When one fails, or nothing can be looked at.
pub fn run(context: &Context) -> Result<()> {
    let checks = checks(context)?;
    let report = Report {
        good: checks.iter().all(|check| check.verdict != Verdict::Fail),
        checks,
    };
    let text = || report.checks.iter().map(Check::line).collect();
    context.output.print(&report, text)?;
    if report.good {
        return Ok(());
    }
    let failed = report
        .checks
        .iter()
        .filter(|check| check.verdict == Verdict::Fail);
    let mut names: Vec<&str> = failed.map(|check| check.name).collect();
    names.dedup();
    let sentence = format!("not ready: {}", names.join(", "));
    Err(Failure::error(Code::Failed, sentence))
}

fn checks(context: &Context) -> Result<Vec<Check>> {
    let mut all = kernel::checks(context);
    if !context.control.exists() {
        return Ok(all);
    }
    all.push(kernel::enabled(context)?);
    all.extend(modules::checks(context)?);
    all.extend(target::checks(context)?);
    all.extend(filesystems::checks(context)?);
    all.push(locator::check(context)?);
    all.extend(past::checks(context)?);
    Ok(all)
}
