//! What one launch costs: a sandbox as `pactown up` makes it, with its network namespace and veth pair, against the
//! bare `clone3` and `execve` in the same namespaces, in turns in one run.
//!
//! `cargo bench --bench launch` prints medians and ratios. As root. Router, user namespaces, layers and bundle are there
//! before the clock starts; it stops when the service's program has been executed.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use pactown::config::ecosystem::{Exceptions, Limits};
use pactown::host::HostFacts;
use pactown::identity::IdRange;
use pactown::spec::{self, SandboxPlan, Writable};
use pactown_netns::{HostPort, Network, NetworkSpec, Node, Transport, subnet};
use pactown_runtime::cgroup::Cgroup;
use pactown_runtime::client::Client;
use pactown_runtime::protocol::{Call, LogFile, What};

const ROUNDS: usize = 200;
const WARM_UP: usize = 10;
/// Above every range that the product gives out.
const IDS: IdRange = IdRange { base: 3_900_000_000 };

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args_os().collect();
    match arguments.get(1).and_then(|word| word.to_str()) {
        // The keeper is this program, started from a sealed copy as the product does.
        Some("__keeper") => {
            let directory = Path::new(&arguments[2]);
            return pactown_runtime::keeper::run(directory, vec!["__idle".into()], directory);
        }
        Some("__idle") => loop {
            std::thread::park();
        },
        _ => measure(),
    }
    ExitCode::SUCCESS
}

fn measure() {
    let site = Site::new();
    let mut times: [Vec<f64>; 4] = Default::default();
    for round in 0..WARM_UP + ROUNDS {
        settle();
        let bare = clock(|| pactown_runtime::bench::bare(c"/bin/true").expect("clone3"));
        let [attached, created] = site.launch(round);
        if round >= WARM_UP {
            for (times, time) in times
                .iter_mut()
                .zip([bare, attached, created, attached + created])
            {
                times.push(time);
            }
        }
    }
    site.remove();
    let [bare, attached, created, whole] = times.map(median);
    println!("medians of {ROUNDS} rounds, in turns, in milliseconds");
    println!("clone3 with seven namespaces and execve, to its end: {bare:.2}");
    println!("network namespace and veth pair:                     {attached:.2}");
    println!("sandbox, until its program runs:                     {created:.2}");
    println!("launch, both:                                        {whole:.2}");
    println!("ratio: {:.2}", whole / bare);
}

/// Lets the kernel finish with the namespaces of what was measured before: it removes them in the background, under
/// locks that the next launch would wait for.
fn settle() {
    std::thread::sleep(Duration::from_millis(60));
}

fn clock(work: impl FnOnce()) -> f64 {
    let started = Instant::now();
    work();
    started.elapsed().as_secs_f64() * 1000.0
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// A keeper and a network of the bench's own.
struct Site {
    directory: PathBuf,
    keeper: Client,
    network: Network,
    host: HostFacts,
}

impl Site {
    fn new() -> Self {
        let name = format!("pactown-bench-{}", std::process::id());
        let directory = Path::new("/run").join(&name);
        for part in ["layer", "upper", "work", "home"] {
            fs::create_dir_all(directory.join(part)).expect("directory");
        }
        pactown_runtime::seal::spawn_keeper(&directory, &[OsStr::new("-")], |_| Ok(())).expect("keeper");
        let keeper = Client::connect(&directory.join("keeper.sock")).expect("connect");
        keeper.call(Call::Subscribe, &[]).expect("subscribe");
        let tag = format!("{:08x}", std::process::id());
        let network = Network::create(&NetworkSpec {
            instance: name,
            subnet: subnet::choose_free(&tag, &[]).expect("subnet"),
            tag,
            directory: directory.join("netns"),
        });
        Self {
            network: network.expect("network"),
            host: HostFacts::read(),
            directory,
            keeper,
        }
    }

    /// Milliseconds for the network and for the sandbox of one launch.
    fn launch(&self, round: usize) -> [f64; 2] {
        let id = format!("s{round}");
        let node = Node {
            name: id.clone(),
            address: self.network.spec().subnet.host(40).expect("address"),
            inbound: vec![HostPort {
                port: 8000,
                transport: Transport::Tcp,
            }],
            loopback: Vec::new(),
            ping_groups: (IDS.base, IDS.base + 65_535),
        };
        let bundle = spec::build(&self.plan(&id));
        bundle.write().expect("bundle");
        let (ahead, path) = (bundle.directory.clone(), bundle.directory.clone());
        self.call(Call::Prepare {
            id: id.clone(),
            bundle: ahead,
        });
        settle();
        let attached = clock(|| drop(self.network.attach(&node).expect("attach")));
        let created = clock(|| {
            let log = LogFile {
                path: self.directory.join(format!("{id}.log")),
                max_bytes: 1 << 20,
                files: 1,
                run: 0,
            };
            self.call(Call::Create {
                id: id.clone(),
                bundle: path,
                log,
            });
        });
        while !matches!(
            self.keeper.receive().expect("event").expect("keeper").0.what,
            What::Exited { .. }
        ) {}
        self.call(Call::Forget { id: id.clone() });
        self.network.detach(&id).expect("detach");
        bundle.remove().expect("remove");
        [attached, created]
    }

    fn call(&self, call: Call) {
        self.keeper.call(call, &[]).expect("the keeper does it");
    }

    fn plan(&self, id: &str) -> SandboxPlan {
        let at = |name: &str| self.directory.join(name);
        SandboxPlan {
            name: id.to_owned(),
            // Runs long enough to be told as created before its end is.
            args: ["/bin/sleep", "0.005"].map(str::to_owned).to_vec(),
            env: vec![("PATH".to_owned(), "/usr/bin:/bin".to_owned())],
            ids: IDS,
            as_root: false,
            owner: (0, 0),
            layers: vec![at("layer")],
            system: None,
            writable: Writable {
                upper: at("upper"),
                work: at("work"),
                home: at("home"),
            },
            volumes: Vec::new(),
            mounts: Vec::new(),
            toolchains: Vec::new(),
            files: BTreeMap::new(),
            limits: Limits::default(),
            exceptions: Exceptions::default(),
            devices: Vec::new(),
            cgroup: format!("pactown-bench-{}/{id}", std::process::id()),
            netns: Some(self.directory.join("netns").join(id)),
            secrets: false,
            notify: None,
            bundle: at("bundle"),
            hosts: Vec::new(),
            nameservers: Vec::new(),
            host: self.host.clone(),
        }
    }

    fn remove(self) {
        let _ = self.keeper.send(Call::Shutdown, &[]);
        while let Ok(Some(_)) = self.keeper.receive() {}
        let groups = Cgroup::open(&self.network.spec().instance).expect("groups");
        groups.delete(Duration::from_secs(1)).expect("remove");
        self.network.remove().expect("remove");
        fs::remove_dir_all(&self.directory).expect("remove");
    }
}
