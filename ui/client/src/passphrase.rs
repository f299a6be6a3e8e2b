// SPDX-License-Identifier: GPL-2.0

//! Asking for passphrases.

use std::fs::OpenOptions;
use std::io::{IsTerminal, Read};

use anyhow::{ensure, Context, Result};
use zeroize::Zeroizing;

use crate::signals;

/// What somebody typed; overwritten when dropped.
pub type Passphrase = Zeroizing<String>;

fn from_stdin() -> Result<Passphrase> {
    let mut text = Zeroizing::new(String::with_capacity(8192));
    std::io::stdin()
        .take(4096)
        .read_to_string(&mut text)
        .context("cannot read the passphrase from standard input")?;
    let line = text.split('\n').next().unwrap_or_default();
    Ok(Zeroizing::new(line.to_string()))
}

fn ask(prompt: &str) -> Result<Passphrase> {
    // In an initramfs nobody has a terminal of their own, but the console is standard input.
    let own = OpenOptions::new().read(true).write(true).open("/dev/tty");
    let config = rpassword::ConfigBuilder::new();
    let config = match own.is_err() && std::io::stdin().is_terminal() {
        true => config
            .input_file_path("/proc/self/fd/0")
            .output_file_path("/proc/self/fd/0"),
        false => config,
    };
    // Ctrl-C is a byte to rpassword, which would end the command before the
    // terminal is as it was.
    let _held = signals::hold()?;
    let answer = rpassword::prompt_password_with_config(prompt, config.build())
        .context("cannot ask for the passphrase: there is no terminal. Give it with --stdin")?;
    Ok(Zeroizing::new(answer))
}

fn checked(passphrase: Passphrase) -> Result<Passphrase> {
    ensure!(
        !passphrase.is_empty(),
        "the passphrase is empty: nothing was changed"
    );
    Ok(passphrase)
}

/// A new passphrase, asked for twice unless it comes from standard input.
///
/// # Errors
///
/// When nobody gives one.
pub fn new(stdin: bool) -> Result<Passphrase> {
    if stdin {
        return checked(from_stdin()?);
    }
    let first = checked(ask("Passphrase for images: ")?)?;
    let again = ask("Again: ")?;
    ensure!(
        *first == *again,
        "the two are not the same: nothing was changed, try again"
    );
    Ok(first)
}

/// The passphrase of an image.
///
/// # Errors
///
/// When nobody gives one.
pub fn of_image(stdin: bool) -> Result<Passphrase> {
    let answer = match stdin {
        true => from_stdin()?,
        false => ask("Passphrase of the image: ")?,
    };
    checked(answer)
}
