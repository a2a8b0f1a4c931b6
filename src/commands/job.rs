//! `run SERVICE:JOB`: a `job` block of a README as one more process in its running service, with this terminal or
//! these pipes, and its exit code.

use std::path::Path;

use super::{Context, exec, privilege, wish};
use crate::cli;
use crate::error::Error;
use crate::markpact::Recipe;
use crate::markpact::recipe::JobBlock;

/// The service and the job that `text` names; `None`: it is a path.
pub(super) fn named(text: &Path) -> Option<(String, String)> {
    let (service, job) = text.to_str()?.split_once(':')?;
    let is_path = text.exists() || text.as_os_str().as_encoded_bytes().contains(&b'/');
    (!is_path).then(|| (service.to_owned(), job.to_owned()))
}

pub(super) fn run(
    context: &Context,
    arguments: &cli::RunArguments,
    (service, job): (String, String),
) -> Result<(), Error> {
    if arguments.once || arguments.port.is_some() || arguments.timeout.is_some() {
        return Err(Error::Usage {
            message: "a job takes neither --once nor --port nor --timeout".to_owned(),
            hint: Some(format!("pactown run {service}:{job}")),
        });
    }
    let wish = wish::load(context, None)?;
    wish::known(&wish, std::slice::from_ref(&service))?;
    let job = find(&wish.desired.recipes[&service], &job)?;
    privilege::require_root()?;
    let command = exec::Command {
        words: vec!["/bin/sh".to_owned(), "-c".to_owned(), job.command.clone()],
        env: arguments.env.clone(),
        directory: "/".into(),
        no_tty: false,
    };
    exec::inside(&wish.desired.instance, &service, command)
}

fn find<'r>(recipe: &'r Recipe, name: &str) -> Result<&'r JobBlock, Error> {
    let jobs = &recipe.jobs;
    jobs.iter().find(|job| job.name == name).ok_or_else(|| {
        let names: Vec<&str> = jobs.iter().map(|job| job.name.as_str()).collect();
        Error::Usage {
            message: format!("`{}` has no job '{name}'", recipe.readme.display()),
            hint: Some(match names.is_empty() {
                true => format!("add a `markpact:job name={name}` block"),
                false => format!("there are {}", names.join(", ")),
            }),
        }
    })
}
