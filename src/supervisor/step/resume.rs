//! Where a service stands for a supervisor that takes over: what the last one wrote down, and whether its sandbox lives.
//! Pure.

use crate::supervisor::unit::{Awaits, End, Next, Stage, Standing, Unit};

/// What the engine has to say to [`step`](super::step) about a service that was taken over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tidings {
    /// Nothing happened meanwhile.
    None,
    /// Its sandbox was created, which nobody has taken note of.
    Created,
    /// It has ended.
    Died,
    /// It waits for its next try.
    Waits,
    /// Its sandbox lives and should not.
    Stray,
}

/// Puts the unit where it stood. What was half-made is made again: the end of it is unknown. What was half-stopped is told
/// to stop again.
pub(crate) fn resume(unit: &mut Unit, standing: Standing, lives: bool, ended: bool) -> Tidings {
    unit.next = standing.next;
    unit.run = standing.run;
    unit.turn = standing.turn;
    unit.record = standing.record;
    unit.sick = standing.sick;
    unit.roll = standing.roll;
    let (stage, tidings) = match (standing.stage, lives) {
        (Stage::Prepared | Stage::Starting, true) => (Stage::Starting, Tidings::Created),
        (Stage::Starting, false) if ended => (Stage::Starting, Tidings::Died),
        (Stage::Queued | Stage::Preparing | Stage::Prepared | Stage::Starting, _) => {
            unit.next = Next::Start;
            let tidings = if lives { Tidings::Stray } else { Tidings::None };
            (Stage::Rest(End::Stopped), tidings)
        }
        (stage @ Stage::Running { .. }, true) => (stage, Tidings::None),
        (stage @ Stage::Running { .. }, false) => (stage, Tidings::Died),
        (Stage::Closing { end, .. }, true) => {
            let awaits = Awaits::Dependents;
            (Stage::Closing { awaits, end }, Tidings::None)
        }
        (Stage::Closing { end, .. }, false) => (Stage::Rest(end), Tidings::None),
        (stage, true) => (stage, Tidings::Stray),
        (stage @ Stage::Backoff { .. }, false) => (stage, Tidings::Waits),
        (stage, false) => (stage, Tidings::None),
    };
    unit.stage = stage;
    tidings
}
