//! What is in a bundle, where it goes, and what it lacks.

use super::*;

const KEEPER: &str = "# Keeper

```sh markpact:file path=seed.txt
sown
```

```sh markpact:run
cat seed.txt kept.txt note.txt data/volume.txt 2>&1
ls -ln kept.txt seed.txt link | awk '{print $1, $3, $4, $NF}'
(echo x > /etc/x) 2>&1 | grep -o 'Read-only.*'
(echo x > /usr/x) 2>&1 | grep -o 'Read-only.*'
echo again >> kept.txt && id -u && hostname && cat /proc/self/uid_map | tr -s ' '
grep -E '^(NoNewPrivs|Seccomp|CapEff|CapBnd)' /proc/self/status
ulimit -c; ulimit -n; cat limit 2>/dev/null
exit 7
```
";

/// What a service wrote before, deleted and linked is in its copy; what OCI cannot say is told, by name.
#[test]
fn a_bundle_holds_what_the_service_wrote_and_says_what_it_lacks() {
    let machine = Machine::take();
    let yaml = "name: keep\nservices:\n  k: {readme: k.md, health_check: none, restart: \"no\", volumes: [\"v:/app/data\"], \
                mounts: [\"./note.txt:/app/note.txt\"], egress: none, limits: {memory: 64M, pids: 50}}\n";
    let town = Town::new("keep", yaml, &[("k.md", KEEPER), ("note.txt", "noted\n")]);
    let scratch = Scratch::new("keep");
    // A first run of another command leaves something behind.
    town.edit("k.md", "exit 7", "exit 0");
    let first = "# Keeper\n\n```sh markpact:file path=seed.txt\nsown\n```\n\n```sh markpact:file path=gone.txt\nx\n```\n\n```sh markpact:run\n\
                 echo kept > kept.txt; chmod 640 kept.txt; ln -s /etc/shadow link; echo deep > data/volume.txt; rm gone.txt\n```\n";
    let last = fs::read_to_string(town.path().join("k.md"))
        .expect("readme")
        .replace("exit 0", "exit 7");
    town.write("k.md", first);
    town.run(&["up", "-d"]);
    town.run(&["down"]);
    let with_gone = last.replace(
        "```sh markpact:run",
        "```sh markpact:file path=gone.txt\nx\n```\n\n```sh markpact:run",
    );
    town.write("k.md", &with_gone);
    town.run(&["up", "-d"]);
    eventually("it ends", Duration::from_secs(5), || {
        town.service("k")["exit_code"] == 7
    });
    let text = lines(&logged(&town, "k"));
    town.ok(&["down"]);
    // `again` is in it now, once.
    fs::write(town.path().join(".pactown-sandboxes/k/kept.txt"), "kept\n").expect("file");
    let bundle = scratch.0.join("k");
    let made = town.ok(&["spec", "k", "--bundle", bundle.to_str().expect("text"), "--json"]);
    let made: Value = serde_json::from_str(&made).expect("json");
    assert_eq!(made[0]["bundle"], bundle.to_str().expect("text"));
    let keys: Vec<&str> = made[0]["omitted"]
        .as_array()
        .expect("list")
        .iter()
        .filter_map(|one| one["key"].as_str())
        .collect();
    for key in ["network", "egress", "init", "restart", "landlock", "app"] {
        assert!(keys.contains(&key), "{key}: {keys:?}");
    }
    assert!(
        !keys.contains(&"depends_on") && !keys.contains(&"schedule"),
        "{keys:?}"
    );
    assert_valid(&bundle);
    assert!(
        !bundle.join("rootfs/app/gone.txt").exists(),
        "what it removed is not in the copy"
    );
    assert_eq!(
        fs::read_link(bundle.join("rootfs/app/link")).expect("link"),
        Path::new("/etc/shadow")
    );
    let config = fs::metadata(bundle.join("config.json")).expect("config");
    assert_eq!(
        config.mode() & 0o777,
        0o600,
        "its environment is nobody else's to read"
    );
    for runtime in runtimes() {
        let name = format!("pactown-oci-{}-keep", std::process::id());
        let mut container = Container::run(runtime, &bundle, &name, &scratch.0);
        assert_eq!(container.end(), 7, "{}", container.output());
        let shifted = |lines: &[String]| -> Vec<String> {
            lines
                .iter()
                .filter(|line| !line.starts_with(" 0 2"))
                .cloned()
                .collect()
        };
        assert_eq!(shifted(&lines(&container.output())), shifted(&text), "{runtime}");
        let app = bundle.join("rootfs/app/kept.txt");
        assert_eq!(fs::read_to_string(&app).expect("kept"), "kept\nagain\n");
        fs::write(&app, "kept\n").expect("file");
    }
    machine.assert_clean();
}

#[test]
fn a_bundle_goes_into_a_new_or_empty_folder_or_nowhere() {
    let machine = Machine::take();
    let yaml = "name: where\nservices:\n  k: {readme: k.md, health_check: none}\n";
    let town = Town::new(
        "where",
        yaml,
        &[("k.md", "# K\n\n```sh markpact:run\ntrue\n```\n")],
    );
    town.write("full/mine.txt", "mine");
    let (_, errors) = town.expect(2, &["spec", "k", "--bundle", "full"]);
    assert!(
        errors.contains("is not empty") && errors.contains("new or empty"),
        "{errors}"
    );
    let names: Vec<_> = fs::read_dir(town.path().join("full"))
        .expect("folder")
        .flatten()
        .map(|one| one.file_name())
        .collect();
    assert_eq!(names, ["mine.txt"]);
    let (_, errors) = town.expect(2, &["spec", "nobody", "--bundle", "new"]);
    assert!(errors.contains("nobody"), "{errors}");
    town.expect(2, &["spec"]);
    // What cannot be finished is not begun.
    town.write(
        "k.md",
        "# K\n\n```python markpact:deps\nnot-installed-here==9.9.9\n```\n\n```sh markpact:run\ntrue\n```\n",
    );
    let (_, errors) = town.expect(3, &["spec", "--bundle", "new"]);
    assert!(
        errors.contains("has not been installed yet") && errors.contains("pactown up"),
        "{errors}"
    );
    assert!(!town.path().join("new").exists());
    machine.assert_clean();
}
