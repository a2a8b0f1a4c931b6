//! Cron expressions: five fields or a nickname → the moments that they name. Pure but for the host's time zones.
//!
//! The calculation, also where a time zone leaves an hour out or repeats one, is the `croner` crate's; here is what is
//! accepted and what is said about the rest.

use croner::Cron;
use croner::parser::{CronParser, Seconds, Year};
use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::ecosystem::Schedule;
use super::report::did_you_mean;

/// An expression that is not understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fault {
    /// What is wrong with it.
    pub(crate) message: String,
    /// What to write instead.
    pub(crate) help: String,
}

const NICKNAMES: &[&str] = &[
    "@yearly",
    "@annually",
    "@monthly",
    "@weekly",
    "@daily",
    "@midnight",
    "@hourly",
];

/// The fields in their order, what each may hold, and its names.
const FIELDS: &[(&str, &str, &[&str])] = &[
    ("minute", "0 to 59", &[]),
    ("hour", "0 to 23", &[]),
    ("day of the month", "1 to 31, or L for the last one", &[]),
    ("month", "1 to 12, or jan to dec", MONTHS),
    (
        "weekday",
        "0 to 7, where 0 and 7 are Sunday, or sun to sat",
        WEEKDAYS,
    ),
];
const MONTHS: &[&str] = &[
    "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec",
];
const WEEKDAYS: &[&str] = &["sun", "mon", "tue", "wed", "thu", "fri", "sat"];

/// The moments that a [`Schedule`] names.
#[derive(Debug, Clone)]
pub(crate) struct Calendar {
    cron: Cron,
    /// `None`: the host's, looked up each time, because its administrator may change it.
    zone: Option<TimeZone>,
}

impl Calendar {
    /// That of a schedule that was checked; `None` when the host no longer knows its time zone.
    pub(crate) fn of(schedule: &Schedule) -> Option<Self> {
        let zone = schedule.timezone.as_deref().map(zone);
        Some(Self {
            cron: parse(&schedule.cron).ok()?,
            zone: zone.transpose().ok()?,
        })
    }

    /// The first moment after this one; `None`: there is none within the years that are looked at.
    pub(crate) fn next(&self, after: Timestamp) -> Option<Timestamp> {
        let zone = self.zone.clone().unwrap_or_else(TimeZone::system);
        let next = self.cron.find_next_occurrence(&after.to_zoned(zone), false);
        next.ok().map(|next| next.timestamp())
    }
}

/// The expression, or what is wrong with it: one field at a time, so that the field can be named.
pub(crate) fn parse(text: &str) -> Result<Cron, Fault> {
    let text = text.trim();
    let fields: Vec<&str> = text.split_whitespace().collect();
    if !NICKNAMES.contains(&text.to_lowercase().as_str()) {
        if fields.len() <= 1 || text.starts_with('@') {
            return Err(no_nickname(text));
        }
        if fields.len() != FIELDS.len() {
            return Err(Fault {
                message: format!("it has {} fields, not 5", fields.len()),
                help: "write minute, hour, day of the month, month and weekday, as in '30 4 * * mon'"
                    .to_owned(),
            });
        }
        if let Some(fault) = (0..FIELDS.len()).find_map(|index| fault_of(index, fields[index])) {
            return Err(fault);
        }
    }
    let never = Fault {
        message: "there is no such day".to_owned(),
        help: "check the day against the month".to_owned(),
    };
    let cron = parser().parse(text).map_err(|_| never.clone())?;
    // Any day will do to look from: what never comes after it never comes.
    let epoch = Timestamp::UNIX_EPOCH.to_zoned(TimeZone::UTC);
    match cron.find_next_occurrence(&epoch, false) {
        Ok(_) => Ok(cron),
        Err(_) => Err(never),
    }
}

/// The time zone of this name.
pub(crate) fn zone(name: &str) -> Result<TimeZone, Fault> {
    TimeZone::get(name).map_err(|_| {
        let known: Vec<String> = jiff::tz::db().available().map(|name| name.to_string()).collect();
        let near = did_you_mean(name, known.iter().map(String::as_str));
        Fault {
            message: "there is no such time zone".to_owned(),
            help: near.unwrap_or_else(|| "write a name such as Europe/Warsaw, or UTC".to_owned()),
        }
    })
}

fn parser() -> CronParser {
    CronParser::builder()
        .seconds(Seconds::Disallowed)
        .year(Year::Disallowed)
        .build()
}

fn no_nickname(text: &str) -> Fault {
    let name = format!("@{}", text.trim_start_matches('@').to_lowercase());
    Fault {
        message: "it is neither five fields nor a nickname".to_owned(),
        help: did_you_mean(&name, NICKNAMES.iter().copied()).unwrap_or_else(|| {
            format!(
                "write '*/5 * * * *' for example, or one of {}",
                NICKNAMES.join(", ")
            )
        }),
    }
}

/// What is wrong with the field in this place, if anything.
fn fault_of(index: usize, text: &str) -> Option<Fault> {
    let mut alone = ["*"; 5];
    alone[index] = text;
    // A day that no month has is no fault of the field: that is looked at with all fields together.
    parser().parse(&alone.join(" ")).err()?;
    let (field, range, names) = FIELDS[index];
    let wrong = text
        .split([',', '-', '/'])
        .find(|part| !part.is_empty() && part.chars().all(char::is_alphabetic) && !names.contains(part));
    let near = wrong.and_then(|word| did_you_mean(&word.to_lowercase(), names.iter().copied()));
    Some(Fault {
        message: format!("'{text}' is no {field}"),
        help: near.unwrap_or_else(|| format!("write {range}, alone, or as in '*', '1-5', '*/10' and '1,2'")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::ecosystem::Overlap;

    fn next(cron: &str, zone: &str, after: &str) -> String {
        let schedule = Schedule {
            cron: cron.to_owned(),
            timezone: Some(zone.to_owned()),
            overlap: Overlap::Skip,
        };
        let calendar = Calendar::of(&schedule).expect("a calendar");
        let next = calendar.next(after.parse().expect("a time")).expect("it comes");
        next.to_zoned(TimeZone::get(zone).unwrap())
            .strftime("%Y-%m-%d %H:%M:%S %:z")
            .to_string()
    }

    #[test]
    fn the_next_moment_is_after_now_and_on_the_minute() {
        let at = "2026-01-31T12:34:56Z";
        for (cron, expected) in [
            ("*/5 * * * *", "2026-01-31 12:35:00"),
            ("34 12 * * *", "2026-02-01 12:34:00"),
            ("0 9-17/4 * * mon-fri", "2026-02-02 09:00:00"),
            ("0 0 L * *", "2026-02-28 00:00:00"),
            ("0 0 29 feb *", "2028-02-29 00:00:00"),
            ("0 0 13 * fri", "2026-02-06 00:00:00"),
            ("@hourly", "2026-01-31 13:00:00"),
            ("@Daily", "2026-02-01 00:00:00"),
            ("0 0 * * 7", "2026-02-01 00:00:00"),
        ] {
            assert_eq!(next(cron, "UTC", at), format!("{expected} +00:00"), "{cron}");
        }
    }

    #[test]
    fn an_hour_that_is_left_out_or_repeated_loses_no_day_and_doubles_none() {
        let zone = "Europe/Warsaw";
        // 02:00 to 03:00 is left out on 2026-03-29: the run comes right after.
        assert_eq!(
            next("30 2 * * *", zone, "2026-03-28T12:00:00Z"),
            "2026-03-29 03:00:00 +02:00"
        );
        // It comes twice on 2026-10-25: the run comes once, in the first one.
        assert_eq!(
            next("30 2 * * *", zone, "2026-10-24T12:00:00Z"),
            "2026-10-25 02:30:00 +02:00"
        );
        assert_eq!(
            next("30 2 * * *", zone, "2026-10-25T00:30:00Z"),
            "2026-10-26 02:30:00 +01:00"
        );
    }

    #[test]
    fn what_is_wrong_is_said_of_the_field() {
        let said = |text: &str| {
            let fault = parse(text).expect_err(text);
            format!("{}; {}", fault.message, fault.help)
        };
        assert!(said("61 * * * *").starts_with("'61' is no minute; write 0 to 59"));
        assert!(said("* * * * mond").ends_with("did you mean 'mon'?"));
        assert!(said("daily").ends_with("did you mean '@daily'?"));
        assert!(said("@hourl").ends_with("did you mean '@hourly'?"));
        assert!(said("@reboot").contains("one of @yearly"));
        assert!(said("* * *").starts_with("it has 3 fields, not 5"));
        assert!(said("0 * * * * *").starts_with("it has 6 fields, not 5"));
        assert!(said("0 0 30 2 *").starts_with("there is no such day"));
        assert!(said("").starts_with("it is neither"));
        for odd in [
            "-1 * * * *",
            "*/0 * * * *",
            "5-1 * * * *",
            "* * * * *é",
            "0 0 0 * *",
        ] {
            assert!(said(odd).contains(" is no "), "{odd}");
        }
        assert!(zone("Europe/Warsw").is_err_and(|fault| fault.help.contains("Europe/Warsaw")));
    }
}
