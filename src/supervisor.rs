//! The supervisor of one instance: takes wishes over the control API, has the keeper carry them out, watches.
//!
//! [`step`] decides, purely; [`engine`] owns all state and carries out what was decided; the other files each do one
//! kind of thing. It holds no sandbox's life in its hands: when it dies, the keeper starts another, which adopts what
//! runs.

mod actions;
mod adopt;
mod agenda;
mod audience;
mod builder;
mod building;
mod chronicle;
mod clock;
mod engine;
mod errand;
mod finish;
mod inbox;
mod keeper;
mod keepsake;
mod limits;
mod loosened;
mod making;
mod mender;
mod orphans;
mod ports;
mod probe;
mod publish;
mod reach;
mod records;
mod requests;
mod resolving;
mod spread;
mod stamp;
mod step;
mod survey;
mod traits;
mod unit;
mod units;
mod unmade;
mod wires;
mod wish;

use std::path::Path;
use std::process::ExitCode;

use nix::sys::signal::{SigSet, Signal};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, oneshot};

use crate::control::server;
use crate::instance::Instance;
use engine::{Engine, Message};
pub(crate) use keepsake::recall;

/// Runs the supervisor of the instance in `directory` until everything has ended. `reader` is the user who may look.
/// The keeper starts it again unless it answers success.
pub fn run(directory: &Path, reader: u32) -> ExitCode {
    let _ = rustix::thread::set_name(c"pactown:super");
    let Some(instance) = Instance::in_directory(directory) else {
        return ExitCode::FAILURE;
    };
    // Removed by force, or by a predecessor that died right after: the instance is over, and so is its keeper.
    if !directory.exists() {
        return ExitCode::SUCCESS;
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let outcome = runtime.map_err(|error| error.to_string()).and_then(|runtime| {
        runtime.block_on(tokio::task::LocalSet::new().run_until(serve(instance, reader)))
    });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(cause) => {
            tell(&cause);
            ExitCode::FAILURE
        }
    }
}

async fn serve(instance: Instance, reader: u32) -> Result<(), String> {
    let (messages, mut inbox) = mpsc::unbounded_channel();
    let keeper = keeper::Keeper::connect(&instance.keeper_socket(), messages.clone())
        .map_err(|error| format!("cannot reach the keeper: {error}"))?;
    let mut engine = Engine::new(instance.clone(), keeper, messages.clone());
    engine.adopt().await?;
    if engine.is_finished() {
        return Ok(());
    }
    let listener = server::bind(&instance.control_socket(), reader)
        .map_err(|error| format!("cannot listen on the control socket: {error}"))?;
    let (requests, mut asked) = mpsc::unbounded_channel();
    tokio::task::spawn_local(async move {
        while let Some(request) = asked.recv().await {
            if messages.send(Message::Request(request)).is_err() {
                break;
            }
        }
    });
    forward_termination(&engine)?;
    let (stop, stopped) = oneshot::channel();
    let server = tokio::task::spawn_local(server::serve(listener, instance.name, reader, requests, stopped));
    while !engine.is_finished()
        && let Some(message) = inbox.recv().await
    {
        engine.handle(message).await;
    }
    let cut_off = engine.cut_off;
    drop(engine);
    let _ = stop.send(());
    // The last lines of the streams are on their way to those who asked; somebody who does not read is not waited for.
    let _ = tokio::time::timeout(FAREWELL, server).await;
    match cut_off {
        true => Err("the connection to the keeper is lost".to_owned()),
        false => Ok(()),
    }
}

/// SIGTERM, which the keeper hands on, is an end in order.
fn forward_termination(engine: &Engine) -> Result<(), String> {
    let messages = engine.messages.clone();
    let mut asked =
        signal(SignalKind::terminate()).map_err(|error| format!("cannot catch SIGTERM: {error}"))?;
    // The keeper, which reads its own from a descriptor, has it blocked, and a child inherits that.
    SigSet::from_iter([Signal::SIGTERM])
        .thread_unblock()
        .map_err(|error| format!("cannot unblock SIGTERM: {error}"))?;
    tokio::task::spawn_local(async move {
        while asked.recv().await.is_some() && messages.send(Message::Terminated).is_ok() {}
    });
    Ok(())
}

/// Time for the last answers to be read.
const FAREWELL: std::time::Duration = std::time::Duration::from_secs(2);

/// A line in `keeper.log`, which this process's standard error leads to.
fn tell(text: &str) {
    use std::io::Write;
    let _ = writeln!(std::io::stderr(), "supervisor: {text}");
}
