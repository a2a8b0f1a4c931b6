//! Finding out what dependencies resolve to, for a lock file: installs them in a build sandbox unless that was done, and
//! keeps what was installed as the layer that the lock will ask for.

use std::collections::BTreeMap;

use super::build::{self, Failed};
use super::layers::LayerError;
use super::{BuildContext, BuildRunner, Content, LayerPlan, Layers, PrepareError, Stack, hosts};
use crate::lockfile::{Language, Resolution};
use crate::proxy::Contact;

/// What was resolved already for the same lock, by the key of the layer: equal dependencies are resolved once.
pub type Known = BTreeMap<String, Resolution>;

/// What the dependencies of `plans`, the layers of one README, are resolved to; of those that are locked, what the lock
/// says. With `anew` all that is not locked is resolved now, whatever was installed before. `locked` gives the key of a
/// layer once it is locked to a resolution. `on_line` gets each line that an installer says.
///
/// # Errors
/// As [`super::make`]; an installer that does not tell what it has installed.
pub fn resolve(
    layers: &Layers,
    plans: &[LayerPlan],
    (anew, known): (bool, &mut Known),
    locked: &dyn Fn(&Resolution) -> Option<String>,
    context: BuildContext<'_>,
    runner: &dyn BuildRunner,
    on_line: &mut dyn FnMut(&LayerPlan, &str),
) -> Result<Vec<Resolution>, PrepareError> {
    let mut resolver = Resolver {
        layers,
        locked,
        context,
        runner,
        on_line,
        below: Stack::default(),
    };
    let mut resolutions = Vec::new();
    for plan in plans {
        match (plan.language(), plan.locked()) {
            (Some(Language::System), Some(locked)) => {
                resolver.made(plan)?;
                resolutions.push(locked.clone());
            }
            (Some(_), Some(locked)) => resolutions.push(locked.clone()),
            (Some(_), None) => {
                let resolution = match known.get(&plan.key) {
                    Some(resolution) => resolution.clone(),
                    None => resolver.one(plan, anew)?,
                };
                known.insert(plan.key.clone(), resolution.clone());
                resolver.stand_on(plan, &resolution)?;
                resolutions.push(resolution);
            }
            // Installers may read the README's files.
            (None, _) if matches!(plan.content, Content::Files(_)) => resolver.made(plan)?,
            (None, _) => {}
        }
    }
    Ok(resolutions)
}

struct Resolver<'a> {
    layers: &'a Layers,
    locked: &'a dyn Fn(&Resolution) -> Option<String>,
    context: BuildContext<'a>,
    runner: &'a dyn BuildRunner,
    on_line: &'a mut dyn FnMut(&LayerPlan, &str),
    below: Stack,
}

impl Resolver<'_> {
    /// Makes the layer of `plan`, unless it is there, for those above it.
    fn made(&mut self, plan: &LayerPlan) -> Result<(), PrepareError> {
        let made = self.layers.obtain(&plan.key, |making| {
            let below = (self.below.clone(), making);
            let made = build::content(self.layers, plan, self.context, below, self.runner, self.on_line)?;
            Ok(made.0)
        });
        let layer = made.map_err(|failed: Failed| failed.into_error(plan))?;
        self.push(plan, layer)
    }

    /// Other packages may be compiled with those of the distribution, which are there now.
    fn stand_on(&mut self, plan: &LayerPlan, resolution: &Resolution) -> Result<(), PrepareError> {
        if resolution.language != Language::System {
            return Ok(());
        }
        let key = (self.locked)(resolution).unwrap_or_else(|| plan.key.clone());
        match self.layers.lookup(&key) {
            Some(layer) => self.push(plan, layer),
            None => self.made(plan),
        }
    }

    fn push(&mut self, plan: &LayerPlan, layer: std::path::PathBuf) -> Result<(), PrepareError> {
        let pushed = self.below.push(&plan.content, layer);
        pushed.map_err(|source| PrepareError::Layer {
            kind: plan.kind(),
            source,
        })
    }

    fn one(&mut self, plan: &LayerPlan, anew: bool) -> Result<Resolution, PrepareError> {
        if !anew
            && self.layers.lookup(&plan.key).is_some()
            && let Some(known) = self.layers.record::<Resolution>(&plan.key)
        {
            self.also(plan, &known)?;
            return Ok(known);
        }
        let mut found = None;
        let made = self.layers.renew(&plan.key, |making| {
            let below = (self.below.clone(), making);
            let (content, record) =
                build::content(self.layers, plan, self.context, below, self.runner, self.on_line)?;
            let resolution = match record {
                Some(Ok(resolution)) => resolution,
                Some(Err(unresolved)) => return Err(unlocked(plan, unresolved.0)),
                None => return Err(unlocked(plan, "it resolves nothing".to_owned())),
            };
            let key = (self.locked)(&resolution).unwrap_or_else(|| plan.key.clone());
            self.layers.note(&key, &resolution)?;
            self.contacts(plan, &key)?;
            found = Some(resolution);
            Ok((content, key))
        });
        made.map_err(|failed: Failed| failed.into_error(plan))?;
        found.ok_or_else(|| unlocked(plan, "its build was not run".to_owned()).into_error(plan))
    }

    /// What the build asked for is known of both.
    fn contacts(&self, plan: &LayerPlan, key: &str) -> Result<(), LayerError> {
        let contacts = self.layers.record::<Vec<Contact>>(&hosts::record(&plan.key));
        match contacts {
            Some(contacts) => self.layers.note(&hosts::record(key), &contacts),
            None => Ok(()),
        }
    }

    /// What is installed already is what the lock will ask for.
    fn also(&self, plan: &LayerPlan, known: &Resolution) -> Result<(), PrepareError> {
        let Some(key) = (self.locked)(known) else {
            return Ok(());
        };
        let noted = self
            .layers
            .note(&key, known)
            .and_then(|()| self.contacts(plan, &key))
            .and_then(|()| self.layers.alias(&plan.key, &key));
        noted.map_err(|source| PrepareError::Layer {
            kind: plan.kind(),
            source,
        })
    }
}

fn unlocked(plan: &LayerPlan, cause: String) -> Failed {
    Failed::Install(Box::new(PrepareError::Unresolved {
        kind: plan.kind(),
        cause,
    }))
}
