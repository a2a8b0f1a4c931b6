//! Values of secrets: asked of their sources once, by the command that brings a service up; compared without being shown;
//! never written to disk.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use indexmap::IndexMap;
use pactown_runtime::mask::{Masker, SHORTEST};
use pactown_runtime::secrets::Files;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::caller::Caller;
use crate::config;
use crate::config::ecosystem::{Ecosystem, Secret, SecretName, SecretSource, Service, ServiceName};
use crate::diagnostics::{Problem, Problems, Severity};

/// Most bytes of one value.
pub const LARGEST: usize = 64 << 10;

/// Bytes that are nobody's business; shown as `***`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
struct Value(Vec<u8>);

impl fmt::Debug for Value {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("***")
    }
}

/// The values that are known, and what they are compared with. It travels between processes in memory only.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Secrets {
    /// Goes into every print: nobody who has prints alone can try values.
    key: Option<Value>,
    values: IndexMap<SecretName, Value>,
}

impl Secrets {
    /// Whether none is known.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// Takes over from those of the wish before: its prints stay comparable, and what is not asked for now keeps its value.
    pub fn succeed(&mut self, before: &Self) {
        if before.key.is_some() {
            self.key.clone_from(&before.key);
        }
        for (name, value) in &before.values {
            if !self.values.contains_key(name) {
                self.values.insert(name.clone(), value.clone());
            }
        }
    }

    /// What tells one value from another without telling it; `None` when it is not known.
    pub fn print(&self, name: &str) -> Option<String> {
        let (key, value) = (self.key.as_ref()?, self.values.get(name)?);
        let hash = Sha256::new()
            .chain_update(&key.0)
            .chain_update(&value.0)
            .finalize();
        Some(crate::hex::digits(&hash[..8]))
    }

    /// The files that a service is shown.
    ///
    /// # Errors
    /// The name of a secret whose value is not known.
    pub fn files(&self, service: &Service) -> Result<Files, SecretName> {
        let file = |one: &config::ecosystem::SecretUse| {
            let value = self.values.get(&one.source).ok_or_else(|| one.source.clone())?;
            Ok((one.target.clone(), value.0.clone()))
        };
        service.secrets.iter().map(file).collect()
    }

    /// What finds them in text. Better an end than a value that is shown: all of them together are far below the 2^31
    /// states that a search can have.
    pub fn masker(&self) -> Option<Masker> {
        Masker::new(self.values.values().map(|value| value.0.as_slice())).expect("values fit into a search")
    }

    /// Remarks on values that cannot be hidden.
    pub fn remarks(&self) -> Vec<String> {
        let short = |(_, value): &(&SecretName, &Value)| value.0.trim_ascii().len() < SHORTEST;
        let remark = |(name, _): (&SecretName, &Value)| {
            format!("secret '{name}' has fewer than {SHORTEST} characters: it is not hidden in what is shown")
        };
        self.values.iter().filter(short).map(remark).collect()
    }
}

/// Asks all sources that `services` need; commands are run as `caller`.
///
/// # Errors
/// Every source that has no value, with its place in the file.
pub fn gather(ecosystem: &Ecosystem, caller: &Caller, services: &[ServiceName]) -> Result<Secrets, Problems> {
    if needed(ecosystem, services).next().is_some() {
        // As far as this user may: it is only a moment.
        let _ = pactown_runtime::secrets::stay_in_memory();
    }
    let mut secrets = Secrets {
        key: Some(Value(new_key().map_err(|error| no_key(&ecosystem.file, &error))?)),
        values: IndexMap::new(),
    };
    let mut problems = Vec::new();
    let (variables, _) = config::variables(&ecosystem.file, &caller.env);
    for (name, secret) in needed(ecosystem, services) {
        let asked = match &secret.from {
            SecretSource::Command(argv) => printed(argv, ecosystem, caller),
            source => resting(source, &variables),
        };
        match asked {
            Ok(value) => drop(secrets.values.insert(name.clone(), Value(value))),
            Err(why) => problems.push(problem(&ecosystem.file, name, secret, &why)),
        }
    }
    match problems.is_empty() {
        true => Ok(secrets),
        false => Err(Problems(problems)),
    }
}

/// The values that can be had without running anything, of all secrets; the others are left out.
pub fn at_rest(ecosystem: &Ecosystem, caller: &Caller) -> Secrets {
    let mut secrets = Secrets::default();
    if ecosystem.secrets.is_empty() {
        return secrets;
    }
    let (variables, _) = config::variables(&ecosystem.file, &caller.env);
    for (name, secret) in &ecosystem.secrets {
        if let Ok(value) = resting(&secret.from, &variables) {
            secrets.values.insert(name.clone(), Value(value));
        }
    }
    secrets
}

/// The secrets that these services use, each once.
fn needed<'e>(
    ecosystem: &'e Ecosystem,
    services: &[ServiceName],
) -> impl Iterator<Item = (&'e SecretName, &'e Secret)> {
    let services = services.iter().filter_map(|name| ecosystem.services.get(name));
    let uses: Vec<&SecretName> = services
        .flat_map(|service| service.secrets.iter().map(|one| &one.source))
        .collect();
    ecosystem
        .secrets
        .iter()
        .filter(move |(name, _)| uses.contains(name))
}

fn new_key() -> io::Result<Vec<u8>> {
    let mut key = vec![0; 32];
    let count = rustix::rand::getrandom(&mut key[..], rustix::rand::GetRandomFlags::empty())?;
    key.truncate(count);
    Ok(key)
}

fn no_key(file: &Path, error: &io::Error) -> Problems {
    Problems(vec![Problem {
        severity: Severity::Error,
        file: file.to_owned(),
        place: Default::default(),
        length: 0,
        message: format!("there is no randomness: {error}"),
        help: None,
        source: None,
    }])
}

/// The value of a source that is there already.
fn resting(source: &SecretSource, variables: &IndexMap<String, String>) -> Result<Vec<u8>, String> {
    match source {
        SecretSource::File(path) => read(path).map_err(|why| format!("`{}` {why}", path.display())),
        SecretSource::Environment(name) => match variables.get(name) {
            Some(value) => fitting(value.as_bytes().to_vec()),
            None => Err(format!("the variable {name} is not set")),
        },
        SecretSource::Command(_) => Err("it comes from a command".to_owned()),
    }
}

/// All of a regular file: a pipe or a device would never end.
fn read(path: &Path) -> Result<Vec<u8>, String> {
    let cannot = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound => "does not exist".to_owned(),
        _ => format!("cannot be read: {error}"),
    };
    match std::fs::metadata(path) {
        Ok(metadata) if !metadata.is_file() => return Err("is not a file".to_owned()),
        other => other.map_err(cannot)?,
    };
    let mut value = Vec::new();
    let file = File::open(path).map_err(cannot)?;
    file.take(LARGEST as u64 + 1)
        .read_to_end(&mut value)
        .map_err(cannot)?;
    fitting(value)
}

/// What the command prints. It may ask on the terminal.
fn printed(argv: &[String], ecosystem: &Ecosystem, caller: &Caller) -> Result<Vec<u8>, String> {
    let (program, arguments) = argv.split_first().ok_or("the command is empty")?;
    let path = std::env::join_paths(&caller.path).unwrap_or_default();
    let mut command = Command::new(program);
    command
        .args(arguments)
        .env_clear()
        .envs(&caller.env)
        .env("HOME", &caller.home)
        .env("USER", &caller.user)
        .env("LOGNAME", &caller.user)
        .env("PATH", path)
        .stderr(Stdio::inherit())
        .stdout(Stdio::piped());
    if let Some(directory) = ecosystem.file.parent() {
        command.current_dir(directory);
    }
    if nix::unistd::geteuid().is_root() && caller.uid != 0 {
        command.uid(caller.uid).gid(caller.gid);
    }
    let said = |error: io::Error| format!("'{program}' cannot be run: {error}");
    let mut child = command.spawn().map_err(said)?;
    let mut value = Vec::new();
    if let Some(output) = child.stdout.take() {
        // What is beyond finds a closed pipe.
        output
            .take(LARGEST as u64 + 1)
            .read_to_end(&mut value)
            .map_err(said)?;
    }
    let status = child.wait().map_err(said)?;
    if value.len() > LARGEST {
        // Its end tells nothing: it found a closed pipe.
        return fitting(value);
    }
    if !status.success() {
        return Err(format!("'{program}' ended with {status}"));
    }
    let length = value.iter().rposition(|byte| *byte != b'\n');
    value.truncate(length.map_or(0, |at| at + 1));
    fitting(value)
}

fn fitting(value: Vec<u8>) -> Result<Vec<u8>, String> {
    match value.len() {
        0 => Err("it is empty".to_owned()),
        length if length > LARGEST => Err(format!("it has more than {} KiB", LARGEST >> 10)),
        _ => Ok(value),
    }
}

fn problem(file: &Path, name: &str, secret: &Secret, why: &str) -> Problem {
    let help = match secret.from {
        SecretSource::File(_) => "write the value into that file, readable by nobody else",
        SecretSource::Environment(_) => "export it, or write it into `.env` beside the file",
        SecretSource::Command(_) => "run the command by hand to see what it says",
    };
    Problem {
        severity: Severity::Error,
        file: file.to_owned(),
        place: secret.place,
        length: name.chars().count(),
        message: format!("secret '{name}' has no value: {why}"),
        help: Some(help.to_owned()),
        source: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::ecosystem::{Place, SecretUse};
    use crate::desired::Desired;
    use crate::desired::tests::{empty, service};

    fn wish(from: SecretSource) -> Desired {
        let mut wish = empty();
        let place = Place { line: 3, column: 3 };
        wish.ecosystem
            .secrets
            .insert("key".to_owned(), Secret { from, place });
        let mut api = service("api");
        api.secrets.push(SecretUse {
            source: "key".to_owned(),
            target: "k".to_owned(),
            place,
        });
        wish.ecosystem.services.insert("api".to_owned(), api);
        wish.ecosystem.file = std::env::temp_dir().join("saas.pactown.yaml");
        wish.caller.path = vec!["/usr/bin".into(), "/bin".into()];
        wish
    }

    fn value(wish: &Desired) -> Result<Vec<u8>, String> {
        let secrets = gather(&wish.ecosystem, &wish.caller, &["api".to_owned()])
            .map_err(|problems| problems.to_string())?;
        let files = secrets.files(&wish.ecosystem.services["api"]);
        Ok(files.expect("known")["k"].clone())
    }

    fn command(words: &[&str]) -> Desired {
        wish(SecretSource::Command(
            words.iter().map(|word| (*word).to_owned()).collect(),
        ))
    }

    #[test]
    fn a_command_is_the_callers_and_its_last_newlines_do_not_count() {
        let mut wish = command(&["sh", "-c", "printf '%s\\na\\n\\n' \"$HOME$X\""]);
        wish.caller.env.insert("X".into(), "y".into());
        assert_eq!(value(&wish).unwrap(), b"/rooty\na");
        let failed = value(&command(&["sh", "-c", "echo hunter2; exit 3"])).unwrap_err();
        assert!(
            failed.contains("exit status: 3") && !failed.contains("hunter2"),
            "{failed}"
        );
        assert!(value(&command(&["yes"])).unwrap_err().contains("64 KiB"));
        assert!(value(&command(&["true"])).unwrap_err().contains("empty"));
        assert!(
            value(&command(&["echo"])).unwrap_err().contains("empty"),
            "a newline is no value"
        );
        let silent = value(&command(&["sh", "-c", "exit 3"])).unwrap_err();
        assert!(
            silent.contains("exit status: 3"),
            "not that it is empty: {silent}"
        );
        let much = "head -c 70000 /dev/zero; exit 3";
        assert!(
            value(&command(&["sh", "-c", much]))
                .unwrap_err()
                .contains("64 KiB")
        );
        assert!(value(&command(&["nothing-here"])).unwrap_err().contains(":3:3:"));
    }

    #[test]
    fn what_is_no_file_is_refused_at_once() {
        let file = |path: &str| value(&wish(SecretSource::File(path.into()))).unwrap_err();
        assert!(file("/dev/zero").contains("is not a file"));
        assert!(file("/dev").contains("is not a file"));
        assert!(file("/nothing").contains("does not exist"));
    }

    #[test]
    fn prints_tell_values_apart_and_follow_the_key() {
        let of = |text: &str| {
            let mut wish = wish(SecretSource::Environment("V".into()));
            wish.caller.env.insert("V".into(), text.into());
            gather(&wish.ecosystem, &wish.caller, &["api".to_owned()]).unwrap()
        };
        let (first, mut same, mut other) = (of("hunter2"), of("hunter2"), of("hunter3"));
        assert_ne!(first.print("key"), same.print("key"), "each has a key of its own");
        same.succeed(&first);
        other.succeed(&first);
        assert_eq!(first.print("key"), same.print("key"));
        assert_ne!(first.print("key"), other.print("key"));
        let mut none = Secrets::default();
        none.succeed(&first);
        assert_eq!(
            none.print("key"),
            first.print("key"),
            "what is not asked keeps its value"
        );
        assert!(
            !format!("{first:?}").contains("104"),
            "no byte of a value is shown"
        );
    }

    #[test]
    fn only_what_is_needed_is_asked() {
        let wish = command(&["false"]);
        assert!(gather(&wish.ecosystem, &wish.caller, &[]).unwrap().is_empty());
        assert!(at_rest(&wish.ecosystem, &wish.caller).is_empty());
    }
}
