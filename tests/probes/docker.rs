//! The same battery in a container of the Docker engine that is reachable, with its defaults: for comparison only.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use super::{Answers, answers, compiled};

const IMAGE: &str = "pactown-battery:test";

fn docker(arguments: &[&str]) -> Option<String> {
    let output = Command::new("docker")
        .args(arguments)
        .stderr(Stdio::null())
        .output()
        .ok()?;
    output
        .status
        .success()
        .then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

/// What the probes say there; `None`: there is no engine.
pub(super) fn ask() -> Option<Answers> {
    let version = docker(&["info", "--format", "{{.ServerVersion}}"])?;
    let root = Path::new(env!("CARGO_TARGET_TMPDIR")).join("docker-root");
    let _ = fs::remove_dir_all(&root);
    lay_out(&root);
    let script = format!("tar -C '{}' -c . | docker import - {IMAGE}", root.display());
    let imported = Command::new("sh")
        .args(["-c", &script])
        .stdout(Stdio::null())
        .status();
    assert!(imported.expect("sh").success(), "docker import");
    // Its network is not what is asked about.
    let run = ["run", "--rm", "--network", "none", IMAGE, "/battery", "/shared"];
    let output = Command::new("docker").args(run).output().expect("docker");
    docker(&["image", "rm", IMAGE]).expect("the image is there");
    fs::remove_dir_all(&root).expect("remove");
    let found = answers(&String::from_utf8_lossy(&output.stdout));
    assert!(
        found.contains_key("count writable_sys"),
        "docker {}: {}",
        version.trim(),
        String::from_utf8_lossy(&output.stderr)
    );
    Some(found)
}

/// The battery alone, without libraries, and what it looks at.
fn lay_out(root: &Path) {
    for (name, mode) in [("shared", 0o777), ("tmp", 0o1777), ("app", 0o777), ("usr", 0o755)] {
        let place = root.join(name);
        fs::create_dir_all(&place).expect("a directory");
        fs::set_permissions(place, fs::Permissions::from_mode(mode)).expect("mode");
    }
    fs::write(root.join("shared/file"), "kept\n").expect("a file");
    compiled(&root.join("battery"), &["-static"]);
}
