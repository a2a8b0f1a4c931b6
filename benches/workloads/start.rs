//! From the command to the first answer.

use super::*;

/// Milliseconds from the command to the first answer: a plain process, and `pactown start` in an ecosystem that is up.
pub(super) fn start_up(site: &Site, server: &Server) {
    site.write(server.command);
    site.run(&["up", "-d"]);
    let (mut bare, mut inside, mut more) = (vec![], vec![], vec![]);
    for _ in 0..START_ROUNDS {
        site.run(&["stop", "app"]);
        let plainly = || Started::Bare(site.bare(&[], server.command, FREE_PORT));
        let start = || Started::Command(site.command(&["start", "app"]).spawn().expect("start"));
        let (plain, ours) = (first_answer(plainly, FREE_PORT), first_answer(start, PORT));
        bare.push(plain);
        inside.push(ours);
        more.push(ours - plain);
    }
    site.run(&["down"]);
    println!(
        "  {:<16} bare {:.1} ms, sandbox {:.1} ms, {:+.1} ms ({:+.1} ms between the fastest tenths)",
        server.name,
        quantile(&bare, 0.5),
        quantile(&inside, 0.5),
        quantile(&more, 0.5),
        quantile(&inside, 0.1) - quantile(&bare, 0.1)
    );
}

/// What `first_answer` began: ended or waited for after the answer.
enum Started {
    Bare(Bare),
    Command(Child),
}

fn first_answer(start: impl FnOnce() -> Started, port: u16) -> f64 {
    let began = Instant::now();
    let started = start();
    let answered = answers(port);
    let took = began.elapsed().as_secs_f64() * 1000.0;
    let told = match started {
        Started::Bare(bare) => {
            drop(bare);
            String::new()
        }
        Started::Command(child) => {
            let output = child.wait_with_output().expect("start");
            format!(
                "{}{}",
                String::from_utf8_lossy(&output.stdout),
                String::from_utf8_lossy(&output.stderr)
            )
        }
    };
    assert!(answered, "nothing answered on port {port}: {told}");
    took
}
