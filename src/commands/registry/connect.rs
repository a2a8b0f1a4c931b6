//! From the command line, the environment and the files to a registry.

use std::path::{Path, PathBuf};

use nix::unistd::{Gid, Uid, initgroups, setresgid, setresuid};

use crate::caller::Caller;
use crate::cli::RegistryOptions;
use crate::commands::{Context, wish};
use crate::config::{self, Ecosystem};
use crate::error::{Error, chain};
use crate::registry::api::DEFAULT_NAMESPACE;
use crate::registry::client::{Client, ClientError, Logins, OciPlace, Place, Sources, oci, own_store};

/// A registry that was found, and how names are read there.
pub(super) struct Connection {
    pub(super) client: Client,
    pub(super) place: Place,
    /// Of names without one.
    pub(super) namespace: String,
}

/// The registry that is meant. An ecosystem file counts when there is one.
///
/// # Errors
/// It is none, or cannot be opened.
pub(super) fn connect(context: &Context, options: &RegistryOptions) -> Result<Connection, Error> {
    let ecosystem = ecosystem(context)?;
    connect_for(options, ecosystem.as_ref())
}

/// The same, with the ecosystem that is worked on.
pub(super) fn connect_for(
    options: &RegistryOptions,
    ecosystem: Option<&Ecosystem>,
) -> Result<Connection, Error> {
    let caller = Caller::detect();
    let sources = sources(&caller, options, ecosystem)?;
    let place = Place::choose(&sources).map_err(|message| Error::Usage { message, hint: None })?;
    if !matches!(&place, Place::Store(path) if *path != sources.store) {
        act_as(&caller)?;
    }
    let client = place.open().map_err(failed)?;
    let written = ecosystem.map(|ecosystem| ecosystem.registry.namespace.clone());
    let namespace = [options.namespace.clone(), written]
        .into_iter()
        .flatten()
        .find(|name| !name.is_empty());
    Ok(Connection {
        client,
        place,
        namespace: namespace.unwrap_or_else(|| DEFAULT_NAMESPACE.to_owned()),
    })
}

/// One repository of an OCI registry, whatever registry is meant otherwise.
///
/// # Errors
/// A login would travel in the clear, or a file with logins cannot be read.
pub(super) fn repository(options: &RegistryOptions, address: &oci::Address) -> Result<OciPlace, Error> {
    let caller = Caller::detect();
    let sources = sources(&caller, options, None)?;
    act_as(&caller)?;
    let address = oci::Address {
        wanted: None,
        ..address.clone()
    };
    Ok(OciPlace::new(address, true, &sources))
}

fn sources(
    caller: &Caller,
    options: &RegistryOptions,
    ecosystem: Option<&Ecosystem>,
) -> Result<Sources, Error> {
    let variable = |name: &str| caller.env.get(name).cloned();
    let registry = ecosystem.map(|ecosystem| &ecosystem.registry);
    Ok(Sources {
        option: options.registry.clone(),
        variable: variable("PACTOWN_REGISTRY_URL"),
        file: registry.map(|registry| registry.url.clone()),
        token_variable: variable("PACTOWN_REGISTRY_TOKEN"),
        token_file: registry.and_then(|registry| registry.token.clone()),
        logins: logins(&login_file(caller))?,
        docker: docker_logins(caller)?,
        plain_http: options.plain_http,
        store: default_store(caller),
    })
}

/// The store of whoever calls.
pub(super) fn default_store(caller: &Caller) -> PathBuf {
    own_store(&caller.home, own_variable(caller, "XDG_DATA_HOME"))
}

/// The token for a registry that is named: the variable's, else that of a login to it.
///
/// # Errors
/// The login file cannot be read.
pub(super) fn token_for(caller: &Caller, url: &str) -> Result<Option<String>, Error> {
    let told = caller
        .env
        .get("PACTOWN_REGISTRY_TOKEN")
        .filter(|told| !told.is_empty());
    let known = logins(&login_file(caller))?;
    Ok(told.or_else(|| known.tokens.get(url)).cloned())
}

/// Where `login` keeps what it knows.
pub(super) fn login_file(caller: &Caller) -> PathBuf {
    Logins::path(&caller.home, own_variable(caller, "XDG_CONFIG_HOME"))
}

/// Under sudo such a variable is root's, not the caller's.
fn own_variable<'a>(caller: &'a Caller, name: &str) -> Option<&'a str> {
    let own = Uid::current().as_raw() == caller.uid;
    caller.env.get(name).filter(|_| own).map(String::as_str)
}

/// What the login file says.
pub(super) fn logins(file: &Path) -> Result<Logins, Error> {
    Logins::read(file).map_err(|error| Error::Environment {
        message: format!("{} cannot be read: {error}", file.display()),
        hint: Some("remove it, and log in again".to_owned()),
    })
}

/// What `docker login` kept for whoever calls.
fn docker_logins(caller: &Caller) -> Result<oci::DockerLogins, Error> {
    let folder = own_variable(caller, "DOCKER_CONFIG").map(PathBuf::from);
    let file = folder
        .unwrap_or_else(|| caller.home.join(".docker"))
        .join("config.json");
    oci::DockerLogins::read(&file).map_err(|error| Error::Environment {
        message: format!("{} cannot be read: {error}", file.display()),
        hint: Some("mend it, or set DOCKER_CONFIG to another folder".to_owned()),
    })
}

/// Under sudo: what is written from here on belongs to the person who typed the command.
///
/// # Errors
/// The system refuses.
pub(super) fn act_as(caller: &Caller) -> Result<(), Error> {
    if !Uid::effective().is_root() || caller.uid == 0 {
        return Ok(());
    }
    let (uid, gid) = (Uid::from_raw(caller.uid), Gid::from_raw(caller.gid));
    let name = std::ffi::CString::new(caller.user.as_str()).unwrap_or_default();
    let become_them = || {
        initgroups(&name, gid)?;
        setresgid(gid, gid, gid)?;
        setresuid(uid, uid, uid)
    };
    become_them().map_err(|error| Error::Environment {
        message: format!("cannot act as {}: {error}", caller.user),
        hint: None,
    })
}

/// The ecosystem file, when there is one here or one is named.
fn ecosystem(context: &Context) -> Result<Option<Ecosystem>, Error> {
    let file = match wish::locate(context, None) {
        Ok(file) => file,
        Err(error) if context.file.is_some() => return Err(error),
        Err(_) => return Ok(None),
    };
    let loaded = config::load(&file, &Caller::detect().env)?;
    Ok(Some(loaded.ecosystem))
}

/// As the command line reports it.
pub(super) fn failed(error: ClientError) -> Error {
    let text = chain(&error);
    match error {
        ClientError::Refused { status: 401, .. } => Error::Environment {
            message: text,
            hint: Some("log in: pactown registry login URL, or set PACTOWN_REGISTRY_TOKEN".to_owned()),
        },
        ClientError::Refused { status: 403, .. } => Error::Environment {
            message: text,
            hint: Some("an administrator makes tokens: pactown registry token create --scope …".to_owned()),
        },
        ClientError::Refused { status: 507, .. } | ClientError::Store { .. } | ClientError::Io(_) => {
            Error::Environment {
                message: text,
                hint: None,
            }
        }
        _ => Error::Failed(text),
    }
}
