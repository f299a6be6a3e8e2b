// SPDX-License-Identifier: GPL-2.0

//! One QEMU process.

use std::io::Write;
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{bail, Context, Result};

use crate::accel::Accel;
use crate::agent::Agent;
use crate::disk::Disk;
use crate::log::Log;
use crate::qmp::Qmp;

/// How long QEMU may take until its channels are connected.
const START: Duration = Duration::from_secs(30);

/// A screen, which nobody sees but [`Qmp`](crate::Qmp).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Display {
    /// VGA without a driver: 25 lines of text.
    Text,
    /// A framebuffer, with DRM.
    Graphics,
}

/// What it says to standard error, in its folder.
const MESSAGES: &str = "qemu.err";

/// What a QEMU is started with.
#[derive(Clone, Debug)]
pub struct Options {
    /// Kernel to boot.
    pub kernel: PathBuf,
    /// Its initramfs.
    pub initramfs: PathBuf,
    /// Its command line.
    pub append: String,
    /// Memory in MiB.
    pub mem_mib: u32,
    /// Number of processors.
    pub smp: u32,
    /// Disks, as /dev/vda, vdb and so on.
    pub disks: Vec<Disk>,
    /// A network card in QEMU's user network, where the host is 10.0.2.2.
    pub network: bool,
    /// A screen with a keyboard.
    pub display: Option<Display>,
    /// How processors are made.
    pub accel: Accel,
    /// Further arguments.
    pub extra: Vec<String>,
}

/// A running QEMU with its three channels.
pub struct Qemu {
    child: Child,
    /// Commands in the guest.
    pub agent: Agent,
    /// QEMU's own control channel.
    pub qmp: Qmp,
    /// The kernel log.
    pub log: Log,
    // The sockets live in it.
    folder: tempfile::TempDir,
}

impl Qemu {
    /// Starts QEMU; its kernel log goes to the file `log`, and with `echo` to
    /// standard error as well.
    ///
    /// # Errors
    ///
    /// When QEMU is missing, or ends at once (its message is in the error).
    pub fn start(options: &Options, log: &Path, echo: bool) -> Result<Self> {
        // QEMU connects to us, so that not one byte of the guest can be lost.
        let folder = tempfile::Builder::new().prefix("dormouse-vm-").tempdir()?;
        let listen = |name: &str| UnixListener::bind(folder.path().join(name));
        let (commands, control) = (listen("agent")?, listen("qmp")?);
        let messages = folder.path().join(MESSAGES);
        // The kernel kills QEMU when the thread that started it ends.
        let mut child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "--", "qemu-system-x86_64"])
            .args(arguments(options, folder.path()))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(std::fs::File::create(&messages)?)
            .spawn()
            .context("cannot start QEMU through setpriv")?;
        let said = || std::fs::read_to_string(&messages).unwrap_or_default();
        let mut connect = |listener: &UnixListener| {
            accept(listener, &mut child).with_context(|| format!("QEMU: {}", said().trim()))
        };
        let channels = connect(&commands).and_then(|port| Ok((port, connect(&control)?)));
        let output = child.stdout.take();
        let whole = channels.and_then(|(port, control)| {
            let output = output.context("QEMU without output")?;
            Ok((
                Agent::new(port)?,
                Qmp::new(control)?,
                Log::follow(output, log, echo)?,
            ))
        });
        match whole {
            Ok((agent, qmp, log)) => Ok(Qemu {
                child,
                agent,
                qmp,
                log,
                folder,
            }),
            Err(error) => {
                let _ = child.kill();
                let _ = child.wait();
                Err(error)
            }
        }
    }

    /// Types on the serial line that the kernel log comes from.
    ///
    /// # Errors
    ///
    /// When QEMU has ended.
    pub fn type_in(&mut self, bytes: &[u8]) -> Result<()> {
        let mut line = self.child.stdin.as_ref().context("QEMU without input")?;
        line.write_all(bytes).context("QEMU reads no more")
    }

    /// Whether it ended, and how.
    ///
    /// # Errors
    ///
    /// When the process cannot be waited for.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        Ok(self.child.try_wait()?)
    }

    /// Whether it ended by a signal, and if so by which, with what it said.
    pub fn crash(&mut self) -> Option<String> {
        // Its channels close a little before it can be waited for.
        std::thread::sleep(Duration::from_millis(200));
        let signal = self.ended().ok()??.signal()?;
        let said = std::fs::read_to_string(self.folder.path().join(MESSAGES));
        Some(format!(
            "signal {signal} {}",
            said.unwrap_or_default().trim()
        ))
    }

    /// Waits at most `timeout` for its end.
    ///
    /// # Errors
    ///
    /// When it still runs; the message holds the end of the kernel log.
    pub fn wait(&mut self, timeout: Duration) -> Result<ExitStatus> {
        let deadline = Instant::now() + timeout;
        loop {
            if let Some(status) = self.ended()? {
                self.log.finish();
                return Ok(status);
            }
            if Instant::now() > deadline {
                bail!("QEMU did not end in time\n{}", self.log.tail(25));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Kills it: for the guest a power cut.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        self.log.finish();
    }
}

impl Drop for Qemu {
    fn drop(&mut self) {
        self.kill();
    }
}

fn arguments(options: &Options, folder: &Path) -> Vec<String> {
    let mut args: Vec<String> = options
        .accel
        .arguments()
        .iter()
        .map(|word| word.to_string())
        .collect();
    let mut add = |words: &[&str]| args.extend(words.iter().map(|word| word.to_string()));
    // A boot takes a second less on q35, where QEMU 7.2 crashed once in some
    // hundred boots.
    add(&["-machine", "pc"]);
    add(&[
        "-cpu",
        "max",
        "-display",
        "none",
        "-nodefaults",
        "-no-user-config",
    ]);
    add(&[
        "-m",
        &options.mem_mib.to_string(),
        "-smp",
        &options.smp.to_string(),
    ]);
    add(&["-kernel", &options.kernel.to_string_lossy()]);
    add(&["-initrd", &options.initramfs.to_string_lossy()]);
    add(&["-append", &options.append]);
    add(&[
        "-chardev",
        "stdio,id=log,signal=off",
        "-device",
        "isa-serial,chardev=log",
    ]);
    let socket = |id: &str| format!("socket,id={id},path={}", folder.join(id).display());
    add(&[
        "-chardev",
        &socket("agent"),
        "-device",
        "isa-serial,chardev=agent",
    ]);
    add(&[
        "-chardev",
        &socket("qmp"),
        "-mon",
        "chardev=qmp,mode=control",
    ]);
    for (number, disk) in options.disks.iter().enumerate() {
        let file = disk.location();
        add(&[
            "-drive",
            &format!("file={file},if=virtio,format=raw,cache=unsafe,index={number}"),
        ]);
    }
    match options.display {
        // The keyboard's controller would cost each boot some tenths of a second.
        None => add(&["-machine", "i8042=off"]),
        Some(Display::Text) => add(&["-device", "isa-vga"]),
        Some(Display::Graphics) => add(&["-device", "VGA"]),
    }
    if options.network {
        add(&["-nic", "user,model=virtio-net-pci"]);
    }
    args.extend(options.extra.iter().cloned());
    args
}

fn accept(listener: &UnixListener, child: &mut Child) -> Result<UnixStream> {
    listener.set_nonblocking(true)?;
    let deadline = Instant::now() + START;
    loop {
        match listener.accept() {
            Ok((stream, _)) => {
                stream.set_nonblocking(false)?;
                return Ok(stream);
            }
            Err(error) if error.kind() != std::io::ErrorKind::WouldBlock => {
                return Err(error.into())
            }
            Err(_) => {}
        }
        if let Some(status) = child.try_wait()? {
            bail!("it ended at once ({status})");
        }
        if Instant::now() > deadline {
            bail!("it did not connect its channels");
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}
