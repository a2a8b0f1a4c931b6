//! Which ceilings of a budget a report exceeds. Pure.

use bytesize::ByteSize;

use super::{Report, Row};
use crate::config::budget::{Budget, Ceilings, Figure, Unit};

/// One line for each ceiling that the report exceeds, or that cannot be checked: `api: memory_peak 182M, budget 120M
/// (+52 %)`. None: the budget is kept.
pub fn exceeded(budget: &Budget, report: &Report) -> Vec<String> {
    let mut lines = Vec::new();
    for (name, ceilings) in &budget.services {
        let mut rows = report
            .services
            .iter()
            .filter(|row| row.service.as_ref() == Some(name))
            .peekable();
        if rows.peek().is_none() {
            lines.push(format!("{name}: it has not run, and has a budget"));
        }
        rows.for_each(|row| lines.extend(beyond(ceilings, row)));
    }
    lines.extend(beyond(&budget.all, &report.all));
    lines
}

fn beyond(ceilings: &Ceilings, row: &Row) -> Vec<String> {
    let check = |(figure, most): &(Figure, f64)| {
        let (name, most) = (figure.name(), *most);
        let Some(value) = figure_of(*figure, row) else {
            return Some(format!(
                "{}: {name} is not known, budget {}",
                row.name,
                text(*figure, most)
            ));
        };
        let more = match most > 0.0 {
            true => format!(" (+{:.0} %)", (value / most - 1.0) * 100.0),
            false => String::new(),
        };
        (value > most).then(|| {
            format!(
                "{}: {name} {}, budget {}{more}",
                row.name,
                text(*figure, value),
                text(*figure, most)
            )
        })
    };
    ceilings.iter().filter_map(check).collect()
}

fn figure_of(figure: Figure, row: &Row) -> Option<f64> {
    let whole = |value: Option<u64>| value.map(|value| value as f64);
    match figure {
        Figure::MemoryPeak => whole(row.memory_peak),
        Figure::CpuSeconds => row.cpu_seconds,
        Figure::PidsPeak => whole(row.pids_peak),
        Figure::ReadBytes => whole(row.read_bytes),
        Figure::WriteBytes => whole(row.write_bytes),
        Figure::RxBytes => whole(row.rx_bytes),
        Figure::TxBytes => whole(row.tx_bytes),
        Figure::DiskBytes => whole(row.disk_bytes),
        Figure::WallSeconds => Some(row.wall_seconds),
        Figure::Restarts => Some(f64::from(row.restarts)),
        Figure::OomKills => Some(row.hits.oom_kills as f64),
    }
}

fn text(figure: Figure, value: f64) -> String {
    match figure.unit() {
        Unit::Bytes => ByteSize(value as u64).display().iec_short().to_string(),
        Unit::Seconds => format!("{value:.2}s"),
        Unit::Count => format!("{value}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        let row = Row {
            name: "api-1".into(),
            service: Some("api".into()),
            memory_peak: Some(182 << 20),
            cpu_seconds: Some(2.0),
            restarts: 1,
            ..Row::default()
        };
        Report {
            all: Row {
                name: "all".into(),
                memory_peak: Some(200 << 20),
                ..Row::default()
            },
            services: vec![row],
        }
    }

    fn of(name: &str, ceilings: &[(Figure, f64)]) -> Vec<String> {
        let budget = Budget {
            services: [(name.to_owned(), ceilings.to_vec())].into(),
            all: Vec::new(),
        };
        exceeded(&budget, &report())
    }

    #[test]
    fn what_is_exceeded_is_named_with_by_how_much() {
        let most = f64::from(120 << 20);
        assert_eq!(
            of("api", &[(Figure::MemoryPeak, most), (Figure::CpuSeconds, 2.0)]),
            ["api-1: memory_peak 182.0M, budget 120.0M (+52 %)"]
        );
        assert_eq!(
            of("api", &[(Figure::Restarts, 0.0)]),
            ["api-1: restarts 1, budget 0"]
        );
        assert_eq!(of("api", &[(Figure::MemoryPeak, most * 2.0)]), [""; 0]);
    }

    #[test]
    fn what_cannot_be_checked_is_not_kept() {
        assert_eq!(
            of("api", &[(Figure::PidsPeak, 3.0)]),
            ["api-1: pids_peak is not known, budget 3"]
        );
        assert_eq!(of("web", &[]), ["web: it has not run, and has a budget"]);
        let budget = Budget {
            all: vec![(Figure::MemoryPeak, 1.0)],
            ..Budget::default()
        };
        assert_eq!(exceeded(&budget, &report()).len(), 1);
    }
}
