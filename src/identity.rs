//! Id ranges: which 65536 host ids belong to which sandbox, in one locked file for the whole machine.
//!
//! Only numbers are handed out here: mapping them is the spec's business, applying the maps the runtime's.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// Ids of one sandbox.
pub const RANGE_SIZE: u32 = 65_536;

/// The ids that files of sandboxes have on disk when they are nobody's on the host (the invoking user is root, or
/// the service wrote them under another of its ids). No process ever runs under one of them, and they stay the same
/// whichever range a sandbox gets, so that kept data outlives a reboot and two services can share a volume.
pub const STORAGE_BASE: u32 = 2_000_000_000;

/// The first range that a sandbox can get.
const FIRST_BASE: u32 = STORAGE_BASE + RANGE_SIZE;
/// The last one: devpts takes its `gid=` as a signed number on kernels that we support (6.1).
const LAST_BASE: u32 = i32::MAX.cast_unsigned() - RANGE_SIZE;

/// The host ids of one sandbox: `base` to `base + 65535`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct IdRange {
    /// The host id of the sandbox's id 0.
    pub base: u32,
}

impl IdRange {
    /// The host id of `id` inside.
    pub fn host(self, id: u32) -> u32 {
        self.base + id
    }
}

impl IdRange {
    /// The `number`th range of what is kept on disk under `name`: from the upper half, for sandboxes get the lowest
    /// free ones. Always the same, and written down nowhere.
    pub fn set_apart(name: &str, number: u32) -> Self {
        let all = (LAST_BASE - FIRST_BASE) / RANGE_SIZE;
        let half = all / 2;
        let digest: [u8; 32] = Sha256::digest(name.as_bytes()).into();
        let first = u32::from_be_bytes([digest[0], digest[1], digest[2], digest[3]]) % half;
        Self {
            base: FIRST_BASE + (half + (first + number % half) % half) * RANGE_SIZE,
        }
    }
}

/// Why no range could be had or given back.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// The directory, lock or file could not be used.
    #[error("cannot {step} `{path}`")]
    File {
        /// What was being done.
        step: &'static str,
        /// To what.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The file is not what this program writes.
    #[error("cannot read the id ranges in `{path}`")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where it is damaged.
        #[source]
        source: serde_json::Error,
    },
    /// Two thousand sandboxes run already.
    #[error("no free range of ids is left in `{path}`")]
    Exhausted {
        /// The file.
        path: PathBuf,
    },
}

/// What the file holds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Ranges {
    /// Sandbox key (`<instance>/<sandbox>`) → first id.
    ranges: BTreeMap<String, u32>,
}

/// The machine's ledger of ranges.
#[derive(Debug, Clone)]
pub struct Ledger {
    file: PathBuf,
    subids: Vec<PathBuf>,
}

impl Ledger {
    /// The machine's own: `/run/pactown/ids.json`, keeping off `/etc/subuid` and `/etc/subgid` (subuid(5)).
    pub fn system() -> Self {
        Self::at(
            &Path::new(crate::instance::RUN_ROOT).join("ids.json"),
            &["/etc/subuid", "/etc/subgid"].map(PathBuf::from),
        )
    }

    /// Another file, keeping off the ranges that `subids` name.
    pub fn at(file: &Path, subids: &[PathBuf]) -> Self {
        Self {
            file: file.to_owned(),
            subids: subids.to_owned(),
        }
    }

    /// The range of sandbox `key` (`<instance>/<sandbox>`): the one it has, else the lowest free one.
    pub fn allocate(&self, key: &str) -> Result<IdRange, IdentityError> {
        let _lock = self.lock()?;
        let mut ranges = self.read()?;
        if let Some(base) = ranges.ranges.get(key) {
            return Ok(IdRange { base: *base });
        }
        let base = free_base(&ranges, &self.foreign()).ok_or_else(|| IdentityError::Exhausted {
            path: self.file.clone(),
        })?;
        ranges.ranges.insert(key.to_owned(), base);
        self.write(&ranges)?;
        Ok(IdRange { base })
    }

    /// Gives the range of sandbox `key` back; one that it never had is fine.
    pub fn release(&self, key: &str) -> Result<(), IdentityError> {
        self.retain(|known| known != key)
    }

    /// Gives back every range of `instance`.
    pub fn release_instance(&self, instance: &str) -> Result<(), IdentityError> {
        let prefix = format!("{instance}/");
        self.retain(|known| !known.starts_with(&prefix))
    }

    /// The instances that have ranges.
    pub fn instances(&self) -> Result<Vec<String>, IdentityError> {
        let ranges = self.read()?;
        let names = ranges.ranges.keys().filter_map(|key| key.split_once('/'));
        let mut names: Vec<String> = names.map(|(instance, _)| instance.to_owned()).collect();
        names.dedup();
        Ok(names)
    }

    fn retain(&self, keep: impl Fn(&str) -> bool) -> Result<(), IdentityError> {
        if !self.file.exists() && !self.temporary().exists() {
            return Ok(());
        }
        let _lock = self.lock()?;
        // Half-written by somebody who was killed.
        remove(&self.temporary())?;
        let mut ranges = self.read()?;
        let before = ranges.ranges.len();
        ranges.ranges.retain(|key, _| keep(key));
        if ranges.ranges.len() == before {
            Ok(())
        } else {
            self.write(&ranges)
        }
    }

    fn temporary(&self) -> PathBuf {
        self.file.with_extension("tmp")
    }

    fn lock(&self) -> Result<File, IdentityError> {
        if let Some(directory) = self.file.parent() {
            fs::create_dir_all(directory).map_err(|source| failed("create", directory, source))?;
        }
        let path = self.file.with_extension("lock");
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(&path)
            .map_err(|source| failed("open", &path, source))?;
        rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive)
            .map_err(|error| failed("lock", &path, error.into()))?;
        Ok(lock)
    }

    fn read(&self) -> Result<Ranges, IdentityError> {
        match fs::read(&self.file) {
            Ok(text) => serde_json::from_slice(&text).map_err(|source| IdentityError::Damaged {
                path: self.file.clone(),
                source,
            }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Ranges::default()),
            Err(source) => Err(failed("read", &self.file, source)),
        }
    }

    /// By rename, so that a reader never sees half of it. `/run` is a memory file system: no fsync.
    fn write(&self, ranges: &Ranges) -> Result<(), IdentityError> {
        if ranges.ranges.is_empty() {
            return remove(&self.file);
        }
        let temporary = self.temporary();
        let text = serde_json::to_vec_pretty(ranges).expect("a map of numbers is JSON");
        OpenOptions::new()
            .create(true)
            .truncate(true)
            .write(true)
            .mode(0o600)
            .open(&temporary)
            .and_then(|mut file| file.write_all(&text))
            .map_err(|source| failed("write", &temporary, source))?;
        fs::rename(&temporary, &self.file).map_err(|source| failed("rename", &temporary, source))
    }

    /// Ranges that somebody else may use: what `/etc/subuid` and `/etc/subgid` give away.
    fn foreign(&self) -> Vec<(u64, u64)> {
        self.subids
            .iter()
            .filter_map(|file| fs::read_to_string(file).ok())
            .flat_map(|text| subordinate(&text))
            .collect()
    }
}

fn failed(step: &'static str, path: &Path, source: io::Error) -> IdentityError {
    IdentityError::File {
        step,
        path: path.to_owned(),
        source,
    }
}

fn remove(path: &Path) -> Result<(), IdentityError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed("remove", path, error)),
        _ => Ok(()),
    }
}

/// The ranges in `name:first:count` lines (subuid(5)) as first and last id; lines of another shape mean nothing.
fn subordinate(text: &str) -> Vec<(u64, u64)> {
    text.lines()
        .filter_map(|line| {
            let mut parts = line.trim().splitn(3, ':').skip(1);
            let first: u64 = parts.next()?.parse().ok()?;
            let count: u64 = parts.next()?.parse().ok()?;
            (count > 0).then(|| (first, first.saturating_add(count - 1)))
        })
        .collect()
}

/// The lowest range that neither a sandbox nor somebody else has.
fn free_base(ranges: &Ranges, foreign: &[(u64, u64)]) -> Option<u32> {
    let taken: std::collections::BTreeSet<u32> = ranges.ranges.values().copied().collect();
    (FIRST_BASE..=LAST_BASE)
        .step_by(RANGE_SIZE as usize)
        .find(|base| {
            let (first, last) = (u64::from(*base), u64::from(*base) + u64::from(RANGE_SIZE) - 1);
            !taken.contains(base) && foreign.iter().all(|(low, high)| last < *low || first > *high)
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ledger(name: &str) -> (PathBuf, Ledger) {
        let directory = std::env::temp_dir().join(format!("pactown-identity-{name}-{}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        let ledger = Ledger::at(&directory.join("ids.json"), &[directory.join("subuid")]);
        (directory, ledger)
    }

    #[test]
    fn ranges_that_are_set_apart_differ_and_stay_within_the_ids() {
        let bases: std::collections::BTreeSet<u32> = (0..1000)
            .map(|number| IdRange::set_apart("/srv/bundles", number).base)
            .collect();
        assert_eq!(bases.len(), 1000);
        let half = FIRST_BASE + (LAST_BASE - FIRST_BASE) / 2 - RANGE_SIZE;
        assert!(bases.iter().all(|base| (half..=LAST_BASE).contains(base)));
        assert!(
            bases
                .iter()
                .all(|base| (base - FIRST_BASE).is_multiple_of(RANGE_SIZE))
        );
    }

    #[test]
    fn ranges_are_disjoint_stable_and_reused_after_release() {
        let (directory, ledger) = ledger("disjoint");
        let one = ledger.allocate("shop/api").unwrap();
        let two = ledger.allocate("shop/db").unwrap();
        assert!(two.base >= one.base + RANGE_SIZE);
        assert!(one.base >= STORAGE_BASE + RANGE_SIZE);
        assert_eq!(ledger.allocate("shop/api").unwrap(), one);
        ledger.release("shop/api").unwrap();
        ledger.release("shop/api").unwrap();
        assert_eq!(ledger.allocate("other/x").unwrap(), one);
        ledger.release_instance("shop").unwrap();
        ledger.release_instance("other").unwrap();
        assert!(!directory.join("ids.json").exists());
        fs::remove_dir_all(directory).unwrap();
    }

    #[test]
    fn twenty_threads_get_twenty_ranges() {
        let (directory, ledger) = ledger("threads");
        let bases: std::collections::BTreeSet<u32> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..20)
                .map(|number| {
                    let ledger = &ledger;
                    scope.spawn(move || ledger.allocate(&format!("i/{number}")).unwrap().base)
                })
                .collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert_eq!(bases.len(), 20);
        fs::remove_dir_all(directory).unwrap();
    }

    #[test]
    fn subordinate_ids_of_the_host_are_avoided() {
        let (directory, ledger) = ledger("subuid");
        let text = format!("ann:100000:65536\n# remark\nbob:{}:200000\n", FIRST_BASE + 5);
        fs::write(directory.join("subuid"), text).unwrap();
        assert!(ledger.allocate("a/b").unwrap().base > FIRST_BASE + 200_000);
        fs::remove_dir_all(directory).unwrap();
    }

    #[test]
    fn a_damaged_file_is_said_and_kept() {
        let (directory, ledger) = ledger("damaged");
        fs::write(directory.join("ids.json"), "{").unwrap();
        assert!(
            ledger
                .allocate("a/b")
                .unwrap_err()
                .to_string()
                .contains("ids.json")
        );
        assert_eq!(fs::read_to_string(directory.join("ids.json")).unwrap(), "{");
        fs::remove_dir_all(directory).unwrap();
    }
}
