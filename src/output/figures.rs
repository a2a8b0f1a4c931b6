//! Figures as people read them, and the table of `stats`. Pure text.

use bytesize::ByteSize;

use super::table;
pub(crate) use super::table::{health, phase};
use crate::control::api::{Health, Phase};
use crate::report::{Report, Row};
use crate::stats::Sample;

/// What is not known.
const NOTHING: &str = "-";

/// Percent with one decimal.
pub(crate) fn percent(value: Option<f64>) -> String {
    value.map_or_else(|| NOTHING.to_owned(), |value| format!("{value:.1}%"))
}

/// Bytes in powers of 1024.
pub(crate) fn bytes(value: Option<u64>) -> String {
    value.map_or_else(
        || NOTHING.to_owned(),
        |value| ByteSize(value).display().iec_short().to_string(),
    )
}

/// Bytes per second, without saying so: the column does.
pub(crate) fn rate(value: Option<f64>) -> String {
    bytes(value.map(|value| value.max(0.0).round() as u64))
}

/// A number, or that there is none.
pub(crate) fn count(value: Option<u64>) -> String {
    value.map_or_else(|| NOTHING.to_owned(), |value| value.to_string())
}

/// Seconds as the two largest units.
pub(crate) fn span(seconds: Option<f64>) -> String {
    let Some(seconds) = seconds else {
        return NOTHING.to_owned();
    };
    let seconds = seconds.max(0.0) as u64;
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        3600..86400 => format!("{}h{:02}m", seconds / 3600, seconds / 60 % 60),
        _ => format!("{}d{:02}h", seconds / 86400, seconds / 3600 % 24),
    }
}

/// One word for where a service stands: its state, or its health once that says more.
pub(crate) fn word(state: Phase, health: Health) -> &'static str {
    match (state, health) {
        (Phase::Running, Health::None) => phase(state),
        (Phase::Running, health) => self::health(health),
        _ => phase(state),
    }
}

/// CPU and memory of all of them together.
pub(crate) fn total<'a>(samples: impl Iterator<Item = &'a Sample> + Clone) -> String {
    let cpu: Option<f64> = samples
        .clone()
        .filter_map(|sample| sample.cpu_percent)
        .reduce(|sum, cpu| sum + cpu);
    let memory = samples
        .filter_map(|sample| sample.memory_bytes)
        .reduce(|sum, memory| sum + memory);
    format!("cpu {}  memory {}", percent(cpu), bytes(memory))
}

/// The table of `stats`.
pub(super) fn samples(samples: &[Sample]) -> String {
    let header = [
        "NAME", "CPU", "MEMORY", "LIMIT", "PIDS", "RX/S", "TX/S", "UPTIME", "STATE",
    ];
    let cells = |sample: &Sample| {
        vec![
            sample.name.clone(),
            percent(sample.cpu_percent),
            bytes(sample.memory_bytes),
            bytes(sample.memory_limit),
            count(sample.pids),
            rate(sample.rx_rate),
            rate(sample.tx_rate),
            span(sample.uptime_s),
            word(sample.state, sample.health).to_owned(),
        ]
    };
    table::render(&header, samples.iter().map(cells).collect())
}

/// The table of `report`: all together in the last line.
pub(super) fn report(report: &Report) -> String {
    let header = [
        "NAME", "RUNS", "WALL", "CPU", "MEMORY", "PIDS", "READ", "WRITTEN", "RX", "TX", "DISK", "RESTARTS",
        "LIMITS",
    ];
    let cells = |row: &Row| {
        vec![
            row.name.clone(),
            row.runs.to_string(),
            span(Some(row.wall_seconds)),
            row.cpu_seconds
                .map_or_else(|| NOTHING.to_owned(), |seconds| format!("{seconds:.2}s")),
            bytes(row.memory_peak),
            count(row.pids_peak),
            bytes(row.read_bytes),
            bytes(row.write_bytes),
            bytes(row.rx_bytes),
            bytes(row.tx_bytes),
            bytes(row.disk_bytes),
            row.restarts.to_string(),
            row.hits.words(),
        ]
    };
    let rows = report.services.iter().chain([&report.all]);
    table::render(&header, rows.map(cells).collect())
}

/// The part of a text that fits a terminal of so many columns and lines, its last line left free for the cursor.
pub(super) fn fitting(text: &str, columns: usize, lines: usize) -> String {
    text.lines()
        .take(lines.saturating_sub(1))
        .map(|line| format!("{}\n", line.chars().take(columns).collect::<String>()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::tests::figures;

    #[test]
    fn figures_are_short_and_nothing_is_a_dash() {
        assert_eq!(percent(Some(100.04)), "100.0%");
        assert_eq!(bytes(Some(52_428_800)), "50.0M");
        assert_eq!(rate(Some(1536.2)), "1.5K");
        for (seconds, text) in [
            (0.9, "0s"),
            (59.0, "59s"),
            (192.0, "3m12s"),
            (7500.0, "2h05m"),
            (100_000.0, "1d03h"),
        ] {
            assert_eq!(span(Some(seconds)), text);
        }
        assert_eq!(
            [percent(None), bytes(None), rate(None), span(None), count(None)],
            ["-"; 5]
        );
    }

    #[test]
    fn health_is_the_word_of_what_runs() {
        assert_eq!(word(Phase::Running, Health::None), "running");
        assert_eq!(word(Phase::Running, Health::Unhealthy), "unhealthy");
        assert_eq!(word(Phase::Stopped, Health::Healthy), "stopped");
    }

    #[test]
    fn the_table_has_a_line_per_service() {
        let text = samples(&[figures("api", 99.96, 1 << 20), figures("web", 0.0, 0)]);
        let mut lines = text.lines();
        assert!(lines.next().is_some_and(|line| line.starts_with("NAME  CPU")));
        let api: Vec<&str> = lines.next().unwrap_or("").split_whitespace().collect();
        assert_eq!(api, ["api", "100.0%", "1.0M", "-", "-", "-", "-", "-", "healthy"]);
        assert_eq!(lines.count(), 1);
        let both = [figures("api", 99.96, 1 << 20), figures("web", 1.0, 1 << 20)];
        assert_eq!(total(both.iter()), "cpu 101.0%  memory 2.0M");
        assert_eq!(total([].iter()), "cpu -  memory -");
        assert_eq!(fitting("abcdef\ngh\ni\n", 3, 3), "abc\ngh\n");
    }
}
