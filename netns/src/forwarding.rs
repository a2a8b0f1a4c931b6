//! Forwarding between the uplinks and the outside: per interface, never the host's global switch. What was off before is
//! recorded, counted per instance, and switched off again by the last one.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io;
use std::path::PathBuf;

use nix::fcntl::{Flock, FlockArg};

use crate::error::{During, Result};
use crate::request::NetworkSpec;

/// Interface → the instances that need it. Interfaces that forwarded before us are not in it.
type Record = BTreeMap<String, BTreeSet<String>>;

fn directory(spec: &NetworkSpec) -> PathBuf {
    spec.directory
        .ancestors()
        .nth(2)
        .unwrap_or(&spec.directory)
        .to_path_buf()
}

fn setting(link: &str) -> String {
    format!("/proc/sys/net/ipv4/conf/{link}/forwarding")
}

/// Switches forwarding on for these interfaces, where it is off.
pub(crate) fn enable(spec: &NetworkSpec, links: &[String]) -> Result<()> {
    let mut book = Book::open(spec)?;
    let mut wanted = Vec::new();
    for link in links {
        let path = setting(link);
        let text = fs::read_to_string(&path).during(|| format!("read `{path}`"))?;
        if text.trim() == "0" || book.record.contains_key(link) {
            let instances = book.record.entry(link.clone()).or_default();
            instances.insert(spec.tag.clone());
            wanted.push(path);
        }
    }
    // First: what is on and not in the record would stay on for ever.
    book.save()?;
    let switch_on = |path: &String| fs::write(path, "1").during(|| format!("set `{path}`"));
    wanted.iter().try_for_each(switch_on)
}

/// Takes this instance out; interfaces that nobody needs any more are switched off, unless somebody has switched on the
/// whole host meanwhile. Not being in is success.
pub(crate) fn release(spec: &NetworkSpec) -> Result<()> {
    if !directory(spec).join("forwarding").exists() {
        return Ok(());
    }
    let mut book = Book::open(spec)?;
    book.record.values_mut().for_each(|instances| {
        instances.remove(&spec.tag);
    });
    let host_forwards = fs::read_to_string(setting("all")).is_ok_and(|text| text.trim() != "0");
    let mut outcome = Ok(());
    book.record.retain(|link, instances| {
        let is_needed = !instances.is_empty();
        if is_needed || host_forwards {
            return is_needed;
        }
        let path = setting(link);
        match fs::write(&path, "0") {
            Ok(()) => false,
            Err(error) if error.kind() == io::ErrorKind::NotFound => false,
            Err(error) => {
                // It stays in the record, for the next who is released.
                outcome = Err(error).during(|| format!("restore `{path}`"));
                true
            }
        }
    });
    book.save()?;
    outcome
}

/// The record, which nobody else reads or changes meanwhile.
struct Book {
    directory: PathBuf,
    record: Record,
    _lock: Flock<File>,
}

impl Book {
    fn open(spec: &NetworkSpec) -> Result<Self> {
        let directory = directory(spec);
        fs::create_dir_all(&directory).during(step)?;
        let lock = File::create(directory.join("forwarding.lock")).during(step)?;
        let lock = Flock::lock(lock, FlockArg::LockExclusive)
            .map_err(|(_, errno)| errno)
            .during(step)?;
        let text = match fs::read_to_string(directory.join("forwarding")) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            other => other.during(step)?,
        };
        Ok(Self {
            directory,
            record: parse(&text),
            _lock: lock,
        })
    }

    /// Puts it in the place of the one before, by rename: whoever is killed over it leaves the old one or the new one.
    fn save(&self) -> Result<()> {
        let (path, beside) = (
            self.directory.join("forwarding"),
            self.directory.join("forwarding.tmp"),
        );
        if self.record.is_empty() {
            return match fs::remove_file(&path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
                other => other.during(step),
            };
        }
        fs::write(&beside, render(&self.record))
            .and_then(|()| fs::rename(&beside, &path))
            .during(step)
    }
}

fn step() -> String {
    "record the forwarding settings".to_owned()
}

/// A link that no instance needs any more is in it too: it is still to be switched off.
fn parse(text: &str) -> Record {
    let row = |line: &str| {
        let (link, tags) = line.split_once(' ')?;
        let tags = tags.split(' ').filter(|tag| !tag.is_empty());
        Some((link.to_owned(), tags.map(str::to_owned).collect()))
    };
    text.lines().filter_map(row).collect()
}

fn render(record: &Record) -> String {
    record
        .iter()
        .map(|(link, tags)| format!("{link} {}\n", tags.iter().cloned().collect::<Vec<_>>().join(" ")))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_record_round_trips() {
        let text = "eth0 aaaa bbbb\nptaaaa aaaa\n";
        assert_eq!(render(&parse(text)), text);
        let unneeded = parse("eth0 \nptaaaa  aaaa \n");
        assert!(unneeded["eth0"].is_empty());
        assert_eq!(unneeded["ptaaaa"], BTreeSet::from(["aaaa".to_owned()]));
        assert_eq!(parse(&render(&unneeded)), unneeded);
        assert!(parse("").is_empty() && parse("garbage").is_empty());
    }
}
