//! A compose file (compose-spec) as an ecosystem: names, ports, environment, order, checks, limits and volumes are taken over;
//! what has no counterpart is named. Pure.

mod forms;
mod service;

use indexmap::IndexMap;
use serde_json::{Map, Value};

use super::draft::Draft;
use super::{Dropped, Imported, label};

/// The ecosystem of the compose file in `text`, which was read from the file `name`.
///
/// # Errors
/// It is no YAML, or has no services: why.
pub fn import(ecosystem: Option<&str>, name: &str, text: &str) -> Result<Imported, String> {
    let options = serde_yaml::options! {
        duplicate_keys: serde_yaml::options::DuplicateKeyPolicy::Error,
    };
    let file: Value = serde_yaml::from_str_with_options(text, options).map_err(|error| error.to_string())?;
    let services = file["services"]
        .as_object()
        .filter(|services| !services.is_empty());
    let services = services.ok_or("it has no services")?;
    let named = ecosystem.or(file["name"].as_str());
    let mut imported = Imported {
        draft: Draft {
            head: vec![
                format!("Imported from `{name}` by `pactown import`."),
                "Services run from their READMEs, on the host's programs, not from images.".to_owned(),
            ],
            name: label(named.unwrap_or("imported")),
            base_port: None,
            services: IndexMap::new(),
        },
        readmes: Vec::new(),
        dropped: top(&file),
    };
    let jobs = jobs(services);
    for (key, value) in services {
        let empty = Map::new();
        let context = service::Context {
            file: name,
            name: label(key),
            is_job: jobs.contains(key),
            keys: value.as_object().unwrap_or(&empty),
        };
        if context.name != *key {
            imported.dropped.push(Dropped {
                service: Some(context.name.clone()),
                key: key.clone(),
                why: "its name is a DNS label here".to_owned(),
            });
        }
        let made = service::import(&context);
        imported
            .readmes
            .push((format!("{}/README.md", context.name), made.readme));
        imported.dropped.extend(made.dropped);
        imported.draft.services.insert(context.name, made.entries);
    }
    Ok(imported)
}

/// Services that others wait for the end of.
fn jobs(services: &Map<String, Value>) -> Vec<String> {
    let needs = services
        .values()
        .filter_map(|service| service["depends_on"].as_object());
    let ends = needs.flatten().filter(|(_, need)| {
        need["condition"]
            .as_str()
            .is_some_and(|condition| condition == "service_completed_successfully")
    });
    ends.map(|(name, _)| name.clone()).collect()
}

/// What stands beside the services.
fn top(file: &Value) -> Vec<Dropped> {
    let keys = file
        .as_object()
        .into_iter()
        .flatten()
        .map(|(key, _)| key.as_str());
    let why = |key: &str| match key {
        // Named volumes are made where services name them.
        "name" | "services" | "version" | "volumes" => None,
        "networks" => Some("a service reaches what it depends on, and nothing else"),
        "secrets" => Some("write secrets: with file:, environment: or command: (docs/configuration.md)"),
        "configs" => Some("put the text into file blocks of the README, or bind it with mounts:"),
        "include" => Some("import each file on its own"),
        _ if key.starts_with("x-") => None,
        _ => Some("it is not known here"),
    };
    let dropped = keys.filter_map(|key| Some((key, why(key)?)));
    dropped
        .map(|(key, why)| Dropped {
            service: None,
            key: key.to_owned(),
            why: why.to_owned(),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::ecosystem::Condition;

    const FILE: &str = r#"
name: Shop
x-common: &common
  restart: unless-stopped
services:
  db:
    <<: *common
    image: postgres:16
    environment: {POSTGRES_PASSWORD: "${DB_PASSWORD:-dev}", TRUST: true, FROM_CALLER: null}
    volumes: ["data:/var/lib/data", "./init:/init:ro", "/anonymous"]
    healthcheck: {test: ["CMD-SHELL", "test -f /tmp/$$READY"], interval: 1m30s, timeout: 3s, retries: 5, start_period: 10s}
  migrate:
    build: .
    command: ["./migrate", "--to", "the end"]
    depends_on: {db: {condition: service_healthy}}
  web_app:
    build: {context: .}
    command: gunicorn app:app
    working_dir: /code
    ports: ["8080:80", {target: 53, published: "5353", protocol: udp}, "9000-9001:9000-9001"]
    environment: ["MODE=a b", HOME_TOWN]
    depends_on:
      migrate: {condition: service_completed_successfully}
      db: {condition: service_started, required: false}
    deploy: {replicas: 2, resources: {limits: {memory: 256M, cpus: "0.5", pids: 50}}}
    stop_grace_period: 1m
    stop_signal: SIGINT
    networks: [front]
    privileged: true
networks: {front: {}}
volumes: {data: {}}
"#;

    fn imported() -> (Imported, crate::config::Ecosystem) {
        let imported = import(None, "compose.yaml", FILE).unwrap();
        let yaml = imported.draft.render();
        let loaded = crate::config::parse(Path::new("/p/saas.pactown.yaml"), &yaml, &IndexMap::new());
        let ecosystem = loaded
            .unwrap_or_else(|problems| panic!("{problems:?}\n{yaml}"))
            .ecosystem;
        (imported, ecosystem)
    }

    #[test]
    fn what_has_a_counterpart_is_taken_over() {
        let (imported, ecosystem) = imported();
        assert_eq!(ecosystem.name, "shop");
        let db = &ecosystem.services["db"];
        assert_eq!(db.env["POSTGRES_PASSWORD"], "dev");
        assert_eq!(db.env["TRUST"], "true");
        assert_eq!(db.env_passthrough, ["FROM_CALLER"]);
        assert_eq!(db.volumes.len(), 2);
        assert_eq!(
            (db.mounts[0].target.as_str(), db.mounts[0].writable),
            ("/init", false)
        );
        let health = db.health.as_ref().unwrap();
        assert_eq!((health.interval.as_secs(), health.retries), (90, 5));
        assert_eq!(db.port, 5432, "guessed by its image");
        let web = &ecosystem.services["web-app"];
        assert_eq!((web.port, web.ports.len(), web.replicas), (80, 4, Some(2)));
        let conditions: Vec<_> = web
            .depends_on
            .iter()
            .map(|need| (need.condition, need.required))
            .collect();
        assert_eq!(
            conditions,
            [
                (Some(Condition::Completed), true),
                (Some(Condition::Started), false)
            ]
        );
        assert_eq!((web.limits.memory, web.limits.pids), (Some(256 << 20), Some(50)));
        assert_eq!((web.stop_grace.as_secs(), web.stop_signal), (60, 2));
        let readme = |name: &str| {
            let (path, text) = imported
                .readmes
                .iter()
                .find(|(path, _)| path.starts_with(name))
                .unwrap();
            crate::markpact::parse(Path::new(path), text).unwrap()
        };
        assert_eq!(
            readme("web-app").run.unwrap().command.trim(),
            "cd /code\nexec gunicorn app:app"
        );
        assert_eq!(
            readme("migrate").run.unwrap().command.trim(),
            "exec ./migrate --to 'the end'"
        );
        assert_eq!(
            readme("migrate").workload.kind,
            crate::markpact::recipe::WorkloadKind::Job
        );
        assert!(
            readme("db").run.unwrap().command.contains("exit 78"),
            "it has no command of its own"
        );
    }

    #[test]
    fn what_has_none_is_named() {
        let (imported, _) = imported();
        let told: Vec<String> = imported
            .dropped
            .iter()
            .map(|one| format!("{} {}", one.service.as_deref().unwrap_or("-"), one.key))
            .collect();
        for line in [
            "- networks",
            "db image",
            "db command",
            "web-app networks",
            "web-app privileged",
            "web-app build",
        ] {
            assert!(told.contains(&line.to_owned()), "{line}: {told:?}");
        }
        assert!(
            !told
                .iter()
                .any(|line| line.contains("x-common") || line.contains("version")),
            "{told:?}"
        );
    }

    #[test]
    fn what_is_no_compose_file_is_told() {
        assert_eq!(import(None, "c", "a: 1").unwrap_err(), "it has no services");
        assert!(import(None, "c", "a: [").is_err());
        assert!(import(None, "c", "a: 1\na: 2").is_err());
    }
}
