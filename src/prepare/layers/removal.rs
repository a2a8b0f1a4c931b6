//! What lies in the store, and taking some of it away. Whoever makes or mounts layers keeps this out as long.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::time::SystemTime;

use super::{LayerError, Layers, Step};

/// A layer on the disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// Its key.
    pub key: String,
    /// Where it is.
    pub path: PathBuf,
    /// When it was last asked for.
    pub last: SystemTime,
}

/// Length of a key.
const KEY: usize = 64;
/// How what is being removed is called.
const REMOVED: &str = ".removed-";

impl Layers {
    /// Every complete layer, by key; links are no layers of their own.
    pub fn kept(&self) -> Vec<Kept> {
        let entries = fs::read_dir(&self.root).into_iter().flatten().flatten();
        let mut kept: Vec<Kept> = entries
            .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
            .filter_map(|entry| {
                let key = entry.file_name().into_string().ok().filter(|name| is_key(name))?;
                let made = fs::metadata(entry.path()).and_then(|metadata| metadata.modified());
                let used = fs::metadata(self.root.join(".locks").join(&key))
                    .and_then(|metadata| metadata.modified());
                let last = used
                    .into_iter()
                    .chain(made)
                    .max()
                    .unwrap_or(SystemTime::UNIX_EPOCH);
                Some(Kept {
                    path: entry.path(),
                    key,
                    last,
                })
            })
            .collect();
        kept.sort_by(|one, other| one.key.cmp(&other.key));
        kept
    }

    /// The keys that occur in a text: in a bundle, those of the layers that its sandbox is made of.
    pub fn keys_in(&self, text: &str) -> BTreeSet<String> {
        let root = format!("{}/", self.root.display());
        let found = text.split(&root).skip(1).filter_map(|rest| rest.get(..KEY));
        found.filter(|key| is_key(key)).map(str::to_owned).collect()
    }

    /// Removes the layers `keys`, and what is recorded of them, except those that are `in_use` once nobody makes or mounts
    /// any; answers which. Waits for builds and starts that go on.
    ///
    /// # Errors
    /// One cannot be removed; those before it are gone.
    pub fn remove(
        &self,
        keys: &[String],
        in_use: impl FnOnce() -> BTreeSet<String>,
    ) -> Result<Vec<String>, LayerError> {
        let removed = {
            let _alone = self.locked(rustix::fs::FlockOperation::LockExclusive)?;
            let used = in_use();
            let unused = keys.iter().filter(|key| !used.contains(*key));
            let removed: Vec<String> = unused.cloned().collect();
            for key in &removed {
                self.set_apart(key)?;
            }
            removed
        };
        self.sweep_removed()?;
        Ok(removed)
    }

    /// Out of everybody's sight at once: there is no half layer.
    fn set_apart(&self, key: &str) -> Result<(), LayerError> {
        let layer = self.root.join(key);
        let apart = self.root.join(format!("{REMOVED}{key}"));
        match fs::rename(&layer, &apart) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            renamed => renamed.step("rename", &layer)?,
        }
        let contacts = format!("{key}.contacts");
        for path in [
            self.records().join(key),
            self.records().join(contacts),
            self.root.join(".locks").join(key),
        ] {
            let _ = fs::remove_file(path);
        }
        Ok(())
    }

    /// Removes what was set apart, also by one that died over it, and links to layers that are gone.
    fn sweep_removed(&self) -> Result<(), LayerError> {
        let entries = fs::read_dir(&self.root).into_iter().flatten().flatten();
        for entry in entries {
            let path = entry.path();
            if entry.file_name().to_string_lossy().starts_with(REMOVED) {
                match fs::remove_dir_all(&path) {
                    Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                        Err(error).step("remove", &path)?;
                    }
                    _ => {}
                }
            } else if entry.file_type().is_ok_and(|kind| kind.is_symlink()) && !path.exists() {
                let _ = fs::remove_file(path);
            }
        }
        Ok(())
    }
}

fn is_key(name: &str) -> bool {
    name.len() == KEY && name.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store(name: &str) -> (PathBuf, Layers) {
        let path = std::env::temp_dir().join(format!("pactown-removal-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        (path.clone(), Layers::at(&path))
    }

    fn make(layers: &Layers, key: &str) {
        let made = layers.obtain(key, |making| {
            let content = making.join("content");
            fs::create_dir(&content).step("create", &content)?;
            fs::write(content.join("file"), "x").step("write", &content)?;
            Ok::<_, LayerError>(content)
        });
        assert!(made.unwrap().join("file").exists());
    }

    #[test]
    fn what_is_in_use_stays_and_the_rest_goes_with_its_records() {
        let (path, layers) = store("used");
        let [one, two] = ["a".repeat(KEY), "b".repeat(KEY)];
        make(&layers, &one);
        make(&layers, &two);
        layers.alias(&one, &"c".repeat(KEY)).unwrap();
        assert_eq!(layers.kept().len(), 2, "a link is none");
        let bundle = format!("{{\"options\": [\"lowerdir={}/{two}:/x\"]}}", path.display());
        let keys = [one.clone(), two.clone()];
        let removed = layers.remove(&keys, || layers.keys_in(&bundle)).unwrap();
        assert_eq!(removed, keys[..1]);
        let left: Vec<String> = layers.kept().into_iter().map(|kept| kept.key).collect();
        assert_eq!(left, [two]);
        assert_eq!(layers.lookup(&"c".repeat(KEY)), None);
        assert!(!path.join(".locks").join(&one).exists());
        make(&layers, &one);
        fs::remove_dir_all(path).unwrap();
    }

    #[test]
    fn nothing_is_removed_while_somebody_mounts() {
        let (path, layers) = store("held");
        let key = "d".repeat(KEY);
        make(&layers, &key);
        let hold = layers.hold().unwrap();
        let mut used = BTreeSet::new();
        std::thread::scope(|scope| {
            let removal =
                scope.spawn(|| layers.remove(std::slice::from_ref(&key), || layers.keys_in("nothing")));
            std::thread::sleep(std::time::Duration::from_millis(50));
            used.extend(layers.lookup(&key));
            drop(hold);
            assert_eq!(removal.join().unwrap().unwrap().len(), 1);
        });
        assert_eq!(used.len(), 1, "it was there as long as it was held");
        fs::remove_dir_all(path).unwrap();
    }
}
