//! `registry serve`: a store over HTTP, until it is told to stop.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use pactown_runtime::confine::{self, Capability};
use tokio::signal::unix::{SignalKind, signal};

use super::connect;
use crate::caller::Caller;
use crate::cli::ServeArguments;
use crate::commands::Context;
use crate::error::{Error, chain};
use crate::output::Output;
use crate::registry::client::{Original, address};
use crate::registry::server::{Anonymous, Listening, LogLine, Settings, Tls, Upstream};
use crate::registry::store::Store;

/// Descriptors beyond those of connections: the store's, and what the process has anyway.
const SPARE: u64 = 128;

/// Lines of the access log that wait to be written; what comes beyond is counted and left out.
const WAITING: usize = 16 * 1024;

/// Where the older program kept its store.
const OLD_STORE: &str = ".pactown-registry";

/// Serves.
///
/// # Errors
/// The address is taken, the store cannot be opened, a certificate is none.
pub(super) fn run(context: &Context, arguments: &ServeArguments) -> Result<(), Error> {
    let caller = Caller::detect();
    let storage = match &arguments.storage {
        Some(storage) => storage.clone(),
        None => {
            connect::act_as(&caller)?;
            connect::default_store(&caller)
        }
    };
    let tls = tls(arguments)?;
    let upstream = upstream(&caller, arguments)?;
    confine(&storage, arguments.port)?;
    let store = Store::open(&storage).map_err(|error| Error::Environment {
        message: format!(
            "the store in {} cannot be used: {}",
            storage.display(),
            chain(&error)
        ),
        hint: None,
    })?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .max_blocking_threads(64)
        .build()
        .map_err(|error| failed(&error.to_string()))?;
    let settings = Settings {
        upstream,
        ..settings(arguments)
    };
    runtime.block_on(serve(context, arguments, settings, store, tls))
}

/// Before there is another thread: what strangers send is read by a process that can write its store, start no program and
/// has no privilege but what its store and its port take. SQLite sorts what is large in a temporary directory.
fn confine(storage: &Path, port: u16) -> Result<(), Error> {
    let refused = |message: String| Error::Environment { message, hint: None };
    fs::create_dir_all(storage)
        .map_err(|error| refused(format!("cannot make {}: {error}", storage.display())))?;
    let strange = fs::metadata(storage).is_ok_and(|it| it.uid() != rustix::process::geteuid().as_raw());
    let needed = [
        (Capability::CAP_DAC_OVERRIDE, strange),
        (Capability::CAP_NET_BIND_SERVICE, (1..1024).contains(&port)),
    ];
    let keep = needed.iter().filter(|(_, needed)| *needed);
    let keep: Vec<Capability> = keep.map(|(capability, _)| *capability).collect();
    let temporary = std::env::temp_dir();
    confine::confine(&[storage, &temporary, Path::new("/var/tmp")], &keep)
        .map_err(|failure| refused(failure.to_string()))
}

async fn serve(
    context: &Context,
    arguments: &ServeArguments,
    settings: Settings,
    store: Store,
    tls: Option<Tls>,
) -> Result<(), Error> {
    let address = SocketAddr::new(arguments.host, arguments.port);
    let scheme = if tls.is_some() { "https" } else { "http" };
    let storage = store.directory().display().to_string();
    announce_risks(context, arguments, &settings);
    let connections = connections(arguments.max_connections);
    let listening = Listening::bind(address, store, settings, connections, tls).await;
    let listening = listening.map_err(|error| taken(address, &error))?;
    let bound = listening.address().map_err(|error| failed(&error.to_string()))?;
    if !arguments.no_access_log {
        listening.tell(access_log(&context.output)?);
    }
    context
        .output
        .notice(&format!("{scheme}://{bound} serves {storage}"));
    let mut terminate = signal(SignalKind::terminate()).map_err(|error| failed(&error.to_string()))?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(|error| failed(&error.to_string()))?;
    let stop = async {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    if !listening.serve(stop).await {
        context.output.notice("some requests were cut off");
    }
    Ok(())
}

fn settings(arguments: &ServeArguments) -> Settings {
    let origins = std::env::var("PACTOWN_REGISTRY_CORS_ORIGINS").unwrap_or_default();
    let mut hosts = arguments.hosts.clone();
    if !arguments.host.is_loopback()
        && let Ok(name) = nix::unistd::gethostname()
    {
        hosts.extend(name.into_string());
    }
    Settings {
        anonymous: arguments.anonymous.unwrap_or(Anonymous::Read),
        hosts,
        origins: origins
            .split(',')
            .map(str::trim)
            .filter(|origin| !origin.is_empty())
            .map(ToOwned::to_owned)
            .collect(),
        max_body: usize::try_from(arguments.max_body.as_u64()).unwrap_or(usize::MAX),
        rate: arguments.rate,
        upstream: None,
    }
}

/// The registry that is mirrored, with the token that there is for it.
fn upstream(caller: &Caller, arguments: &ServeArguments) -> Result<Option<Arc<dyn Upstream>>, Error> {
    let Some(text) = &arguments.upstream else {
        return Ok(None);
    };
    let url = address(text).map_err(|message| Error::Usage {
        message,
        hint: Some("--upstream https://HOST[:PORT], a registry of pactown".to_owned()),
    })?;
    let token = connect::token_for(caller, &url)?;
    let original = Original::new(&url, token).map_err(connect::failed)?;
    Ok(Some(Arc::new(original)))
}

fn announce_risks(context: &Context, arguments: &ServeArguments, settings: &Settings) {
    if arguments.host.is_loopback() {
        return;
    }
    if arguments.tls_cert.is_none() {
        context
            .output
            .notice("tokens and READMEs travel in the clear: give --tls-cert and --tls-key");
    }
    if settings.anonymous >= Anonymous::Publish {
        context
            .output
            .notice("everybody who reaches this server may publish");
    }
}

fn tls(arguments: &ServeArguments) -> Result<Option<Tls>, Error> {
    let (Some(certificates), Some(key)) = (&arguments.tls_cert, &arguments.tls_key) else {
        return Ok(None);
    };
    let loaded = Tls::load(certificates, key);
    loaded
        .map(Some)
        .map_err(|message| Error::Usage { message, hint: None })
}

/// As many connections as are wished for and as there are descriptors.
fn connections(wished: u32) -> usize {
    let wished = u64::from(wished);
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else {
        return 256;
    };
    let wanted = (wished + SPARE).clamp(soft, hard.max(soft));
    let have = match setrlimit(Resource::RLIMIT_NOFILE, wanted, hard) {
        Ok(()) => wanted,
        Err(_) => soft,
    };
    usize::try_from(wished.min(have.saturating_sub(SPARE)).max(16)).unwrap_or(16)
}

/// Writes lines on a thread of its own, many at once, so that no request waits for a slow reader of the log.
fn access_log(output: &Output) -> Result<impl Fn(LogLine) + Send + Sync + 'static, Error> {
    let (sender, lines) = mpsc::sync_channel::<LogLine>(WAITING);
    let output = output.clone();
    std::thread::Builder::new()
        .name("access-log".to_owned())
        .spawn(move || {
            while let Ok(first) = lines.recv() {
                let text: String = std::iter::once(first)
                    .chain(lines.try_iter().take(1000))
                    .map(|line| as_json(&line))
                    .collect();
                output.text(&text);
            }
        })
        .map_err(|error| failed(&error.to_string()))?;
    Ok(move |line| {
        // Full: the reader of the log is too slow, and clients are not to wait for it.
        let _ = sender.try_send(line);
    })
}

fn as_json(line: &LogLine) -> String {
    let text = serde_json::to_string(line).unwrap_or_default();
    format!("{}\n", crate::registry::text::plain(&text))
}

fn taken(address: SocketAddr, error: &std::io::Error) -> Error {
    Error::Environment {
        message: format!("cannot listen on {address}: {error}"),
        hint: Some("choose another port: --port N, or --port 0 for a free one".to_owned()),
    }
}

fn failed(message: &str) -> Error {
    Error::Internal {
        message: message.to_owned(),
        source: None,
    }
}

/// The flags of the older `pactown-registry` program, with its defaults where they are safe: its clients publish
/// without a token, which is fine as long as only this machine can.
pub(in crate::commands) fn as_older_program(arguments: &mut ServeArguments) {
    arguments.storage.get_or_insert_with(|| PathBuf::from(OLD_STORE));
    if arguments.host.is_loopback() {
        arguments.anonymous.get_or_insert(Anonymous::Publish);
    }
}
