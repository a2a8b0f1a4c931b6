//! Which hosts packages come from: those that the installers' configuration names, and those that an installer asks when
//! it fetches a package that nobody but us has chosen. No host is known by name here: mirrors are as good as originals.

use std::collections::BTreeSet;

use super::{BuildSettings, Content, LayerPlan, key};
use crate::proxy::Contact;
use crate::toolchain::{Toolchain, Toolchains};

/// Variables that name proxies, which are no hosts of packages.
const PROXIES: [&str; 4] = ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"];

/// An installer, and how it is had to fetch something small. Nothing that is fetched is run.
struct Installer {
    /// Its program.
    program: &'static str,
    /// Words of a script that uses it.
    words: &'static [&'static str],
    /// `$1` is the program; it runs in an empty directory.
    script: &'static str,
}

const INSTALLERS: [Installer; 6] = [
    Installer {
        program: "python3",
        words: &["pip", "pip3"],
        script: r#"python=$1
"$python" -m pip --version >/dev/null 2>&1 || { "$python" -m venv "$TMPDIR/venv" && python=$TMPDIR/venv/bin/python; }
"$python" -m pip download -q --retries 0 --no-deps --only-binary :all: -d "$TMPDIR" six"#,
    },
    Installer {
        program: "uv",
        words: &["uv"],
        script: r#""$1" pip install -q --no-deps --only-binary :all: --target "$TMPDIR/six" six"#,
    },
    Installer {
        program: "npm",
        words: &["npm", "npx", "yarn", "pnpm"],
        script: r#""$1" pack --silent --fetch-retries=0 isarray"#,
    },
    Installer {
        program: "cargo",
        words: &["cargo"],
        script: r#"export CARGO_HOME="$TMPDIR/cargo" && mkdir cargo && { cp /etc/build/cargo/* cargo/ 2>/dev/null || true; } && "$1" init -q --lib --name probe --vcs none . && "$1" add -q itoa && "$1" fetch -q"#,
    },
    Installer {
        program: "go",
        words: &["go"],
        script: r#"export GOPATH="$TMPDIR/go" GOFLAGS=-modcacherw && "$1" mod init probe && "$1" get -d rsc.io/quote"#,
    },
    Installer {
        program: "composer",
        words: &["composer"],
        script: r#"export COMPOSER_HOME="$TMPDIR/composer" && mkdir composer && { cp /etc/build/composer/* composer/ 2>/dev/null || true; } && "$1" create-project -q --no-install --no-scripts --no-plugins psr/log probe"#,
    },
];

/// A question that an installer answers by what it asks for.
pub(super) struct Probe {
    /// Under which the answer is kept: changes with the installer and what configures it.
    pub(super) key: String,
    /// The command.
    pub(super) args: Vec<String>,
}

/// The questions whose answers the build of `plan` needs. Pure.
pub(super) fn probes(plan: &LayerPlan, toolchains: &Toolchains, settings: &BuildSettings) -> Vec<Probe> {
    let uses = |installer: &&Installer| match &plan.content {
        Content::Files(_) => false,
        Content::Python { uv: Some(_), .. } => installer.program == "uv",
        Content::Python { .. } => installer.program == "python3",
        Content::Node { .. } => installer.program == "npm",
        Content::Packages(packages) => {
            let manager = packages.programs.first();
            manager.is_some_and(|manager| manager.name == installer.program)
        }
        Content::Setup(blocks) | Content::Build(blocks) => {
            blocks.iter().any(|block| mentions(&block.text, installer.words))
        }
    };
    let found = INSTALLERS.iter().filter(uses);
    found
        .filter_map(|installer| {
            let program = match (&plan.content, installer.program) {
                (Content::Python { python, .. }, "python3") => python,
                (_, name) => toolchains.get(name)?,
            };
            Some(probe(installer, program, settings))
        })
        .collect()
}

fn probe(installer: &Installer, program: &Toolchain, settings: &BuildSettings) -> Probe {
    let configuration = (&settings.pip, &settings.uv, &settings.npm, configured(settings));
    let configuration = (configuration, settings.others());
    // Installers take modules and settings from where they are started: there must be nobody's.
    let script = format!(
        "mkdir -p \"$TMPDIR\" && cd \"$TMPDIR\" || exit\n{}\n",
        installer.script
    );
    Probe {
        key: format!(
            "hosts-{}",
            key::of("hosts", &(&program.identity, &script, configuration))
        ),
        args: ["/bin/sh", "-c", &script, "sh"]
            .into_iter()
            .map(str::to_owned)
            .chain([program.program.to_string_lossy().into_owned()])
            .collect(),
    }
}

fn mentions(script: &str, words: &[&str]) -> bool {
    let mut parts = script.split(|c: char| !c.is_ascii_alphanumeric() && !"-_.".contains(c));
    parts.any(|part| words.contains(&part))
}

/// `name:port` of every address in the installers' settings. Pure.
pub(super) fn configured(settings: &BuildSettings) -> BTreeSet<String> {
    let is_proxy = |name: &str| PROXIES.contains(&name.to_ascii_uppercase().as_str());
    let env = settings.env.iter().filter(|(name, _)| !is_proxy(name));
    let values = env.map(|(_, value)| value.as_str());
    let lines = [&settings.pip, &settings.uv, &settings.npm].into_iter().flatten();
    let lines = lines.chain(settings.others().into_iter().flatten());
    let texts = values.chain(lines.map(String::as_str));
    texts.flat_map(addresses).collect()
}

/// `name:port` of the `http://` and `https://` addresses in a text.
fn addresses(text: &str) -> Vec<String> {
    let words = text.split(|c: char| c.is_whitespace() || ",|\"'[]=".contains(c));
    words
        .filter_map(|word| {
            let (scheme, rest) = word.split_once("://")?;
            let port = match scheme.rsplit('+').next()? {
                "https" => 443,
                "http" => 80,
                _ => return None,
            };
            let authority = rest.split(['/', '?', '#']).next()?;
            let host = authority.rsplit('@').next()?;
            with_port(host, port)
        })
        .collect()
}

/// `name:port` of the sources of the distribution's packages. Pure.
pub(super) fn distribution(settings: &BuildSettings) -> BTreeSet<String> {
    settings.apt.iter().flat_map(|line| addresses(line)).collect()
}

fn with_port(host: &str, port: u16) -> Option<String> {
    match host.rsplit_once(':') {
        _ if host.is_empty() => None,
        Some((name, own)) => own
            .parse::<u16>()
            .ok()
            .map(|own| format!("{}:{own}", name.to_lowercase())),
        None => Some(format!("{}:{port}", host.to_lowercase())),
    }
}

/// `name:port` of hosts that the ecosystem file allows: without a port those of HTTP and HTTPS.
pub(super) fn allowed(hosts: &[String]) -> BTreeSet<String> {
    let both = |host: &String| {
        [443, 80]
            .into_iter()
            .filter_map(|port| with_port(host, port))
            .collect::<Vec<_>>()
    };
    hosts.iter().flat_map(both).collect()
}

/// What an installer has asked for.
pub(super) fn learned(contacts: &[Contact]) -> BTreeSet<String> {
    let reached = contacts.iter().filter(|contact| !contact.addresses.is_empty());
    reached
        .map(|contact| format!("{}:{}", contact.host, contact.port))
        .collect()
}

/// The name under which the store of layers keeps what the build of a layer has asked for.
pub fn record(key: &str) -> String {
    format!("{key}.contacts")
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;
    use std::path::{Path, PathBuf};
    use std::process::Command;

    use super::*;

    fn tool(program: &Path) -> Toolchain {
        Toolchain {
            name: "any".to_owned(),
            program: program.to_owned(),
            directory: None,
            bind: None,
            identity: "any 1".to_owned(),
        }
    }

    /// Asks `installer`, started in a directory that has modules and settings of a README.
    fn asked(place: &Path, installer: &Installer, program: &Path) -> PathBuf {
        let (app, temporary) = (place.join("app"), place.join(installer.program));
        fs::create_dir_all(&app).unwrap();
        for module in ["pip.py", "venv.py"] {
            let text = format!("open({:?}, 'w')\n", place.join("taken"));
            fs::write(app.join(module), text).unwrap();
        }
        let probe = probe(installer, &tool(program), &BuildSettings::default());
        Command::new(&probe.args[0])
            .args(&probe.args[1..])
            .current_dir(&app)
            .env("TMPDIR", &temporary)
            .env("PIP_NO_INDEX", "1")
            .env("PLACE", place)
            .output()
            .unwrap();
        temporary
    }

    #[test]
    fn installers_are_asked_where_nothing_of_the_readme_is_found() {
        let place = std::env::temp_dir().join(format!("pactown-probes-{}", std::process::id()));
        fs::create_dir_all(&place).unwrap();
        asked(&place, &INSTALLERS[0], Path::new("python3"));
        assert!(
            !place.join("taken").exists(),
            "Python has run a module of the README"
        );
        let fake = place.join("fake");
        fs::write(&fake, "#!/bin/sh\npwd -P >> \"$PLACE/where\"\n").unwrap();
        fs::set_permissions(&fake, fs::Permissions::from_mode(0o755)).unwrap();
        for installer in &INSTALLERS {
            let temporary = asked(&place, installer, &fake);
            let places = fs::read_to_string(place.join("where")).unwrap();
            let expected = fs::canonicalize(temporary).unwrap();
            assert!(
                places.lines().all(|line| Path::new(line) == expected),
                "{}: {places}",
                installer.program
            );
            fs::remove_file(place.join("where")).unwrap();
        }
        fs::remove_dir_all(&place).unwrap();
    }

    #[test]
    fn hosts_are_taken_from_the_settings_and_proxies_are_none() {
        let settings = BuildSettings {
            env: vec![
                ("PIP_INDEX_URL".into(), "https://u:p@Index.example/simple".into()),
                ("HTTPS_PROXY".into(), "http://proxy.example:3128".into()),
                ("GOPROXY".into(), "https://go.example,direct".into()),
            ],
            pip: vec!["find-links=/opt/wheels http://links.example:8080/x".into()],
            npm: vec!["@a:registry=https://npm.example/".into()],
            ..BuildSettings::default()
        };
        let found: Vec<String> = configured(&settings).into_iter().collect();
        assert_eq!(
            found,
            [
                "go.example:443",
                "index.example:443",
                "links.example:8080",
                "npm.example:443"
            ]
        );
    }

    #[test]
    fn a_host_without_a_port_is_that_of_the_web() {
        let hosts = ["a.example".to_owned(), "b.example:8443".to_owned()];
        let found: Vec<String> = allowed(&hosts).into_iter().collect();
        assert_eq!(found, ["a.example:443", "a.example:80", "b.example:8443"]);
    }

    #[test]
    fn scripts_are_read_by_words() {
        assert!(mentions("set -e\nnpm ci --omit=dev", &["npm"]));
        assert!(mentions("python -m pip install x", &["pip"]));
        assert!(!mentions("echo pipeline; ./cargo-cult", &["pip", "cargo"]));
    }
}
