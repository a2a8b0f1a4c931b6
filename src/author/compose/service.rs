//! One service of a compose file: its entries of the ecosystem file, its README, and what is left out. Pure.

use serde_json::{Map, Value};

use super::forms::{command, dependency, items, ports, text, volume};

use crate::author::draft::{Entry, Written};
use crate::author::{Dropped, fenced, label, shell};

/// A service, and what is known around it.
pub(super) struct Context<'a> {
    /// The name of the compose file.
    pub(super) file: &'a str,
    /// Its name here.
    pub(super) name: String,
    /// Others wait for its end.
    pub(super) is_job: bool,
    /// Its keys.
    pub(super) keys: &'a Map<String, Value>,
}

/// What it becomes.
pub(super) struct Made {
    pub(super) entries: Vec<Entry>,
    pub(super) readme: String,
    pub(super) dropped: Vec<Dropped>,
}

/// Keys that are read here; every other one is named as left out.
const READ: [&str; 20] = [
    "cap_drop",
    "command",
    "cpus",
    "depends_on",
    "deploy",
    "entrypoint",
    "environment",
    "expose",
    "healthcheck",
    "init",
    "links",
    "mem_limit",
    "pids_limit",
    "ports",
    "read_only",
    "restart",
    "scale",
    "stop_grace_period",
    "stop_signal",
    "volumes",
];

/// Where servers listen whose images are used most.
const WELL_KNOWN: [(&str, u16); 8] = [
    ("httpd", 80),
    ("mariadb", 3306),
    ("memcached", 11211),
    ("mongo", 27017),
    ("mysql", 3306),
    ("nginx", 80),
    ("postgres", 5432),
    ("redis", 6379),
];

pub(super) fn import(context: &Context<'_>) -> Made {
    let mut service = Service {
        context,
        made: Made {
            entries: Vec::new(),
            readme: String::new(),
            dropped: Vec::new(),
        },
    };
    service.key("readme", Written::Text(format!("{}/README.md", context.name)));
    service.ports();
    service.environment();
    service.depends_on();
    service.health();
    service.limits();
    service.volumes();
    service.ending();
    service.readme();
    service.others();
    service.made
}

struct Service<'a> {
    context: &'a Context<'a>,
    made: Made,
}

impl Service<'_> {
    fn get(&self, key: &str) -> &Value {
        self.context.keys.get(key).unwrap_or(&Value::Null)
    }

    fn key(&mut self, key: &'static str, value: Written) {
        self.made.entries.push(Entry::Key(key, value, None));
    }

    fn drop(&mut self, key: &str, why: &str) {
        self.made.dropped.push(Dropped {
            service: Some(self.context.name.clone()),
            key: key.to_owned(),
            why: why.to_owned(),
        });
    }

    fn ports(&mut self) {
        let mut mapped = Vec::new();
        for item in items(self.get("ports")).cloned().collect::<Vec<_>>() {
            match ports(&item) {
                Some(ports) => mapped.extend(ports),
                None => self.drop("ports", &format!("'{}' is not understood", text(&item))),
            }
        }
        let expose = items(self.get("expose")).map(text).collect::<Vec<_>>();
        let tcp = mapped.iter().find(|port| !port.ends_with("/udp"));
        let inside = tcp.and_then(|port| port.rsplit(':').next().map(str::to_owned));
        let exposed = expose.first().and_then(|port| port.split('/').next());
        let written = inside.or_else(|| exposed.map(str::to_owned));
        match written.filter(|port| port.parse::<u16>().is_ok()) {
            Some(port) => self.key("port", Written::Plain(port)),
            None if self.context.is_job => {}
            None => self.unknown_port(),
        }
        if !mapped.is_empty() {
            self.key("ports", Written::texts(mapped));
        }
    }

    /// Whoever depends on it reaches its port and no other, which no compose file has to say.
    fn unknown_port(&mut self) {
        let image = text(self.get("image"));
        let name = image.rsplit('/').next().unwrap_or(&image);
        let name = name.split([':', '@']).next().unwrap_or(name);
        match WELL_KNOWN.iter().find(|(known, _)| *known == name) {
            Some((_, port)) => {
                let why = format!("guessed: where the image {name} listens");
                let port = Written::Plain(port.to_string());
                self.made.entries.push(Entry::Key("port", port, Some(why)));
            }
            None => {
                let why =
                    "where it listens is not written: whoever depends on it reaches that port and no other";
                self.made.entries.push(Entry::Comment(format!("port: {why}")));
                self.drop("port", why);
            }
        }
    }

    fn environment(&mut self) {
        let (mut set, mut passed) = (Vec::new(), Vec::new());
        let pairs: Vec<(String, Option<String>)> = match self.get("environment") {
            Value::Object(map) => {
                let value = |value: &Value| (!value.is_null()).then(|| text(value));
                map.iter().map(|(name, one)| (name.clone(), value(one))).collect()
            }
            list => items(list)
                .map(|item| match text(item).split_once('=') {
                    Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
                    None => (text(item), None),
                })
                .collect(),
        };
        for (name, value) in pairs {
            match value {
                Some(value) => set.push((name, Written::Text(value))),
                None => passed.push(name),
            }
        }
        if !set.is_empty() {
            self.key("env", Written::Map(set));
        }
        if !passed.is_empty() {
            self.key("env_passthrough", Written::texts(passed));
        }
    }

    fn depends_on(&mut self) {
        let mut needs: Vec<Written> = Vec::new();
        if let Value::Object(map) = self.get("depends_on") {
            needs.extend(map.iter().map(|(name, need)| dependency(name, need)));
        }
        let list = items(self.get("depends_on")).filter(|_| needs.is_empty());
        let plain: Vec<String> = list.chain(items(self.get("links"))).map(text).collect();
        for name in plain {
            let name = Written::Text(label(name.split(':').next().unwrap_or(&name)));
            if !needs.contains(&name) {
                needs.push(name);
            }
        }
        if !needs.is_empty() {
            self.key(
                "depends_on",
                Written::List(needs.into_iter().map(|need| (need, None)).collect()),
            );
        }
    }

    fn health(&mut self) {
        let check = self.get("healthcheck").clone();
        if check.is_null() {
            return;
        }
        let words: Vec<String> = items(&check["test"]).map(text).collect();
        let off = check["disable"] == true || words.first().is_some_and(|word| word == "NONE");
        if off {
            return self.key("health_check", Written::Plain("none".to_owned()));
        }
        let exec = match (&check["test"], words.split_first()) {
            (Value::String(command), _) => Written::Text(command.clone()),
            (_, Some((kind, [command]))) if kind == "CMD-SHELL" => Written::Text(command.clone()),
            (_, Some((kind, words))) if kind == "CMD" && !words.is_empty() => Written::texts(words.to_vec()),
            _ => return self.drop("healthcheck", "its test is not understood"),
        };
        let mut map = vec![("exec".to_owned(), exec)];
        for key in ["interval", "timeout", "start_period", "retries"] {
            match &check[key] {
                Value::Null => {}
                Value::Number(number) => map.push((key.to_owned(), Written::Plain(number.to_string()))),
                value => map.push((key.to_owned(), Written::Text(text(value)))),
            }
        }
        self.key("health_check", Written::Map(map));
    }

    fn limits(&mut self) {
        let deploy = self.get("deploy");
        let given = &deploy["resources"]["limits"];
        let first = |one: &Value, other: &Value| {
            [one, other]
                .iter()
                .find(|value| !value.is_null())
                .map(|value| text(value))
        };
        let memory = first(&given["memory"], self.get("mem_limit")).map(Written::Text);
        let cpus = first(&given["cpus"], self.get("cpus")).map(Written::Plain);
        let pids = first(&given["pids"], self.get("pids_limit")).filter(|pids| pids != "-1");
        let pids = pids.map(Written::Plain);
        let replicas = first(&deploy["replicas"], self.get("scale"));
        let map: Vec<(String, Written)> = [("memory", memory), ("cpus", cpus), ("pids", pids)]
            .into_iter()
            .filter_map(|(name, value)| Some((name.to_owned(), value?)))
            .collect();
        if !map.is_empty() {
            self.key("limits", Written::Map(map));
        }
        if let Some(replicas) = replicas.filter(|_| !self.context.is_job) {
            self.key("replicas", Written::Plain(replicas));
        }
    }

    fn volumes(&mut self) {
        let (mut volumes, mut mounts) = (Vec::new(), Vec::new());
        for (number, item) in items(self.get("volumes"))
            .cloned()
            .collect::<Vec<_>>()
            .iter()
            .enumerate()
        {
            let (source, target, read_only) = match volume(item) {
                Some(parts) => parts,
                None => {
                    self.drop("volumes", &format!("'{}' is not understood", text(item)));
                    continue;
                }
            };
            match source {
                Some(source) if source.starts_with(['.', '/', '~', '$']) => {
                    let source = source.replacen('~', "${HOME}", usize::from(source.starts_with('~')));
                    mounts.push(format!("{source}:{target}{}", if read_only { "" } else { ":rw" }));
                }
                source => {
                    let own = || format!("{}-{}", self.context.name, number + 1);
                    let name = source.map_or_else(own, |name| name.to_lowercase());
                    volumes.push(format!("{name}:{target}{}", if read_only { ":ro" } else { "" }));
                }
            }
        }
        if !volumes.is_empty() {
            self.key("volumes", Written::texts(volumes));
        }
        if !mounts.is_empty() {
            self.key("mounts", Written::texts(mounts));
        }
    }

    /// When it is started again, and how it is asked to stop.
    fn ending(&mut self) {
        if let Value::String(policy) = self.get("restart").clone() {
            self.key("restart", Written::Text(policy));
        }
        if let Value::String(signal) = self.get("stop_signal").clone() {
            self.key("stop_signal", Written::Text(signal));
        }
        if let Value::String(grace) = self.get("stop_grace_period").clone() {
            self.key("stop_grace", Written::Text(grace));
        }
    }

    /// The README: what starts it.
    fn readme(&mut self) {
        let (name, file) = (self.context.name.clone(), self.context.file);
        let mut page = format!("# {name}\n\nThe service `{name}` of `{file}`.\n\n");
        if self.context.is_job {
            page.push_str(&fenced("yaml markpact:workload", "kind: job"));
            page.push('\n');
        }
        let start = match command(self.get("entrypoint"), self.get("command")) {
            Some(command) => match self.get("working_dir") {
                Value::String(directory) => format!("cd {}\nexec {command}", shell::word(directory)),
                _ => format!("exec {command}"),
            },
            None => {
                self.drop(
                    "command",
                    &format!("the image's own is not known: write in {name}/README.md how it starts"),
                );
                let text =
                    format!("{name}: {file} names no command; write in {name}/README.md how it starts");
                // EX_CONFIG of sysexits(3).
                format!("echo {} >&2\nexit 78", shell::word(&text))
            }
        };
        page.push_str(&fenced("sh markpact:run", &start));
        self.made.readme = page;
    }

    /// Every key that was not read.
    fn others(&mut self) {
        let known = |key: &&String| READ.contains(&key.as_str()) || key.starts_with("x-");
        let keys: Vec<String> = self
            .context
            .keys
            .keys()
            .filter(|key| !known(key))
            .cloned()
            .collect();
        for key in keys {
            if key == "working_dir" && command(self.get("entrypoint"), self.get("command")).is_some() {
                continue;
            }
            self.drop(&key, why(&key));
        }
    }
}

/// Why a key is not taken over, and what to do.
fn why(key: &str) -> &'static str {
    match key {
        "image" => {
            "services run from READMEs: put its files into file blocks, and what it needs into deps blocks"
        }
        "build" => "put what the image would hold into file and deps blocks of the README",
        "networks" | "network_mode" => "a service reaches what it depends on, and nothing else",
        "env_file" => "write its variables into env:, or into .env and env_passthrough:",
        "secrets" | "configs" => "write secrets: (docs/configuration.md), or file blocks of the README",
        "cap_add" | "security_opt" => {
            "write security: (docs/security.md); capabilities hold in its user namespace"
        }
        "privileged" => "there are no privileged services",
        "user" => "it runs as an ordinary user; `user: root` is root inside",
        "devices" => "write devices: with /dev/NAME",
        "ulimits" => "write limits: open_files",
        "tmpfs" => "/tmp is one already, with the size of limits: tmp",
        "profiles" => "name the services that are wanted: `pactown up NAME`",
        "working_dir" => "it has no command to go with",
        _ => "it has no counterpart here",
    }
}
