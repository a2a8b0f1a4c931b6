//! The picture after `up`: what runs, where to look, what to try next. Pure text.

use super::{BOLD, FAINT, mark};
use crate::control::api::{Phase, ServiceStatus};
use crate::desired::Desired;

/// The picture; ends with a newline.
pub(super) fn render(desired: &Desired, rows: &[ServiceStatus]) -> String {
    let width = rows.iter().map(|row| row.name.len()).max().unwrap_or(0);
    let mut text = format!("\n{BOLD}{}{BOLD:#}\n", desired.ecosystem.name);
    for row in rows {
        let (mark, style) = mark(row);
        let needs: Vec<&str> = desired
            .ecosystem
            .services
            .get(&row.service)
            .map(|service| service.depends_on.iter().map(|need| need.name.as_str()).collect())
            .unwrap_or_default();
        let needs = if needs.is_empty() {
            String::new()
        } else {
            format!("  {FAINT}← {}{FAINT:#}", needs.join(", "))
        };
        text.push_str(&format!(
            "  {style}{mark}{style:#} {:width$}  {}{needs}\n",
            row.name,
            place(row)
        ));
    }
    text.push_str(&format!("\n{FAINT}try:{FAINT:#}\n"));
    for line in suggestions(desired, rows) {
        text.push_str(&format!("  {line}\n"));
    }
    text
}

fn place(row: &ServiceStatus) -> String {
    let addresses: Vec<String> = row
        .ports
        .iter()
        .filter(|port| port.transport == "tcp")
        .map(|port| format!("http://{}:{}", port.host, port.host_port))
        .collect();
    match (row.state, addresses.is_empty()) {
        (Phase::Running, false) => addresses.join(" "),
        (Phase::Scheduled, _) => super::table::cause(row),
        (state, _) => super::table::phase(state).to_owned(),
    }
}

/// About the service that needs most others: the one that a newcomer wants to see.
fn suggestions(desired: &Desired, rows: &[ServiceStatus]) -> Vec<String> {
    let needs = |row: &&ServiceStatus| {
        let service = desired.ecosystem.services.get(&row.service);
        service.map_or(0, |service| service.depends_on.len())
    };
    let front = rows
        .iter()
        .filter(|row| row.state == Phase::Running && !row.ports.is_empty())
        .max_by_key(needs);
    let mut lines = Vec::new();
    if let Some(row) = front {
        let address = &place(row);
        lines.push(format!("curl {}/", address.split(' ').next().unwrap_or(address)));
        lines.push(format!("pactown logs -f {}", row.name));
        lines.push(format!("pactown exec {} sh", row.name));
    }
    lines.push("pactown ps".to_owned());
    lines.push("pactown down".to_owned());
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::api::{Health, Published};
    use crate::output::tests::row;
    use crate::resolver::tests::desired;

    #[test]
    fn the_picture_says_where_to_look_and_what_to_try() {
        let wish = desired(&[
            ("greeter", 8101, &[]),
            ("web", 8100, &["greeter"]),
            ("job", 8102, &[]),
        ]);
        let with_port = |name: &str, port| {
            let mut row = row(name, Phase::Running, Health::Healthy);
            row.ports.push(Published {
                host: [127, 0, 0, 1].into(),
                host_port: port,
                port,
                transport: "tcp".into(),
            });
            row
        };
        let rows = [
            with_port("greeter", 8101),
            with_port("web", 8100),
            row("job", Phase::Completed, Health::None),
        ];
        let text = anstream::adapter::strip_str(&render(&wish, &rows)).to_string();
        assert_eq!(
            text,
            "\ntown\n  ✓ greeter  http://127.0.0.1:8101\n  ✓ web      http://127.0.0.1:8100  ← greeter\n  ✓ job      completed\n\ntry:\n  curl http://127.0.0.1:8100/\n  pactown logs -f web\n  pactown exec web sh\n  pactown ps\n  pactown down\n"
        );
    }

    #[test]
    fn without_a_published_port_there_is_still_something_to_try() {
        let wish = desired(&[("job", 8102, &[])]);
        let text = render(&wish, &[row("job", Phase::Completed, Health::None)]);
        assert!(!text.contains("curl") && text.contains("pactown down"), "{text}");
    }
}
