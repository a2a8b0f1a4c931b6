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
    change(spec, |record| {
        for link in links {
            let path = setting(link);
            let on = fs::read_to_string(&path)
                .during(|| format!("read `{path}`"))?
                .trim()
                != "0";
            if on && !record.contains_key(link) {
                continue;
            }
            record.entry(link.clone()).or_default().insert(spec.tag.clone());
            fs::write(&path, "1").during(|| format!("set `{path}`"))?;
        }
        Ok(())
    })
}

/// Takes this instance out; interfaces that nobody needs any more are switched off, unless somebody has switched on the
/// whole host meanwhile. Not being in is success.
pub(crate) fn release(spec: &NetworkSpec) -> Result<()> {
    if !directory(spec).join("forwarding").exists() {
        return Ok(());
    }
    change(spec, |record| {
        record.values_mut().for_each(|instances| {
            instances.remove(&spec.tag);
        });
        let host_forwards = fs::read_to_string(setting("all")).is_ok_and(|text| text.trim() != "0");
        for (link, _) in record.iter().filter(|(_, instances)| instances.is_empty()) {
            if host_forwards {
                break;
            }
            let path = setting(link);
            match fs::write(&path, "0") {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                other => other.during(|| format!("restore `{path}`"))?,
            }
        }
        record.retain(|_, instances| !instances.is_empty());
        Ok(())
    })
}

/// Reads, changes and writes the record under a lock; the write comes first to last, by rename.
fn change(spec: &NetworkSpec, work: impl FnOnce(&mut Record) -> Result<()>) -> Result<()> {
    let directory = directory(spec);
    let step = || "record the forwarding settings".to_owned();
    fs::create_dir_all(&directory).during(step)?;
    let lock = File::create(directory.join("forwarding.lock")).during(step)?;
    let _lock = Flock::lock(lock, FlockArg::LockExclusive)
        .map_err(|(_, errno)| errno)
        .during(step)?;
    let (path, beside) = (directory.join("forwarding"), directory.join("forwarding.tmp"));
    let mut record = parse(&fs::read_to_string(&path).unwrap_or_default());
    let outcome = work(&mut record);
    if record.is_empty() {
        let _ = fs::remove_file(&path);
    } else {
        fs::write(&beside, render(&record))
            .and_then(|()| fs::rename(&beside, &path))
            .during(step)?;
    }
    outcome
}

fn parse(text: &str) -> Record {
    let row = |line: &str| {
        let (link, tags) = line.split_once(' ')?;
        Some((link.to_owned(), tags.split(' ').map(str::to_owned).collect()))
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
        assert!(parse("").is_empty() && parse("garbage").is_empty());
    }
}
