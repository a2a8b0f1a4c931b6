//! Arguments of the verbs that write ecosystems: `init`, `scan`, `generate` and `import`.

use std::path::PathBuf;

use clap::Args;

/// Arguments of `init`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  pactown init\n  pactown init -n shop\n  pactown init -o shop/saas.pactown.yaml"
)]
pub struct InitArguments {
    /// The ecosystem's name
    #[arg(short, long, value_name = "NAME", default_value = "my-ecosystem")]
    pub name: String,
    /// The ecosystem file; READMEs go into folders beside it
    #[arg(short, long, value_name = "FILE", default_value = "saas.pactown.yaml")]
    pub output: PathBuf,
    /// Replace files that are there
    #[arg(long)]
    pub force: bool,
}

/// Arguments of `scan`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  pactown scan\n  pactown scan services --json")]
pub struct ScanArguments {
    /// The folder
    #[arg(default_value = ".", hide_default_value = true)]
    pub folder: PathBuf,
}

/// Arguments of `generate`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  pactown generate services\n  pactown generate services -n shop -p 9000\n  pactown generate . --force"
)]
pub struct GenerateArguments {
    /// The folder with the READMEs
    #[arg(default_value = ".", hide_default_value = true)]
    pub folder: PathBuf,
    /// The ecosystem's name [default: the folder's]
    #[arg(short, long, value_name = "NAME")]
    pub name: Option<String>,
    /// The ecosystem file
    #[arg(short, long, value_name = "FILE", default_value = "saas.pactown.yaml")]
    pub output: PathBuf,
    /// First port for services whose README does not say one [default: 8000]
    #[arg(short = 'p', long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    pub base_port: Option<u16>,
    /// Replace the file if it is there
    #[arg(long)]
    pub force: bool,
}

/// Arguments of `import`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  pactown import compose.yaml\n  pactown import Procfile -n shop\n  pactown import compose.yaml -o shop/saas.pactown.yaml --json"
)]
pub struct ForeignArguments {
    /// The file: a Procfile by its name, else a compose file
    #[arg(value_name = "COMPOSE|PROCFILE")]
    pub source: PathBuf,
    /// The ecosystem's name [default: the compose file's, or the folder's]
    #[arg(short, long, value_name = "NAME")]
    pub name: Option<String>,
    /// The ecosystem file; READMEs go into folders beside it
    #[arg(short, long, value_name = "FILE", default_value = "saas.pactown.yaml")]
    pub output: PathBuf,
    /// Replace files that are there
    #[arg(long)]
    pub force: bool,
}
