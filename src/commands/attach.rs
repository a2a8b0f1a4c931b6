//! `attach`: a running ecosystem becomes this command's: its logs are shown, and it ends with it.

use super::follow::{self, LiveLogs, Outcome, Signals, View};
use super::{Context, privilege, wish};
use crate::cli;
use crate::control::api::{DownRequest, ServiceStatus};
use crate::error::Error;
use crate::session::Session;

pub(super) fn run(context: &Context, arguments: &cli::AttachArguments) -> Result<(), Error> {
    privilege::require_root()?;
    let (instance, _) = wish::instance(context, arguments.config.as_deref())?;
    let session =
        Session::find(&instance)?.ok_or_else(|| Error::Failed("the ecosystem is not running".to_owned()))?;
    follow::block_on(async {
        let mut signals = Signals::catch()?;
        let rows: Vec<ServiceStatus> = session.client.get_json("/v1/services").await?;
        let seats = rows.iter().map(ServiceStatus::seat).collect();
        let logs = LiveLogs::start(&instance, seats, true, &context.output)?;
        let mut stream = session.client.post_stream("/v1/attach", &()).await?;
        context.output.services(&rows);
        context.output.notice("attached; Ctrl-C stops the ecosystem");
        let mut view = View::new(&context.output);
        view.logs = Some(logs);
        let outcome = follow::until_settled(&mut stream, &mut view, &mut signals, None).await?;
        let result = match outcome {
            Outcome::Interrupted(number) => {
                context.output.notice("stopping; Ctrl-C again kills");
                follow::bring_down(
                    &session,
                    &instance,
                    DownRequest::default(),
                    &mut view,
                    &mut signals,
                )
                .await?;
                Err(Error::Child(128 + number))
            }
            _ => session.wait_for_end(&instance),
        };
        view.finish();
        result
    })
}
