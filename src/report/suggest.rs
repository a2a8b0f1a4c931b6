//! Limits for what was seen: peaks and a little more, to paste into the file. Pure.

use indexmap::IndexMap;
use serde::Serialize;

use super::Report;
use crate::config::ecosystem::ServiceName;

/// How much more than the peak is allowed, in tenths.
const MORE: u64 = 13;
const MIB: u64 = 1 << 20;
/// The smallest limits that are suggested: a shell needs as much.
const LEAST_MEMORY: u64 = 16 * MIB;
const LEAST_PIDS: u64 = 8;

/// What to write into the file: `services:` with `limits` for each service that ran.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Suggested {
    services: IndexMap<ServiceName, Service>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
struct Service {
    limits: Limits,
}

/// What the kernel did not tell is left out.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
struct Limits {
    #[serde(skip_serializing_if = "Option::is_none")]
    memory: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pids: Option<u64>,
}

impl Suggested {
    /// From the highest peaks of the replicas of each service, times 1.3.
    pub fn of(report: &Report) -> Self {
        let mut peaks: IndexMap<&ServiceName, (Option<u64>, Option<u64>)> = IndexMap::new();
        for row in &report.services {
            if let Some(service) = &row.service {
                let (memory, pids) = peaks.entry(service).or_default();
                *memory = (*memory).max(row.memory_peak);
                *pids = (*pids).max(row.pids_peak);
            }
        }
        let more = |(name, (memory, pids)): (&ServiceName, (Option<u64>, Option<u64>))| {
            let memory = memory.map(|peak| (peak * MORE / 10).max(LEAST_MEMORY).div_ceil(MIB));
            let limits = Limits {
                memory: memory.map(|mib| format!("{mib}M")),
                pids: pids.map(|peak| (peak * MORE).div_ceil(10).max(LEAST_PIDS)),
            };
            (name.clone(), Service { limits })
        };
        Self {
            services: peaks.into_iter().map(more).collect(),
        }
    }

    /// As the ecosystem file has it.
    pub fn yaml(&self) -> String {
        let mut text = "services:\n".to_owned();
        for (name, Service { limits }) in &self.services {
            let memory = limits.memory.as_ref().map(|size| format!("memory: {size}"));
            let pids = limits.pids.map(|count| format!("pids: {count}"));
            let limits: Vec<String> = memory.into_iter().chain(pids).collect();
            text.push_str(&format!("  {name}:\n    limits: {{{}}}\n", limits.join(", ")));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Row;

    #[test]
    fn the_highest_replica_decides_and_small_things_have_room() {
        let row = |name: &str, service: &str, memory: u64, pids| Row {
            name: name.into(),
            service: Some(service.into()),
            memory_peak: Some(memory * MIB),
            pids_peak: pids,
            ..Row::default()
        };
        let report = Report {
            services: vec![
                row("api-1", "api", 100, Some(10)),
                row("api-2", "api", 200, Some(9)),
                row("job", "job", 1, None),
            ],
            ..Report::default()
        };
        assert_eq!(
            Suggested::of(&report).yaml(),
            "services:\n  api:\n    limits: {memory: 260M, pids: 13}\n  job:\n    limits: {memory: 16M}\n"
        );
        let json = serde_json::to_string(&Suggested::of(&report)).unwrap();
        assert_eq!(
            json,
            r#"{"services":{"api":{"limits":{"memory":"260M","pids":13}},"job":{"limits":{"memory":"16M"}}}}"#
        );
    }
}
