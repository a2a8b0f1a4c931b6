//! The picture of a model. Pure: a model in, cells of the screen out.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Clear, Paragraph};

use super::layout::{self, LEAST, Layout};
use super::model::{Focus, Model, Overlay, Pane};
use super::text::{cell, fitting, shorten, width};
use crate::control::api::{Health, Phase, ServiceStatus};
use crate::output::{self, figures};

/// Widest name that is shown whole.
const NAME: usize = 20;

/// Draws the model on the whole frame.
pub(super) fn draw(frame: &mut Frame, model: &Model) {
    let area = frame.area();
    let size = (area.width, area.height);
    if is_too_small(frame) {
        return;
    }
    let parts = layout::of(size, model.rows.len());
    frame.render_widget(title(model, area.width), parts.title);
    list(frame, model, parts.list);
    frame.render_widget(tabs(model, parts.tabs.width), parts.tabs);
    pane(frame, model, &parts);
    frame.render_widget(footer(model, area.width), parts.footer);
    match model.overlay {
        Overlay::None => {}
        Overlay::Help => window(frame, "keys", &HELP),
        Overlay::Leave => window(frame, "leave?", &LEAVE),
    }
}

/// Says so when nothing can be shown.
pub(super) fn is_too_small(frame: &mut Frame) -> bool {
    let area = frame.area();
    let small = area.width < LEAST.0 || area.height < LEAST.1;
    if small {
        let text = format!("needs {}×{}", LEAST.0, LEAST.1);
        frame.render_widget(Paragraph::new(text), area);
    }
    small
}

const HELP: [&str; 10] = [
    "j k ↓ ↑     choose a service, or scroll",
    "enter       into the log; enter, esc: back",
    "pgup pgdn   scroll a page",
    "home end    to the beginning, to the end",
    "tab l w g   logs, why, graph",
    "r           restart the service",
    "s           stop it, or start it",
    "q           leave; everything goes on",
    "ctrl-c      leave, or stop everything",
    "?           these keys",
];

const LEAVE: [&str; 3] = [
    "d     leave; everything goes on",
    "s     stop everything",
    "esc   stay",
];

/// A colour, where colours are wanted.
pub(super) fn coloured(colour: bool, style: Style) -> Style {
    if colour {
        style
    } else {
        Style {
            fg: None,
            bg: None,
            ..style
        }
    }
}

fn faint(model: &Model) -> Style {
    coloured(model.colour, Style::new().fg(Color::DarkGray))
}

/// What is on one line at both edges; the right part goes first when there is no room.
pub(super) fn edges(left: &str, right: &str, columns: u16) -> String {
    let columns = usize::from(columns);
    let left = shorten(left, columns);
    let free = columns.saturating_sub(width(&left));
    if width(right) + 2 > free {
        return left;
    }
    format!("{left}{}{right}", " ".repeat(free - width(right)))
}

fn title(model: &Model, columns: u16) -> Line<'static> {
    let count = |of: fn(&ServiceStatus) -> bool| model.rows.iter().filter(|row| of(row)).count();
    let told = [
        (
            count(|row| row.state == Phase::Running && row.health != Health::Unhealthy),
            "running",
        ),
        (count(|row| row.health == Health::Unhealthy), "unhealthy"),
        (count(|row| row.state == Phase::Failed), "failed"),
        (count(|row| row.state == Phase::Blocked), "blocked"),
    ];
    let told: Vec<String> = told
        .iter()
        .filter(|(number, word)| *number > 0 || *word == "running")
        .map(|(number, word)| format!("{number} {word}"))
        .collect();
    let left = if model.gone {
        format!(" {}  has ended", model.title)
    } else {
        format!(" {}  {}", model.title, told.join(", "))
    };
    let right = format!("{} ", figures::total(model.samples.values()));
    Line::styled(
        edges(&left, &right, columns),
        Style::new().add_modifier(Modifier::BOLD),
    )
}

fn list(frame: &mut Frame, model: &Model, area: Rect) {
    let columns = usize::from(area.width);
    let names = model.rows.iter().map(|row| width(&row.name));
    // The other columns take 42; on a narrow screen names give way.
    let name = names
        .max()
        .unwrap_or(4)
        .clamp(4, NAME.min(columns.saturating_sub(42).max(4)));
    let header = line_of(
        [" ", "NAME", "STATE", "HEALTH", "CPU", "MEMORY", "PORTS"],
        name,
        columns,
    );
    let mut lines = vec![Line::styled(header, faint(model))];
    let room = usize::from(area.height).saturating_sub(1);
    let first = layout::first_row(model.selected, room);
    for (index, row) in model.rows.iter().enumerate().skip(first).take(room) {
        lines.push(service(model, index, row, name, columns));
    }
    if model.rows.is_empty() {
        lines.push(Line::styled("  no services yet", faint(model)));
    }
    frame.render_widget(Paragraph::new(lines), area);
}

/// A line of the list: columns of fixed width, the last one as far as it fits.
fn line_of(cells: [&str; 7], name: usize, columns: usize) -> String {
    let [mark, first, state, health, cpu, memory, last] = cells;
    let fixed = format!(
        " {mark} {}  {}  {}  {}  {}",
        cell(first, name, false),
        cell(state, 9, false),
        cell(health, 9, false),
        cell(cpu, 7, true),
        cell(memory, 7, true)
    );
    let room = columns.saturating_sub(width(&fixed) + 3);
    if width(last) > room && room < 8 {
        return fixed;
    }
    format!("{fixed}   {}", shorten(last, room))
}

fn service(model: &Model, index: usize, row: &ServiceStatus, name: usize, columns: usize) -> Line<'static> {
    let sample = model.samples.get(&row.name);
    let (mark, _) = output::mark(row);
    let state = match model.busy.get(&row.name) {
        Some(verb) if verb.doing().len() <= 9 => verb.doing().to_owned(),
        Some(_) => "restarts…".to_owned(),
        None => figures::phase(row.state).to_owned(),
    };
    let health = figures::health(row.health);
    let text = line_of(
        [
            mark,
            &row.name,
            &state,
            if health.is_empty() { "-" } else { health },
            &figures::percent(sample.and_then(|sample| sample.cpu_percent)),
            &figures::bytes(sample.and_then(|sample| sample.memory_bytes)),
            &remark(row),
        ],
        name,
        columns,
    );
    let style = coloured(model.colour, Style::new().fg(tone(row)));
    let mut line = Line::styled(text, style);
    if index == model.selected {
        let text = edges(&line.to_string(), "", u16::try_from(columns).unwrap_or(u16::MAX));
        let pad = " ".repeat(columns.saturating_sub(width(&text)));
        let chosen = if model.focus == Focus::List {
            Modifier::REVERSED
        } else {
            Modifier::BOLD
        };
        line = Line::styled(format!("{text}{pad}"), style.add_modifier(chosen));
    }
    line
}

/// Where to find it, or how often it was started anew.
fn remark(row: &ServiceStatus) -> String {
    let ports = row
        .ports
        .iter()
        .map(|port| format!("{}:{}", port.host, port.host_port));
    let mut parts: Vec<String> = ports.collect();
    if row.restarts > 0 {
        parts.insert(0, format!("↻{}", row.restarts));
    }
    parts.join(" ")
}

fn tone(row: &ServiceStatus) -> Color {
    match (row.state, row.health) {
        (Phase::Failed, _) | (_, Health::Unhealthy) => Color::Red,
        (Phase::Blocked | Phase::Backoff, _) => Color::Yellow,
        (Phase::Running, Health::Starting) => Color::Reset,
        (Phase::Running | Phase::Completed, _) => Color::Green,
        (Phase::Stopped | Phase::Stopping | Phase::Scheduled, _) => Color::DarkGray,
        _ => Color::Reset,
    }
}

fn tabs(model: &Model, columns: u16) -> Line<'static> {
    let mut spans = vec![Span::styled("──", faint(model))];
    for pane in Pane::ALL {
        let style = if pane == model.pane {
            Style::new().add_modifier(Modifier::REVERSED)
        } else {
            faint(model)
        };
        spans.push(Span::styled(format!(" {} ", pane.title()), style));
        spans.push(Span::styled("─", faint(model)));
    }
    let of = match (model.pane, model.chosen()) {
        (Pane::Graph, _) | (_, None) => String::new(),
        (_, Some(row)) => format!(" {} ", row.name),
    };
    let more = if model.scroll > 0 && model.pane == Pane::Logs {
        format!(" {} lines below, end follows ", model.scroll)
    } else {
        String::new()
    };
    let used: usize = spans.iter().map(Span::width).sum();
    let free = usize::from(columns).saturating_sub(used);
    let right = [format!("{more}─{of}"), of]
        .into_iter()
        .find(|text| width(text) + 2 <= free)
        .unwrap_or_default();
    let rule = "─".repeat(free.saturating_sub(width(&right) + 2));
    spans.push(Span::styled(rule, faint(model)));
    spans.push(Span::raw(right));
    spans.push(Span::styled("──", faint(model)));
    Line::from(spans)
}

fn pane(frame: &mut Frame, model: &Model, parts: &Layout) {
    let all = model.pane_lines();
    let room = usize::from(parts.pane.height);
    let end = all
        .len()
        .saturating_sub(model.scroll.min(all.len().saturating_sub(room)));
    let shown = &all[end.saturating_sub(room)..end];
    let mut lines: Vec<Line> = shown
        .iter()
        .map(|(text, behind)| {
            let style = if *behind { faint(model) } else { Style::new() };
            Line::styled(text.clone(), style)
        })
        .collect();
    if lines.is_empty() {
        let text = match model.pane {
            Pane::Logs => "nothing written yet",
            Pane::Why => "no service is chosen",
            Pane::Graph => "the graph is not known yet",
        };
        lines.push(Line::styled(text, faint(model)));
    }
    frame.render_widget(Paragraph::new(lines), parts.pane);
}

fn footer(model: &Model, columns: u16) -> Line<'static> {
    let columns = usize::from(columns);
    if let Some(notice) = &model.notice {
        return Line::raw(shorten(&format!(" {notice}"), columns));
    }
    let keys: &[&str] = match model.focus {
        Focus::List => &[
            " j k choose",
            "enter log",
            "tab pane",
            "r restart",
            "s stop/start",
            "? help",
            "q quit",
        ],
        Focus::Pane => &[
            " j k scroll",
            "end follow",
            "esc back",
            "tab pane",
            "? help",
            "q quit",
        ],
    };
    let keys: Vec<String> = keys.iter().map(|key| (*key).to_owned()).collect();
    Line::styled(fitting(&keys, columns), faint(model))
}

/// A window over the middle.
fn window(frame: &mut Frame, title: &str, lines: &[&str]) {
    let area = frame.area();
    let inner = lines.iter().map(|line| width(line)).max().unwrap_or(0) + 2;
    let inner = inner.min(usize::from(area.width).saturating_sub(2));
    let room = usize::from(area.height).saturating_sub(2);
    let rule = |text: &str| format!("{text}{}", "─".repeat(inner.saturating_sub(width(text))));
    let mut drawn = vec![Line::raw(format!("┌{}┐", rule(&format!("─ {title} "))))];
    for line in lines.iter().take(room) {
        drawn.push(Line::raw(format!(
            "│{}│",
            cell(&format!(" {line}"), inner, false)
        )));
    }
    drawn.push(Line::raw(format!("└{}┘", rule(""))));
    let size = (
        u16::try_from(inner + 2).unwrap_or(area.width),
        u16::try_from(drawn.len()).unwrap_or(area.height),
    );
    let place = Rect::new(
        area.width.saturating_sub(size.0) / 2,
        area.height.saturating_sub(size.1) / 2,
        size.0,
        size.1,
    );
    frame.render_widget(Clear, place);
    frame.render_widget(Paragraph::new(drawn), place);
}

#[cfg(test)]
mod tests;
