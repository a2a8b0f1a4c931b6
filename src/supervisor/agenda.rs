//! When the wall clock starts a job next, and what has become of the time before, when the clock jumped or nobody looked.
//! Pure: the time is told.

use jiff::{SignedDuration, Timestamp};

use crate::config::cron::Calendar;
use crate::config::ecosystem::Schedule;
use crate::state::AppointmentRecord;

/// A start that comes late by no more than this still comes; and so far back may the clock be put right without a second
/// start.
const LATE: SignedDuration = SignedDuration::from_secs(60);

/// The next start of one job.
#[derive(Debug)]
pub(super) struct Appointment {
    schedule: Schedule,
    calendar: Option<Calendar>,
    /// The moment that was seen to last.
    last: Option<Timestamp>,
    next: Option<Timestamp>,
}

/// What a look at the clock says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Look {
    /// Its time has not come.
    Wait,
    /// It has.
    Due,
    /// It had, too long ago: the clock was set, or the machine slept.
    Missed(Timestamp),
}

impl Appointment {
    /// By this schedule; `kept` is what the last supervisor knew of it.
    pub(super) fn new(schedule: &Schedule, kept: Option<AppointmentRecord>, now: Timestamp) -> Self {
        let time = |seconds: Option<i64>| Timestamp::from_second(seconds?).ok();
        let kept = kept.unwrap_or_default();
        let mut own = Self {
            schedule: schedule.clone(),
            calendar: Calendar::of(schedule),
            last: time(kept.last),
            next: time(kept.next),
        };
        // What lies ahead is worked out anew: the clock may have been set meanwhile.
        if own.next.is_none_or(|next| next > now) {
            own.next = own.after(now);
        }
        own
    }

    /// Whether it was made by this schedule.
    pub(super) fn is_by(&self, schedule: &Schedule) -> bool {
        self.schedule == *schedule
    }

    /// The next start.
    pub(super) fn next(&self) -> Option<Timestamp> {
        self.next
    }

    /// For the next supervisor.
    pub(super) fn kept(&self) -> AppointmentRecord {
        let seconds = |time: Option<Timestamp>| time.map(Timestamp::as_second);
        AppointmentRecord {
            last: seconds(self.last),
            next: seconds(self.next),
        }
    }

    /// Sees to what has come by now; the next start is after it. However many were missed: it is one answer.
    pub(super) fn look(&mut self, now: Timestamp) -> Look {
        let come = self.next.filter(|next| *next <= now);
        self.last = come.or(self.last);
        self.next = self.after(now);
        match come {
            None => Look::Wait,
            Some(moment) if now.duration_since(moment) <= LATE => Look::Due,
            Some(moment) => Look::Missed(moment),
        }
    }

    /// The first moment after `now` that was not seen to already.
    fn after(&self, now: Timestamp) -> Option<Timestamp> {
        let ahead = |last: &Timestamp| *last > now && last.duration_since(now) <= LATE;
        let from = self.last.filter(ahead).unwrap_or(now);
        self.calendar.as_ref()?.next(from)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::config::ecosystem::Overlap;

    fn at(text: &str) -> Timestamp {
        format!("2026-03-01T{text}Z").parse().expect("a time")
    }

    fn every_five_minutes() -> Schedule {
        Schedule {
            cron: "*/5 * * * *".to_owned(),
            timezone: Some("UTC".to_owned()),
            overlap: Overlap::Skip,
        }
    }

    fn appointment(now: &str) -> Appointment {
        Appointment::new(&every_five_minutes(), None, at(now))
    }

    #[test]
    fn it_comes_once_and_the_next_one_is_ahead() {
        let mut job = appointment("12:01:00");
        assert_eq!(job.next(), Some(at("12:05:00")));
        assert_eq!(job.look(at("12:04:59")), Look::Wait);
        assert_eq!(job.look(at("12:05:00")), Look::Due);
        assert_eq!(job.look(at("12:05:00")), Look::Wait);
        assert_eq!(job.next(), Some(at("12:10:00")));
    }

    #[test]
    fn a_jump_ahead_is_one_that_was_missed_and_no_burst() {
        let mut job = appointment("12:01:00");
        assert_eq!(job.look(at("18:03:00")), Look::Missed(at("12:05:00")));
        assert_eq!(job.look(at("18:03:00")), Look::Wait);
        assert_eq!(job.next(), Some(at("18:05:00")));
        // A second over the time is no sleep.
        let mut job = appointment("12:01:00");
        assert_eq!(job.look(at("12:05:01")), Look::Due);
    }

    #[test]
    fn after_a_jump_back_it_is_not_waited_for_hours() {
        let mut job = appointment("12:01:00");
        assert_eq!(job.look(at("12:05:00")), Look::Due);
        assert_eq!(job.look(at("03:01:00")), Look::Wait);
        assert_eq!(job.next(), Some(at("03:05:00")));
        // A clock that is put right by a second does not make it run twice.
        assert_eq!(job.look(at("03:05:00")), Look::Due);
        assert_eq!(job.look(at("03:04:59")), Look::Wait);
        assert_eq!(job.next(), Some(at("03:10:00")));
    }

    #[test]
    fn the_next_supervisor_sees_to_what_came_a_moment_ago_and_to_nothing_older() {
        let kept = appointment("12:01:00").kept();
        let heir = |now: &str| Appointment::new(&every_five_minutes(), Some(kept), at(now));
        assert_eq!(heir("12:05:01").look(at("12:05:01")), Look::Due);
        assert_eq!(
            heir("13:01:00").look(at("13:01:00")),
            Look::Missed(at("12:05:00"))
        );
        assert_eq!(heir("02:01:00").next(), Some(at("02:05:00")));
    }

    proptest! {
        #[test]
        fn however_the_clock_jumps_the_next_start_is_near_and_ahead(
            jumps in proptest::collection::vec(prop_oneof![0_i64..400, -90_000_i64..90_000, -70_i64..70], 1..60),
        ) {
            let mut now = at("12:00:30");
            let mut job = Appointment::new(&every_five_minutes(), None, now);
            // The moment that was seen to last, if it was in time, and the earliest that the clock has shown since.
            let mut seen: Option<(Timestamp, Timestamp)> = None;
            for jump in jumps {
                now = now.checked_add(SignedDuration::from_secs(jump)).unwrap();
                let before = job.next();
                let look = job.look(now);
                let next = job.next().unwrap();
                prop_assert!(next > now, "{next} is not after {now}");
                prop_assert!(next.duration_since(now).as_secs() <= 300 + 60 + 300);
                prop_assert_eq!(job.look(now), Look::Wait, "once is enough");
                let seen_to = seen.take().map(|(moment, lowest)| (moment, lowest.min(now)));
                if look == Look::Due {
                    let moment = before.unwrap();
                    let again = seen_to.is_some_and(|(last, lowest)| last == moment && moment.duration_since(lowest) <= LATE);
                    prop_assert!(!again, "{moment} came twice");
                    seen = Some((moment, now));
                } else {
                    seen = seen_to.filter(|_| look == Look::Wait);
                }
            }
        }
    }
}
