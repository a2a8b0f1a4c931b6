//! The way out of a build: a forward proxy (RFC 9110, 7.6 and 9.3.6) that lets through by name, and tells what was asked.
//! The body of an unprivileged process in the host's network; it understands no TLS and nothing of what it carries.
//!
//! One file is the talk between it and the supervisor: the first line is its [`Rules`], the rest is one line of JSON for
//! each question.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Write};
use std::net::{IpAddr, TcpListener};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use serde::{Deserialize, Serialize};

mod parents;
mod serve;

pub use parents::Parents;

/// Questions that are told; a build that asks more often is told of no more.
const MOST: usize = 20_000;

/// What a proxy lets through.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rules {
    /// `name:port` of the hosts; `None` = every host.
    pub allowed: Option<BTreeSet<String>>,
    /// Proxies that it asks in turn.
    pub parents: Parents,
}

/// One host that was asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Contact {
    /// Its name, or the address that was asked for instead of one.
    pub host: String,
    /// The port.
    pub port: u16,
    /// Addresses that were connected to.
    pub addresses: BTreeSet<IpAddr>,
    /// How often it was let through.
    pub count: u64,
    /// How often it was refused.
    pub denied: u64,
}

/// One question, as it is told.
#[derive(Serialize, Deserialize)]
struct Question {
    host: String,
    port: u16,
    address: Option<IpAddr>,
    denied: bool,
}

impl Rules {
    fn allow(&self, host: &str, port: u16) -> bool {
        let named = || format!("{host}:{port}");
        self.allowed
            .as_ref()
            .is_none_or(|allowed| allowed.contains(&named()))
    }
}

/// Writes the rules into a new file at `path`, which only root may open; the proxy gets it opened.
///
/// # Errors
/// The file cannot be made.
pub fn open(path: &Path, rules: &Rules) -> io::Result<File> {
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory)?;
    }
    let mut file = OpenOptions::new()
        .create(true)
        .truncate(true)
        .write(true)
        .read(true)
        .mode(0o600)
        .open(path)?;
    let line = serde_json::to_string(rules).map_err(io::Error::other)?;
    writeln!(file, "{line}")?;
    // The proxy reads what was written, and goes on behind it.
    io::Seek::rewind(&mut file)?;
    Ok(file)
}

/// What was asked, by host and port; nothing when there is no file.
pub fn contacts(path: &Path) -> Vec<Contact> {
    let Ok(file) = File::open(path) else {
        return Vec::new();
    };
    let mut found: BTreeMap<(String, u16), Contact> = BTreeMap::new();
    let lines = BufReader::new(file).lines().skip(1).map_while(Result::ok);
    for question in lines.filter_map(|line| serde_json::from_str::<Question>(&line).ok()) {
        let key = (question.host.clone(), question.port);
        let contact = found.entry(key).or_insert_with(|| Contact {
            host: question.host,
            port: question.port,
            addresses: BTreeSet::new(),
            count: 0,
            denied: 0,
        });
        contact.addresses.extend(question.address);
        match question.denied {
            true => contact.denied += 1,
            false => contact.count += 1,
        }
    }
    found.into_values().collect()
}

/// Serves for ever.
///
/// # Errors
/// The rules cannot be read, or the socket fails for good.
pub fn run(socket: TcpListener, talk: File) -> io::Result<()> {
    let mut reader = BufReader::new(talk.try_clone()?);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let rules: Rules = serde_json::from_str(&line).map_err(io::Error::other)?;
    let mut talk = talk;
    io::Seek::seek(&mut talk, io::SeekFrom::End(0))?;
    serve::run(socket, serve::Desk::new(rules, talk))
}

#[cfg(test)]
mod tests;
