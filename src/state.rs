//! What a supervisor leaves on disk for the next one, for other instances and for readers without a socket: small JSON
//! files, each replaced as a whole by rename.
//!
//! The caller's environment is never written. What the records mean is decided in [`crate::supervisor`].

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use indexmap::IndexMap;
use pactown_netns::NetworkSpec;
use pactown_runtime::protocol::ExitRecord;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::config::ecosystem::{ServiceName, UnitName};
use crate::control::api::Published;
use crate::desired::Desired;
use crate::instance::{Instance, RUN_ROOT};
use crate::network::Addresses;
use crate::roster::Scale;

/// A record that could not be written, read or removed.
#[derive(Debug, thiserror::Error)]
#[error("cannot {step} `{path}`")]
pub struct StateError {
    /// What was being done.
    pub step: &'static str,
    /// To what.
    pub path: PathBuf,
    /// Why not.
    #[source]
    pub source: io::Error,
}

/// `<run_dir>/instance.json`: the wish.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct InstanceRecord {
    /// What shall run; without the caller's environment.
    pub desired: Desired,
    /// The units that were asked for last, with what they need.
    pub wanted: Vec<UnitName>,
    /// How many replicas of which services were asked for by hand.
    #[serde(default)]
    pub scale: Scale,
    /// Health checks are left out.
    pub no_health: bool,
    /// A command owns the run: without it, everything ends.
    pub attached: bool,
    /// Everything is ending.
    pub ending: bool,
}

/// `<run_dir>/network.json`: read by other instances that choose a subnet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkRecord {
    /// The network.
    pub spec: NetworkSpec,
    /// Address of each service and each replica.
    pub addresses: Addresses,
    /// Addresses for build sandboxes.
    pub builds: Vec<std::net::Ipv4Addr>,
    /// Host ports of each service.
    pub published: IndexMap<ServiceName, Vec<Published>>,
}

/// `<run_dir>/services/<name>.json`: where one unit stands, from its first start until it leaves the ecosystem.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ServiceRecord {
    /// Its name.
    pub name: UnitName,
    /// What the supervisor decides by; written and read by it alone.
    pub standing: serde_json::Value,
    /// Its process, while there is one.
    pub process: Option<ProcessRecord>,
    /// How it ended last.
    pub exit: Option<ExitRecord>,
    /// When the wall clock starts it next, if it does.
    pub appointment: Option<AppointmentRecord>,
    /// What it was made from.
    pub fingerprint: serde_json::Value,
}

/// The process of a running sandbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessRecord {
    /// Host pid of pid 1.
    pub pid: i32,
    /// Its start in clock ticks since boot: with the pid, its identity.
    pub start_time: u64,
    /// Start, microseconds since the Unix epoch.
    pub started_at_usec: u64,
}

impl ProcessRecord {
    /// How long it has run, by a clock that nobody can set and that goes on while the machine sleeps.
    pub fn age(&self) -> Duration {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
        let now = Duration::try_from(now).unwrap_or_default();
        let ticks = rustix::param::clock_ticks_per_second().max(1);
        now.saturating_sub(Duration::from_millis(
            self.start_time.saturating_mul(1000) / ticks,
        ))
    }
}

/// Times of a job that the wall clock starts, in seconds since the Unix epoch.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AppointmentRecord {
    /// The one that was seen to last.
    pub last: Option<i64>,
    /// The next one.
    pub next: Option<i64>,
}

impl Instance {
    /// `<run_dir>/instance.json`.
    pub fn record(&self) -> PathBuf {
        self.run_dir().join("instance.json")
    }

    /// `<run_dir>/network.json`.
    pub fn network_record(&self) -> PathBuf {
        self.run_dir().join("network.json")
    }

    /// `<run_dir>/damage`: why no supervisor can take over, while it is so.
    pub fn damage(&self) -> PathBuf {
        self.run_dir().join("damage")
    }

    /// `<run_dir>/services/<name>.json`.
    pub fn service_record(&self, service: &str) -> PathBuf {
        self.run_dir().join("services").join(format!("{service}.json"))
    }
}

/// Writes a record: a temporary file beside it, then a rename, so that a reader never sees half of it. `/run` is a
/// memory file system: no fsync.
pub fn write(path: &Path, record: &impl Serialize) -> Result<(), StateError> {
    let text = serde_json::to_vec(record).map_err(|error| failed("write", path, error.into()))?;
    write_text(path, &text, 0o600)
}

/// The same for any text; the mode is that of the file.
pub fn write_text(path: &Path, text: &[u8], mode: u32) -> Result<(), StateError> {
    if let Some(directory) = path.parent() {
        directory_0700(directory)?;
    }
    let temporary = path.with_extension("tmp");
    let _ = fs::remove_file(&temporary);
    OpenOptions::new()
        .create_new(true)
        .write(true)
        .mode(mode)
        .open(&temporary)
        .and_then(|mut file| file.write_all(text))
        .map_err(|source| failed("write", &temporary, source))?;
    fs::rename(&temporary, path).map_err(|source| failed("rename", &temporary, source))
}

/// Reads a record; `None` when there is none.
pub fn read<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, StateError> {
    match fs::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(failed("read", path, source)),
        Ok(text) => serde_json::from_slice(&text)
            .map(Some)
            .map_err(|error| failed("understand", path, error.into())),
    }
}

/// Reads a record without which no supervisor can take over. One that is not understood is laid aside, for a person to
/// look at, and `instance` is marked: commands say so at once.
///
/// # Errors
/// The text for them, in one line.
pub fn read_or_lay_aside<T: DeserializeOwned>(instance: &Instance, path: &Path) -> Result<Option<T>, String> {
    let error = match read(path) {
        Ok(record) => return Ok(record),
        Err(error) => error,
    };
    let aside = path.with_extension("json.damaged");
    let said = match fs::rename(path, &aside) {
        Ok(()) => format!("`{}` cannot be understood: {}", aside.display(), error.source),
        Err(_) => crate::error::chain(&error),
    };
    // Without the mark, commands would wait for a supervisor in vain, and then say less.
    let _ = write_text(&instance.damage(), said.as_bytes(), 0o600);
    Err(said)
}

/// Why no supervisor can take over; `None` when one can.
pub fn damage(instance: &Instance) -> Option<String> {
    fs::read_to_string(instance.damage()).ok()
}

/// Removes a record; one that is gone is fine.
pub fn remove(path: &Path) -> Result<(), StateError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed("remove", path, error)),
        _ => Ok(()),
    }
}

/// All records in `<run_dir>/services`, in no order. Damaged ones are left out: what they tell of is then unknown.
pub fn services(instance: &Instance) -> Vec<ServiceRecord> {
    let Ok(entries) = fs::read_dir(instance.run_dir().join("services")) else {
        return Vec::new();
    };
    entries
        .flatten()
        .filter(|entry| entry.path().extension().is_some_and(|kind| kind == "json"))
        .filter_map(|entry| read(&entry.path()).ok().flatten())
        .collect()
}

/// The networks of all instances of this machine.
pub fn networks() -> Vec<NetworkRecord> {
    let Ok(entries) = fs::read_dir(RUN_ROOT) else {
        return Vec::new();
    };
    entries
        .flatten()
        .filter_map(|entry| read(&entry.path().join("network.json")).ok().flatten())
        .collect()
}

/// The machine-wide lock for choices that instances must not make at the same time (subnets); held until dropped.
pub fn lock() -> Result<fs::File, StateError> {
    let path = Path::new(RUN_ROOT).join("lock");
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(&path)
        .map_err(|source| failed("open", &path, source))?;
    rustix::fs::flock(&file, rustix::fs::FlockOperation::LockExclusive)
        .map_err(|error| failed("lock", &path, error.into()))?;
    Ok(file)
}

fn directory_0700(path: &Path) -> Result<(), StateError> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(|source| failed("create", path, source))
}

fn failed(step: &'static str, path: &Path, source: io::Error) -> StateError {
    StateError {
        step,
        path: path.to_owned(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_comes_back_and_is_private() {
        use std::os::unix::fs::PermissionsExt;
        let directory = std::env::temp_dir().join(format!("pactown-state-{}", std::process::id()));
        let path = directory.join("a").join("record.json");
        assert_eq!(read::<Vec<u8>>(&path).unwrap(), None);
        write(&path, &vec![1_u8, 2]).unwrap();
        write(&path, &vec![3_u8]).unwrap();
        assert_eq!(read::<Vec<u8>>(&path).unwrap(), Some(vec![3]));
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(
            fs::read_dir(path.parent().unwrap()).unwrap().count(),
            1,
            "no leftovers"
        );
        remove(&path).unwrap();
        remove(&path).unwrap();
        fs::remove_dir_all(directory).unwrap();
    }
}
