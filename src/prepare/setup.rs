//! The setup layer: the README's `setup` blocks, run once for what they, the files and the dependencies are. Pure.

use super::{BuildSettings, Content, LayerPlan, key, node, packages, python};
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
    let installers = (&settings.pip, &settings.uv, &settings.npm);
    let inputs = (&texts, below, &programs, installers, settings.others());
    LayerPlan {
        key: key::of("setup", &inputs),
        content: Content::Setup(blocks.to_vec()),
    }
}

/// Arguments of the build: each block on its own, as `sh -e`, in `/app`; the first that fails ends it.
pub(super) fn args(blocks: &[TextBlock]) -> Vec<String> {
    let script = format!("{}for block; do sh -ec \"$block\" || exit; done\n", prelude());
    let fixed = ["/bin/sh", "-c", &script, "sh"].map(str::to_owned);
    let texts = blocks.iter().map(|block| block.text.clone());
    fixed.into_iter().chain(texts).collect()
}

/// What a script finds of the layers below it, as the run block will.
pub(super) fn prelude() -> String {
    let path = format!(
        "{}/bin:{}/.bin:{}",
        python::VENV,
        node::MODULES,
        packages::php::BIN
    );
    let (go, cargo) = (packages::go::ENV, packages::rust::HOME);
    format!(
        "mkdir -p \"$TMPDIR\"\nexport PATH={path}:$PATH\ntest ! -e {go} || export GOENV={go}\n\
         test ! -d {cargo} || export CARGO_HOME={cargo}\n"
    )
}
