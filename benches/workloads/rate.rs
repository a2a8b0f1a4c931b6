//! Requests and CPU time under load.

use super::*;

/// The load on the sandbox and on the bare program in the same network namespace, in turns.
pub(super) fn rate(site: &Site, server: &Server) {
    let Some((tool, load)) = server.load.filter(|(tool, _)| is_there(tool)) else {
        return;
    };
    site.write(server.command);
    site.run(&["up", "-d"]);
    let init = site.row()["pid"].to_string();
    let enter = ["nsenter", "--target", &init, "--net"];
    let bare = site.bare(&enter, server.command, BARE_PORT);
    let roots = [bare.0.id().to_string(), init];
    for port in [PORT, BARE_PORT] {
        wait_for(port);
        load(port);
    }
    let mut rates = Pairs::default();
    let mut economies = Pairs::default();
    for round in 0..RATE_ROUNDS {
        let slice = |port: u16, root: &str| {
            let before = cpu_seconds(root);
            let done = load(port);
            [done.rate, done.count / (cpu_seconds(root) - before)]
        };
        let [inside, plain] = in_turns(round, || slice(PORT, &roots[1]), || slice(BARE_PORT, &roots[0]));
        rates.push(plain[0], inside[0]);
        economies.push(plain[1], inside[1]);
    }
    drop(bare);
    site.run(&["down"]);
    println!(
        "  {:<16} {} a second of time ({tool})",
        server.name,
        rates.told(0, 3)
    );
    println!(
        "  {:<16} {} a second of the server's CPU time",
        "",
        economies.told(0, 3)
    );
}

/// CPU time that a process and its descendants, as they are now, have had.
fn cpu_seconds(root: &str) -> f64 {
    let mut total = 0.0;
    for task in fs::read_dir(format!("/proc/{root}/task"))
        .into_iter()
        .flatten()
        .flatten()
    {
        let read = |file: &str| fs::read_to_string(task.path().join(file)).unwrap_or_default();
        // Nanoseconds on a CPU (kernel: scheduler/sched-stats.rst).
        let own = read("schedstat");
        total += own
            .split(' ')
            .next()
            .and_then(|word| word.parse::<f64>().ok())
            .unwrap_or(0.0)
            / 1e9;
        total += read("children").split_whitespace().map(cpu_seconds).sum::<f64>();
    }
    total
}

/// Requests over HTTP.
pub(super) fn requests(port: u16) -> Done {
    let address = format!("http://127.0.0.1:{port}/");
    let text = output("wrk", &["-t", "1", "-c", "16", "-d", "1s", &address]);
    assert!(!text.contains("Non-2xx"), "{text}");
    let line = |words: &str| {
        let found = text.lines().find(|line| line.contains(words));
        found.unwrap_or_else(|| panic!("wrk: {text}")).trim()
    };
    let count = line(" requests in ").split(' ').next().expect("a word");
    let rate = line("Requests/sec:").rsplit(' ').next().expect("a word");
    Done {
        count: count.parse().expect("a number"),
        rate: rate.parse().expect("a number"),
    }
}

/// GETs.
pub(super) fn redis_gets(port: u16) -> Done {
    const COUNT: &str = "60000";
    let port = port.to_string();
    let text = output(
        "redis-benchmark",
        &["-p", &port, "-t", "get", "-n", COUNT, "-c", "16", "--csv"],
    );
    let line = text.lines().find(|line| line.starts_with("\"GET\""));
    let field = line
        .and_then(|line| line.split(',').nth(1))
        .unwrap_or_else(|| panic!("redis: {text}"));
    Done {
        count: COUNT.parse().expect("a number"),
        rate: field.trim_matches('"').parse().expect("a number"),
    }
}

/// Pieces of work: arithmetic, JSON, compression, hashes, fresh memory.
pub(super) fn work(port: u16) -> Done {
    const COUNT: u32 = 4;
    let began = Instant::now();
    for _ in 0..COUNT {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("connect");
        stream.write_all(b"GET /work HTTP/1.0\r\n\r\n").expect("ask");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("answer");
        assert!(answer.ends_with("done"), "{answer}");
    }
    Done {
        count: COUNT.into(),
        rate: f64::from(COUNT) / began.elapsed().as_secs_f64(),
    }
}
