//! The command line: verbs, flags and their help. Parsing only; nothing is looked up here.

mod author;
mod build;
mod insight;
mod live;
mod logs;
mod open;
mod registry;
mod scale;
mod steer;
mod storage;
mod supply;
mod test;
mod up;
mod wait;

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::resolver::Format;
pub use author::{ForeignArguments, GenerateArguments, InitArguments, ScanArguments};
pub use build::BuildArguments;
pub use insight::{EventsArguments, InspectArguments, ReportArguments, WhyArguments};
pub use live::{AttachArguments, StatsArguments, TopArguments, UiArguments};
pub use logs::LogsArguments;
pub use open::{OpenArguments, Part};
pub use registry::*;
pub use scale::ScaleArguments;
pub use steer::{RestartArguments, StartArguments, StopArguments};
pub use storage::{DfArguments, PruneArguments};
pub use supply::{LockArguments, SupplyArguments};
pub use test::TestArguments;
pub use up::UpArguments;
pub use wait::WaitArguments;

/// Runs ecosystems of executable READMEs, each service in a Linux sandbox of its own.
#[derive(Debug, Parser)]
#[command(
    name = "pactown",
    version,
    max_term_width = 100,
    after_help = "Try:\n  pactown up examples/hello\n  pactown COMMAND --help"
)]
pub struct Cli {
    /// The ecosystem file or its folder (default: saas.pactown.yaml here or in a folder above)
    #[arg(short, long, global = true, value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// Another copy of the same ecosystem, with free ports of its own
    #[arg(short, long, global = true, value_name = "NAME")]
    pub instance: Option<String>,
    /// Print JSON
    #[arg(long, global = true)]
    pub json: bool,
    /// When to colour: auto, always or never
    #[arg(
        long,
        global = true,
        value_name = "WHEN",
        default_value = "auto",
        hide_default_value = true,
        hide_possible_values = true
    )]
    pub color: Color,
    /// Print errors and results only
    #[arg(short, long, global = true)]
    pub quiet: bool,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// When output is coloured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Color {
    /// On a terminal, unless NO_COLOR is set.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// The verbs.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Bring the ecosystem up
    Up(UpArguments),
    /// Take the ecosystem down
    Down(DownArguments),
    /// Show the services
    #[command(visible_alias = "status")]
    Ps(PsArguments),
    /// Show what services use: CPU, memory, network
    Stats(StatsArguments),
    /// The same, live and sorted
    Top(TopArguments),
    /// Watch and steer everything in one view
    Ui(UiArguments),
    /// Show what services write
    Logs(LogsArguments),
    /// Run a command inside a running service, or a README as a job
    Exec(ExecArguments),
    /// Run one README on its own, or a job of a running service
    Run(RunArguments),
    /// Run the build blocks of READMEs and copy out what they make
    Build(BuildArguments),
    /// Write down what READMEs, dependencies and toolchains are, so that others run the same
    Lock(LockArguments),
    /// Run the tests that stand in the READMEs
    Test(TestArguments),
    /// Come back to an ecosystem that runs in the background
    Attach(AttachArguments),
    /// Start services, with what they need
    Start(StartArguments),
    /// Stop services
    Stop(StopArguments),
    /// Restart services with the file as it is now
    Restart(RestartArguments),
    /// Run another number of a service, behind its one address
    Scale(ScaleArguments),
    /// Wait until services are healthy, completed, stopped or running
    Wait(WaitArguments),
    /// Say why a service is not as it should be, and what to do next
    Why(WhyArguments),
    /// Show what services have used, also after the end: peaks, sums, limits reached
    Report(ReportArguments),
    /// Show what happened to the services
    Events(EventsArguments),
    /// Show what holds a running service, as the kernel tells
    Inspect(InspectArguments),
    /// Show what `up` and `test` wrote with --bundle: why a run failed, elsewhere and later
    Open(OpenArguments),
    /// Show what builds and services reach outside
    #[command(
        after_help = "Examples:\n  pactown audit\n  pactown audit examples/shop\n  pactown audit --json"
    )]
    Audit(ConfigArguments),
    /// Show where the time of the last start went
    #[command(
        after_help = "Examples:\n  pactown analyze\n  pactown analyze -f examples/shop\n  pactown analyze --json"
    )]
    Analyze,
    /// List the ecosystems that run on this machine
    #[command(after_help = "Examples:\n  pactown ls\n  pactown ls --json")]
    Ls,
    /// Write a small ecosystem that runs, to begin with
    Init(InitArguments),
    /// List the READMEs below a folder and what they are
    Scan(ScanArguments),
    /// Write an ecosystem file for the READMEs below a folder, with what is guessed commented
    Generate(GenerateArguments),
    /// Write an ecosystem from a compose file or a Procfile, and say what was left out
    Import(ForeignArguments),
    /// Check the ecosystem file and its READMEs
    #[command(
        after_help = "Examples:\n  pactown validate\n  pactown validate examples/shop\n  pactown validate --json"
    )]
    Validate(ConfigArguments),
    /// Show who needs whom
    Graph(GraphArguments),
    /// Print the ecosystem file with everything spelled out
    #[command(after_help = "Examples:\n  pactown config\n  pactown config examples/shop --json")]
    Config(ConfigArguments),
    /// Print a JSON Schema of the ecosystem file, for editors
    #[command(after_help = "Examples:\n  pactown schema\n  pactown schema > pactown.schema.json")]
    Schema,
    /// Show a service's environment and where each variable comes from
    #[command(after_help = "Examples:\n  pactown env web\n  pactown env -f examples/shop gateway --json")]
    Env(ServiceArguments),
    /// Show what a README says
    Parse(ParseArguments),
    /// Print the OCI runtime spec of a service, or make a bundle that other runtimes run
    Spec(SpecArguments),
    /// Publish READMEs to a registry
    Publish(PublishArguments),
    /// Fetch READMEs from a registry
    Pull(PullArguments),
    /// Serve, search and look after a registry
    Registry(RegistryArguments),
    /// Show what layers, logs, disks and volumes take on the disk
    Df(DfArguments),
    /// Remove layers that nothing uses, and logs and volumes when asked to
    Prune(PruneArguments),
    /// Show what this machine has and lacks
    Doctor(DoctorArguments),
    /// Print completions for a shell
    Completion(CompletionArguments),
}

/// Arguments of `down`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  pactown down\n  pactown down --timeout 2s\n  pactown down --volumes --yes"
)]
pub struct DownArguments {
    /// An ecosystem file or its folder
    pub config: Option<PathBuf>,
    /// Also remove the named volumes and limited disks, and what is in them
    #[arg(short, long)]
    pub volumes: bool,
    /// Do not ask before volumes are removed
    #[arg(short, long)]
    pub yes: bool,
    /// Grace for every service instead of its own
    #[arg(short, long, value_name = "TIME", value_parser = duration)]
    pub timeout: Option<Duration>,
    /// End everything at once, without grace
    #[arg(long)]
    pub kill: bool,
}

/// Arguments of `ps`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  pactown ps\n  pactown ps examples/hello\n  pactown ps --json")]
pub struct PsArguments {
    /// An ecosystem file or its folder
    pub config: Option<PathBuf>,
}

/// Arguments of `exec`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  pactown exec web sh\n  pactown exec -e DEBUG=1 web env\n  pactown exec jobs/README.md"
)]
pub struct ExecArguments {
    /// Do not use this terminal for the command
    #[arg(short = 'T', long)]
    pub no_tty: bool,
    /// Set a variable for the command
    #[arg(short, long, value_name = "NAME=VALUE", value_parser = assignment)]
    pub env: Vec<String>,
    /// Where the command runs
    #[arg(short, long, value_name = "PATH")]
    pub workdir: Option<PathBuf>,
    /// A running service, or a README to run as a job
    #[arg(value_name = "SERVICE|README")]
    pub service: String,
    /// The command and its arguments (default: a shell)
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub command: Vec<String>,
}

/// Arguments of `run`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  pactown run greeter/README.md\n  pactown run -p 9000 -e NAME=you README.md\n  pactown run api:seed"
)]
pub struct RunArguments {
    /// The README; or a running service and a job block of its README
    #[arg(value_name = "README|SERVICE:JOB")]
    pub readme: PathBuf,
    /// Its port [default: 8000]
    #[arg(short, long)]
    pub port: Option<u16>,
    /// It is a job: its end is the end
    #[arg(long)]
    pub once: bool,
    /// End it after this time
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub timeout: Option<Duration>,
    /// Set a variable
    #[arg(short, long, value_name = "NAME=VALUE", value_parser = assignment)]
    pub env: Vec<String>,
    /// Where dependencies come from.
    #[command(flatten)]
    pub supply: SupplyArguments,
}

/// Arguments of `validate` and `config`.
#[derive(Debug, Args)]
pub struct ConfigArguments {
    /// An ecosystem file or its folder
    pub config: Option<PathBuf>,
}

/// Arguments of `graph`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  pactown graph\n  pactown graph -F mermaid\n  pactown graph -F dot | dot -Tsvg"
)]
pub struct GraphArguments {
    /// An ecosystem file or its folder
    pub config: Option<PathBuf>,
    /// text, mermaid, dot or json
    #[arg(
        short = 'F',
        long,
        default_value = "text",
        hide_default_value = true,
        hide_possible_values = true
    )]
    pub format: Format,
}

/// Arguments of verbs about one service.
#[derive(Debug, Args)]
pub struct ServiceArguments {
    /// The service, or one of its replicas
    pub service: String,
}

/// Arguments of `spec`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  pactown spec web\n  pactown spec web | jq .process\n  pactown spec web --bundle ./web.bundle\n  pactown spec --bundle ./bundles --json"
)]
pub struct SpecArguments {
    /// The service, or one of its replicas (with --bundle, default: all)
    #[arg(required_unless_present = "bundle")]
    pub service: Option<String>,
    /// Make an OCI bundle (config.json, rootfs) in this new or empty folder; of all services, one folder each
    #[arg(long, value_name = "DIR")]
    pub bundle: Option<PathBuf>,
}

/// Arguments of `parse`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  pactown parse README.md\n  pactown parse --json README.md")]
pub struct ParseArguments {
    /// The README
    pub readme: PathBuf,
}

/// Arguments of `doctor`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  pactown doctor\n  pactown doctor --leaks")]
pub struct DoctorArguments {
    /// List what is left of runs that have ended
    #[arg(long)]
    pub leaks: bool,
}

/// Arguments of `completion`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  pactown completion bash > /etc/bash_completion.d/pactown\n  pactown completion fish > ~/.config/fish/completions/pactown.fish"
)]
pub struct CompletionArguments {
    /// The shell
    pub shell: clap_complete::Shell,
}

/// The first argument is the ecosystem file when it is written as a path, or is a folder with an ecosystem in it;
/// the others are services. No name of a service has a `.` or a `/`.
pub fn split_config(arguments: &[String]) -> (Option<PathBuf>, Vec<String>) {
    match arguments.split_first() {
        Some((first, rest)) if is_config(first) => (Some(PathBuf::from(first)), rest.to_vec()),
        _ => (None, arguments.to_vec()),
    }
}

fn is_config(text: &str) -> bool {
    // A folder of a service's name holds its README, and is no ecosystem's.
    text.contains(['.', '/']) || Path::new(text).join("saas.pactown.yaml").is_file()
}

/// Seconds, or a number with a unit.
fn duration(text: &str) -> Result<Duration, String> {
    if let Ok(seconds) = text.parse::<f64>() {
        return Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string());
    }
    humantime::parse_duration(text).map_err(|_| format!("'{text}' is no time: write 90, 90s or 2m"))
}

fn assignment(text: &str) -> Result<String, String> {
    match text.split_once('=') {
        Some((name, _)) if !name.is_empty() => Ok(text.to_owned()),
        _ => Err(format!("'{text}' is no NAME=VALUE")),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn examples_in_the_help_are_commands() {
        let mut seen = 0;
        let root = Cli::command();
        for verb in root.get_subcommands() {
            let help = verb.get_after_help().map(ToString::to_string).unwrap_or_default();
            let examples = help.matches("\n  pactown ").count();
            assert!(
                (2..=4).contains(&examples),
                "{}: {examples} examples",
                verb.get_name()
            );
            assert!(help.contains(verb.get_name()), "{}: {help}", verb.get_name());
        }
        for command in root.get_subcommands().chain([&root]) {
            let help = command
                .get_after_help()
                .map(ToString::to_string)
                .unwrap_or_default();
            for line in help.lines().filter_map(|line| line.strip_prefix("  pactown ")) {
                if line.starts_with("COMMAND") {
                    continue;
                }
                let line = line.split(['|', '>']).next().unwrap_or(line).trim();
                let words = std::iter::once("pactown").chain(line.split(' '));
                Cli::try_parse_from(words).unwrap_or_else(|error| panic!("{line}: {error}"));
                seen += 1;
            }
        }
        assert!(seen > 40, "{seen}");
    }

    #[test]
    fn the_file_may_stand_before_and_behind_the_verb() {
        for words in [
            "pactown -f a.yaml env web",
            "pactown env -f a.yaml web",
            "pactown env web --file a.yaml",
            "pactown -f a.yaml logs -f web",
            "pactown logs --file a.yaml -f web",
            "pactown -f a.yaml exec web -- sh -f",
            "pactown exec -f a.yaml web sh -f b",
        ] {
            let cli =
                Cli::try_parse_from(words.split(' ')).unwrap_or_else(|error| panic!("{words}: {error}"));
            assert_eq!(cli.file.as_deref(), Some(Path::new("a.yaml")), "{words}");
            if let Command::Logs(logs) = cli.command {
                assert!(logs.of.follow, "{words}");
            }
        }
    }

    #[test]
    fn a_path_is_the_config_and_the_rest_are_services() {
        let split = |words: &[&str]| {
            let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
            split_config(&words)
        };
        assert_eq!(split(&["web", "api"]), (None, vec!["web".into(), "api".into()]));
        assert_eq!(
            split(&["a.yaml", "api"]),
            (Some("a.yaml".into()), vec!["api".into()])
        );
        assert_eq!(
            split(&["examples/hello"]),
            (Some("examples/hello".into()), vec![])
        );
        assert_eq!(split(&["."]), (Some(".".into()), vec![]));
        assert_eq!(
            split(&["src"]),
            (None, vec!["src".into()]),
            "a folder without an ecosystem"
        );
        assert_eq!(split(&[]), (None, vec![]));
    }

    #[test]
    fn times_are_seconds_or_have_units() {
        assert_eq!(duration("90"), Ok(Duration::from_secs(90)));
        assert_eq!(duration("0.5"), Ok(Duration::from_millis(500)));
        assert_eq!(duration("2m"), Ok(Duration::from_secs(120)));
        assert!(duration("soon").is_err() && duration("-1").is_err());
    }
}
