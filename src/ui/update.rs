//! What a message does: to the model, and to the world. Pure; whoever calls carries the actions out.

use super::Ending;
use super::layout;
use super::model::{
    Action, Focus, KEPT, Key, LogLine, Message, Model, Overlay, Pane, Verb, is_active, wrapped,
};
use crate::config::ecosystem::ServiceName;
use crate::control::api::{Phase, ServiceStatus};
use crate::stats::Sample;

/// Takes one message.
pub(super) fn update(model: &mut Model, message: Message) -> Vec<Action> {
    match message {
        Message::Key(key) => return on_key(model, key),
        Message::Signal(number) => return vec![Action::Quit(Ending::Signal(number))],
        Message::Refused(why) => return vec![Action::Fail(why)],
        Message::Rows(rows, samples) => return on_rows(model, rows, samples),
        Message::Gone => return on_gone(model),
        Message::Resized => model.scroll = model.scroll.min(model.scroll_end()),
        Message::Past(name, lines) => {
            model.logs.insert(name, lines.into());
        }
        Message::Log(name, line) => on_log(model, name, line),
        Message::Graph(lines) => model.graph = lines,
        Message::Why(found) => {
            let named = found.into_iter().map(|one| (one.service.clone(), one));
            model.why = named.collect();
        }
        Message::Done(name, verb, outcome) => {
            model.busy.remove(&name);
            model.notice = Some(match outcome {
                Ok(()) => format!("{name}: {} done", verb.word()),
                Err(why) => format!("{name}: {} failed: {why}", verb.word()),
            });
        }
        Message::NotStopped(why) => {
            model.ending = false;
            model.notice = Some(format!("not everything is stopped: {why}"));
        }
    }
    Vec::new()
}

fn on_rows(model: &mut Model, rows: Vec<ServiceStatus>, samples: Vec<Sample>) -> Vec<Action> {
    let chosen = model.chosen().map(|row| row.name.clone());
    // Another start may have come from another file: then the graph is another one too.
    let state = |rows: &[ServiceStatus]| -> Vec<(ServiceName, u64)> {
        rows.iter().map(|row| (row.name.clone(), row.run)).collect()
    };
    let changed = model.gone || state(&model.rows) != state(&rows);
    let names: Vec<ServiceName> = rows.iter().map(|row| row.name.clone()).collect();
    let found = chosen.and_then(|name| names.iter().position(|other| *other == name));
    model.selected = found.unwrap_or(model.selected.min(names.len().saturating_sub(1)));
    model.gone = false;
    model.rows = rows;
    model.samples = samples
        .into_iter()
        .map(|sample| (sample.name.clone(), sample))
        .collect();
    model.logs.retain(|name, _| names.contains(name));
    if changed {
        vec![Action::Watch(names)]
    } else {
        Vec::new()
    }
}

fn on_gone(model: &mut Model) -> Vec<Action> {
    if model.ending {
        return vec![Action::Quit(Ending::Stopped)];
    }
    model.gone = true;
    model.busy.clear();
    model.samples.clear();
    for row in &mut model.rows {
        row.state = Phase::Stopped;
        row.pid = None;
    }
    Vec::new()
}

fn on_log(model: &mut Model, name: ServiceName, line: LogLine) {
    // Whoever reads further up stays where they read.
    let is_shown = model.pane == Pane::Logs && model.chosen().is_some_and(|row| row.name == name);
    if is_shown && model.scroll > 0 {
        let width = layout::of(model.size, model.rows.len()).pane.width;
        model.scroll += wrapped(&line, usize::from(width)).len();
    }
    let log = model.logs.entry(name).or_default();
    log.push_back(line);
    if log.len() > KEPT {
        log.pop_front();
    }
    if is_shown && model.scroll > 0 {
        model.scroll = model.scroll.min(model.scroll_end());
    }
}

fn on_key(model: &mut Model, key: Key) -> Vec<Action> {
    match model.overlay {
        Overlay::Help => model.overlay = Overlay::None,
        Overlay::Leave => return on_answer(model, key),
        Overlay::None => {
            model.notice = None;
            return on_plain_key(model, key);
        }
    }
    Vec::new()
}

/// The answer to what Ctrl-C shall mean. Ctrl-C again is the answer that harms nobody.
fn on_answer(model: &mut Model, key: Key) -> Vec<Action> {
    match key {
        Key::Char('d') | Key::Interrupt => vec![Action::Quit(Ending::Left)],
        Key::Char('s') if model.gone => vec![Action::Quit(Ending::Gone)],
        Key::Char('s') => {
            model.overlay = Overlay::None;
            model.ending = true;
            model.notice = Some("stopping everything…".to_owned());
            vec![Action::Down]
        }
        Key::Escape | Key::Char('q') => {
            model.overlay = Overlay::None;
            Vec::new()
        }
        _ => Vec::new(),
    }
}

fn on_plain_key(model: &mut Model, key: Key) -> Vec<Action> {
    match key {
        Key::Char('q') => return vec![Action::Quit(Ending::Left)],
        Key::Interrupt => model.overlay = Overlay::Leave,
        Key::Char('?') => model.overlay = Overlay::Help,
        Key::Char('r') => return ask(model, Verb::Restart),
        Key::Char('s') => return stop_or_start(model),
        Key::Tab => show(model, next_pane(model.pane, 1)),
        Key::BackTab => show(model, next_pane(model.pane, Pane::ALL.len() - 1)),
        Key::Char('l') => show(model, Pane::Logs),
        Key::Char('w') => show(model, Pane::Why),
        Key::Char('g') => show(model, Pane::Graph),
        Key::Enter if model.focus == Focus::List => {
            show(model, Pane::Logs);
            model.focus = Focus::Pane;
        }
        Key::Enter | Key::Escape => model.focus = Focus::List,
        key => movement(model, key),
    }
    Vec::new()
}

fn next_pane(pane: Pane, by: usize) -> Pane {
    let index = Pane::ALL.iter().position(|other| *other == pane).unwrap_or(0);
    Pane::ALL[(index + by) % Pane::ALL.len()]
}

/// Turns to a pane. A log is read from its end, everything else from its beginning.
fn show(model: &mut Model, pane: Pane) {
    if model.pane != pane {
        model.pane = pane;
        rewind(model);
    }
}

fn rewind(model: &mut Model) {
    model.scroll = match model.pane {
        Pane::Logs => 0,
        Pane::Why | Pane::Graph => model.scroll_end(),
    };
}

fn movement(model: &mut Model, key: Key) {
    let page = usize::from(layout::of(model.size, model.rows.len()).pane.height).max(2) - 1;
    let in_pane = model.focus == Focus::Pane;
    match key {
        Key::PageUp => scroll(model, page.cast_signed()),
        Key::PageDown => scroll(model, -page.cast_signed()),
        Key::Up | Key::Char('k') if in_pane => scroll(model, 1),
        Key::Down | Key::Char('j') if in_pane => scroll(model, -1),
        Key::Home if in_pane => model.scroll = model.scroll_end(),
        Key::End if in_pane => model.scroll = 0,
        Key::Up | Key::Char('k') => choose(model, model.selected.saturating_sub(1)),
        Key::Down | Key::Char('j') => choose(model, model.selected + 1),
        Key::Home => choose(model, 0),
        Key::End => choose(model, usize::MAX),
        _ => {}
    }
}

fn scroll(model: &mut Model, back: isize) {
    model.scroll = model.scroll.saturating_add_signed(back).min(model.scroll_end());
}

fn choose(model: &mut Model, index: usize) {
    let index = index.min(model.rows.len().saturating_sub(1));
    if index != model.selected {
        model.selected = index;
        if model.pane != Pane::Graph {
            rewind(model);
        }
    }
}

fn stop_or_start(model: &mut Model) -> Vec<Action> {
    match model.chosen() {
        Some(row) if row.state == Phase::Stopping => {
            model.notice = Some(format!("{} is stopping already", row.name));
            Vec::new()
        }
        Some(row) if is_active(row) => ask(model, Verb::Stop),
        _ => ask(model, Verb::Start),
    }
}

/// One thing at a time is asked of a service.
fn ask(model: &mut Model, verb: Verb) -> Vec<Action> {
    let Some(name) = model.chosen().map(|row| row.name.clone()) else {
        return Vec::new();
    };
    if model.gone {
        model.notice = Some("the ecosystem has ended; `pactown up -d` brings it up".to_owned());
        return Vec::new();
    }
    if let Some(busy) = model.busy.get(&name) {
        model.notice = Some(format!("{name}: still {}", busy.doing()));
        return Vec::new();
    }
    model.notice = Some(format!("{name}: {}…", verb.doing()));
    model.busy.insert(name.clone(), verb);
    vec![Action::Service(name, verb)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::api::Health;
    use crate::output::tests::row;

    fn line(text: &str) -> LogLine {
        LogLine {
            system: false,
            text: text.to_owned(),
        }
    }

    fn rows() -> Vec<ServiceStatus> {
        vec![
            row("api", Phase::Running, Health::Healthy),
            row("db", Phase::Failed, Health::None),
            row("web", Phase::Stopped, Health::None),
        ]
    }

    fn town() -> Model {
        let mut model = Model::new("town", false);
        update(&mut model, Message::Rows(rows(), Vec::new()));
        model
    }

    /// The actions of the last of these keys.
    fn press(model: &mut Model, keys: &[Key]) -> Vec<Action> {
        let mut actions = Vec::new();
        for key in keys {
            actions = update(model, Message::Key(*key));
        }
        actions
    }

    fn chars(model: &mut Model, text: &str) -> Vec<Action> {
        let keys: Vec<Key> = text.chars().map(Key::Char).collect();
        press(model, &keys)
    }

    #[test]
    fn keys_choose_within_the_list_and_the_choice_follows_its_service() {
        let mut model = town();
        chars(&mut model, "kjj");
        assert_eq!(model.selected, 2);
        press(&mut model, &[Key::Down, Key::Up]);
        assert_eq!(model.selected, 1);
        let mut fewer = rows();
        fewer.remove(0);
        update(&mut model, Message::Rows(fewer, Vec::new()));
        assert_eq!(model.chosen().map(|row| row.name.as_str()), Some("db"));
        update(&mut model, Message::Rows(Vec::new(), Vec::new()));
        assert_eq!(chars(&mut model, "jrs"), []);
    }

    #[test]
    fn services_are_watched_anew_when_they_change() {
        let mut model = Model::new("town", false);
        let names = vec!["api".to_owned(), "db".to_owned(), "web".to_owned()];
        let watch = vec![Action::Watch(names)];
        assert_eq!(update(&mut model, Message::Rows(rows(), Vec::new())), watch);
        assert_eq!(update(&mut model, Message::Rows(rows(), Vec::new())), []);
        let mut again = rows();
        again[0].run = 2;
        assert_eq!(
            update(&mut model, Message::Rows(again.clone(), Vec::new())),
            watch
        );
        update(&mut model, Message::Gone);
        assert_eq!(update(&mut model, Message::Rows(again, Vec::new())), watch);
        assert!(!model.gone);
    }

    #[test]
    fn one_thing_at_a_time_is_asked_of_a_service() {
        let mut model = town();
        let restart = Action::Service("api".into(), Verb::Restart);
        assert_eq!(chars(&mut model, "r"), [restart]);
        assert_eq!(chars(&mut model, "s"), []);
        assert_eq!(model.notice.as_deref(), Some("api: still restarting"));
        let done = Message::Done("api".into(), Verb::Restart, Err("needed by web".into()));
        update(&mut model, done);
        assert_eq!(
            model.notice.as_deref(),
            Some("api: restart failed: needed by web")
        );
        assert_eq!(
            chars(&mut model, "s"),
            [Action::Service("api".into(), Verb::Stop)]
        );
        assert_eq!(
            chars(&mut model, "js"),
            [Action::Service("db".into(), Verb::Start)]
        );
    }

    #[test]
    fn ctrl_c_asks_and_nothing_is_stopped_by_accident() {
        let mut model = town();
        assert_eq!(press(&mut model, &[Key::Interrupt]), []);
        assert_eq!(model.overlay, Overlay::Leave);
        assert_eq!(press(&mut model, &[Key::Enter, Key::Escape]), []);
        assert_eq!(model.overlay, Overlay::None);
        let left = [Action::Quit(Ending::Left)];
        assert_eq!(press(&mut model, &[Key::Interrupt, Key::Interrupt]), left);
        assert_eq!(press(&mut model, &[Key::Char('d')]), left);
        assert_eq!(press(&mut model, &[Key::Char('s')]), [Action::Down]);
        assert_eq!(update(&mut model, Message::Gone), [Action::Quit(Ending::Stopped)]);
        assert_eq!(chars(&mut town(), "q"), left);
        assert_eq!(
            update(&mut town(), Message::Signal(15)),
            [Action::Quit(Ending::Signal(15))]
        );
    }

    #[test]
    fn an_ecosystem_that_ends_by_itself_is_waited_for() {
        let mut model = town();
        assert_eq!(update(&mut model, Message::Gone), []);
        assert!(model.gone && model.rows.iter().all(|row| row.state == Phase::Stopped));
        assert_eq!(chars(&mut model, "r"), []);
        assert!(model.notice.is_some_and(|notice| notice.contains("pactown up")));
    }

    #[test]
    fn panes_are_switched_by_tab_and_by_letter() {
        let mut model = town();
        press(&mut model, &[Key::Tab]);
        assert_eq!(model.pane, Pane::Why);
        press(&mut model, &[Key::Tab, Key::Tab]);
        assert_eq!(model.pane, Pane::Logs);
        press(&mut model, &[Key::BackTab]);
        assert_eq!(model.pane, Pane::Graph);
        chars(&mut model, "w");
        assert_eq!(model.pane, Pane::Why);
        press(&mut model, &[Key::Enter]);
        assert_eq!((model.pane, model.focus), (Pane::Logs, Focus::Pane));
        press(&mut model, &[Key::Escape]);
        assert_eq!(model.focus, Focus::List);
    }

    #[test]
    fn a_log_follows_until_somebody_reads_further_up() {
        let mut model = town();
        let past = (0..100).map(|number| line(&number.to_string())).collect();
        update(&mut model, Message::Past("api".into(), past));
        let height = usize::from(layout::of(model.size, 3).pane.height);
        assert_eq!(model.scroll_end(), 100 - height);
        press(&mut model, &[Key::Enter, Key::Up, Key::Up]);
        assert_eq!((model.scroll, model.selected), (2, 0));
        update(&mut model, Message::Log("api".into(), line("new")));
        update(&mut model, Message::Log("db".into(), line("other")));
        assert_eq!(model.scroll, 3, "what is read stays in its place");
        press(&mut model, &[Key::Home, Key::Up]);
        assert_eq!(model.scroll, 101 - height);
        press(&mut model, &[Key::End]);
        update(&mut model, Message::Log("api".into(), line("newer")));
        assert_eq!(model.scroll, 0, "it follows again");
    }

    #[test]
    fn only_the_last_lines_are_kept() {
        let mut model = town();
        for number in 0..KEPT + 5 {
            update(&mut model, Message::Log("api".into(), line(&number.to_string())));
        }
        assert_eq!(model.log("api").count(), KEPT);
        assert_eq!(model.log("api").next().map(|line| line.text.as_str()), Some("5"));
    }

    #[test]
    fn any_key_closes_the_help_and_does_nothing_else() {
        let mut model = town();
        assert_eq!(chars(&mut model, "?q"), []);
        assert_eq!(model.overlay, Overlay::None);
    }
}
