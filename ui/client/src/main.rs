// SPDX-License-Identifier: GPL-2.0

//! The command of Dormouse. For now it does one thing: the key of encrypted images.
//!
//! Linked statically it needs nothing but the kernel, so it can go into an initramfs.

use std::io::Read;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{bail, ensure, Context, Result};
use clap::{Args, Parser, Subcommand};
use keyutils::keytypes::logon::{Description, Logon};
use keyutils::{Keyring, SpecialKeyring};
use zeroize::Zeroizing;

mod control;
mod hint;

use control::{Control, Encrypted, Image};
use hint::{Costs, Hint};

/// What the key is called in the kernel, after its type.
const SUBTYPE: &str = "dormouse";
const NAME: &str = "passphrase";
const KEY: &str = "logon:dormouse:passphrase";

/// There is no image, or it needs no key.
const EXIT_NOTHING_TO_DO: u8 = 3;

#[derive(Parser)]
#[command(name = "dormouse", version, about = "Hibernation with Dormouse")]
#[command(
    after_help = "Exit codes: 0 done; 1 failed, with the reason on standard error; 2 wrong usage;\n\
                        3 nothing to do: there is no image, or it is not encrypted."
)]
struct Cli {
    /// The control folder
    #[arg(long, default_value = "/sys/power/hibernate", hide = true)]
    control: PathBuf,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// The key that images are encrypted with
    #[command(subcommand)]
    Key(KeyCommand),
}

#[derive(Subcommand)]
enum KeyCommand {
    /// Ask for a passphrase, and encrypt images with it from now on
    Set(SetArgs),
    /// Ask for the passphrase of the image that waits, so that it can be resumed
    Unlock(UnlockArgs),
    /// Say which key is configured, and which one the image needs
    Status,
    /// Let go of the key, and encrypt no more
    Clear,
}

#[derive(Args)]
struct SetArgs {
    /// Read the passphrase from standard input, to the first newline
    #[arg(long)]
    stdin: bool,
    /// How to encrypt
    #[arg(long, default_value = "aes-gcm")]
    encryptor: String,
    /// Memory that making the key takes, in MiB
    #[arg(long, default_value_t = 256)]
    memory_mib: u32,
    /// Passes over that memory
    #[arg(long, default_value_t = 3)]
    passes: u32,
    /// Lanes of Argon2id
    #[arg(long, default_value_t = 4)]
    lanes: u32,
}

#[derive(Args)]
struct UnlockArgs {
    /// Where the image is; any form that the setting "target" takes. Without it, where a resume
    /// would look
    target: Option<String>,
    /// Read the passphrase from standard input, to the first newline
    #[arg(long)]
    stdin: bool,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let control = Control::new(&cli.control);
    let Command::Key(command) = cli.command;
    let result = match command {
        KeyCommand::Set(args) => set(&control, &args),
        KeyCommand::Unlock(args) => unlock(&control, &args),
        KeyCommand::Status => status(&control),
        KeyCommand::Clear => clear(&control),
    };
    match result {
        Ok(code) => code,
        Err(error) => {
            eprintln!("dormouse: {error:#}");
            ExitCode::FAILURE
        }
    }
}

type Passphrase = Zeroizing<String>;

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
    let answer = rpassword::prompt_password(prompt)
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

/// Gives the key to the kernel, which keeps it when this process and its keyring are gone.
fn configure(control: &Control, hint: &Hint, passphrase: &Passphrase) -> Result<()> {
    let key = hint.key(passphrase.as_bytes())?;
    let mut ring = Keyring::attach_or_create(SpecialKeyring::Process)
        .map_err(|error| anyhow::anyhow!("the kernel gives no keyring: {error}"))?;
    let description = Description {
        subtype: SUBTYPE.into(),
        description: NAME.into(),
    };
    ring.add_key::<Logon, _, _>(description, &key[..])
        .map_err(|error| anyhow::anyhow!("the kernel does not take the key: {error}"))?;
    control.set("key", KEY)?;
    control.set("hint", &hint.to_string())
}

fn set(control: &Control, args: &SetArgs) -> Result<ExitCode> {
    let costs = Costs {
        memory: args.memory_mib.saturating_mul(1024),
        passes: args.passes,
        lanes: args.lanes,
    };
    let hint = Hint::new(costs)?;
    let before = chosen(control)?;
    // First, so that nobody thinks of a passphrase for an encryptor that is not there.
    control.set("encryptor", &args.encryptor)?;
    let done = new_passphrase(args.stdin).and_then(|words| configure(control, &hint, &words));
    if let Err(error) = done {
        control.set("encryptor", &before)?;
        return Err(error);
    }
    println!("images are encrypted by {} from now on", args.encryptor);
    Ok(ExitCode::SUCCESS)
}

fn new_passphrase(stdin: bool) -> Result<Passphrase> {
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

/// The encryptor that is chosen.
fn chosen(control: &Control) -> Result<String> {
    let all = control.get("encryptor")?;
    let brackets = all
        .split_once('[')
        .and_then(|(_, rest)| rest.split_once(']'));
    let (name, _) = brackets.with_context(|| format!("encryptor is '{all}'"))?;
    Ok(name.to_string())
}

fn find(control: &Control, target: Option<&str>) -> Result<Image> {
    match target {
        None => control.image(),
        Some(target) => {
            let before = control.get("target")?;
            control.set("target", target)?;
            let image = control.image();
            control.set("target", &before)?;
            image
        }
    }
}

fn unlock(control: &Control, args: &UnlockArgs) -> Result<ExitCode> {
    let Encrypted {
        encryptor,
        key,
        hint,
    } = match find(control, args.target.as_deref())? {
        Image::Encrypted(how) => how,
        Image::Plain => {
            eprintln!("dormouse: the image is not encrypted");
            return Ok(ExitCode::from(EXIT_NOTHING_TO_DO));
        }
        Image::None => {
            eprintln!("dormouse: there is no image to resume");
            return Ok(ExitCode::from(EXIT_NOTHING_TO_DO));
        }
    };
    if key != KEY {
        bail!("the image needs the key {key}: load it into a keyring, and write that to /sys/power/hibernate/key");
    }
    let hint: Hint = hint.parse()?;
    let passphrase = if args.stdin {
        from_stdin()?
    } else {
        ask("Passphrase of the image: ")?
    };
    configure(control, &hint, &checked(passphrase)?)?;
    // An image that somebody put there in its place, in clear, is refused from now on.
    control.set("encryptor", &encryptor)?;
    Ok(ExitCode::SUCCESS)
}

fn status(control: &Control) -> Result<ExitCode> {
    println!("encryptor: {}", chosen(control)?);
    println!("key: {}", control.get("key")?);
    match control.image()? {
        Image::None => println!("image: none"),
        Image::Plain => println!("image: not encrypted"),
        Image::Encrypted(how) => {
            println!("image: encrypted by {}, needs {}", how.encryptor, how.key)
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn clear(control: &Control) -> Result<ExitCode> {
    control.set("encryptor", "none")?;
    control.set("key", "none")?;
    println!("images are not encrypted from now on");
    Ok(ExitCode::SUCCESS)
}
