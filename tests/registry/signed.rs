//! Who stands for a version: signatures that OpenSSL proves too, and the tests that passed before it was published.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use super::oci::OciRegistry;
use crate::support::registry::{Folder, Server, ends, pactown, sha256};
use crate::support::town::Machine;

const README: &str = "# Greeter\n\n```sh markpact:run\nmkdir -p www && echo hello >www/index.html && cd www && exec python3 -m http.server $MARKPACT_PORT\n```\n\n```text markpact:test\nGET / EXPECT 200\nGET /index.html EXPECT 200\nEXPECT_BODY hello\n```\n";

fn keys(home: &Path) -> String {
    let (out, _) = ends(0, &mut pactown(home, &["registry", "keygen", "k", "--json"]));
    ends(0, &mut pactown(home, &["registry", "keygen", "other"]));
    let told: Value = serde_json::from_str(&out).expect("JSON");
    told["key"].as_str().expect("a key").to_owned()
}

fn publish(home: &Path, arguments: &[&str]) -> Command {
    let mut all = vec!["publish", "greeter.md", "--sign", "k"];
    all.extend(arguments);
    pactown(home, &all)
}

fn pull(home: &Path, key: &str, arguments: &[&str]) -> Command {
    let mut all = vec!["pull", "--force", "-o", "p", "--require-signature", key];
    all.extend(arguments);
    pactown(home, &all)
}

#[test]
fn a_key_is_the_users_alone_and_openssls_too() {
    let folder = Folder::new("keys");
    let home = folder.path();
    let line = keys(home);
    let mode = |name: &str| fs::metadata(home.join(name)).expect("a key").permissions().mode() & 0o777;
    assert_eq!((mode("k"), mode("k.pub")), (0o600, 0o644));
    let derived = Command::new("openssl")
        .args(["pkey", "-pubout", "-in"])
        .arg(home.join("k"))
        .output()
        .expect("openssl");
    let own = fs::read_to_string(home.join("k.pub")).expect("a key");
    assert_eq!(String::from_utf8_lossy(&derived.stdout), own);
    assert!(own.contains(&line), "{own}");
    let before = fs::read(home.join("k")).expect("a key");
    let (_, err) = ends(3, &mut pactown(home, &["registry", "keygen", "k"]));
    assert!(err.contains("another name"), "{err}");
    assert_eq!(fs::read(home.join("k")).expect("a key"), before);
}

#[test]
fn what_is_signed_is_proved_by_this_key_only() {
    let folder = Folder::new("signed");
    let home = folder.path();
    fs::write(home.join("greeter.md"), README).expect("a file");
    let line = keys(home);
    let version = ["--name", "greeter", "--version", "1.0.0"];
    let (out, _) = ends(0, &mut publish(home, &version));
    assert!(out.contains("signed by sha256:"), "{out}");
    let (out, _) = ends(0, &mut pull(home, "k.pub", &["greeter"]));
    assert!(out.contains("signed by sha256:"), "{out}");
    ends(0, &mut pull(home, &line, &["greeter"]));
    fs::remove_dir_all(home.join("p")).expect("pulled");
    let (_, err) = ends(1, &mut pull(home, "other.pub", &["greeter"]));
    assert!(err.contains("no signature by the key"), "{err}");
    ends(2, &mut pull(home, "k", &["greeter"]));

    // OpenSSL proves the same bytes.
    let store = home.join("store");
    fs::create_dir(&store).expect("a folder");
    let server = Server::start(&store, &["--anonymous", "publish"]);
    let url = server.url();
    ends(
        0,
        &mut publish(home, &["--name", "greeter", "--version", "1.0.0", "-r", &url]),
    );
    let told = server.get("/v1/artifacts/default/greeter/1.0.0").json();
    let envelope = &told["metadata"]["signatures"][0];
    openssl_proves(home, envelope);
    let statement = decoded(home, envelope["payload"].as_str().expect("a payload"));
    let statement: Value = serde_json::from_slice(&statement).expect("JSON");
    assert_eq!(statement["subject"][0]["name"], "default/greeter@1.0.0");
    assert_eq!(
        statement["subject"][0]["digest"]["sha256"],
        sha256(README.as_bytes())
    );

    // The signature of one version is none of another, nor of another artifact.
    let text = README.replace("hello", "bye");
    for (name, number, readme) in [
        ("greeter", "2.0.0", README),
        ("greeter", "2.0.1", text.as_str()),
        ("other", "1.0.0", README),
    ] {
        let body =
            json!({"name": name, "version": number, "readme_content": readme, "metadata": told["metadata"]});
        assert_eq!(server.send("POST", "/v1/publish", &[], Some(&body)).status, 200);
        let wanted = format!("{name}@{number}");
        let (_, err) = ends(1, &mut pull(home, "k.pub", &["-r", &url, &wanted]));
        assert!(err.contains("of something else"), "{err}");
    }
    server.publish("plain", "1.0.0", README);
    let (_, err) = ends(1, &mut pull(home, "k.pub", &["-r", &url, "plain"]));
    assert!(err.contains("it has none"), "{err}");
    assert!(!home.join("p").exists(), "nothing was written");
    // What was published without it stays so.
    let (_, err) = ends(
        1,
        &mut publish(home, &["--name", "plain", "--version", "1.0.0", "-r", &url]),
    );
    assert!(err.contains("without this signature"), "{err}");
}

/// By what DSSE says is signed: kind and payload with their lengths.
fn openssl_proves(home: &Path, envelope: &Value) {
    let text = |name: &str| envelope[name].as_str().expect("text").to_owned();
    let payload = decoded(home, &text("payload"));
    let kind = text("payloadType");
    let mut message = format!("DSSEv1 {} {kind} {} ", kind.len(), payload.len()).into_bytes();
    message.extend(payload);
    fs::write(home.join("message"), message).expect("a file");
    let signature = decoded(
        home,
        envelope["signatures"][0]["sig"].as_str().expect("a signature"),
    );
    fs::write(home.join("signature"), signature).expect("a file");
    let proved = Command::new("openssl")
        .args([
            "pkeyutl", "-verify", "-pubin", "-inkey", "k.pub", "-rawin", "-in", "message",
        ])
        .args(["-sigfile", "signature"])
        .current_dir(home)
        .output()
        .expect("openssl");
    assert!(proved.status.success(), "{proved:?}");
}

fn decoded(home: &Path, text: &str) -> Vec<u8> {
    fs::write(home.join("base64"), text).expect("a file");
    let output = Command::new("base64")
        .args(["-d", "base64"])
        .current_dir(home)
        .output()
        .expect("base64");
    assert!(output.status.success(), "{text}");
    output.stdout
}

#[test]
fn in_an_oci_registry_a_signature_is_a_referrer() {
    let folder = Folder::new("signed-oci");
    let home = folder.path();
    fs::write(home.join("greeter.md"), README).expect("a file");
    keys(home);
    let registry = OciRegistry::start(home, "");
    let address = format!("oci://{}/acme/greeter:1.0.0", registry.host);
    ends(0, &mut pactown(home, &["publish", "greeter.md", &address]));
    let (_, err) = ends(1, &mut pull(home, "k.pub", &[&address]));
    assert!(err.contains("it has none"), "{err}");
    // It may come later, and twice is once.
    ends(0, &mut publish(home, &[&address]));
    ends(0, &mut publish(home, &[&address]));
    let subject = sha256(&registry.manifest("acme/greeter", "1.0.0").body);
    let kind = "application/vnd.oci.image.index.v1+json";
    let index = registry.get(&format!("/v2/acme/greeter/manifests/sha256-{subject}"), kind);
    let index = index.json();
    assert_eq!(index["manifests"].as_array().expect("a list").len(), 1, "{index}");
    let referrer = registry.manifest(
        "acme/greeter",
        index["manifests"][0]["digest"].as_str().expect("a digest"),
    );
    let referrer = referrer.json();
    assert_eq!(referrer["subject"]["digest"], format!("sha256:{subject}"));
    assert_eq!(referrer["artifactType"], "application/vnd.dsse.envelope.v1+json");
    ends(0, &mut pull(home, "k.pub", &[&address]));
    fs::remove_dir_all(home.join("p")).expect("pulled");
    let (_, err) = ends(1, &mut pull(home, "other.pub", &[&address]));
    assert!(err.contains("no signature by the key"), "{err}");

    // A changed byte of the envelope.
    let layer = referrer["layers"][0]["digest"].as_str().expect("a digest")[7..].to_owned();
    let file = registry.blob(&layer);
    let mut bytes = fs::read(&file).expect("an envelope");
    bytes[100] ^= 1;
    fs::write(&file, bytes).expect("an envelope");
    let (_, err) = ends(1, &mut pull(home, "k.pub", &[&address]));
    assert!(err.contains("checksum mismatch"), "{err}");
    assert!(!home.join("p").exists(), "nothing was written");
}

#[test]
fn evidence_says_which_tests_passed_and_goes_with_the_version() {
    let machine = Machine::take();
    let folder = Folder::new("evidence");
    let home = folder.path();
    let store = home.join("store");
    fs::create_dir(&store).expect("a folder");
    keys(home);
    let server = Server::start(&store, &["--anonymous", "publish"]);
    let url = server.url();
    let to = ["--test", "--name", "greeter", "--version", "1.0.0", "-r", &url];
    fs::write(
        home.join("greeter.md"),
        README.replace("EXPECT_BODY hello", "EXPECT_BODY bye"),
    )
    .expect("a file");
    ends(1, &mut publish(home, &to));
    assert_eq!(
        server.get("/v1/artifacts/default/greeter").status,
        404,
        "a test failed"
    );
    fs::write(home.join("greeter.md"), README).expect("a file");
    let (out, _) = ends(0, &mut publish(home, &to));
    assert!(out.contains("tests 2 passed, 0 failed, 0 skipped"), "{out}");

    let told = server.get("/v1/artifacts/default/greeter/1.0.0").json();
    let evidence = &told["metadata"]["evidence"];
    assert_eq!(evidence["passed"], 2);
    assert_eq!(
        evidence["readme"],
        format!("sha256:{}", sha256(README.as_bytes()))
    );
    let (out, _) = ends(
        0,
        &mut pactown(home, &["registry", "info", "greeter", "-r", &url]),
    );
    assert!(
        out.contains("2 passed") && out.contains("signed by    sha256:"),
        "{out}"
    );
    let page = server.get("/artifacts/default/greeter").body;
    let page = String::from_utf8(page).expect("UTF-8");
    assert!(page.contains("Tests: 2 passed, 0 failed"), "{page}");
    let (out, _) = ends(0, &mut pull(home, "k.pub", &["-r", &url, "greeter"]));
    assert!(out.contains("tests 2 passed"), "{out}");

    // Evidence of another README is not shown.
    let body = json!({"name": "fake", "version": "1.0.0", "readme_content": "# Other\n", "metadata": told["metadata"]});
    assert_eq!(server.send("POST", "/v1/publish", &[], Some(&body)).status, 200);
    let (out, _) = ends(0, &mut pactown(home, &["registry", "info", "fake", "-r", &url]));
    assert!(!out.contains("passed"), "{out}");
    machine.assert_clean();
}
