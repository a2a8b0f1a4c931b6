//! `top`: the services by what they use. Its model, its keys and its picture; all pure.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::Line;
use ratatui::widgets::Paragraph;

use super::Ending;
use super::draw::{coloured, edges, is_too_small};
use super::model::{Action, Key, Message};
use super::text::{cell, fitting, width};
use crate::control::api::{Health, Phase};
use crate::output::figures;
use crate::stats::Sample;

/// What is shown.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Top {
    title: String,
    colour: bool,
    samples: Vec<Sample>,
    sort: Sort,
    /// Services above the first one shown.
    first: usize,
}

/// By what services are sorted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sort {
    Cpu,
    Memory,
    Name,
}

impl Top {
    /// Nothing is known yet.
    pub(super) fn new(title: &str, colour: bool) -> Self {
        Self {
            title: title.to_owned(),
            colour,
            samples: Vec::new(),
            sort: Sort::Cpu,
            first: 0,
        }
    }

    /// Takes one message; the end, when it means that.
    pub(super) fn update(&mut self, message: Message) -> Option<Action> {
        match message {
            Message::Key(Key::Char('q') | Key::Interrupt) => return Some(Action::Quit(Ending::Left)),
            Message::Signal(number) => return Some(Action::Quit(Ending::Signal(number))),
            Message::Gone => return Some(Action::Quit(Ending::Gone)),
            Message::Refused(why) => return Some(Action::Fail(why)),
            Message::Rows(_, samples) => self.samples = samples,
            Message::Key(Key::Char('c')) => self.sort = Sort::Cpu,
            Message::Key(Key::Char('m')) => self.sort = Sort::Memory,
            Message::Key(Key::Char('n')) => self.sort = Sort::Name,
            Message::Key(Key::Char('j') | Key::Down) => self.first += 1,
            Message::Key(Key::Char('k') | Key::Up) => self.first = self.first.saturating_sub(1),
            _ => {}
        }
        self.first = self.first.min(self.samples.len().saturating_sub(1));
        sort(&mut self.samples, self.sort);
        None
    }
}

/// The most first; equals by name, so that they do not jump.
fn sort(samples: &mut [Sample], by: Sort) {
    samples.sort_by(|a, b| {
        let cpu = |sample: &Sample| sample.cpu_percent.unwrap_or(-1.0);
        let most = match by {
            Sort::Cpu => cpu(b).total_cmp(&cpu(a)),
            Sort::Memory => b.memory_bytes.cmp(&a.memory_bytes),
            Sort::Name => std::cmp::Ordering::Equal,
        };
        most.then_with(|| a.name.cmp(&b.name))
    });
}

/// Draws it on the whole frame.
pub(super) fn draw(frame: &mut Frame, top: &Top) {
    if is_too_small(frame) {
        return;
    }
    let area = frame.area();
    let room = usize::from(area.height) - 3;
    let name = name_width(usize::from(area.width));
    let mut lines = vec![title(top, area.width), header(top, name)];
    // What would scroll out at the end is pulled back in.
    let first = top.first.min(top.samples.len().saturating_sub(room));
    let shown = top.samples.iter().skip(first).take(room);
    lines.extend(shown.map(|sample| service(top, sample, name)));
    let body = Rect {
        height: area.height - 1,
        ..area
    };
    frame.render_widget(Paragraph::new(lines), body);
    let keys = [" c cpu", "m memory", "n name", "j k scroll", "q quit"].map(str::to_owned);
    let footer = Line::styled(
        fitting(&keys, usize::from(area.width)),
        coloured(top.colour, Style::new().fg(Color::DarkGray)),
    );
    let last = Rect::new(0, area.height - 1, area.width, 1);
    frame.render_widget(footer, last);
}

/// Widths of the columns behind the name, the least important last: it goes first where there is no room.
const WIDTHS: [(&str, usize); 8] = [
    ("CPU", 7),
    ("MEMORY", 7),
    ("STATE", 9),
    ("MEM%", 5),
    ("RX/S", 7),
    ("TX/S", 7),
    ("UPTIME", 7),
    ("PIDS", 5),
];

/// What the name has: the rest of the columns, at least 12 when others must go for it.
fn name_width(columns: usize) -> usize {
    let others: usize = WIDTHS.iter().map(|(_, width)| width + 1).sum();
    columns.saturating_sub(others + 2).clamp(12, 40)
}

fn title(top: &Top, columns: u16) -> Line<'static> {
    let left = format!(" {}  {} services", top.title, top.samples.len());
    let right = format!("{} ", figures::total(top.samples.iter()));
    Line::styled(
        edges(&left, &right, columns),
        Style::new().add_modifier(Modifier::BOLD),
    )
}

fn header(top: &Top, name: usize) -> Line<'static> {
    let by = match top.sort {
        Sort::Cpu => "CPU",
        Sort::Memory => "MEMORY",
        Sort::Name => "NAME",
    };
    let marked = |title: &str| {
        if title == by {
            format!("{title}↓")
        } else {
            title.to_owned()
        }
    };
    let cells = WIDTHS.map(|(title, _)| marked(title));
    Line::styled(
        row(&marked("NAME"), &cells, name),
        coloured(top.colour, Style::new().fg(Color::DarkGray)),
    )
}

fn service(top: &Top, sample: &Sample, name: usize) -> Line<'static> {
    let share = |used: u64, limit: u64| format!("{:.0}%", used as f64 * 100.0 / limit.max(1) as f64);
    let of_limit = sample.memory_bytes.zip(sample.memory_limit);
    let cells = [
        figures::percent(sample.cpu_percent),
        figures::bytes(sample.memory_bytes),
        figures::word(sample.state, sample.health).to_owned(),
        of_limit.map_or_else(|| "-".to_owned(), |(used, limit)| share(used, limit)),
        figures::rate(sample.rx_rate),
        figures::rate(sample.tx_rate),
        figures::span(sample.uptime_s),
        figures::count(sample.pids),
    ];
    let bad = sample.state == Phase::Failed || sample.health == Health::Unhealthy;
    let style = if bad {
        coloured(top.colour, Style::new().fg(Color::Red))
    } else {
        Style::new()
    };
    Line::styled(row(&sample.name, &cells, name), style)
}

/// A line of the table.
fn row(first: &str, cells: &[String; 8], name: usize) -> String {
    let mut text = format!(" {}", cell(first, name, false));
    for (text_of, (title, columns)) in cells.iter().zip(WIDTHS) {
        text.push(' ');
        text.push_str(&cell(text_of, columns, title != "STATE"));
    }
    debug_assert!(width(&text) >= name);
    text
}

#[cfg(test)]
mod tests {
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    use super::*;
    use crate::stats::tests::figures as sample;

    fn town() -> Top {
        let mut top = Top::new("town-1a2b3c4d", false);
        let mut samples = vec![
            sample("db", 1.0, 300 << 20),
            sample("api", 99.9, 50 << 20),
            sample("a-service-with-quite-a-long-name", 0.0, 7 << 20),
        ];
        samples[0].memory_limit = Some(512 << 20);
        samples[1].rx_rate = Some(1023.0 * 1024.0);
        samples[1].uptime_s = Some(4000.0);
        samples[1].pids = Some(12);
        top.update(Message::Rows(Vec::new(), samples));
        top
    }

    fn drawn(top: &Top, columns: u16, lines: u16) -> TestBackend {
        let mut terminal = Terminal::new(TestBackend::new(columns, lines)).unwrap();
        terminal.draw(|frame| draw(frame, top)).unwrap();
        terminal.backend().clone()
    }

    fn names(top: &Top) -> Vec<&str> {
        top.samples.iter().map(|sample| &sample.name[..2]).collect()
    }

    #[test]
    fn keys_sort_and_leave() {
        let mut top = town();
        assert_eq!(names(&top), ["ap", "db", "a-"]);
        top.update(Message::Key(Key::Char('m')));
        assert_eq!(names(&top), ["db", "ap", "a-"]);
        top.update(Message::Key(Key::Char('n')));
        assert_eq!(names(&top), ["a-", "ap", "db"]);
        for (message, ending) in [
            (Message::Key(Key::Char('q')), Ending::Left),
            (Message::Key(Key::Interrupt), Ending::Left),
            (Message::Gone, Ending::Gone),
            (Message::Signal(15), Ending::Signal(15)),
        ] {
            assert_eq!(top.update(message), Some(Action::Quit(ending)));
        }
    }

    #[test]
    fn the_picture() {
        insta::assert_snapshot!(drawn(&town(), 80, 10));
    }

    #[test]
    fn any_size_can_be_drawn() {
        for columns in [0, 1, 39, 40, 60, 80, 200] {
            for lines in [0, 1, 7, 8, 24, 100] {
                let mut top = town();
                top.update(Message::Key(Key::Down));
                drawn(&top, columns, lines);
            }
        }
    }
}
