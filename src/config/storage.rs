//! `volumes` and `mounts`: text entries → where data is kept and what is bound.

use super::ecosystem::{BindMount, Volume};
use super::report::Report;
use super::scalars;
use super::top::Context;
use super::tree::{Node, Value, shortened};

/// Both lists; a place inside can be taken once.
pub(crate) fn volumes_and_mounts(node: &Node, context: &Context) -> (Vec<Volume>, Vec<BindMount>) {
    let report = context.report;
    let items = |name: &str| match node.get(name) {
        Some(list) => report.items(name, list),
        None => &[],
    };
    let mut targets = Targets::default();
    let volume = |item: &Node| targets.once(item, volume(item, report)?, report, |volume| &volume.target);
    let volumes = items("volumes").iter().filter_map(volume).collect();
    let mount = |item: &Node| targets.once(item, mount(item, context)?, report, |mount| &mount.target);
    let mounts = items("mounts").iter().filter_map(mount).collect();
    (volumes, mounts)
}

/// The places inside that are taken, with the line that takes them.
#[derive(Default)]
struct Targets(Vec<(String, usize)>);

impl Targets {
    fn once<T>(&mut self, item: &Node, value: T, report: &Report, target: fn(&T) -> &String) -> Option<T> {
        let path = target(&value).clone();
        if let Some((_, line)) = self.0.iter().find(|(taken, _)| *taken == path) {
            let message = format!("'{path}' is taken twice in this service");
            report.error(item.mark, message, format!("the first one is in line {line}"));
            return None;
        }
        self.0.push((path, item.mark.place.line));
        Some(value)
    }
}

/// `name:/path/inside[:ro]`.
fn volume(item: &Node, report: &Report) -> Option<Volume> {
    const FORM: &str = "write 'name:/path/inside', with ':ro' for read-only";
    let (name, target, mode) = parts("volumes", item, report, FORM)?;
    if !scalars::is_volume_name(name) {
        let message = format!("'{}' is not a volume name", shortened(name));
        let help = match name.contains('/') || name.starts_with('.') {
            true => "a path of the host goes below 'mounts'",
            false => "use lower-case letters, digits, '_', '.' and '-', a letter or digit first",
        };
        report.error(item.mark, message, help);
        return None;
    }
    Some(Volume {
        name: name.to_owned(),
        target: target_inside("volumes", item, target, report)?,
        read_only: !writable(item, mode, true, report)?,
        place: item.mark.place,
    })
}

/// `HOST:INSIDE[:ro|rw]`.
fn mount(item: &Node, context: &Context) -> Option<BindMount> {
    const FORM: &str = "write './host:/inside', with ':rw' for writable";
    let report = context.report;
    let (source, target, mode) = parts("mounts", item, report, FORM)?;
    if source.starts_with('~') {
        let message = format!("'~' has no meaning in '{}'", shortened(source));
        report.error(item.mark, message, "write '${HOME}/…'");
        return None;
    }
    Some(BindMount {
        source: scalars::path_from(context.directory, source),
        target: target_inside("mounts", item, target, report)?,
        writable: writable(item, mode, false, report)?,
        place: item.mark.place,
    })
}

/// The two or three parts of an entry, none of them empty.
fn parts<'n>(
    what: &str,
    item: &'n Node,
    report: &Report,
    form: &str,
) -> Option<(&'n str, &'n str, Option<&'n str>)> {
    if !matches!(item.value, Value::Text(_)) {
        report.wrong(what, "text", item, form);
        return None;
    }
    let text = report.text(what, item)?;
    let parts: Vec<&str> = text.split(':').collect();
    match parts[..] {
        [source, target] if !source.is_empty() => Some((source, target, None)),
        [source, target, mode] if !source.is_empty() => Some((source, target, Some(mode))),
        _ => {
            let message = format!("'{}' in '{what}' is not understood", shortened(text));
            report.error(item.mark, message, form);
            None
        }
    }
}

fn target_inside(what: &str, item: &Node, target: &str, report: &Report) -> Option<String> {
    match scalars::target(target) {
        Ok(target) => Some(target),
        Err(why) => {
            let message = format!("'{}' in '{what}' {why}", shortened(target));
            report.error(item.mark, message, "choose a place such as '/data'");
            None
        }
    }
}

fn writable(item: &Node, mode: Option<&str>, default: bool, report: &Report) -> Option<bool> {
    match mode {
        None => Some(default),
        Some("rw") => Some(true),
        Some("ro") => Some(false),
        Some(other) => {
            let message = format!("'{}' is not a mode", shortened(other));
            report.error(item.mark, message, "write 'ro' or 'rw'");
            None
        }
    }
}
