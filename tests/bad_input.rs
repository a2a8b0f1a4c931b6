//! Input that makes no sense, through the real program: an error with its place, exit code 2, and nothing touched.

use crate::support::town::{Machine, Town};

const GOOD: &str = "# Good\n\n```sh markpact:run\nexec sleep 1000\n```\n";

#[test]
fn malformed_files_leave_nothing_behind() {
    let machine = Machine::take();
    let cases: &[(&str, &str, &str)] = &[
        ("not yaml", "name: [", GOOD),
        ("a tab", "services:\n\ta: {}\n", GOOD),
        ("empty", "", GOOD),
        ("a list", "- a\n- b\n", GOOD),
        (
            "unknown key",
            "name: x\nservices:\n  s: {readme: s.md, prot: 8000}\n",
            GOOD,
        ),
        (
            "a cycle",
            "name: x\nservices:\n  a: {readme: s.md, depends_on: [b]}\n  b: {readme: s.md, depends_on: [a]}\n",
            GOOD,
        ),
        (
            "unknown dependency",
            "name: x\nservices:\n  s: {readme: s.md, depends_on: [nobody]}\n",
            GOOD,
        ),
        (
            "missing readme",
            "name: x\nservices:\n  s: {readme: absent.md}\n",
            GOOD,
        ),
        (
            "a port too high",
            "name: x\nservices:\n  s: {readme: s.md, port: 70000}\n",
            GOOD,
        ),
        (
            "later feature",
            "name: x\nservices:\n  s: {readme: s.md, schedule: daily}\n",
            GOOD,
        ),
        (
            "unset variable",
            "name: x\nservices:\n  s: {readme: s.md, env: {A: '${SURELY_UNSET_VARIABLE}'}}\n",
            GOOD,
        ),
        (
            "traversal",
            "name: x\nservices:\n  s: {readme: s.md}\n",
            "```txt markpact:file path=../../etc/passwd\nx\n```\n\n```sh markpact:run\ntrue\n```\n",
        ),
        (
            "absolute path",
            "name: x\nservices:\n  s: {readme: s.md}\n",
            "```txt markpact:file path=/etc/passwd\nx\n```\n\n```sh markpact:run\ntrue\n```\n",
        ),
        (
            "two run blocks",
            "name: x\nservices:\n  s: {readme: s.md}\n",
            "```sh markpact:run\ntrue\n```\n\n```sh markpact:run\nfalse\n```\n",
        ),
        (
            "nothing to run",
            "name: x\nservices:\n  s: {readme: s.md}\n",
            "# Only words\n",
        ),
        (
            "unknown kind",
            "name: x\nservices:\n  s: {readme: s.md}\n",
            "```sh markpact:rum\ntrue\n```\n",
        ),
        (
            "unclosed fence",
            "name: x\nservices:\n  s: {readme: s.md}\n",
            "```sh markpact:run\ntrue\n",
        ),
    ];
    for (what, yaml, readme) in cases {
        let town = Town::new("bad", yaml, &[("s.md", readme)]);
        for arguments in [["up", "-d"].as_slice(), ["up", "-n"].as_slice()] {
            let (out, err) = town.expect(2, arguments);
            assert!(err.contains("error"), "{what}: {out}{err}");
            assert!(
                !err.contains("panicked") && !err.contains("RUST_BACKTRACE"),
                "{what}: {err}"
            );
        }
        assert!(!town.path().join(".pactown-sandboxes").exists(), "{what}");
        machine.assert_clean();
    }
}

#[test]
fn wrong_use_says_what_to_type() {
    let machine = Machine::take();
    let town = Town::new(
        "use",
        "name: x\nservices:\n  web: {readme: s.md}\n",
        &[("s.md", GOOD)],
    );
    let (_, err) = town.expect(2, &["up", "-d", "wep"]);
    assert!(
        err.contains("'wep'") && err.contains("did you mean 'web'"),
        "{err}"
    );
    let (_, err) = town.expect(2, &["upp"]);
    assert!(err.contains("up"), "{err}");
    let (_, err) = town.expect(1, &["exec", "web", "true"]);
    assert!(err.contains("not running"), "{err}");
    let (_, err) = town.expect(1, &["stop", "web"]);
    assert!(err.contains("not running"), "{err}");
    let (_, err) = town.expect(2, &["-f", "absent.yaml", "up", "-d"]);
    assert!(err.contains("absent.yaml"), "{err}");
    machine.assert_clean();
}
