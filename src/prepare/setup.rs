//! The setup layer: the README's `setup` blocks, run once for what they, the files and the dependencies are. Pure.

use super::{BuildSettings, Content, LayerPlan, key, node, python};
use crate::markpact::recipe::TextBlock;
use crate::toolchain::Toolchains;

/// The plan of the layer, above the layers `below`. Where blocks stand does not matter to it.
pub(super) fn plan(
    blocks: &[TextBlock],
    below: &[&str],
    toolchains: &Toolchains,
    settings: &BuildSettings,
) -> LayerPlan {
    let texts: Vec<&str> = blocks.iter().map(|block| block.text.as_str()).collect();
    // A script may use any of them.
    let programs = toolchains.found.iter().map(|toolchain| &toolchain.identity);
    let programs: Vec<&String> = programs.collect();
    let inputs = (
        &texts,
        below,
        &programs,
        &settings.pip,
        &settings.uv,
        &settings.npm,
    );
    LayerPlan {
        key: key::of("setup", &inputs),
        content: Content::Setup(blocks.to_vec()),
    }
}

/// Arguments of the build: each block on its own, as `sh -e`, in `/app`; the first that fails ends it.
pub(super) fn args(blocks: &[TextBlock]) -> Vec<String> {
    let script = format!(
        "mkdir -p \"$TMPDIR\"\nPATH={}/bin:{}/.bin:$PATH\nfor block; do sh -ec \"$block\" || exit; done\n",
        python::VENV,
        node::MODULES
    );
    let fixed = ["/bin/sh", "-c", &script, "sh"].map(str::to_owned);
    let texts = blocks.iter().map(|block| block.text.clone());
    fixed.into_iter().chain(texts).collect()
}
