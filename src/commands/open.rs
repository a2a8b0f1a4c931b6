//! `open`: a failure bundle that `--bundle` wrote, read and shown. Asks nobody, needs no root, writes nothing.

use serde::Deserialize;
use serde_json::Value;

use super::Context;
use crate::cli::{OpenArguments, Part};
use crate::control::api::ServiceStatus;
use crate::error::Error;
use crate::events::{self, Event};
use crate::evidence::{self, Evidence, Manifest};
use crate::logs::{Line, Stream};
use crate::output::{LogStyle, visible};
use crate::report::Report;
use crate::roster::Seat;
use crate::why::Diagnosis;

pub(super) fn run(context: &Context, arguments: &OpenArguments) -> Result<(), Error> {
    let (manifest, evidence) = evidence::read(&arguments.archive).map_err(|error| Error::Usage {
        message: format!("cannot open `{}`: {error}", arguments.archive.display()),
        hint: Some("`--bundle FILE` of `pactown up` and `pactown test` writes one".to_owned()),
    })?;
    let open = Open {
        context,
        manifest,
        evidence,
        names: &arguments.names,
    };
    match arguments.part {
        Part::Summary => open.summary(&arguments.archive),
        Part::Ps => open.services(),
        Part::Why => open.why(),
        Part::Events => open.events(),
        Part::Logs => open.logs(),
        Part::Tests => open.tests(),
        Part::Plan => open.texts("plan.txt"),
        Part::Report => open.report(),
        Part::Inspect => open.inspections(),
        Part::Host => open.host(),
        Part::Files => open.files(),
    }
}

struct Open<'a> {
    context: &'a Context,
    manifest: Manifest,
    evidence: Evidence,
    names: &'a [String],
}

/// A line of a log, as the archive has it.
#[derive(Deserialize)]
struct Written {
    ts: String,
    run: Option<u64>,
    stream: String,
    line: String,
}

impl Open<'_> {
    fn wants(&self, names: &[&str]) -> bool {
        self.names.is_empty() || self.names.iter().any(|name| names.contains(&name.as_str()))
    }

    fn rows(&self) -> Vec<ServiceStatus> {
        let mut rows: Vec<ServiceStatus> = self.evidence.json("services.json").unwrap_or_default();
        rows.retain(|row| self.wants(&[&row.name, &row.service]));
        rows
    }

    fn diagnoses(&self) -> Vec<Diagnosis> {
        let mut found: Vec<Diagnosis> = self.evidence.json("why.json").unwrap_or_default();
        found.retain(|one| match self.names.is_empty() {
            true => one.kind.is_wrong(),
            false => self.names.contains(&one.service),
        });
        found
    }

    fn tests_of(&self) -> Vec<Value> {
        let mut tests: Vec<Value> = self.evidence.json("tests.json").unwrap_or_default();
        tests.retain(|test| self.wants(&[test["service"].as_str().unwrap_or_default()]));
        tests
    }

    fn summary(&self, archive: &std::path::Path) -> Result<(), Error> {
        let (rows, why, tests) = (self.rows(), self.diagnoses(), self.tests_of());
        if self.context.json {
            let files: Vec<&str> = self.evidence.names().collect();
            return self.context.output.json(&serde_json::json!({
                "manifest": self.manifest, "services": rows, "why": why, "tests": tests, "files": files,
            }));
        }
        let (output, manifest) = (&self.context.output, &self.manifest);
        output.line(&format!(
            "{}: `pactown {}` exited with {} ({}, pactown {})",
            manifest.instance, manifest.command, manifest.exit_code, manifest.written, manifest.pactown
        ));
        for line in manifest
            .message
            .lines()
            .chain(manifest.left_out.iter().map(String::as_str))
        {
            output.line(&format!("  {line}"));
        }
        if !rows.is_empty() {
            output.line("");
            output.services(&rows);
        }
        for one in &why {
            output.line("");
            output.diagnosis(one);
        }
        if !tests.is_empty() {
            output.line("");
            tests.iter().for_each(|test| self.test(test, false));
        }
        output.line("");
        output.line(&format!(
            "more: `pactown open {} logs`, or why, events, tests, plan, report, inspect, host, files",
            visible(&archive.display().to_string())
        ));
        Ok(())
    }

    fn services(&self) -> Result<(), Error> {
        match self.context.json {
            true => self.context.output.json(&self.rows())?,
            false => self.context.output.services(&self.rows()),
        }
        Ok(())
    }

    fn why(&self) -> Result<(), Error> {
        let found = self.diagnoses();
        if self.context.json {
            return self.context.output.json(&found);
        }
        found.iter().for_each(|one| self.context.output.diagnosis(one));
        if found.is_empty() {
            self.context.output.line("all was well");
        }
        Ok(())
    }

    fn events(&self) -> Result<(), Error> {
        let mut all: Vec<Event> = self.evidence.lines("events.ndjson");
        all.retain(|event| {
            let names = [event.service.clone(), event.unit()];
            let names: Vec<&str> = names.iter().flatten().map(String::as_str).collect();
            self.wants(&names)
        });
        let width = all.iter().filter_map(Event::unit).map(|name| name.len()).max();
        let zone = jiff::tz::TimeZone::system();
        for event in &all {
            let line = match self.context.json {
                true => serde_json::to_string(event).unwrap_or_default(),
                false => visible(&events::render(event, width.unwrap_or(0), &zone)),
            };
            self.context.output.line(&line);
        }
        Ok(())
    }

    /// All lines in the order of their times.
    fn logs(&self) -> Result<(), Error> {
        let units = self.logged()?;
        let mut lines: Vec<(usize, Line)> = Vec::new();
        for (index, unit) in units.iter().enumerate() {
            lines.extend(self.log(unit).into_iter().map(|line| (index, line)));
        }
        lines.sort_by(|(_, one), (_, other)| one.time.cmp(&other.time));
        let seat = |unit: &&str| Seat {
            service: (*unit).to_owned(),
            replica: None,
        };
        let style = LogStyle {
            prefixed: units.len() != 1,
            json: self.context.json,
            rules: true,
            ..LogStyle::default()
        };
        let mut view = self.context.output.logs(units.iter().map(seat).collect(), style);
        lines.iter().for_each(|(index, line)| view.show(*index, line));
        view.flush();
        Ok(())
    }

    /// The sandboxes whose logs are wanted; a service with all its replicas.
    fn logged(&self) -> Result<Vec<&str>, Error> {
        let all: Vec<&str> = self.evidence.names().filter_map(unit_of_log).collect();
        let is_of = |unit: &str, name: &String| {
            let rest = unit.strip_prefix(name.as_str());
            rest.is_some_and(|rest| rest.is_empty() || is_replica(rest))
        };
        let has_log = |name: &&String| all.iter().any(|unit| is_of(unit, name));
        if let Some(unknown) = self.names.iter().find(|name| !has_log(name)) {
            let there = all.join(", ");
            return Err(Error::Failed(format!(
                "there is no log of '{unknown}' (there are: {there})"
            )));
        }
        let is_wanted =
            |unit: &&str| self.names.is_empty() || self.names.iter().any(|name| is_of(unit, name));
        Ok(all.into_iter().filter(is_wanted).collect())
    }

    fn log(&self, unit: &str) -> Vec<Line> {
        let text = self
            .evidence
            .text(&format!("logs/{unit}.ndjson"))
            .unwrap_or_default();
        let written = text
            .lines()
            .filter_map(|line| serde_json::from_str::<Written>(line).ok());
        let line = |one: Written| Line {
            time: visible(&one.ts),
            stream: match one.stream.as_str() {
                "stderr" => Stream::Stderr,
                "system" => Stream::System,
                _ => Stream::Stdout,
            },
            // A log has no newline within a line.
            text: one.line.replace('\n', "\\n").into_bytes(),
            run: one.run,
            nth_run: one.run.unwrap_or(0),
            apart: false,
        };
        written.map(line).collect()
    }

    fn tests(&self) -> Result<(), Error> {
        let tests = self.tests_of();
        if self.context.json {
            return self.context.output.json(&tests);
        }
        tests.iter().for_each(|test| self.test(test, true));
        if tests.is_empty() {
            self.context.output.line("no test was asked");
        }
        Ok(())
    }

    /// A line, and what was not as expected; `fully` with answer and log.
    fn test(&self, test: &Value, fully: bool) {
        let (output, text) = (&self.context.output, |value: &Value| {
            value.as_str().unwrap_or_default().to_owned()
        });
        output.line(&format!(
            "{}:{} {} … {}",
            text(&test["file"]),
            test["line"],
            text(&test["title"]).replace('\n', " "),
            text(&test["result"])
        ));
        for miss in test["misses"].as_array().into_iter().flatten() {
            output.line(&format!("    expected  {}", text(&miss["expected"])));
            output.line(&format!("    got       {}", text(&miss["got"])));
        }
        for part in ["answer", "log"].iter().filter(|_| fully) {
            for line in test[*part].as_array().into_iter().flatten() {
                output.line(&format!("    {part:<9} {}", text(line)));
            }
        }
    }

    fn texts(&self, name: &str) -> Result<(), Error> {
        let text = self.evidence.text(name).ok_or_else(|| self.lacks(name))?;
        match self.context.json {
            true => self.context.output.json(&text.lines().collect::<Vec<_>>()),
            false => {
                self.context.output.text(&visible(text));
                Ok(())
            }
        }
    }

    fn report(&self) -> Result<(), Error> {
        let report: Report = self
            .evidence
            .json("report.json")
            .ok_or_else(|| self.lacks("report.json"))?;
        match self.context.json {
            true => self.context.output.json(&report)?,
            false => self.context.output.report(&report),
        }
        Ok(())
    }

    fn inspections(&self) -> Result<(), Error> {
        let unit = |name: &&str| {
            let unit = name
                .strip_prefix("inspect/")
                .and_then(|name| name.strip_suffix(".json"));
            unit.is_some_and(|unit| self.wants(&[unit]))
        };
        let found: Vec<Value> = self
            .evidence
            .names()
            .filter(unit)
            .filter_map(|name| self.evidence.json(name))
            .collect();
        self.context.output.json(&found)
    }

    fn host(&self) -> Result<(), Error> {
        let host: Value = self
            .evidence
            .json("host.json")
            .ok_or_else(|| self.lacks("host.json"))?;
        self.context.output.json(&host)
    }

    /// Their names, or the contents of those that are named.
    fn files(&self) -> Result<(), Error> {
        if self.names.is_empty() {
            let names: Vec<&str> = self.evidence.names().collect();
            return match self.context.json {
                true => self.context.output.json(&names),
                false => {
                    names.iter().for_each(|name| self.context.output.line(name));
                    Ok(())
                }
            };
        }
        self.names.iter().try_for_each(|name| self.texts(name))
    }

    fn lacks(&self, name: &str) -> Error {
        let there: Vec<&str> = self.evidence.names().collect();
        Error::Failed(format!(
            "the archive has no `{}`: nothing ran, or it is no part of it (there are: {})",
            visible(name),
            there.join(", ")
        ))
    }
}

fn unit_of_log(name: &str) -> Option<&str> {
    name.strip_prefix("logs/")?.strip_suffix(".ndjson")
}

/// `-2`, behind the name of a service.
fn is_replica(rest: &str) -> bool {
    let number = rest.strip_prefix('-');
    number.is_some_and(|number| number.parse::<u32>().is_ok())
}
