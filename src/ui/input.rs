//! Keys, resizes and signals as messages.

use std::io;

use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc::UnboundedSender;

use super::model::{Key, Message};

/// Sends what comes, until nobody takes it. Signals are caught from here on.
pub(super) fn listen(sender: &UnboundedSender<Message>) -> io::Result<()> {
    for kind in [
        SignalKind::interrupt(),
        SignalKind::terminate(),
        SignalKind::hangup(),
    ] {
        let mut caught = signal(kind)?;
        let sender = sender.clone();
        tokio::spawn(async move {
            while caught.recv().await.is_some() {
                let _ = sender.send(Message::Signal(kind.as_raw_value()));
            }
        });
    }
    let sender = sender.clone();
    // Reading blocks; the thread ends with the program.
    std::thread::spawn(move || {
        while let Ok(event) = event::read() {
            if let Some(message) = message(&event)
                && sender.send(message).is_err()
            {
                return;
            }
        }
    });
    Ok(())
}

/// What an event means; `None` when nothing.
fn message(event: &Event) -> Option<Message> {
    match event {
        Event::Key(key) if key.kind != KeyEventKind::Release => meaning(key).map(Message::Key),
        Event::Resize(..) => Some(Message::Resized),
        _ => None,
    }
}

fn meaning(key: &KeyEvent) -> Option<Key> {
    let control = key.modifiers.contains(KeyModifiers::CONTROL);
    Some(match key.code {
        KeyCode::Char('c') if control => Key::Interrupt,
        KeyCode::Char(_) if control || key.modifiers.contains(KeyModifiers::ALT) => return None,
        KeyCode::Char(c) => Key::Char(c),
        KeyCode::Up => Key::Up,
        KeyCode::Down => Key::Down,
        KeyCode::PageUp => Key::PageUp,
        KeyCode::PageDown => Key::PageDown,
        KeyCode::Home => Key::Home,
        KeyCode::End => Key::End,
        KeyCode::Enter => Key::Enter,
        KeyCode::Esc => Key::Escape,
        KeyCode::Tab => Key::Tab,
        KeyCode::BackTab => Key::BackTab,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_mean_what_is_printed_on_them() {
        let key = |code, modifiers| message(&Event::Key(KeyEvent::new(code, modifiers)));
        let none = KeyModifiers::NONE;
        assert_eq!(
            key(KeyCode::Char('c'), KeyModifiers::CONTROL),
            Some(Message::Key(Key::Interrupt))
        );
        assert_eq!(key(KeyCode::Char('c'), none), Some(Message::Key(Key::Char('c'))));
        assert_eq!(key(KeyCode::Char('r'), KeyModifiers::CONTROL), None);
        assert_eq!(key(KeyCode::Char('q'), KeyModifiers::ALT), None);
        assert_eq!(key(KeyCode::F(1), none), None);
        assert_eq!(message(&Event::Resize(80, 24)), Some(Message::Resized));
    }
}
