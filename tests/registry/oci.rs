//! READMEs in an OCI registry: Debian's `docker-registry`, asked by hand too, and one that lies.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::registry::{Answer, Folder, ends, get, pactown, sha256};

const README: &str = "# Greeter\n\nSays hello.\n\n```sh markpact:run\nexec sleep 1000\n```\n";

/// `ann` with the password `s3:cret`, as bcrypt.
const USERS: &str = "ann:$2y$05$abcdefghijklmnopqrstuurbSequnG1gzxxhK4UV/3MoClne322iS\n";

/// A running `docker-registry`.
pub(super) struct OciRegistry {
    child: Child,
    pub(super) host: String,
    storage: PathBuf,
}

impl OciRegistry {
    pub(super) fn start(folder: &Path, auth: &str) -> Self {
        // Free a moment ago; nobody else on this machine of its own takes ports.
        let port = TcpListener::bind("127.0.0.1:0")
            .and_then(|listener| listener.local_addr())
            .expect("a free port")
            .port();
        let (host, storage) = (format!("127.0.0.1:{port}"), folder.join("oci"));
        let config = format!(
            "version: 0.1\nlog: {{level: error}}\nstorage:\n  filesystem: {{rootdirectory: {}}}\nhttp: {{addr: '{host}'}}\n{auth}",
            storage.display()
        );
        let file = folder.join("registry.yml");
        fs::write(&file, config).expect("a file");
        let child = Command::new("docker-registry")
            .arg("serve")
            .arg(&file)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("docker-registry, of the package of that name");
        let registry = Self { child, host, storage };
        let deadline = Instant::now() + Duration::from_secs(20);
        while TcpStream::connect(&registry.host).is_err() {
            assert!(Instant::now() < deadline, "docker-registry does not listen");
            std::thread::sleep(Duration::from_millis(20));
        }
        registry
    }

    /// As somebody without this program asks.
    pub(super) fn get(&self, path: &str, accept: &str) -> Answer {
        let address = self.host.parse().expect("an address");
        get(address, path, &[&format!("Accept: {accept}")])
    }

    pub(super) fn manifest(&self, repository: &str, reference: &str) -> Answer {
        let kind = "application/vnd.oci.image.manifest.v1+json";
        self.get(&format!("/v2/{repository}/manifests/{reference}"), kind)
    }

    /// The file in which it stores a content.
    pub(super) fn blob(&self, digits: &str) -> PathBuf {
        let blobs = self.storage.join("docker/registry/v2/blobs/sha256");
        blobs.join(&digits[..2]).join(digits).join("data")
    }
}

impl Drop for OciRegistry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn readme(home: &Path) -> String {
    fs::write(home.join("greeter.md"), README).expect("a file");
    sha256(README.as_bytes())
}

#[test]
fn a_readme_goes_to_a_repository_and_comes_back() {
    let folder = Folder::new("oci");
    let home = folder.path();
    let digits = readme(home);
    let registry = OciRegistry::start(home, "");
    let repository = format!("oci://{}/acme/greeter", registry.host);
    let published = |version: &str| format!("{repository}:{version}");
    let (out, _) = ends(
        0,
        &mut pactown(home, &["publish", "greeter.md", &published("1.0.0")]),
    );
    assert!(
        out.starts_with(&format!("published acme/greeter@1.0.0 sha256:{digits}")),
        "{out}"
    );
    ends(
        0,
        &mut pactown(
            home,
            &["publish", "greeter.md", &repository, "--version", "1.2.0"],
        ),
    );
    ends(
        0,
        &mut pactown(home, &["publish", "greeter.md", &published("2.0.0-rc.1")]),
    );

    // What others see: the field's own media types, every content under its digest.
    let answer = registry.manifest("acme/greeter", "1.0.0");
    let digest = format!("sha256:{}", sha256(&answer.body));
    assert!(out.contains(&format!("manifest {digest}")), "{out}");
    let manifest = answer.json();
    assert_eq!(manifest["artifactType"], "application/vnd.pactown.readme.v1");
    let layer = &manifest["layers"][0];
    assert_eq!(layer["digest"], format!("sha256:{digits}"));
    assert_eq!(layer["mediaType"], "text/markdown");
    assert_eq!(
        layer["annotations"]["org.opencontainers.image.title"],
        "README.md"
    );
    let blob = registry.get(&format!("/v2/acme/greeter/blobs/sha256:{digits}"), "*/*");
    assert_eq!(blob.body, README.as_bytes());

    for (reference, version) in [
        (repository.clone(), "1.2.0"),
        (published("1.0.0"), "1.0.0"),
        (format!("{repository}@^1"), "1.2.0"),
        (format!("{repository}@~1.0"), "1.0.0"),
        (format!("{repository}@2.0.0-rc.1"), "2.0.0-rc.1"),
        (format!("{repository}@{digest}"), "1.0.0"),
    ] {
        let (out, _) = ends(
            0,
            &mut pactown(home, &["pull", "-o", version, &reference, "--json"]),
        );
        let found: Value = serde_json::from_str(&out).expect("JSON");
        assert_eq!(found[0]["version"], version, "{reference}");
        assert_eq!(found[0]["sha256"], digits);
        let text = fs::read_to_string(home.join(version).join("greeter/README.md")).expect("a README");
        assert_eq!(text, README, "{reference}");
    }
    for missing in [
        format!("{repository}@^3"),
        format!("{repository}:edge"),
        format!("{repository}x"),
        format!("{repository}@sha256:{}", "0".repeat(64)),
    ] {
        let (_, err) = ends(1, &mut pactown(home, &["pull", "-o", "none", &missing]));
        assert!(err.contains("not found"), "{err}");
    }
    assert!(!home.join("none").exists());
}

#[test]
fn it_is_a_registry_like_others() {
    let folder = Folder::new("oci-named");
    let home = folder.path();
    readme(home);
    let registry = OciRegistry::start(home, "");
    let below = format!("oci://{}/team", registry.host);
    let yaml = format!(
        "name: town\nversion: 1.2.0\nregistry: {{url: '{below}', namespace: acme}}\nservices:\n  greeter: {{readme: greeter.md}}\n"
    );
    fs::write(home.join("saas.pactown.yaml"), yaml).expect("a file");
    let (out, _) = ends(0, &mut pactown(home, &["publish"]));
    assert!(out.contains("published acme/greeter@1.2.0"), "{out}");
    assert_eq!(registry.manifest("team/acme/greeter", "1.2.0").status, 200);

    // Versions never change here either, and the same again is no change.
    let before = registry.manifest("team/acme/greeter", "1.2.0").body;
    ends(0, &mut pactown(home, &["publish"]));
    assert_eq!(registry.manifest("team/acme/greeter", "1.2.0").body, before);
    fs::write(home.join("greeter.md"), README.replace("hello", "bye")).expect("a file");
    let (_, err) = ends(1, &mut pactown(home, &["publish"]));
    assert!(err.contains("never change"), "{err}");
    assert_eq!(registry.manifest("team/acme/greeter", "1.2.0").body, before);

    ends(
        0,
        &mut pactown(
            home,
            &[
                "pull",
                "greeter@^1",
                "-r",
                &below,
                "--namespace",
                "acme",
                "-o",
                "p",
            ],
        ),
    );
    let text = fs::read_to_string(home.join("p/greeter/README.md")).expect("a README");
    assert_eq!(text, README);
    let (out, _) = ends(
        0,
        &mut pactown(home, &["registry", "versions", "acme/greeter", "--json"]),
    );
    let rows: Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!(rows[0]["checksum"], sha256(README.as_bytes()));
    let (out, _) = ends(0, &mut pactown(home, &["registry", "info", "acme/greeter"]));
    assert!(out.contains("Greeter") && out.contains("1.2.0"), "{out}");
    let (_, err) = ends(1, &mut pactown(home, &["registry", "search", "greeter"]));
    assert!(err.contains("OCI registry"), "{err}");
}

#[test]
fn a_changed_content_is_refused() {
    let folder = Folder::new("oci-damage");
    let home = folder.path();
    let digits = readme(home);
    let registry = OciRegistry::start(home, "");
    let address = format!("oci://{}/acme/greeter:1.0.0", registry.host);
    ends(0, &mut pactown(home, &["publish", "greeter.md", &address]));
    let flip = |file: &Path| {
        let whole = fs::read(file).expect("a content");
        let mut bytes = whole.clone();
        let last = bytes.len() - 2;
        bytes[last] ^= 1;
        fs::write(file, &bytes).expect("a content");
        whole
    };
    let manifest = registry.manifest("acme/greeter", "1.0.0");
    let config = manifest.json()["config"]["digest"].as_str().expect("a digest")[7..].to_owned();
    for digits in [digits, config] {
        let file = registry.blob(&digits);
        let whole = flip(&file);
        let (_, err) = ends(1, &mut pactown(home, &["pull", "-o", "p", &address]));
        assert!(
            err.contains("checksum mismatch") || err.contains("status 5"),
            "{err}"
        );
        assert!(!home.join("p").exists(), "nothing was written");
        fs::write(&file, whole).expect("a content");
    }
    ends(0, &mut pactown(home, &["pull", "-o", "p", &address]));

    // This registry looks at its manifests; another one might not.
    let (host, _) = fake(|_, _, _| ("200 OK", String::new(), "{}"));
    let pinned = format!("oci://{host}/acme/greeter@sha256:{}", "0".repeat(64));
    let (_, err) = ends(1, &mut pactown(home, &["pull", "-o", "q", &pinned]));
    assert!(err.contains("checksum mismatch: the manifest"), "{err}");
}

#[test]
fn who_asks_is_proved_by_a_login_of_ours_or_of_dockers() {
    let folder = Folder::new("oci-login");
    let home = folder.path();
    readme(home);
    fs::write(home.join("users"), USERS).expect("a file");
    let auth = format!(
        "auth:\n  htpasswd: {{realm: town, path: {}}}\n",
        home.join("users").display()
    );
    let registry = OciRegistry::start(home, &auth);
    let address = format!("oci://{}/acme/greeter:1.0.0", registry.host);
    let publish = || pactown(home, &["publish", "greeter.md", &address]);
    let (_, err) = ends(3, &mut publish());
    assert!(
        err.contains("UNAUTHORIZED") && err.contains("registry login"),
        "{err}"
    );

    let url = format!("oci://{}", registry.host);
    let login = |secret: &str| {
        let mut command = pactown(home, &["registry", "login", &url, "-u", "ann"]);
        command.env("PACTOWN_REGISTRY_TOKEN", secret);
        command
    };
    ends(3, &mut login("wrong"));
    assert!(!home.join("config/pactown/registry.json").exists());
    ends(0, &mut login("s3:cret"));
    ends(0, &mut publish());
    ends(0, &mut pactown(home, &["registry", "logout", &url]));
    ends(3, &mut pactown(home, &["pull", &address]));

    fs::create_dir(home.join(".docker")).expect("a folder");
    // base64 of ann:s3:cret.
    let docker = json!({"auths": {&registry.host: {"auth": "YW5uOnMzOmNyZXQ="}}});
    fs::write(home.join(".docker/config.json"), docker.to_string()).expect("a file");
    ends(0, &mut pactown(home, &["pull", &address]));
    assert_eq!(
        fs::read_to_string(home.join("greeter/README.md")).expect("a README"),
        README
    );
}

#[test]
fn a_token_is_got_from_whom_the_registry_names() {
    let folder = Folder::new("oci-token");
    let home = folder.path();
    let (host, seen) = fake(|host, line, authorization| match authorization {
        _ if line.starts_with("GET /token") => {
            let right = authorization == Some("Basic YW5uOnMzOmNyZXQ=");
            (
                if right { "200 OK" } else { "401 Unauthorized" },
                String::new(),
                r#"{"token": "T1"}"#,
            )
        }
        Some("Bearer T1") => ("404 Not Found", String::new(), "{}"),
        _ => (
            "401 Unauthorized",
            format!(
                "WWW-Authenticate: Bearer realm=\"http://{host}/token\",service=\"town\",scope=\"repository:a/b:pull\"\r\n"
            ),
            "{}",
        ),
    });
    let address = format!("oci://{host}/a/b@1.0.0");
    let mut pull = pactown(home, &["pull", &address]);
    let (_, err) = ends(1, pull.env("PACTOWN_REGISTRY_TOKEN", "ann:s3:cret"));
    assert!(err.contains("not found"), "{err}");
    let seen = seen.lock().expect("what was asked").clone();
    assert_eq!(
        seen[1],
        "GET /token?service=town&scope=repository%3Aa%2Fb%3Apull HTTP/1.1"
    );
    // Nobody is sent a login who is not private.
    let (host, seen) = fake(|_, _, _| {
        let header = "WWW-Authenticate: Bearer realm=\"http://192.0.2.1/token\"\r\n";
        ("401 Unauthorized", header.to_owned(), "{}")
    });
    let address = format!("oci://{host}/a/b@1.0.0");
    let mut pull = pactown(home, &["pull", &address]);
    let (_, err) = ends(1, pull.env("PACTOWN_REGISTRY_TOKEN", "ann:s3:cret"));
    assert!(err.contains("not private"), "{err}");
    assert_eq!(seen.lock().expect("what was asked").len(), 1);
}

#[test]
fn a_registry_elsewhere_is_reached_over_tls_only() {
    let folder = Folder::new("oci-plain");
    let home = folder.path();
    let mut told = pactown(home, &["pull", "--plain-http", "oci://192.0.2.1:5000/a/b"]);
    let (_, err) = ends(1, told.env("PACTOWN_REGISTRY_TOKEN", "ann:s3:cret"));
    assert!(err.contains("in the clear"), "{err}");
    for bad in [
        "oci://",
        "oci://h/A",
        "oci://h/a:1:2",
        "oci://h/a@sha256:0",
        "oci://h/a--b",
    ] {
        let (_, err) = ends(2, &mut pactown(home, &["pull", bad]));
        assert!(err.contains("error:"), "{err}");
    }
}

type Seen = Arc<Mutex<Vec<String>>>;

/// A server that answers as `answer` says: status, headers and body for a request's first line and its authorization.
fn fake(
    answer: impl Fn(&str, &str, Option<&str>) -> (&'static str, String, &'static str) + Send + 'static,
) -> (String, Seen) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let host = listener.local_addr().expect("an address").to_string();
    let seen = Seen::default();
    let (own, notes) = (host.clone(), Arc::clone(&seen));
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.expect("a connection");
            let lines = BufReader::new(stream.try_clone().expect("the same")).lines();
            let head: Vec<String> = lines
                .map_while(Result::ok)
                .take_while(|line| !line.is_empty())
                .collect();
            let Some(line) = head.first() else { continue };
            notes.lock().expect("notes").push(line.clone());
            let authorization = head.iter().find_map(|line| {
                let (name, value) = line.split_once(": ")?;
                name.eq_ignore_ascii_case("authorization").then_some(value)
            });
            let (status, headers, body) = answer(&own, line, authorization);
            let length = body.len();
            let _ = write!(
                stream,
                "HTTP/1.1 {status}\r\n{headers}Content-Length: {length}\r\nConnection: close\r\n\r\n{body}"
            );
        }
    });
    (host, seen)
}
