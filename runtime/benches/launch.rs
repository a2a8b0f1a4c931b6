//! What a launch costs: a full sandbox that runs `/bin/true`, against the bare `clone3` and `execve` that it cannot go
//! below, in turns in one run. As root: `cargo build --release -p pactown-runtime --examples && cargo bench -p
//! pactown-runtime --bench launch [-- ROUNDS]`.

#[allow(dead_code)]
#[path = "../tests/house.rs"]
mod house;

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use house::House;
use oci_spec::runtime::Spec;
use pactown_runtime::bench::bare;
use pactown_runtime::protocol::{Call, ExitStatus, LogFile};

const WARM_UP: usize = 10;

fn main() {
    let rounds = std::env::args().skip(1).find_map(|word| word.parse().ok());
    let rounds: usize = rounds.unwrap_or(200);
    let house = House::new();
    let (mut plain, mut cloned, mut created, mut exited) = (vec![], vec![], vec![], vec![]);
    for round in 0..WARM_UP + rounds {
        let id = format!("s{round}");
        let call = prepared(&house, &id);
        let all = [spawned(), raw()].into_iter().chain(sandbox(&house, &id, call));
        if round >= WARM_UP {
            for (times, time) in [&mut plain, &mut cloned, &mut created, &mut exited]
                .into_iter()
                .zip(all)
            {
                times.push(time);
            }
        }
    }
    let [plain, cloned, created, exited] = [plain, cloned, created, exited].map(Spread::of);
    println!("{rounds} rounds, in turns; milliseconds        median     p10     p90");
    plain.print("std::process::Command, /bin/true, to its end");
    cloned.print("clone3 with 7 namespaces, same, to its end");
    created.print("sandbox: Create to `Created`");
    exited.print("sandbox: Create to `Exited`");
    let ratio = |part: &Spread| part.median.as_secs_f64() / cloned.median.as_secs_f64();
    println!(
        "to the bare clone3: Created {:.2}, Exited {:.2}",
        ratio(&created),
        ratio(&exited)
    );
}

/// Everything of a round that is not its launch: the directories and the bundle.
fn prepared(house: &House, id: &str) -> Call {
    let mut spec: Spec = house.spec(id, "");
    let mut process = spec.process().clone().expect("process");
    process.set_args(Some(vec!["/bin/true".to_owned()]));
    spec.set_process(Some(process));
    let bundle = house.directory.join(format!("{id}.bundle"));
    fs::create_dir_all(&bundle).expect("bundle");
    spec.save(bundle.join("config.json")).expect("config.json");
    Call::Create {
        id: id.to_owned(),
        bundle,
        log: LogFile {
            path: house.log_path(id),
            max_bytes: 1 << 20,
            files: 1,
        },
    }
}

fn sandbox(house: &House, id: &str, call: Call) -> [Duration; 2] {
    let start = Instant::now();
    house.client.call(call, &[]).expect("create");
    let created = start.elapsed();
    let record = house.wait(id);
    let exited = start.elapsed();
    assert_eq!(record.status, ExitStatus::Code(0));
    [created, exited]
}

fn raw() -> Duration {
    let start = Instant::now();
    bare(c"/bin/true").expect("clone3");
    start.elapsed()
}

fn spawned() -> Duration {
    let start = Instant::now();
    let status = Command::new("/bin/true").status();
    assert!(status.expect("true").success());
    start.elapsed()
}

struct Spread {
    low: Duration,
    median: Duration,
    high: Duration,
}

impl Spread {
    fn of(mut times: Vec<Duration>) -> Self {
        times.sort_unstable();
        let at = |tenths: usize| times[(times.len() - 1) * tenths / 10];
        Self {
            low: at(1),
            median: at(5),
            high: at(9),
        }
    }

    fn print(&self, what: &str) {
        let [median, low, high] = [self.median, self.low, self.high].map(|time| time.as_secs_f64() * 1e3);
        println!("{what:<48} {median:>7.3} {low:>7.3} {high:>7.3}");
    }
}
