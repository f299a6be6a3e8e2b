// SPDX-License-Identifier: GPL-2.0

//! How the command ends: exit codes, and the sentence that goes with one.

use std::fmt;
use std::process::ExitCode;

use anyhow::Error;

/// The exit codes, as `--help` and the man page list them.
pub const HELP: &str = "Exit codes:
  0  done
  1  failed, with the reason on standard error; for doctor: a check failed
  2  wrong usage, also a setting or value that does not exist
  3  nothing to do: there is no image, no cycle, no file, or the image is not encrypted
  4  the image is damaged or was altered
  5  this kernel has no Dormouse
  6  only root may do this";

/// How the command ends, other than well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Code {
    /// Anything that no other code says.
    Failed = 1,
    /// What was asked for does not exist.
    Usage = 2,
    /// There is nothing to do it with.
    Nothing = 3,
    /// An image is not what was written.
    Damaged = 4,
    /// There is no control folder.
    NoDormouse = 5,
    /// Permissions.
    NotRoot = 6,
}

impl From<Code> for ExitCode {
    fn from(code: Code) -> ExitCode {
        ExitCode::from(code as u8)
    }
}

/// An error with an exit code of its own.
#[derive(Debug)]
pub struct Failure {
    code: Code,
    sentence: String,
}

impl Failure {
    /// An error that ends the command with `code`.
    pub fn error(code: Code, sentence: impl Into<String>) -> Error {
        Error::new(Failure {
            code,
            sentence: sentence.into(),
        })
    }

    /// Only root may do to `what` what `verb` says: use, read or write it.
    pub fn not_root(verb: &str, what: impl fmt::Display) -> Error {
        Failure::error(
            Code::NotRoot,
            format!("only root may {verb} {what}: run this as root, with sudo for example"),
        )
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.sentence)
    }
}

impl std::error::Error for Failure {}

/// The exit code that `error` stands for.
pub fn code_of(error: &Error) -> Code {
    let failure = error.chain().find_map(|e| e.downcast_ref::<Failure>());
    failure.map_or(Code::Failed, |failure| failure.code)
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Context;

    #[test]
    fn says_who_may() {
        let error = Failure::not_root("read", "/x");
        assert_eq!(code_of(&error), Code::NotRoot);
        let expected = "only root may read /x: run this as root, with sudo for example";
        assert_eq!(error.to_string(), expected);
    }

    #[test]
    fn keeps_its_code_behind_other_words() {
        let error = Err::<(), _>(Failure::error(Code::Damaged, "why"))
            .context("more")
            .unwrap_err();
        assert_eq!(code_of(&error), Code::Damaged);
        assert_eq!(format!("{error:#}"), "more: why");
        assert_eq!(code_of(&anyhow::anyhow!("other")), Code::Failed);
    }
}
