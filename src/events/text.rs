//! An event as one line for people. Pure.

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::{Event, Kind};

/// `12:00:01.123 api  exited  code 1 after 0.2 s`, in the time of `zone`; names are as wide as `width`.
pub fn render(event: &Event, width: usize, zone: &TimeZone) -> String {
    let time = match event.ts.parse::<Timestamp>() {
        Ok(time) => time.to_zoned(zone.clone()).strftime("%H:%M:%S%.3f").to_string(),
        Err(_) => event.ts.clone(),
    };
    let unit = event.unit().unwrap_or_else(|| "-".to_owned());
    let line = format!("{time} {unit:width$}  {:<10} {}", event.kind.word(), words(event));
    line.trim_end().to_owned()
}

/// What there is to say besides the kind.
fn words(event: &Event) -> String {
    let mut parts: Vec<String> = Vec::new();
    match (event.kind, event.exit_code) {
        (Kind::Exited, Some(code)) => parts.push(ended(code)),
        (Kind::Oom, _) => parts.push("the memory limit was reached".to_owned()),
        _ => {}
    }
    parts.extend(event.cause.clone());
    parts.extend(event.duration_ms.map(|time| format!("after {}", lasted(time))));
    match event.kind {
        Kind::Oom => {
            let peak = event.memory_peak;
            parts.extend(peak.map(|peak| format!("(peak {})", bytesize::ByteSize(peak).display().iec())));
        }
        Kind::Started | Kind::Adopted => {
            parts.extend(event.pid.map(|pid| format!("pid {pid}")));
            parts.extend(event.port.map(|port| format!("port {port}")));
        }
        Kind::Backoff | Kind::Restarting => {
            parts.extend(event.restarts.map(|count| format!("(restart {count})")));
        }
        _ => {}
    }
    parts.join(" ")
}

/// `code 1`, `SIGKILL`.
pub(crate) fn ended(code: i32) -> String {
    match nix::sys::signal::Signal::try_from(code - 128) {
        Ok(signal) if code > 128 => signal.as_str().to_owned(),
        _ => format!("code {code}"),
    }
}

/// `12:35:00`, with the day unless it is today's, in the time of `zone`; what is no time stays as it is.
pub(crate) fn when(time: &str, now: Timestamp, zone: &TimeZone) -> String {
    let Ok(moment) = time.parse::<Timestamp>() else {
        return time.to_owned();
    };
    let (moment, now) = (moment.to_zoned(zone.clone()), now.to_zoned(zone.clone()));
    let form = match moment.date() == now.date() {
        true => "%H:%M:%S",
        false => "%Y-%m-%d %H:%M:%S",
    };
    moment.strftime(form).to_string()
}

/// `0.2 s`, `3 min 5 s`: as exact as it matters.
pub(crate) fn lasted(ms: u64) -> String {
    match ms {
        0..100 => format!("{ms} ms"),
        100..60_000 => format!("{}.{} s", ms / 1000, ms % 1000 / 100),
        60_000..3_600_000 => format!("{} min {} s", ms / 60_000, ms % 60_000 / 1000),
        _ => format!("{} h {} min", ms / 3_600_000, ms % 3_600_000 / 60_000),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::events::time_of;

    fn line(event: Event) -> String {
        render(&event, 4, &TimeZone::UTC)
    }

    #[test]
    fn a_line_says_when_who_what_and_how() {
        let event = Event {
            ts: time_of(43_201_123_456),
            service: Some("api".into()),
            exit_code: Some(1),
            duration_ms: Some(1250),
            ..Event::new(Kind::Exited)
        };
        assert_eq!(line(event), "12:00:01.123 api   exited     code 1 after 1.2 s");
        let event = Event {
            ts: time_of(43_201_123_456),
            ..Event::new(Kind::Up)
        };
        assert_eq!(line(event), "12:00:01.123 -     up");
    }

    #[test]
    fn a_day_is_named_unless_it_is_today() {
        let (now, zone) = ("2026-01-31T22:30:00Z", TimeZone::fixed(jiff::tz::offset(1)));
        let when = |time: &str| when(time, now.parse().unwrap(), &zone);
        assert_eq!(when("2026-01-31T22:35:00Z"), "23:35:00");
        assert_eq!(when("2026-01-31T23:00:00Z"), "2026-02-01 00:00:00");
    }

    #[test]
    fn ends_and_times_have_words() {
        assert_eq!(ended(137), "SIGKILL");
        assert_eq!(ended(3), "code 3");
        assert_eq!(ended(255), "code 255");
        assert_eq!(lasted(7), "7 ms");
        assert_eq!(lasted(61_000), "1 min 1 s");
        assert_eq!(lasted(3_661_000), "1 h 1 min");
    }
}
