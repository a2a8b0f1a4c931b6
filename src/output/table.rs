//! Tables: columns apart, no lines.

use bytesize::ByteSize;
use comfy_table::{ContentArrangement, Table, presets};
use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::control::api::{Health, Phase, Published, ServiceStatus};
use crate::events;

/// A table with its header; ends with a newline.
pub(super) fn render(header: &[&str], rows: Vec<Vec<String>>) -> String {
    let mut table = Table::new();
    table
        .load_style(presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Disabled)
        .set_header(header);
    for row in rows {
        table.add_row(
            row.into_iter()
                .map(|cell| if cell.is_empty() { "-".to_owned() } else { cell }),
        );
    }
    let mut text: String = table
        .lines()
        .map(|line| format!("{}\n", line.trim_end()))
        .collect();
    if let Some(rest) = text.strip_prefix(' ') {
        // The preset pads every column, the first one too.
        text = rest.replace("\n ", "\n");
    }
    text
}

/// The table of `ps`.
pub(super) fn services(rows: &[ServiceStatus]) -> String {
    let header = [
        "NAME", "STATE", "HEALTH", "PORTS", "ADDRESS", "CPU", "MEMORY", "CAUSE",
    ];
    render(&header, rows.iter().map(cells).collect())
}

fn cells(row: &ServiceStatus) -> Vec<String> {
    vec![
        row.name.clone(),
        phase(row.state).to_owned(),
        health(row.health).to_owned(),
        row.ports.iter().map(port).collect::<Vec<_>>().join(", "),
        row.address.map(|address| address.to_string()).unwrap_or_default(),
        row.cpu_usec
            .map(|usec| format!("{:.2}s", usec as f64 / 1e6))
            .unwrap_or_default(),
        row.memory_bytes
            .map(|bytes| ByteSize(bytes).display().iec_short().to_string())
            .unwrap_or_default(),
        cause(row),
    ]
}

/// The cause; of what is tried again or run on a schedule, when.
pub(super) fn cause(row: &ServiceStatus) -> String {
    // What is wrong says more than what it says of itself.
    let mut cause = match (&row.cause, &row.status_text) {
        (Some(cause), _) => cause.clone(),
        (None, Some(status)) => format!("'{status}'"),
        (None, None) => String::new(),
    };
    if !row.limits.is_empty() {
        let comma = if cause.is_empty() { "" } else { "; " };
        cause.push_str(&format!("{comma}{}", row.limits.join("; ")));
    }
    if let Some(next) = &row.next_run {
        let when = events::when(next, Timestamp::now(), &TimeZone::system());
        let comma = if cause.is_empty() { "" } else { ", " };
        cause.push_str(&format!("{comma}next {when}"));
    }
    let Some(next) = row.next_try_usec else {
        return cause;
    };
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let now = u64::try_from(now.unwrap_or_default().as_micros()).unwrap_or(next);
    let left = next.saturating_sub(now) as f64 / 1e6;
    format!("{cause}, next try in {left:.1} s")
}

fn port(port: &Published) -> String {
    let transport = if port.transport == "udp" { "/udp" } else { "" };
    format!("{}:{}→{}{transport}", port.host, port.host_port, port.port)
}

/// The state's word.
pub(crate) fn phase(phase: Phase) -> &'static str {
    match phase {
        Phase::Waiting => "waiting",
        Phase::Preparing => "preparing",
        Phase::Starting => "starting",
        Phase::Running => "running",
        Phase::Completed => "completed",
        Phase::Failed => "failed",
        Phase::Blocked => "blocked",
        Phase::Backoff => "backoff",
        Phase::Stopping => "stopping",
        Phase::Stopped => "stopped",
        Phase::Scheduled => "scheduled",
    }
}

/// The word of its health; nothing when it has no check.
pub(crate) fn health(health: Health) -> &'static str {
    match health {
        Health::None => "",
        Health::Starting => "starting",
        Health::Healthy => "healthy",
        Health::Unhealthy => "unhealthy",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_begin_at_the_edge_and_empty_cells_show() {
        let text = render(
            &["NAME", "X"],
            vec![vec!["web".into(), String::new()], vec!["a".into(), "b".into()]],
        );
        assert_eq!(text, "NAME  X\nweb   -\na     b\n");
    }
}
