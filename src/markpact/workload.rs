//! The `workload` block: YAML → service or job, and its arguments. What is not supported is refused, never ignored.

use std::fmt;

use indexmap::IndexMap;
use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};
use serde_yaml::{Spanned, UserMessageFormatter};

use super::block::Block;
use super::findings::{Findings, instead, quoted};
use super::recipe::{Workload, WorkloadKind};
use crate::config::ecosystem::{Place, Restart, Schedule};
use crate::config::{cron, restart, schedule};

const KEYS: &[&str] = &[
    "kind",
    "args",
    "restart_policy",
    "schedule",
    "runtime",
    "image",
    "entrypoint",
    "host_app",
];

const KINDS: &[(&str, WorkloadKind)] = &[
    ("service", WorkloadKind::Service),
    ("daemon", WorkloadKind::Service),
    ("job", WorkloadKind::Job),
    ("cli", WorkloadKind::Job),
    ("script", WorkloadKind::Job),
    ("build", WorkloadKind::Job),
];

/// The workload of the README; without a block, a service.
pub(super) fn read(blocks: &[Block], findings: &mut Findings<'_>) -> Workload {
    let Some(block) = findings.only(blocks, &["workload"]) else {
        return Workload::default();
    };
    let mut workload = Workload::default();
    let mut stays = None;
    for (key, value) in mapping(block, findings) {
        let stays_so = |text: &str| KINDS.contains(&(text, WorkloadKind::Service));
        let is_service = key.value == "kind" && stays_so(value.value.text());
        let value = Entry {
            key: &key.value,
            at: place(block, &value.referenced),
            value: &value.value,
        };
        value.apply(place(block, &key.referenced), &mut workload, block, findings);
        if is_service {
            stays = Some(value.at);
        }
    }
    if workload.schedule.is_some() {
        workload.kind = WorkloadKind::Job;
        if let Some(kind) = stays {
            let help = "write 'kind: job', or take the schedule out";
            findings.error_at(kind, "what is run on a schedule has to end", help);
        }
    }
    workload
}

fn mapping(block: &Block, findings: &mut Findings<'_>) -> IndexMap<Spanned<String>, Spanned<Value>> {
    let line = block.lines.first;
    let help = "write, for example, 'kind: job'";
    if block.text.trim().is_empty() {
        findings.error(line, "the 'workload' block is empty", help);
        return IndexMap::new();
    }
    let budget = serde_yaml::budget! { max_nodes: 10_000, max_aliases: 100, max_depth: 16 };
    let options = serde_yaml::options! { budget: budget, strict_booleans: true, with_snippet: false };
    let read = serde_yaml::from_str_with_options::<Option<IndexMap<_, _>>>(&block.commands(), options);
    match read {
        Ok(Some(mapping)) => mapping,
        Ok(None) => {
            findings.error(line, "the 'workload' block is empty", help);
            IndexMap::new()
        }
        Err(error) => {
            let at = error.location().map(|location| place(block, &location));
            findings.error_at(
                at.unwrap_or(Place { line, column: 1 }),
                format!("the workload is no valid YAML mapping: {}", said(&error)),
                help,
            );
            IndexMap::new()
        }
    }
}

/// The parser's sentence without its own place, which counts from the block's beginning.
fn said(error: &serde_yaml::Error) -> String {
    let message = error
        .without_snippet()
        .render_with_formatter(&UserMessageFormatter);
    let first = message.lines().next().unwrap_or_default();
    let sentence = first
        .rsplit_once(" at line ")
        .map_or(first, |(sentence, _)| sentence);
    sentence.replace('`', "'")
}

/// A place of the YAML text as a place of the README.
fn place(block: &Block, location: &serde_yaml::Location) -> Place {
    let last = block.lines.last.saturating_sub(1);
    let line = block.lines.first + location.line() as usize;
    Place {
        line: line.clamp(block.lines.first, last.max(block.lines.first)),
        column: (location.column() as usize).max(1) + block.indent,
    }
}

/// One key of the block with its value.
struct Entry<'a> {
    key: &'a str,
    at: Place,
    value: &'a Value,
}

impl Entry<'_> {
    fn apply(&self, key: Place, workload: &mut Workload, block: &Block, findings: &mut Findings<'_>) {
        match self.key {
            "kind" => workload.kind = self.kind(findings),
            "args" => workload.args = self.args(block, findings),
            "restart_policy" => workload.restart = self.restart_policy(findings),
            "schedule" => workload.schedule = self.schedule(block, findings),
            known if KEYS.contains(&known) => findings.error_at(
                key,
                format!("'{known}' of a workload is not supported yet"),
                "remove it; supported are kind, args, restart_policy and schedule",
            ),
            unknown => findings.error_at(
                key,
                format!("unknown key {} of a workload", quoted(unknown)),
                instead(unknown, KEYS),
            ),
        }
    }

    fn kind(&self, findings: &mut Findings<'_>) -> WorkloadKind {
        let names: Vec<&str> = KINDS.iter().map(|(name, _)| *name).collect();
        let text = match self.value {
            Value::Text(text) => text.as_str(),
            Value::List(_) | Value::Mapping(_) => "",
        };
        if let Some((_, kind)) = KINDS.iter().find(|(name, _)| *name == text) {
            return *kind;
        }
        let (message, help) = match text {
            "plugin" => (
                "a workload of the kind 'plugin' is not supported yet".to_owned(),
                format!("known are {}", names.join(", ")),
            ),
            "" => (
                "the kind of a workload is one word".to_owned(),
                format!("known are {}", names.join(", ")),
            ),
            text => (
                format!("unknown kind {} of a workload", quoted(text)),
                instead(text, &names),
            ),
        };
        findings.error_at(self.at, message, help);
        WorkloadKind::default()
    }

    fn args(&self, block: &Block, findings: &mut Findings<'_>) -> Vec<String> {
        let Value::List(items) = self.value else {
            let help = "write, for example, 'args: [--verbose]'";
            findings.error_at(self.at, "the arguments of a workload are a list of texts", help);
            return Vec::new();
        };
        for item in items.iter().filter(|item| item.value.contains('\0')) {
            let at = place(block, &item.referenced);
            findings.error_at(at, "the argument holds a NUL character", "remove it");
        }
        items.iter().map(|item| item.value.clone()).collect()
    }

    fn restart_policy(&self, findings: &mut Findings<'_>) -> Option<Restart> {
        let policy = match self.value {
            Value::Text(text) => restart::policy(text),
            Value::List(_) | Value::Mapping(_) => None,
        };
        if policy.is_none() {
            let help = "write 'never', 'on-failure', 'on-failure:5', 'always' or 'unless-stopped'";
            findings.error_at(self.at, "this is no restart policy", help);
        }
        policy
    }
}

/// What a schedule is written with, in the mapping form.
const SCHEDULE: &[&str] = &["cron", "timezone", "overlap"];

impl Entry<'_> {
    fn schedule(&self, block: &Block, findings: &mut Findings<'_>) -> Option<Schedule> {
        let entries = match self.value {
            Value::Text(text) => return self.cron(text, findings).map(Schedule::new),
            Value::Mapping(entries) => entries,
            Value::List(_) => &Vec::new(),
        };
        let Some((_, cron)) = entries.iter().find(|(key, _)| key.value == "cron") else {
            let help = "write 'schedule: \"*/5 * * * *\"', or a mapping with 'cron'";
            findings.error_at(self.at, "a schedule of a workload needs 'cron'", help);
            return None;
        };
        let mut found = Schedule::new(self.cron(cron.value.text(), findings)?);
        for (key, value) in entries {
            let text = value.value.text();
            let at = place(block, &value.referenced);
            match key.value.as_str() {
                "cron" => {}
                "timezone" => match cron::zone(text) {
                    Ok(_) => found.timezone = Some(text.to_owned()),
                    Err(fault) => {
                        findings.error_at(at, format!("{}: {}", quoted(text), fault.message), fault.help)
                    }
                },
                "overlap" => match schedule::OVERLAP.iter().find(|(word, _)| *word == text) {
                    Some((_, overlap)) => found.overlap = *overlap,
                    None => {
                        let words: Vec<&str> = schedule::OVERLAP.iter().map(|(word, _)| *word).collect();
                        findings.error_at(
                            at,
                            format!("unknown overlap {}", quoted(text)),
                            instead(text, &words),
                        );
                    }
                },
                unknown => findings.error_at(
                    place(block, &key.referenced),
                    format!("unknown key {} of a schedule", quoted(unknown)),
                    instead(unknown, SCHEDULE),
                ),
            }
        }
        Some(found)
    }

    fn cron(&self, text: &str, findings: &mut Findings<'_>) -> Option<String> {
        if let Err(fault) = cron::parse(text) {
            let message = format!("{} is no cron expression: {}", quoted(text), fault.message);
            findings.error_at(self.at, message, fault.help);
            return None;
        }
        Some(text.trim().to_owned())
    }
}

/// A value of the block. Scalars are text; what is wrong with the others is said by their key.
#[derive(Debug)]
enum Value {
    Text(String),
    List(Vec<Spanned<String>>),
    Mapping(Vec<(Spanned<String>, Spanned<Value>)>),
}

impl Value {
    /// Its text; of anything else none.
    fn text(&self) -> &str {
        match self {
            Self::Text(text) => text,
            Self::List(_) | Self::Mapping(_) => "",
        }
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValueVisitor)
    }
}

struct ValueVisitor;

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = Value;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a text or a list of texts")
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(Value::Text(text.to_owned()))
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Text(value.to_string()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Text(value.to_string()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Text(value.to_string()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Value::Text(value.to_string()))
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Text(String::new()))
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Text(String::new()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Value::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut mapping = Vec::new();
        while let Some(entry) = entries.next_entry()? {
            mapping.push(entry);
        }
        Ok(Value::Mapping(mapping))
    }
}
