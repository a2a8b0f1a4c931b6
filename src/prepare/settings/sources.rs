//! Where the host's apt has its packages from (sources.list(5)). Reads `/etc/apt`.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::values;

/// The lines that name sources, without credentials, and what changes with every package that is installed on the host.
/// Nothing where apt is not.
pub(super) fn read() -> Vec<String> {
    let apt = Path::new("/etc/apt");
    let parts = fs::read_dir(apt.join("sources.list.d"));
    let mut files: Vec<PathBuf> = parts
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .collect();
    files.retain(|path| {
        let kind = path.extension().and_then(|kind| kind.to_str());
        matches!(kind, Some("list" | "sources"))
    });
    files.push(apt.join("sources.list"));
    files.sort();
    let texts = files.iter().filter_map(|path| super::read(path));
    let mut lines: Vec<String> = texts.flat_map(|text| of(&text)).collect();
    if let Ok(status) = fs::metadata("/var/lib/dpkg/status") {
        let time = (status.mtime(), status.mtime_nsec());
        lines.push(format!("installed={} {}.{}", status.size(), time.0, time.1));
    }
    lines
}

/// `deb …` lines, and the fields of deb822 files, without comments.
fn of(text: &str) -> Vec<String> {
    let lines = text.lines().map(str::trim);
    let lines = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.map(|line| values::public("apt", line)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_credentials_are_left_out() {
        let text = "# deb https://a.example x\ndeb [arch=amd64] https://u:p@b.example/debian bookworm main\n\nURIs: http://c.example/debian\n";
        assert_eq!(
            of(text),
            [
                "apt=deb [arch=amd64] https://b.example/debian bookworm main",
                "apt=URIs: http://c.example/debian"
            ]
        );
    }
}
