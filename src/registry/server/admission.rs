//! Seats for connections. When all are taken, one that waits gives way to the newcomer: those that never asked
//! anything first, so that a flood of silent connections does not keep clients out.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::task::AbortHandle;

type Seats = Mutex<BTreeMap<u64, Arc<State>>>;

/// The seats of a server.
pub(super) struct Admission {
    seats: Arc<Seats>,
    limit: usize,
    next: AtomicU64,
}

/// One seat; free again when its last holder lets go.
#[derive(Clone)]
pub(super) struct Seat {
    state: Arc<State>,
    _place: Arc<Place>,
    /// Whether somebody had to give way.
    pub(super) displaced: bool,
}

#[derive(Default)]
struct State {
    /// A request is being worked on.
    busy: AtomicBool,
    /// A request was answered.
    served: AtomicBool,
    task: Mutex<Option<AbortHandle>>,
}

struct Place {
    number: u64,
    seats: Arc<Seats>,
}

/// Marks a seat as busy until it is dropped.
pub(super) struct Busy(Arc<State>);

impl Admission {
    pub(super) fn new(limit: usize) -> Self {
        Self {
            seats: Arc::default(),
            limit,
            next: AtomicU64::new(0),
        }
    }

    /// A seat, unless all of them work.
    pub(super) fn seat(&self) -> Option<Seat> {
        let full = lock(&self.seats).len() >= self.limit;
        if full && !self.make_room() {
            return None;
        }
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let state = Arc::new(State::default());
        lock(&self.seats).insert(number, Arc::clone(&state));
        let place = Place {
            number,
            seats: Arc::clone(&self.seats),
        };
        Some(Seat {
            state,
            _place: Arc::new(place),
            displaced: full,
        })
    }

    /// Ends the oldest connection that waits; one that never asked anything before all others.
    pub(super) fn make_room(&self) -> bool {
        let mut seats = lock(&self.seats);
        let waiting = |state: &Arc<State>| !state.busy.load(Ordering::Relaxed);
        let chosen = seats
            .iter()
            .filter(|(_, state)| waiting(state))
            .min_by_key(|(number, state)| (state.served.load(Ordering::Relaxed), **number))
            .map(|(number, _)| *number);
        let Some(state) = chosen.and_then(|number| seats.remove(&number)) else {
            return false;
        };
        drop(seats);
        if let Some(task) = lock(&state.task).as_ref() {
            task.abort();
        }
        true
    }
}

impl Seat {
    /// Says what to end when it must give way.
    pub(super) fn taken_by(&self, task: AbortHandle) {
        *lock(&self.state.task) = Some(task);
    }

    /// A request begins.
    pub(super) fn busy(&self) -> Busy {
        self.state.busy.store(true, Ordering::Relaxed);
        Busy(Arc::clone(&self.state))
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.served.store(true, Ordering::Relaxed);
        self.0.busy.store(false, Ordering::Relaxed);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        lock(&self.seats).remove(&self.number);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silent_ones_give_way_first_and_busy_ones_never() {
        let admission = Admission::new(3);
        let served = admission.seat().unwrap();
        drop(served.busy());
        let busy = admission.seat().unwrap();
        let work = busy.busy();
        let silent = admission.seat().unwrap();
        let newcomer = admission.seat().unwrap();
        assert!(newcomer.displaced);
        let left = |seat: &Seat| lock(&admission.seats).contains_key(&seat._place.number);
        assert!(left(&served) && left(&busy) && left(&newcomer) && !left(&silent));
        let second = newcomer.busy();
        let third = served.busy();
        assert!(admission.seat().is_none(), "all work");
        drop((work, second, third));
        drop((served, busy));
        assert_eq!(lock(&admission.seats).len(), 1);
    }
}
