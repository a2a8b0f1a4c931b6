//! A service that failed: from its end, its log and its limits to the cause. Each rule takes the facts and answers, or
//! leaves them to the next one. Pure.

use super::names::{undeclared, unknown_name};
use super::{Cause, Diagnosis, Facts, listening, log};
use crate::events;

/// 128 + SIGSYS: the seccomp filter ended it.
const BAD_CALL: i32 = 159;

/// The cause of a failure.
pub(super) fn failed(facts: &Facts) -> Diagnosis {
    let rules: [fn(&Facts) -> Option<Diagnosis>; 14] = [
        install,
        memory,
        port,
        forbidden,
        processes,
        files,
        disk,
        undeclared,
        unknown_name,
        late,
        program,
        permission,
        unmade,
        not_permitted,
    ];
    rules
        .iter()
        .find_map(|rule| rule(facts))
        .unwrap_or_else(|| exited(facts))
}

fn install(facts: &Facts) -> Option<Diagnosis> {
    let cause = facts.row.cause.as_deref()?;
    let correct = if cause.contains(": installing ") {
        "the requirement"
    } else if cause.contains(": setting up ") {
        "the setup block"
    } else {
        return None;
    };
    let shown = facts
        .details
        .iter()
        .rev()
        .filter(|line| !line.trim().is_empty())
        .take(3);
    let mut shown: Vec<String> = shown.map(|line| line.trim().to_owned()).collect();
    shown.reverse();
    let (place, what) = cause.split_once(": ").unwrap_or((&facts.config.readme, cause));
    let place = place.rsplit_once(':').map_or(place.to_owned(), |(_, line)| {
        format!("{}:{line}", facts.config.readme)
    });
    Some(
        facts
            .says(Cause::Install, &format!("{what} ({place})"))
            .shows(shown)
            .next(format!("correct {correct} in {place}")),
    )
}

fn memory(facts: &Facts) -> Option<Diagnosis> {
    if !facts.oom {
        return None;
    }
    let size = |bytes: u64| bytesize::ByteSize(bytes).display().iec().to_string();
    let cause = facts.row.cause.as_deref().unwrap_or_default();
    if cause.contains("of all services together") {
        let next = format!(
            "write more memory into `limits:` at the top level ({})",
            facts.config.file
        );
        let what = "out of memory: all services together reached their limit";
        return Some(
            facts
                .says(Cause::Memory, what)
                .shows([facts.how_it_ended()])
                .next(next),
        );
    }
    if cause.contains("this machine was out of memory") {
        let next = "free -m".to_owned();
        let what = "this machine was out of memory, and the kernel chose it";
        return Some(
            facts
                .says(Cause::Memory, what)
                .shows([facts.how_it_ended()])
                .next(next),
        );
    }
    let limit = facts.config.memory;
    let peak = facts
        .peak
        .map(|peak| format!("most memory in use: {}", size(peak)));
    let more = (limit * 2).div_ceil(1 << 20);
    Some(
        facts
            .says(
                Cause::Memory,
                &format!("out of memory: its limit is {}", size(limit)),
            )
            .shows(peak)
            .shows([facts.how_it_ended()])
            .next(format!(
                "write `limits: {{memory: {more}M}}` below '{}' ({})",
                facts.name,
                facts.place()
            )),
    )
}

/// A port of the host, or one inside that is used twice.
fn port(facts: &Facts) -> Option<Diagnosis> {
    let host = facts
        .row
        .cause
        .as_deref()
        .filter(|cause| cause.contains(" in use by "));
    if let Some(cause) = host {
        let cause = cause.strip_prefix(&format!("{}: ", facts.name)).unwrap_or(cause);
        let next = format!(
            "end what holds it, or write another port below '{}' ({})",
            facts.name,
            facts.place()
        );
        return Some(facts.says(Cause::Port, cause).next(next));
    }
    let line = log::symptom(&facts.log, &["Address already in use", "EADDRINUSE"])?;
    let place = facts.located().and_then(|decisive| decisive.place);
    Some(
        facts
            .says(
                Cause::Port,
                "something in its own sandbox listens on that port already",
            )
            .shows([line.to_owned()])
            .shows(place)
            .next("start one server only; every sandbox has all ports to itself".to_owned()),
    )
}

fn forbidden(facts: &Facts) -> Option<Diagnosis> {
    let killed = facts.exit_code == Some(BAD_CALL);
    let said = log::symptom(&facts.log, &["Bad system call", "SIGSYS"]);
    if !killed && said.is_none() {
        return None;
    }
    Some(
        facts
            .says(
                Cause::Forbidden,
                "made a system call that no sandbox allows (SIGSYS)",
            )
            .shows(said.map(str::to_owned))
            .next(format!("pactown spec {} | jq .linux.seccomp", facts.name)),
    )
}

fn processes(facts: &Facts) -> Option<Diagnosis> {
    let busy = log::symptom(&facts.log, &["Resource temporarily unavailable", "EAGAIN"]);
    // The same words are used of sockets that are not ready.
    let busy = busy.filter(|_| log::find(&facts.log, &["fork", "spawn", "clone"]).is_some());
    let said = log::symptom(&facts.log, &["can't start new thread", "Cannot fork"]).or(busy);
    let refused = facts.witness.as_ref().map_or(0, |witness| witness.pids_refused);
    if said.is_none() && refused == 0 {
        return None;
    }
    let limit = facts.config.pids;
    Some(
        facts
            .says(
                Cause::Processes,
                &format!("too many processes and threads: its limit is {limit}"),
            )
            .shows(said.map(str::to_owned))
            .next(format!(
                "write `limits: {{pids: {}}}` below '{}' ({})",
                limit * 2,
                facts.name,
                facts.place()
            )),
    )
}

fn files(facts: &Facts) -> Option<Diagnosis> {
    let line = log::symptom(&facts.log, &["Too many open files", "EMFILE"])?;
    Some(
        facts
            .says(Cause::Files, "too many open files")
            .shows([line.to_owned()])
            .shows(facts.located().and_then(|decisive| decisive.place))
            .next(
                "close what is opened: files, sockets and pipes count; `limits: {open_files: …}` allows more"
                    .to_owned(),
            ),
    )
}

fn disk(facts: &Facts) -> Option<Diagnosis> {
    let line = log::symptom(&facts.log, &["No space left on device", "ENOSPC"])?;
    let path = log::path_in(line);
    let what = path.map_or_else(String::new, |path| format!(": {path}"));
    let told = facts
        .says(Cause::Disk, &format!("no space left{what}"))
        .shows([line.to_owned()])
        .shows(facts.located().and_then(|decisive| decisive.place));
    let elsewhere = path.is_some_and(|path| !path.starts_with("/app") && !path.starts_with("/home/app"));
    let limit = facts.config.disk.filter(|_| !elsewhere);
    Some(match limit {
        Some(bytes) => told
            .shows([format!("its disk is limited to {}", bytesize::ByteSize(bytes).display().iec())])
            .next(format!(
                "write `limits: {{disk: {}M}}` below '{}' ({})",
                (bytes * 2).div_ceil(1 << 20),
                facts.name,
                facts.place()
            )),
        None => told
            .next("write large files below /app or into a volume: /tmp holds `limits: {tmp: …}` or half of the memory limit, /run 16 MiB".to_owned())
            .next("df -h".to_owned()),
    })
}

/// It was alive, and not ready in time.
fn late(facts: &Facts) -> Option<Diagnosis> {
    let cause = facts.row.cause.as_deref()?;
    cause
        .starts_with("not healthy within")
        .then(|| listening::not_ready(facts))
}

fn program(facts: &Facts) -> Option<Diagnosis> {
    let cause = facts.row.cause.as_deref().unwrap_or_default();
    let said = log::symptom(
        &facts.log,
        &[": not found", "command not found", "No such file or directory"],
    );
    let missing =
        cause.contains("not found") || cause.contains("was not found") || cause.contains("is not installed");
    if facts.exit_code != Some(127) && !missing {
        return None;
    }
    // `sh: 1: serve: not found`
    let named = said.and_then(|line| line.rsplit(": ").nth(1)).unwrap_or_default();
    let words = match (named, missing) {
        (_, true) => cause.to_owned(),
        ("", _) => "a program that it starts is not there".to_owned(),
        (name, _) => format!("the program '{name}' is not there"),
    };
    let place = facts.located().and_then(|decisive| decisive.place);
    let whole = place.map_or_else(|| words.clone(), |place| format!("{words} ({place})"));
    let next = format!(
        "install it on this host, or name its folder in `toolchains:` below '{}' ({})",
        facts.name,
        facts.place()
    );
    let shown = said.filter(|line| !whole.contains(line)).map(str::to_owned);
    Some(
        facts
            .says(Cause::Program, &whole)
            .shows(shown)
            .next(next)
            .next("pactown doctor".to_owned()),
    )
}

fn permission(facts: &Facts) -> Option<Diagnosis> {
    let line = log::symptom(
        &facts.log,
        &["Permission denied", "EACCES", "Read-only file system", "EROFS"],
    )?;
    let read_only = line.contains("Read-only") || line.contains("EROFS");
    let word = if read_only {
        "read-only"
    } else {
        "permission denied"
    };
    let what = log::path_in(line).map_or_else(String::new, |path| format!(": {path}"));
    Some(
        facts
            .says(Cause::Permission, &format!("{word}{what}"))
            .shows([line.to_owned()])
            .shows(facts.located().and_then(|decisive| decisive.place))
            .next(format!(
                "write below /app or /tmp, or into a volume: `volumes: [\"data:/data\"]` below '{}' ({})",
                facts.name,
                facts.place()
            )),
    )
}

/// Nothing of it ever ran.
fn unmade(facts: &Facts) -> Option<Diagnosis> {
    let cause = facts.row.cause.as_deref()?;
    let ran = facts.exit_code.is_some() || facts.ran_ms.is_some();
    (!ran).then(|| {
        facts
            .says(Cause::Sandbox, cause)
            .shows(facts.details.iter().cloned())
    })
}

fn not_permitted(facts: &Facts) -> Option<Diagnosis> {
    let line = log::symptom(&facts.log, &["Operation not permitted", "EPERM"])?;
    Some(
        facts
            .says(
                Cause::Forbidden,
                "tried what no sandbox allows: operation not permitted",
            )
            .shows([line.to_owned()])
            .shows(facts.located().and_then(|decisive| decisive.place))
            .next(format!(
                "do it without privileges: '{}' has no capabilities",
                facts.name
            )),
    )
}

fn exited(facts: &Facts) -> Diagnosis {
    let decisive = facts.located();
    let said = decisive
        .as_ref()
        .map_or_else(String::new, |line| format!(": {}", line.whole()));
    facts
        .says(Cause::Exited, &format!("{}{said}", facts.how_it_ended()))
        .shows(facts.last_lines(3, decisive.as_ref().map(|line| line.text.as_str())))
        .next(facts.logs())
}

impl Facts {
    /// `exited with code 1 after 0.2 s`.
    pub(super) fn how_it_ended(&self) -> String {
        let how = match self.exit_code {
            Some(code) if code > 128 => format!("killed by {}", events::ended(code)),
            Some(code) => format!("exited with {}", events::ended(code)),
            None => self.row.cause.clone().unwrap_or_else(|| "ended".to_owned()),
        };
        match self.ran_ms {
            Some(time) => format!("{how} after {}", events::lasted(time)),
            None => how,
        }
    }

    /// The decisive line of the log.
    pub(super) fn located(&self) -> Option<log::Decisive> {
        log::decisive(&self.log, &self.config)
    }

    /// The same as evidence.
    pub(super) fn last_line(&self) -> Option<String> {
        self.located()
            .map(|decisive| format!("its last words: {}", decisive.whole()))
    }

    /// The last `count` lines of the log, without the one that was told already.
    fn last_lines(&self, count: usize, told: Option<&str>) -> Vec<String> {
        let lines = self
            .log
            .iter()
            .filter(|line| !line.trim().is_empty() && Some(line.trim()) != told);
        let lines: Vec<String> = lines.cloned().collect();
        lines[lines.len().saturating_sub(count)..].to_vec()
    }
}
