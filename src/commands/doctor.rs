//! `doctor`: what this machine has and lacks, and what runs that have ended left on it.

use std::fs;

use serde::Serialize;
use serde_json::json;

use super::{Context, preflight, privilege};
use crate::caller::Caller;
use crate::cli;
use crate::error::{Error, chain};
use crate::host::{Capacity, Weigher};
use crate::{remains, systemd, toolchain};

pub(super) fn run(context: &Context, arguments: &cli::DoctorArguments) -> Result<(), Error> {
    privilege::require_root()?;
    if arguments.leaks {
        return leaks(context);
    }
    let rows = rows();
    if context.json {
        context.output.json(&rows)?;
    } else {
        let cells = rows.iter().map(|row| {
            vec![
                if row.present { "✓" } else { "✗" }.to_owned(),
                row.name.clone(),
                row.detail.clone(),
            ]
        });
        context.output.table(&["", "WHAT", ""], cells.collect());
    }
    let lacking: Vec<&str> = rows
        .iter()
        .filter(|row| row.needed && !row.present)
        .map(|row| row.name.as_str())
        .collect();
    if lacking.is_empty() {
        return Ok(());
    }
    Err(Error::Environment {
        message: format!("this host lacks {}", lacking.join(", ")),
        hint: None,
    })
}

fn leaks(context: &Context) -> Result<(), Error> {
    let found = remains::leaks();
    if context.json {
        context.output.json(&json!({"leaks": found}))?;
    } else if found.is_empty() {
        context.output.line("none");
    } else {
        found.iter().for_each(|line| context.output.line(line));
    }
    match found.len() {
        0 => Ok(()),
        count => Err(Error::Failed(format!(
            "{count} things are left of runs that have ended; `pactown down` in their project removes them"
        ))),
    }
}

/// One line of the report.
#[derive(Debug, Serialize)]
pub(super) struct Row {
    name: String,
    present: bool,
    needed: bool,
    detail: String,
}

/// What this machine has and lacks.
pub(super) fn rows() -> Vec<Row> {
    let mut rows: Vec<Row> = preflight::features()
        .into_iter()
        .map(|(name, missing, remedy)| Row {
            name: name.to_owned(),
            present: missing.is_none(),
            needed: true,
            detail: missing.map(|why| format!("{why}; {remedy}")).unwrap_or_default(),
        })
        .collect();
    rows.push(landlock());
    rows.push(cgroup_mode());
    rows.extend(limits());
    rows.push(systemd_scopes());
    rows.push(inotify());
    rows.extend(toolchains());
    rows
}

/// A second layer: sandboxes hold without it, and say that they do.
fn landlock() -> Row {
    let version = pactown_runtime::landlock::version();
    Row {
        name: "Landlock".to_owned(),
        present: version.is_ok(),
        needed: false,
        detail: version.map_or_else(|why| why, |version| format!("version {version}")),
    }
}

fn cgroup_mode() -> Row {
    let v2 = fs::metadata("/sys/fs/cgroup/cgroup.controllers").is_ok();
    let hybrid = fs::metadata("/sys/fs/cgroup/unified").is_ok();
    let mode = match (v2, hybrid) {
        (true, _) => "v2",
        (false, true) => "hybrid v1",
        (false, false) => "v1",
    };
    Row {
        name: "cgroup version".to_owned(),
        present: true,
        needed: false,
        detail: mode.to_owned(),
    }
}

/// Where each controller is, and what the limits need that not every host has.
fn limits() -> Vec<Row> {
    let capacity = Capacity::read();
    let row = |name: &str, present: bool, detail: String| Row {
        name: name.to_owned(),
        present,
        needed: false,
        detail,
    };
    let controller = |name: &str| match capacity.version(name) {
        None => row(
            &format!("controller {name}"),
            false,
            "limits by it are refused".to_owned(),
        ),
        Some(is_v2) => row(
            &format!("controller {name}"),
            true,
            if is_v2 { "v2" } else { "v1" }.to_owned(),
        ),
    };
    let mut rows: Vec<Row> = ["memory", "cpu", "pids", "io"]
        .into_iter()
        .map(controller)
        .collect();
    let weights = match capacity.io_weights {
        Some(Weigher::Bfq) => (true, "a disk has the scheduler BFQ".to_owned()),
        Some(Weigher::IoCost) => (true, "io.cost is on".to_owned()),
        None => (
            false,
            "no disk has the scheduler BFQ: `io_weight` is refused".to_owned(),
        ),
    };
    rows.push(row("weights of I/O", weights.0, weights.1));
    let disks = match (&capacity.mkfs, capacity.loops) {
        (None, _) => (false, "`disk` is refused: install e2fsprogs".to_owned()),
        (_, false) => (false, "`disk` is refused: `modprobe loop`".to_owned()),
        (Some(program), true) => (true, format!("loop devices and {}", program.display())),
    };
    rows.push(row("limited disks", disks.0, disks.1));
    rows
}

/// Whether an instance gets a scope, and survives the end of the session that made it.
fn systemd_scopes() -> Row {
    let (present, detail) = match systemd::is_init().then(systemd::answers) {
        None => (
            true,
            "not pid 1: instances live below the group `pactown`".to_owned(),
        ),
        Some(Ok(())) => (
            true,
            format!("pid 1: each instance has a scope in `{}`", systemd::SLICE),
        ),
        Some(Err(error)) => {
            let why = format!("pid 1, and does not answer: {}; start dbus", chain(&error));
            (false, why)
        }
    };
    Row {
        name: "systemd".to_owned(),
        present,
        needed: true,
        detail,
    }
}

/// One instance is needed for each `logs -f`; services that watch files need theirs, and the limit counts for all.
fn inotify() -> Row {
    let limit = fs::read_to_string("/proc/sys/fs/inotify/max_user_instances").unwrap_or_default();
    let limit = limit.trim();
    Row {
        name: "inotify instances per user".to_owned(),
        present: limit.parse::<u32>().is_ok_and(|limit| limit >= 128),
        needed: false,
        detail: format!("{limit} (fs.inotify.max_user_instances)"),
    }
}

fn toolchains() -> Vec<Row> {
    let here = std::env::current_dir().unwrap_or_else(|_| "/".into());
    let found = toolchain::discover(&Caller::detect(), &here);
    ["python3", "uv", "node", "npm"]
        .into_iter()
        .map(|name| {
            let program = found
                .get(name)
                .map(|toolchain| toolchain.program.display().to_string());
            Row {
                name: name.to_owned(),
                present: program.is_some(),
                needed: false,
                detail: program.unwrap_or_else(|| "not found in PATH".to_owned()),
            }
        })
        .collect()
}
