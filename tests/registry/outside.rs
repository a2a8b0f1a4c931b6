//! Witnesses from outside, from PyPI: the older tool's own client, and a tester that reads the OpenAPI document.
//! They are installed by the tests, so they run with `PACTOWN_LONG_TESTS=1` only.

use std::path::Path;
use std::process::Command;

use crate::support::registry::{Folder, Server, ends, pactown};
use crate::support::skips::skipped;

/// The package's other dependencies are not needed for its client.
const PACKAGES: [&[&str]; 2] = [
    &["--no-deps", "pactown==0.1.173"],
    &["httpx", "schemathesis==4.*"],
];

/// Loads the client's file from the package, as it was published.
const CLIENT: &str = r##"
import asyncio, glob, importlib.util, pathlib, sys, tempfile
path = glob.glob(sys.prefix + "/lib/python3*/site-packages/pactown/registry/client.py")[0]
spec = importlib.util.spec_from_file_location("client", path)
client = importlib.util.module_from_spec(spec)
spec.loader.exec_module(client)
text = "# Api\n\nünï\n"
with client.RegistryClient(sys.argv[1]) as c:
    assert c.health()
    answer = c.publish("api", "1.0.0", readme_content=text, namespace="acme", description="d", tags=["a"], metadata={"k": 1})
    assert answer["success"] and answer["artifact"] == "acme/api", answer
    assert c.publish("api", "1.0.0", readme_content=text, namespace="acme")["success"]
    refused = c.publish("api", "1.0.0", readme_content="other", namespace="acme")
    assert not refused["success"] and "409" in refused["error"], refused
    assert c.get_readme("api", namespace="acme") == text
    assert c.get_version("api", "1.0.0", "acme")["metadata"] == {"k": 1}
    assert c.get_artifact("api", "acme")["versions"] == ["1.0.0"]
    assert c.get_artifact("nobody") is None and c.get_version("api", "9.9.9", "acme") is None
    assert [a["name"] for a in c.list_artifacts("acme", "AP")] == ["api"]
    assert c.list_namespaces() == ["acme"]
    place = pathlib.Path(tempfile.mkdtemp()) / "README.md"
    assert c.pull("api", "latest", "acme", place) == text and place.read_text() == text
    assert not c.delete("api", "acme"), "deleting is for administrators"
async def other():
    async with client.AsyncRegistryClient(sys.argv[1]) as c:
        assert await c.health()
asyncio.run(other())
"##;

#[test]
fn clients_and_testers_of_others_find_nothing_wrong() {
    if std::env::var_os("PACTOWN_LONG_TESTS").is_none() {
        skipped("clients and testers of others", "PACTOWN_LONG_TESTS is not set");
        return;
    }
    let folder = Folder::new("outside");
    let environment = folder.path().join("venv");
    succeeds(Command::new("python3").args(["-m", "venv"]).arg(&environment));
    for packages in PACKAGES {
        succeeds(
            Command::new(environment.join("bin/pip"))
                .args(["install", "-q"])
                .args(packages),
        );
    }
    let store = folder.path().join("store");
    let server = Server::start(&store, &["--anonymous", "publish"]);
    succeeds(Command::new(environment.join("bin/python")).args(["-c", CLIENT, &server.url()]));
    schemathesis(&environment, &store, &server);
}

fn schemathesis(environment: &Path, store: &Path, server: &Server) {
    let store = store.to_str().expect("UTF-8");
    let (secret, _) = ends(
        0,
        &mut pactown(
            Path::new("/"),
            &["registry", "token", "create", "--scope", "admin", "-r", store],
        ),
    );
    let document = format!("{}/openapi.json", server.url());
    let header = format!("Authorization: Bearer {}", secret.trim());
    succeeds(
        Command::new(environment.join("bin/st"))
            .args(["run", &document, "--checks", "all", "-n", "200", "-H", &header])
            .current_dir(environment),
    );
}

#[track_caller]
fn succeeds(command: &mut Command) {
    let output = command.output().expect("a program");
    assert!(
        output.status.success(),
        "{command:?}\n{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}
