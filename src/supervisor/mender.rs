//! Puts back what other programs take away of the instance's network: at once when the kernel tells of it, after pauses
//! when they do it again and again.

use std::thread;
use std::time::{Duration, Instant};

use pactown_netns::Result;
use tokio::sync::mpsc;

use super::engine::Message;
use super::wires::Wires;
use crate::error::chain;

/// What is taken away together is put back together.
const SETTLE: Duration = Duration::from_millis(10);

/// Starts a thread that does so until the network is removed. Its messages are for the user.
pub(super) fn start(wires: Wires, messages: mpsc::UnboundedSender<Message>) {
    thread::spawn(move || {
        if let Err(error) = tend(&wires, &messages) {
            let text = format!(
                "what other programs do to the network goes unseen: {}",
                chain(&error)
            );
            let _ = messages.send(Message::Notice(text));
        }
    });
}

fn tend(wires: &Wires, messages: &mpsc::UnboundedSender<Message>) -> Result<()> {
    let watch = wires.watch()?;
    let mut patience = Patience::default();
    loop {
        watch.wait()?;
        thread::sleep(SETTLE);
        let text = match wires.mend() {
            Ok(None) => return Ok(()),
            Ok(Some(mended)) if mended.is_empty() => continue,
            Ok(Some(mended)) => format!("another program took away {}; restored", mended.join(", ")),
            Err(error) => format!("the network is damaged and cannot be restored: {}", chain(&error)),
        };
        let pause = patience.after(Instant::now());
        if let Some(text) = pause.said(text)
            && messages.send(Message::Notice(text)).is_err()
        {
            return Ok(());
        }
        // What happens meanwhile wakes the next wait.
        thread::sleep(pause.time);
    }
}

/// How long to wait after a repair until the next one.
#[derive(Default)]
struct Patience {
    /// When the last one was, and how many came close one after another.
    last: Option<(Instant, u32)>,
}

/// A pause, and whether it is the first of a row.
#[derive(Debug, PartialEq, Eq)]
struct Pause {
    time: Duration,
    row: u32,
}

/// So many repairs in a row are made at once.
const AT_ONCE: u32 = 5;
const LONGEST: Duration = Duration::from_secs(60);

impl Patience {
    fn after(&mut self, now: Instant) -> Pause {
        let row = match self.last {
            Some((before, row)) if now - before < 2 * pause(row).max(AWHILE) => row + 1,
            _ => 1,
        };
        self.last = Some((now, row));
        Pause {
            time: pause(row),
            row,
        }
    }
}

/// Repairs that are further apart have nothing to do with each other.
const AWHILE: Duration = Duration::from_secs(5);

fn pause(row: u32) -> Duration {
    match row.checked_sub(AT_ONCE) {
        None => Duration::ZERO,
        Some(beyond) => Duration::from_secs(1 << beyond.min(6)).min(LONGEST),
    }
}

impl Pause {
    /// What to say of it: in a row that goes on, nothing more.
    fn said(&self, text: String) -> Option<String> {
        match self.row.cmp(&AT_ONCE) {
            std::cmp::Ordering::Less => Some(text),
            std::cmp::Ordering::Equal => Some(format!(
                "{text}; that goes on: from now on it is restored after pauses of up to {} s",
                LONGEST.as_secs()
            )),
            std::cmp::Ordering::Greater => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fight_is_slowed_down_told_once_and_forgotten() {
        let mut patience = Patience::default();
        let mut now = Instant::now();
        let mut seconds = Vec::new();
        let mut told = 0;
        for _ in 0..14 {
            let pause = patience.after(now);
            told += usize::from(pause.said(String::new()).is_some());
            seconds.push(pause.time.as_secs());
            now += pause.time + Duration::from_millis(20);
        }
        assert_eq!(seconds, [0, 0, 0, 0, 1, 2, 4, 8, 16, 32, 60, 60, 60, 60]);
        assert_eq!(told, 5);
        now += Duration::from_secs(121);
        assert_eq!(
            patience.after(now),
            Pause {
                time: Duration::ZERO,
                row: 1
            }
        );
    }
}
