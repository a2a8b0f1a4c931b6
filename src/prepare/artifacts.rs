//! The layer of a README's `build` blocks: what they write, on top of files, dependencies and setup. Nothing is run with it;
//! what it holds is copied out.

use std::path::{Path, PathBuf};

use super::layers::Layers;
use super::{BuildContext, BuildRunner, Content, LayerPlan, PrepareError, key, make};
use crate::markpact::Recipe;

/// The plan of the layer above `below`, the layers of the service. `None`: the README builds nothing. Pure.
pub fn plan(recipe: &Recipe, below: &[LayerPlan]) -> Option<LayerPlan> {
    let builds = recipe.builds();
    if builds.is_empty() {
        return None;
    }
    let texts: Vec<&str> = builds.iter().map(|build| build.text.text.as_str()).collect();
    let keys: Vec<&str> = below.iter().map(|plan| plan.key.as_str()).collect();
    Some(LayerPlan {
        key: key::of("build", &(texts, keys)),
        content: Content::Build(builds.into_iter().map(|build| build.text).collect()),
    })
}

/// The directory with what the build blocks wrote below `/app`, made unless it is there. `on_line` gets each line that
/// installers and the build say.
///
/// # Errors
/// As [`make`]; a layer that cannot be found again.
pub fn build(
    layers: &Layers,
    below: &[LayerPlan],
    plan: &LayerPlan,
    context: BuildContext<'_>,
    runner: &dyn BuildRunner,
    on_line: &mut dyn FnMut(&LayerPlan, &str),
) -> Result<PathBuf, PrepareError> {
    let mut plans = below.to_vec();
    plans.push(plan.clone());
    make(layers, &plans, context, runner, on_line)?;
    Ok(layers
        .lookup(&plan.key)
        .unwrap_or_else(|| Path::new("/nonexistent").to_owned()))
}
