//! The environment of a service: every variable with its source. Pure.

use serde::{Deserialize, Serialize};

use crate::config::Ecosystem;
use crate::config::ecosystem::{Dependency, Probe, Service};
use crate::desired::Desired;
use crate::health::notify;
use crate::prepare::Extras;
use crate::roster::Member;
use crate::spec::HOME;

/// One variable, and why it is there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Variable {
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: String,
    /// Where it comes from.
    pub source: Source,
}

/// Where a variable comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "from")]
pub enum Source {
    /// Every sandbox has it.
    Sandbox,
    /// The service's own port or name.
    Service,
    /// Its `health_check` listens to what it says.
    HealthCheck,
    /// A dependency, with its line in the ecosystem file.
    Dependency {
        /// The dependency.
        name: String,
        /// Line of the ecosystem file.
        line: usize,
    },
    /// The caller's environment: locale, terminal and the like.
    Caller,
    /// The caller's environment, because `env_passthrough` names it.
    Passthrough,
    /// What preparation made: a virtual environment, a toolchain.
    Preparation,
    /// `env:` of the service.
    Env,
}

impl std::fmt::Display for Source {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Sandbox => out.write_str("every sandbox"),
            Self::Service => out.write_str("the service's name and port"),
            Self::HealthCheck => out.write_str("health_check: notify"),
            Self::Dependency { name, line } => write!(out, "depends_on {name} (line {line})"),
            Self::Caller => out.write_str("your environment"),
            Self::Passthrough => out.write_str("env_passthrough"),
            Self::Preparation => out.write_str("its dependencies and toolchains"),
            Self::Env => out.write_str("env"),
        }
    }
}

/// Variables of the caller that every service may see: none of them can hold a secret or point to something that is
/// not in the sandbox.
const INHERITED: [&str; 5] = ["LANG", "LANGUAGE", "TERM", "COLORTERM", "TZ"];
/// Variables of the caller that name certificates: taken over when the sandbox has that path.
const CERTIFICATES: [&str; 4] = [
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "REQUESTS_CA_BUNDLE",
    "CURL_CA_BUNDLE",
];
/// Where a sandbox has certificates.
const VISIBLE: [&str; 4] = ["/etc/ssl/", "/etc/pki/", "/etc/ca-certificates/", "/usr/"];
/// PATH behind the directories of dependencies and toolchains.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The whole environment of one sandbox, as names and values.
pub fn environment(desired: &Desired, member: Member, extras: &Extras) -> Vec<(String, String)> {
    variables(desired, member, extras)
        .into_iter()
        .map(|variable| (variable.name, variable.value))
        .collect()
}

/// The whole environment of one sandbox, each name once; a later source wins over an earlier one.
pub fn variables(desired: &Desired, member: Member, extras: &Extras) -> Vec<Variable> {
    let service = member.service;
    let mut list = List(Vec::new());
    list.inherited(desired);
    list.sandbox(extras);
    list.own(desired, service);
    if let Some(number) = member.replica {
        list.set("PACTOWN_REPLICA", number.to_string(), Source::Service);
    }
    list.notify(service);
    for dependency in &service.depends_on {
        list.dependency(&desired.ecosystem, dependency);
    }
    for name in &service.env_passthrough {
        if let Some(value) = desired.caller.env.get(name) {
            list.set(name, value, Source::Passthrough);
        }
    }
    for (name, value) in &service.env {
        list.set(name, value, Source::Env);
    }
    list.0
}

struct List(Vec<Variable>);

impl List {
    fn set(&mut self, name: &str, value: impl Into<String>, source: Source) {
        self.0.retain(|variable| variable.name != name);
        self.0.push(Variable {
            name: name.to_owned(),
            value: value.into(),
            source,
        });
    }

    fn inherited(&mut self, desired: &Desired) {
        for (name, value) in &desired.caller.env {
            let visible = || VISIBLE.iter().any(|place| value.starts_with(place));
            let plain = INHERITED.contains(&name.as_str()) || name.starts_with("LC_");
            if plain || (CERTIFICATES.contains(&name.as_str()) && visible()) {
                self.set(name, value, Source::Caller);
            }
        }
    }

    fn sandbox(&mut self, extras: &Extras) {
        for (name, value) in [
            ("HOME", HOME),
            ("USER", "app"),
            ("LOGNAME", "app"),
            ("SHELL", "/bin/sh"),
            ("HOST", "0.0.0.0"),
        ] {
            self.set(name, value, Source::Sandbox);
        }
        let mut path: Vec<String> = extras
            .path
            .iter()
            .map(|path| path.to_string_lossy().into_owned())
            .collect();
        let source = if path.is_empty() {
            Source::Sandbox
        } else {
            Source::Preparation
        };
        path.push(PATH.to_owned());
        self.set("PATH", path.join(":"), source);
        for (name, value) in &extras.variables {
            self.set(name, value, Source::Preparation);
        }
    }

    fn own(&mut self, desired: &Desired, service: &Service) {
        let port = service.port.to_string();
        for (name, value) in [
            ("PORT", port.clone()),
            ("MARKPACT_PORT", port.clone()),
            ("SERVICE_NAME", service.name.clone()),
            ("SERVICE_URL", format!("http://127.0.0.1:{port}")),
            ("PACTOWN_ECOSYSTEM", desired.ecosystem.name.clone()),
            ("PACTOWN_SERVICE_NAME", service.name.clone()),
        ] {
            self.set(name, value, Source::Service);
        }
    }

    /// What sd_notify(3) and sd_watchdog_enabled(3) look for.
    fn notify(&mut self, service: &Service) {
        let Some(check) = &service.health else { return };
        let Probe::Notify { watchdog } = check.probe else {
            return;
        };
        let socket = format!("{}/{}", notify::INSIDE, notify::NAME);
        self.set("NOTIFY_SOCKET", socket, Source::HealthCheck);
        if watchdog {
            let interval = check.interval.as_micros().to_string();
            self.set("WATCHDOG_USEC", interval, Source::HealthCheck);
        }
    }

    fn dependency(&mut self, ecosystem: &Ecosystem, dependency: &Dependency) {
        let source = || Source::Dependency {
            name: dependency.name.clone(),
            line: dependency.place.line,
        };
        let target = Target::of(ecosystem, dependency);
        let prefix = prefix(&dependency.name);
        self.set(&format!("{prefix}_URL"), &target.url, source());
        if let Some(host) = target.host {
            self.set(&format!("{prefix}_HOST"), host, source());
        }
        if let Some(port) = target.port {
            self.set(&format!("{prefix}_PORT"), port.to_string(), source());
        }
        if let Some(name) = &dependency.env_var {
            self.set(name, target.url, source());
        }
    }
}

/// `db-main` → `DB_MAIN`.
fn prefix(name: &str) -> String {
    name.to_uppercase().replace(['-', '.'], "_")
}

/// Where a dependency is, from the point of view of the one that needs it.
#[derive(Debug, PartialEq, Eq)]
struct Target {
    url: String,
    host: Option<String>,
    port: Option<u16>,
}

impl Target {
    fn of(ecosystem: &Ecosystem, dependency: &Dependency) -> Self {
        let local = ecosystem.services.get(&dependency.name);
        let port = local.map(|service| dependency.port.unwrap_or(service.port));
        match (&dependency.endpoint, local) {
            (None, _) => Self {
                url: format!("http://{}:{}", dependency.name, port.unwrap_or(80)),
                host: Some(dependency.name.clone()),
                port,
            },
            (Some(endpoint), _) => {
                let host = dependency.name.clone();
                let filled = endpoint
                    .replace("{host}", &host)
                    .replace("{port}", &port.unwrap_or(0).to_string());
                Self::at(
                    &renamed(&filled, ecosystem, dependency),
                    local.map(|_| host),
                    port,
                )
            }
        }
    }

    /// The endpoint's own host and port, or those of the service.
    fn at(url: &str, host: Option<String>, port: Option<u16>) -> Self {
        let authority = Authority::of(url);
        let own = authority.as_ref().map(|authority| authority.host.clone());
        Self {
            url: url.to_owned(),
            host: own.or(host),
            port: authority.and_then(|authority| authority.port).or(port),
        }
    }
}

/// The part between `//` and the path of a URL, with its place in the text.
struct Authority {
    start: usize,
    end: usize,
    host: String,
    port: Option<u16>,
}

impl Authority {
    /// `None` when the text is no URL with a host.
    fn of(url: &str) -> Option<Self> {
        let start = url.find("://")? + 3;
        let end = url[start..]
            .find(['/', '?', '#'])
            .map_or(url.len(), |length| start + length);
        let start = url[start..end].rfind('@').map_or(start, |at| start + at + 1);
        let text = &url[start..end];
        let (host, port) = match text.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => (host, port.parse().ok()),
            _ => (text, None),
        };
        (!host.is_empty()).then(|| Self {
            start,
            end,
            host: host.to_owned(),
            port,
        })
    }
}

/// An endpoint on the host's loopback whose port is that of a service means this service: in the dependent's network
/// it has another address.
fn renamed(endpoint: &str, ecosystem: &Ecosystem, dependency: &Dependency) -> String {
    let Some(authority) = Authority::of(endpoint) else {
        return endpoint.to_owned();
    };
    let is_local = ["localhost", "127.0.0.1", "[::1]", "0.0.0.0"].contains(&authority.host.as_str());
    let meant = |service: &&Service| Some(service.port) == authority.port;
    let own = ecosystem.services.get(&dependency.name).filter(meant);
    match own.or_else(|| ecosystem.services.values().find(meant)) {
        Some(service) if is_local => format!(
            "{}{}:{}{}",
            &endpoint[..authority.start],
            service.name,
            service.port,
            &endpoint[authority.end..]
        ),
        _ => endpoint.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resolver::tests::{desired, member};

    fn value(list: &[Variable], name: &str) -> Option<String> {
        list.iter()
            .find(|variable| variable.name == name)
            .map(|variable| variable.value.clone())
    }

    #[test]
    fn a_dependency_is_injected_under_its_names() {
        let mut wish = desired(&[("db-main", 8003, &[]), ("api", 8001, &["db-main"])]);
        let api = wish.ecosystem.services.get_mut("api").unwrap();
        api.depends_on[0].env_var = Some("STORE".into());
        let list = variables(&wish, member(&wish, "api"), &Extras::default());
        for (name, expected) in [
            ("DB_MAIN_URL", "http://db-main:8003"),
            ("DB_MAIN_HOST", "db-main"),
            ("DB_MAIN_PORT", "8003"),
            ("STORE", "http://db-main:8003"),
            ("PORT", "8001"),
            ("SERVICE_URL", "http://127.0.0.1:8001"),
            ("HOST", "0.0.0.0"),
        ] {
            assert_eq!(value(&list, name).as_deref(), Some(expected), "{name}");
        }
    }

    #[test]
    fn a_replica_is_its_service_and_knows_its_number() {
        let mut wish = desired(&[("api", 8001, &[])]);
        wish.ecosystem.services["api"].replicas = Some(2);
        let list = variables(&wish, member(&wish, "api-2"), &Extras::default());
        assert_eq!(value(&list, "SERVICE_NAME").as_deref(), Some("api"));
        assert_eq!(value(&list, "PACTOWN_REPLICA").as_deref(), Some("2"));
        let plain = variables(&wish, member(&wish, "api"), &Extras::default());
        assert_eq!(value(&plain, "PACTOWN_REPLICA"), None);
    }

    #[test]
    fn endpoints_on_localhost_mean_the_service_with_that_port() {
        let mut wish = desired(&[("users", 8003, &[]), ("api", 8001, &["users"])]);
        for (endpoint, url) in [
            ("http://localhost:8003/v1?x", "http://users:8003/v1?x"),
            ("postgres://me@127.0.0.1:8003/db", "postgres://me@users:8003/db"),
            ("http://localhost:9999", "http://localhost:9999"),
            ("https://users.example.org/x", "https://users.example.org/x"),
            ("amqp://{host}:{port}", "amqp://users:8003"),
            ("not a url", "not a url"),
        ] {
            let api = wish.ecosystem.services.get_mut("api").unwrap();
            api.depends_on[0].endpoint = Some(endpoint.to_owned());
            let list = variables(&wish, member(&wish, "api"), &Extras::default());
            assert_eq!(value(&list, "USERS_URL").as_deref(), Some(url), "{endpoint}");
        }
    }

    #[test]
    fn a_service_that_notifies_is_told_where_and_how_often() {
        use crate::config::ecosystem::HealthCheck;
        let mut wish = desired(&[("api", 8001, &[])]);
        for (watchdog, usec) in [(false, None), (true, Some("10000000"))] {
            let api = wish.ecosystem.services.get_mut("api").unwrap();
            api.health = Some(HealthCheck::new(Probe::Notify { watchdog }));
            let list = variables(&wish, member(&wish, "api"), &Extras::default());
            assert_eq!(
                value(&list, "NOTIFY_SOCKET").as_deref(),
                Some("/run/pactown/notify")
            );
            assert_eq!(value(&list, "WATCHDOG_USEC").as_deref(), usec);
        }
    }

    #[test]
    fn of_the_caller_only_harmless_names_arrive_and_env_wins() {
        let mut wish = desired(&[("api", 8001, &[])]);
        for (name, text) in [
            ("LANG", "C.UTF-8"),
            ("AWS_SECRET", "x"),
            ("LC_ALL", "C"),
            ("SSL_CERT_FILE", "/root/ca.pem"),
            ("WANTED", "yes"),
            ("PATH", "/root/bin"),
        ] {
            wish.caller.env.insert(name.into(), text.into());
        }
        let api = wish.ecosystem.services.get_mut("api").unwrap();
        api.env_passthrough = vec!["WANTED".into(), "ABSENT".into()];
        api.env.insert("PORT".into(), "1".into());
        let list = variables(&wish, member(&wish, "api"), &Extras::default());
        assert_eq!(value(&list, "LANG").as_deref(), Some("C.UTF-8"));
        assert_eq!(value(&list, "WANTED").as_deref(), Some("yes"));
        assert_eq!(value(&list, "PORT").as_deref(), Some("1"));
        assert_eq!(value(&list, "PATH").as_deref(), Some(PATH));
        for absent in ["AWS_SECRET", "SSL_CERT_FILE", "ABSENT"] {
            assert_eq!(value(&list, absent), None, "{absent}");
        }
    }
}
