//! Layers that one test alone has a use for.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

const LAYERS: &str = "/var/cache/pactown/layers";

/// What came since it was taken is removed on drop, with what is recorded of it.
pub(crate) struct NewLayers(BTreeSet<String>);

impl NewLayers {
    pub(crate) fn watch() -> Self {
        Self(names())
    }
}

impl Drop for NewLayers {
    fn drop(&mut self) {
        for name in names().difference(&self.0) {
            let layer = Path::new(LAYERS).join(name);
            let _ = match layer.is_symlink() {
                true => fs::remove_file(layer),
                false => fs::remove_dir_all(layer),
            };
            for beside in [".records", ".locks"] {
                let _ = fs::remove_file(Path::new(LAYERS).join(beside).join(name));
            }
        }
    }
}

fn names() -> BTreeSet<String> {
    let entries = fs::read_dir(LAYERS).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    names.filter(|name| !name.starts_with('.')).collect()
}
