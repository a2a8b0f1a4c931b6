//! What the user sees: the only place that prints. Results go to standard output, everything else to standard error.
//!
//! A reader that goes away (`pactown logs | head`) ends the program quietly.

pub(crate) mod figures;
mod hidden;
mod lines;
mod outcome;
mod picture;
mod report;
mod table;
mod why;

use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use anstyle::{AnsiColor, Style};
use serde::Serialize;

use crate::analyze::Start;
use crate::control::api::{Health, Phase, ServiceStatus};
use crate::desired::Desired;
use crate::diagnostics::{Problem, Problems};
use crate::error::{Error, chain};
use crate::report::Report;
use crate::roster::Seat;
use crate::stats::Sample;
use crate::testing::Outcome;
use crate::testing::coverage::Coverage;
use crate::why::Diagnosis;

pub(crate) use hidden::{hide, masked};
pub use lines::{LogStyle, LogView};

/// Where and how to print.
#[derive(Debug, Clone)]
pub struct Output {
    quiet: bool,
}

const ERROR: Style = AnsiColor::Red.on_default().bold();
const GOOD: Style = AnsiColor::Green.on_default();
const CAUTION: Style = AnsiColor::Yellow.on_default();
const FAINT: Style = Style::new().dimmed();
const BOLD: Style = Style::new().bold();

impl Output {
    /// With colours as `choice` says.
    pub fn new(choice: anstream::ColorChoice, quiet: bool) -> Self {
        choice.write_global();
        Self { quiet }
    }

    /// A line of the result.
    pub fn line(&self, text: &str) {
        to_stdout(&format!("{text}\n"));
    }

    /// Text as it is.
    pub fn text(&self, text: &str) {
        to_stdout(text);
    }

    /// A value as JSON.
    pub fn json(&self, value: &impl Serialize) -> Result<(), Error> {
        let text = serde_json::to_value(value)
            .and_then(|value| serde_json::to_string_pretty(&hidden::masked_value(value)));
        let text = text.map_err(|source| Error::Internal {
            message: "cannot write JSON".to_owned(),
            source: Some(Box::new(source)),
        })?;
        write_out(&format!("{text}\n"));
        Ok(())
    }

    /// Something to read once.
    pub fn notice(&self, text: &str) {
        if !self.quiet {
            to_stderr(&format!("{CAUTION}note{CAUTION:#}: {text}\n"));
        }
    }

    /// A line that an installer printed.
    pub fn build(&self, service: &str, line: &str) {
        if !self.quiet {
            let line = lines::for_message(line);
            to_stderr(&format!("{FAINT}{service} ┆ {line}{FAINT:#}\n"));
        }
    }

    /// A service came into a state that the user waits for, or should know of. What failed is told by
    /// [`Output::failure`].
    pub fn status(&self, row: &ServiceStatus) {
        if let Some(text) = state_line(row).filter(|_| !self.quiet) {
            to_stderr(&text);
        }
    }

    /// A service failed: why, with the evidence.
    pub fn failure(&self, service: &str, cause: &str, details: &[String], log: &[String]) {
        to_stderr(&failure_text(service, cause, details, log));
    }

    /// A view of these services' logs.
    pub fn logs(&self, seats: Vec<Seat>, style: LogStyle) -> LogView {
        LogView::new(seats, style)
    }

    /// A table without lines; empty cells are `-`.
    pub fn table(&self, header: &[&str], rows: Vec<Vec<String>>) {
        self.text(&table::render(header, rows));
    }

    /// The table of `ps`.
    pub fn services(&self, rows: &[ServiceStatus]) {
        self.text(&table::services(rows));
    }

    /// The table of `report`; what was reached is in its last column.
    pub fn report(&self, report: &Report) {
        self.text(&figures::report(report));
    }

    /// Why a service is where it is: a result.
    pub fn diagnosis(&self, diagnosis: &Diagnosis) {
        self.text(&why::render(diagnosis));
    }

    /// The same below the failure of a command, in short.
    pub fn reason(&self, diagnosis: &Diagnosis) {
        to_stderr(&why::brief(diagnosis));
    }

    /// Where the time of a start went.
    pub fn starts(&self, starts: &[Start], chain: &[&Start]) {
        self.text(&why::starts(starts, chain));
    }

    /// The table of `stats`: on a terminal in the place of the `previous` lines, else below what is there. How many
    /// lines it has.
    pub fn samples(&self, samples: &[Sample], previous: usize) -> usize {
        let text = figures::samples(samples);
        let Some((columns, lines)) = terminal_size() else {
            self.text(&text);
            return 0;
        };
        let text = figures::fitting(&text, columns, lines);
        if previous > 0 {
            // Not through `anstream`, which takes cursor movements for colours where there are to be none.
            let back = format!("\x1b[{previous}A\x1b[0J");
            leave_on_error(io::stdout().write_all(back.as_bytes()));
        }
        self.text(&text);
        text.lines().count()
    }

    /// What runs, where to look, and what to try next.
    pub fn picture(&self, desired: &Desired, rows: &[ServiceStatus]) {
        if !self.quiet {
            self.text(&picture::render(desired, rows));
        }
    }

    /// What came of a test of the README at `place`.
    pub(crate) fn test(&self, place: &str, outcome: &Outcome) {
        self.text(&outcome::one(place, outcome));
    }

    /// A failed test of the README at `place`, for GitHub to show beside its line.
    pub(crate) fn annotation(&self, place: &str, outcome: &Outcome) {
        if let Some(text) = outcome::annotation(place, outcome) {
            self.text(&text);
        }
    }

    /// How the tests ended, after `time`.
    pub(crate) fn tests(&self, outcomes: &[Outcome], time: Duration) {
        self.text(&outcome::summary(outcomes, time));
    }

    /// What has no test; each with its README.
    pub(crate) fn coverage(&self, rows: &[(String, &Coverage)]) {
        self.text(&outcome::coverage(rows));
    }

    /// Problems of the user's files.
    pub fn problems(&self, problems: &[Problem]) {
        for problem in problems {
            to_stderr(&report::render(problem));
        }
    }

    /// Remarks on the user's files.
    pub fn warnings(&self, warnings: &[Problem]) {
        if !self.quiet {
            self.problems(warnings);
        }
    }

    /// An error, with its causes and what to do about it.
    pub fn error(&self, error: &Error) {
        match error {
            Error::Problems(Problems(problems)) => self.problems(problems),
            Error::Child(_) => {}
            Error::Failed(message) if message.is_empty() => {}
            error => to_stderr(&format!("{ERROR}error{ERROR:#}: {}\n", chain(error))),
        }
        if let Some(hint) = error.hint() {
            to_stderr(&format!("{BOLD}hint{BOLD:#}: {hint}\n"));
        }
    }
}

/// Asks on the terminal; `None` at the end of input.
pub fn ask(question: &str) -> Option<String> {
    to_stderr(question);
    let mut answer = String::new();
    let count = io::stdin().read_line(&mut answer).ok()?;
    (count > 0).then(|| answer.trim().to_owned())
}

/// Text of a stranger's file without what a terminal would obey.
pub fn visible(text: &str) -> String {
    let show = |c: char| match c {
        '\n' | '\t' => c.to_string(),
        c if c.is_control() => c.escape_default().to_string(),
        c => c.to_string(),
    };
    text.chars().map(show).collect()
}

/// Columns and lines of the terminal that standard output is, if it is one.
fn terminal_size() -> Option<(usize, usize)> {
    let size = rustix::termios::tcgetwinsize(io::stdout()).ok()?;
    let (columns, lines) = (usize::from(size.ws_col), usize::from(size.ws_row));
    // A terminal without a size is a line printer of 80 columns.
    Some(if columns == 0 || lines == 0 {
        (80, 24)
    } else {
        (columns, lines)
    })
}

fn to_stdout(text: &str) {
    write_out(&masked(text));
}

fn write_out(text: &str) {
    let mut stdout = anstream::stdout().lock();
    leave_on_error(stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()));
}

fn to_stderr(text: &str) {
    // Nobody can be told that standard error is gone.
    let _ = anstream::stderr().lock().write_all(masked(text).as_bytes());
}

/// Whoever read has gone: so do we. The supervisor sees the connection close, as with any end of this command.
fn leave_on_error(written: io::Result<()>) {
    if written.is_err() {
        std::process::exit(141);
    }
}

/// Standard output, to see when nobody reads it any more.
pub(crate) fn standard_output() -> io::Result<OwnedFd> {
    io::stdout().as_fd().try_clone_to_owned()
}

/// Whether a full screen is to be coloured, as `--color` and `NO_COLOR` say.
pub(crate) fn is_coloured() -> bool {
    match anstream::ColorChoice::global() {
        anstream::ColorChoice::Never => false,
        anstream::ColorChoice::Auto => std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()),
        _ => true,
    }
}

/// The mark and its style for a row.
pub(crate) fn mark(row: &ServiceStatus) -> (&'static str, Style) {
    match (row.state, row.health) {
        (Phase::Running, Health::Starting) => ("…", FAINT),
        (Phase::Failed, _) => ("✗", ERROR),
        (Phase::Blocked | Phase::Backoff, _) | (Phase::Running, Health::Unhealthy) => ("!", CAUTION),
        (Phase::Running | Phase::Completed, _) => ("✓", GOOD),
        (Phase::Stopped | Phase::Stopping | Phase::Scheduled, _) => ("·", FAINT),
        _ => ("…", FAINT),
    }
}

fn state_line(row: &ServiceStatus) -> Option<String> {
    let (mark, style) = mark(row);
    let text = match (row.state, row.health) {
        (Phase::Running, Health::Healthy) => "is healthy",
        (Phase::Running, Health::None) => "is running",
        (Phase::Running, Health::Unhealthy) => "is unhealthy",
        (Phase::Completed, _) => "is completed",
        (Phase::Stopping, _) => "is stopping",
        (Phase::Stopped, _) => "is stopped",
        (Phase::Blocked, _) => row.cause.as_deref().unwrap_or("is blocked"),
        (Phase::Backoff, _) => "is started again soon",
        _ => return None,
    };
    Some(format!("{style}{mark}{style:#} {} {text}\n", row.name))
}

fn failure_text(service: &str, cause: &str, details: &[String], log: &[String]) -> String {
    let mut text = format!("{ERROR}error{ERROR:#}: {service} failed: {cause}\n");
    for line in details {
        text.push_str(&format!("  {line}\n"));
    }
    if !log.is_empty() {
        text.push_str(&format!("  {FAINT}its last lines:{FAINT:#}\n"));
    }
    for line in log {
        let line = lines::for_message(line);
        text.push_str(&format!("  {FAINT}│{FAINT:#} {line}\n"));
    }
    text
}

/// A colour per name, the same in every run.
fn colour_of(name: &str) -> Style {
    const COLOURS: [AnsiColor; 6] = [
        AnsiColor::Cyan,
        AnsiColor::Magenta,
        AnsiColor::Blue,
        AnsiColor::Green,
        AnsiColor::Yellow,
        AnsiColor::BrightCyan,
    ];
    let sum = name.bytes().fold(7_usize, |sum, byte| {
        sum.wrapping_mul(31).wrapping_add(usize::from(byte))
    });
    COLOURS[sum % COLOURS.len()].on_default()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A row with nothing but these.
    pub(crate) fn row(name: &str, state: Phase, health: Health) -> ServiceStatus {
        ServiceStatus {
            state,
            health,
            ..ServiceStatus::resting(&Seat {
                service: name.to_owned(),
                replica: None,
            })
        }
    }

    fn plain(text: &str) -> String {
        anstream::adapter::strip_str(text).to_string()
    }

    #[test]
    fn states_are_told_once_they_matter() {
        let line = |state, health| state_line(&row("web", state, health)).map(|text| plain(&text));
        assert_eq!(
            line(Phase::Running, Health::Healthy).as_deref(),
            Some("✓ web is healthy\n")
        );
        assert_eq!(line(Phase::Running, Health::Starting), None);
        assert_eq!(
            line(Phase::Completed, Health::None).as_deref(),
            Some("✓ web is completed\n")
        );
        assert_eq!(line(Phase::Failed, Health::None), None, "the failure says more");
    }

    #[test]
    fn a_failure_comes_with_its_evidence() {
        let text = failure_text(
            "web",
            "exit code 1",
            &["no module x".into()],
            &["Traceback".into()],
        );
        assert_eq!(
            plain(&text),
            "error: web failed: exit code 1\n  no module x\n  its last lines:\n  │ Traceback\n"
        );
        assert_eq!(
            plain(&failure_text("web", "gone", &[], &[])),
            "error: web failed: gone\n"
        );
    }

    #[test]
    fn escapes_of_strangers_become_text() {
        assert_eq!(visible("a\u{1b}[31m\tb\r\n"), "a\\u{1b}[31m\tb\\r\n");
        assert_eq!(visible("zażółć ✓"), "zażółć ✓");
    }
}
