//! Outcomes of tests as text: a line each, what is needed to understand a failure, a summary; GitHub annotations.

use std::time::Duration;

use super::{BOLD, CAUTION, ERROR, FAINT, GOOD, lines, visible};
use crate::testing::coverage::Coverage;
use crate::testing::{Failure, Outcome, Verdict, count};

/// `README.md:57 GET /health … ok (12 ms)`, and below it what a failure needs.
pub(super) fn one(place: &str, outcome: &Outcome) -> String {
    let title = one_line(&outcome.title);
    let time = format!("{FAINT}({}){FAINT:#}", time(outcome.time));
    let place = format!("{place}:{}", outcome.line);
    match &outcome.verdict {
        Verdict::Passed => format!("{place} {title} … {GOOD}ok{GOOD:#} {time}\n"),
        Verdict::Skipped { reason } => {
            format!(
                "{place} {title} … {CAUTION}skipped{CAUTION:#}: {}\n",
                visible(reason)
            )
        }
        Verdict::Failed(failure) => {
            let details = details(&outcome.service, outcome.line, failure);
            format!("{place} {title} … {ERROR}FAILED{ERROR:#} {time}\n{details}")
        }
    }
}

fn details(service: &str, line: usize, failure: &Failure) -> String {
    let mut text = format!("    asked     {}\n", visible(&failure.request));
    for miss in &failure.misses {
        let place = match miss.line == line {
            true => String::new(),
            false => format!(" {FAINT}(line {}){FAINT:#}", miss.line),
        };
        text.push_str(&format!("    expected  {}{place}\n", visible(&miss.expected)));
        text.push_str(&format!("    got       {ERROR}{}{ERROR:#}\n", visible(&miss.got)));
    }
    for (index, line) in failure.answer.iter().enumerate() {
        let title = if index == 0 { "answer" } else { "" };
        text.push_str(&format!("    {title:<9} {}\n", lines::for_message(line)));
    }
    if !failure.log.is_empty() {
        text.push_str(&format!("    {FAINT}last lines of {service}:{FAINT:#}\n"));
    }
    for line in &failure.log {
        text.push_str(&format!("    {FAINT}│{FAINT:#} {}\n", lines::for_message(line)));
    }
    text
}

/// `3 passed, 1 failed (0.4 s)`
pub(super) fn summary(outcomes: &[Outcome], all: Duration) -> String {
    let (passed, failed, skipped) = count(outcomes);
    let style = if failed + skipped > 0 { ERROR } else { GOOD };
    let mut parts = vec![format!("{passed} passed")];
    if failed > 0 {
        parts.push(format!("{failed} failed"));
    }
    if skipped > 0 {
        parts.push(format!("{skipped} skipped"));
    }
    format!("{style}{}{style:#} ({})\n", parts.join(", "), time(all))
}

/// A workflow command of GitHub Actions, with its characters escaped.
pub(super) fn annotation(place: &str, outcome: &Outcome) -> Option<String> {
    let Verdict::Failed(failure) = &outcome.verdict else {
        return None;
    };
    let line = failure.misses.first().map_or(outcome.line, |miss| miss.line);
    let data = |text: &str| text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A");
    let property = |text: &str| data(text).replace(':', "%3A").replace(',', "%2C");
    Some(format!(
        "::error file={},line={line},title={}::{}\n",
        property(place),
        property(&outcome.title),
        data(&failure.summary())
    ))
}

/// What has no test; the names in front are relative.
pub(super) fn coverage(rows: &[(String, &Coverage)]) -> String {
    let mut text = String::new();
    for (place, row) in rows {
        let tests = match row.tests {
            0 => format!("{ERROR}no test{ERROR:#}"),
            1 => "1 test".to_owned(),
            count => format!("{count} tests"),
        };
        text.push_str(&format!("{BOLD}{}{BOLD:#} {place}: {tests}\n", row.service));
        for endpoint in &row.endpoints {
            let (mark, style) = if endpoint.tested {
                ("✓", GOOD)
            } else {
                ("✗", ERROR)
            };
            let line = match endpoint.line {
                0 => String::new(),
                line => format!(" {FAINT}(line {line}){FAINT:#}"),
            };
            text.push_str(&format!(
                "  {style}{mark}{style:#} {}{line}\n",
                visible(&endpoint.name)
            ));
        }
    }
    let endpoints: Vec<bool> = rows
        .iter()
        .flat_map(|(_, row)| row.endpoints.iter().map(|endpoint| endpoint.tested))
        .collect();
    let tested = endpoints.iter().filter(|tested| **tested).count();
    let with = rows.iter().filter(|(_, row)| row.tests > 0).count();
    text.push_str(&format!(
        "{with} of {} READMEs have tests, {tested} of {} endpoints are tested\n",
        rows.len(),
        endpoints.len()
    ));
    text
}

fn one_line(text: &str) -> String {
    let mut lines = text.lines();
    let first = visible(lines.next().unwrap_or_default());
    match lines.next() {
        Some(_) => format!("{first} …"),
        None => first,
    }
}

fn time(time: Duration) -> String {
    match time.as_millis() {
        millis @ ..1000 => format!("{millis} ms"),
        _ => format!("{:.1} s", time.as_secs_f64()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Miss;

    fn failed() -> Outcome {
        let failure = Failure {
            request: "GET http://api:8000/health".into(),
            misses: vec![Miss {
                line: 58,
                expected: "status 200".into(),
                got: "status 404".into(),
            }],
            answer: vec!["404 Not Found".into(), "{\"detail\": 100%}".into()],
            log: vec!["oops\u{1b}]0;x".into()],
        };
        Outcome {
            service: "api".into(),
            file: "/p/api/README.md".into(),
            line: 57,
            title: "GET /health".into(),
            time: Duration::from_millis(12),
            verdict: Verdict::Failed(failure),
        }
    }

    #[test]
    fn a_failure_shows_what_was_asked_expected_and_there() {
        let text = anstream::adapter::strip_str(&one("api/README.md", &failed())).to_string();
        assert_eq!(
            text.lines().take(7).collect::<Vec<_>>(),
            [
                "api/README.md:57 GET /health … FAILED (12 ms)",
                "    asked     GET http://api:8000/health",
                "    expected  status 200 (line 58)",
                "    got       status 404",
                "    answer    404 Not Found",
                "              {\"detail\": 100%}",
                "    last lines of api:",
            ]
        );
    }

    #[test]
    fn an_annotation_points_to_the_expectation() {
        assert_eq!(
            annotation("a,b/README.md", &failed()).as_deref(),
            Some(
                "::error file=a%2Cb/README.md,line=58,title=GET /health::expected status 200, got status 404\n"
            )
        );
    }

    #[test]
    fn the_summary_counts() {
        let mut passed = failed();
        passed.verdict = Verdict::Passed;
        let text = summary(&[passed.clone(), passed, failed()], Duration::from_secs(12));
        assert_eq!(
            anstream::adapter::strip_str(&text).to_string(),
            "2 passed, 1 failed (12.0 s)\n"
        );
    }
}
