// SPDX-License-Identifier: GPL-2.0

//! QEMU's control channel, as far as scenarios need it.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use anyhow::{bail, Context, Result};
use serde_json::{json, Value};

/// A connection that is ready for commands.
pub struct Qmp {
    writer: UnixStream,
    reader: BufReader<UnixStream>,
    events: Vec<String>,
}

impl Qmp {
    /// Greets QEMU over `stream`.
    ///
    /// # Errors
    ///
    /// When QEMU does not speak QMP there.
    pub fn new(stream: UnixStream) -> Result<Self> {
        stream.set_read_timeout(Some(Duration::from_secs(30)))?;
        let mut qmp = Qmp {
            reader: BufReader::new(stream.try_clone()?),
            writer: stream,
            events: Vec::new(),
        };
        let greeting = qmp.read()?;
        if greeting.get("QMP").is_none() {
            bail!("QEMU's greeting is {greeting}");
        }
        qmp.command("qmp_capabilities", json!({}))?;
        Ok(qmp)
    }

    /// Runs one command, such as `system_wakeup`, and returns its answer.
    ///
    /// # Errors
    ///
    /// QEMU's refusal, or a lost connection.
    pub fn command(&mut self, name: &str, arguments: Value) -> Result<Value> {
        let line = json!({ "execute": name, "arguments": arguments });
        writeln!(self.writer, "{line}")?;
        loop {
            let mut message = self.read()?;
            if let Some(event) = message.get("event").and_then(Value::as_str) {
                self.events.push(event.to_string());
            } else if let Some(error) = message.get("error") {
                bail!("QEMU refuses {name}: {error}");
            } else if let Some(value) = message.get_mut("return") {
                return Ok(value.take());
            }
        }
    }

    /// Types the key that QEMU calls `key`, such as `esc`.
    ///
    /// # Errors
    ///
    /// As [`Qmp::command`]; when there is no keyboard.
    pub fn press(&mut self, key: &str) -> Result<()> {
        let keys = json!([{ "type": "qcode", "data": key }]);
        self.command("send-key", json!({ "keys": keys }))?;
        Ok(())
    }

    /// Lets disk number `disk` transfer at most so many bytes in a second; 0 for as many as it can.
    ///
    /// # Errors
    ///
    /// As [`Qmp::command`].
    pub fn throttle(&mut self, disk: usize, bytes: u64) -> Result<()> {
        let limits = json!({
            "device": format!("virtio{disk}"),
            "bps": bytes, "bps_rd": 0, "bps_wr": 0,
            "iops": 0, "iops_rd": 0, "iops_wr": 0,
        });
        self.command("block_set_io_throttle", limits)?;
        Ok(())
    }

    /// Stops all processors; what the disks were asked to do is done before this returns.
    ///
    /// # Errors
    ///
    /// As [`Qmp::command`].
    pub fn pause(&mut self) -> Result<()> {
        self.command("stop", json!({}))?;
        Ok(())
    }

    /// Lets them go on.
    ///
    /// # Errors
    ///
    /// As [`Qmp::command`].
    pub fn go_on(&mut self) -> Result<()> {
        self.command("cont", json!({}))?;
        Ok(())
    }

    /// Lets nothing more through to disk number `disk`, until [`Qmp::throttle`] lets it go on.
    ///
    /// # Errors
    ///
    /// As [`Qmp::command`].
    pub fn stop_disk(&mut self, disk: usize) -> Result<()> {
        self.throttle(disk, 1)?;
        // QEMU lets one request through whatever the limit is. It may be the guest's; after this
        // one there is none.
        let line = format!("qemu-io virtio{disk} \"aio_read -q 0 4096\"");
        self.command("human-monitor-command", json!({ "command-line": line }))?;
        Ok(())
    }

    /// Writes what the screen shows to the file `path`, as PNG if its name ends so, otherwise as
    /// PPM.
    ///
    /// # Errors
    ///
    /// As [`Qmp::command`]; when there is no screen.
    pub fn screenshot(&mut self, path: &Path) -> Result<()> {
        let png = path.extension().is_some_and(|end| end == "png");
        let format = if png { "png" } else { "ppm" };
        self.command("screendump", json!({ "filename": path, "format": format }))?;
        Ok(())
    }

    /// Names of the events that came until the last command, oldest first.
    pub fn events(&self) -> &[String] {
        &self.events
    }

    fn read(&mut self) -> Result<Value> {
        let mut line = String::new();
        if self
            .reader
            .read_line(&mut line)
            .context("no answer from QEMU")?
            == 0
        {
            bail!("QEMU closed its control channel");
        }
        Ok(serde_json::from_str(&line)?)
    }
}
