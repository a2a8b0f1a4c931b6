//! Ceilings for what services use: a budget file → a [`Budget`], with every problem at once.

use std::path::Path;

use indexmap::IndexMap;

use super::ecosystem::ServiceName;
use super::report::Report;
use super::scalars;
use super::tree::{self, Node, Value};
use super::{read, report::did_you_mean};
use crate::diagnostics::Problems;

/// A figure of a report that can have a ceiling.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Figure {
    /// Most memory, bytes.
    MemoryPeak,
    /// CPU time, seconds.
    CpuSeconds,
    /// Most processes and threads.
    PidsPeak,
    /// Read from disks, bytes.
    ReadBytes,
    /// Written to disks, bytes.
    WriteBytes,
    /// Received, bytes.
    RxBytes,
    /// Sent, bytes.
    TxBytes,
    /// Most of the limited disk, bytes.
    DiskBytes,
    /// How long it ran, seconds.
    WallSeconds,
    /// Starts that nobody asked for.
    Restarts,
    /// Processes killed for lack of memory.
    OomKills,
}

/// How a figure is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// As `120M`.
    Bytes,
    /// As `2.5` or `1m30s`.
    Seconds,
    /// A whole number.
    Count,
}

impl Figure {
    /// All of them, by the names that they have in the report and in a budget.
    pub const ALL: [(&'static str, Self); 11] = [
        ("memory_peak", Self::MemoryPeak),
        ("cpu_seconds", Self::CpuSeconds),
        ("pids_peak", Self::PidsPeak),
        ("read_bytes", Self::ReadBytes),
        ("write_bytes", Self::WriteBytes),
        ("rx_bytes", Self::RxBytes),
        ("tx_bytes", Self::TxBytes),
        ("disk_bytes", Self::DiskBytes),
        ("wall_seconds", Self::WallSeconds),
        ("restarts", Self::Restarts),
        ("oom_kills", Self::OomKills),
    ];

    /// How it is written.
    pub fn unit(self) -> Unit {
        match self {
            Self::CpuSeconds | Self::WallSeconds => Unit::Seconds,
            Self::PidsPeak | Self::Restarts | Self::OomKills => Unit::Count,
            _ => Unit::Bytes,
        }
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        let named = Self::ALL.iter().find(|(_, figure)| *figure == self);
        named.map_or("", |(name, _)| name)
    }
}

/// Ceilings of one service, or of all together.
pub type Ceilings = Vec<(Figure, f64)>;

/// A budget.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Budget {
    /// Of each sandbox of these services.
    pub services: IndexMap<ServiceName, Ceilings>,
    /// Of all together.
    pub all: Ceilings,
}

/// Reads the file. `services` are the names that it may use.
///
/// # Errors
/// Everything that is wrong with it.
pub fn load(file: &Path, services: &[&str]) -> Result<Budget, Problems> {
    let file = std::path::absolute(file).unwrap_or_else(|_| file.to_owned());
    parse(&file, &read(&file)?, services)
}

fn parse(file: &Path, text: &str, services: &[&str]) -> Result<Budget, Problems> {
    let report = Report::new(file, text);
    let root = tree::read(text, &report);
    let mut budget = Budget::default();
    for (key, node) in root.iter().flat_map(|root| report.entries("the budget", root)) {
        match key.text.as_str() {
            "all" => budget.all = ceilings(node, &report),
            "services" => {
                for (name, node) in report.entries("services", node) {
                    if !services.contains(&name.text.as_str()) {
                        let message =
                            format!("no service '{}' is in the ecosystem", tree::shortened(&name.text));
                        let near = did_you_mean(&name.text, services.iter().copied());
                        report.error(name.mark, message, near.unwrap_or_default());
                    }
                    budget.services.insert(name.text.clone(), ceilings(node, &report));
                }
            }
            other => {
                let message = format!("unknown key '{}' in a budget", tree::shortened(other));
                report.error(key.mark, message, "known are services, all");
            }
        }
    }
    let problems = report.into_problems();
    match problems.is_fatal() {
        true => Err(problems),
        false => Ok(budget),
    }
}

fn ceilings(node: &Node, report: &Report) -> Ceilings {
    let mut found = Vec::new();
    for (key, value) in report.entries("a budget", node) {
        let known = || Figure::ALL.iter().map(|(name, _)| *name);
        let Some((_, figure)) = Figure::ALL.iter().find(|(name, _)| *name == key.text) else {
            let message = format!("unknown figure '{}'", tree::shortened(&key.text));
            let all = known().collect::<Vec<_>>().join(", ");
            let help = did_you_mean(&key.text, known()).unwrap_or_else(|| format!("known are {all}"));
            report.error(key.mark, message, help);
            continue;
        };
        found.extend(ceiling(&key.text, *figure, value, report).map(|most| (*figure, most)));
    }
    found
}

fn ceiling(name: &str, figure: Figure, node: &Node, report: &Report) -> Option<f64> {
    let text = match &node.value {
        Value::Text(text) | Value::Number(text) => text.as_str(),
        _ => "",
    };
    let (most, expected) = match figure.unit() {
        Unit::Bytes => (scalars::size(text).map(|bytes| bytes as f64), "a size, as 120M"),
        Unit::Seconds => (
            scalars::duration(text).map(|time| time.as_secs_f64()),
            "seconds, as 2.5 or 1m30s",
        ),
        Unit::Count => (text.parse::<u32>().ok().map(f64::from), "a whole number"),
    };
    if most.is_none() {
        report.wrong(name, expected, node, "");
    }
    most
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Budget, String> {
        parse(Path::new("/b.yaml"), text, &["api", "web"]).map_err(|problems| problems.to_string())
    }

    #[test]
    fn ceilings_have_the_units_of_their_figures() {
        let text =
            "services:\n  api: {memory_peak: 120M, cpu_seconds: 1m30s, restarts: 0}\nall: {tx_bytes: 10}\n";
        let budget = read(text).unwrap();
        assert_eq!(
            budget.services["api"],
            [
                (Figure::MemoryPeak, f64::from(120 << 20)),
                (Figure::CpuSeconds, 90.0),
                (Figure::Restarts, 0.0)
            ]
        );
        assert_eq!(budget.all, [(Figure::TxBytes, 10.0)]);
    }

    #[test]
    fn every_problem_is_told_with_its_place() {
        let told = read("services:\n  apo: {memory_peek: 1M, restarts: many}\nmore: 1\n").unwrap_err();
        for part in [
            "/b.yaml:2:3: no service 'apo' is in the ecosystem (did you mean 'api'?)",
            "unknown figure 'memory_peek' (did you mean 'memory_peak'?)",
            "'restarts' must be a whole number",
            "/b.yaml:3:1: unknown key 'more'",
        ] {
            assert!(told.contains(part), "{part}: {told}");
        }
    }
}
