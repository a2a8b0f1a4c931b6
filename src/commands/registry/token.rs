//! `registry token`: made, listed, ended.

use super::connect::{connect, failed};
use super::only;
use crate::cli::{TokenCreateArguments, TokenVerb};
use crate::commands::Context;
use crate::error::Error;
use crate::registry::api;
use crate::registry::text::plain;

pub(super) fn run(context: &Context, verb: &TokenVerb) -> Result<(), Error> {
    match verb {
        TokenVerb::Create(arguments) => create(context, arguments),
        TokenVerb::List(arguments) => {
            let tokens = connect(context, &only(&arguments.registry))?
                .client
                .tokens()
                .map_err(failed)?;
            list(context, &tokens)
        }
        TokenVerb::Revoke(arguments) => {
            let connection = connect(context, &only(&arguments.registry))?;
            connection.client.revoke_token(&arguments.id).map_err(failed)?;
            context.output.line(&format!("revoked {}", plain(&arguments.id)));
            Ok(())
        }
    }
}

fn create(context: &Context, arguments: &TokenCreateArguments) -> Result<(), Error> {
    let connection = connect(context, &only(&arguments.registry))?;
    let made = connection.client.create_token(&api::NewToken {
        name: arguments.name.clone(),
        scopes: arguments.scopes.clone(),
        expires_in_s: arguments.expires.map(|life| life.as_secs().max(1)),
    });
    let made = made.map_err(failed)?;
    if context.json {
        return context.output.json(&made);
    }
    context.output.notice(&format!(
        "token {} for {}; it is shown only now",
        plain(&made.token.id),
        plain(&made.token.scopes.join(", "))
    ));
    context.output.line(&plain(&made.secret));
    Ok(())
}

fn list(context: &Context, tokens: &[api::Token]) -> Result<(), Error> {
    if context.json {
        return context.output.json(&tokens);
    }
    let day = |time: &str| plain(time.get(..10).unwrap_or(time));
    let row = |token: &api::Token| {
        vec![
            plain(&token.id),
            plain(&token.name),
            plain(&token.scopes.join(", ")),
            day(&token.created_at),
            token.expires_at.as_deref().map(day).unwrap_or_default(),
            if token.revoked { "revoked" } else { "" }.to_owned(),
        ]
    };
    let header = ["ID", "NAME", "SCOPES", "CREATED", "ENDS", "STATE"];
    context.output.table(&header, tokens.iter().map(row).collect());
    Ok(())
}
