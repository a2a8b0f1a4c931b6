//! One sandbox → a bundle that any OCI runtime runs. Pure: what lies on the disk is named, not read.
//!
//! What this program's own runtime does beyond OCI is said in OCI's words: its root is a directory, the files and links in
//! it are there beforehand, `/app`, the home and the volumes are copies whose files belong to the ids inside, and options
//! that name ids take those of the sandbox, since other runtimes mount from inside the user namespace.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use oci_spec::runtime::{
    Arch, LinuxDeviceCgroup, LinuxDeviceCgroupBuilder, LinuxIdMapping, LinuxResources, LinuxSeccomp, Mount,
    MountBuilder, RootBuilder, Spec,
};

use super::{APP, SandboxPlan, built, etc, ids};

mod omitted;

pub use omitted::{Omission, omissions};

/// The oldest version that says all that is in these bundles (`defaultErrnoRet`): what older runtimes know.
const OCI_VERSION: &str = "1.1.0";
/// The root file system, relative to the bundle.
const ROOT: &str = "rootfs";
/// The id that processes see where an id is not mapped (kernel: `overflowuid`).
const NOBODY: u32 = 65_534;

/// A bundle for other runtimes.
#[derive(Debug, Clone, PartialEq)]
pub struct Portable {
    /// `config.json`.
    pub spec: Spec,
    /// What else is in the bundle, parents before children.
    pub entries: Vec<Entry>,
}

/// Something in the bundle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Where, relative to the bundle.
    pub path: PathBuf,
    /// Uid and gid, of the host.
    pub owner: (u32, u32),
    /// What.
    pub content: Content,
}

/// Kinds of [`Entry`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// A directory; one that is there stays as it is.
    Directory,
    /// A file with this text, readable for all; an empty one that is there stays as it is.
    Text(String),
    /// A copy of a file of the host, readable for all.
    Copy(PathBuf),
    /// A symbolic link with this target.
    Symlink(PathBuf),
    /// A copy of directories that lie over each other.
    Tree(Tree),
}

/// Directories that are to be merged as overlayfs merges them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tree {
    /// Topmost first. One that is not there is empty.
    pub layers: Vec<PathBuf>,
    /// Whose the copies are.
    pub owners: Owners,
}

/// Who owns the copy of a file: an id on disk → an id of the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owners {
    uids: Vec<LinuxIdMapping>,
    gids: Vec<LinuxIdMapping>,
    /// What root owns on disk (layers) is the service's own.
    own: u32,
    nobody: u32,
}

impl Owners {
    fn of(plan: &SandboxPlan) -> Self {
        Self {
            uids: ids::storage(plan, plan.owner.0),
            gids: ids::storage(plan, plan.owner.1),
            own: plan.ids.host(ids::inside(plan)),
            nobody: plan.ids.host(NOBODY),
        }
    }

    /// Uid and gid of the copy of a file that has these.
    pub fn of_copy(&self, (uid, gid): (u32, u32)) -> (u32, u32) {
        (self.mapped(&self.uids, uid), self.mapped(&self.gids, gid))
    }

    fn mapped(&self, map: &[LinuxIdMapping], disk: u32) -> u32 {
        if disk == 0 {
            return self.own;
        }
        let found = map.iter().find_map(|one| {
            let offset = disk.checked_sub(one.container_id())?;
            (offset < one.size()).then(|| one.host_id() + offset)
        });
        found.unwrap_or(self.nobody)
    }
}

/// The bundle of a sandbox, for other runtimes. The ids, layers and directories of `plan` are used; its cgroup, network
/// and notification socket are the instance's and not in it. `is_file` says of a path of the host that it is there and no
/// directory: it is mounted onto a file, and has no mounts below it to speak of.
pub fn portable(plan: &SandboxPlan, is_file: &dyn Fn(&Path) -> bool) -> Portable {
    let plan = alone(plan);
    let bundle = super::build(&plan);
    let mut layout = Layout::new(&plan, &bundle.files, is_file);
    let mounts = bundle.spec.mounts().iter().flatten();
    let mounts: Vec<Mount> = mounts.filter_map(|mount| layout.place(mount)).collect();
    let mut spec = bundle.spec.clone();
    spec.set_version(OCI_VERSION.to_owned());
    spec.set_mounts(Some(mounts));
    let root = RootBuilder::default()
        .path(ROOT)
        .readonly(!plan.exceptions.writable_root);
    spec.set_root(Some(built(root.build())));
    let mut linux = spec.linux().clone().unwrap_or_default();
    // The runtime's own choice: the instance's group is the instance's to remove.
    linux.set_cgroups_path(None);
    linux.set_resources(Some(resources(&plan, linux.resources().clone())));
    linux.set_seccomp(linux.seccomp().clone().map(seccomp));
    spec.set_linux(Some(linux));
    Portable {
        spec,
        entries: layout.entries,
    }
}

/// Without what ties it to its instance.
fn alone(plan: &SandboxPlan) -> SandboxPlan {
    let mut plan = plan.clone();
    plan.netns = None;
    plan.notify = None;
    let told = ["NOTIFY_SOCKET", "WATCHDOG_USEC"];
    plan.env.retain(|(name, _)| !told.contains(&name.as_str()));
    plan
}

/// Device nodes are bound there from the host: only the group says who may open them.
fn resources(plan: &SandboxPlan, resources: Option<LinuxResources>) -> LinuxResources {
    let mut resources = resources.unwrap_or_default();
    let rule = |allow: bool, access: &str| LinuxDeviceCgroupBuilder::default().allow(allow).access(access);
    let mut rules: Vec<LinuxDeviceCgroup> = vec![built(rule(false, "rwm").build())];
    rules.extend(plan.devices.iter().map(|device| {
        let access = if device.writable { "rw" } else { "r" };
        let kind = oci_spec::runtime::LinuxDeviceType::C;
        built(
            rule(true, access)
                .typ(kind)
                .major(device.major)
                .minor(device.minor)
                .build(),
        )
    }));
    resources.set_devices(Some(rules));
    resources
}

/// Not every runtime knows a word for the machine's own architecture.
fn seccomp(mut profile: LinuxSeccomp) -> LinuxSeccomp {
    let native = match std::env::consts::ARCH {
        "aarch64" => Arch::ScmpArchAarch64,
        "riscv64" => Arch::ScmpArchRiscv64,
        _ => Arch::ScmpArchX86_64,
    };
    let own = |arch: &Arch| {
        if *arch == Arch::ScmpArchNative {
            native
        } else {
            *arch
        }
    };
    let architectures = profile.architectures().clone();
    profile.set_architectures(architectures.map(|all| all.iter().map(own).collect()));
    profile
}

/// Sorts what is mounted from what lies in the bundle.
struct Layout<'a> {
    plan: &'a SandboxPlan,
    /// The plan's own files: path in its bundle → text.
    files: &'a BTreeMap<String, String>,
    is_file: &'a dyn Fn(&Path) -> bool,
    owner: (u32, u32),
    entries: Vec<Entry>,
}

impl<'a> Layout<'a> {
    fn new(
        plan: &'a SandboxPlan,
        files: &'a BTreeMap<String, String>,
        is_file: &'a dyn Fn(&Path) -> bool,
    ) -> Self {
        let own = plan.ids.host(ids::inside(plan));
        let owner = if plan.exceptions.writable_root {
            (own, own)
        } else {
            (0, 0)
        };
        let mut layout = Self {
            plan,
            files,
            is_file,
            owner,
            entries: Vec::new(),
        };
        layout.add(Path::new("/"), Content::Directory);
        layout
    }

    fn add(&mut self, inside: &Path, content: Content) {
        self.entries.push(Entry {
            path: in_root(inside),
            owner: self.owner,
            content,
        });
    }

    /// What takes the mount's place among the mounts, if anything does.
    fn place(&mut self, mount: &Mount) -> Option<Mount> {
        let (target, source) = (mount.destination(), mount.source().clone().unwrap_or_default());
        let kind = mount.typ().as_deref().unwrap_or("bind");
        match kind {
            "tmpfs" if target == Path::new("/") => return None,
            // What lies in it is the keeper's to give, and for no bundle.
            "ramfs" => return None,
            "symlink" => self.add(target, Content::Symlink(source)),
            "file" => {
                let content = self.content(&source);
                self.add(target, content);
            }
            "overlay" if target == Path::new(APP) => return Some(self.copied(target, self.app(), false)),
            // Over a directory of the host's: runtimes hand overlays to the kernel as they are.
            "overlay" => {
                self.add(target, Content::Directory);
                return Some(mount.clone());
            }
            "bind" => return Some(self.bound(mount, target, source)),
            _ => {
                self.add(target, Content::Directory);
                return Some(self.kernel(kind, mount));
            }
        }
        None
    }

    fn content(&self, source: &Path) -> Content {
        let own = source.strip_prefix(&self.plan.bundle).ok();
        let text = own.and_then(|path| self.files.get(&etc::in_bundle(path)));
        text.map_or_else(
            || Content::Copy(source.to_owned()),
            |text| Content::Text(text.clone()),
        )
    }

    fn app(&self) -> Vec<PathBuf> {
        let upper = std::iter::once(self.plan.writable.upper.clone());
        upper.chain(self.plan.layers.iter().cloned()).collect()
    }

    /// A copy in the root, which is mounted onto itself: the root around it may be read-only.
    fn copied(&mut self, target: &Path, layers: Vec<PathBuf>, read_only: bool) -> Mount {
        let owners = Owners::of(self.plan);
        self.add(target, Content::Tree(Tree { layers, owners }));
        let access = if read_only { "ro" } else { "rw" };
        bind(
            &in_root(target),
            target,
            &["bind", "private", access, "nosuid", "nodev"],
        )
    }

    fn bound(&mut self, mount: &Mount, target: &Path, source: PathBuf) -> Mount {
        let plan = self.plan;
        let volume = plan.volumes.iter().find(|volume| volume.source == source);
        if source == plan.writable.home || volume.is_some() {
            let read_only = volume.is_some_and(|volume| volume.read_only);
            return self.copied(target, vec![source], read_only);
        }
        let is_file = (self.is_file)(&source);
        let place = if is_file {
            Content::Text(String::new())
        } else {
            Content::Directory
        };
        self.add(target, place);
        let given = mount.options().as_deref().unwrap_or_default();
        if mount.uid_mappings().is_some() {
            let mut mount = mount.clone();
            mount.set_options(Some([given, &["private".to_owned()]].concat()));
            return mount;
        }
        let mut flags = vec!["ro", "nosuid", "nodev"];
        flags.extend(given.iter().any(|option| option == "noexec").then_some("noexec"));
        bind(&source, target, &read_only(is_file, &flags))
    }

    fn kernel(&self, kind: &str, mount: &Mount) -> Mount {
        let options = mount.options().clone().unwrap_or_default();
        let options: Vec<String> = options.into_iter().map(|option| self.inside(option)).collect();
        let kind = if kind == "dev" { "tmpfs" } else { kind };
        let mount = MountBuilder::default()
            .typ(kind)
            .source(kind)
            .destination(mount.destination().clone())
            .options(options);
        built(mount.build())
    }

    /// `uid=` and `gid=` of the host → of the sandbox.
    fn inside(&self, option: String) -> String {
        let id = option.split_once('=').and_then(|(key, id)| {
            let id: u32 = id.parse().ok().filter(|_| key == "uid" || key == "gid")?;
            Some(format!("{key}={}", id.checked_sub(self.plan.ids.base)?))
        });
        id.unwrap_or(option)
    }
}

/// Options of a bind of the host's. Of a tree, each flag is for all of it: `ro` alone would only hold for its top. Of a file
/// they are said once: runtimes look for a directory where they are to set them on a tree (crun before 1.9).
fn read_only(is_file: bool, flags: &[&str]) -> Vec<String> {
    let once = |kinds: [&'static str; 2]| kinds.into_iter().chain(flags.iter().copied()).map(str::to_owned);
    if is_file {
        return once(["bind", "private"]).collect();
    }
    let all = flags.iter().map(|flag| format!("r{flag}"));
    once(["rbind", "rprivate"]).chain(all).collect()
}

/// A bind is `private`, or what the runtime mounts in it (the mask of `/etc/ssl/private`, a volume in `/app`) would appear
/// on a host that shares its mounts, as systemd has them: a runtime may have cloned it there, outside of the container
/// (mount_namespaces(7), "peer groups").
fn bind<S: AsRef<str>>(source: &Path, target: &Path, options: &[S]) -> Mount {
    let options: Vec<String> = options.iter().map(|option| option.as_ref().to_owned()).collect();
    let mount = MountBuilder::default()
        .typ("bind")
        .source(source)
        .destination(target)
        .options(options);
    built(mount.build())
}

/// A path inside, relative to the bundle.
fn in_root(inside: &Path) -> PathBuf {
    Path::new(ROOT).join(inside.strip_prefix("/").unwrap_or(inside))
}

#[cfg(test)]
mod tests {
    use super::super::tests::plan;
    use super::*;

    fn entry<'a>(portable: &'a Portable, path: &str) -> &'a Entry {
        let found = portable
            .entries
            .iter()
            .find(|entry| entry.path == Path::new(path));
        found.unwrap_or_else(|| panic!("{path} is not in the bundle"))
    }

    fn no_file(_: &Path) -> bool {
        false
    }

    #[test]
    fn a_bind_is_private_and_a_files_flags_are_said_once() {
        let mut plan = plan();
        let bind = |source: &str, writable| crate::config::ecosystem::BindMount {
            source: source.into(),
            target: format!("/app{source}"),
            writable,
            place: Default::default(),
        };
        plan.mounts = vec![
            bind("/note.txt", false),
            bind("/notes", false),
            bind("/mine.txt", true),
        ];
        let portable = portable(&plan, &|path| path.extension().is_some());
        let options = |target: &str| -> Vec<String> {
            let mut mounts = portable.spec.mounts().iter().flatten();
            let found = mounts.find(|mount| mount.destination() == Path::new(target));
            found.unwrap().options().clone().unwrap()
        };
        assert_eq!(
            options("/app/note.txt"),
            ["bind", "private", "ro", "nosuid", "nodev"]
        );
        assert_eq!(
            options("/app/notes"),
            [
                "rbind", "rprivate", "ro", "nosuid", "nodev", "rro", "rnosuid", "rnodev"
            ]
        );
        assert_eq!(
            options("/app/mine.txt"),
            ["bind", "rw", "nosuid", "nodev", "private"]
        );
        assert_eq!(
            entry(&portable, "rootfs/app/note.txt").content,
            Content::Text(String::new())
        );
        assert_eq!(entry(&portable, "rootfs/app/notes").content, Content::Directory);
        for mount in portable.spec.mounts().iter().flatten() {
            let options = mount.options().clone().unwrap();
            let is_private = options
                .iter()
                .any(|option| ["private", "rprivate"].contains(&option.as_str()));
            assert_eq!(is_private, mount.typ().as_deref() == Some("bind"), "{mount:?}");
        }
    }

    #[test]
    fn secrets_are_not_in_a_bundle() {
        let mut plan = plan();
        plan.secrets = true;
        let portable = portable(&plan, &no_file);
        let mut mounts = portable.spec.mounts().iter().flatten();
        assert!(mounts.all(|mount| !mount.destination().starts_with(super::super::SECRETS)));
    }

    #[test]
    fn only_what_every_runtime_knows_is_mounted() {
        let portable = portable(&plan(), &no_file);
        for mount in portable.spec.mounts().iter().flatten() {
            let kind = mount.typ().as_deref().unwrap();
            let known = ["bind", "tmpfs", "proc", "devpts", "mqueue", "cgroup"];
            assert!(known.contains(&kind), "{mount:?}");
            assert!(mount.uid_mappings().is_none(), "{mount:?}");
            let options = mount.options().clone().unwrap();
            for option in options.iter().filter(|option| option.starts_with("gid=")) {
                assert_eq!(
                    option,
                    "gid=5"
                        .replace('5', if kind == "devpts" { "5" } else { "1000" })
                        .as_str()
                );
            }
        }
        let linux = portable.spec.linux().clone().unwrap();
        assert_eq!(linux.cgroups_path(), &None);
        assert!(
            linux
                .namespaces()
                .iter()
                .flatten()
                .all(|one| one.path().is_none())
        );
    }

    #[test]
    fn what_is_not_mounted_lies_in_the_root() {
        let portable = portable(&plan(), &no_file);
        assert_eq!(
            entry(&portable, "rootfs/bin").content,
            Content::Symlink("usr/bin".into())
        );
        let Content::Text(hosts) = &entry(&portable, "rootfs/etc/hosts").content else {
            panic!("the sandbox's own file, not a copy of the host's");
        };
        assert!(hosts.contains("10.90.0.3 db"), "{hosts}");
        let Content::Tree(app) = &entry(&portable, "rootfs/app").content else {
            panic!("/app is a copy")
        };
        assert_eq!(app.layers[0], Path::new("/p/.s/api"), "what it wrote lies on top");
        assert_eq!(app.layers.len(), 3);
        let place = |path: &str| {
            portable
                .entries
                .iter()
                .position(|one| one.path == Path::new(path))
        };
        assert!(place("rootfs/app") < place("rootfs/app/data"));
    }

    #[test]
    fn copies_belong_to_whom_they_belong_to_inside() {
        let plan = plan();
        let (owners, base) = (Owners::of(&plan), plan.ids.base);
        assert_eq!(owners.of_copy((0, 0)), (base + 1000, base + 1000), "a layer's");
        assert_eq!(
            owners.of_copy((4242, 4243)),
            (base + 1000, base + 1000),
            "the caller's"
        );
        assert_eq!(
            owners.of_copy((77, 78)),
            (base + NOBODY, base + NOBODY),
            "a stranger's"
        );
        let storage = crate::identity::STORAGE_BASE + 7;
        assert_eq!(
            owners.of_copy((storage, storage)),
            (base + 7, base + 7),
            "another id inside"
        );
    }

    #[test]
    fn a_writable_root_belongs_to_the_service() {
        let mut plan = plan();
        plan.exceptions.writable_root = true;
        let portable = portable(&plan, &no_file);
        let own = plan.ids.base + 1000;
        assert!(portable.entries.iter().all(|entry| entry.owner == (own, own)));
        assert_eq!(portable.spec.root().as_ref().unwrap().readonly(), Some(false));
    }
}
