//! `start`, `stop`, `restart`, `scale`: single services of a running instance.

use super::follow::{self, Outcome, Signals, View};
use super::{Context, privilege, supply, wish};
use crate::cli;
use crate::control::api::{Phase, ScaleRequest, ServiceRequest};
use crate::control::client::ProgressStream;
use crate::error::Error;
use crate::instance::Instance;
use crate::roster::Scale;
use crate::session::Session;

pub(super) fn start(context: &Context, arguments: &cli::StartArguments) -> Result<(), Error> {
    each(context, "start", &arguments.services, false)
}

pub(super) fn stop(context: &Context, arguments: &cli::StopArguments) -> Result<(), Error> {
    each(context, "stop", &arguments.services, arguments.with_dependents)
}

pub(super) fn restart(context: &Context, arguments: &cli::RestartArguments) -> Result<(), Error> {
    each(context, "restart", &arguments.services, arguments.with_dependents)
}

/// Other numbers of replicas. The file is not read again: nothing else changes.
pub(super) fn scale(context: &Context, arguments: &cli::ScaleArguments) -> Result<(), Error> {
    privilege::require_root()?;
    let (instance, _) = wish::instance(context, None)?;
    let session = running(&instance)?;
    let mut scale = Scale::new();
    for (name, count) in &arguments.numbers {
        if scale.insert(name.clone(), *count).is_some() {
            return Err(Error::Usage {
                message: format!("'{name}' is named twice"),
                hint: None,
            });
        }
    }
    follow::block_on(async {
        let mut signals = Signals::catch()?;
        let request = ScaleRequest { scale };
        let mut stream = session.client.post_stream("/v1/scale", &request).await?;
        until_settled(context, &mut stream, &mut signals).await
    })
}

fn running(instance: &Instance) -> Result<Session, Error> {
    let session = Session::find(instance)?;
    session.ok_or_else(|| Error::Failed("the ecosystem is not running".to_owned()))
}

fn each(context: &Context, verb: &str, services: &[String], with_dependents: bool) -> Result<(), Error> {
    privilege::require_root()?;
    let (instance, file) = wish::instance(context, None)?;
    let session = running(&instance)?;
    // A start takes the file as it is now; a stop must work whatever the file says.
    let desired = match verb {
        "stop" => None,
        _ => {
            let mut wish = wish::load(context, Some(&file))?;
            wish::known(&wish, services)?;
            supply::sound(&wish.desired)?;
            wish::unlock(context, &mut wish.desired, services)?;
            Some(Box::new(wish.desired))
        }
    };
    follow::block_on(async {
        let mut signals = Signals::catch()?;
        for service in services {
            let request = ServiceRequest {
                desired: desired.clone(),
                with_dependents,
            };
            let path = format!("/v1/services/{service}/{verb}");
            let mut stream = session.client.post_stream(&path, &request).await?;
            until_settled(context, &mut stream, &mut signals).await?;
        }
        Ok(())
    })
}

async fn until_settled(
    context: &Context,
    stream: &mut ProgressStream,
    signals: &mut Signals,
) -> Result<(), Error> {
    let mut view = View::new(&context.output);
    match follow::until_settled(stream, &mut view, signals, None).await? {
        Outcome::Settled(0) | Outcome::Ended => Ok(()),
        Outcome::Settled(_) | Outcome::TimedOut => {
            let names = view.names_in(&[Phase::Failed, Phase::Backoff, Phase::Blocked]);
            Err(Error::Failed(format!(
                "not everything is up: {}",
                names.join(", ")
            )))
        }
        Outcome::Interrupted(number) => Err(Error::Child(128 + number)),
    }
}
