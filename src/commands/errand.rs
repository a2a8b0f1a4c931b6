//! What is asked of a supervisor beside whatever runs, such as `lock` and `build`; one that was started for it ends with it.

use serde::Serialize;

use super::Context;
use super::follow::{self, Signals, View};
use crate::control::api::Progress;
use crate::desired::Desired;
use crate::error::Error;
use crate::session::Session;

/// Posts the request to `path` and shows its progress; `take` gets each line first and hands back what is to be shown. The exit code.
///
/// # Errors
/// The user ended it, the ecosystem was brought down meanwhile, or there is no supervisor to be had.
pub(super) fn run<R: Serialize>(
    context: &Context,
    desired: &Desired,
    (path, request): (&str, &R),
    take: &mut dyn FnMut(Progress) -> Option<Progress>,
) -> Result<i32, Error> {
    follow::block_on(async {
        let mut signals = Signals::catch()?;
        let session = Session::ensure(desired)?;
        let told = listen(context, &session, (path, request), take, &mut signals).await;
        if session.is_new {
            session.leave_nothing(&desired.instance).await?;
        }
        told
    })
}

async fn listen<R: Serialize>(
    context: &Context,
    session: &Session,
    (path, request): (&str, &R),
    take: &mut dyn FnMut(Progress) -> Option<Progress>,
    signals: &mut Signals,
) -> Result<i32, Error> {
    let mut stream = session.client.post_stream(path, request).await?;
    let mut view = View::new(&context.output);
    loop {
        let progress = tokio::select! {
            progress = stream.next() => progress?,
            number = signals.next() => return Err(Error::Child(128 + number)),
        };
        let progress =
            progress.ok_or_else(|| Error::Failed("the ecosystem was brought down meanwhile".to_owned()))?;
        if let Some(exit_code) = take(progress).and_then(|progress| view.take(progress)) {
            return Ok(exit_code);
        }
    }
}
