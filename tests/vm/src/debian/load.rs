// SPDX-License-Identifier: GPL-2.0

//! What runs in Debian while it hibernates: pgbench, and a session over ssh.

use anyhow::{ensure, Context, Result};
use dormouse_vm::Vm;

/// Starts the load. The units are those that have to be there with the same process later.
const START: &str = "
set -e
su postgres -c 'createdb bench && pgbench -q -i -s 2 bench && psql -q -c \"CREATE EXTENSION amcheck\" bench'
systemd-run --quiet --unit=load --uid=postgres pgbench -n -c 3 -T 1000000 bench
systemd-run --quiet --unit=session ssh root@localhost 'while sleep 1; do echo $((n += 1)) > /run/session; done'
until [ -s /run/session ]; do sleep 1; done
";

/// The sums of pgbench, which every one of its transactions keeps equal, in one snapshot.
const SUMS: &str = "su postgres -c \"psql -qAt -F ' ' -c 'SELECT \
    (SELECT sum(abalance) FROM pgbench_accounts), (SELECT sum(tbalance) FROM pgbench_tellers), \
    (SELECT sum(bbalance) FROM pgbench_branches), (SELECT coalesce(sum(delta), 0) FROM pgbench_history), \
    (SELECT count(*) FROM pgbench_history)' bench\"";

/// All services with their processes, in one call: each takes seconds under translation.
const SERVICES: &str = "systemctl show --no-pager -p Id -p MainPID -p SubState '*.service'";

/// The load, and what was seen of it.
pub struct Load {
    services: Vec<String>,
    transactions: u64,
    session: u64,
}

/// Services that come and go by themselves.
const PASSING: &[&str] = &[
    "systemd-hostnamed",
    "systemd-timedated",
    "systemd-localed",
    "user@",
];

/// Those that run and stay, as `UNIT PROCESS`.
fn services(vm: &mut Vm) -> Result<Vec<String>> {
    let text = vm.run(SERVICES)?;
    let running = text.split("\n\n").filter_map(|block| {
        let value = |name: &str| {
            block
                .lines()
                .find_map(|line| line.strip_prefix(name)?.strip_prefix('='))
        };
        let unit = value("Id")?;
        let stays = !PASSING.iter().any(|name| unit.starts_with(name));
        let runs = value("SubState")? == "running";
        (runs && stays).then(|| format!("{unit} {}", value("MainPID").unwrap_or("?")))
    });
    Ok(running.collect())
}

/// How many transactions were made; their sums have to be the same.
fn transactions(vm: &mut Vm) -> Result<u64> {
    let text = vm.run(SUMS)?;
    let sums: Vec<&str> = text.split_whitespace().collect();
    let [accounts, tellers, branches, history, count] = sums[..] else {
        anyhow::bail!("the sums of pgbench are '{text}'");
    };
    ensure!(
        accounts == tellers && accounts == branches && accounts == history,
        "the database is not consistent: accounts {accounts}, tellers {tellers}, branches {branches}, history {history}"
    );
    Ok(count.parse()?)
}

fn session(vm: &mut Vm) -> Result<u64> {
    Ok(vm.run("cat /run/session")?.trim().parse()?)
}

impl Load {
    /// Starts it and looks at everything once.
    pub fn start(vm: &mut Vm) -> Result<Load> {
        vm.run(START)?;
        vm.run("sleep 5")?;
        let load = Load {
            services: services(vm)?,
            transactions: transactions(vm)?,
            session: session(vm)?,
        };
        for name in [
            "ssh.service",
            "postgresql@",
            "load.service",
            "session.service",
        ] {
            let is_there = load.services.iter().any(|line| line.starts_with(name));
            ensure!(is_there, "{name} does not run: {:?}", load.services);
        }
        Ok(load)
    }

    /// Everything runs as before, with the same processes, and has gone on meanwhile.
    ///
    /// # Errors
    ///
    /// What does not, or is not consistent.
    pub fn goes_on(&mut self, vm: &mut Vm) -> Result<String> {
        vm.run("sleep 5")?;
        let now = services(vm)?;
        let lost: Vec<&String> = self
            .services
            .iter()
            .filter(|line| !now.contains(line))
            .collect();
        ensure!(
            lost.is_empty(),
            "not running any more: {lost:?}, but {now:?}"
        );
        let failed = vm.run("systemctl --failed --no-legend --no-pager")?;
        ensure!(failed.trim().is_empty(), "units failed: {failed}");
        let (made, lines) = (transactions(vm)?, session(vm)?);
        ensure!(made > self.transactions, "no transactions since: {made}");
        ensure!(
            lines > self.session,
            "the ssh session stands still at {lines}"
        );
        vm.run("ssh root@localhost true")
            .context("no new ssh session")?;
        let said = vm.run(
            "v=$(cat /etc/postgresql-version); \
             su postgres -c \"/usr/lib/postgresql/$v/bin/pg_amcheck --heapallindexed bench\" 2>&1",
        )?;
        ensure!(said.trim().is_empty(), "pg_amcheck: {said}");
        let done = format!("{} transactions more", made - self.transactions);
        (self.transactions, self.session) = (made, lines);
        Ok(done)
    }

    /// Ends it, and has the database check every page on the disk.
    ///
    /// # Errors
    ///
    /// What is wrong.
    pub fn end(self, vm: &mut Vm) -> Result<()> {
        vm.run("systemctl stop load session")?;
        let count = transactions(vm)?;
        ensure!(count >= self.transactions, "transactions were lost");
        let said = vm.run(
            "systemctl stop postgresql 'postgresql@*' && v=$(cat /etc/postgresql-version) && \
             su postgres -c \"/usr/lib/postgresql/$v/bin/pg_checksums --check -D /var/lib/postgresql/$v/main\"",
        )?;
        ensure!(said.contains("Bad checksums:  0"), "pg_checksums: {said}");
        Ok(())
    }
}
