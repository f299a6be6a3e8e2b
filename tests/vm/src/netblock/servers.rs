// SPDX-License-Identifier: GPL-2.0

//! NBD servers of other people, on the loopback of the host.

use std::net::{IpAddr, Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{bail, Context, Result};
use dormouse_vm::disk::Disk;
use nix::sys::signal::{kill, killpg, Signal};
use nix::unistd::Pid;

/// Name of the export of a [`Server`] that has one.
pub const EXPORT: &str = "disk";

/// How long a server may take to listen.
const START: Duration = Duration::from_secs(10);

/// Which program.
#[derive(Clone, Debug)]
pub enum Program {
    /// qemu-nbd with further arguments.
    Qemu(Vec<String>),
    /// nbdkit with its arguments.
    Nbdkit(Vec<String>),
    /// nbd-server.
    NbdServer,
}

/// A server that is killed when it is dropped, and can be started again.
pub struct Server {
    program: Program,
    disk: PathBuf,
    address: IpAddr,
    port: u16,
    child: Option<Child>,
    folder: tempfile::TempDir,
}

/// A port of the loopback that nobody uses.
///
/// # Errors
///
/// When there is none.
pub fn free_port() -> Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    Ok(listener.local_addr()?.port())
}

fn words(list: &[&str]) -> Vec<String> {
    list.iter().map(|word| word.to_string()).collect()
}

impl Server {
    fn new(program: Program, size: &str) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("dormouse-nbd-").tempdir()?;
        let disk = folder.path().join(EXPORT);
        let bytes = dormouse_vm::disk::parse_size(size)?;
        std::fs::File::create(&disk)?.set_len(bytes)?;
        let mut server = Server {
            program,
            disk,
            address: Ipv4Addr::LOCALHOST.into(),
            port: free_port()?,
            child: None,
            folder,
        };
        server.start()?;
        Ok(server)
    }

    /// qemu-nbd that exports an empty disk of `size` as [`EXPORT`].
    ///
    /// # Errors
    ///
    /// When it does not start.
    pub fn qemu(size: &str, arguments: &[&str]) -> Result<Self> {
        Server::new(Program::Qemu(words(arguments)), size)
    }

    /// nbdkit, whose arguments may hold `DISK` and `FOLDER`.
    ///
    /// # Errors
    ///
    /// When it does not start.
    pub fn nbdkit(size: &str, arguments: &[&str]) -> Result<Self> {
        Server::new(Program::Nbdkit(words(arguments)), size)
    }

    /// nbd-server that exports an empty disk of `size` as [`EXPORT`].
    ///
    /// # Errors
    ///
    /// When it does not start.
    pub fn nbd_server(size: &str) -> Result<Self> {
        Server::new(Program::NbdServer, size)
    }

    /// The disk that is exported.
    pub fn disk(&self) -> &Path {
        &self.disk
    }

    /// Writes `bytes` to the disk, `at` bytes from its beginning.
    ///
    /// # Errors
    ///
    /// When the host does not.
    pub fn write_at(&self, at: u64, bytes: &[u8]) -> Result<()> {
        let file = std::fs::File::options().write(true).open(&self.disk)?;
        Ok(file.write_all_at(bytes, at)?)
    }

    /// Fills `bytes` with what the disk has `at` bytes from its beginning.
    ///
    /// # Errors
    ///
    /// When the disk ends before.
    pub fn read_at(&self, at: u64, bytes: &mut [u8]) -> Result<()> {
        Ok(std::fs::File::open(&self.disk)?.read_exact_at(bytes, at)?)
    }

    /// Replaces the arguments, from the next start on.
    pub fn set_arguments(&mut self, arguments: &[&str]) {
        match &mut self.program {
            Program::Qemu(list) | Program::Nbdkit(list) => *list = words(arguments),
            Program::NbdServer => {}
        }
    }

    /// Starts it again at another port.
    ///
    /// # Errors
    ///
    /// As [`Server::start`].
    pub fn move_away(&mut self) -> Result<()> {
        self.port = free_port()?;
        self.start()
    }

    /// Starts it again at another address of the loopback.
    ///
    /// # Errors
    ///
    /// As [`Server::start`].
    pub fn listen(&mut self, address: &str) -> Result<u16> {
        self.address = address.parse()?;
        self.start()?;
        Ok(self.port)
    }

    /// Starts the program, on the same port as ever.
    ///
    /// # Errors
    ///
    /// When it does not listen in time.
    pub fn start(&mut self) -> Result<()> {
        self.stop();
        let log = std::fs::File::create(self.folder.path().join("log"))?;
        let child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "--"])
            .args(self.command()?)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .context("cannot start setpriv")?;
        self.child = Some(child);
        let deadline = Instant::now() + START;
        while TcpStream::connect((self.address, self.port)).is_err() {
            if Instant::now() > deadline {
                let evidence = self.evidence();
                bail!("{:?} does not listen: {evidence}", self.program);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        while matches!(self.program, Program::NbdServer) && !self.daemon().exists() {
            if Instant::now() > deadline {
                bail!("nbd-server does not say who it is");
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    fn command(&self) -> Result<Vec<String>> {
        let (address, port) = (self.address.to_string(), self.port.to_string());
        let disk = self.disk.to_string_lossy();
        Ok(match &self.program {
            Program::Qemu(extra) => {
                let mut list = words(&["qemu-nbd", "--persistent", "-b", &address, "-p"]);
                list.extend(words(&[&port, "-f", "raw", "-x", EXPORT]));
                list.extend(extra.iter().cloned());
                list.push(disk.into_owned());
                list
            }
            Program::Nbdkit(extra) => {
                let mut list = words(&["nbdkit", "-f", "-i", &address, "-p", &port]);
                let folder = self.folder.path().to_string_lossy();
                let place = |word: &String| word.replace("DISK", &disk).replace("FOLDER", &folder);
                list.extend(extra.iter().map(place));
                list
            }
            Program::NbdServer => {
                let config = self.folder.path().join("config");
                let text = format!(
                    "[generic]\nlistenaddr = {address}\nport = {port}\n\
                     [{EXPORT}]\nexportname = {disk}\nflush = true\nfua = true\n"
                );
                std::fs::write(&config, text)?;
                let pid = self.daemon().to_string_lossy().into_owned();
                words(&["nbd-server", "-C", &config.to_string_lossy(), "-p", &pid])
            }
        })
    }

    /// Where nbd-server says who it is: it becomes a daemon with a process for
    /// each client.
    fn daemon(&self) -> PathBuf {
        self.folder.path().join("pid")
    }

    /// Kills it, with all that it has not written.
    pub fn stop(&mut self) {
        let pid = std::fs::read_to_string(self.daemon());
        if let Some(pid) = pid.ok().and_then(|pid| pid.trim().parse().ok()) {
            let _ = killpg(Pid::from_raw(pid), Signal::SIGKILL);
            let _ = std::fs::remove_file(self.daemon());
        }
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Whether it was started, and has ended by itself.
    pub fn has_ended(&mut self) -> bool {
        let status = self.child.as_mut().map(Child::try_wait);
        matches!(status, Some(Ok(Some(_))))
    }

    /// Whether it still runs, and what it has said.
    pub fn evidence(&mut self) -> String {
        let state = match self.child.as_mut().map(Child::try_wait) {
            Some(Ok(None)) => "the server runs".to_string(),
            Some(Ok(Some(status))) => format!("the server has ended: {status}"),
            Some(Err(e)) => format!("the server: {e}"),
            None => "the server was stopped".to_string(),
        };
        let log = std::fs::read_to_string(self.folder.path().join("log"));
        format!("{state}\n{}", log.unwrap_or_default())
    }

    /// Lets it stand still: it keeps its connections, and answers nothing.
    ///
    /// # Errors
    ///
    /// When it does not run.
    pub fn pause(&self) -> Result<()> {
        self.signal(Signal::SIGSTOP)
    }

    /// Lets it go on.
    ///
    /// # Errors
    ///
    /// When it does not run.
    pub fn go_on(&self) -> Result<()> {
        self.signal(Signal::SIGCONT)
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        // What setpriv has started is the same process; nbd-server is not.
        let child = self.child.as_ref().context("the server does not run")?;
        Ok(kill(Pid::from_raw(child.id().try_into()?), signal)?)
    }

    /// Its disk as one of a machine that does not know of the server.
    pub fn as_disk(&self) -> Disk {
        let (address, port) = (self.address, self.port);
        Disk::served(&self.disk, &format!("nbd://{address}:{port}/{EXPORT}"))
    }

    /// The port where it listens.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// What a guest calls its export.
    pub fn target(&self) -> String {
        self.target_of(EXPORT)
    }

    /// What a guest calls export `name`.
    pub fn target_of(&self, name: &str) -> String {
        format!("nbd://10.0.2.2:{}/{name}", self.port)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}
