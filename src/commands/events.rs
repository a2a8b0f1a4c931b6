//! `events`: what happened, and what happens now. Reads the file of events; asks nobody.

use jiff::Timestamp;

use super::follow::{self, Signals};
use super::{Context, privilege, wish};
use crate::cli;
use crate::error::Error;
use crate::events::{self, Event};
use crate::logs::Follower;

pub(super) fn run(context: &Context, arguments: &cli::EventsArguments) -> Result<(), Error> {
    privilege::require_root()?;
    let (instance, _) = wish::instance(context, None)?;
    // Before the first look: what comes while the past is printed is not lost.
    let follower = arguments
        .of
        .follow
        .then(|| Follower::new(&[events::file(&instance)]));
    let follower = follower.transpose().map_err(|error| Error::Environment {
        message: format!("cannot follow the events: {error}"),
        hint: Some("`sysctl fs.inotify.max_user_instances` may be too low".to_owned()),
    })?;
    let mut past = events::read(&instance);
    past.retain(|event| is_wanted(event, arguments));
    let skipped = arguments
        .number
        .map_or(0, |count| past.len().saturating_sub(count));
    let mut view = View::new(context, arguments);
    view.make_room(&past[skipped..]);
    past[skipped..].iter().for_each(|event| view.show(event));
    match follower {
        Some(follower) => view.follow(follower),
        None => Ok(()),
    }
}

fn is_wanted(event: &Event, arguments: &cli::EventsArguments) -> bool {
    let named = || {
        let names = [event.service.clone(), event.unit()];
        let names = names.iter().flatten();
        names.into_iter().any(|name| arguments.of.services.contains(name))
    };
    let since = |since: &Timestamp| event.usec().is_some_and(|at| at >= since.as_microsecond());
    (arguments.of.services.is_empty() || named())
        && (arguments.kind.is_empty() || arguments.kind.contains(&event.kind))
        && arguments.since.as_ref().is_none_or(since)
}

struct View<'a> {
    context: &'a Context,
    arguments: &'a cli::EventsArguments,
    width: usize,
    zone: jiff::tz::TimeZone,
}

impl<'a> View<'a> {
    fn new(context: &'a Context, arguments: &'a cli::EventsArguments) -> Self {
        Self {
            context,
            arguments,
            width: 0,
            zone: jiff::tz::TimeZone::system(),
        }
    }

    fn make_room(&mut self, events: &[Event]) {
        let names = events.iter().filter_map(Event::unit);
        self.width = names.map(|name| name.len()).max().unwrap_or(0).max(self.width);
    }

    fn show(&self, event: &Event) {
        if self.context.json {
            return self.context.output.event(event);
        }
        self.context.output.line(&crate::output::visible(&events::render(
            event, self.width, &self.zone,
        )));
    }

    /// Until Ctrl-C.
    fn follow(mut self, mut follower: Follower) -> Result<(), Error> {
        let stopper = follower.stopper();
        std::thread::spawn(move || {
            let waited = follow::block_on(async { Ok(Signals::catch()?.next().await) });
            stopper.stop();
            waited
        });
        let followed = follower.run(&mut |_, line| {
            let event = events::parse(&line).filter(|event| is_wanted(event, self.arguments));
            if let Some(event) = event {
                self.make_room(std::slice::from_ref(&event));
                self.show(&event);
            }
        });
        followed.map_err(|error| Error::Environment {
            message: format!("cannot follow the events: {error}"),
            hint: None,
        })?;
        Err(Error::Child(130))
    }
}
