//! What the keeper knows of one log: how far it is, and what waits. Pure.

use crate::log::Standing;
use crate::protocol::LogFile;
use crate::writer::{Answer, Order};

const HUNG: &str = "the disk did not answer for more than a second";

/// What is known of one log.
pub(super) struct Book {
    pub(super) place: LogFile,
    pub(super) standing: Option<Standing>,
    /// Whether this writer has opened it.
    pub(super) open: bool,
    /// Orders under way.
    pub(super) orders: usize,
    /// Bytes of the service's that found no page.
    pub(super) missing: u64,
    /// Lines of the keeper's own, and last lines of a stream, that wait for a page; with the service's bytes among them.
    pub(super) owed: (Vec<u8>, u64),
    /// Why it cannot be opened.
    pub(super) refused: Option<String>,
    pub(super) end: End,
}

/// Whether a log goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    Open,
    /// Nothing comes any more.
    Asked,
    /// The writer is told to let go of it.
    Ordered,
}

impl Book {
    pub(super) fn new(place: LogFile) -> Self {
        Self {
            place,
            standing: None,
            open: false,
            orders: 0,
            missing: 0,
            owed: (Vec::new(), 0),
            refused: None,
            end: End::Open,
        }
    }

    pub(super) fn take_missing(&mut self) -> Option<(u64, String)> {
        let missing = std::mem::take(&mut self.missing);
        (missing > 0).then(|| (missing, HUNG.to_owned()))
    }

    /// Whether something is still to be ordered.
    pub(super) fn waits(&self) -> bool {
        !self.owed.0.is_empty() || self.missing > 0 || self.end == End::Asked
    }

    pub(super) fn on_answer(&mut self, order: &Order, answer: Answer) {
        match (answer, &mut self.standing) {
            (Answer::Done(standing) | Answer::Moved(standing), _) => {
                self.standing = Some(standing);
                self.open = true;
            }
            (Answer::Refused(why), None) => self.refused = Some(why),
            (Answer::Refused(why), Some(standing)) => {
                let earlier = standing.dropped.take().map_or(0, |(bytes, _)| bytes);
                let missing = order.missing.as_ref().map_or(0, |(bytes, _)| *bytes);
                standing.dropped = Some((earlier + missing + order.service_bytes, why));
            }
        }
    }
}
