//! The text of a lock, there and back, and what is refused.

use super::*;

fn digest(digit: char) -> String {
    format!("sha256:{}", digit.to_string().repeat(64))
}

fn lock() -> Lockfile {
    let python = Resolution {
        language: Language::Python,
        toolchain: "3.11.7".into(),
        wanted: digest('a'),
        packages: vec![
            format!("flask==3.0.0 --hash={}", digest('b')),
            format!(
                "lib @ git+https://example.org/lib@{} --hash={}",
                "c".repeat(40),
                digest('c')
            ),
        ],
        package_lock: None,
        files: Default::default(),
    };
    let node = Resolution {
        language: Language::Node,
        toolchain: "20.1.0".into(),
        wanted: digest('d'),
        packages: vec![],
        package_lock: Some("{\n  \"name\": \"it's\"\n}\n".into()),
        files: Default::default(),
    };
    let service = |name: &str, resolutions| ServiceLock {
        name: name.into(),
        readme: format!("{name}/README.md"),
        rootfs: None,
        blocks: vec![
            format!("file main.py {}", digest('e')),
            format!("run {}", digest('f')),
        ],
        resolutions,
    };
    Lockfile::new(vec![service("web", vec![python]), service("api", vec![node])])
}

#[test]
fn a_text_is_read_as_it_was_written_and_written_the_same_again() {
    let text = lock().text();
    let read = Lockfile::parse(&text).unwrap();
    assert_eq!(read, lock());
    assert_eq!(read.text(), text);
    let names: Vec<&str> = read
        .services
        .iter()
        .map(|service| service.name.as_str())
        .collect();
    assert_eq!(names, ["api", "web"], "sorted");
    let package = text.lines().filter(|line| line.contains("flask==3.0.0")).count();
    assert_eq!(package, 1, "one package a line:\n{text}");
}

#[test]
fn what_no_lock_holds_is_refused_with_its_line() {
    let text = lock().text();
    let refused = |from: &str, to: &str| {
        assert!(text.contains(from), "{from}");
        let damage = Lockfile::parse(&text.replacen(from, to, 1)).unwrap_err();
        (damage.line, damage.message)
    };
    let line = |part: &str| line_of(&text, part);
    let (at, message) = refused(
        "flask==3.0.0 --hash",
        "--index-url=http://x.example flask==3.0.0 --hash",
    );
    assert_eq!(
        (at, message.contains("is no requirement")),
        (line("flask"), true),
        "{message}"
    );
    for wrong in [
        "-r/etc/passwd",
        "flask==3.0.0\\n--pre",
        "flask==$(id)",
        "./x; rm",
        "flask",
    ] {
        refused("flask==3.0.0", wrong);
    }
    let (at, message) = refused("version = 1", "version = 2");
    assert_eq!((at, message.contains("version 2")), (0, true), "{message}");
    let (at, _) = refused("readme = \"web", "reedme = \"web");
    assert!(at > 0);
    refused(&digest('e'), "sha256:12");
    refused("name = \"web\"", "name = \"api\"");
    refused("language = \"node\"", "language = \"python\"");
    assert!(Lockfile::parse("version = [").unwrap_err().line > 0);
    assert_eq!(Lockfile::parse("").unwrap_err().message, "it says no version");
}
