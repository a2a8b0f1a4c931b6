//! `registry login` and `logout`: a token is kept once the registry says that it works.

use super::connect::{act_as, failed, login_file, logins};
use crate::caller::Caller;
use crate::cli::{LoginArguments, LogoutArguments};
use crate::commands::Context;
use crate::error::Error;
use crate::output;
use crate::registry::client::{Client, Place, address};
use crate::registry::text::plain;

pub(super) fn login(context: &Context, arguments: &LoginArguments) -> Result<(), Error> {
    let url = address(&arguments.url).map_err(|message| Error::Usage { message, hint: None })?;
    let caller = Caller::detect();
    act_as(&caller)?;
    let file = login_file(&caller);
    let mut known = logins(&file)?;
    // Not an argument: those are seen by everybody on this machine.
    let token = match caller.env.get("PACTOWN_REGISTRY_TOKEN") {
        Some(token) if !token.is_empty() => token.clone(),
        _ => output::ask("token: ").unwrap_or_default(),
    };
    if token.is_empty() {
        return Err(Error::Usage {
            message: "there is no token".to_owned(),
            hint: Some("type it, send it to standard input, or set PACTOWN_REGISTRY_TOKEN".to_owned()),
        });
    }
    let place = Place::Server {
        url: url.clone(),
        token: Some(token.clone()),
    };
    let client = Client::new(place.open().map_err(failed)?);
    let own = client.own_token().map_err(failed)?;
    known.tokens.insert(url.clone(), token);
    known.default = Some(url.clone());
    keep(&known, &file)?;
    let scopes = plain(&own.scopes.join(", "));
    context.output.line(&format!("logged in to {url}: {scopes}"));
    Ok(())
}

pub(super) fn logout(context: &Context, arguments: &LogoutArguments) -> Result<(), Error> {
    let caller = Caller::detect();
    act_as(&caller)?;
    let file = login_file(&caller);
    let mut known = logins(&file)?;
    let url = match &arguments.url {
        Some(url) => address(url).map_err(|message| Error::Usage { message, hint: None })?,
        None => known
            .default
            .clone()
            .ok_or_else(|| Error::Failed("there is no login".to_owned()))?,
    };
    let was_known = known.tokens.remove(&url).is_some();
    if known.default.as_ref() == Some(&url) {
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
