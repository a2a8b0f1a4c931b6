//! The wall clock: rings when the next scheduled job is due, and when somebody sets it. What then happens is decided in
//! [`super::agenda`] (is it due?) and [`super::step`] (does it run?).

use std::io::{self, PipeReader, PipeWriter};
use std::os::fd::OwnedFd;
use std::sync::Arc;

use jiff::Timestamp;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};
use tokio::sync::mpsc;

use super::agenda::{Appointment, Look};
use super::engine::{Engine, Message};
use super::step::{Due, Event};
use super::tell;
use crate::config::ecosystem::ServiceName;
use crate::events::{self, Kind};

/// Rings at the moment that it was set to last, and whenever the clock of the machine is set.
pub(super) struct Clock {
    timer: Arc<OwnedFd>,
    /// Its end tells the thread to end.
    _alive: PipeWriter,
}

impl Clock {
    /// A clock that says [`Message::Clock`]; on a thread of its own, which only waits.
    fn new(messages: mpsc::UnboundedSender<Message>) -> io::Result<Self> {
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let timer = Arc::new(timerfd_create(TimerfdClockId::Realtime, flags)?);
        let (end, alive) = io::pipe()?;
        let clock = Self {
            timer: Arc::clone(&timer),
            _alive: alive,
        };
        clock.set(None)?;
        std::thread::spawn(move || listen(&timer, &end, &messages));
        Ok(clock)
    }

    /// An absolute time, because a relative one would not follow the clock; without one, a time that never comes.
    fn set(&self, moment: Option<Timestamp>) -> io::Result<()> {
        let moment = moment.unwrap_or(Timestamp::MAX);
        let value = Itimerspec {
            it_interval: Timespec {
                tv_sec: 0,
                tv_nsec: 0,
            },
            // 0 would switch it off.
            it_value: Timespec {
                tv_sec: moment.as_second().max(1),
                tv_nsec: 0,
            },
        };
        let flags = TimerfdTimerFlags::ABSTIME | TimerfdTimerFlags::CANCEL_ON_SET;
        match timerfd_settime(&self.timer, flags, &value) {
            // The clock was set a moment ago: the timer holds all the same, and reading it says so.
            Ok(_) | Err(Errno::CANCELED) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

fn listen(timer: &OwnedFd, end: &PipeReader, messages: &mpsc::UnboundedSender<Message>) {
    let mut fds = [
        PollFd::new(timer, PollFlags::IN),
        PollFd::new(end, PollFlags::empty()),
    ];
    loop {
        match poll(&mut fds, None) {
            Ok(_) if !fds[1].revents().is_empty() => return,
            Ok(_) => {}
            Err(Errno::INTR) => continue,
            Err(_) => return,
        }
        // It expired, or was cancelled because the clock was set; anything else is a timer that was set anew.
        let rang = match rustix::io::read(timer, &mut [0_u8; 8]) {
            Ok(_) | Err(Errno::CANCELED) => messages.send(Message::Clock).is_ok(),
            Err(_) => true,
        };
        if !rang {
            return;
        }
    }
}

impl Engine {
    /// Keeps an appointment for each job that the clock may start, and for nobody else.
    pub(super) fn keep_appointments(&mut self) {
        let units = &self.state.units;
        let armed = |name: &ServiceName| units.get(name).is_some_and(|unit| unit.is_armed());
        let count = self.appointments.len();
        self.appointments.retain(|name, _| armed(name));
        let mut changed = self.appointments.len() != count;
        for (name, unit) in units.iter().filter(|(_, unit)| unit.is_armed()) {
            let Some(schedule) = &unit.traits.schedule else {
                continue;
            };
            if self.appointments.get(name).is_some_and(|own| own.is_by(schedule)) {
                continue;
            }
            let kept = self.written.get(name).and_then(|record| record.appointment);
            // That of another schedule means nothing.
            let kept = kept.filter(|_| !self.appointments.contains_key(name));
            let appointment = Appointment::new(schedule, kept, Timestamp::now());
            self.appointments.insert(name.clone(), appointment);
            changed = true;
        }
        if changed {
            self.set_clock();
        }
    }

    fn set_clock(&mut self) {
        if self.clock.is_none() && !self.appointments.is_empty() {
            match Clock::new(self.messages.clone()) {
                Ok(clock) => self.clock = Some(clock),
                Err(error) => tell(&format!("scheduled jobs will not start: no timer: {error}")),
            }
        }
        let next = self.appointments.values().filter_map(Appointment::next).min();
        if let Some(Err(error)) = self.clock.as_ref().map(|clock| clock.set(next)) {
            tell(&format!(
                "scheduled jobs will not start: cannot set the timer: {error}"
            ));
        }
    }

    /// The clock rang: what is due is said to [`step`](super::step), the rest is worked out anew.
    pub(super) async fn on_clock(&mut self) {
        let now = Timestamp::now();
        let look = |(name, own): (&ServiceName, &mut Appointment)| (name.clone(), own.look(now));
        let looks: Vec<_> = self.appointments.iter_mut().map(look).collect();
        for (name, look) in looks {
            match look {
                Look::Wait => {}
                Look::Due => self.advance(Event::Due(name)).await,
                Look::Missed(moment) => self.missed(&name, moment),
            }
        }
        self.write_down();
        self.set_clock();
    }

    fn missed(&mut self, name: &str, moment: Timestamp) {
        let moment = events::time_of(u64::try_from(moment.as_microsecond()).unwrap_or(0));
        let cause = format!("missed its time {moment}: the clock was set, or nothing ran then");
        self.chronicle.turn(name, None, Kind::Skipped, &cause);
    }

    /// What has become of a time that came.
    pub(super) fn tell_due(&mut self, name: &str, outcome: Due) {
        let run = self.state.units.get(name).map_or(0, |unit| unit.run);
        let (kind, cause) = match outcome {
            Due::Starts => (Kind::Due, format!("run {run} begins")),
            Due::Waits => (Kind::Due, format!("waits for the end of run {run}")),
            Due::Replaces => (Kind::Due, format!("run {run} is stopped for the next one")),
            Due::Skipped => (Kind::Skipped, format!("run {run} has not ended")),
        };
        self.chronicle.turn(name, Some(run), kind, &cause);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use jiff::SignedDuration;
    use nix::time::{ClockId, clock_gettime, clock_settime};

    use super::*;

    fn clock() -> (Clock, mpsc::UnboundedReceiver<Message>) {
        let (messages, inbox) = mpsc::unbounded_channel();
        (Clock::new(messages).unwrap(), inbox)
    }

    fn rings_within(inbox: &mut mpsc::UnboundedReceiver<Message>, time: Duration) -> bool {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build();
        let heard = runtime
            .unwrap()
            .block_on(async { tokio::time::timeout(time, inbox.recv()).await });
        matches!(heard, Ok(Some(Message::Clock)))
    }

    const MOMENT: Duration = Duration::from_millis(200);
    const SOON: Duration = Duration::from_secs(5);

    #[test]
    fn it_rings_at_its_time_and_when_the_clock_of_the_machine_is_set() {
        let (clock, mut inbox) = clock();
        let from_now = |seconds| Some(Timestamp::now() + SignedDuration::from_secs(seconds));
        clock.set(from_now(3600)).unwrap();
        assert!(!rings_within(&mut inbox, MOMENT));
        clock.set(from_now(-3600)).unwrap();
        assert!(rings_within(&mut inbox, SOON), "a time that is over");
        assert!(!rings_within(&mut inbox, MOMENT), "once");
        clock.set(from_now(1)).unwrap();
        assert!(rings_within(&mut inbox, SOON));
        clock.set(None).unwrap();
        assert!(!rings_within(&mut inbox, MOMENT));
        // To what it shows: off by the microsecond in between, and set all the same.
        let now = clock_gettime(ClockId::CLOCK_REALTIME).unwrap();
        clock_settime(ClockId::CLOCK_REALTIME, now).expect("this test needs CAP_SYS_TIME");
        assert!(rings_within(&mut inbox, SOON));
    }
}
