//! Over TLS, with certificates made for the test by OpenSSL; curl is the witness.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::support::registry::{Folder, Server, ends, pactown};

/// An authority `ca.pem`, and by it `NAME.pem` for `subject`.
fn certificates(home: &Path, name: &str, subject: &str) {
    let openssl = |arguments: &[&str]| {
        let status = Command::new("openssl")
            .args(arguments)
            .current_dir(home)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        assert!(status.expect("openssl").success(), "{arguments:?}");
    };
    let key = [
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:prime256v1",
        "-nodes",
    ];
    if !home.join("ca.pem").exists() {
        let mut authority = vec!["req", "-x509"];
        authority.extend(key);
        authority.extend([
            "-keyout", "ca.key", "-out", "ca.pem", "-days", "2", "-subj", "/CN=town",
        ]);
        openssl(&authority);
    }
    let (own, request, out) = (
        format!("{name}.key"),
        format!("{name}.csr"),
        format!("{name}.pem"),
    );
    let mut wish = vec!["req"];
    wish.extend(key);
    wish.extend(["-keyout", &own, "-out", &request, "-subj", "/CN=server"]);
    openssl(&wish);
    fs::write(home.join("ext"), format!("subjectAltName={subject}\n")).expect("a file");
    openssl(&[
        "x509",
        "-req",
        "-in",
        &request,
        "-CA",
        "ca.pem",
        "-CAkey",
        "ca.key",
        "-CAcreateserial",
        "-days",
        "2",
        "-extfile",
        "ext",
        "-out",
        &out,
    ]);
}

fn serve(home: &Path, name: &str) -> Server {
    let (certificate, key) = (home.join(format!("{name}.pem")), home.join(format!("{name}.key")));
    let text = |path: &Path| path.to_str().expect("UTF-8").to_owned();
    Server::start(
        &home.join("store"),
        &[
            "--anonymous",
            "publish",
            "--tls-cert",
            &text(&certificate),
            "--tls-key",
            &text(&key),
        ],
    )
}

#[test]
fn a_server_is_trusted_by_its_certificate_only() {
    let folder = Folder::new("tls");
    let home = folder.path();
    fs::create_dir(home.join("store")).expect("a folder");
    fs::write(home.join("a.md"), "# A\n\n```sh markpact:run\ntrue\n```\n").expect("a file");
    certificates(home, "right", "IP:127.0.0.1");
    certificates(home, "wrong", "DNS:other.test");
    let server = serve(home, "right");
    let url = format!("https://{}", server.address);
    let publish = |url: &str| {
        pactown(
            home,
            &["publish", "a.md", "--name", "a", "--version", "1.0.0", "-r", url],
        )
    };
    // Nobody knows the authority.
    let (_, err) = ends(1, &mut publish(&url));
    assert!(err.contains("certificate"), "{err}");
    ends(0, publish(&url).env("SSL_CERT_FILE", home.join("ca.pem")));
    ends(
        0,
        pactown(home, &["pull", "a", "-r", &url]).env("SSL_CERT_FILE", home.join("ca.pem")),
    );
    assert!(home.join("a/README.md").exists());
    let seen = Command::new("curl")
        .args([
            "-sS",
            "--cacert",
            "ca.pem",
            &format!("{url}/v1/artifacts/default/a/1.0.0/readme"),
        ])
        .current_dir(home)
        .output()
        .expect("curl");
    assert!(String::from_utf8_lossy(&seen.stdout).contains("# A"), "{seen:?}");
    // In the clear it says nothing.
    let plain = server.try_send("GET", "/health", &[], None);
    assert!(plain.map_or(true, |answer| answer.status == 400));

    let other = serve(home, "wrong");
    let url = format!("https://{}", other.address);
    let (_, err) = ends(1, publish(&url).env("SSL_CERT_FILE", home.join("ca.pem")));
    assert!(err.contains("certificate"), "{err}");
    let (_, err) = ends(1, publish(&url).env("SSL_CERT_FILE", home.join("a.md")));
    assert!(err.contains("no certificate in PEM form"), "{err}");
}
