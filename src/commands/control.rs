//! `start`, `stop`, `restart`: single services of a running instance.

use super::follow::{self, Outcome, Signals, View};
use super::{Context, privilege, up, wish};
use crate::cli;
use crate::config::ecosystem::ServiceName;
use crate::control::api::{Phase, ServiceRequest};
use crate::error::Error;
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

fn each(context: &Context, verb: &str, services: &[ServiceName], with_dependents: bool) -> Result<(), Error> {
    privilege::require_root()?;
    let (instance, file) = wish::instance(context, None)?;
    let session =
        Session::find(&instance)?.ok_or_else(|| Error::Failed("the ecosystem is not running".to_owned()))?;
    // A start takes the file as it is now; a stop must work whatever the file says.
    let desired = match verb {
        "stop" => None,
        _ => {
            let wish = wish::load(context, Some(&file))?;
            up::known(&wish, services)?;
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
            let mut view = View::new(&context.output);
            match follow::until_settled(&mut stream, &mut view, &mut signals, None).await? {
                Outcome::Settled(0) | Outcome::Ended => {}
                Outcome::Settled(_) | Outcome::TimedOut => {
                    let names = view.names_in(&[Phase::Failed, Phase::Backoff, Phase::Blocked]);
                    return Err(Error::Failed(format!(
                        "not everything is up: {}",
                        names.join(", ")
                    )));
                }
                Outcome::Interrupted(number) => return Err(Error::Child(128 + number)),
            }
        }
        Ok(())
    })
}
