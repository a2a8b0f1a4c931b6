//! The verbs of the command line: one file each. They load the wish, ask the supervisor, and show what it answers;
//! none of them makes a sandbox itself.

mod analyze;
mod attach;
mod audit;
mod author;
mod build;
mod bundle;
mod completion;
mod control;
mod doctor;
mod down;
mod dry_run;
mod errand;
mod events;
mod evidence;
mod exec;
mod follow;
mod imports;
mod inspect;
mod job;
mod lock;
mod logs;
mod open;
mod preflight;
mod privilege;
mod ps;
mod registry;
mod report;
mod run;
mod show;
mod stats;
mod storage;
mod supply;
mod terminal;
mod test;
mod top;
mod ui;
mod up;
mod validate;
mod wait;
mod why;
mod wish;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;

use crate::cli::{Cli, Color, Command};
use crate::error::Error;
use crate::output::Output;

/// What every verb knows of the command line.
pub(crate) struct Context {
    /// `--file`.
    pub(crate) file: Option<PathBuf>,
    /// `--instance`.
    pub(crate) instance: Option<String>,
    /// `--json`.
    pub(crate) json: bool,
    /// Where to print.
    pub(crate) output: Output,
}

/// The program as its user sees it: the command line in, an exit code out.
pub fn main() -> ExitCode {
    let cli = parse();
    let choice = match cli.color {
        Color::Auto => anstream::ColorChoice::Auto,
        Color::Always => anstream::ColorChoice::Always,
        Color::Never => anstream::ColorChoice::Never,
    };
    let context = Context {
        file: cli.file,
        instance: cli.instance,
        json: cli.json,
        output: Output::new(choice, cli.quiet),
    };
    match dispatch(&context, &cli.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            context.output.error(&error);
            ExitCode::from(error.exit_code())
        }
    }
}

/// The command line; of a program called `pactown-registry` it is that of the older tool's server.
fn parse() -> Cli {
    let mut words = std::env::args_os();
    let program = words.next().map(PathBuf::from).unwrap_or_default();
    if program.file_name().is_none_or(|name| name != "pactown-registry") {
        return Cli::parse();
    }
    let words = words.filter(|word| word != "--reload");
    let served = ["pactown", "registry", "serve"].map(OsString::from);
    let mut cli = Cli::parse_from(served.into_iter().chain(words));
    registry::as_older_program(&mut cli.command);
    cli
}

fn dispatch(context: &Context, command: &Command) -> Result<(), Error> {
    match command {
        Command::Up(arguments) => up::run(context, arguments),
        Command::Down(arguments) => down::run(context, arguments),
        Command::Ps(arguments) => ps::run(context, arguments),
        Command::Stats(arguments) => stats::run(context, arguments),
        Command::Top(arguments) => top::run(context, arguments),
        Command::Ui(arguments) => ui::run(context, arguments),
        Command::Logs(arguments) => logs::run(context, arguments),
        Command::Exec(arguments) => exec::run(context, arguments),
        Command::Run(arguments) => run::run(context, arguments),
        Command::Build(arguments) => build::run(context, arguments),
        Command::Lock(arguments) => lock::run(context, arguments),
        Command::Test(arguments) => test::run(context, arguments),
        Command::Attach(arguments) => attach::run(context, arguments),
        Command::Start(arguments) => control::start(context, arguments),
        Command::Stop(arguments) => control::stop(context, arguments),
        Command::Restart(arguments) => control::restart(context, arguments),
        Command::Scale(arguments) => control::scale(context, arguments),
        Command::Wait(arguments) => wait::run(context, arguments),
        Command::Events(arguments) => events::run(context, arguments),
        Command::Why(arguments) => why::run(context, arguments),
        Command::Report(arguments) => report::run(context, arguments),
        Command::Open(arguments) => open::run(context, arguments),
        Command::Inspect(arguments) => inspect::run(context, arguments),
        Command::Audit(arguments) => audit::run(context, arguments),
        Command::Analyze => analyze::run(context),
        Command::Ls => ps::list(context),
        Command::Init(arguments) => author::init(context, arguments),
        Command::Scan(arguments) => author::scan(context, arguments),
        Command::Generate(arguments) => author::generate(context, arguments),
        Command::Import(arguments) => author::import(context, arguments),
        Command::Validate(arguments) => validate::run(context, arguments),
        Command::Graph(arguments) => show::graph(context, arguments),
        Command::Config(arguments) => show::config(context, arguments),
        Command::Schema => show::schema(context),
        Command::Env(arguments) => show::env(context, arguments),
        Command::Parse(arguments) => show::parse(context, arguments),
        Command::Spec(arguments) => match &arguments.bundle {
            Some(directory) => bundle::run(context, arguments.service.as_deref(), directory),
            None => show::spec(context, arguments),
        },
        Command::Publish(arguments) => registry::publish(context, arguments),
        Command::Pull(arguments) => registry::pull(context, arguments),
        Command::Registry(arguments) => registry::run(context, arguments),
        Command::Df(arguments) => storage::df(context, arguments),
        Command::Prune(arguments) => storage::prune(context, arguments),
        Command::Doctor(arguments) => doctor::run(context, arguments),
        Command::Completion(arguments) => completion::run(context, arguments),
    }
}
