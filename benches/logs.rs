//! The figures of `docs/benchmarks.md` on logs: the same writer into a file, and in a sandbox through the keeper into its
//! log; and how fast `pactown logs` reads.
//!
//! `cargo bench --bench logs` prints medians and ratios. Nothing here is a test: a slow machine is not a defect.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Instant;

const ROUNDS: usize = 3;

/// What is written: a name, MB, and a command of one process that writes it, 64 KB at a time.
const WRITERS: [(&str, f64, &str); 3] = [
    (
        "lines of 100 bytes",
        1000.0,
        r#"python3 -c "import os; b = (b'x' * 99 + b'\n') * 640; [os.write(1, b) for _ in range(15625)]""#,
    ),
    (
        "lines of 1000 bytes",
        1000.0,
        r#"python3 -c "import os; b = (b'x' * 999 + b'\n') * 64; [os.write(1, b) for _ in range(15625)]""#,
    ),
    (
        "lines of 2 bytes",
        200.0,
        r#"python3 -c "import os; b = b'y\n' * 32000; [os.write(1, b) for _ in range(3125)]""#,
    ),
];

fn main() {
    let directory = std::env::temp_dir().join(format!("pactown-bench-logs-{}", std::process::id()));
    fs::create_dir_all(&directory).expect("directory");
    println!("medians of {ROUNDS} rounds; ratio = log / file of the same round\n");
    for (name, megabytes, writer) in WRITERS {
        let place = town(&directory, writer);
        let (mut files, mut cats, mut logs, mut ratios) = (vec![], vec![], vec![], vec![]);
        for _ in 0..ROUNDS {
            let (file, log) = (to_file(&place, megabytes, writer), to_log(&place, megabytes));
            cats.push(to_file(&place, megabytes, &format!("{writer} | cat")));
            files.push(file);
            logs.push(log);
            ratios.push(log / file);
        }
        println!(
            "{name}: file {:.0} MB/s, through cat {:.0} MB/s, log {:.0} MB/s, ratio {:.2}",
            median(&mut files),
            median(&mut cats),
            median(&mut logs),
            median(&mut ratios)
        );
        reading(&place);
        pactown(&place, &["down", "--volumes", "--yes"]);
        fs::remove_dir_all(&place).expect("remove");
    }
    fs::remove_dir_all(&directory).expect("remove");
}

/// One job that says how long, in seconds, its writer took to be rid of everything.
fn town(directory: &Path, writer: &str) -> PathBuf {
    let place = directory.join("town");
    fs::create_dir_all(&place).expect("directory");
    let yaml = "name: logbench\nservices:\n  writer: {readme: w.md}\n  rest: {readme: rest.md}\n";
    fs::write(place.join("saas.pactown.yaml"), yaml).expect("yaml");
    let timed = format!(
        "# Writer\n\n```yaml markpact:workload\nkind: job\n```\n\n```sh markpact:run\nstart=$(date +%s.%N)\n{writer}\necho; echo took $start $(date +%s.%N)\n```\n"
    );
    fs::write(place.join("w.md"), timed).expect("readme");
    let rest = "# Rest\n\n```sh markpact:run\nexec sleep 100000\n```\n";
    fs::write(place.join("rest.md"), rest).expect("readme");
    place
}

fn pactown(place: &Path, arguments: &[&str]) -> Output {
    let output = Command::new(env!("CARGO_BIN_EXE_pactown"))
        .args(arguments)
        .current_dir(place)
        .stdin(Stdio::null())
        .output()
        .expect("pactown");
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "pactown {arguments:?}: {told}");
    output
}

/// MB/s.
fn to_file(place: &Path, megabytes: f64, writer: &str) -> f64 {
    let path = place.join("direct");
    let file = fs::File::create(&path).expect("file");
    let started = Instant::now();
    let status = Command::new("sh").args(["-c", writer]).stdout(file).status();
    assert!(status.expect("writer").success());
    let taken = started.elapsed().as_secs_f64();
    fs::remove_file(path).expect("remove");
    megabytes / taken
}

/// MB/s. The writer is done when the keeper has taken its last byte, up to what a pipe holds.
fn to_log(place: &Path, megabytes: f64) -> f64 {
    pactown(place, &["up", "-d"]);
    let output = pactown(place, &["logs", "-n", "1", "writer"]);
    pactown(place, &["down"]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let times: Vec<f64> = text
        .split_whitespace()
        .filter_map(|word| word.parse().ok())
        .collect();
    assert_eq!(times.len(), 2, "{text}");
    megabytes / (times[1] - times[0])
}

/// Time and memory of `pactown logs` over what is left of the log.
fn reading(place: &Path) {
    let binary = env!("CARGO_BIN_EXE_pactown");
    let started = Instant::now();
    let output = pactown(place, &["logs", "writer"]);
    println!(
        "  pactown logs: {:.1} MB shown in {:.2} s",
        output.stdout.len() as f64 / 1e6,
        started.elapsed().as_secs_f64()
    );
    let script = format!("{binary} logs writer >/dev/null & wait $!; true");
    let usage = Command::new("python3")
        .args([
            "-c",
            "import resource,subprocess,sys; subprocess.run(sys.argv[1:],stdout=subprocess.DEVNULL); print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)",
            "sh",
            "-c",
            &script,
        ])
        .current_dir(place)
        .output()
        .expect("python3");
    let kilobytes = String::from_utf8_lossy(&usage.stdout)
        .trim()
        .parse::<f64>()
        .unwrap_or(0.0);
    println!("  pactown logs: {:.1} MB of memory", kilobytes / 1000.0);
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
