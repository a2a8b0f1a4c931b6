//! Pictures of the view, as text, and that no size and no content breaks it.

use ratatui::Terminal;
use ratatui::backend::TestBackend;

use super::*;
use crate::control::api::Published;
use crate::output::tests::row;
use crate::stats::tests::figures as sample;
use crate::ui::model::{Key, LogLine, Message};
use crate::ui::update::update;

fn town() -> Model {
    let mut model = Model::new("shop-1a2b3c4d", false);
    let mut api = row("api", Phase::Running, Health::Healthy);
    api.run = 1;
    api.ports.push(Published {
        host: [127, 0, 0, 1].into(),
        host_port: 8101,
        port: 8000,
        transport: "tcp".to_owned(),
    });
    let mut db = row("database", Phase::Failed, Health::None);
    db.cause = Some("exited with code 3".to_owned());
    db.exit_code = Some(3);
    db.run = 3;
    db.restarts = 2;
    let mut web = row("web", Phase::Blocked, Health::None);
    web.cause = Some("blocked by database".to_owned());
    let samples = vec![sample("api", 12.34, 50 << 20)];
    update(&mut model, Message::Rows(vec![api, db, web], samples));
    let line = |system: bool, text: &str| LogLine {
        system,
        text: text.to_owned(),
    };
    let words = "GET /orders/17 took 12 ms and answered with 200, which is what was expected of it, as ever";
    let past = vec![
        line(true, "starting"),
        line(false, "listening on 8000"),
        line(false, words),
    ];
    update(&mut model, Message::Past("api".into(), past));
    let past = vec![
        line(false, "cannot find the seeds"),
        line(true, "exited with code 3"),
    ];
    update(&mut model, Message::Past("database".into(), past));
    let graph = "Wave 1: database\nWave 2: api, web\n\ndatabase\n\napi\n  needs database (started)";
    let graph = graph.lines().map(str::to_owned).collect();
    update(&mut model, Message::Graph(graph));
    model
}

fn keys(model: &mut Model, keys: &[Key]) {
    for key in keys {
        update(model, Message::Key(*key));
    }
}

fn terminal(model: &Model, size: (u16, u16)) -> Terminal<TestBackend> {
    let model = Model {
        size,
        ..model.clone()
    };
    let mut terminal = Terminal::new(TestBackend::new(size.0, size.1)).unwrap();
    terminal.draw(|frame| draw(frame, &model)).unwrap();
    terminal
}

fn picture(model: &Model, size: (u16, u16)) -> String {
    terminal(model, size).backend().to_string()
}

#[test]
fn logs() {
    insta::assert_snapshot!(picture(&town(), (80, 24)));
}

#[test]
fn why() {
    let mut model = town();
    keys(&mut model, &[Key::Down, Key::Char('w')]);
    insta::assert_snapshot!(picture(&model, (80, 24)));
}

#[test]
fn graph() {
    let mut model = town();
    keys(&mut model, &[Key::Char('g')]);
    insta::assert_snapshot!(picture(&model, (80, 24)));
}

#[test]
fn help() {
    let mut model = town();
    keys(&mut model, &[Key::Char('?')]);
    insta::assert_snapshot!(picture(&model, (80, 24)));
}

#[test]
fn leaving() {
    let mut model = town();
    keys(&mut model, &[Key::Interrupt]);
    insta::assert_snapshot!(picture(&model, (80, 24)));
}

#[test]
fn beside_each_other() {
    insta::assert_snapshot!(picture(&town(), (130, 12)));
}

#[test]
fn restarting_with_a_notice() {
    let mut model = town();
    keys(&mut model, &[Key::Enter, Key::Char('r')]);
    insta::assert_snapshot!(picture(&model, (80, 24)));
}

#[test]
fn many_services_scroll_with_the_choice() {
    let mut model = town();
    let rows = (0..40)
        .map(|number| row(&format!("service-{number}"), Phase::Running, Health::None))
        .collect();
    update(&mut model, Message::Rows(rows, Vec::new()));
    keys(&mut model, &[Key::End]);
    let drawn = picture(&model, (80, 24));
    assert!(
        drawn.contains("service-39") && !drawn.contains("service-1 "),
        "{drawn}"
    );
}

#[test]
fn any_size_can_be_drawn() {
    for columns in [0, 1, 39, 40, 41, 55, 80, 119, 120, 300] {
        for lines in [0, 1, 7, 8, 9, 24, 100] {
            for key in [Key::Char('l'), Key::Char('w'), Key::Char('?'), Key::Interrupt] {
                let mut model = town();
                keys(&mut model, &[key]);
                terminal(&model, (columns, lines));
            }
        }
    }
}

#[test]
fn colours_only_where_they_are_wanted() {
    let mut model = town();
    let tones = |model: &Model| {
        let terminal = terminal(model, (80, 24));
        let cells = terminal.backend().buffer().content();
        cells
            .iter()
            .filter(|cell| cell.fg != Color::Reset || cell.bg != Color::Reset)
            .count()
    };
    assert_eq!(tones(&model), 0);
    model.colour = true;
    assert!(tones(&model) > 100);
}
