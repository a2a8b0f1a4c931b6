//! `/proc/<pid>/mountinfo` (proc_pid_mountinfo(5)) → mounts. Pure.

use serde::Serialize;

/// One mount of a process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Mounted {
    /// Where, inside.
    pub target: String,
    /// Type of its file system.
    pub kind: String,
    /// What of the file system is mounted.
    pub root: String,
    /// Flags of the mount, such as `ro` and `nosuid`.
    pub flags: Vec<String>,
}

impl Mounted {
    /// An empty file or directory that hides a path.
    pub(super) fn is_cover(&self) -> bool {
        self.kind == "tmpfs" && ["/file", "/directory"].contains(&self.root.as_str()) && self.has("ro")
    }

    /// Whether it has this flag.
    pub fn has(&self, flag: &str) -> bool {
        self.flags.iter().any(|one| one == flag)
    }
}

/// The mounts of this file.
pub(super) fn read(text: &str) -> Vec<Mounted> {
    text.lines().filter_map(one).collect()
}

fn one(line: &str) -> Option<Mounted> {
    let (mount, file_system) = line.split_once(" - ")?;
    let mut fields = mount.split(' ').skip(3);
    let (root, target, flags) = (fields.next()?, fields.next()?, fields.next()?);
    Some(Mounted {
        target: plain(target),
        kind: file_system.split(' ').next()?.to_owned(),
        root: plain(root),
        flags: flags.split(',').map(str::to_owned).collect(),
    })
}

/// Blanks are written as `\040`.
fn plain(text: &str) -> String {
    text.replace("\\040", " ")
        .replace("\\011", "\t")
        .replace("\\134", "\\")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mounts_and_covers_are_told_apart() {
        let text = "36 35 98:0 / /app rw,nosuid,nodev master:1 - overlay overlay rw\n\
                    37 36 0:40 /file /proc/kcore ro,nosuid - tmpfs tmpfs rw\n\
                    38 36 0:41 /a\\040b /x\\040y ro - ext4 /dev/sda rw\n";
        let all = read(text);
        assert_eq!(
            all.iter().map(Mounted::is_cover).collect::<Vec<_>>(),
            [false, true, false]
        );
        assert_eq!((all[2].target.as_str(), all[2].root.as_str()), ("/x y", "/a b"));
        assert!(all[0].has("nosuid") && !all[0].has("ro"));
    }
}
