// SPDX-License-Identifier: GPL-2.0

//! QEMU's control channel, as far as scenarios need it.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
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
