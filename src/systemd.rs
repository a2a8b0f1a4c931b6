//! On hosts where systemd is pid 1: the scope that an instance lives in, `pactown-<instance>.scope` in `pactown.slice`.
//!
//! A scope of its own is delegated (systemd leaves everything below to us), outlives the session that made it, is seen in
//! `systemd-cgls`, and ends in order with `systemctl stop`. Elsewhere nothing here does anything.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use zbus::blocking::{Connection, Proxy};
use zbus::zvariant::{OwnedObjectPath, Value};

use crate::instance::Instance;

/// The slice of all instances.
pub const SLICE: &str = "pactown.slice";
/// The group below the scope that keeper and supervisor are in: on v2 a group with groups has no processes of its own.
/// No service can have this name.
pub const KEEPER: &str = "_keeper";
/// The group below the scope that holds those of the sandboxes: the scope's own limits are systemd's.
pub const SERVICES: &str = "_services";
/// How long systemd may take for what it is asked.
const PATIENCE: Duration = Duration::from_secs(60);
/// What systemd sends to everything in the scope, and only the keeper takes for an end: the services then get their own
/// stop signals, in order. Everybody else ignores it (signal(7)).
const STOP: nix::sys::signal::Signal = nix::sys::signal::Signal::SIGURG;

/// Why systemd did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum SystemdError {
    /// It cannot be reached, or refused.
    #[error("systemd cannot {step} `{unit}`")]
    Refused {
        /// A verb.
        step: &'static str,
        /// The unit.
        unit: String,
        /// What it said.
        #[source]
        source: Box<zbus::Error>,
    },
    /// The job did not end well, or not in time.
    #[error("systemd did not {step} `{unit}`: {result}")]
    Job {
        /// A verb.
        step: &'static str,
        /// The unit.
        unit: String,
        /// `failed`, `timeout`, … (org.freedesktop.systemd1(5), JobRemoved).
        result: String,
    },
}

/// Whether systemd is pid 1 (sd_booted(3)). Does not change while the machine runs.
pub fn is_init() -> bool {
    static BOOTED: OnceLock<bool> = OnceLock::new();
    *BOOTED.get_or_init(|| Path::new("/run/systemd/system").is_dir())
}

/// Whether the sandboxes' groups are below the instance's scope: with systemd on pure cgroup v2. On v1 the scope holds
/// the processes, and the groups with the limits are where they are without systemd.
pub fn holds_groups() -> bool {
    is_init() && Path::new("/sys/fs/cgroup/cgroup.controllers").exists()
}

/// Name of the instance's scope.
pub fn scope(instance: &Instance) -> String {
    format!("pactown-{}.scope", instance.name)
}

/// The instance whose scope has this name.
pub fn instance_of(scope: &str) -> Option<&str> {
    scope.strip_prefix("pactown-")?.strip_suffix(".scope")
}

/// Puts `keeper`, which has not begun yet, into a scope of the instance's own. `patience` is what its services may need
/// to stop; after it, systemd ends what is left. What an earlier run left of the unit is ended first.
///
/// # Errors
/// systemd cannot be reached or refuses.
pub fn adopt(instance: &Instance, keeper: u32, patience: Duration) -> Result<(), SystemdError> {
    let unit = scope(instance);
    end(instance)?;
    let wanted = unit.clone();
    job("start", &unit, move |manager| {
        let microseconds = u64::try_from(patience.as_micros()).unwrap_or(u64::MAX);
        let properties: Vec<(&str, Value)> = vec![
            (
                "Description",
                Value::from(format!("pactown: {}", wanted.trim_end_matches(".scope"))),
            ),
            ("Slice", Value::from(SLICE)),
            ("PIDs", Value::from(vec![keeper])),
            ("Delegate", Value::from(true)),
            ("KillSignal", Value::from(STOP as i32)),
            ("TimeoutStopUSec", Value::from(microseconds)),
            // Sandboxes have limits of their own; a failed stop must not keep the name.
            ("TasksMax", Value::from(u64::MAX)),
            ("CollectMode", Value::from("inactive-or-failed")),
        ];
        let auxiliary: Vec<(&str, Vec<(&str, Value)>)> = Vec::new();
        manager.call(
            "StartTransientUnit",
            &(wanted.as_str(), "fail", properties, auxiliary),
        )
    })?;
    if holds_groups() {
        enter(instance, keeper).map_err(|source| SystemdError::Refused {
            step: "delegate",
            unit,
            source: Box::new(source.into()),
        })?;
    }
    Ok(())
}

/// Moves the keeper out of the inner node, which the scope is about to become.
fn enter(instance: &Instance, keeper: u32) -> io::Result<()> {
    let group = directory(instance).join(KEEPER);
    fs::create_dir_all(&group)?;
    fs::write(group.join("cgroup.procs"), keeper.to_string())
}

/// The scope's directory on v2.
fn directory(instance: &Instance) -> PathBuf {
    Path::new("/sys/fs/cgroup").join(SLICE).join(scope(instance))
}

/// Ends the scope, with whatever is in it, and waits until systemd has removed it. Gone already is success.
///
/// # Errors
/// systemd cannot be reached or refuses.
pub fn end(instance: &Instance) -> Result<(), SystemdError> {
    // It goes by itself with its last process, mostly before we look.
    if !is_init() || (holds_groups() && !directory(instance).exists()) {
        return Ok(());
    }
    let unit = scope(instance);
    let wanted = unit.clone();
    let stopped = job("stop", &unit, move |manager| {
        manager.call("StopUnit", &(wanted.as_str(), "replace"))
    });
    match stopped {
        Err(SystemdError::Refused { source, .. }) if is_unknown(&source) => {
            // Not systemd's, then: what somebody made by hand is as empty as it was.
            for group in [KEEPER, SERVICES] {
                let _ = fs::remove_dir(directory(instance).join(group));
            }
            let _ = fs::remove_dir(directory(instance));
            Ok(())
        }
        other => other,
    }
}

fn is_unknown(error: &zbus::Error) -> bool {
    matches!(error, zbus::Error::MethodError(name, _, _) if name.as_str() == "org.freedesktop.systemd1.NoSuchUnit")
}

/// Whether the manager answers.
///
/// # Errors
/// Why it does not.
pub fn answers() -> Result<(), SystemdError> {
    within(SLICE, "find", || {
        let _: String = manager(&Connection::system()?)?.get_property("Version")?;
        Ok("done".to_owned())
    })
}

/// Asks for a job and waits for its end.
fn job(
    step: &'static str,
    unit: &str,
    ask: impl FnOnce(&Proxy<'_>) -> zbus::Result<OwnedObjectPath> + Send + 'static,
) -> Result<(), SystemdError> {
    within(unit, step, move || {
        let connection = Connection::system()?;
        let manager = manager(&connection)?;
        let _: () = manager.call("Subscribe", &())?;
        // Listened for before it is asked for: a job that ends at once is not missed.
        let ended = manager.receive_signal("JobRemoved")?;
        let job = ask(&manager)?;
        for signal in ended {
            let (_, path, _, result): (u32, OwnedObjectPath, String, String) = signal.body().deserialize()?;
            if path == job {
                return Ok(result);
            }
        }
        Ok("the connection was closed".to_owned())
    })
}

fn manager(connection: &Connection) -> zbus::Result<Proxy<'static>> {
    Proxy::new_owned(
        connection.clone(),
        "org.freedesktop.systemd1",
        "/org/freedesktop/systemd1",
        "org.freedesktop.systemd1.Manager",
    )
}

/// Runs on a thread of its own: callers may be inside of an event loop, and a manager that hangs hangs nobody else.
fn within(
    unit: &str,
    step: &'static str,
    ask: impl FnOnce() -> zbus::Result<String> + Send + 'static,
) -> Result<(), SystemdError> {
    let (tell, told) = mpsc::channel();
    std::thread::spawn(move || tell.send(ask()));
    let unit = unit.to_owned();
    let ended = |result: &str| SystemdError::Job {
        step,
        unit: unit.clone(),
        result: result.to_owned(),
    };
    match told.recv_timeout(PATIENCE) {
        Ok(Ok(result)) if result == "done" => Ok(()),
        Ok(Ok(result)) => Err(ended(&result)),
        Ok(Err(source)) => Err(SystemdError::Refused {
            step,
            unit: unit.clone(),
            source: Box::new(source),
        }),
        Err(RecvTimeoutError::Timeout) => Err(ended("it does not answer")),
        Err(RecvTimeoutError::Disconnected) => Err(ended("the question failed")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scope_leads_back_to_its_instance() {
        let instance = Instance::new("shop", Path::new("/a"), Some("pr-1"));
        let unit = scope(&instance);
        assert_eq!(instance_of(&unit), Some(instance.name.as_str()));
        assert_eq!(instance_of("session-1.scope"), None);
    }
}
