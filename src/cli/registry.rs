//! Verbs about registries: `publish`, `pull`, `registry …`.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};

use super::duration;
use crate::registry::server::Anonymous;

/// Which registry is meant.
#[derive(Debug, Clone, Default, Args)]
pub struct RegistryOptions {
    /// https://HOST[:PORT], oci://HOST[:PORT]/PATH, a path to a store, or local
    #[arg(short, long, value_name = "URL|PATH")]
    pub registry: Option<String>,
    /// Namespace of names without one [default: default]
    #[arg(long, value_name = "NAME")]
    pub namespace: Option<String>,
    /// Reach an OCI registry on another machine without TLS
    #[arg(long)]
    pub plain_http: bool,
}

/// Arguments of `publish`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  pactown publish\n  pactown publish examples/hello -n\n  pactown publish README.md --name greeter --version 1.2.0\n  pactown publish README.md oci://127.0.0.1:5000/acme/greeter:1.2.0"
)]
pub struct PublishArguments {
    /// An ecosystem file or its folder and services of it (default: all), or a README, which may go to
    /// oci://HOST[:PORT]/REPOSITORY[:VERSION]
    #[arg(value_name = "CONFIG|SERVICE|README")]
    pub targets: Vec<String>,
    /// Name of the artifact, of a README [default: its folder]
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
    /// Version to publish [default: the ecosystem's]
    #[arg(long, value_name = "VERSION")]
    pub version: Option<String>,
    /// One line about it [default: the README's title]
    #[arg(long, value_name = "TEXT")]
    pub description: Option<String>,
    /// A word to find it by; may be repeated
    #[arg(long = "tag", value_name = "WORD")]
    pub tags: Vec<String>,
    /// Run the tests of the READMEs first, as `pactown test` does; publish, with the result, when none fails
    #[arg(long)]
    pub test: bool,
    /// Sign with this private key, as `registry keygen` makes it
    #[arg(long, value_name = "KEYFILE")]
    pub sign: Option<PathBuf>,
    /// Check everything and publish nothing
    #[arg(short = 'n', long)]
    pub dry_run: bool,
    /// Where to.
    #[command(flatten)]
    pub registry: RegistryOptions,
}

/// Arguments of `pull`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  pactown pull greeter\n  pactown pull acme/auth@^1.2\n  pactown pull -o services greeter@1.0.0\n  pactown pull oci://127.0.0.1:5000/acme/greeter@^1"
)]
pub struct PullArguments {
    /// What to fetch; without a range the latest release. Also oci://HOST[:PORT]/REPOSITORY, with :TAG, @RANGE or
    /// @sha256:DIGEST
    #[arg(required = true, value_name = "[NAMESPACE/]NAME[@RANGE]")]
    pub references: Vec<String>,
    /// Folder that gets a folder for each
    #[arg(
        short,
        long,
        value_name = "DIRECTORY",
        default_value = ".",
        hide_default_value = true
    )]
    pub output: PathBuf,
    /// Replace a README that is different
    #[arg(long)]
    pub force: bool,
    /// Take only what this public key has signed: a file, or the line that `registry keygen` prints
    #[arg(long, value_name = "KEY|FILE")]
    pub require_signature: Option<String>,
    /// Where from.
    #[command(flatten)]
    pub registry: RegistryOptions,
}

/// Arguments of `registry`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  pactown registry search auth\n  pactown registry serve --port 8800\n  pactown registry token create --scope publish:acme/*"
)]
pub struct RegistryArguments {
    /// What to do.
    #[command(subcommand)]
    pub verb: RegistryVerb,
}

/// What is done with a registry.
#[derive(Debug, Subcommand)]
pub enum RegistryVerb {
    /// Serve a store over HTTP
    #[command(
        after_help = "Examples:\n  pactown registry serve\n  pactown registry serve --host 0.0.0.0 --allow-host registry.example.org --tls-cert cert.pem --tls-key key.pem"
    )]
    Serve(ServeArguments),
    /// Keep a token for a registry, and make it the default
    #[command(
        after_help = "Examples:\n  pactown registry login https://registry.example.org < token.txt\n  pactown registry login oci://registry.example.org -u ann < password.txt"
    )]
    Login(LoginArguments),
    /// Forget the token for a registry
    Logout(LogoutArguments),
    /// Search names, descriptions, tags and READMEs
    Search(SearchArguments),
    /// Show an artifact
    Info(ArtifactArguments),
    /// List the versions of an artifact
    Versions(ArtifactArguments),
    /// Hide a version from new resolutions
    #[command(
        after_help = "Examples:\n  pactown registry yank acme/api@1.0.0\n  pactown registry yank --undo api@1.0.0"
    )]
    Yank(YankArguments),
    /// Take an artifact away with all its versions
    Delete(DeleteArguments),
    /// Make, list and revoke tokens
    Token(TokenArguments),
    /// Make a key pair that signs what is published
    #[command(
        after_help = "Examples:\n  pactown registry keygen release.key\n  pactown publish --sign release.key\n  pactown pull greeter --require-signature release.key.pub"
    )]
    Keygen(KeygenArguments),
    /// Compare contents with their checksums
    Verify(VerifyArguments),
    /// Find and fetch what an ecosystem file takes from its registry
    #[command(hide = true)]
    Resolve(ResolveArguments),
    /// Remove contents that no version names any more
    Gc(GcArguments),
    /// Take over the store of the Python tool
    #[command(after_help = "Examples:\n  pactown registry import-python ./.pactown-registry")]
    ImportPython(ImportArguments),
}

/// Arguments of `registry serve`.
#[derive(Debug, Args)]
pub struct ServeArguments {
    /// Address to listen on
    #[arg(long, default_value = "127.0.0.1")]
    pub host: IpAddr,
    /// Port to listen on; 0 is any
    #[arg(short, long, default_value_t = 8800)]
    pub port: u16,
    /// The store's folder [default: your own store]
    #[arg(long, value_name = "DIRECTORY")]
    pub storage: Option<PathBuf>,
    /// What may be done without a token: none, read or publish
    #[arg(long, value_name = "WHAT", hide_possible_values = true)]
    pub anonymous: Option<Anonymous>,
    /// Another registry: what is not here is fetched from there, checked, and kept
    #[arg(long, value_name = "URL")]
    pub upstream: Option<String>,
    /// A name by which clients call this server; may be repeated
    #[arg(long = "allow-host", value_name = "NAME")]
    pub hosts: Vec<String>,
    /// Certificate chain in PEM; with --tls-key
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    pub tls_cert: Option<PathBuf>,
    /// Private key in PEM
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,
    /// Largest body of a request
    #[arg(long, value_name = "SIZE", default_value = "4MiB")]
    pub max_body: bytesize::ByteSize,
    /// Connections at the same time
    #[arg(long, value_name = "N", default_value_t = 1024, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub max_connections: u32,
    /// Requests per second and address [default: no limit]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub rate: Option<u32>,
    /// Do not tell of each request
    #[arg(long)]
    pub no_access_log: bool,
}

/// Arguments of `registry login`.
#[derive(Debug, Args)]
pub struct LoginArguments {
    /// Its address
    pub url: String,
    /// Of an OCI registry; the password is asked for
    #[arg(short, long, value_name = "NAME")]
    pub username: Option<String>,
}

/// Arguments of `registry logout`.
#[derive(Debug, Args)]
pub struct LogoutArguments {
    /// Its address [default: the one that was logged in to last]
    pub url: Option<String>,
}

/// Arguments of `registry search`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  pactown registry search auth\n  pactown registry search --namespace acme --json"
)]
pub struct SearchArguments {
    /// What to look for; nothing: list everything
    #[arg(value_name = "TEXT")]
    pub text: Option<String>,
    /// Show at most so many
    #[arg(short, long, default_value_t = 100)]
    pub limit: usize,
    /// Only this namespace
    #[arg(long, value_name = "NAME")]
    pub namespace: Option<String>,
    /// https://HOST[:PORT], a path to a store, or local
    #[arg(short, long, value_name = "URL|PATH")]
    pub registry: Option<String>,
}

/// Arguments of verbs about one artifact.
#[derive(Debug, Args)]
pub struct ArtifactArguments {
    /// The artifact
    #[arg(value_name = "[NAMESPACE/]NAME")]
    pub artifact: String,
    /// Where.
    #[command(flatten)]
    pub registry: RegistryOptions,
}

/// Arguments of `registry yank`.
#[derive(Debug, Args)]
pub struct YankArguments {
    /// The version
    #[arg(value_name = "[NAMESPACE/]NAME@VERSION")]
    pub reference: String,
    /// Show it again
    #[arg(long)]
    pub undo: bool,
    /// Where.
    #[command(flatten)]
    pub registry: RegistryOptions,
}

/// Arguments of `registry delete`.
#[derive(Debug, Args)]
pub struct DeleteArguments {
    /// The artifact
    #[arg(value_name = "[NAMESPACE/]NAME")]
    pub artifact: String,
    /// Do not ask
    #[arg(short, long)]
    pub yes: bool,
    /// Where.
    #[command(flatten)]
    pub registry: RegistryOptions,
}

/// Arguments of `registry token`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  pactown registry token create --scope admin --name ops\n  pactown registry token create --scope publish:acme/* --expires 90d\n  pactown registry token list"
)]
pub struct TokenArguments {
    /// What to do.
    #[command(subcommand)]
    pub verb: TokenVerb,
}

/// What is done with tokens.
#[derive(Debug, Subcommand)]
pub enum TokenVerb {
    /// Make a token; it is shown once
    Create(TokenCreateArguments),
    /// List tokens
    List(TokenListArguments),
    /// End a token
    Revoke(TokenRevokeArguments),
}

/// Arguments of `registry token create`.
#[derive(Debug, Args)]
pub struct TokenCreateArguments {
    /// admin, read:NAMESPACE, publish:NAMESPACE[/NAME]; may be repeated
    #[arg(long = "scope", required = true, value_name = "SCOPE")]
    pub scopes: Vec<String>,
    /// What it is for
    #[arg(long, default_value = "token", hide_default_value = true)]
    pub name: String,
    /// Time until it ends (30d, 12h) [default: never]
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub expires: Option<Duration>,
    /// https://HOST[:PORT], a path to a store, or local
    #[arg(short, long, value_name = "URL|PATH")]
    pub registry: Option<String>,
}

/// Arguments of `registry token list`.
#[derive(Debug, Args)]
pub struct TokenListArguments {
    /// https://HOST[:PORT], a path to a store, or local
    #[arg(short, long, value_name = "URL|PATH")]
    pub registry: Option<String>,
}

/// Arguments of `registry token revoke`.
#[derive(Debug, Args)]
pub struct TokenRevokeArguments {
    /// Its id, as `list` shows it
    pub id: String,
    /// https://HOST[:PORT], a path to a store, or local
    #[arg(short, long, value_name = "URL|PATH")]
    pub registry: Option<String>,
}

/// Arguments of `registry keygen`.
#[derive(Debug, Args)]
pub struct KeygenArguments {
    /// Gets the private key, readable by you alone; the public one goes beside it, with `.pub` behind its name
    pub file: PathBuf,
}

/// Arguments of `registry verify`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  pactown registry verify\n  pactown registry verify acme/api@1.0.0")]
pub struct VerifyArguments {
    /// One version; nothing: all there is
    #[arg(value_name = "[NAMESPACE/]NAME[@RANGE]")]
    pub reference: Option<String>,
    /// Where.
    #[command(flatten)]
    pub registry: RegistryOptions,
}

/// Arguments of `registry resolve`.
#[derive(Debug, Args)]
pub struct ResolveArguments {
    /// The ecosystem file
    pub file: PathBuf,
    /// Take the newest versions, whatever is locked
    #[arg(long)]
    pub update: bool,
}

/// Arguments of `registry gc`.
#[derive(Debug, Args)]
pub struct GcArguments {
    /// https://HOST[:PORT], a path to a store, or local
    #[arg(short, long, value_name = "URL|PATH")]
    pub registry: Option<String>,
}

/// Arguments of `registry import-python`.
#[derive(Debug, Args)]
pub struct ImportArguments {
    /// Its folder, with `index.json`
    #[arg(value_name = "DIRECTORY")]
    pub directory: PathBuf,
    /// https://HOST[:PORT], a path to a store, or local
    #[arg(short, long, value_name = "URL|PATH")]
    pub registry: Option<String>,
}
