//! Limits for what was seen: peaks and a little more, as YAML to paste. Pure.

use indexmap::IndexMap;

use super::Report;
use crate::config::ecosystem::ServiceName;

/// How much more than the peak is allowed, in tenths.
const MORE: u64 = 13;
const MIB: u64 = 1 << 20;
/// The smallest limits that are suggested: a shell needs as much.
const LEAST_MEMORY: u64 = 16 * MIB;
const LEAST_PIDS: u64 = 8;

/// A `services:` with `limits` for each service that ran, from the highest peaks of its replicas times 1.3. What the
/// kernel did not tell is left out.
pub fn suggestion(report: &Report) -> String {
    let mut peaks: IndexMap<&ServiceName, (Option<u64>, Option<u64>)> = IndexMap::new();
    for row in &report.services {
        if let Some(service) = &row.service {
            let (memory, pids) = peaks.entry(service).or_default();
            *memory = (*memory).max(row.memory_peak);
            *pids = (*pids).max(row.pids_peak);
        }
    }
    let mut text = "services:\n".to_owned();
    for (service, (memory, pids)) in peaks {
        let memory = memory.map(|peak| (peak * MORE / 10).max(LEAST_MEMORY).div_ceil(MIB));
        let pids = pids.map(|peak| (peak * MORE).div_ceil(10).max(LEAST_PIDS));
        let limits = [
            memory.map(|mib| format!("memory: {mib}M")),
            pids.map(|pids| format!("pids: {pids}")),
        ];
        let limits: Vec<String> = limits.into_iter().flatten().collect();
        text.push_str(&format!("  {service}:\n    limits: {{{}}}\n", limits.join(", ")));
    }
    text
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
            suggestion(&report),
            "services:\n  api:\n    limits: {memory: 260M, pids: 13}\n  job:\n    limits: {memory: 16M}\n"
        );
    }
}
