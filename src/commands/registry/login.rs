//! `registry login` and `logout`: a token is kept once the registry says that it works.

use super::connect::{act_as, failed, login_file, logins};
use crate::caller::Caller;
use crate::cli::{LoginArguments, LogoutArguments};
use crate::commands::Context;
use crate::error::Error;
use crate::output;
use crate::registry::client::{Place, address, oci};
use crate::registry::text::plain;

pub(super) fn login(context: &Context, arguments: &LoginArguments) -> Result<(), Error> {
    let oci = oci_address(&arguments.url)?;
    let url = match &oci {
        Some(address) => address.to_string(),
        None => address(&arguments.url).map_err(usage)?,
    };
    let caller = Caller::detect();
    act_as(&caller)?;
    let file = login_file(&caller);
    let mut known = logins(&file)?;
    let token = match (&oci, &arguments.username) {
        (None, Some(_)) => return Err(usage("only OCI registries have users".to_owned())),
        (_, Some(user)) => format!("{user}:{}", secret(&caller, "password")?),
        (_, None) => secret(&caller, "token")?,
    };
    let told = match oci {
        Some(address) => {
            let login = address.login();
            let client = oci::Remote::new(&address, true, false, Some(oci::Credentials::parse(&token)));
            client.and_then(|client| client.greet()).map_err(failed)?;
            known.tokens.insert(login, token);
            String::new()
        }
        None => {
            let place = Place::Server {
                url: url.clone(),
                token: Some(token.clone()),
            };
            let own = place
                .open()
                .and_then(|client| client.own_token())
                .map_err(failed)?;
            known.tokens.insert(url.clone(), token);
            format!(": {}", plain(&own.scopes.join(", ")))
        }
    };
    known.default = Some(url.clone());
    keep(&known, &file)?;
    context.output.line(&format!("logged in to {url}{told}"));
    Ok(())
}

/// Not an argument: those are seen by everybody on this machine.
fn secret(caller: &Caller, what: &str) -> Result<String, Error> {
    let told = caller
        .env
        .get("PACTOWN_REGISTRY_TOKEN")
        .filter(|told| !told.is_empty());
    let secret = told
        .cloned()
        .unwrap_or_else(|| output::ask(&format!("{what}: ")).unwrap_or_default());
    match secret.is_empty() {
        true => Err(Error::Usage {
            message: format!("there is no {what}"),
            hint: Some("type it, send it to standard input, or set PACTOWN_REGISTRY_TOKEN".to_owned()),
        }),
        false => Ok(secret),
    }
}

fn oci_address(text: &str) -> Result<Option<oci::Address>, Error> {
    match text.starts_with(oci::SCHEME) {
        true => text.parse().map(Some).map_err(usage),
        false => Ok(None),
    }
}

fn usage(message: String) -> Error {
    Error::Usage { message, hint: None }
}

pub(super) fn logout(context: &Context, arguments: &LogoutArguments) -> Result<(), Error> {
    let caller = Caller::detect();
    act_as(&caller)?;
    let file = login_file(&caller);
    let mut known = logins(&file)?;
    let url = match (&arguments.url, &known.default) {
        (Some(url), _) if oci_address(url)?.is_some() => url.clone(),
        (Some(url), _) => address(url).map_err(usage)?,
        (None, Some(default)) => default.clone(),
        (None, None) => return Err(Error::Failed("there is no login".to_owned())),
    };
    // One login is for all of an OCI registry.
    let login = |url: &str| match oci_address(url) {
        Ok(Some(address)) => address.login(),
        _ => url.to_owned(),
    };
    let name = login(&url);
    let was_known = known.tokens.remove(&name).is_some();
    if known
        .default
        .as_deref()
        .is_some_and(|default| login(default) == name)
    {
        known.default = None;
    }
    keep(&known, &file)?;
    if !was_known {
        return Err(Error::Failed(format!("there is no login to {url}")));
    }
    context.output.line(&format!("logged out of {url}"));
    Ok(())
}

fn keep(logins: &crate::registry::client::Logins, file: &std::path::Path) -> Result<(), Error> {
    logins.write(file).map_err(|error| Error::Environment {
        message: format!("{} cannot be written: {error}", file.display()),
        hint: None,
    })
}
