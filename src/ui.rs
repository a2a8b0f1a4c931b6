//! The full-screen views: `ui`, and `top`. One way: [`feed`] and [`input`] bring messages, [`update`] makes of each the
//! next model and what is to be done, [`draw`] shows the model, `screen` holds the terminal.
//!
//! A view is a guest: it owns no run, and whatever becomes of it, services go on.

mod diagnosis;
mod draw;
mod feed;
mod input;
mod layout;
mod model;
mod screen;
mod text;
mod top;
mod update;

use std::sync::Arc;

use tokio::sync::mpsc;

use crate::control::Client;
use crate::desired::Desired;
use crate::error::Error;
use crate::instance::Instance;
use crate::output;
use feed::Feed;
use model::{Action, Message, Model};
use screen::Screen;

/// How a view came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    /// The user left; the ecosystem goes on.
    Left,
    /// The user had everything stopped.
    Stopped,
    /// The ecosystem has ended.
    Gone,
    /// This signal came.
    Signal(i32),
}

/// Reads the ecosystem file as it is now: what is started by a key is made from it.
pub(crate) type Reread = Arc<dyn Fn() -> Result<Desired, Error> + Send + Sync>;

/// `ui`: until the user leaves.
///
/// # Errors
/// The terminal is gone, or the control API refuses.
pub(crate) async fn run(instance: &Instance, client: &Client, reread: Reread) -> Result<Ending, Error> {
    let (sender, mut messages) = mpsc::unbounded_channel();
    let mut screen = Screen::open().map_err(|error| broken(&error))?;
    input::listen(&sender).map_err(|error| broken(&error))?;
    let mut feed = Feed::start(instance, client, reread, sender);
    let mut model = Model::new(&instance.name, output::is_coloured());
    loop {
        model.size = screen.size();
        screen
            .draw(|frame| draw::draw(frame, &model))
            .map_err(|error| broken(&error))?;
        let Some(first) = messages.recv().await else {
            return Ok(Ending::Left);
        };
        // What has come in the meantime is shown with one drawing.
        let mut next = Some(first);
        while let Some(message) = next {
            for action in update::update(&mut model, message) {
                match action {
                    Action::Quit(ending) => return Ok(ending),
                    Action::Fail(message) => return Err(Error::Failed(message)),
                    action => feed.act(action),
                }
            }
            next = messages.try_recv().ok();
        }
    }
}

/// `top`: until the user leaves, or the ecosystem ends.
///
/// # Errors
/// As [`run`].
pub(crate) async fn top(instance: &Instance, client: &Client) -> Result<Ending, Error> {
    let (sender, mut messages) = mpsc::unbounded_channel::<Message>();
    let mut screen = Screen::open().map_err(|error| broken(&error))?;
    input::listen(&sender).map_err(|error| broken(&error))?;
    feed::rows(instance.clone(), client.clone(), sender);
    let mut top = top::Top::new(&instance.name, output::is_coloured());
    loop {
        screen
            .draw(|frame| top::draw(frame, &top))
            .map_err(|error| broken(&error))?;
        let Some(message) = messages.recv().await else {
            return Ok(Ending::Left);
        };
        match top.update(message) {
            Some(Action::Quit(ending)) => return Ok(ending),
            Some(Action::Fail(message)) => return Err(Error::Failed(message)),
            _ => {}
        }
    }
}

fn broken(error: &std::io::Error) -> Error {
    Error::Failed(format!("the terminal cannot be used: {error}"))
}
