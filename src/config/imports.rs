//! Services that come from a registry: `from`, and `depends_on` with `registry`. What the lock says of them becomes
//! services like those that are written. Pure.

use super::ecosystem::Import;
use super::grammar::FROM_FORM;
use super::report::Report;
use super::tree::{Key, Node, Value, shortened};
use crate::lockfile::ArtifactLock;
use crate::registry::api::DEFAULT_NAMESPACE;
use crate::registry::name::{ArtifactId, Reference};
use crate::registry::version::Selector;

/// The entries of `services`, and those that come with them.
pub(crate) struct Expanded {
    /// What is written first, in its order; then what a registry adds.
    pub(crate) entries: Vec<(Key, Node)>,
    /// What the file itself asks a registry for.
    pub(crate) imports: Vec<Import>,
}

/// Adds the services that dependencies name in a registry, with what those need by what is `locked`.
pub(crate) fn expand(
    written: &[(Key, Node)],
    namespace: &str,
    locked: &[ArtifactLock],
    report: &Report,
) -> Expanded {
    let namespace = if namespace.is_empty() {
        DEFAULT_NAMESPACE
    } else {
        namespace
    };
    let mut expanded = Expanded {
        entries: written.to_vec(),
        imports: Vec::new(),
    };
    for (key, node) in written {
        for (name, range, mark) in asked(node) {
            if expanded.has(&name) && written.iter().any(|(own, _)| own.text == name) {
                continue;
            }
            let text = format!("{namespace}/{name}@{range}");
            let Some(import) = import(&name, &text, namespace, &key.text, mark, report) else {
                continue;
            };
            expanded.imports.push(import);
            if !expanded.has(&name) {
                expanded.add(&name, &text, mark);
            }
        }
        if let Some(value) = node.get("from")
            && let Some(text) = report.text("from", value)
            && let Some(import) = import(&key.text, text, namespace, &key.text, value.mark, report)
        {
            expanded.imports.push(import);
        }
    }
    expanded.complete(namespace, locked);
    expanded
}

impl Expanded {
    fn has(&self, name: &str) -> bool {
        self.entries.iter().any(|(key, _)| key.text == name)
    }

    fn add(&mut self, name: &str, from: &str, mark: super::report::Mark) {
        let key = Key {
            text: name.to_owned(),
            mark,
        };
        let from = (word("from", mark), node(Value::Text(from.to_owned()), mark));
        self.entries.push((key, node(Value::Map(vec![from]), mark)));
    }

    /// What artifacts need, by the lock, until nothing is added.
    fn complete(&mut self, namespace: &str, locked: &[ArtifactLock]) {
        let mut index = 0;
        while index < self.entries.len() {
            let (key, entry) = self.entries[index].clone();
            index += 1;
            let Some(artifact) = entry
                .get("from")
                .and_then(|from| locked_as(from, namespace, locked))
            else {
                continue;
            };
            for want in &artifact.wants {
                let Ok(reference) = want.parse::<Reference>() else {
                    continue;
                };
                if !self.has(&reference.name) {
                    self.add(&reference.name, want, key.mark);
                }
                depend(&mut self.entries[index - 1].1, &reference.name);
            }
        }
    }
}

/// The artifact that the lock has for a `from`.
pub(crate) fn locked_as<'a>(
    from: &Node,
    namespace: &str,
    locked: &'a [ArtifactLock],
) -> Option<&'a ArtifactLock> {
    let Value::Text(text) = &from.value else {
        return None;
    };
    let namespace = if namespace.is_empty() {
        DEFAULT_NAMESPACE
    } else {
        namespace
    };
    let reference: Reference = text.parse().ok()?;
    let artifact = reference.artifact(namespace).ok()?;
    let found = locked.iter().find(|lock| lock.name == artifact.to_string())?;
    found.fits(&reference.selector).then_some(found)
}

/// Dependencies of a service that name a registry: name, range, where.
fn asked(service: &Node) -> Vec<(String, String, super::report::Mark)> {
    let of = |name: &str, node: &Node, mark| {
        let Value::Text(registry) = &node.get("registry")?.value else {
            return None;
        };
        let range = match node.get("version").map(|version| &version.value) {
            Some(Value::Text(text) | Value::Number(text)) => text.clone(),
            _ => "*".to_owned(),
        };
        (registry == "default").then(|| (name.to_owned(), range, mark))
    };
    match service.get("depends_on").map(|node| &node.value) {
        Some(Value::List(items)) => {
            let named = items.iter().filter_map(|item| match &item.get("name")?.value {
                Value::Text(name) => of(name, item, item.get("name")?.mark),
                _ => None,
            });
            named.collect()
        }
        Some(Value::Map(entries)) => {
            let named = entries
                .iter()
                .filter_map(|(key, item)| of(&key.text, item, key.mark));
            named.collect()
        }
        _ => Vec::new(),
    }
}

fn import(
    service: &str,
    text: &str,
    namespace: &str,
    by: &str,
    mark: super::report::Mark,
    report: &Report,
) -> Option<Import> {
    let read = text.parse::<Reference>().and_then(|reference| {
        let artifact: ArtifactId = reference.artifact(namespace)?;
        Ok((artifact.to_string(), reference.selector))
    });
    match read {
        Ok((artifact, selector)) => Some(Import {
            service: service.to_owned(),
            artifact,
            range: match selector {
                Selector::Latest => "*".to_owned(),
                other => other.to_string(),
            },
            by: by.to_owned(),
            place: mark.place,
        }),
        Err(why) => {
            report.error(
                mark,
                format!("'{}' is in no registry: {why}", shortened(text)),
                FROM_FORM,
            );
            None
        }
    }
}

/// Adds a dependency to a service, unless it has it.
fn depend(service: &mut Node, name: &str) {
    let mark = service.mark;
    let Value::Map(entries) = &mut service.value else {
        return;
    };
    let Some(at) = entries.iter().position(|(key, _)| key.text == "depends_on") else {
        let list = vec![node(Value::Text(name.to_owned()), mark)];
        entries.push((word("depends_on", mark), node(Value::List(list), mark)));
        return;
    };
    match &mut entries[at].1.value {
        Value::List(items) => {
            let is_it = |item: &Node| match &item.value {
                Value::Text(text) => text.split('@').next() == Some(name),
                _ => matches!(item.get("name").map(|own| &own.value), Some(Value::Text(own)) if own == name),
            };
            if !items.iter().any(is_it) {
                items.push(node(Value::Text(name.to_owned()), mark));
            }
        }
        Value::Map(entries) if !entries.iter().any(|(key, _)| key.text == name) => {
            entries.push((word(name, mark), node(Value::Null, mark)));
        }
        _ => {}
    }
}

fn word(text: &str, mark: super::report::Mark) -> Key {
    Key {
        text: text.to_owned(),
        mark,
    }
}

fn node(value: Value, mark: super::report::Mark) -> Node {
    Node {
        value,
        mark,
        bytes: 0..0,
        filled: false,
    }
}
