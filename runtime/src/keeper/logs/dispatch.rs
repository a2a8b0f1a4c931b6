//! Orders on their way to the log writer, and its answers.

use std::io;
use std::time::Instant;

use super::{AHEAD, Logs};
use crate::wire;
use crate::writer::{Answer, LONGEST_ORDER};

impl Logs {
    /// Gives the writer what it can take.
    pub(super) fn pump(&mut self) {
        self.send(AHEAD);
    }

    /// Has the writer have so many orders, as far as there are any.
    pub(super) fn send(&mut self, ahead: usize) {
        let Some(writer) = &self.writer else { return };
        while self.sent < ahead.min(self.orders.len()) {
            let (order, _) = &mut self.orders[self.sent];
            let Some(book) = self.books.get_mut(&order.log) else {
                return;
            };
            order.open = (!book.open).then(|| (book.place.clone(), book.standing.clone()));
            if wire::send(&writer.socket, order, &[]).is_err() {
                // It is dead: this is noticed elsewhere.
                return;
            }
            self.sent += 1;
        }
    }

    /// Reads what the writer says; false when it says nothing any more.
    pub(in crate::keeper) fn on_answers(&mut self) -> bool {
        while let Some(writer) = &self.writer {
            match wire::receive_small(&writer.socket, LONGEST_ORDER) {
                Ok(Some((answer, _))) => self.take_answer(answer),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Ok(None) | Err(_) => return false,
            }
        }
        self.settle_all();
        true
    }

    /// Pages were given back: what waits for one gets it, and the writer gets the next orders.
    fn settle_all(&mut self) {
        self.waiting().into_iter().for_each(|log| self.settle(log));
        self.pump();
    }

    /// Logs that have something for a page.
    pub(super) fn waiting(&self) -> Vec<u64> {
        let waiting = self.books.iter().filter(|(_, book)| book.waits());
        waiting.map(|(log, _)| *log).collect()
    }

    pub(super) fn take_answer(&mut self, answer: Answer) {
        if let Answer::Moved(standing) = answer {
            let log = self.orders.front().map(|(order, _)| order.log);
            if let Some(book) = log.and_then(|log| self.books.get_mut(&log)) {
                book.standing = Some(standing);
            }
            return;
        }
        let Some((order, page)) = self.orders.pop_front() else {
            return;
        };
        self.sent = self.sent.saturating_sub(1);
        self.since = Instant::now();
        self.free.extend(page);
        if let Some(book) = self.books.get_mut(&order.log) {
            book.orders -= 1;
            book.on_answer(&order, answer);
        }
        if order.close {
            self.books.remove(&order.log);
            if self.orders.is_empty() {
                self.memory.release();
            }
        }
    }
}
