//! Keys of layers: a hash over everything that decides their content. Pure.

use serde::Serialize;
use sha2::{Digest, Sha256};

use super::{Content, LayerPlan};
use crate::markpact::recipe::FileBlock;

/// Version of what layers look like. A change here makes every cached layer a miss.
const FORMAT: u32 = 1;

/// 64 hexadecimal digits over `inputs`, the mount path, the format and this machine's kind.
pub(super) fn of(kind: &str, inputs: &impl Serialize) -> String {
    let all = (FORMAT, kind, crate::spec::APP, std::env::consts::ARCH, inputs);
    hex(&serde_json::to_vec(&all).expect("inputs of a layer are texts and numbers"))
}

/// SHA-256 in hexadecimal digits.
pub(super) fn hex(bytes: &[u8]) -> String {
    crate::hex::digits(Sha256::digest(bytes))
}

/// The plan of a files layer. Lines and languages do not matter to it.
pub(super) fn files(files: &[FileBlock]) -> LayerPlan {
    let inputs: Vec<_> = files
        .iter()
        .map(|file| (&file.path, file.mode, &file.content))
        .collect();
    LayerPlan {
        key: of("files", &inputs),
        content: Content::Files(files.to_vec()),
    }
}
