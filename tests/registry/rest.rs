//! The REST interface: the shapes that clients of the older tool read, and what is new.

use serde_json::json;

use crate::support::registry::{Folder, Server, sha256};

const README: &str = "# Api\n\nSays hello to ünïcode.\n\n```sh markpact:run\nexec sleep 1000\n```\n";

fn server(name: &str) -> (Folder, Server) {
    let folder = Folder::new(name);
    let server = Server::start(folder.path(), &["--anonymous", "publish"]);
    (folder, server)
}

#[test]
fn requests_and_answers_are_those_of_the_older_tool() {
    let (_folder, server) = server("shapes");
    let health = server.get("/health");
    assert_eq!(health.body, br#"{"status":"ok","service":"pactown-registry"}"#);
    let body = json!({
        "name": "api", "version": "1.0.0", "readme_content": README, "namespace": "acme",
        "description": "An API", "tags": ["http", "demo"], "metadata": {"k": [1]},
    });
    let published = server.send("POST", "/v1/publish", &[], Some(&body));
    let checksum = sha256(README.as_bytes());
    let wanted = json!({"success": true, "artifact": "acme/api", "version": "1.0.0", "checksum": checksum});
    assert_eq!((published.status, published.json()), (200, wanted.clone()));
    assert_eq!(
        server.send("POST", "/v1/publish", &[], Some(&body)).json(),
        wanted,
        "again"
    );
    let artifact = json!({
        "name": "api", "namespace": "acme", "description": "An API", "latest_version": "1.0.0",
        "versions": ["1.0.0"], "tags": ["http", "demo"],
    });
    assert_eq!(server.get("/v1/artifacts").json(), json!([artifact]));
    assert_eq!(server.get("/v1/artifacts/acme/api").json(), artifact);
    for version in ["1.0.0", "latest", "*", "%5E1"] {
        let answer = server.get(&format!("/v1/artifacts/acme/api/{version}")).json();
        let keys: Vec<&String> = answer.as_object().expect("an object").keys().collect();
        assert_eq!(
            keys,
            [
                "version",
                "readme_content",
                "checksum",
                "published_at",
                "metadata"
            ]
        );
        assert_eq!(
            (&answer["readme_content"], &answer["checksum"]),
            (&json!(README), &json!(checksum))
        );
        assert_eq!(answer["metadata"], json!({"k": [1]}));
        assert!(answer["published_at"].as_str().expect("text").ends_with("+00:00"));
        let readme = server.get(&format!("/v1/artifacts/acme/api/{version}/readme"));
        assert_eq!(readme.json(), json!({"content": README}));
    }
    assert_eq!(
        server.get("/v1/namespaces").json(),
        json!({"namespaces": ["acme"]})
    );
    for (path, detail) in [
        ("/v1/artifacts/acme/none", "Artifact not found"),
        ("/v1/artifacts/none/api/1.0.0", "Artifact not found"),
        ("/v1/artifacts/acme/api/2.0.0", "Version not found"),
        ("/v1/artifacts/acme/api/nonsense", "Version not found"),
        ("/v1/artifacts/acme/..%2f..%2fetc", "Artifact not found"),
        ("/nowhere", "Not Found"),
    ] {
        let answer = server.get(path);
        assert_eq!(
            (answer.status, answer.json()),
            (404, json!({"detail": detail})),
            "{path}"
        );
    }
    let wrong = server.send(
        "POST",
        "/v1/publish",
        &[],
        Some(&json!({"name": 5, "version": "1.0.0"})),
    );
    assert_eq!(wrong.status, 422);
    let wrong = wrong.json();
    let detail = wrong["detail"].as_array().expect("a list");
    assert_eq!(
        detail[0],
        json!({"type": "string_type", "loc": ["body", "name"], "msg": "Input should be a valid string"})
    );
    assert_eq!(
        detail[1],
        json!({"type": "missing", "loc": ["body", "readme_content"], "msg": "Field required"})
    );
}

#[test]
fn lists_are_searched_and_paged() {
    let (_folder, server) = server("lists");
    for number in 0..25 {
        let body = json!({
            "name": format!("svc-{number:02}"), "version": "1.0.0", "namespace": if number < 20 { "acme" } else { "beta" },
            "readme_content": format!("# Number {number}\n\nA zebra{number} lives here."),
            "description": if number == 7 { "Payment gateway" } else { "Plain" },
        });
        assert_eq!(server.send("POST", "/v1/publish", &[], Some(&body)).status, 200);
    }
    let names = |path: &str| -> Vec<String> {
        let list = server.get(path).json();
        list.as_array()
            .expect("a list")
            .iter()
            .map(|row| row["name"].as_str().expect("a name").to_owned())
            .collect()
    };
    assert_eq!(names("/v1/artifacts?search=zebra13"), ["svc-13"], "the README");
    assert_eq!(
        names("/v1/artifacts?search=Gateway"),
        ["svc-07"],
        "the description"
    );
    assert_eq!(names("/v1/artifacts?search=vc-0").len(), 10, "part of a name");
    assert_eq!(names("/v1/artifacts?search=24"), ["svc-24"], "a short part");
    assert_eq!(
        names("/v1/artifacts?search=svc&namespace=beta").len(),
        5,
        "within a namespace"
    );
    assert!(names("/v1/artifacts?search=nothing%22%29OR%20%2A").is_empty());
    let mut path = "/v1/artifacts?limit=10&search=svc".to_owned();
    let mut seen = Vec::new();
    loop {
        let page = names(&path);
        assert!(page.len() <= 10);
        seen.extend(page);
        match server.get(&path).header("link").map(ToOwned::to_owned) {
            Some(link) => path = link.split(['<', '>']).nth(1).expect("a target").to_owned(),
            None => break,
        }
    }
    let all: Vec<String> = (0..25).map(|number| format!("svc-{number:02}")).collect();
    assert_eq!(seen, all, "each once");
}

#[test]
fn what_is_known_is_not_sent_again_and_what_is_long_is_compressed() {
    let (_folder, server) = server("cache");
    let readme = format!("# Long\n\n{}", "words and words\n".repeat(500));
    server.publish("long", "1.0.0", &readme);
    let path = "/v1/artifacts/default/long/1.0.0/readme";
    let whole = server.get(path);
    let tag = whole.header("etag").expect("a tag").to_owned();
    let again = server.send("GET", path, &[&format!("If-None-Match: {tag}")], None);
    assert_eq!((again.status, again.body.len()), (304, 0));
    let packed = server.send("GET", path, &["Accept-Encoding: gzip"], None);
    assert_eq!(packed.header("content-encoding"), Some("gzip"));
    assert!(packed.body.len() < whole.body.len() / 5);
    assert_eq!(packed.header("etag"), Some(tag.as_str()));
    let blob = server.get(&format!("/v1/blobs/sha256:{}", sha256(readme.as_bytes())));
    assert_eq!(blob.body, readme.as_bytes());
    assert!(
        blob.header("content-disposition")
            .is_some_and(|value| value.starts_with("attachment"))
    );
    assert_eq!(
        server.get(&format!("/v1/blobs/sha256:{}", "0".repeat(64))).status,
        404
    );
    let head = server.send("HEAD", path, &[], None);
    assert_eq!((head.status, head.body.len()), (200, 0));
}

#[test]
fn the_document_the_figures_and_the_log_are_there() {
    let folder = Folder::new("ops");
    let server = Server::start(folder.path(), &[]);
    let document = server.get("/openapi.json").json();
    assert_eq!(document["openapi"], "3.1.0");
    assert!(document["paths"]["/v1/publish"]["post"]["requestBody"].is_object());
    assert_eq!(server.get("/ready").status, 200);
    let metrics = server.get("/metrics");
    let text = String::from_utf8_lossy(&metrics.body).into_owned();
    assert!(
        text.contains(r#"pactown_registry_requests_total{method="GET",path="/ready",status="200"} 1"#),
        "{text}"
    );
    assert_eq!(server.send("PATCH", "/health", &[], None).status, 405);
}

#[test]
fn a_page_shows_what_there_is() {
    let (_folder, server) = server("pages");
    let hostile = "# Hi\n\n<script>alert(1)</script>\n\n[x](javascript:alert(1)) ![i](http://e.test/p.png)\n\n**bold**\n";
    let body = json!({"name": "page", "version": "1.0.0", "readme_content": hostile, "description": "<b>x</b>\u{202e}"});
    assert_eq!(server.send("POST", "/v1/publish", &[], Some(&body)).status, 200);
    let index = server.get("/");
    let text = String::from_utf8_lossy(&index.body).into_owned();
    assert!(
        text.contains(r#"href="/artifacts/default/page""#) && text.contains("&lt;b&gt;x"),
        "{text}"
    );
    assert!(!text.contains('\u{202e}'));
    let page = server.get("/artifacts/default/page");
    let text = String::from_utf8_lossy(&page.body).into_owned();
    assert!(
        text.contains("<strong>bold</strong>") && text.contains("pactown pull default/page@1.0.0"),
        "{text}"
    );
    assert!(
        !text.contains("<script") && !text.contains("javascript:") && !text.contains("<img"),
        "{text}"
    );
    for answer in [&index, &page] {
        let policy = answer.header("content-security-policy").expect("a policy");
        assert!(
            policy.contains("default-src 'none'") && !policy.contains("unsafe"),
            "{policy}"
        );
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
        assert!(
            answer
                .header("content-type")
                .is_some_and(|kind| kind.starts_with("text/html"))
        );
    }
    assert_eq!(server.get("/artifacts/default/none").status, 404);
    assert!(
        server
            .get("/style.css")
            .header("content-type")
            .is_some_and(|kind| kind.starts_with("text/css"))
    );
}
