//! Single values: names, ports, durations, sizes, signals, paths. Text in, value or a sentence out.

use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use bytesize::ByteSize;

/// Longest accepted duration: clocks can always add it.
const LONGEST: Duration = Duration::from_secs(366 * 24 * 3600);

/// Signals by number, from 1.
const SIGNALS: [&str; 31] = [
    "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2", "PIPE",
    "ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ",
    "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS",
];

/// `[A-Za-z_][A-Za-z0-9_]*`.
pub(crate) fn is_variable_name(name: &str) -> bool {
    let good = |c: char| c.is_ascii_alphanumeric() || c == '_';
    name.chars().all(good) && !name.starts_with(|c: char| c.is_ascii_digit()) && !name.is_empty()
}

/// `[a-z0-9][a-z0-9-]{0,62}`.
pub(crate) fn is_service_name(name: &str) -> bool {
    let good = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    (1..=63).contains(&name.len()) && name.chars().all(good) && !name.starts_with('-')
}

/// The nearest valid service name, when there is one.
pub(crate) fn service_name_for(name: &str) -> Option<String> {
    let spelled = name.to_lowercase().replace(['_', '.', ' ', '/'], "-");
    let kept: String = spelled
        .chars()
        .filter(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || *c == '-')
        .collect();
    let short: String = kept.trim_matches('-').chars().take(63).collect();
    is_service_name(&short).then_some(short)
}

/// `[a-z0-9][a-z0-9_.-]*`, at most 200 characters: it becomes a folder.
pub(crate) fn is_volume_name(name: &str) -> bool {
    let first = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let good = |c: char| first(c) || matches!(c, '_' | '.' | '-');
    name.starts_with(first) && name.chars().all(good) && name.len() <= 200
}

/// A port from 1 to 65535.
pub(crate) fn port(text: &str) -> Option<u16> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits
        .then(|| text.parse().ok())
        .flatten()
        .filter(|port| *port > 0)
}

/// `60`, `1.5`, `60s`, `1m30s`; a number is seconds.
pub(crate) fn duration(text: &str) -> Option<Duration> {
    let text = text.trim();
    let plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    let duration = match plain {
        true => Duration::try_from_secs_f64(text.parse().ok()?).ok()?,
        false => humantime::parse_duration(text).ok()?,
    };
    (duration <= LONGEST).then_some(duration)
}

/// The text that [`duration`] reads back exactly.
pub(crate) fn duration_text(duration: Duration) -> String {
    match duration.subsec_nanos() {
        0 => format!("{}s", duration.as_secs()),
        _ => humantime::format_duration(duration).to_string(),
    }
}

/// `256M`, `512m`, `1g`, `1GiB`, `268435456`: powers of 1024, whatever the spelling.
pub(crate) fn size(text: &str) -> Option<u64> {
    let text = text.trim();
    let unit_at = text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len());
    let (number, unit) = text.split_at(unit_at);
    let number = number.trim_end();
    if number.is_empty() || !number.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') {
        return None;
    }
    let unit = match unit.to_ascii_lowercase().as_str() {
        "" | "b" => "B",
        "k" | "kb" | "kib" => "KiB",
        "m" | "mb" | "mib" => "MiB",
        "g" | "gb" | "gib" => "GiB",
        "t" | "tb" | "tib" => "TiB",
        _ => return None,
    };
    let size: ByteSize = format!("{number}{unit}").parse().ok()?;
    Some(size.as_u64())
}

/// `SIGTERM`, `TERM`, `15`.
pub(crate) fn signal(text: &str) -> Option<i32> {
    if let Ok(number) = text.parse::<i32>() {
        return (1..=64).contains(&number).then_some(number);
    }
    let upper = text.trim().to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    let index = SIGNALS.iter().position(|known| *known == name)?;
    i32::try_from(index + 1).ok()
}

/// `SIGTERM` for 15; the number when it has no name.
pub(crate) fn signal_text(signal: i32) -> String {
    let index = usize::try_from(signal - 1).ok();
    match index.and_then(|index| SIGNALS.get(index)) {
        Some(name) => format!("SIG{name}"),
        None => signal.to_string(),
    }
}

/// Signal names with `SIG`, for suggestions.
pub(crate) fn signal_names() -> impl Iterator<Item = String> {
    SIGNALS.iter().map(|name| format!("SIG{name}"))
}

/// An absolute path inside the sandbox, without doubled or closing slashes; `Err` says what is wrong.
pub(crate) fn target(text: &str) -> Result<String, &'static str> {
    const OWN: &[&str] = &["/proc", "/sys", "/dev"];
    let path = Path::new(text);
    if !path.is_absolute() {
        return Err("must be absolute");
    }
    if path.components().any(|part| part == Component::ParentDir) {
        return Err("must not contain '..'");
    }
    let clean: PathBuf = path.components().collect();
    if clean == Path::new("/") || clean == Path::new("/app") || OWN.iter().any(|own| clean.starts_with(own)) {
        return Err("is a place that the sandbox itself provides");
    }
    Ok(clean.display().to_string())
}

/// A path of the file, relative to the file's directory, without `.` parts.
pub(crate) fn path_from(directory: &Path, text: &str) -> PathBuf {
    directory.join(text).components().collect()
}

/// The inverse of [`path_from`] for what lies below the directory.
pub(crate) fn path_text(directory: &Path, path: &Path) -> String {
    match path.strip_prefix(directory) {
        Ok(below) if below.as_os_str().is_empty() => ".".to_owned(),
        Ok(below) => format!("./{}", below.display()),
        Err(_) => path.display().to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        let millis = |text| duration(text).map(|duration| duration.as_millis());
        for (text, expected) in [
            ("60", 60_000),
            ("0", 0),
            ("1.5", 1500),
            ("60s", 60_000),
            ("1m30s", 90_000),
        ] {
            assert_eq!(millis(text), Some(expected), "{text}");
        }
        assert_eq!(millis("500ms"), Some(500));
        for text in [
            "",
            "soon",
            "-1",
            "1e3",
            "1x",
            ".",
            "99999999999999999999",
            "1000000h",
            "inf",
            "NaN",
        ] {
            assert_eq!(millis(text), None, "{text}");
        }
        for duration_in in [0, 1, 999, 61_000, 90_061_001].map(Duration::from_millis) {
            assert_eq!(duration(&duration_text(duration_in)), Some(duration_in));
        }
    }

    #[test]
    fn sizes_are_powers_of_1024() {
        const M: u64 = 1024 * 1024;
        let table = [
            ("256M", 256 * M),
            ("512m", 512 * M),
            ("1g", 1024 * M),
            ("1GiB", 1024 * M),
            ("1GB", 1024 * M),
            ("1.5g", 1536 * M),
            ("64 MiB", 64 * M),
            ("268435456", 256 * M),
            ("10b", 10),
            ("1k", 1024),
        ];
        for (text, bytes) in table {
            assert_eq!(size(text), Some(bytes), "{text}");
        }
        for text in ["", "M", "-1M", "1X", "lots", "1MM", "1 2", "1.2.3M"] {
            assert_eq!(size(text), None, "{text}");
        }
    }

    #[test]
    fn signals() {
        for text in ["SIGTERM", "TERM", "15", "term"] {
            assert_eq!(signal(text), Some(15), "{text}");
        }
        assert_eq!(
            (signal("USR1"), signal("SIGSYS"), signal("64")),
            (Some(10), Some(31), Some(64))
        );
        for text in ["", "SIG", "0", "65", "-1", "SIGNOPE", "0x0f"] {
            assert_eq!(signal(text), None, "{text}");
        }
        for number in 1..=64 {
            assert_eq!(signal(&signal_text(number)), Some(number));
        }
    }

    #[test]
    fn names() {
        let long = "a".repeat(64);
        for name in ["a", "0", "a-b", "a-", "web2"] {
            assert!(is_service_name(name), "{name}");
        }
        for (name, nearest) in [
            ("Web", Some("web")),
            ("my_api", Some("my-api")),
            ("a.b c", Some("a-b-c")),
            ("-x", Some("x")),
            (long.as_str(), Some(&long[..63])),
            ("ö", None),
            ("", None),
        ] {
            assert!(!is_service_name(name), "{name}");
            assert_eq!(service_name_for(name).as_deref(), nearest, "{name}");
        }
        assert!(
            is_volume_name("data_1.x-y")
                && !is_volume_name(".x")
                && !is_volume_name("A")
                && !is_volume_name("")
        );
        assert!(
            is_variable_name("_a1")
                && !is_variable_name("1a")
                && !is_variable_name("")
                && !is_variable_name("a-b")
        );
    }

    #[test]
    fn targets() {
        assert_eq!(target("/var//lib/x/"), Ok("/var/lib/x".to_owned()));
        assert_eq!(target("/app/data"), Ok("/app/data".to_owned()));
        for text in [
            "",
            "x",
            "./x",
            "/",
            "//",
            "/app",
            "/app/",
            "/proc",
            "/proc/1",
            "/sys",
            "/dev/shm",
            "/a/../proc",
        ] {
            assert!(target(text).is_err(), "{text}");
        }
    }

    #[test]
    fn paths() {
        let at = Path::new("/home/me");
        assert_eq!(path_from(at, "./a/./b"), Path::new("/home/me/a/b"));
        assert_eq!(path_from(at, "/x"), Path::new("/x"));
        assert_eq!(path_text(at, Path::new("/home/me/a")), "./a");
        assert_eq!(path_text(at, Path::new("/x")), "/x");
        assert_eq!(path_from(at, &path_text(at, at)), at);
    }
}
