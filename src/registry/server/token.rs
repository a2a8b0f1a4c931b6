//! Tokens over HTTP: made, listed and revoked by administrators; looked at by whoever holds one.

use axum::body::Body;
use axum::http::Response;
use serde_json::json;

use super::access::now;
use super::answer::Answer;
use super::body;
use super::fault::Fault;
use super::publish::rfc3339;
use super::routes::Call;
use crate::registry::api;
use crate::registry::store::{NewToken, Scope, Token};

/// Longest life that is not for ever: a hundred years.
const MAX_LIFE: u64 = 3_155_760_000;

/// `POST /v1/tokens`, and `PUT` for those who think of it so.
pub(crate) async fn create(call: Call) -> Result<Response<Body>, Fault> {
    call.caller.must_administer()?;
    let (app, parts, body) = call.into_body();
    let wish: api::NewToken = body::json(&app, &parts.headers, body).await?;
    let created = now();
    let wish = checked(wish, created)?;
    let made = app
        .store
        .write(move |batch| batch.create_token(&wish, created))
        .await?;
    let (token, secret) = made;
    Ok(Answer::once(&json!(api::TokenMade {
        secret,
        token: view(token),
    })))
}

/// `GET /v1/tokens`.
pub(crate) async fn list(call: Call) -> Result<Response<Body>, Fault> {
    call.caller.must_administer()?;
    let tokens = call.app.store.tokens()?.into_iter().map(view).collect();
    Ok(Answer::once(&json!(api::Tokens { tokens })))
}

/// `DELETE /v1/tokens/{id}`.
pub(crate) async fn revoke(call: Call) -> Result<Response<Body>, Fault> {
    call.caller.must_administer()?;
    let id = call.captured("id").to_owned();
    let message = "Revoked".to_owned();
    call.app
        .store
        .write(move |batch| batch.revoke_token(&id, now()))
        .await?;
    Ok(Answer::once(&json!(api::Done {
        success: true,
        message
    })))
}

/// `GET /v1/token`: the one that the request carries.
pub(crate) async fn own(call: Call) -> Result<Response<Body>, Fault> {
    match call.caller.token {
        Some(token) => Ok(Answer::once(&json!(view(token)))),
        None => Err(Fault::new(
            axum::http::StatusCode::UNAUTHORIZED,
            "the request carries no token",
        )),
    }
}

fn checked(wish: api::NewToken, now: i64) -> Result<NewToken, Fault> {
    let wrong = |field: &str, message: &str| Fault::parameter("body", field, message);
    if !(1..=128).contains(&wish.name.chars().count()) {
        return Err(wrong("name", "1 to 128 characters"));
    }
    if !(1..=32).contains(&wish.scopes.len()) {
        return Err(wrong("scopes", "1 to 32 scopes"));
    }
    let life = wish.expires_in_s;
    if life.is_some_and(|life| !(1..=MAX_LIFE).contains(&life)) {
        return Err(wrong("expires_in_s", "1 second to 100 years"));
    }
    let scopes: Result<Vec<Scope>, String> = wish.scopes.iter().map(|scope| scope.parse()).collect();
    Ok(NewToken {
        name: wish.name,
        scopes: scopes.map_err(|error| wrong("scopes", &error))?,
        expires_at: life.map(|life| now.saturating_add_unsigned(life)),
    })
}

fn view(token: Token) -> api::Token {
    let time = |seconds: i64| {
        let time = jiff::Timestamp::from_second(seconds);
        rfc3339(time.unwrap_or(jiff::Timestamp::MAX))
    };
    api::Token {
        revoked: token.revoked_at.is_some(),
        id: token.id,
        name: token.name,
        scopes: token.scopes.iter().map(ToString::to_string).collect(),
        created_at: time(token.created_at),
        expires_at: token.expires_at.map(time),
    }
}
