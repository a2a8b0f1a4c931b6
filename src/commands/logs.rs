//! `logs`: what services have written, and what they write now.

use jiff::Timestamp;

use super::follow::{self, Signals};
use super::{Context, privilege, wish};
use crate::cli;
use crate::config::ecosystem::ServiceName;
use crate::error::Error;
use crate::instance::{Instance, LOG_ROOT};
use crate::logs::{self, Follower, Line};

pub(super) fn run(context: &Context, arguments: &cli::LogsArguments) -> Result<(), Error> {
    privilege::require_root()?;
    let (instance, _) = wish::instance(context, None)?;
    let services = services(&instance, &arguments.services)?;
    let view = View {
        context,
        width: services.iter().map(String::len).max().unwrap_or(0),
        prefixed: arguments.services.len() != 1,
        timestamps: arguments.timestamps,
        services: &services,
    };
    // Before the first look: what comes while the past is printed is not lost.
    let mut follower = if arguments.follow {
        Some(follower(&instance, &services)?)
    } else {
        None
    };
    for (index, line) in past(&instance, &services, arguments.since, arguments.tail)? {
        view.show(index, &line);
    }
    match &mut follower {
        Some(follower) => view.follow(follower),
        None => Ok(()),
    }
}

/// Those that are named, or all that have a log.
fn services(instance: &Instance, named: &[ServiceName]) -> Result<Vec<ServiceName>, Error> {
    let root = std::path::Path::new(LOG_ROOT).join(&instance.name);
    let mut known: Vec<ServiceName> = std::fs::read_dir(root)
        .into_iter()
        .flatten()
        .flatten()
        // Beside the services' directories lie the events of the whole.
        .filter(|entry| entry.path().is_dir())
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect();
    known.sort();
    match named.iter().find(|name| !known.contains(name)) {
        _ if named.is_empty() => Ok(known),
        None => Ok(named.to_vec()),
        Some(name) => Err(Error::Failed(format!(
            "service '{name}' has no log (there are logs of: {})",
            if known.is_empty() {
                "none".to_owned()
            } else {
                known.join(", ")
            }
        ))),
    }
}

fn follower(instance: &Instance, services: &[ServiceName]) -> Result<Follower, Error> {
    let paths: Vec<_> = services.iter().map(|name| instance.log_file(name)).collect();
    Follower::new(&paths).map_err(|error| Error::Environment {
        message: format!("cannot follow the logs: {error}"),
        hint: Some("`sysctl fs.inotify.max_user_instances` may be too low".to_owned()),
    })
}

/// Lines so far, merged by time; the last `tail` of each service.
fn past(
    instance: &Instance,
    services: &[ServiceName],
    since: Option<Timestamp>,
    tail: Option<usize>,
) -> Result<Vec<(usize, Line)>, Error> {
    let since = since.map(|since| format!("{since:.9}"));
    let mut all = Vec::new();
    for (index, name) in services.iter().enumerate() {
        let mut own = std::collections::VecDeque::new();
        let keep = |line: Line| {
            let early = since.as_ref().is_some_and(|since| line.time < *since);
            if line.stream == "system" || early {
                return;
            }
            if tail.is_some_and(|tail| own.len() >= tail) {
                own.pop_front();
            }
            if tail != Some(0) {
                own.push_back(line);
            }
        };
        logs::read(&instance.log_file(name), keep).map_err(|error| Error::Environment {
            message: format!("cannot read the log of '{name}': {error}"),
            hint: None,
        })?;
        all.extend(own.into_iter().map(|line| (index, line)));
    }
    // Stable: lines of one service stay in their order.
    all.sort_by(|(_, a), (_, b)| a.time.cmp(&b.time));
    Ok(all)
}

struct View<'a> {
    context: &'a Context,
    width: usize,
    prefixed: bool,
    timestamps: bool,
    services: &'a [ServiceName],
}

impl View<'_> {
    fn show(&self, index: usize, line: &Line) {
        let output = &self.context.output;
        if self.context.json {
            let value = serde_json::json!({
                "service": self.services[index], "time": line.time, "stream": line.stream, "text": line.text,
            });
            return output.line(&value.to_string());
        }
        let text = if self.timestamps {
            &Line {
                text: format!("{} {}", line.time, line.text),
                ..line.clone()
            }
        } else {
            line
        };
        if self.prefixed {
            output.log(&self.services[index], self.width, text);
        } else {
            output.raw(text);
        }
    }

    /// Until Ctrl-C.
    fn follow(&self, follower: &mut Follower) -> Result<(), Error> {
        let stopper = follower.stopper();
        std::thread::spawn(move || {
            let waited = follow::block_on(async { Ok(Signals::catch()?.next().await) });
            stopper.stop();
            waited
        });
        let followed = follower.run(&mut |index, line| {
            if line.stream != "system" {
                self.show(index, &line);
            }
        });
        followed.map_err(|error| Error::Environment {
            message: format!("cannot follow the logs: {error}"),
            hint: None,
        })?;
        Err(Error::Child(130))
    }
}
